"""A protocol's table into a Cython decoder, at build time.

The rendered code is boring on purpose: one switch on the type byte; per message one look at the length, the checks of
what cannot be represented, one load per field, one `put` per event. Nothing is written or counted before all checks of
a message are passed.

Most of what a feed sends are messages of one event whose parts differ only in where they stand. These have a row each
in a table of places and go one common way (`Straight` in _decoder.pxd): the type of the next message cannot be
foretold, and a switch on it costs more than all the rest.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from feedhandler.decode import tabled
from feedhandler.decode.spec import Bit, ById, Choice, Equal, Event, Field, Message, Protocol

ACTION = {
    "A": "ACTION_ADD",
    "C": "ACTION_CANCEL",
    "M": "ACTION_MODIFY",
    "F": "ACTION_FILL",
    "T": "ACTION_TRADE",
    "R": "ACTION_RESET",
    "S": "ACTION_STATUS",
    "N": "ACTION_NONE",
}
SIDE = {"B": "SIDE_BID", "A": "SIDE_ASK", "N": "SIDE_NONE"}
REST = 2**64 - 1

HEAD = '''\
# Made from feedhandler/decode/{name}/__init__.py by feedhandler.decode.render; not to be edited.
"""The compiled decoder of {title}."""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from feedhandler._counters cimport CH_LONGER, CH_UNKNOWN_INSTRUMENT, CH_UNKNOWN_TYPE
from feedhandler._hints cimport unlikely
from feedhandler._instruments cimport Instruments
from feedhandler._records cimport (
    ACTION_ADD, ACTION_CANCEL, ACTION_FILL, ACTION_MODIFY, ACTION_NONE, ACTION_RESET, ACTION_STATUS, ACTION_TRADE,
    FLAG_BAD_TS, FLAG_LAST, FLAG_MBP, FLAG_VENUE, MAX_EVENTS_PER_MESSAGE, PRICE_NONE, SIDE_ASK, SIDE_BID, SIDE_NONE,
    SIZE_REST, TRADING_CLOSED, TRADING_HALTED, TRADING_PAUSED, TRADING_PRE_OPEN, TRADING_QUOTE_ONLY, TRADING_TRADING,
    TRADING_UNKNOWN, Event, Message, Run)
from feedhandler._symbols cimport fh_name_find
from feedhandler._wire cimport (
    fh_be16, fh_be32, fh_be48, fh_be64, fh_le16, fh_le32, fh_le64, fh_u8)
from feedhandler.decode._decoder cimport UNREPRESENTABLE, Decoder, Straight, put, word
'''

CLASS = """

@cython.final
cdef class ProtocolDecoder(Decoder):
    def __cinit__(self, Instruments instruments not None, int channel=0, str venue not None={venue!r}, *args):
        self.protocol = {name!r}
        self.price_decimals = {price_decimals}
        self.size_decimals = {size_decimals}

    cdef int decode(self, const Run *run, int32_t first, Event *out, int capacity, int32_t *taken) noexcept nogil:
        cdef const Message *message = run.messages + first
        cdef const Message *end = run.messages + run.count
        cdef Event *event = out
        cdef Event *full = out + capacity - MAX_EVENTS_PER_MESSAGE
        cdef const uint8_t *data
        cdef const uint32_t *by_id = self.by_id
        cdef const uint64_t *names = self.names
        cdef uint32_t names_mask = self.names_mask
        cdef uint64_t *types = self.types
        cdef uint64_t longer = 0, unknown_type = 0, unknown_instrument = 0
        cdef uint64_t numbered = 1 if run.first_seq else 0
        cdef uint64_t channel_seq = run.first_seq + <uint64_t> first * numbered
        cdef uint64_t common = {common}
        cdef int64_t ts_recv = run.ts_recv
        cdef int64_t zero = {zero}
        cdef int64_t ts
        cdef uint32_t length, instrument{straight_variables}
        cdef int kind
        while message < end and event <= full:
            length = message.len
            data = message.data
"""

SHORT = """\
            if length < {header}:  # no message of the table is that short
                if not self.valid(data, length):
                    break
                types[data[0] if length else 0] += 1
                unknown_type += 1
                channel_seq += numbered
                message += 1
                continue
            kind = data[0]
"""

STRAIGHT = """\
            row = &straight[kind]
            if row.length:  # {types}
                if length != row.length:
                    if length < row.length:
                        break
                    longer += 1
                raw = fh_{order}32(data + row.price)
                side = row.sides[data[row.side]]
                if unlikely((raw > row.greatest) | (side == UNREPRESENTABLE)):
                    break
                if unlikely(instrument == 0):
                    if row.symbol and {number}:
                        instrument = self.name({number}, data + row.symbol, {symbol_size})
                    unknown_instrument += instrument == 0
                event = put(event, ts, ts_recv, fh_{order}64(data + row.order_id),
                            <int64_t> (raw * row.price_scale + row.price_none),
                            fh_{order}32(data + row.size) & row.size_mask | row.size_otherwise, channel_seq,
                            row.word | <uint64_t> side << 40 | instrument | common)
"""

TAIL = """\
            else:
                unknown_type += 1
            types[kind] += 1
            channel_seq += numbered
            message += 1
        taken[0] = <int32_t> (message - run.messages) - first
        self.counters[CH_LONGER] += longer
        self.counters[CH_UNKNOWN_TYPE] += unknown_type
        self.counters[CH_UNKNOWN_INSTRUMENT] += unknown_instrument
        return <int> (event - out)
"""


def render_all(target: Path) -> None:
    """Write one decoder per table below `target`; a file is written only when its text changed.

    Decoders of folders that are gone are removed, with their protocols.
    """
    root = target / "feedhandler" / "decode"
    for package in (root.parent, root):
        _write(package / "__init__.pxd", "")
    for name, table in tabled().items():
        _write(root / name / "__init__.pxd", "")
        _write(root / name / "_decoder.pyx", render(table))
    for folder in root.iterdir():
        if folder.is_dir() and folder.name not in tabled():
            shutil.rmtree(folder)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def render(table: Protocol) -> str:
    """The text of one protocol's decoder."""
    lines = [HEAD.format(name=table.name, title=table.title)]
    tables = {message.type: _tables(message) for message in table.messages}
    for message in table.messages:
        lines += _declare_tables(message, tables[message.type])
    header_fields = _common(table)
    straight = [message for message in table.messages if _is_straight(table, message, header_fields)]
    lines += _declare_straight(table, straight, tables)
    midnight = table.clock.since == "midnight"
    common = "<uint64_t> run.line << 56"
    if midnight:
        common += " | (<uint64_t> 0 if self.midnight else <uint64_t> FLAG_BAD_TS << 48)"
    lines.append(
        CLASS.format(
            name=table.name,
            venue=table.venue,
            price_decimals=table.price_decimals,
            size_decimals=table.size_decimals,
            common=common,
            zero="self.midnight" if midnight else "0",
            straight_variables=", raw, side\n        cdef const Straight *row" if straight else "",
        ).rstrip("\n")
    )
    lines.append(SHORT.format(header=max((f.offset + f.type.size for f in header_fields), default=1)).rstrip("\n"))
    lines += ["            " + line for line in _header(table, header_fields)]
    if straight:
        assert isinstance(table.instrument, ById)
        lines.append(
            STRAIGHT.format(
                types=", ".join(f"{message.type!r} {message.name}" for message in straight),
                order="be" if table.byte_order == "big" else "le",
                number=_load(table, straight[0].layout[table.instrument.field]),
                symbol_size=next((f.type.size for m in straight if (f := table.symbol_of(m))), 0),
            ).rstrip("\n")
        )
    for number, message in enumerate(m for m in table.messages if m not in straight):
        word = "if" if number == 0 and not straight else "elif"
        lines.append(f"            {word} kind == {ord(message.type)}:  # {_shown(message)}")
        lines += ["                " + line for line in _case(table, message, tables[message.type], header_fields)]
    lines.append(TAIL)
    lines += _valid(table, tables)
    return "\n".join(lines) + "\n"


def _common(table: Protocol) -> tuple[Field, ...]:
    """Time and id, those of them that stand at the same place in every message.

    They are read before the switch: a branch on the type is hard to foretell, and what stands before it need not be
    done again when the processor guessed wrong.
    """
    names = [table.clock.field] + ([table.instrument.field] if isinstance(table.instrument, ById) else [])
    fields = [{message.layout.get(name) for message in table.messages} for name in names]
    return tuple(field for same in fields if len(same) == 1 and (field := same.pop()) is not None)


def _header(table: Protocol, common: tuple[Field, ...]) -> Iterator[str]:
    for field in common:
        if field.name == table.clock.field:
            yield f"ts = zero + {_signed(table, field)}"
        else:
            yield f"instrument = by_id[{_load(table, field)}]"


def _is_straight(table: Protocol, message: Message, common: tuple[Field, ...]) -> bool:
    """One unconditional event of an order or a trade, its id of eight bytes, price and size of four, or constant."""
    if len(message.events) != 1 or message.directory or not isinstance(table.instrument, ById):
        return False
    (event,) = message.events
    if event.whole_channel or event.last or event.level or event.venue or event.action == "S":
        return False
    if not isinstance(event.side, Choice) and event.side != "N":
        return False
    if isinstance(event.size, Choice) or {f.name for f in common} != {table.clock.field, table.instrument.field}:
        return False
    order_id = message.layout[event.order_id].type.size if event.order_id else 0
    price = message.layout[event.price].type if event.price else None
    size = message.layout[event.size].type.size if isinstance(event.size, str) else 4
    return order_id == 8 and size == 4 and (price is None or (price.size == 4 and not price.signed))


def _declare_straight(table: Protocol, messages: list[Message], tables: dict[str, dict[int, str]]) -> Iterator[str]:
    """The table of places: what a message does not have is read from its header, and masked out."""
    if not messages:
        return
    yield "\ncdef uint8_t[256] no_side\nmemset(no_side, SIDE_NONE, 256)"
    yield "cdef Straight[256] straight\nmemset(straight, 0, sizeof(straight))"
    for message in messages:
        (event,) = message.events
        row = f"straight[{ord(message.type)}]"
        assert event.order_id and not isinstance(event.size, Choice)
        price = message.layout[event.price] if event.price else None
        greatest = price.type.limits[1] if price else None
        symbol = table.symbol_of(message)
        values = {
            "length": message.length,
            "greatest": greatest if greatest is not None else 2**32 - 1,
            "price_scale": price.type.scale if price else 0,
            "price_none": 0 if price else "<uint64_t> PRICE_NONE",
            "size_mask": 2**32 - 1 if isinstance(event.size, str) else 0,
            "size_otherwise": 0 if isinstance(event.size, str) else "SIZE_REST" if event.size == REST else event.size,
            "word": f"word(0, {ACTION[event.action]}, 0, FLAG_LAST)",
            "order_id": message.layout[event.order_id].offset,
            "price": price.offset if price else 1,
            "size": message.layout[event.size].offset if isinstance(event.size, str) else 1,
            "symbol": symbol.offset if symbol else 0,
        }
        if isinstance(event.side, Choice):
            values |= {
                "side": message.layout[event.side.field].offset,
                "sides": _table_of(message, event.side, tables[message.type]),
            }
        else:
            values |= {"side": 0, "sides": "no_side"}
        yield f"\n# {_shown(message)}"
        yield from (f"{row}.{name} = {value}" for name, value in values.items())


def _shown(message: Message) -> str:
    return f"{message.type!r} {message.name}, {message.length} bytes. {message.section}"


def _tables(message: Message) -> dict[int, str]:
    """Names of the character tables of a message, by the identity of the choice."""
    return {n: f"{message.name}_{choice.field}" for n, choice in enumerate(message.choices)}


def _table_of(message: Message, choice: Choice, tables: dict[int, str]) -> str:
    return tables[message.choices.index(choice)]


def _declare_tables(message: Message, tables: dict[int, str]) -> Iterator[str]:
    for number, choice in enumerate(message.choices):
        name = tables[number]
        rest = "UNREPRESENTABLE" if choice.otherwise is None else _ours(choice.otherwise)
        yield f"\ncdef uint8_t[256] {name}"
        yield f"memset({name}, {rest}, 256)"
        for theirs, ours in choice.table.items():
            yield f"{name}[{ord(theirs)}] = {_ours(ours)}  # {theirs}"


def _ours(value: str) -> str:
    return SIDE.get(value) or f"TRADING_{value}"


def _load(table: Protocol, field: Field) -> str:
    """The expression that reads a field as an unsigned number."""
    order = "be" if table.byte_order == "big" else "le"
    if field.type.size == 1:
        return f"data[{field.offset}]"
    if field.type.size == 6 and order == "be" and field.offset >= 2:
        return f"(fh_be64(data + {field.offset - 2}) << 16 >> 16)"  # one load; the two bytes before are ours
    return f"fh_{order}{field.type.size * 8}(data + {field.offset})"


def _signed(table: Protocol, field: Field) -> str:
    return f"<int64_t> {_load(table, field)}"


def _refusals(table: Protocol, message: Message, tables: dict[int, str]) -> list[str]:
    """Expressions that are true when a message of sufficient length says what cannot be represented."""
    found = []
    for field in message.prices:
        least, greatest = field.type.limits
        kind = "int64_t" if field.type.signed else "uint64_t"
        load = _signed(table, field) if field.type.signed else _load(table, field)
        if greatest is not None:
            found.append(f"{load} > <{kind}> {greatest}")
        if least is not None:
            found.append(f"{load} < <{kind}> ({least})")
    for choice in message.choices:
        if choice.otherwise is None:
            found.append(f"{_character(message, choice, tables)} == UNREPRESENTABLE")
    return found


def _character(message: Message, choice: Choice, tables: dict[int, str]) -> str:
    return f"{_table_of(message, choice, tables)}[data[{message.layout[choice.field].offset}]]"


def _case(table: Protocol, message: Message, tables: dict[int, str], common: tuple[Field, ...]) -> Iterator[str]:
    yield f"if length != {message.length}:"
    yield f"    if length < {message.length}:"
    yield "        break"
    yield "    longer += 1"
    refusals = _refusals(table, message, tables)
    if refusals:
        yield f"if {' or '.join(refusals)}:"
        yield "    break"
    if message.directory:
        yield from _enter(table, message)
    if not message.events:
        if not message.directory:
            yield "pass  # no event"
        return
    if not all(event.whole_channel for event in message.events):
        yield from _find_instrument(table, message, common)
    stamp = message.layout[table.clock.field]
    if stamp not in common:
        yield f"ts = zero + {_signed(table, stamp)}"
    for number, event in enumerate(message.events):
        put = _put(table, message, event, tables, last=number == len(message.events) - 1)
        if event.when:
            yield f"if {_holds(message, event.when)}:"
            yield f"    {put}"
        else:
            yield put


def _find_instrument(table: Protocol, message: Message, common: tuple[Field, ...]) -> Iterator[str]:
    symbol = table.symbol_of(message)
    if isinstance(table.instrument, ById):
        field = message.layout[table.instrument.field]
        number = _load(table, field)
        if field not in common:
            yield f"instrument = by_id[{number}]"
        slow = f"self.name({number}, data + {symbol.offset}, {symbol.type.size})" if symbol else ""
        slow = f"{slow} if {number} else 0" if slow else ""
    else:
        assert symbol is not None
        yield f"instrument = fh_name_find(names, names_mask, fh_le64(data + {symbol.offset}))"
        slow = f"self.name(0, data + {symbol.offset}, {symbol.type.size})"
    yield "if instrument == 0:"
    if slow:
        yield f"    instrument = {slow}"
        yield "    unknown_instrument += instrument == 0"
    else:
        yield "    unknown_instrument += 1"


def _enter(table: Protocol, message: Message) -> Iterator[str]:
    symbol, directory = table.symbol_of(message), message.directory
    assert symbol is not None and directory is not None
    number = "0"
    if isinstance(table.instrument, ById):
        number = _load(table, message.layout[table.instrument.field])
    lot = _load(table, message.layout[directory.lot]) if directory.lot else "0"
    test = _holds(message, directory.test) if directory.test else "False"
    yield f"self.enter({number}, data + {symbol.offset}, {symbol.type.size}, {lot}, {test})"


def _holds(message: Message, condition: Equal | Bit) -> str:
    place = f"data[{message.layout[condition.field].offset}]"
    if isinstance(condition, Bit):
        return f"{place} & {condition.mask} != 0"
    return f"{place} == {ord(condition.value)}"


def _put(table: Protocol, message: Message, event: Event, tables: dict[int, str], last: bool) -> str:
    order_id = _load(table, message.layout[event.order_id]) if event.order_id else "0"
    price = "PRICE_NONE"
    if event.price:
        field = message.layout[event.price]
        price = f"{_signed(table, field)} * {field.type.scale}"
    if isinstance(event.size, Choice):
        size = _character(message, event.size, tables)
    elif isinstance(event.size, str):
        size = _load(table, message.layout[event.size])
    else:
        size = "SIZE_REST" if event.size == REST else str(event.size)
    side = _character(message, event.side, tables) if isinstance(event.side, Choice) else SIDE[event.side]
    flags = ["FLAG_MBP"] if event.level else []
    flags += ["FLAG_VENUE"] if event.venue else []
    if last and event.last:
        flags.append(f"(FLAG_LAST if {_holds(message, event.last)} else 0)")
    elif last:
        flags.append("FLAG_LAST")
    instrument, action = "0" if event.whole_channel else "instrument", ACTION[event.action]
    if event.action == "S" and not event.whole_channel:
        action = "ACTION_STATUS if instrument else ACTION_NONE"  # a status of no instrument is one of the whole channel
    return (
        f"event = put(event, ts, ts_recv, {order_id}, {price}, {size}, channel_seq, "
        f"word({instrument}, {action}, {side}, {' | '.join(flags) or '0'}) | common)"
    )


def _valid(table: Protocol, tables: dict[str, dict[int, str]]) -> Iterator[str]:
    yield "    cdef bint valid(self, const uint8_t *data, uint32_t length) noexcept nogil:"
    yield "        cdef int kind = data[0] if length else 0"
    for number, message in enumerate(table.messages):
        word = "if" if number == 0 else "elif"
        refusals = [f"length < {message.length}", *_refusals(table, message, tables[message.type])]
        yield f"        {word} kind == {ord(message.type)}:  # {message.type!r} {message.name}"
        yield f"            return not ({' or '.join(refusals)})"
    yield "        return True"

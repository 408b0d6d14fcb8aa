"""The tables read at run time, in plain Python: the oracle of the decoders, the encoder, the eyes of `inspect`.

Slow and obvious on purpose, and independent of the rendered code: both are made from the tables, neither from the
other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from feedhandler.decode.spec import BySymbol, Choice, Equal, Event, Field, Message, Protocol
from feedhandler.errors import FeedError
from feedhandler.records import EVENT, PRICE_NONE, Action, Flag, Side, Trading

Value = int | str
SIDES = {"B": Side.BID, "A": Side.ASK, "N": Side.NONE}


class MalformedError(FeedError):
    """A message is shorter than its table, or says what cannot be represented."""


def decode(protocol: Protocol, wire: bytes) -> dict[str, Value]:
    """The named fields of one message, after "type" and "name"; those of an unknown type are these two alone.

    Numbers are ints, prices ints in units of 1e-9, characters and text str (text without its right-hand blanks).
    Raises MalformedError when the message is shorter than its table.
    """
    message = message_of(protocol, wire)
    if message is None:
        return {"type": chr(wire[0]) if wire else "", "name": "unknown"}
    if len(wire) < message.length:
        raise MalformedError(f"{message.name}: {len(wire)} bytes, the table says {message.length}")
    view: dict[str, Value] = {"type": message.type, "name": message.name}
    for field in message.layout.values():
        view[field.name] = _value(protocol, field, wire)
    return view


def encode(protocol: Protocol, name: str, **fields: Value) -> bytes:
    """One message as it stands on the wire; the inverse of decode(). Fields left out are 0 or blank.

    Raises KeyError for an unknown message or field, ValueError for a value that its field cannot hold.
    """
    message = protocol.message(name)
    unknown = fields.keys() - message.layout.keys()
    if unknown:
        raise KeyError(f"{name} has no field {', '.join(sorted(unknown))}; it has {', '.join(message.layout)}")
    parts = [message.type.encode("latin-1")]
    for field in message.layout.values():
        parts.append(_bytes(protocol, field, fields.get(field.name)))
    return b"".join(parts)


def message_of(protocol: Protocol, wire: bytes) -> Message | None:
    """The row of a message's type; None for a type the table does not know, and for a message without bytes."""
    return protocol.by_type.get(chr(wire[0])) if wire else None


def accepts(protocol: Protocol, wire: bytes) -> bool:
    """Whether a decoder takes this message, rather than calling it malformed."""
    try:
        _check(protocol, wire)
    except MalformedError:
        return False
    return True


def events(
    protocol: Protocol, wires: Iterable[bytes], *, first_seq: int = 1, ts_recv: int = 0, line: int = 0
) -> np.ndarray[Any, np.dtype[np.void]]:
    """The events of a new session's messages up to the first malformed one, dtype EVENT; the date is not known."""
    return Interpreter(protocol).decode_bytes(wires, first_seq, ts_recv, line)


class Interpreter:
    """The plain form of a compiled decoder, with the same door: what it gives, a compiled decoder must give.

    `instruments` maps (symbol, venue) to an index, at most `capacity` of them; `directory` keeps what the feed said.
    """

    def __init__(self, protocol: Protocol, capacity: int = 2**20, venue: str | None = None) -> None:
        self.protocol = protocol
        self.venue = venue or protocol.venue
        self.capacity = capacity
        self.instruments: dict[tuple[str, str], int] = {}
        self.directory: dict[int, dict[str, int]] = {}
        self.ids: dict[int, int] = {}
        self.counts: Counter[str] = Counter()
        self.longer = self.unknown_type = self.unknown_instrument = self.instruments_full = self.taken = 0
        self.midnight = self.session_date = 0

    def start(self, midnight: int = 0, session_date: int = 0) -> None:
        """A new session: times count from `midnight` (ns since the Unix epoch, 0 = unknown), ids are forgotten."""
        self.midnight, self.session_date = midnight, session_date
        self.ids.clear()

    def decode_bytes(
        self, wires: Iterable[bytes], first_seq: int = 1, ts_recv: int = 0, line: int = 0
    ) -> np.ndarray[Any, np.dtype[np.void]]:
        """The events of a list of messages up to the first that is malformed, dtype EVENT; `taken` says how many."""
        made: list[tuple[int, ...]] = []
        self.taken = 0
        for wire in wires:
            try:
                _check(self.protocol, wire)
            except MalformedError:
                break
            sequence = first_seq + self.taken if first_seq else 0
            made += [(0, e[0], ts_recv, *e[1:4], sequence, *e[4:], line) for e in self._take(wire)]
            self.taken += 1
        return np.array(made, EVENT)

    def _take(self, wire: bytes) -> list[tuple[int, ...]]:
        """(ts_event, order_id, price, size, instrument, action, side, flags) of each event of a good message."""
        message = message_of(self.protocol, wire)
        self.counts[chr(wire[0]) if wire else "\0"] += 1
        if message is None:
            self.unknown_type += 1
            return []
        self.longer += len(wire) > message.length
        view = decode(self.protocol, wire)
        if message.directory:
            self._enter(message, view)
        if not message.events:
            return []
        everywhere = all(event.whole_channel for event in message.events)
        instrument = 0 if everywhere else self._instrument(message, view)
        ts, flags = int(view[self.protocol.clock.field]), 0
        if self.protocol.clock.since == "midnight":
            ts += self.midnight
            flags = 0 if self.midnight else Flag.BAD_TS
        made = [e for e in message.events if e.when is None or view[e.when.field] == e.when.value]
        return [(ts, *self._event(e, view, 0 if e.whole_channel else instrument, flags, e is made[-1])) for e in made]

    def _event(self, event: Event, view: dict[str, Value], instrument: int, flags: int, last: bool) -> tuple[int, ...]:
        order_id = int(view[event.order_id]) % 2**64 if event.order_id else 0
        price = int(view[event.price]) if event.price else PRICE_NONE
        if isinstance(event.size, Choice):
            size = int(Trading[_choose(event.size, view)])
        else:
            size = int(view[event.size]) if isinstance(event.size, str) else event.size
        side = SIDES[_choose(event.side, view) if isinstance(event.side, Choice) else event.side]
        if event.level:
            flags |= Flag.MBP
        if event.venue:
            flags |= Flag.VENUE
        if last and (event.last is None or int(view[event.last.field]) & event.last.mask):
            flags |= Flag.LAST
        action = Action(ord(event.action))
        if action == Action.STATUS and not instrument and not event.whole_channel:
            action = Action.NONE  # or it would be a status of the whole channel
        return order_id, price, size, instrument, action, side, flags

    def _instrument(self, message: Message, view: dict[str, Value]) -> int:
        naming, symbol = self.protocol.instrument, self.protocol.symbol_of(message)
        if isinstance(naming, BySymbol):
            index = self._define(str(view[naming.symbol]), 0)
        else:
            number = int(view[naming.field])
            index = self.ids.get(number, 0)
            if index == 0 and number and symbol:
                index = self._define(str(view[symbol.name]), number)
        self.unknown_instrument += index == 0
        return index

    def _define(self, symbol: str, number: int) -> int:
        symbol = symbol.rstrip(" \0")
        if not symbol or not all(" " <= c <= "~" for c in symbol):
            return 0
        key = symbol, self.venue
        if key not in self.instruments:
            if len(self.instruments) >= self.capacity:
                self.instruments_full += 1
                return 0
            self.instruments[key] = len(self.instruments) + 1
        index = self.instruments[key]
        entry = self.directory.setdefault(index, {"lot": 0, "flags": 0})
        entry.update(feed_id=number, session_date=self.session_date)
        if number:
            self.ids[number] = index
        return index

    def _enter(self, message: Message, view: dict[str, Value]) -> None:
        naming, said = self.protocol.instrument, message.directory
        assert said is not None
        number = 0 if isinstance(naming, BySymbol) else int(view[naming.field])
        index = self._define(str(view[naming.symbol]), number)
        if index == 0:
            self.unknown_instrument += 1
            return
        test = False
        if isinstance(said.test, Equal):
            test = view[said.test.field] == said.test.value
        elif said.test:
            test = int(view[said.test.field]) & said.test.mask != 0
        self.directory[index].update(lot=int(view[said.lot]) if said.lot else 0, flags=int(test))


def _check(protocol: Protocol, wire: bytes) -> None:
    """Raise MalformedError for a message that is too short, or whose events could not hold what it says."""
    message = message_of(protocol, wire)
    if message is None:
        return
    view = decode(protocol, wire)
    for event in message.events:
        if event.price and not _price_fits(message.layout[event.price], int(view[event.price])):
            raise MalformedError(f"{message.name}: {event.price} {view[event.price]} cannot be represented")
    for choice in message.choices:
        if choice.otherwise is None and view[choice.field] not in choice.table:
            raise MalformedError(f"{message.name}: {choice.field} is {view[choice.field]!r}")


def _price_fits(field: Field, price: int) -> bool:
    top = 2**63 - 1
    if field.type.maximum is not None and price > field.type.maximum * field.type.scale:
        return False
    return -top <= price <= top


def _choose(choice: Choice, view: dict[str, Value]) -> str:
    found = choice.table.get(str(view[choice.field]), choice.otherwise)
    assert found is not None
    return found


def _value(protocol: Protocol, field: Field, wire: bytes) -> Value:
    raw = wire[field.offset : field.offset + field.type.size]
    if field.type.kind in ("char", "alpha"):
        text = raw.decode("latin-1")
        return text if field.type.kind == "char" else text.rstrip(" ")
    number = int.from_bytes(raw, protocol.byte_order, signed=field.type.signed)
    return number * field.type.scale if field.type.kind == "price" else number


def _bytes(protocol: Protocol, field: Field, value: Value | None) -> bytes:
    kind = field.type
    if kind.kind in ("char", "alpha"):
        raw = str(" " if value is None else value).encode("latin-1").ljust(kind.size)
        if len(raw) > kind.size:
            raise ValueError(f"{field.name}: {value!r} has more than {kind.size} characters")
        return raw
    number = int(value or 0)
    if kind.kind == "price":
        number, rest = divmod(number, kind.scale)
        if rest:
            raise ValueError(f"{field.name}: {value} has more than {kind.decimals} decimals")
    try:
        return number.to_bytes(kind.size, protocol.byte_order, signed=kind.signed)
    except OverflowError:
        raise ValueError(f"{field.name}: {value} does not fit {kind.name}") from None

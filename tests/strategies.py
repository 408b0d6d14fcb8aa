"""Hypothesis strategies made from the protocol tables: every row gives its own messages."""

from __future__ import annotations

from hypothesis import strategies as st

from feedhandler.decode import tabled
from feedhandler.decode.interpret import encode
from feedhandler.decode.spec import ById, Choice, Equal, Field, Message, Protocol

MESSAGES = [(table, message) for table in tabled().values() for message in table.messages]
IDS = [f"{table.name}-{message.name}" for table, message in MESSAGES]
SYMBOLS = st.sampled_from(["AAPL", "MSFT", "ZVZZT", "BRK.B", "A", "QQQ", "ABCDEFGH"])


def _field(table: Protocol, message: Message, field: Field) -> st.SearchStrategy[int | str]:
    """Values that the field can hold and the events can represent, the edges among them."""
    kind = field.type
    symbol = table.symbol_of(message)
    if symbol is not None and field.name == symbol.name:
        return SYMBOLS
    if isinstance(table.instrument, ById) and field.name == table.instrument.field:
        return st.integers(0, 5) | st.sampled_from([0x7FFF, 0xFFFF])
    for choice in message.choices:
        if choice.field == field.name:
            return _choice(choice)
    conditions = [event.when for event in message.events if event.when] + [message.directory and message.directory.test]
    for condition in conditions:
        if isinstance(condition, Equal) and condition.field == field.name:
            return st.just(condition.value) | st.characters(min_codepoint=32, max_codepoint=126)
    if kind.kind in ("char", "alpha"):
        return st.text(st.characters(min_codepoint=0, max_codepoint=255), min_size=kind.size, max_size=kind.size).map(
            lambda text: text.rstrip(" ") or " "
        )
    bits = kind.size * 8
    least, greatest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind.signed else (0, 2**bits - 1)
    if kind.kind == "price":
        if field in message.prices:
            low, high = kind.limits
            least, greatest = least if low is None else low, greatest if high is None else high
        return (st.integers(least, greatest) | st.sampled_from([least, greatest])).map(lambda raw: raw * kind.scale)
    return st.integers(least, greatest) | st.sampled_from([least, greatest])


def _choice(choice: Choice) -> st.SearchStrategy[str]:
    known = st.sampled_from(sorted(choice.table))
    return known if choice.otherwise is None else known | st.characters(min_codepoint=0, max_codepoint=255)


def fields(table: Protocol, message: Message) -> st.SearchStrategy[dict[str, int | str]]:
    """Named values for every field of a message."""
    return st.fixed_dictionaries({name: _field(table, message, field) for name, field in message.layout.items()})


def wire(table: Protocol, message: Message) -> st.SearchStrategy[bytes]:
    """A well-formed message of this row, as it stands on the wire."""
    return fields(table, message).map(lambda values: encode(table, message.name, **values))


def any_wire(table: Protocol) -> st.SearchStrategy[bytes]:
    """A well-formed message of any row."""
    return st.sampled_from(table.messages).flatmap(lambda message: wire(table, message))


def hostile(table: Protocol) -> st.SearchStrategy[bytes]:
    """Anything: good messages, cut, extended or with bytes changed; unknown types; nothing at all."""
    good = any_wire(table)
    changed = st.tuples(good, st.integers(0, 10**6), st.integers(0, 255)).map(_change)
    cut = st.tuples(good, st.integers(0, 90)).map(lambda pair: pair[0][: pair[1]])
    longer = st.tuples(good, st.binary(min_size=1, max_size=9)).map(lambda pair: pair[0] + pair[1])
    return good | changed | cut | longer | st.binary(max_size=60)


def _change(drawn: tuple[bytes, int, int]) -> bytes:
    message, place, value = bytearray(drawn[0]), drawn[1], drawn[2]
    message[place % len(message)] = value
    return bytes(message)

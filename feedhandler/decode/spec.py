"""The language of the tables: what is on the wire, and what it means to a book.

A protocol is one `Protocol` of `Message` rows. From it are made the compiled decoder (`render`), the plain oracle and
encoder (`interpret`), the NumPy view (`arrays`) and the test strategies. This module imports nothing of the
package: tables are read before anything is built. All values here are checked when the table is made; a row that does
not add up raises `TableError` with the row's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

PRICE_EXPONENT = -9
REST = 2**64 - 1  # as an event's size: all that is left of the order
INT64_MAX = 2**63 - 1
EVENTS_MAX = 4  # MAX_EVENTS_PER_MESSAGE
ACTIONS = frozenset("ACMFTRSN")
TRADING = frozenset({"UNKNOWN", "PRE_OPEN", "TRADING", "QUOTE_ONLY", "PAUSED", "HALTED", "CLOSED"})


class TableError(ValueError):
    """A protocol's table contradicts itself; the message names the row."""


@dataclass(frozen=True)
class FieldType:
    """How one field stands on the wire. `decimals` is set for prices, `maximum` is the greatest raw value allowed."""

    name: str
    kind: Literal["uint", "int", "char", "alpha", "price"]
    size: int
    decimals: int = 0
    signed: bool = False
    maximum: int | None = None

    @property
    def scale(self) -> int:
        """Raw price x scale = price in units of 1e-9."""
        return int(10 ** (-PRICE_EXPONENT - self.decimals))

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """Least and greatest raw price that can be represented in an event; None where the type allows no other."""
        top = INT64_MAX // self.scale
        least = -top if self.signed else None
        greatest = top if self.maximum is None else min(top, self.maximum)
        bits = self.size * 8 - (1 if self.signed else 0)
        return least, (greatest if greatest < 2**bits - 1 else None)


u8 = FieldType("u8", "uint", 1)
u16 = FieldType("u16", "uint", 2)
u32 = FieldType("u32", "uint", 4)
u48 = FieldType("u48", "uint", 6)
u64 = FieldType("u64", "uint", 8)
i64 = FieldType("i64", "int", 8, signed=True)
char = FieldType("char", "char", 1)


def alpha(length: int) -> FieldType:
    """ASCII text, left-justified, blanks on the right."""
    if length < 1:
        raise TableError(f"alpha({length}): at least one character")
    return FieldType(f"alpha({length})", "alpha", length)


def price(length: int, *, decimals: int, signed: bool = False, maximum: int | None = None) -> FieldType:
    """An integer with so many implied decimals; `maximum` is the greatest raw value that the document allows."""
    if length not in (4, 8):
        raise TableError(f"price({length}): 4 or 8 bytes")
    if not 0 <= decimals <= -PRICE_EXPONENT:
        raise TableError(f"price with {decimals} decimals: 0 to {-PRICE_EXPONENT}")
    if signed and length != 8:
        raise TableError("signed prices have 8 bytes")
    return FieldType(f"price({length})", "price", length, decimals, signed, maximum)


@dataclass(frozen=True)
class Choice:
    """One character of the wire into one of ours: a side (`B`, `A`, `N`) or the name of a trading status.

    A character that is not in the table makes `otherwise`; without it, the message is malformed.
    """

    field: str
    table: Mapping[str, str]
    otherwise: str | None = None


@dataclass(frozen=True)
class Bit:
    """True when a bit of `mask` is set in a one-byte field."""

    field: str
    mask: int


@dataclass(frozen=True)
class Equal:
    """True when a one-character field has this value."""

    field: str
    value: str


@dataclass(frozen=True)
class Event:
    """One event that a message makes; strings are names of the message's fields.

    `size` is a field, REST, or (of a status) a Choice of trading statuses. What is left out is 0, or none of its kind.
    The last event of a message carries LAST, unless `last` names the bit that says so.
    """

    action: str
    order_id: str | None = None
    side: Choice | str = "N"
    price: str | None = None
    size: str | int | Choice = 0
    when: Equal | None = None  # made only then; never the last event of a message
    whole_channel: bool = False  # of no instrument
    level: bool = False  # MBP: the price level's new total, not an order
    venue: bool = False  # a status of this venue alone, beside the security's own
    last: Bit | None = None


@dataclass(frozen=True)
class Directory:
    """What a message tells the instrument directory, besides the symbol: the round lot, whether it is a test symbol."""

    lot: str | None = None
    test: Equal | Bit | None = None


@dataclass(frozen=True)
class Field:
    """One field of a message with its place; `offset` counts from the type byte."""

    name: str
    type: FieldType
    offset: int


@dataclass(frozen=True)
class Message:
    """One row: type character, stated total length (type byte included), our name, fields in the order of the wire.

    The stated length is a checksum of the row.
    """

    type: str
    length: int
    name: str
    section: str
    fields: tuple[tuple[str, FieldType], ...]
    event: Event | tuple[Event, ...] = ()
    directory: Directory | None = None

    def __post_init__(self) -> None:
        if len(self.type) != 1 or not 0 < ord(self.type) < 256:
            raise TableError(f"{self.name}: the type is one character, not {self.type!r}")
        if not self.name.isidentifier():
            raise TableError(f"{self.name!r}: the name of a message is an identifier")
        names = [name for name, _ in self.fields]
        for name in names:
            if names.count(name) > 1 or name in ("type", "name", "seq") or not name.isidentifier():
                raise TableError(f"{self.name}: a field may not be named {name!r}, or not twice")
        end = 1 + sum(kind.size for _, kind in self.fields)
        if end != self.length:
            raise TableError(f"{self.name}: fields end at {end}, the specification says {self.length}")
        for number, event in enumerate(self.events):
            self._check_event(event, number == len(self.events) - 1)
        if len(self.events) > EVENTS_MAX:
            raise TableError(f"{self.name}: {len(self.events)} events, at most {EVENTS_MAX}")
        if self.directory:
            self._expect(self.directory.lot, "lot", "uint")
            if self.directory.test:
                self._expect(self.directory.test.field, "test", "uint", "char", size=1)

    @property
    def events(self) -> tuple[Event, ...]:
        return (self.event,) if isinstance(self.event, Event) else self.event

    @cached_property
    def layout(self) -> dict[str, Field]:
        """The fields by name, with their offsets."""
        fields, offset = {}, 1
        for name, kind in self.fields:
            fields[name] = Field(name, kind, offset)
            offset += kind.size
        return fields

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The character tables that this message's events use, each once."""
        found = [c for event in self.events for c in (event.side, event.size) if isinstance(c, Choice)]
        return tuple(c for n, c in enumerate(found) if c not in found[:n])

    @property
    def prices(self) -> tuple[Field, ...]:
        """The price fields that this message's events use, each once."""
        return tuple(self.layout[name] for name in dict.fromkeys(e.price for e in self.events) if name is not None)

    def _expect(self, name: str | None, role: str, *kinds: str, size: int | None = None) -> None:
        if name is None:
            return
        if name not in self.layout:
            raise TableError(f"{self.name}: {role} names the field {name!r}, which the message does not have")
        kind = self.layout[name].type
        if kind.kind not in kinds or (size is not None and kind.size != size):
            raise TableError(f"{self.name}: {role} cannot be made of {name!r}, which is {kind.name}")

    def _check_event(self, event: Event, last: bool) -> None:
        if event.action not in ACTIONS:
            raise TableError(f"{self.name}: unknown action {event.action!r}; one of {' '.join(sorted(ACTIONS))}")
        self._expect(event.order_id, "order_id", "uint", "int")
        self._expect(event.price, "price", "price")
        if isinstance(event.side, Choice):
            self._check_choice(event.side, "side", frozenset("BAN"))
        elif event.side not in ("B", "A", "N"):
            raise TableError(f"{self.name}: unknown side {event.side!r}")
        if isinstance(event.size, Choice):
            self._check_choice(event.size, "size", TRADING)
        elif isinstance(event.size, str):
            self._expect(event.size, "size", "uint")
        if event.when:
            if last:
                raise TableError(f"{self.name}: the last event of a message cannot be conditional")
            self._expect(event.when.field, "when", "char")
        if event.last:
            self._expect(event.last.field, "last", "uint", size=1)

    def _check_choice(self, choice: Choice, role: str, ours: frozenset[str]) -> None:
        self._expect(choice.field, role, "char")
        results = set(choice.table.values()) | ({choice.otherwise} if choice.otherwise is not None else set())
        if not results <= ours or any(len(theirs) != 1 for theirs in choice.table):
            raise TableError(f"{self.name}: {role} maps to {sorted(results)}; known are {sorted(ours)}")


@dataclass(frozen=True)
class Clock:
    """How `ts_event` is made: nanoseconds in `field`, since the session's midnight in a zone, or since the Unix epoch.

    `zone` is the exchange's zone in either case: it says what the session's date is.
    """

    field: str
    since: Literal["midnight", "epoch"]
    zone: str


@dataclass(frozen=True)
class ById:
    """Instruments are named by a small number of the day; messages that also carry `symbol` can introduce one.

    `bits` 16 says that a plain array serves as the map. Number 0 names nobody.
    """

    field: str
    symbol: str
    bits: int = 16


@dataclass(frozen=True)
class BySymbol:
    """Instruments are named by a symbol in every message: of tables 8 characters."""

    symbol: str


Joined = Literal["ranges", "chain", "stamps", "snapshot first"]


@dataclass(frozen=True)
class TextRules:
    """A protocol of JSON texts, which no table describes: its decoder is written by hand, `ext/.../NAME/_decoder.pyx`.

    joined  how the texts of one book follow each other:
            "ranges"          numbered first..last, onto the REST snapshot; each begins where the one before ended
            "chain"           the same, but each names the last number of the one before
            "stamps"          rising times, onto the REST snapshot; a loss does not show
            "snapshot first"  the snapshot comes on the connection itself; a lost connection is a lost book
    types   the character under which the decoder counts a text, and the venue's name for such texts
    summed  with each update comes the venue's checksum of the book, which is verified
    """

    joined: Joined
    types: Mapping[str, str]
    summed: bool = False

    @property
    def numbered(self) -> bool:
        """Changes are numbered: what the venue itself left out shows."""
        return self.joined in ("ranges", "chain")

    def __post_init__(self) -> None:
        for letter, name in (TEXT_TYPES | dict(self.types)).items():
            if len(letter) != 1 or not name:
                raise TableError(f"text types: {letter!r}: {name!r}: one character, and what it stands for")
        if taken := sorted(set(self.types) & set(TEXT_TYPES)):
            raise TableError(f"text types: {', '.join(taken)} are of every venue: {TEXT_TYPES}")


TEXT_TYPES = {"I": "instruments", "L": "life of a connection", "?": "unknown"}
"""Types of every protocol of JSON texts: those of the control line, and what nobody knows."""


@dataclass(frozen=True)
class Protocol:
    """All there is of a protocol above its framing.

    `text` says that its messages are JSON texts: then there are no rows, and byte order and clock say nothing.
    """

    name: str  # of the folder, in configurations and on the command line
    title: str  # for people: document and version
    byte_order: Literal["big", "little"]
    framing: str  # name in feedhandler.session
    book: Literal["orders", "levels"]
    venue: str  # default venue (MIC), at most 8 characters
    clock: Clock
    instrument: ById | BySymbol
    messages: tuple[Message, ...]
    price_exponent: int = PRICE_EXPONENT  # of the events
    size_exponent: int = 0
    price_decimals: int = 4  # as sent
    size_decimals: int = 0
    framing_options: Mapping[str, int] = field(default_factory=dict)
    market_hours: tuple[str, str] | None = None  # codes of the event of the whole channel that begins and ends them
    text: TextRules | None = None
    by_type: dict[str, Message] = field(init=False, repr=False, compare=False)
    by_name: dict[str, Message] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_type", {m.type: m for m in self.messages})
        object.__setattr__(self, "by_name", {m.name: m for m in self.messages})
        if len(self.by_type) != len(self.messages) or len(self.by_name) != len(self.messages):
            raise TableError(f"{self.name}: two messages have the same type or the same name")
        if self.price_exponent != PRICE_EXPONENT and self.text is None:
            raise TableError(f"{self.name}: price_exponent {self.price_exponent}; events carry prices in 1e-9")
        if len(self.venue) > 8:
            raise TableError(f"{self.name}: a venue has at most 8 characters: {self.venue!r}")
        if isinstance(self.instrument, ById) and self.instrument.bits != 16:
            raise TableError(f"{self.name}: ids of {self.instrument.bits} bits; decoders map ids of 16")
        if self.text and self.messages:
            raise TableError(f"{self.name}: a protocol of texts has no rows")
        for message in self.messages:
            self._check(message)

    def message(self, name: str) -> Message:
        """The row of this name. Raises KeyError with the names there are."""
        if name not in self.by_name:
            raise KeyError(f"{self.name} has no message {name!r}; it has {', '.join(self.by_name)}")
        return self.by_name[name]

    def symbol_of(self, message: Message) -> Field | None:
        """The field in which this message names its instrument's symbol, if it does."""
        return message.layout.get(self.instrument.symbol)

    def options_of(self, framing: str) -> Mapping[str, int]:
        """What this framing takes beside its name where it carries this protocol."""
        return self.framing_options if framing == self.framing else {}

    def read(self, path: str | Path, *, strict: bool = True) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """A file of length-prefixed messages as structured arrays by message name; see `feedhandler.decode.arrays`."""
        from feedhandler.decode.arrays import read

        return read(self, path, strict=strict)

    def _check(self, message: Message) -> None:
        stamp = message.layout.get(self.clock.field)
        if message.events and (stamp is None or stamp.type.kind not in ("uint", "int")):
            raise TableError(f"{message.name}: makes events, but has no time in {self.clock.field!r}")
        symbol = self.symbol_of(message)
        if symbol and symbol.type.kind != "alpha":
            raise TableError(f"{message.name}: {symbol.name!r} is {symbol.type.name}; a symbol is alpha")
        named = any(not event.whole_channel for event in message.events) or message.directory is not None
        if isinstance(self.instrument, BySymbol):
            if named and (symbol is None or symbol.type.size != 8):
                raise TableError(f"{message.name}: has no symbol of 8 characters in {self.instrument.symbol!r}")
        elif named and message.layout.get(self.instrument.field, Field("", u8, 0)).type is not u16:
            raise TableError(f"{message.name}: has no u16 in {self.instrument.field!r} to name its instrument")
        if message.directory and symbol is None:
            raise TableError(f"{message.name}: fills the directory, but carries no symbol")
        for used in message.prices:
            if used.type.decimals > -PRICE_EXPONENT:
                raise TableError(f"{message.name}: {used.name} has more decimals than an event's price")


def texts(
    *,
    name: str,
    title: str,
    venue: str,
    time: str,
    symbol: str,
    joined: Joined,
    types: Mapping[str, str],
    decimals: int = 8,
    price_exponent: int = PRICE_EXPONENT,
    summed: bool = False,
) -> Protocol:
    """A protocol of JSON texts over WebSockets; `time` and `symbol` are the keys under which the venue sends them."""
    return Protocol(
        name=name,
        title=title,
        byte_order="little",
        framing="websocket",
        book="levels",
        venue=venue,
        clock=Clock(time, since="epoch", zone="UTC"),
        instrument=BySymbol(symbol),
        messages=(),
        price_exponent=price_exponent,
        size_exponent=-8,
        price_decimals=decimals,
        size_decimals=decimals,
        text=TextRules(joined, types, summed),
    )

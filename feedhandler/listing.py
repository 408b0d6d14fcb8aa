"""The messages of a recording, one by one, for people: sifted by compiled code, read by the plain interpreter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from feedhandler import decode
from feedhandler.closing import Closing
from feedhandler.decode import interpret
from feedhandler.decode.spec import ById, Protocol
from feedhandler.errors import ConfigError
from feedhandler.receive._receiver import Receiver
from feedhandler.recording import ALL, RecordedLine, Recording, Window
from feedhandler.recording.lines import framing_of
from feedhandler.research._measures import Measures
from feedhandler.research._sieve import Sieve
from feedhandler.research.conditions import Condition
from feedhandler.research.moments import of_the_day
from feedhandler.research.texts import Texts, fields, holds

AT_ONCE = 256
QUIET = 200_000  # messages of a recording's beginning without a new name, after which all are taken to be known


@dataclass(frozen=True)
class Wanted:
    """Which messages are listed: what is left empty lets all pass."""

    types: frozenset[str] = frozenset()
    """Type characters."""
    symbols: frozenset[str] = frozenset()
    lines: frozenset[str] = frozenset()
    """Lines by their names, as `A` or, of one channel alone, `itch/A`."""
    numbers: tuple[int, int] | None = None
    """First and last of the feed's numbers, both included."""
    where: tuple[Condition, ...] = ()
    """All of them must hold; a message without the field does not pass."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message. `seq` is the feed's number, `ts_recv` in ns since the Unix epoch, both 0 where there is none.

    `fields` are the message's by name: numbers as ints, prices as ints in units of 1e-9, characters as text. `fault`
    says what is wrong with a malformed message, which has no fields. `wire` is the message as it was sent. Of a JSON
    text `type` is the letter that its decoder counts it under, `seq` the number of its last change, and `fields` are
    its plain values as they stand there.
    """

    seq: int
    ts_recv: int
    line: int
    type: str
    name: str
    symbol: str
    fields: dict[str, int | str] = field(default_factory=dict)
    fault: str = ""
    wire: bytes = b""


class Listing(Closing):
    """An iterator over the messages of a recording: every copy on every line, in the order of their times.

    `window`, `channels` and `follow` as of `Recording.receiver`; with `follow`, None comes where nothing waits.
    The symbol of a message that carries only the feed's id is the one the recording gave that id before, or, where the
    window begins later, at its beginning. Of streams all is read, and what came before the window left out. `types`
    counts the messages read by type, `refused` the packets that their session's framing does not take. Messages of
    unknown protocols are left out.

    Raises CaptureError when a file is damaged, after every whole message; ConfigError when no protocol is recognised,
    or `wanted` names what is not there.
    """

    def __init__(
        self,
        recording: Recording | str | Path,
        wanted: Wanted = Wanted(),
        *,
        window: Window = ALL,
        channels: Sequence[str] | None = None,
        follow: bool = False,
    ) -> None:
        if not isinstance(recording, Recording):
            recording = Recording(recording)
        names = recording.channels(channels)
        lines = [line for name in names for line in recording.lines if line.channel == name]
        self.protocols: list[Protocol] = [decode.protocol(line.protocol) for line in lines]
        self.lines = [line.name if len(names) == 1 else f"{line.channel}/{line.name}" for line in lines]
        """Names of the lines by number; of several channels, CHANNEL/LINE."""
        self.channels = [line.channel for line in lines]
        self._tables = list({table.name: table for table in self.protocols}.values())
        self._start: int | None = None
        if any(line.stream for line in lines):  # whose numbers and messages follow from the beginning
            self._start, window = window.start, Window(None, window.end)
        self._receiver = recording.receiver(window, follow=follow, channels=names)
        self._sieve = self._made(self._receiver, lines, names)
        self._texts = {table.name: Texts(table) for table in self._tables if table.text is not None}
        self._wanted, self._text_types = wanted, Counter[str]()
        self._text_symbols: set[str] = set()
        self._choose(wanted)
        if window.start is not None and any(isinstance(table.instrument, ById) for table in self._tables):
            self._learn(recording, lines, names, window.start)

    @property
    def offset(self) -> int:
        """Bytes of the files that have been read."""
        return self._receiver.offset

    @property
    def read(self) -> int:
        """Messages read so far."""
        return self._sieve.read

    @property
    def refused(self) -> int:
        """Packets of another protocol, or damaged."""
        return self._sieve.refused

    @property
    def types(self) -> Counter[str]:
        """Messages read so far by type; "" are those without a byte."""
        if self._texts:
            return Counter(self._text_types)
        return Counter({chr(kind) if kind >= 0 else "": count for kind, count in self._sieve.types.items()})

    @property
    def symbols(self) -> set[str]:
        """The symbols that have been named so far."""
        if self._texts:
            return self._text_symbols - {""}
        return {name.decode("latin-1") for name in self._sieve.symbols_named}

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.entries():
            if entry is not None:
                yield entry

    def entries(self) -> Iterator[Entry | None]:
        """The same; None where nothing was found for a while, or nothing waits: a place to look at the clock."""
        for found in self._taken():
            if found is None:
                yield None
            elif self.protocols[found[2]].text is None:
                yield self._entry(*found)
            elif (entry := self._text(found[1], found[2], found[4])) is not None:
                yield entry

    def raw(self) -> Iterator[tuple[int, int, int, bytes]]:
        """The same messages undecoded: (seq, ts_recv, line, bytes)."""
        for found in self._taken():
            if found is not None:
                seq, ts_recv, line, _, wire = found
                yield seq, ts_recv, line, wire

    def measure(self, measures: Measures, progress: Callable[[int], None]) -> None:
        """Have all that is wanted measured. Raises as iterating does."""
        for number, table in enumerate(self._tables):
            clock = table.clock
            for message in table.messages:
                if (stamp := message.layout.get(clock.field)) is not None:
                    place = (stamp.offset, stamp.type.size, table.byte_order == "big", clock.since == "midnight")
                    measures.describe(number, ord(message.type), *place)
        for channel in range(len(set(self.channels))):
            measures.open_channel(channel)
        start = () if self._start is None else (self._start,)
        while self._sieve.measure(measures, *start):
            progress(self.offset)
        measures.finish()
        if self._receiver.error is not None:
            raise self._receiver.error

    def table(self, entry: Entry) -> Protocol:
        """The protocol of the line that brought this message."""
        return self.protocols[entry.line]

    def stop_following(self) -> None:
        """What has been recorded until now is all."""
        self._receiver.stop_following()

    def close(self) -> None:
        """Close the files. Harmless when done twice."""
        self._receiver.close()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _taken(self) -> Iterator[tuple[int, int, int, bytes, bytes] | None]:
        while not self._sieve.ended:
            found = self._sieve.take(AT_ONCE)
            yield from found if self._start is None else [each for each in found if each[1] >= self._start]
            if not found:
                yield None
        if self._receiver.error is not None:
            raise self._receiver.error

    def _made(self, receiver: Receiver, lines: Sequence[RecordedLine], channels: Sequence[str]) -> Sieve:
        order = [table.name for table in self._tables]
        places = [(framing_of(line), order.index(line.protocol), channels.index(line.channel)) for line in lines]
        sieve = Sieve(receiver, places, [table.byte_order == "big" for table in self._tables])
        for number, table in enumerate(self._tables):
            naming = table.instrument
            for message in table.messages:
                symbol = table.symbol_of(message)
                by_id = message.layout.get(naming.field) if isinstance(naming, ById) else None
                where = (symbol.offset, symbol.type.size) if symbol else (0, 0)
                sieve.describe(number, ord(message.type), message.length, by_id.offset if by_id else 0, *where)
        return sieve

    def _choose(self, wanted: Wanted) -> None:
        sieve = self._sieve
        if self._texts:  # the sieve knows bytes at their places; what a text is about is asked of its decoder
            if others := [table.name for table in self._tables if table.text is None]:
                raise ConfigError(f"{', '.join(others)} beside JSON texts: list them apart, with --channels")
            if wanted.lines:
                sieve.only_lines({number for name in wanted.lines for number in self._lines_of(name)})
            return
        if wanted.types:
            for number in range(len(self._tables)):
                sieve.only_types(number, {ord(kind) for kind in wanted.types if len(kind) == 1 and ord(kind) < 256})
        if wanted.symbols:
            sieve.only_symbols([symbol.encode("latin-1", "replace") for symbol in sorted(wanted.symbols)])
        if wanted.lines:
            sieve.only_lines({number for name in wanted.lines for number in self._lines_of(name)})
        if wanted.numbers:
            sieve.only_numbers(*wanted.numbers)
        for index, condition in enumerate(wanted.where):
            for number, message, rule in condition.rules(self._tables):
                sieve.rule(index, number, ord(message.type), *rule)

    def _lines_of(self, name: str) -> list[int]:
        found = [i for i, line in enumerate(self.lines) if name in (line, line.rpartition("/")[2])]
        if not found:
            raise ConfigError(f"there is no line {name!r}; there are {', '.join(self.lines)}")
        return found

    def _learn(self, recording: Recording, lines: Sequence[RecordedLine], names: Sequence[str], end: int) -> None:
        """Whom the feed's ids name, from the beginning of the recording, where days begin with their directory."""
        with recording.receiver(Window(None, end), channels=names) as receiver:
            sieve = self._made(receiver, lines, names)
            for number, table in enumerate(self._tables):
                kinds = {ord(m.type) for m in table.messages if m.directory is not None}
                sieve.only_types(number, kinds)
            named_at = 0
            while not sieve.ended and sieve.read - named_at < QUIET:
                if sieve.take(AT_ONCE):
                    named_at = sieve.read
        self._sieve.names_of(sieve)

    def _text(self, ts_recv: int, line: int, wire: bytes) -> Entry | None:
        """A JSON text; None: it is not wanted."""
        wanted, reader = self._wanted, self._texts[self.protocols[line].name]
        kind, symbol, number = reader.look(wire)
        self._text_types[kind] += 1
        self._text_symbols.add(symbol)
        if (wanted.types and kind not in wanted.types) or (wanted.symbols and symbol not in wanted.symbols):
            return None
        if wanted.numbers and not wanted.numbers[0] <= number <= wanted.numbers[1]:
            return None
        values, fault = fields(wire), reader.fault(wire)
        if not holds(wanted.where, values):
            return None
        return Entry(number, ts_recv, line, kind, reader.name(kind), symbol, {} if fault else values, fault, wire)

    def _entry(self, seq: int, ts_recv: int, line: int, symbol: bytes, wire: bytes) -> Entry:
        table = self.protocols[line]
        who, kind = symbol.decode("latin-1"), chr(wire[0]) if wire else ""
        try:
            view = interpret.decode(table, wire)
        except interpret.MalformedError as fault:
            return Entry(seq, ts_recv, line, kind, table.by_type[kind].name, "", fault=str(fault), wire=wire)
        name = str(view.pop("name"))
        del view["type"]
        return Entry(seq, ts_recv, line, kind, name, who, view, wire=wire)


def between(recording: Recording, begin: str, end: str) -> tuple[Condition, ...]:
    """--from and --to for recordings without times (BinaryFILE): HH:MM[:SS[.f]] by the exchange's own clock.

    Raises RecordingError for another word, ConfigError for a protocol whose times are not of the day.
    """
    made = []
    for operator, word in ((">=", begin), ("<", end)):
        for clock in {decode.protocol(line.protocol).clock for line in recording.lines} if word else ():
            if clock.since != "midnight":
                raise ConfigError(f"{word!r}: the recording has no times of its own, and its protocol none of the day")
            made.append(Condition(clock.field, operator, str(of_the_day(word))))
    return tuple(made)

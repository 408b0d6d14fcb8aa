"""The messages of a capture, one by one, as the plain interpreter reads them: for people, not for speed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from feedhandler.capture_config import capture_config
from feedhandler.decode import interpret, protocol
from feedhandler.decode.spec import BySymbol, Protocol
from feedhandler.receive import capture
from feedhandler.session import framing


@dataclass(frozen=True, slots=True)
class Entry:
    """One message. `seq` is the feed's number, `ts_recv` in ns since the Unix epoch, both 0 where there is none.

    `fields` are the message's by name: numbers as ints, prices as ints in units of 1e-9, characters as text. `fault`
    says what is wrong with a malformed message, which has no fields.
    """

    seq: int
    ts_recv: int
    line: int
    type: str
    name: str
    symbol: str
    fields: dict[str, int | str] = field(default_factory=dict)
    fault: str = ""


class Listing:
    """An iterator over the messages of a capture or BinaryFILE: every copy on every line, in the order of the file.

    The protocol is recognised where it can be, unless it is given; streams of no known protocol are left out. `only`
    names the types of message to be given out; all, when it is empty. The symbol of a message that carries only the
    feed's id is the one the file gave that id before. `types` counts the messages read by type, `refused` the packets
    that their session's framing does not take.

    Raises CaptureError when the file is damaged, after every whole message before the damage; ConfigError when the
    protocol is unknown or cannot be recognised.
    """

    def __init__(self, path: Path, protocol_name: str | None = None, only: frozenset[str] = frozenset()) -> None:
        config, _ = capture_config(path, protocol_name)
        self.types: Counter[str] = Counter()
        self.refused = 0
        lines = [(channel, line) for channel in config.channels for line in channel.lines]
        self.lines = [line.name for _, line in lines]
        """Names of the lines by number."""
        self.protocols: list[Protocol] = [protocol(channel.protocol) for channel, _ in lines]
        self._channels = [channel.name for channel, _ in lines]
        self._framings = [framing(channel.session) for channel, _ in lines]
        self._only = only
        self._symbols: dict[tuple[str, int], str] = {}
        targets = [(line.group, line.port) for _, line in lines if line.group]
        self._receiver = capture.receiver(path, targets or None)

    @property
    def offset(self) -> int:
        """Bytes of the file (unpacked) that have been read."""
        return self._receiver.offset

    def __iter__(self) -> Iterator[Entry]:
        for seq, ts_recv, line, message in self.raw():
            kind = chr(message[0]) if message else ""
            self.types[kind] += 1
            if not self._only or kind in self._only:
                yield self._entry(seq, ts_recv, line, kind, message)
            elif self._names_somebody_new(line, kind, message):
                self._entry(seq, ts_recv, line, kind, message)

    def raw(self) -> Iterator[tuple[int, int, int, bytes]]:
        """The same messages undecoded: (seq, ts_recv, line, bytes)."""
        while packets := self._receiver.drain(64):
            for line, ts_recv, payload in packets:
                for frame, messages in self._framings[line].feed(payload):
                    self.refused += frame["kind"] == "bad"
                    first = frame["first_seq"]
                    for i, message in enumerate(messages):
                        yield (first + i if first else 0), ts_recv, line, message
        if self._receiver.error is not None:
            raise self._receiver.error

    def table(self, entry: Entry) -> Protocol:
        """The protocol of the line that brought this message."""
        return self.protocols[entry.line]

    def close(self) -> None:
        """Close the file. Harmless when done twice."""
        self._receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _names_somebody_new(self, line: int, kind: str, message: bytes) -> bool:
        """Whether a message gives a symbol to an id of the feed that has none yet; cheaper than decoding it."""
        table = self.protocols[line]
        row, naming = table.by_type.get(kind), table.instrument
        if row is None or isinstance(naming, BySymbol) or table.symbol_of(row) is None or len(message) < row.length:
            return False
        place = row.layout[naming.field]
        number = int.from_bytes(message[place.offset : place.offset + place.type.size], table.byte_order)
        return (self._channels[line], number) not in self._symbols

    def _entry(self, seq: int, ts_recv: int, line: int, kind: str, message: bytes) -> Entry:
        table = self.protocols[line]
        try:
            view = interpret.decode(table, message)
        except interpret.MalformedError as fault:
            return Entry(seq, ts_recv, line, kind, table.by_type[kind].name, "", fault=str(fault))
        name = str(view.pop("name"))
        del view["type"]
        return Entry(seq, ts_recv, line, kind, name, self._symbol(line, view), view)

    def _symbol(self, line: int, view: dict[str, int | str]) -> str:
        naming = self.protocols[line].instrument
        symbol = str(view.get(naming.symbol, ""))
        if isinstance(naming, BySymbol):
            return symbol
        key = (self._channels[line], int(view.get(naming.field, 0)))
        if symbol:
            self._symbols[key] = symbol
        return self._symbols.get(key, "")

"""A shard of one JSON channel on a table: packets of WebSocket bytes in, books and events out; no socket, no clock."""

import json
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from feedhandler import decode
from feedhandler._handler import Shard
from feedhandler._instruments import Instruments
from feedhandler.book import LevelBook
from feedhandler.counters import CHANNEL, LINE, by_name
from feedhandler.decode._text import TextDecoder
from feedhandler.line import Resync, Resyncs, Splicer
from feedhandler.publish import Publisher, Segment
from feedhandler.records import Quality, Reason
from feedhandler.rehearse._packets import PacketQueue
from feedhandler.session import framing

MS = 1_000_000
LINE_DOWN, LINE_UP = 0, 1
DEPTH = 20


def frame(text: bytes) -> bytes:
    """One unmasked text frame, as a server sends it."""
    if len(text) < 126:
        return bytes([0x81, len(text)]) + text
    if len(text) < 65536:
        return b"\x81\x7e" + len(text).to_bytes(2, "big") + text
    return b"\x81\x7f" + len(text).to_bytes(8, "big") + text


def packed(message: Any) -> bytes:
    """A message as a venue writes it, unless it is bytes already."""
    return message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":")).encode()


class World:
    """`lines` connections and the control line. Times are milliseconds from the beginning."""

    LEVEL_BYTES: int | None = None

    def __init__(self, venue: str, lines: int = 1, *, wishing: bool = True, **options: Any) -> None:
        self.venue, self.lines = venue, lines
        self.segment = Segment.anonymous(depth=DEPTH, instruments=32, lines=lines + 1)
        self.instruments = Instruments(self.segment.directory, self.segment.symbols, self.segment.part("directory"))
        decoder = decode.decoder(venue, self.instruments, 0, venue[:8].upper())
        assert isinstance(decoder, TextDecoder)
        self.decoder = decoder
        self.resyncs = Resyncs()
        self.splicer = Splicer(
            lines + 1,
            decoder=decoder,
            resyncs=self.resyncs if wishing else None,
            window_messages=64,
            **{"reorder_us": 5_000, **options},
        )
        self.books = LevelBook(self.segment.books, depth=DEPTH, by_snapshot=True, level_bytes=self.LEVEL_BYTES)
        self.receiver = PacketQueue(lines + 1)
        self.publisher = Publisher(self.segment.memory)
        self.shard = Shard(
            self.receiver,
            self.publisher,
            [(framing("websocket"), 0) for _ in range(lines + 1)],
            [(self.splicer, decoder, self.books, [])],
            latency_sample=0,
        )
        self.connections = [0] * (lines + 1)
        self.ms = 0
        self._seen = 0
        for line in range(lines + 1):
            self.connect(line)

    # -- in ------------------------------------------------------------------------------------------------------------

    def data(self, line: int, data: bytes, ms: float | None = None) -> None:
        """Bytes of a connection as they come."""
        if ms is not None:
            self.ms = int(ms)
        self.receiver.put(line, (1 + self.ms) * MS, data)
        self.shard.step()

    def say(self, line: int, *messages: Any, ms: float | None = None) -> None:
        """Whole texts, one packet."""
        self.data(line, b"".join(frame(packed(message)) for message in messages), ms)

    def control(self, *messages: Any, ms: float | None = None) -> None:
        self.say(self.lines, *messages, ms=ms)

    def life(self, line: int, state: str, reason: str = "SUBSCRIBED") -> None:
        self.control({"life": state, "line": line, "from": "SYNCHRONIZING", "reason": reason, "at": (1 + self.ms) * MS})

    def connect(self, line: int) -> None:
        """A new connection: what comes next is its first byte."""
        self.connections[line] += 1
        self.receiver.connect(line, self.connections[line], LINE_UP)
        self.shard.step()

    def cut(self, line: int) -> None:
        self.receiver.connect(line, self.connections[line], LINE_DOWN)
        self.shard.step()

    def pass_time(self, ms: float) -> None:
        """Time passes: as a packet of the control line that says nothing, since recorded time has no other clock."""
        self.ms += int(ms)
        self.data(self.lines, b"\x89\x00")

    # -- out -----------------------------------------------------------------------------------------------------------

    def index(self, symbol: str) -> int:
        for i, entry in enumerate(self.segment.directory):
            if entry["symbol"].rstrip(b"\0") == symbol.encode():
                return i
        raise KeyError(symbol)

    def state(self, symbol: str) -> tuple[Quality, Reason]:
        head = self.books.book(self.index(symbol))[0]
        return Quality(int(head["quality"])), Reason(int(head["reason"]))

    def number(self, symbol: str) -> int:
        return int(self.books.book(self.index(symbol))[0]["channel_seq"])

    def book(self, symbol: str) -> tuple[dict[int, int], dict[int, int]]:
        """Price (in 1e-9) to size (in 1e-8) of both sides, as far as they are published."""
        index = self.index(symbol)
        entry = self.segment.directory[index]
        units = Fraction(10) ** (9 + int(entry["price_exponent"])), Fraction(10) ** (8 + int(entry["size_exponent"]))
        _, bids, asks = self.books.book(index)
        return _levels(bids, *units), _levels(asks, *units)

    @property
    def counts(self) -> dict[str, int]:
        return dict(by_name(CHANNEL, self.segment.channels[0]))

    def line_counts(self, line: int) -> dict[str, int]:
        return dict(by_name(LINE, self.segment.lines[line]))

    @property
    def word(self) -> tuple[Quality, Reason]:
        record = self.segment.channels[0]
        return Quality(int(record["quality"])), Reason(int(record["reason"]))

    def wishes(self) -> list[Resync]:
        return self.resyncs.take()

    def events(self) -> np.ndarray[Any, Any]:
        """The events since the last call."""
        head = int(self.segment.rings["head"][0])
        first, self._seen = self._seen + 1, head
        return self.segment.slots[first : head + 1].copy()


def _levels(levels: Iterable[Any], price: Fraction, size: Fraction) -> dict[int, int]:
    return {int(int(level["price"]) * price): int(int(level["size"]) * size) for level in levels}

"""Where the packets of a rehearsal come from: a capture, or a simulated day. One line, nothing lost."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from feedhandler import decode
from feedhandler.capture_config import capture_config
from feedhandler.decode.session_date import midnight
from feedhandler.errors import CaptureError, ConfigError
from feedhandler.receive import capture
from feedhandler.rehearse.wire import END_OF_SESSION, MOLD, Wire
from feedhandler.simulate._exchange import Exchange
from feedhandler.simulate._feed import BlockSource, Feed, ReceiverBlocks

Packets = Iterable[tuple[int, bytes]]

SESSION = b"REHEARSAL "
DATE = datetime.date(2026, 1, 5)
ZONE = "America/New_York"
OPEN_NS = 34_200_000_000_000  # ns since midnight: where the time of a file without receive times begins
FLUSH_NS = 100_000  # messages that fall due within so long share a packet
HEARTBEAT_NS = 1_000_000_000
MTU = 1400
COPIES = 8192  # packets of the other lines that are remembered, to pass each packet of a capture once


@dataclass(frozen=True)
class Source:
    """A stream of packets `(ts_ns, payload)` that can be read again and again.

    `packets()` gives it from the start. `day` is its session date, if known; `total` about how many packets it has.
    """

    name: str
    protocol: str
    framing: str
    packets: Callable[[], Packets]
    day: datetime.date | None = None
    total: int | None = None
    notes: tuple[str, ...] = ()


def listed(packets: Iterable[tuple[int, bytes]], protocol: str = "itch50", framing: str = "moldudp64") -> Source:
    """A source of packets in memory."""
    kept = list(packets)
    return Source("packets", protocol, framing, lambda: kept, DATE, len(kept))


def from_simulation(*, symbols: int = 50, messages: int = 200_000, seed: int = 1, rate: float = 100_000.0) -> Source:
    """A simulated day at an even rate of messages a second."""

    def packets() -> Iterator[tuple[int, bytes]]:
        exchange = Exchange(symbols=symbols, messages=messages, seed=seed)
        return in_packets(exchange, rate=rate)

    Exchange(symbols=symbols, messages=messages, seed=seed)  # whatever is wrong with the options shows now
    return Source(f"simulate (seed {seed})", "itch50", "moldudp64", packets, DATE)


def from_capture(path: str | Path, protocol: str | None = None, *, rate: float = 100_000.0) -> Source:
    """The packets of a capture's first channel, each once, whichever of its lines had it first.

    A BinaryFILE has no packets: its messages are put into MoldUDP64 packets, `rate` of them a second. Raises
    CaptureError and ConfigError as `capture_config` does, and when the packets bear no sequence numbers.
    """
    path = Path(path)
    config, _ = capture_config(path, protocol)
    channel = config.channels[0]
    notes = []
    if channel.session == "binaryfile":

        def messages() -> Iterator[tuple[int, bytes]]:
            with capture.receiver(path) as file:
                yield from in_packets(ReceiverBlocks(file), rate=rate)

        return Source(path.name, channel.protocol, "moldudp64", messages, DATE)
    if len(config.channels) > 1:
        notes.append(f"{path.name} has {len(config.channels)} channels; {channel.name} is rehearsed")
    lines = [(line.group, line.port) for line in channel.lines]
    wire = Wire(channel.session)
    framing = decode.protocol(channel.protocol).framing

    def packets() -> Iterator[tuple[int, bytes]]:
        return _each_once(path, lines, wire)

    for _, packet in packets():
        head = wire.head(packet)
        if head is None or not head.first or not head.session.strip(b"\0 "):
            raise ConfigError(f"{path}: its packets bear no sequence numbers, so nothing can be missed or recovered")
        break
    else:
        raise CaptureError(f"{path}: no packet of {channel.protocol} in it")
    return Source(path.name, channel.protocol, framing, packets, channel.date, notes=tuple(notes))


def in_packets(
    blocks: BlockSource, *, rate: float, start: int | None = None, session: bytes = SESSION, flush_ns: int = FLUSH_NS
) -> Iterator[tuple[int, bytes]]:
    """Messages in MoldUDP64 packets, `rate` a second, with heartbeats, and the end of the session at the end."""
    now = midnight(DATE, ZONE) + OPEN_NS if start is None else start
    feed = Feed(blocks, rate=rate)
    feed.start_at(now)
    buffer, number = bytearray(MTU - MOLD.size), 1
    while (due := feed.next_due()) is not None:
        while due - now > HEARTBEAT_NS:
            now += HEARTBEAT_NS
            yield now, MOLD.pack(session, number, 0)
        now = max(now, due + flush_ns)
        size, count = feed.take(buffer, now)
        yield now, MOLD.pack(session, number, count) + bytes(buffer[:size])
        number += count
    if blocks.error is not None:
        raise blocks.error
    yield now + HEARTBEAT_NS // 10, MOLD.pack(session, number, END_OF_SESSION)


def _each_once(path: Path, lines: list[tuple[str, int]], wire: Wire) -> Iterator[tuple[int, bytes]]:
    """Each packet of these lines once: a copy that another line had before is passed over."""
    size = 20 if wire.framing == "moldudp64" else 40
    seen: dict[bytes, int] = {}
    reader = capture.receiver(path, lines)
    with reader:
        while found := reader.drain(1024):
            for line, ts, payload in found:
                head = payload[:size]
                if len(lines) > 1:
                    if seen.get(head, line) != line:
                        continue
                    seen[head] = line
                    if len(seen) > COPIES:
                        del seen[next(iter(seen))]
                yield ts, payload

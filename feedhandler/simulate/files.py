"""A simulated day into a file: BinaryFILE, or a capture of MoldUDP64 on several lines; plain or compressed."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from feedhandler.decode.session_date import midnight
from feedhandler.errors import ConfigError
from feedhandler.receive.capture_writer import BinaryFileWriter, PcapngWriter, PcapWriter
from feedhandler.simulate._exchange import Exchange
from feedhandler.simulate._faults import WrongChecksum
from feedhandler.simulate._feed import Feed
from feedhandler.simulate.faults import Faults
from feedhandler.simulate.market import DAY_START
from feedhandler.simulate.multicast import LINES

CHUNK = 1 << 20
DATE = datetime.date(2026, 1, 5)
ZONE = "America/New_York"
HEADER = struct.Struct(">10sQH")
END_OF_SESSION = 0xFFFF
HEARTBEAT_NS = 1_000_000_000
REPORT_EVERY = 1024  # packets


def write(
    path: str | Path,
    exchange: Exchange,
    progress: Callable[[int], None] | None = None,
    *,
    lines: Sequence[tuple[str, int]] = LINES,
    skew_us: float = 20.0,
    session: str = "SIMULATED",
    mtu: int = 1400,
    flush_us: float = 50.0,
    date: datetime.date = DATE,
    faults: Faults | None = None,
    seed: int = 1,
) -> int:
    """Write the rest of the day to `path`, whose ending chooses the format; messages written.

    `.itch` and `.bin` are BinaryFILE (u16 length, message; length 0 at the end of the session); `.pcap` and `.pcapng`
    are captures of MoldUDP64 packets on `lines`, each later than the one before it by `skew_us`; `.gz` or `.zst` behind
    these compresses. A packet holds what falls due within `flush_us`, at most `mtu` bytes, and bears the time of day of
    `date` in New York. `faults` are what goes wrong with the packets of a capture, by `seed`, on top of the skew.
    `progress` is called now and then with the messages produced so far.

    Raises ConfigError for another ending, CaptureError when the file cannot be written.
    """
    path = Path(path)
    before = exchange.messages
    ending = path.with_suffix("").suffix if path.suffix in (".gz", ".zst") else path.suffix
    if ending in (".itch", ".bin"):
        if faults is not None:
            raise ConfigError(f"simulate: faults are of packets, and {path} has none: name it .pcap or .pcapng")
        _write_binary_file(path, exchange, progress)
    elif ending in (".pcap", ".pcapng"):
        if not 100 <= mtu <= 65507 or not 1 <= len(session) <= 10 or not lines or skew_us < 0 or flush_us < 0:
            raise ConfigError(
                "simulate: a capture needs lines, a session of 1 to 10 characters, an mtu of 100 to 65507"
            )
        packets = _packets(exchange, session, mtu, round(flush_us * 1000), midnight(date, ZONE), progress)
        faults = faults or Faults()
        faults = replace(faults, skew_us=faults.skew_us + skew_us)
        _write_capture(path, ending, faults.apply(packets, lines=len(lines), seed=seed, frames=True), lines)
    else:
        raise ConfigError(
            f"simulate: cannot tell the format of {path}: name it .itch, .pcap or .pcapng, and .gz or .zst if wanted"
        )
    return exchange.messages - before


def _write_binary_file(path: Path, exchange: Exchange, progress: Callable[[int], None] | None) -> None:
    buffer = bytearray(CHUNK)
    with BinaryFileWriter(path) as file:
        while n := exchange.produce(buffer):
            file.write_run(bytes(memoryview(buffer)[:n]))
            if progress is not None:
                progress(exchange.messages)
        file.end()


def _packets(
    exchange: Exchange, session: str, mtu: int, flush: int, start_of_day: int, progress: Callable[[int], None] | None
) -> Iterator[tuple[int, bytes]]:
    """(time, MoldUDP64 packet) of the whole session, heartbeats and the end included; times in ns since the epoch."""
    feed = Feed(exchange, speed=1.0)
    feed.start_at(start_of_day + DAY_START)
    name, buffer, number = session.ljust(10).encode(), bytearray(mtu), 1
    last, made = start_of_day + DAY_START, 0
    body = memoryview(buffer)[HEADER.size :]
    while (due := feed.next_due()) is not None:
        while due - last > HEARTBEAT_NS:
            last += HEARTBEAT_NS
            yield last, HEADER.pack(name, number, 0)
        size, messages = feed.take(body, due + flush)
        HEADER.pack_into(buffer, 0, name, number, messages)
        last = due + flush
        yield last, bytes(buffer[: HEADER.size + size])
        number += messages
        made += 1
        if progress is not None and made % REPORT_EVERY == 0:
            progress(number - 1)
    if progress is not None:
        progress(number - 1)
    yield last + HEARTBEAT_NS, HEADER.pack(name, number, END_OF_SESSION)


def _write_capture(
    path: Path, ending: str, arrivals: Iterator[tuple[int, int, bytes]], lines: Sequence[tuple[str, int]]
) -> None:
    with _writer(path, ending, len(lines)) as put:
        for time, line, packet in arrivals:
            put.write_line(time, packet, lines[line], line)


class _Pcap(PcapWriter):
    def write_line(self, time: int, packet: bytes, target: tuple[str, int], line: int) -> None:
        self.write(time, packet, target, wrong_checksum=isinstance(packet, WrongChecksum))


class _Pcapng(PcapngWriter):
    def write_line(self, time: int, packet: bytes, target: tuple[str, int], line: int) -> None:
        self.write(time, packet, target, interface=line, wrong_checksum=isinstance(packet, WrongChecksum))


def _writer(path: Path, ending: str, lines: int) -> _Pcap | _Pcapng:
    return _Pcap(path) if ending == ".pcap" else _Pcapng(path, [chr(65 + line) for line in range(lines)])

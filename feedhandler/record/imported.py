"""Logs of WebSocket feeds, made into recorded days: as if our recorder had been there.

Each log of texts is one connection of a line: its texts are WebSocket frames, in TCP segments of the server, at the
times that the log has. Answers of REST requests are texts on the channel's control line, as a handler puts them there.
Logs of one venue that follow each other are connections of one line; those that overlap are channels of their own,
since a log does not tell whether they were copies of each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO

import zstandard

from feedhandler import decode
from feedhandler.errors import ConfigError, RecordingError
from feedhandler.receive.capture import LINES_MAX
from feedhandler.record import frames, resume
from feedhandler.record.day import PARTIAL, Day, said
from feedhandler.record.frames import Endpoint
from feedhandler.record.lines import RecordedLine, head, recorded
from feedhandler.record.logs import HOSTS, Entry, Kind, Summary, read, survey
from feedhandler.recording.lines import NAME_MAX
from feedhandler.recording.manifest import Channel, FileLine, Line
from feedhandler.session.frames import text
from feedhandler.session.texts import depth_answer
from feedhandler.venue_config import CONTROL, WEBSOCKET

RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""What a server says before its first frame; the answer to RFC 6455's own example of a key."""
SEGMENT_MOST = 65_000
PACKED_BYTES = 1 << 20
FIN, SYN, PSH, ACK = 1, 2, 8, 16
REPORT_EVERY = 4096


@dataclass(frozen=True, slots=True)
class Imported:
    """A day that was made of logs."""

    folder: Path
    channels: tuple[str, ...]
    texts: int
    answers: int
    bytes: int
    """Of the file, as it lies on the disk."""


@dataclass(slots=True)
class _Placed:
    """A channel to be, and the logs that are its connections, in their order; `answers` are logs without any."""

    number: int
    """Of all channels of an import: on each day they have the same addresses."""
    name: str
    protocol: str
    logs: list[Summary]
    answers: list[Summary] = field(default_factory=list)

    @property
    def symbol(self) -> str:
        """What an answer without a symbol is about."""
        found = {log.symbol for log in self.logs}
        return found.pop() if len(found) == 1 else ""


def import_logs(
    paths: Iterable[str | Path],
    to: str | Path,
    *,
    name: str = "",
    protocol: str = "",
    compress: int = 0,
    progress: Callable[[int], None] = lambda texts: None,
) -> list[Imported]:
    """Make recorded days of logs, a folder for each below `to`; a log belongs to the day (UTC) of its first line.

    `name` is the recording's, unless told that of its first protocol; `protocol` is that of logs which do not say it;
    `compress` a level of zstd, 0 for none; `progress` is called with the texts written so far. Returns the days in
    their order. Raises RecordingError for what is no log, for logs of answers without one of texts, and for a folder
    that holds such a recording already.
    """
    found = [survey(path) for path in paths]
    if not found:
        raise ConfigError("import: give at least one log")
    placed = place(found, protocol)
    name = name or placed[0].protocol
    days: dict[date, list[_Placed]] = {}
    for channel in placed:
        for log in channel.logs:
            today = days.setdefault(day_of(log.first_ts), [])
            mine = next((each for each in today if each.name == channel.name), None)
            if mine is None:
                mine = _Placed(channel.number, channel.name, channel.protocol, [])
                today.append(mine)
            mine.logs.append(log)
        for log in channel.answers:
            nearest = min(channel.logs, key=lambda each: abs(each.first_ts - log.first_ts))
            next(each for each in days[day_of(nearest.first_ts)] if each.name == channel.name).answers.append(log)
    made: list[Imported] = []

    def told(texts: int) -> None:
        progress(sum(day.texts for day in made) + texts)

    for day in sorted(days):
        made.append(_write_day(Path(to), day, name, days[day], compress, told))
    return made


def place(found: Sequence[Summary], protocol: str = "") -> list[_Placed]:
    """The channels of so many logs. Raises RecordingError where a log says nothing of its protocol."""
    channels: list[_Placed] = []
    for log in sorted((each for each in found if each.texts), key=lambda each: each.first_ts):
        speaks = _speaks(log, protocol)
        free = (each for each in channels if each.protocol == speaks and each.logs[-1].last_ts <= log.first_ts)
        channel = next(free, None)
        if channel is None:
            number = sum(each.protocol == speaks for each in channels) + 1
            called = speaks if number == 1 else f"{speaks[: NAME_MAX - 3]}-{number}"
            channels.append(_Placed(len(channels), called, speaks, [log]))
        else:
            channel.logs.append(log)
    for log in (each for each in found if not each.texts):
        speaks = _speaks(log, protocol)
        same = [each for each in channels if each.protocol == speaks]
        if not same:
            raise RecordingError(f"{log.path}: answers of {speaks}, and no log of its WebSocket: import both at once")
        same[0].answers.append(log)
    if 2 * len(channels) > LINES_MAX:
        raise RecordingError(
            f"{len(channels)} channels in these logs, of at most {LINES_MAX // 2}: import fewer at once"
        )
    return channels


def _speaks(log: Summary, protocol: str) -> str:
    if protocol or log.protocol:
        return protocol or log.protocol
    known = ", ".join(sorted({name for _, name in HOSTS}))
    raise RecordingError(f"{log.path}: nothing in it says whose it is: name it with --protocol ({known})")


def day_of(ts: int) -> date:
    """The day of an instant, in UTC."""
    return datetime.fromtimestamp(ts // 1_000_000_000, UTC).date()


# -- a day -------------------------------------------------------------------------------------------------------------


def _write_day(
    root: Path, day: date, name: str, placed: Sequence[_Placed], compress: int, progress: Callable[[int], None]
) -> Imported:
    channels = tuple(map(_channel, placed))
    folder = Day(root, day, name, "UTC", channels, {})
    try:
        if folder.now.files:
            raise RecordingError(f"{folder.folder}: holds the recording {name!r} already; import into another folder")
        lines = recorded(channels)
        made = folder.folder / folder.next_name(".pcapng" + (".zst" if compress else ""))
        partial = made.with_name(made.name + PARTIAL)
        try:
            with said(f"{made}: cannot be written"), partial.open("wb") as file:
                out = _Out(file, lines, compress)
                texts, answers = _write(out, placed, progress)
                out.close()
            with said(f"{made}: cannot be written"):
                partial.rename(made)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        folder.put(resume.entry(made.name, out.size, out.counts(), out.hash.hexdigest()))
    except BaseException:
        with contextlib.suppress(OSError):  # what was there before is left as it was
            if not folder.now.files and not any(folder.folder.glob("*.pcapng*")):
                (folder.folder / "manifest.json").unlink(missing_ok=True)
        folder.free()
        raise
    folder.close(complete=True, sync=False)
    return Imported(folder.folder, tuple(each.name for each in placed), texts, answers, out.size)


def _channel(placed: _Placed) -> Channel:
    """The channel as a manifest has it: line A, and the control line; its addresses are of those for documentation."""
    server, control = f"192.0.2.{10 + placed.number}", f"192.0.2.{100 + placed.number}"
    lines = (Line("A", "", 443, server, "", "", True), Line(CONTROL, "", 443, control, "", "", True))
    known = decode.protocols().get(placed.protocol)
    return Channel(placed.name, placed.protocol, WEBSOCKET, known.venue if known else "", None, lines)


def _write(out: _Out, placed: Sequence[_Placed], progress: Callable[[int], None]) -> tuple[int, int]:
    """All entries of all logs in the order of their times; texts and answers written."""
    rows = heapq.merge(
        *(
            _rows(2 * number + part, log, each.symbol)
            for number, each in enumerate(placed)
            for part, logs in ((0, each.logs), (1, each.answers))
            for log in logs
        ),
        key=lambda row: row[0],
    )
    texts = answers = 0
    for ts, line, entry, log, symbol in rows:
        line -= line % 2
        if entry.kind is Kind.SENT:
            continue
        if entry.kind is not Kind.ANSWER:
            if out.connection(line) is not log or entry.kind is Kind.OPENED:
                out.connect(line, log, ts)
                out.connect(line + 1, out, ts)
                out.put(line, ts, RESPONSE)
            if entry.kind is Kind.TEXT:
                out.put(line, ts, text(entry.text, masked=False))
                texts += 1
                if texts % REPORT_EVERY == 0:
                    progress(texts)
            continue
        if not (symbol := entry.symbol or symbol):
            raise RecordingError(
                f"{log.path}: a snapshot without a symbol, and its texts are of several: log them apart"
            )
        out.connect(line + 1, out, ts)
        out.put(line + 1, ts, text(depth_answer(symbol, entry.text), masked=False))
        answers += 1
    out.hang_up()
    progress(texts)
    return texts, answers


Row = tuple[int, int, Entry, Summary, str]


def _rows(line: int, log: Summary, symbol: str) -> Iterator[Row]:
    """A log's entries; one whose clock went back keeps its order, at the latest time before."""
    latest = 0
    for entry in read(log.path):
        latest = max(latest, entry.ts)
        yield latest, line, entry, log, symbol


class _Out:
    """A pcapng file of TCP streams, one of each line at a time."""

    def __init__(self, file: IO[bytes], lines: Sequence[RecordedLine], compress: int) -> None:
        self.lines = lines
        self.size = 0
        self.hash = hashlib.sha256()
        self._file = file
        self._packer = zstandard.ZstdCompressor(level=compress) if compress else None
        self._block = bytearray(head(list(lines), True))
        self._flows: list[_Flow | None] = [None] * len(lines)
        self._made = 0
        self._tallies = [[0, 0, 0, 0] for _ in lines]

    def connection(self, line: int) -> object:
        """What the present connection of a line was begun for; None: there is none."""
        flow = self._flows[line]
        return flow.why if flow else None

    def connect(self, line: int, why: object, ts: int) -> None:
        """Begin a connection; one that is there ends. Of a line that is connected for the same reason, nothing."""
        flow = self._flows[line]
        if flow is not None and flow.why is why and why is self:
            return
        self._end(line, ts)
        self._made += 1
        server = self.lines[line].line
        client: Endpoint = ("192.0.2.1", 49152 + self._made % 16384)
        flow = self._flows[line] = _Flow(frames.tcp_head((server.host, server.port), client), why, ts)
        self._packet(line, ts, flow.segment(b"", SYN | ACK))

    def put(self, line: int, ts: int, payload: bytes) -> None:
        """Bytes of the present connection."""
        flow = self._flows[line]
        assert flow is not None
        tally = self._tallies[line]
        for at in range(0, len(payload), SEGMENT_MOST):
            piece = payload[at : at + SEGMENT_MOST]
            self._packet(line, ts, flow.segment(piece, PSH | ACK))
            tally[2] = tally[2] if tally[0] else ts
            tally[0] += 1
            tally[1] += len(piece)
            tally[3] = ts
        flow.last_ts = ts

    def hang_up(self) -> None:
        """All connections end, each at its latest time."""
        for line, flow in enumerate(self._flows):
            if flow is not None:
                self._end(line, flow.last_ts)

    def close(self) -> None:
        """Write what is left."""
        self._flush()

    def counts(self) -> tuple[FileLine, ...]:
        """What the file has of each line."""
        found = []
        for line, (packets, size, first, last) in zip(self.lines, self._tallies, strict=True):
            mine = FileLine(line.channel, line.line.name)
            if packets:
                mine = replace(mine, packets=packets, bytes=size, first_ts=first, last_ts=last, ts_kind="clock")
            found.append(mine)
        return tuple(found)

    def _end(self, line: int, ts: int) -> None:
        if (flow := self._flows[line]) is not None:
            self._packet(line, ts, flow.segment(b"", FIN | ACK))
            self._flows[line] = None

    def _packet(self, line: int, ts: int, frame: bytes) -> None:
        self._block += frames.packet(line, ts, frame)
        if len(self._block) > PACKED_BYTES - SEGMENT_MOST - 256:
            self._flush()

    def _flush(self) -> None:
        data = self._packer.compress(bytes(self._block)) if self._packer else bytes(self._block)
        self._file.write(data)
        self.hash.update(data)
        self.size += len(data)
        self._block.clear()


class _Flow:
    """A TCP connection, server to client: made headers with right lengths, numbers and sums."""

    def __init__(self, head: bytes, why: object, ts: int) -> None:
        self.why, self.last_ts = why, ts
        self._ethernet, self._ip, self._tcp = head[:14], bytearray(head[14:34]), bytearray(head[34:54])
        self._number = 0

    def segment(self, payload: bytes, flags: int) -> bytes:
        """The next segment, its number going on behind it."""
        ip, tcp = self._ip, self._tcp
        below = len(tcp) + len(payload)
        struct.pack_into(">H", ip, 2, len(ip) + below)
        struct.pack_into(">H", ip, 10, 0)
        struct.pack_into(">H", ip, 10, _sum(bytes(ip)))
        struct.pack_into(">I", tcp, 4, self._number & 0xFFFFFFFF)
        tcp[13] = flags
        struct.pack_into(">H", tcp, 16, 0)
        pseudo = bytes(ip[12:20]) + struct.pack(">BBH", 0, frames.TCP, below)
        struct.pack_into(">H", tcp, 16, _sum(pseudo + tcp + payload))
        self._number += len(payload) + bool(flags & (SYN | FIN))
        return self._ethernet + bytes(ip) + bytes(tcp) + payload


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): 2**16 is 1 modulo 65535, so the sum of the words is one remainder."""
    total = int.from_bytes(data + bytes(len(data) % 2), "big")
    rest = total % 0xFFFF
    return 0xFFFF - (rest or (0xFFFF if total else 0))

"""After a crash: what a recorder left behind is cut to its last whole packet, named, and entered into the manifest.

What was acknowledged is not looked at again, so it takes no longer for a large file than for a small one. The hash of a
file, for which all of it must be read, comes later, from a thread of its own.
"""

import contextlib
import hashlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import zstandard

from feedhandler.errors import FeedError, RecordingError
from feedhandler.record._scan import Scan
from feedhandler.record.day import PARTIAL, Day, said
from feedhandler.recording import manifest
from feedhandler.recording._sequences import Sequences
from feedhandler.recording.manifest import File, FileLine

PIECE = 1 << 20


def mend(day: Day, sequences: Sequences | None = None) -> list[str]:
    """Take up what is not whole in a day's folder; a sentence for each file that was damaged or is gone.

    `sequences` sees what was written behind what was acknowledged; the manifest is not yet saved.
    Raises RecordingError when a file cannot be read or written.
    """
    sentences = []
    (day.folder / f".{manifest.NAME}.new").unlink(missing_ok=True)
    open_files = {file.name for file in day.now.files if not file.complete}
    partial = {path.name.removesuffix(PARTIAL) for path in day.folder.glob(f"{day.name}-*{PARTIAL}")}
    known = {file.name for file in day.now.files}
    unknown = {path.name for path in day.folder.iterdir() if day.own.fullmatch(path.name)} - known
    for name in sorted(open_files | partial | unknown):
        path = day.folder / name
        left = path.with_name(name + PARTIAL)
        if left.exists():
            sentences += _mend_file(day, left, path, sequences)
        elif path.exists():
            sentences += _mend_file(day, path, path, sequences)
    for file in day.now.files:
        if not (day.folder / file.name).exists():
            day.now = replace(day.now, files=tuple(each for each in day.now.files if each is not file))
            sentences.append(f"{file.name}: is gone")
    day.now = replace(day.now, acknowledged=None)
    for sentence in sentences:
        day.damage(sentence)
    return sentences


def _mend_file(day: Day, left: Path, path: Path, sequences: Sequences | None) -> list[str]:
    """Cut a file behind its last whole packet, give it its name, enter it."""
    known = next((file for file in day.now.files if file.name == path.name), None)
    given = day.now.acknowledged
    size = left.stat().st_size
    start, sentences = 0, []
    if known is not None and given is not None and given.file == path.name:
        if size >= given.bytes:
            start = given.bytes
        else:
            sentences.append(f"{path.name}: {given.bytes - size:,} bytes that were acknowledged are not there")
    places = [(line.channel, line.line) for line in known.lines] if known is not None else _lines(day)
    with said(f"{left}: cannot be read"), left.open("rb") as file:
        looking = sequences if sequences is not None and places == _lines_of(sequences) else None
        seen_before = _numbers(looking)
        scan = Scan(".pcapng" in path.name, [_place(day, *place) for place in places], looking)
        file.seek(start)
        end = start + _walk(scan, file.read, path.suffix == ".zst", start == 0)
    if left == path and known is None and end < size:
        return [
            *sentences,
            f"{path.name}: from byte {end:,} on it is nothing that was recorded here; it stays as it is",
        ]
    if end == 0:
        with said(f"{left}: cannot be removed"):
            left.unlink()
        day.now = replace(day.now, files=tuple(file for file in day.now.files if file.name != path.name))
        return [*sentences, f"{path.name}: nothing in it was whole; it was removed"]
    with said(f"{left}: cannot be written"):
        if end < size:
            os.truncate(left, end)
            sentences.append(f"{path.name}: was cut by {size - end:,} bytes, behind its last whole packet")
        elif left != path:
            sentences.append(f"{path.name}: its recorder ended without closing it; it is whole")
        left.rename(path)
    before = known.lines if known is not None else ()
    if not start:  # all of it was walked through
        before = tuple(replace(line, packets=0, bytes=0, dropped=0, first_ts=None, last_ts=None) for line in before)
    lines = _numbered(_added(before, places, scan), scan, seen_before, _numbers(looking))
    day.put(entry(path.name, end, lines))
    return sentences


Numbers = dict[tuple[str, str], tuple[int | None, int | None, str]]
"""Of lines, by channel and name: the first number and the last one, and its session."""


def _numbers(sequences: Sequences | None) -> Numbers:
    """What has been seen of each line so far."""
    return {
        (report.name, line.name): (line.first_seq, line.last_seq, report.sessions[-1].id if report.sessions else "")
        for report in (sequences.report() if sequences is not None else ())
        for line in report.lines
    }


def _numbered(lines: tuple[FileLine, ...], scan: Scan, before: Numbers, now: Numbers) -> tuple[FileLine, ...]:
    """The file's lines with the numbers of what came behind what was acknowledged."""
    found = []
    for number, line in enumerate(lines):
        first, last, session = now.get((line.channel, line.line), (None, None, ""))
        earlier = before.get((line.channel, line.line), (None, None, ""))
        if scan.counts(number)[0] and last is not None and (last, session) != earlier[1:]:
            if line.first_seq is None:
                follows = earlier[1] is not None and earlier[2] == session
                line = replace(line, first_seq=earlier[1] + 1 if follows and earlier[1] is not None else first)
            line = replace(line, last_seq=last, session=session)
        found.append(line)
    return tuple(found)


def _sequences_of(day: Day) -> Sequences | None:
    """What looks at the numbers of a day's channels; None where they are not known here."""
    try:
        return Sequences([(each.name, each.session, [line.name for line in each.lines]) for each in day.now.channels])
    except (FeedError, ValueError):
        return None


def _lines(day: Day) -> list[tuple[str, str]]:
    return [(channel.name, line.name) for channel in day.now.channels for line in channel.lines]


def _lines_of(sequences: Sequences) -> list[tuple[str, str]]:
    return [(channel, line) for channel, _, lines in sequences.channels for line in lines]


def _place(day: Day, channel: str, name: str) -> tuple[bytes, int]:
    """Where a line's packets go to, or a stream's come from, as it stands in frames of a pcap file."""
    try:
        line = day.now.line(channel, name)
    except KeyError:
        return b"", 0
    with contextlib.suppress(OSError):
        return socket.inet_aton(line.group or socket.gethostbyname(line.host)), line.port
    return b"", line.port


def _walk(scan: Scan, read: Callable[[int], bytes], packed: bool, start: bool) -> int:
    """Walk to the last whole block; the bytes of the file to there. Of zstd: to the last frame that is whole."""
    if packed:
        return _walk_frames(scan, read, start)
    rest, total = b"", 0
    while not scan.damaged and (piece := read(PIECE)):
        rest += piece
        done = scan.walk(rest, start and total == 0)
        rest, total = rest[done:], total + done
        if len(rest) > 2 * PIECE:
            break
    return total


def _walk_frames(scan: Scan, read: Callable[[int], bytes], start: bool) -> int:
    """Each frame holds whole blocks; of one that is cut nothing is taken."""
    rest, total = b"", 0
    while True:
        machine = zstandard.ZstdDecompressor().decompressobj()
        data, size = b"", 0
        try:
            while not machine.eof:
                piece, rest = rest or read(PIECE), b""
                if not piece:
                    return total
                data += machine.decompress(piece)
                size += len(piece)
                if len(data) > 2 * PIECE:
                    return total
        except zstandard.ZstdError:
            return total
        rest = machine.unused_data
        if scan.walk(data, start and total == 0) != len(data):
            return total
        total += size - len(rest)


def _added(before: Sequence[FileLine], places: list[tuple[str, str]], scan: Scan) -> tuple[FileLine, ...]:
    """What the file had when it was acknowledged, and what came behind."""
    found = []
    for number, (channel, line) in enumerate(places):
        old = before[number] if before else FileLine(channel, line)
        packets, size, lost, first, last = scan.counts(number)
        found.append(
            replace(
                old,
                packets=old.packets + packets,
                bytes=old.bytes + size,
                dropped=old.dropped + lost,
                first_ts=min((ts for ts in (old.first_ts, first) if ts is not None), default=None),
                last_ts=max((ts for ts in (old.last_ts, last) if ts is not None), default=None),
            )
        )
    return tuple(found)


def entry(name: str, size: int, lines: tuple[FileLine, ...], sha256: str | None = None, complete: bool = True) -> File:
    """A file with so much of its lines, for the manifest."""
    first = [line.first_ts for line in lines if line.first_ts is not None]
    last = [line.last_ts for line in lines if line.last_ts is not None]
    packets = sum(line.packets for line in lines)
    return File(name, packets, size, sha256, complete, min(first, default=None), max(last, default=None), lines)


def digest(path: Path) -> str:
    """The sha256 of a file. Raises RecordingError when it cannot be read."""
    with said(f"{path}: cannot be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unhashed(day: Day) -> list[str]:
    """The whole files of a day whose hash is not known yet."""
    return [file.name for file in day.now.files if file.complete and file.sha256 is None]


def hashed(day: Day, name: str, found: str) -> None:
    """Enter a hash; the file may be gone by now."""
    for file in day.now.files:
        if file.name == name:
            day.put(replace(file, sha256=found))


def mend_earlier(today: Day, make: Callable[[Path], Day], sync: bool) -> list[str]:
    """Days before `today` that were left open are closed: a sentence for each that was damaged."""
    sentences = []
    for folder in today.others():
        try:
            if manifest.load(folder).complete:
                continue
            day = make(folder)
        except RecordingError as error:  # of somebody else, or not to be read: said, and left as it is
            sentences.append(str(error))
            continue
        sequences = _sequences_of(day)
        sentences += mend(day, sequences)
        if sequences is not None:
            day.see(sequences.report())
        for name in unhashed(day):
            hashed(day, name, digest(day.folder / name))
        day.close(complete=True, sync=sync)
    return sentences

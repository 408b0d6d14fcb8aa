"""The index of a recorded file: where its packets of a time, a number, an event of the session are.

Made once, by whoever first needs it, in one pass over the file, and kept beside it as NAME.index; thrown away when the
file's size or time of change, or the recording's lines, are not those it was made for. Looking up is binary search over
blocks of BLOCK packets; the packet itself is found by walking its block.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedhandler import decode, session
from feedhandler.receive._capture import PacketFile
from feedhandler.receive.compressed import frames
from feedhandler.recording._surveyor import Surveyor
from feedhandler.recording.lines import RecordedLine, framing_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"feedhandler index 1\n"
BLOCK = 4096  # packets
WORTH_KEEPING = 4 << 20  # bytes of a file; a smaller one is gone through in no time
SUFFIX = ".index"
_WORDS = ("open", "close")


@dataclass(frozen=True)
class Index:
    """What is known of a file. All times are ns since the Unix epoch, all places are of the unpacked file."""

    about: dict[str, Any]
    """What the index was made for: the file's size and time of change, the lines."""
    place: NDArray[np.uint64]
    """Where each block begins."""
    packets: NDArray[np.uint64]
    """In each block."""
    reached: NDArray[np.int64]
    """The latest time in each block and those before it: ascending."""
    left: NDArray[np.int64]
    """The earliest time in each block and those behind it: ascending."""
    numbers: NDArray[np.uint64]
    """One behind the highest number of each line (columns) in each block and those before it: ascending."""
    events: tuple[tuple[int, int, str], ...]
    """Events of the session: (time, line, code)."""
    heads: tuple[tuple[int, bytes], ...]
    """Sections and interfaces of a pcapng, for `PacketFile.resume`."""
    frames: tuple[tuple[int, int], ...]
    """Of a zstd file: where frames begin, in the unpacked data and in the file."""

    @property
    def first_ts(self) -> int | None:
        """The earliest time of a packet; None: there is no packet."""
        return int(self.left[0]) if len(self.left) else None

    @property
    def last_ts(self) -> int | None:
        """The latest time of a packet; None: there is no packet."""
        return int(self.reached[-1]) if len(self.reached) else None

    def between(self, start: int | None, end: int | None) -> tuple[int, int | None]:
        """The blocks that hold all packets of a window: the first one, and the one behind the last; None: the end."""
        first = 0 if start is None else int(np.searchsorted(self.reached, start, "left"))
        last = len(self.left) if end is None else int(np.searchsorted(self.left, end, "left"))
        return first, last if last < len(self.left) else None

    def block_of(self, line: int, number: int) -> int:
        """The first block in which the line holds `number` or a later one; as many as there are blocks: none."""
        return int(np.searchsorted(self.numbers[:, line], number, "right"))

    def resume(self, file: PacketFile, first: int, last: int | None = None) -> None:
        """Let a file go on at the block `first`, and end before the block `last`."""
        if first >= len(self.place):
            file.resume((), 0, 0)
            return
        place = int(self.place[first])
        heads = self.heads[: bisect_right(self.heads, (place, b""))]
        file.resume(heads, place, *(() if last is None else (int(self.place[last]),)))


def build(
    open_file: Callable[[], PacketFile],
    path: Path,
    lines: Sequence[RecordedLine],
    packed: str | None,
    progress: Callable[[int], None] | None = None,
) -> Index:
    """Go through a file of these lines, and make its index. Damage ends it, as it ends reading."""
    surveyor = Surveyor([survey_of(line) for line in lines] or [(session.framing("moldudp64"), 0, 0)])
    place, packets, low, high, numbers, events = [], [], [], [], [], []
    about = made_for(path, lines)
    with open_file() as file:
        file.collect_heads()
        while (block := surveyor.block(file, BLOCK)) is not None:
            place.append(block[0])
            packets.append(block[1])
            low.append(block[2])
            high.append(block[3])
            numbers.append(block[4])
            events += [(ts, line, chr(code)) for ts, line, code in block[5]]
            if progress is not None:
                progress(file.packed_offset)
        heads = tuple(file.heads)
    columns = np.array(numbers, np.uint64).reshape(len(place), -1)
    return Index(
        about,
        np.array(place, np.uint64),
        np.array(packets, np.uint64),
        np.maximum.accumulate(np.array(high, np.int64)),
        np.minimum.accumulate(np.array(low, np.int64)[::-1])[::-1],
        np.maximum.accumulate(columns, axis=0) if len(place) else columns,
        tuple(events),
        heads,
        tuple(frames(path)) if packed == "zstd" else (),
    )


def survey_of(line: RecordedLine) -> tuple[session.Framing, int, int]:
    """What a `Surveyor` needs of a line: framing; type, and place of the code, of what tells of the session."""
    if not line.protocol:
        return session.framing("moldudp64"), 0, 0
    table = decode.protocol(line.protocol)
    framing = framing_of(line)
    for message in table.messages:
        for event in message.events:
            if event.whole_channel and table.market_hours:
                field = event.size.field if hasattr(event.size, "field") else ""
                if field in message.layout:
                    return framing, ord(message.type), message.layout[field].offset
    return framing, 0, 0


def code_of(line: RecordedLine, word: str) -> str | None:
    """The code of `open` or `close` in the line's protocol; None: it tells of neither."""
    hours = decode.protocol(line.protocol).market_hours if line.protocol else None
    return hours[_WORDS.index(word)] if hours else None


def made_for(path: Path, lines: Sequence[RecordedLine]) -> dict[str, Any]:
    """What an index is good for."""
    stat = path.stat()
    carried = [[line.protocol, line.session, list(line.destination or ())] for line in lines]
    return {"size": stat.st_size, "changed": stat.st_mtime_ns, "lines": carried}


def load(path: Path, lines: Sequence[RecordedLine]) -> Index | None:
    """The index that lies beside a file; None when there is none, or one of another file or other lines."""
    try:
        with path.with_name(path.name + SUFFIX).open("rb") as file:
            if file.readline() != MAGIC:
                return None
            head = json.loads(file.readline())
            about = made_for(path, lines)
            if head["about"] != about:
                return None
            rows = int(head["blocks"])
            columns = int(head["columns"])
            left = os.fstat(file.fileno()).st_size - file.tell()
            if rows < 0 or columns != max(1, len(lines)) or rows * 8 * (4 + columns) != left:
                return None

            def array(kind: Any, count: int) -> Any:
                raw = file.read(count * 8)
                return np.frombuffer(raw, kind, count)

            found = Index(
                about,
                array(np.uint64, rows),
                array(np.uint64, rows),
                array(np.int64, rows),
                array(np.int64, rows),
                array(np.uint64, rows * columns).reshape(rows, columns),
                tuple((int(ts), int(line), str(code)) for ts, line, code in head["events"]),
                tuple((int(place), base64.b64decode(block)) for place, block in head["heads"]),
                tuple((int(unpacked), int(packed)) for unpacked, packed in head["frames"]),
            )
            return found if _makes_sense(found, about["size"], len(lines)) else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _makes_sense(index: Index, size: int, lines: int) -> bool:
    """Whether all is in its order and in its bounds: one that is not would lead astray."""
    columns = (index.place, index.reached, index.left, *index.numbers.T)
    places = [place for place, _ in index.heads]
    return (
        all(bool(np.all(column[:-1] <= column[1:])) for column in columns)
        and places == sorted(places)
        and index.frames == tuple(sorted(index.frames))
        and all(unpacked >= 0 <= packed < size for unpacked, packed in index.frames)
        and all(0 <= line < max(1, lines) for _, line, _ in index.events)
    )


def save(index: Index, path: Path) -> None:
    """Lay the index beside its file, as a whole; where that cannot be written it is made anew next time."""
    target = path.with_name(path.name + SUFFIX)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    head = {
        "about": index.about,
        "blocks": len(index.place),
        "columns": index.numbers.shape[1],
        "events": index.events,
        "heads": [(place, base64.b64encode(block).decode()) for place, block in index.heads],
        "frames": index.frames,
    }
    arrays = (index.place, index.packets, index.reached, index.left, index.numbers)
    try:
        with aside.open("wb") as file:
            file.write(MAGIC + json.dumps(head).encode() + b"\n")
            for array in arrays:
                file.write(np.ascontiguousarray(array).tobytes())
        aside.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)

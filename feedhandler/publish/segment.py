"""A shared segment and its life: made under a temporary name, locked, filled, renamed; taken over, stopped, removed.

The temporary name `.NAME.new` is the same for everybody, and whoever holds its lock is the one who is making NAME: of
two writers that start at once, one is refused. The lock stays through the rename and for the writer's life, so
"is the writer alive" and "may I take this name" are the same question, put to the kernel. A temporary file whose maker
died has no lock: it is emptied and used.
"""

import errno
import grp
import mmap
import os
import socket
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from feedhandler import records
from feedhandler._records import CONSTANTS, LAYOUT_HASH
from feedhandler.closing import Closing
from feedhandler.errors import SegmentError
from feedhandler.publish._control import lock_held, release_lock, take_lock
from feedhandler.publish.layout import PART_INDEX, Layout

DEFAULT_DIR = "/dev/shm"
RUNNING, STOPPED, REPLACED = (CONSTANTS[f"SEGMENT_{state}"] for state in ("RUNNING", "STOPPED", "REPLACED"))


def segment_path(name: str, dir: str | os.PathLike[str] = DEFAULT_DIR) -> Path:
    """Where the segment of that name lies. Raises SegmentError for a name that is no plain file name."""
    if not isinstance(name, str) or not name or len(name.encode()) > 63 or "/" in name or name.startswith("."):
        raise SegmentError(f"segment name {name!r}: 1 to 63 bytes are needed, without '/', not beginning with '.'")
    return Path(dir) / name


class Segment(Closing):
    """The writer's end of a segment: its memory, and every part as a writable array over it.

    | attribute | dtype, shape |
    | --- | --- |
    | `header` | HEADER, () |
    | `table` | PART, (8,): offset, stride, count and used of each part |
    | `directory` | INSTRUMENT, (instruments + 1,) |
    | `symbols` | uint32, (a power of two,) |
    | `books` | uint8, (instruments + 1, slot stride) |
    | `rings`, `slots` | RING, (shards,); EVENT, (shards × ring_events,) |
    | `channels`, `lines` | CHANNEL, (channels,); LINE, (lines,) |
    | `histograms` | HISTOGRAM, (shards × 4 + lines,) |

    All arrays and whatever was made of them borrow the mapping, which lives until the last of them is gone.
    """

    def __init__(self, memory: mmap.mmap, layout: Layout, path: Path | None, fd: int) -> None:
        self.memory, self.layout, self.path, self._fd = memory, layout, path, fd
        self.header: Any = np.frombuffer(memory, records.HEADER, 1)[0]
        self.table = np.frombuffer(memory, records.PART, CONSTANTS["PARTS"], records.HEADER.itemsize)
        self.directory = self._array("directory", records.INSTRUMENT)
        self.symbols = self._array("symbols", np.dtype(np.uint32))
        self.rings = self._array("rings", records.RING)
        self.slots = self._array("slots", records.EVENT)
        self.channels = self._array("channels", records.CHANNEL)
        self.lines = self._array("lines", records.LINE)
        self.histograms = self._array("histograms", records.HISTOGRAM)
        books = self.part("books")[0]
        flat = np.frombuffer(memory, np.uint8, int(books["stride"] * books["count"]), int(books["offset"]))
        self.books = flat.reshape(int(books["count"]), int(books["stride"]))

    @classmethod
    def create(
        cls,
        name: str,
        *,
        dir: str | os.PathLike[str] = DEFAULT_DIR,
        depth: int = 10,
        instruments: int = 1024,
        channels: int = 1,
        lines: int = 1,
        ring_events: int = 65536,
        shards: int = 1,
        mode: int = 0o640,
        group: str = "",
        backend: str = "",
    ) -> Self:
        """Make the segment `name` in `dir`, or take the name over from a writer that is dead or has stopped.

        `instruments` symbols have room, with `depth` levels a side; `ring_events` is a power of two and counts per
        shard. `mode` and `group` say who may attach. Raises SegmentError when a live writer has the name (it is named),
        when there is too little space (bytes needed and free are named), or without the right; ValueError for sizes
        that cannot be.
        """
        path = segment_path(name, dir)
        layout = Layout(depth, instruments, channels, lines, ring_events, shards)
        size = layout.parts()[1]
        _refuse_live(path)
        temporary = path.with_name(f".{name}.new")
        fd = _open_locked(temporary, path)
        try:
            _allocate(fd, size, path, mode, group)
            memory = mmap.mmap(fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
            _fill(memory, layout, name, backend)
            segment = cls(memory, layout, path, fd)
            segment.header["state"] = RUNNING
            _take_name(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            os.close(fd)
            raise
        return segment

    @classmethod
    def anonymous(
        cls,
        *,
        depth: int = 10,
        instruments: int = 1024,
        channels: int = 1,
        lines: int = 1,
        ring_events: int = 65536,
        shards: int = 1,
        backend: str = "",
    ) -> Self:
        """A segment without a name, shared with nobody but forked children: for offline runs and tests."""
        layout = Layout(depth, instruments, channels, lines, ring_events, shards)
        memory = mmap.mmap(-1, layout.parts()[1])
        _fill(memory, layout, "", backend)
        segment = cls(memory, layout, None, -1)
        segment.header["state"] = RUNNING
        return segment

    @property
    def name(self) -> str:
        """Its name; empty for an anonymous one."""
        return self.path.name if self.path else ""

    def part(self, part: int | str) -> NDArray[np.void]:
        """The entry of one part in the table of parts: an array of one PART, writable."""
        index = PART_INDEX[part] if isinstance(part, str) else part
        return self.table[index : index + 1]

    def stop(self) -> None:
        """Say STOPPED: nothing more will be written, what readers see is of the past. Name and lock stay."""
        if self.header["state"] == RUNNING:
            self.header["state"] = STOPPED

    def close(self, unlink: bool = True) -> None:
        """Mark the segment STOPPED, give up its lock, and remove its name unless told otherwise.

        Readers that are attached keep what they see. Closing twice is harmless.
        """
        self.stop()
        if self._fd < 0:
            return
        if unlink and self.path is not None:
            with suppress(OSError):
                if os.path.samestat(self.path.stat(), os.fstat(self._fd)):
                    self.path.unlink()
        release_lock(self._fd)  # the mapping keeps the open file, and with it the lock, until the last array is gone
        os.close(self._fd)
        self._fd = -1

    def _array(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        part = self.part(name)[0]
        return np.frombuffer(self.memory, dtype, int(part["count"]), int(part["offset"]))


def _fill(memory: mmap.mmap, layout: Layout, name: str, backend: str) -> None:
    """Write what a fresh segment holds. The magic comes first in the file and last in time."""
    table, size = layout.parts()
    header: Any = np.frombuffer(memory, records.HEADER, 1)[0]
    header["layout_hash"] = LAYOUT_HASH
    header["layout_version"] = CONSTANTS["LAYOUT_VERSION"]
    header["generation"] = time.time_ns()
    header["bytes"] = size
    header["depth"] = layout.depth
    header["side_stride"] = records.side_stride(layout.depth)
    header["pid"] = os.getpid()
    header["shards"] = layout.shards
    header["name"], header["backend"] = name.encode(), backend.encode()
    header["version"] = metadata_version().encode()
    header["host"] = socket.gethostname().encode()
    np.frombuffer(memory, records.PART, len(table), records.HEADER.itemsize)[:] = table

    def array(part: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        entry = table[PART_INDEX[part]]
        return np.frombuffer(memory, dtype, int(entry["count"]), int(entry["offset"]))

    array("rings", records.RING)["capacity"] = layout.ring_events
    channels = array("channels", records.CHANNEL)
    channels["quality"], channels["reason"] = records.Quality.INIT, records.Reason.START
    entry = table[PART_INDEX["books"]]
    shape, strides = (int(entry["count"]),), (int(entry["stride"]),)
    books: NDArray[np.void] = np.ndarray(shape, records.BOOK, memory, int(entry["offset"]), strides)
    books["quality"], books["reason"] = records.Quality.INIT, records.Reason.START
    at = int(entry["offset"]) + records.BOOK.itemsize + int(header["side_stride"]) - records.LAST_TRADE.itemsize
    trades: NDArray[np.void] = np.ndarray(shape, records.LAST_TRADE, memory, at, strides)
    trades["price"] = records.PRICE_NONE
    header["magic"] = CONSTANTS["SEGMENT_MAGIC"]


def metadata_version() -> str:
    """The version of this feedhandler, "checkout" where it was not installed."""
    try:
        return metadata.version("feedhandler")
    except metadata.PackageNotFoundError:
        return "checkout"


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SegmentError(
            f"segment {path}: cannot be opened for writing: {error.strerror}; "
            "give the handler the right to write there, or another [shm] dir or name"
        ) from None


def _refuse_live(path: Path) -> None:
    """Raise SegmentError when a live writer has the name."""
    try:
        fd = _open(path, 0)
    except FileNotFoundError:
        return
    try:
        if lock_held(fd):
            raise _in_use(path, fd)
    finally:
        os.close(fd)


def _in_use(path: Path, fd: int) -> SegmentError:
    raw = os.pread(fd, records.HEADER.itemsize, 0)
    who = "another process"
    if len(raw) == records.HEADER.itemsize:
        header = np.frombuffer(raw, records.HEADER)[0]
        if header["magic"] == CONSTANTS["SEGMENT_MAGIC"] and header["layout_hash"] == LAYOUT_HASH:
            who = f"process {header['pid']} on {header['host'].decode(errors='replace')}"
    return SegmentError(f"segment {path}: in use by {who}, which is alive; stop it or choose another name")


def _open_locked(temporary: Path, path: Path) -> int:
    """The temporary file, empty, ours and locked."""
    while True:
        try:
            fd = _open(temporary, os.O_CREAT)
        except FileNotFoundError:
            raise SegmentError(
                f"segment {path}: the folder {path.parent} does not exist; make it or change [shm] dir"
            ) from None
        try:
            if not take_lock(fd):
                raise SegmentError(f"segment {path}: another writer is taking this name right now")
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), temporary.lstat()):
                    if os.fstat(fd).st_uid != os.geteuid():
                        raise SegmentError(f"{temporary} belongs to another user: remove it")
                    os.ftruncate(fd, 0)
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was renamed or removed between our open and our lock: once more


def _allocate(fd: int, size: int, path: Path, mode: int, group: str) -> None:
    """Take the space now, so that no store can fail later, and set who may attach."""
    if not _take_space(fd, size, path) and not (_remove_dead(path) and _take_space(fd, size, path)):
        space = os.statvfs(path.parent)
        raise SegmentError(
            f"segment {path}: {size:,} bytes are needed, {space.f_bavail * space.f_frsize:,} are free in "
            f"{path.parent}; make it larger, or lower [books] instruments and depth, or [ring] events"
        )
    try:
        if group:
            os.fchown(fd, -1, grp.getgrnam(group).gr_gid)
        os.fchmod(fd, mode)
    except KeyError:
        raise SegmentError(f"segment {path}: there is no Unix group {group!r} here; correct [shm] group") from None
    except OSError as error:
        raise SegmentError(
            f"segment {path}: cannot set mode {mode:#o} and group {group!r}: {error.strerror}; "
            "the handler's user must be a member of that group"
        ) from None


def _take_space(fd: int, size: int, path: Path) -> bool:
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        os.ftruncate(fd, 0)
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.ENOMEM):
            raise SegmentError(f"segment {path}: no space can be taken there: {error.strerror}") from None
        return False
    return True


def _remove_dead(path: Path) -> bool:
    """Remove what a dead writer left under the name, which we are about to take; its space may be what we lack.

    Readers that still map it keep it, and find the new one by its name all the same.
    """
    try:
        fd = _open(path, 0)
    except FileNotFoundError:
        return False
    try:
        if lock_held(fd):
            raise _in_use(path, fd)
        _mark_replaced(fd)
        path.unlink()
    finally:
        os.close(fd)
    return True


def _take_name(temporary: Path, path: Path) -> None:
    """Rename; the predecessor's header says REPLACED before.

    Nobody else can take the name meanwhile: that needs the temporary file's lock, which is ours. The predecessor's own
    lock stays free, or readers would take it for alive.
    """
    try:
        old = _open(path, 0)
    except FileNotFoundError:
        temporary.rename(path)
        return
    try:
        if lock_held(old):
            raise _in_use(path, old)
        _mark_replaced(old)
        temporary.rename(path)
    finally:
        os.close(old)


def _mark_replaced(fd: int) -> None:
    """Store REPLACED in a dead predecessor's header, when it is one; magic and state lie alike in all versions."""
    size = os.fstat(fd).st_size
    if size < records.HEADER.itemsize:
        return
    with mmap.mmap(fd, records.HEADER.itemsize) as memory:
        header: Any = np.frombuffer(memory, records.HEADER, 1)[0]
        if header["magic"] == CONSTANTS["SEGMENT_MAGIC"]:
            header["state"] = REPLACED
        del header

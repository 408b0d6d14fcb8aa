"""The thread that writes: blocks are packed, hashed, written, acknowledged; files begun, ended, renamed, let go.

Blocks come from the encoder's thread through a queue that holds as many as there are blocks: when the disk is slow they
are all on their way, the encoder waits for one, and what then comes in waits in the hot thread's ring, or is counted.
"""

import contextlib
import errno
import functools
import hashlib
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import zstandard

from feedhandler.errors import RecordingError
from feedhandler.record import resume
from feedhandler.record.day import PARTIAL, Day, remedy, said
from feedhandler.record.seen import Carried, carry
from feedhandler.recording import manifest
from feedhandler.recording._sequences import Sequences
from feedhandler.recording.manifest import Channel, FileLine
from feedhandler.recording.report import ChannelReport

BLOCK_BYTES = 1 << 20
BLOCKS = 8
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Block:
    """Memory on its way from encoder to disk, and what the file has with it."""

    memory: bytearray = field(default_factory=lambda: bytearray(BLOCK_BYTES))
    used: int = 0
    packets: tuple[int, ...] = ()
    """In this block, of each line."""
    lines: tuple[FileLine, ...] = ()
    """Of the file so far, this block included."""
    reports: Sequence[ChannelReport] = ()
    """Of the day so far, since this recorder began; none: as they were."""
    sync: bool = False
    """To be acknowledged when it is written."""
    ends: bool = False
    """The last one of its file."""
    begins: date | None = None
    """The first one of a file of that day."""


class Settings(Protocol):
    """What the table [record] says about files."""

    @property
    def format(self) -> str: ...
    @property
    def keep(self) -> int: ...
    @property
    def compress(self) -> int: ...
    @property
    def sync(self) -> str | float: ...
    @property
    def on_full(self) -> str: ...
    @property
    def zone(self) -> str: ...


class Disk:
    """Writes the blocks put into `blocks`, and gives them back through `free`; None ends it.

    `statistics(lines)`: what belongs at the end of a file with so much of its lines. `failed` is called, once, with
    what the recording cannot go on after; everything later is counted as not recorded. `began` is called with the
    folder of each file that is begun. `note`: sentences for people.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        settings: Settings,
        channels: Sequence[Channel],
        statistics: Callable[[tuple[FileLine, ...]], bytes],
        failed: Callable[[RecordingError], None],
        began: Callable[[Path], None],
        note: Callable[[str], None],
        write: Callable[[int, Any], int] = os.write,
    ) -> None:
        self.root, self.name, self.settings, self.channels = root, name, settings, tuple(channels)
        self.statistics, self.failed, self.began = statistics, failed, began
        self.note, self._write_some = note, write
        self.blocks: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self.free: queue.SimpleQueue[Block] = queue.SimpleQueue()
        for _ in range(BLOCKS):
            self.free.put(Block())
        self.errands: queue.SimpleQueue[Callable[[Day], None]] = queue.SimpleQueue()
        """What is to be entered into the present day."""
        self.error: RecordingError | None = None
        self.suffix = f".{settings.format}" + (".zst" if settings.compress else "")
        self.sync = settings.sync != "none"
        self.bytes = 0
        """Written, of all files, as they lie on the disk."""
        self.files = 0
        """Begun."""
        self.dropped = 0
        """Packets of blocks that could not be written."""
        self.day: Day | None = None
        self.folder: Path | None = None
        """Of the day that was closed last."""
        self._carried: Carried = {}
        self._hasher: threading.Thread | None = None
        self.path: Path | None = None
        """Of the file that is being written, its final name; None between files."""
        self._packer = zstandard.ZstdCompressor(level=settings.compress) if settings.compress else None
        self._fd = -1
        self._size = 0
        self._hash = hashlib.sha256()
        self._lines: tuple[FileLine, ...] = ()
        self._lost: list[int] = []
        self._thread = threading.Thread(target=self._run, name="feedhandler-disk", daemon=True)

    def open_day(self, day: date, sequences: Sequences | None = None) -> None:
        """Have the folder of a day, before anything is to be written. Raises RecordingError.

        `sequences` sees what a crash left in it and the manifest does not know of.
        """
        if self.day is not None:
            if self.day.now.day == day.isoformat():
                return
            self.close_day()
        opened = self._day(day)
        try:
            for sentence in resume.mend(opened, sequences):
                self.note(f"{opened.folder}: {sentence}")
            if sequences is not None:
                opened.see(sequences.report())
            opened.save(self.sync)
            if self.sync:  # the folder itself, too
                with said(f"{self.root}: cannot be written"):
                    manifest.sync_folder(self.root)
                    manifest.sync_folder(self.root.absolute().parent)
        except BaseException:
            opened.free()
            raise
        self.day = opened
        if names := resume.unhashed(opened):
            self._hasher = threading.Thread(target=self._hash_files, args=(opened, names), daemon=True)
            self._hasher.start()

    def mend_earlier(self) -> None:
        """Close what crashes have left open on other days. Raises RecordingError."""
        assert self.day is not None

        def opened(folder: Path) -> Day:
            return self._day(datetime.strptime(folder.name, "%Y%m%d").date())

        for sentence in resume.mend_earlier(self.day, opened, self.sync):
            self.note(sentence)

    def _day(self, day: date) -> Day:
        return Day(self.root, day, self.name, self.settings.zone, self.channels, self._carried)

    def _hash_files(self, day: Day, names: list[str]) -> None:
        """The hashes of files that a crash left; a thread of its own, since all of each must be read."""
        for name in names:
            try:
                found = resume.digest(day.folder / name)
            except RecordingError:  # it has just been let go
                continue
            self.errands.put(functools.partial(_enter_hash, day=day, name=name, found=found))

    def close_day(self) -> None:
        """The present day, if there is one, is whole."""
        if self.day is None:
            return
        if self._hasher is not None:
            self._hasher.join()
            self._hasher = None
        while not self.errands.empty():
            self.errands.get()(self.day)
        day, self.day = self.day, None
        self._carried = carry(day.now.channels)
        self.folder = day.folder
        day.close(complete=True, sync=self.sync)

    def start(self) -> None:
        """Begin to write what is put into `blocks`."""
        self._thread.start()

    def join(self) -> None:
        """Wait until all is written, once None has been put."""
        self._thread.join()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (block := self.blocks.get()) is not None:
            try:
                if self.error is None:
                    self._take(block)
                else:
                    self._lose(block)
            except RecordingError as error:
                self._fail(error, block)
            except Exception as error:  # whoever waits for blocks must get them back, whatever it is
                self._fail(RecordingError(f"{self.path or self.root}: cannot be written: {error}"), block)
            finally:
                self.free.put(block)
        if self.dropped and self.day is not None:
            self.day.damage(f"{self.dropped:,} packets that had come in could not be written")
        try:
            self.close_day()
        except RecordingError as error:
            self.error = self.error or error
        except Exception as error:
            self.error = self.error or RecordingError(f"{self.root}: cannot be written: {error}")

    def _take(self, block: Block) -> None:
        if block.begins is not None:
            self.open_day(block.begins)
            self._begin(block)
        assert self.day is not None
        while not self.errands.empty():
            self.errands.get()(self.day)
        if block.used:
            self._write(memoryview(block.memory)[: block.used])
        self._lines = block.lines
        if block.ends:
            self._end(block.reports)
        elif block.sync:
            self._acknowledge(block.reports)

    def _begin(self, block: Block) -> None:
        """A new file, under a name that says that it is not whole."""
        assert self.day is not None
        while self.settings.keep and self.day.whole_files() >= self.settings.keep:
            self.day.remove_oldest(self.sync)
        self.path = self.day.folder / self.day.next_name(self.suffix)
        partial = self._partial()
        with said(f"{partial}: cannot be made"):
            self._fd = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        self._size = 0
        self._hash = hashlib.sha256()
        self._lines = ()
        self._lost = [0] * len(block.lines)
        self.files += 1
        self.began(self.day.folder)

    def _write(self, data: "memoryview | bytes") -> None:
        """All of it, or RecordingError and nothing of it."""
        packed = self._packer.compress(data) if self._packer is not None else data
        view, done = memoryview(packed), 0
        while done < len(view):
            try:
                done += self._write_some(self._fd, view[done:])
            except OSError as error:
                if error.errno in FULL and self._make_room():
                    continue
                with contextlib.suppress(OSError):  # of a broken disk; what is behind the size stays unacknowledged
                    os.ftruncate(self._fd, self._size)
                    os.lseek(self._fd, self._size, os.SEEK_SET)
                raise RecordingError(self._why(error)) from error
        self._size += len(view)
        self.bytes += len(view)
        self._hash.update(view)

    def _make_room(self) -> bool:
        """The disk is full: let the oldest file go, if that is wanted and there is one."""
        if self.settings.on_full != "drop-oldest":
            return False
        assert self.day is not None
        removed = self.day.remove_oldest(self.sync)
        if removed:
            sentence = f"the disk is full: {removed} was removed"
            self.note(sentence)
        return bool(removed)

    def _why(self, error: OSError) -> str:
        """Why the recording cannot go on, in one sentence."""
        if error.errno not in FULL:
            return f"{self.path}: cannot be written: {error.strerror}; recording has stopped{remedy(error)}"
        more = "; no older file is left to be removed" if self.settings.on_full == "drop-oldest" else ""
        wider = "make room" if not more else "make room, or have smaller files ([record] rotate_bytes)"
        return f"{self.path}: {error.strerror}{more}; recording has stopped: {wider}, and start it again"

    def _acknowledge(self, reports: Sequence[ChannelReport]) -> None:
        """What is written is there: on the disk, where that is asked for, and in the manifest."""
        assert self.day is not None and self.path is not None
        timed = isinstance(self.settings.sync, float)
        if timed:
            with said(f"{self.path}: cannot be written"):
                os.fsync(self._fd)
        self._enter(None, reports)
        packets = sum(line.packets for line in self._lines)
        self.day.acknowledge(self.path.name, packets, self._size)
        self._save(timed)

    def _end(self, reports: Sequence[ChannelReport]) -> None:
        """The file is whole: its statistics, its name, its place in the manifest."""
        assert self.day is not None and self.path is not None
        if tail := self.statistics(self._with_losses()):
            self._write(tail)
        with said(f"{self.path}: cannot be written"):
            if self.sync:
                os.fsync(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._partial().rename(self.path)
        self._enter(self._hash.hexdigest(), reports)
        self.day.now = replace(self.day.now, acknowledged=None)
        self._save(self.sync)
        self.path = None

    def _save(self, sync: bool) -> None:
        """The manifest, for which old files go if it must be."""
        assert self.day is not None
        while True:
            try:
                self.day.save(sync)
                return
            except RecordingError as error:
                if getattr(error.__cause__, "errno", 0) not in FULL or not self._make_room():
                    raise

    def _partial(self) -> Path:
        assert self.path is not None
        return self.path.with_name(self.path.name + PARTIAL)

    def _with_losses(self) -> tuple[FileLine, ...]:
        """The file's lines, with what could not be written."""
        return tuple(
            replace(line, dropped=line.dropped + lost) for line, lost in zip(self._lines, self._lost, strict=False)
        )

    def _enter(self, digest: str | None, reports: Sequence[ChannelReport]) -> None:
        """The file as it is now into the manifest."""
        assert self.day is not None and self.path is not None
        self.day.put(resume.entry(self.path.name, self._size, self._with_losses(), digest, digest is not None))
        self.day.see(reports)

    # -- what cannot be written ----------------------------------------------------------------------------------------

    def _fail(self, error: RecordingError, block: Block) -> None:
        """The recording ends here. What is whole is closed; the rest is counted."""
        self.error = error
        self._lose(block)
        self.failed(error)
        if self.day is None:
            return
        self.day.damage(str(error))
        try:
            if self._fd >= 0 and self._size == 0:
                self._partial().unlink(missing_ok=True)
                os.close(self._fd)
                self._fd, self.path = -1, None
            if self.path is not None and self._fd >= 0:
                self._end(())
            else:
                self.day.save(self.sync)
        except (RecordingError, OSError):
            if self._fd >= 0:  # stays partial: it is whole to what was acknowledged, and taken up by the next start
                fd, self._fd = self._fd, -1
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _lose(self, block: Block) -> None:
        """The block's packets are not recorded."""
        self.dropped += sum(block.packets)
        for line, count in enumerate(block.packets):
            if line < len(self._lost):
                self._lost[line] += count


def _enter_hash(present: Day, *, day: Day, name: str, found: str) -> None:
    """Of a file of the day that is still the present one: a day waits for its hashes before it is closed."""
    if present is day:
        resume.hashed(day, name, found)

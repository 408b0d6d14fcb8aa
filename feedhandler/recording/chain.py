"""Files that follow each other, opened when they are reached."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from feedhandler.errors import CaptureError, RecordingError
from feedhandler.receive import capture
from feedhandler.receive._binaryfile import BinaryFile
from feedhandler.receive._reassembly import Reassembly
from feedhandler.recording import manifest as manifests
from feedhandler.recording.files import PARTIAL, RecordedFile, candidates, folders, number_of, settled
from feedhandler.recording.lines import RecordedLine, of_comment

if TYPE_CHECKING:
    from feedhandler.receive._capture import PacketFile
    from feedhandler.receive._file import FileReceiver
    from feedhandler.recording.index import Index
    from feedhandler.recording.window import Window


TIMES_DIFFER_NS = 50_000_000  # two changes so far apart give a folder different times
NEXT_DAY_SECONDS = 2.0  # a recorder that goes on to another day has made its folder by then


class Chain(Protocol):
    """What `Merged` takes its files from."""

    first_ts: int
    """At or before the first packet, ns since the Unix epoch."""
    over: bool
    """There will be no more files."""
    reassembly: Reassembly | None
    """Of those of its lines that are streams."""

    def next(self) -> FileReceiver | None:
        """The next file, opened; None when there is none, yet or for good."""

    def look(self) -> None:
        """The present file is idle: it may have come to its end for good."""


class Opener:
    """Opens files for a receiver of some lines of a recording, within a window."""

    def __init__(
        self,
        known: Sequence[RecordedLine],
        unknown: Sequence[RecordedLine],
        wanted: Sequence[RecordedLine],
        window: Window,
        index: Callable[[RecordedFile, Window], Index | None] = lambda file, window: None,
    ) -> None:
        self.lines = len(wanted)
        self._known, self._unknown = known, unknown
        self._numbers = {id(line): number for number, line in enumerate(wanted)}
        self._window, self._index = window, index
        self._streams = [number for number, line in enumerate(wanted) if line.stream]
        self.since = capture.EVER[0] if window.start is None else window.start
        self.until = capture.EVER[1] if window.end is None else window.end

    def reassembly(self) -> Reassembly | None:
        """For the streams of a chain of files; None where there are none."""
        return Reassembly(self.lines, self._streams) if self._streams else None

    def open(self, file: RecordedFile, *, growing: bool = False, reassembly: Reassembly | None = None) -> FileReceiver:
        """The file's receiver, of the streams as far as there is a `reassembly` of them. Raises CaptureError."""
        if file.kind.format == "binaryfile":
            source = capture.source(file.path, file.kind, growing)
            number = next((self._number(line) for line in self._known if line.session == "binaryfile"), 0)
            messages = BinaryFile(self.lines, source, str(file.path), max(0, number))
            if growing:
                messages.grows()
            return messages
        rows = [
            (self._number(line), line.destination)
            for line in (*self._known, *self._unknown)
            if line.destination is not None
            and (not line.stream or (reassembly and named_by_address(line.destination[0])))
        ]
        opened = capture.open_file(
            file.path,
            file.kind,
            self.lines,
            rows,
            self._interfaces(file) if file.kind.format == "pcapng" else None,
            since=self.since,
            until=self.until,
            growing=growing,
            reassembly=reassembly,
        )
        if not growing and (index := self._index(file, self._window)) is not None:
            self.go_to(opened, index, *index.between(self._window.start, self._window.end))
        return opened

    def go_to(self, file: PacketFile, index: Index, first: int, last: int | None = None) -> None:
        """Let an opened file go on at the block `first` of its index, and end before `last`. Raises CaptureError."""
        if index.frames and (source := file.unpacking) is not None:
            source.frames = index.frames
        try:
            index.resume(file, first, last)
        except ValueError as error:
            raise CaptureError(f"{file.path}: {error}") from error

    def _number(self, line: RecordedLine | None) -> int:
        return self._numbers.get(id(line), capture.NOT_WANTED)

    def _interfaces(self, file: RecordedFile) -> Callable[[str, str, str], int]:
        """Which line an interface is, of a file that says so."""
        known = {(line.channel, line.name): line for line in self._known}

        def number(name: str, description: str, comment: str) -> int:
            told = of_comment(comment, file.path)
            return -1 if told is None else self._number(known.get((told.channel, told.name)))

        return number


class FileChain:
    """Files that are all there."""

    def __init__(self, files: Sequence[RecordedFile], first_ts: int, opener: Opener) -> None:
        self.first_ts = first_ts
        self.over = False
        self.reassembly = opener.reassembly()
        self._files, self._opener = list(files), opener

    def next(self) -> FileReceiver | None:
        """The next file, opened."""
        if not self._files:
            self.over = True
            return None
        file = self._files.pop(0)
        try:
            return self._opener.open(replace(file, path=settled(file.path)), reassembly=self.reassembly)
        except (RecordingError, OSError) as error:  # a ring of files may have let it go: the next one is still there
            raise CaptureError(str(error)) from error

    def look(self) -> None:
        """Nothing here grows."""


class FollowedChain:
    """A file, or the files of a folder, while they are written: in the order of their names, each until it is whole.

    A file is whole when it has lost its .partial, when there is a later one, or when the day's manifest says so; a
    folder is over when the manifest of its last day says so. Of another program's files, which have neither, there may
    always be more: `Merged.stop_following` ends them.
    """

    def __init__(self, path: Path, first_ts: int, opener: Opener) -> None:
        self.first_ts = first_ts
        self.over = False
        self.reassembly = opener.reassembly()
        self._path, self._opener = path, opener
        self._seen: set[Path] = set()
        self._waiting: list[Path] = []
        self._file: FileReceiver | None = None
        self._present = path
        self._stamps: dict[Path, int] = {}
        self._complete_since: float | None = None
        self._read: tuple[Path, int, int, int] | None = None
        self._told = False
        self._scan()

    def next(self) -> FileReceiver | None:
        """The next file, opened, once there is enough of it to be one."""
        self._file = None
        while True:
            complete = self._complete()
            self._scan()
            if not self._waiting:
                self.over = complete
                return None
            try:
                path = settled(self._waiting[0])
                file = self._opener.open(
                    RecordedFile(path, capture.kind(path), 0), growing=True, reassembly=self.reassembly
                )
            except RecordingError as error:  # a ring of files has let it go
                self._waiting.pop(0)
                raise CaptureError(str(error)) from error
            except (CaptureError, OSError) as error:
                if len(self._waiting) == 1 and not complete:
                    return None  # its head is not written yet
                self._waiting.pop(0)
                raise CaptureError(str(error)) from error
            self._present = self._waiting.pop(0)
            self._file = file
            if self._whole():
                file.settle()
            return file

    def look(self) -> None:
        """Has the present file come to its end for good?"""
        if self._file is not None and self._whole():
            self._file.settle()

    def _whole(self) -> bool:
        name = self._present.name.removesuffix(PARTIAL)
        partial = self._present.with_name(name + PARTIAL)
        if not partial.exists() and number_of(partial) is not None and self._present.with_name(name).exists():
            return True
        if self._complete():
            return True
        self._scan()
        return bool(self._waiting)

    def _scan(self) -> None:
        """See which files have come."""
        if not self._path.is_dir():
            found = [self._path]
        else:
            stamps = {folder: stamp for folder in (self._path, *self._stamps) if (stamp := _stamp(folder))}
            if stamps == self._stamps:
                return
            now = time.time_ns()
            found_now = {folder: stamp for folder in folders(self._path) if (stamp := _stamp(folder))}
            # a folder that has just changed may change again under the same time, so it is looked at once more
            self._stamps = {
                folder: stamp if now - stamp > TIMES_DIFFER_NS else 0 for folder, stamp in (stamps | found_now).items()
            }
            found = [path for folder in self._stamps for path in candidates(folder)]
        for path in found:
            whole = path.with_name(path.name.removesuffix(PARTIAL))
            if whole not in self._seen:
                self._seen.add(whole)
                self._waiting.append(path)

    def _complete(self) -> bool:
        """Whether the manifest of the last day says that nothing more comes."""
        if not self._path.is_dir():
            return bool(self._seen) and not self._waiting and self._file is None
        days = [folder for folder in folders(self._path) if (folder / manifests.NAME).exists()]
        if not days or not self._says_complete(days[-1]):
            self._complete_since = None
            return False
        if days == [self._path]:
            return True
        now = time.monotonic()
        self._complete_since = self._complete_since or now
        return now - self._complete_since > NEXT_DAY_SECONDS

    def _says_complete(self, folder: Path) -> bool:
        """What the manifest says; one that is as it was is not read again."""
        mark = None
        with contextlib.suppress(OSError):  # load() says it better
            stat = (folder / manifests.NAME).stat()
            mark = folder, stat.st_ino, stat.st_size, stat.st_mtime_ns
        if mark is None or mark != self._read:
            self._told = manifests.load(folder).complete
            self._read = mark if mark is not None and time.time_ns() - mark[3] > TIMES_DIFFER_NS else None
        return self._told


def named_by_address(host: str) -> bool:
    """Whether a host is named by its address: a file knows no names."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _stamp(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0

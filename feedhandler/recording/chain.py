"""Files that follow each other, opened when they are reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from feedhandler.receive import capture
from feedhandler.receive._binaryfile import BinaryFile
from feedhandler.recording.lines import RecordedLine, of_comment

if TYPE_CHECKING:
    from feedhandler.receive._file import FileReceiver
    from feedhandler.recording.day import Recording
    from feedhandler.recording.files import Folder, RecordedFile
    from feedhandler.recording.window import Window


class Chain(Protocol):
    """What `Merged` takes its files from."""

    first_ts: int
    """At or before the first packet, ns since the Unix epoch."""
    over: bool
    """There will be no more files."""

    def next(self) -> FileReceiver | None:
        """The next file, opened; None when there is none, yet or for good."""

    def look(self) -> None:
        """The present file is idle: it may have come to its end for good."""


class FileChain:
    """Files that follow each other, opened when they are reached."""

    def __init__(
        self,
        recording: Recording,
        folder: Folder,
        files: Sequence[RecordedFile],
        wanted: Sequence[RecordedLine],
        numbers: dict[int, int],
        window: Window,
        follow: bool,
    ) -> None:
        self.files = list(files)
        self.first_ts = next((ts for file in files if (ts := recording._first(file)) is not None), 0)
        self.over = False
        self._recording, self._folder, self._follow = recording, folder, follow
        self._lines, self._numbers, self._window = len(wanted), numbers, window

    def next(self) -> FileReceiver | None:
        """The next file, opened."""
        if not self.files:
            self.over = True
            return None
        return self._open(self.files.pop(0))

    def look(self) -> None:
        """Nothing here grows."""

    def _open(self, file: RecordedFile) -> FileReceiver:
        table = self._recording._table
        if file.kind.format == "binaryfile":
            line = next(line for line in table.known if line.session == "binaryfile")
            return BinaryFile(
                self._lines, capture.source(file.path, file.kind), str(file.path), self._numbers.get(id(line), 0)
            )
        rows = [
            (self._numbers.get(id(line), capture.NOT_WANTED), line.destination)
            for line in (*table.known, *table.unknown)
            if line.destination is not None and not line.stream
        ]
        since = capture.EVER[0] if self._window.start is None else self._window.start
        until = capture.EVER[1] if self._window.end is None else self._window.end
        return capture.open_file(file.path, file.kind, self._lines, rows, self._number(file), since=since, until=until)

    def _number(self, file: RecordedFile) -> Callable[[str, str, str], int] | None:
        """Which line an interface is, of a file that says so."""
        if file.kind.format != "pcapng":
            return None
        known = {(line.channel, line.name): line for line in self._recording._table.known}

        def number(name: str, description: str, comment: str) -> int:
            told = of_comment(comment, file.path)
            if told is None:
                return -1
            line = known.get((told.channel, told.name))
            return capture.NOT_WANTED if line is None else self._numbers.get(id(line), capture.NOT_WANTED)

        return number

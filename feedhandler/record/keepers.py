"""Book snapshots beside a recorder: for each day a keeper in a process of its own, which follows its files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from feedhandler.errors import FeedError

if TYPE_CHECKING:
    from feedhandler.config import Books
    from feedhandler.recording.books import Keeping


class Keepers:
    """Has the books of each day kept, every `seconds` of recorded time (0: not at all). `note`: sentences for people.

    What goes wrong with a keeper is said, and is nothing to the recording.
    """

    def __init__(self, seconds: int, sizes: Books, note: Callable[[str], None]) -> None:
        self.seconds, self.sizes, self.note = seconds, sizes, note
        self._folder: Path | None = None
        self._present: Keeping | None = None
        self._closing: list[threading.Thread] = []

    def begin(self, folder: Path) -> None:
        """A file was begun in the folder of a day: it has a keeper from now on."""
        if not self.seconds or folder == self._folder:
            return
        from feedhandler.recording.books import keep

        self._leave()
        self._folder = folder
        sizes = self.sizes
        try:
            self._present = keep(
                folder, self.seconds, depth=sizes.depth, orders=sizes.orders, instruments=sizes.instruments
            )
        except (FeedError, OSError) as error:
            self.note(f"no book snapshots: {error}")

    def close(self) -> None:
        """Wait until all keepers have come to the end of their days."""
        self._leave()
        for thread in self._closing:
            thread.join()

    def _leave(self) -> None:
        """Let the present keeper end, beside what goes on."""
        if self._present is not None:
            thread = threading.Thread(target=self._end, args=(self._present,), name="feedhandler-books", daemon=True)
            self._closing.append(thread)
            thread.start()
            self._present = None

    def _end(self, keeping: Keeping) -> None:
        try:
            kept = keeping.close()
        except FeedError as error:
            self.note(str(error))
            return
        for sentence in kept.notes:
            self.note(f"{kept.path}: {sentence}")
        self.note(f"{kept.path}: {kept.snapshots:,} snapshots of the books, {kept.bytes:,} bytes")

from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from feedhandler._witness import Witness
from feedhandler.book import Books
from feedhandler.line import Arbiter

def book_hash(bids: NDArray[np.void], asks: NDArray[np.void], trading: int = 0) -> int:
    """The hash of a book as a reader sees it."""

@final
class Original:
    """What the lossless run saw."""

    runs: int
    books: int
    trading: bool
    def __new__(cls, books: int, *, trading: bool = True) -> Self: ...
    def name_books(self, directory: NDArray[np.void], used: int) -> None:
        """Take the names of the books from the lossless run's directory."""
    @property
    def names(self) -> dict[int, tuple[str, str]]:
        """Of each book its (symbol, venue), by index."""
    def session(self, run: int) -> str:
        """The session id of a run."""
    def length(self, run: int) -> int:
        """The last number of a run."""
    def history(self, run: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64], list[tuple[int, NDArray[np.uint64]]]]:
        """(books, hashes, wide) of a run."""
    @property
    def messages(self) -> int:
        """Messages of all runs."""

@disjoint_base
class Observer(Witness):
    """What Recorder and Comparer share."""

    def attach(self, segment: Any, arbiter: Arbiter, books: Books, depth: int) -> None:
        """Look at this segment's first channel, and at the arbiter and the books that write it."""
    @property
    def copied_book(self) -> tuple[NDArray[np.void], NDArray[np.void]] | None:
        """(bids, asks) of the book that was copied; None when none was."""

@final
class Recorder(Observer):
    """Fills an Original."""

    def __new__(cls, original: Original, until: tuple[int, int, int] | None = None) -> Self: ...

@final
class Comparer(Observer):
    """Watches the run with faults."""

    messages: int
    compared: int
    wrong: int
    unknown: int
    snapshots: int
    snapshot_messages: int
    retransmitted: set[int]
    def __new__(cls, original: Original) -> Self: ...
    def finish(self) -> None:
        """The stream is over: from now on each book should be what it was at the end of the lossless run."""
    def look(self) -> tuple[list[str], list[str], list[str]]:
        """Compare all books as they stand now: names of those LIVE and equal, not LIVE, LIVE and wrong."""
    def state(self, line: int = 0) -> tuple[int, int, int, int, int, int, int]:
        """(quality, reason, epoch, next number, horizon, messages lost, bad packets of `line`) of the channel, now."""
    @property
    def place(self) -> tuple[int, int]:
        """(run, number): where in the lossless run this one is."""
    @property
    def first_wrong(self) -> dict[str, int] | None:
        """{book, run, number, instrument} of the first book that was LIVE and wrong, or None."""

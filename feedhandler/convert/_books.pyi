from collections.abc import Callable, Iterable
from typing import Any, final

from numpy.typing import NDArray

from feedhandler.convert._collector import Collector
from feedhandler.publish import Segment

HEAD: list[tuple[str, Any]]
CAUSE: list[tuple[str, Any]]
LEVEL: list[tuple[str, Any]]
BAR_COLUMNS: list[tuple[str, Any]]

def book_columns(depth: int, *, by_event: bool = False, by_time: bool = False) -> list[tuple[str, Any]]:
    """(name, dtype) of a book's row."""

@final
class BookCollector(Collector):
    """Rows of books: at each change, each so many changes, at instants, or of each event."""

    def __init__(
        self,
        sink: Callable[[dict[str, NDArray[Any]]], Any],
        segment: Segment,
        *,
        depth: int,
        count: int = 0,
        step: int = 0,
        fill: bool = False,
        by_event: bool = False,
        symbols: Iterable[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        rows: int = 0,
    ) -> None: ...
    def finish(self) -> None:
        """The end of the input: the rows of the instant that comes next, too."""

@final
class BarCollector(Collector):
    """A row for each instrument and interval."""

    def __init__(
        self,
        sink: Callable[[dict[str, NDArray[Any]]], Any],
        segment: Segment,
        *,
        step: int,
        fill: bool = False,
        symbols: Iterable[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        rows: int = 0,
    ) -> None: ...
    @property
    def broken(self) -> int:
        """Trades that were taken back later, and are in the bars."""
    def finish(self) -> None:
        """The end of the input: the last interval, too."""

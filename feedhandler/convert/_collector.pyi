from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

from numpy.typing import DTypeLike, NDArray

from feedhandler._witness import Witness
from feedhandler.publish import Segment

EVENT_COLUMNS: list[tuple[str, Any]]

class Collector(Witness):
    """The base of all collectors: rows into blocks of columns, full blocks to `sink`."""

    def __init__(
        self,
        sink: Callable[[dict[str, NDArray[Any]]], Any],
        segment: Segment,
        columns: Sequence[tuple[str, DTypeLike]],
        *,
        symbols: Iterable[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        rows: int = 0,
    ) -> None: ...
    @property
    def error(self) -> BaseException | None:
        """What the sink raised."""
    @property
    def total(self) -> int:
        """Rows given to the sink."""
    @property
    def events(self) -> int:
        """Events that were seen."""
    @property
    def stepped_back(self) -> int:
        """Rows whose exchange time is before that of a row before."""
    @property
    def first_valid(self) -> int | None:
        """Exchange time of the first row whose book was LIVE; None = there was none."""
    def finish(self) -> None:
        """The end of the input: what is left goes to the sink. Raises what the sink has raised."""
    def check(self) -> None:
        """Raise what the sink has raised."""

@final
class EventCollector(Collector):
    """A row for each event, or for each trade and broken trade."""

    def __init__(
        self,
        sink: Callable[[dict[str, NDArray[Any]]], Any],
        segment: Segment,
        *,
        trades: bool = False,
        symbols: Iterable[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        rows: int = 0,
    ) -> None: ...

from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from feedhandler._walk import Walk
from feedhandler.read import Batch, Book
from feedhandler.read._reader import Reader
from feedhandler.records import Reason

def book_dtype(depth: int) -> np.dtype[np.void]:
    """The dtype of a book as a row: `head` (BOOK), `bids` and `asks` (LEVEL, shape (depth,), best first)."""

@final
class Steps:
    """A recording gone through event by event, every book as it is right after the event's message."""

    @property
    def given(self) -> int:
        """Events given, or told of, so far."""
    @property
    def ended(self) -> bool:
        """The end of the recording, or of the time asked for, is reached."""
    stopping: bool
    def __new__(
        cls,
        shard: Walk,
        reader: Reader,
        judge: Callable[[int], bool],
        book: Callable[[int], Book],
        start: int | None = None,
        end: int | None = None,
        *,
        channel_events: bool = False,
        looked: Callable[[], None] | None = None,
    ) -> Steps: ...
    def __iter__(self) -> Iterator[tuple[Any, Any]]: ...
    def __next__(self) -> tuple[Any, Any]: ...
    def take(
        self, most: int, depth: int, kind: type[Batch], dtype: np.dtype[np.void]
    ) -> tuple[Batch, NDArray[np.void]] | None:
        """Up to `most` events and the book after each; None at the end."""
    def tell(
        self,
        on_book: Callable[[Book], None] | None,
        on_trade: Callable[[Any], None] | None,
        on_status: Callable[[Any], None] | None,
        on_stale: Callable[[Book, Reason], None] | None,
        on_live: Callable[[Book], None] | None,
        reasons: Sequence[Reason],
    ) -> None:
        """Call these in the order of the recording, to its end."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedhandler.book import Books

TRADES: np.dtype[np.void]

def settled(books: Books) -> bool:
    """Is no book in the middle of an event of many messages?"""

def dump(books: Books, indices: Any) -> dict[str, NDArray[Any]]:
    """All that the books of these instruments hold, as arrays by name."""

def levels(books: Books, instrument: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """(bids, asks): all levels of a book, best first, as LEVEL arrays."""

def hashes(books: Books, indices: Any) -> NDArray[np.uint64]:
    """XXH64 of each book: what stands in it and nothing of how it came about or where it lies."""

def clear(books: Books) -> None:
    """All books of this channel, and those that nobody has, as they were when they were made."""

def load(books: Books, indices: Any, parts: Mapping[str, NDArray[Any]], position: int = 0) -> None:
    """The inverse of dump(). Raises ValueError for parts that cannot have come from it."""

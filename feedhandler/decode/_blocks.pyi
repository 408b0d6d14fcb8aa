from typing import Any

import numpy as np

def index(
    buffer: Any, big_endian: bool, lengths: np.ndarray[Any, np.dtype[np.uint16]]
) -> tuple[
    np.ndarray[Any, np.dtype[np.uint64]],
    np.ndarray[Any, np.dtype[np.uint64]],
    np.ndarray[Any, np.dtype[np.uint64]],
    int,
    int,
]:
    """Where the messages of each type begin: (counts, starts, numbers, end, too_short)."""

def gather(
    buffer: Any,
    starts: np.ndarray[Any, np.dtype[np.uint64]],
    length: int,
    texts: np.ndarray[Any, np.dtype[np.uint16]],
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The first `length` bytes of the messages at `starts`, as an array of shape (n, length)."""

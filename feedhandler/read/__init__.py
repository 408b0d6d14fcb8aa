"""The reader's end: attach to a feed's segment, read its books and events."""

import os

from feedhandler.publish.segment import DEFAULT_DIR, Segment
from feedhandler.read._reader import Batch, Reader
from feedhandler.read.feed import Feed
from feedhandler.read.opening import open_reader
from feedhandler.read.strategy import Strategy
from feedhandler.read.views import Book

__all__ = ["Batch", "Book", "Feed", "Reader", "Strategy", "attach", "attach_local"]


def attach(name: str, dir: str | os.PathLike[str] = DEFAULT_DIR, timeout: float = 0.0) -> Feed:
    """The feed of a running handler, read from shared memory; a context manager.

    `timeout` is how many seconds to wait for the handler to appear. Raises SegmentError when there is none, when it has
    stopped, or without the right to read (mode and group are named); WriterDiedError when it is dead; LayoutError,
    naming both layouts, when another version of feedhandler wrote the segment.
    """
    return Feed(open_reader(name, dir, timeout), name, dir)


def attach_local(segment: Segment) -> Feed:
    """The feed of a segment of this process or its parent: for offline runs and tests."""
    return Feed(Reader(segment.memory), segment.name)

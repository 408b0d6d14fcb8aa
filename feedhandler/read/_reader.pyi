from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedhandler.read._arrays import Batch as Batch
from feedhandler.read._arrays import View as View

EVENT: np.dtype[np.void]
LAYOUT_HASH: int

WAITS: dict[str, int]

class Reader:
    """A mapped segment."""

    def __init__(self, memory: Any, fd: int = -1) -> None: ...
    @property
    def memory(self) -> Any: ...
    @property
    def depth(self) -> int: ...
    @property
    def side_stride(self) -> int: ...
    @property
    def instruments(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def used(self) -> int:
        """Directory entries in use, the unused 0 included."""
    def status(self) -> str:
        """The writer's life: "running", "stopped", "died" or "replaced"."""
    def frozen(self) -> bool:
        """Whether the writer lives and its hot thread does not run."""
    @property
    def silent_since(self) -> int:
        """The last sign of life of a writer that is gone or frozen, ns since the Unix epoch; 0 while it runs."""
    @property
    def generation(self) -> int:
        """When the segment was made, ns since the Unix epoch."""
    def find(self, symbol: str, venue: str | None = None) -> list[int]:
        """Numbers of all directory entries of that symbol."""
    def part(self, index: int) -> tuple[int, int, int]:
        """Offset, stride and count of one part."""
    def states(self, instruments: NDArray[np.uint32], quality: NDArray[np.uint8], reason: NDArray[np.uint8]) -> None:
        """Fill in quality and reason, the worst of three."""

class Cursor:
    """A place in a shard's event ring."""

    def __init__(
        self,
        reader: Reader,
        shard: int = 0,
        start: str | int = "now",
        wanted: Iterable[int] | None = None,
        batch: int = 1024,
    ) -> None: ...
    @property
    def reader(self) -> Reader: ...
    @property
    def position(self) -> int:
        """Number of the next event."""
    @property
    def lost(self) -> int:
        """Events lost so far."""
    def take(self, mode: int = 1, interval: int = 100_000, timeout: int = -1, copy: bool = True) -> Batch | None:
        """The next batch, or None."""
    def intact(self, first: int, count: int) -> int:
        """How many of these events, counted from the last, are still in the ring."""
    def want(self, instrument: int, wanted: bool) -> None:
        """From now on, pass on or pass over the events of an instrument."""
    def pass_unfinished(self) -> bool:
        """Step over an event that its writer died in."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVENT: np.dtype[np.void]
LEVEL: np.dtype[np.void]
LAYOUT_HASH: int

WAITS: dict[str, int]

class Batch(np.ndarray[Any, Any]):
    """Events in the order of the ring, a copy."""

    lost: int
    def intact(self) -> int:
        """How many events of this batch were not overwritten."""

class View(Batch):
    """Events where they lie in the ring, read-only."""

    cursor: Any
    first: int

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
    def pass_unfinished(self) -> bool:
        """Step over an event that its writer died in."""

class BookReader:
    """One book."""

    def __init__(self, reader: Reader, instrument: int, *args: Any, **kwargs: Any) -> None: ...
    def __new__(cls, reader: Reader, instrument: int, *args: Any, **kwargs: Any) -> Any: ...
    def move(self, reader: Reader, instrument: int) -> None:
        """Look at another segment's book from now on."""
    def follow(self) -> None:
        """Called when a successor has taken the segment's name."""
    def snapshot(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Bids and asks as they stood at one instant."""
    def top(self) -> tuple[Any, Any, Any, Any]:
        """Bid price and size, ask price and size; None on an empty side."""
    def codes(self) -> tuple[int, int, int]:
        """Quality, reason and trading status now."""
    def seen_codes(self) -> tuple[int, int, int]:
        """Quality, reason and trading status as of the last snapshot() or top()."""
    @property
    def instrument(self) -> int: ...
    @property
    def seen_channel_seq(self) -> int: ...
    @property
    def seen_event_seq(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def channel_seq(self) -> int: ...
    @property
    def event_seq(self) -> int: ...
    @property
    def ts_event(self) -> int: ...
    @property
    def ts_recv(self) -> int: ...
    @property
    def since(self) -> int: ...
    @property
    def last_trade(self) -> tuple[int, int] | None: ...
    @property
    def volume(self) -> tuple[int, int]: ...

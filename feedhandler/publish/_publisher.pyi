from typing import Any

from numpy.typing import NDArray

def histogram_bucket(nanoseconds: int) -> int:
    """The bucket that a latency counts in."""

def histogram_ceilings() -> list[int]:
    """The largest latency, in ns, that counts in each bucket."""

class Publisher:
    """The writer's end of a segment."""

    def __init__(self, memory: Any, shard: int = 0) -> None: ...
    @property
    def position(self) -> int:
        """Number of the last event published."""
    def append(self, events: NDArray[Any]) -> int:
        """Publish an array of dtype EVENT; the position of its last event."""
    def resume(self, position: int) -> None:
        """Number the next event `position` + 1: those before it were another writer's."""
    def record_latency(self, histogram: int, nanoseconds: int) -> None:
        """Count one latency, in ns."""
    def heartbeat(self, monotonic: int) -> None:
        """Store the hot thread's heartbeat."""

from typing import Any

import numpy as np
from typing_extensions import disjoint_base

FAULTS: dict[str, int]
ALL_FAULTS: int

@disjoint_base
class Books:
    """The published books of one shard, in a writable buffer of slots."""

    def __init__(
        self,
        slots: Any,
        *,
        depth: int = 10,
        instruments: int | None = None,
        policy: int | None = None,
        crossed_ms: int = 1000,
        **_: Any,
    ) -> None: ...
    def apply_events(self, events: np.ndarray[Any, Any], first_event: int = 1) -> None:
        """Apply an array of EVENT records in place; the first will stand at `first_event` of the ring."""
    def clear_books(self, first: int = 1, count: int | None = None, now: int = 0) -> None:
        """Empty books: epoch + 1, LIVE; by default all."""
    def mark_book(self, instrument: int, quality: int, reason: int = 0, now: int = 0) -> None:
        """Set the quality of one book, or of all (0)."""
    def book(self, instrument: int) -> tuple[np.void, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(head, bids, asks) of one slot as it stands: copies."""
    def trades(self, instrument: int) -> tuple[int, int, int, int]:
        """(last price, last size, volume, trades) of one slot."""
    @property
    def counts(self) -> np.ndarray[Any, Any]:
        """The counters of the channel, by ChannelCounter; a copy."""

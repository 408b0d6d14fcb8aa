from typing import Any

import numpy as np

class Instruments:
    """The instrument directory as its one writer sees it."""

    def __init__(self, records: Any, table: Any, part: Any) -> None: ...
    @staticmethod
    def standalone(capacity: int) -> Instruments:
        """A directory in memory of its own."""

    def __len__(self) -> int:
        """Instruments defined."""

    @property
    def refused(self) -> int:
        """Definitions refused because the directory was full."""

    def add(self, symbol: str, venue: str, channel: int = 0) -> int:
        """The index of (symbol, venue), defined now if it is new; 0 when there is no room or it is no symbol."""

    def lookup(self, symbol: str, venue: str) -> int:
        """The index of (symbol, venue), 0 if it is not defined."""

    def symbol(self, index: int) -> str:
        """The symbol of an index."""

    def record(self, index: int) -> np.void:
        """A copy of one directory entry, dtype INSTRUMENT."""

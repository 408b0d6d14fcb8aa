from typing import Any

import numpy as np

class Batch(np.ndarray[Any, Any]):
    """Events in the order of the ring, a copy."""

    lost: int
    restarted: bool
    def intact(self) -> int:
        """How many events of this batch were not overwritten."""

class View(Batch):
    """Events where they lie in the ring, read-only."""

    cursor: Any
    first: int

from typing import Any

import numpy as np
from numpy.typing import NDArray

def xxh64(data: Any) -> int:
    """XXH64, seed 0, of the bytes."""

def each(data: Any, width: int) -> NDArray[np.uint64]:
    """XXH64 of each `width` bytes."""

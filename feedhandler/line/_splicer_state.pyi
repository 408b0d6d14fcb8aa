from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedhandler.line._splicer import Splicer

def dump(splicer: Splicer, indices: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    """What it knows of its books, lines and texts, by name. Raises ValueError while a packet is in hand."""

def load(splicer: Splicer, indices: NDArray[np.uint32], parts: Mapping[str, NDArray[Any]]) -> None:
    """The inverse of dump(). Raises ValueError for what cannot have come from it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedhandler.decode._decoder import Decoder

def dump(decoder: Decoder) -> dict[str, NDArray[Any]]:
    """What the session has taught it: session, ids, names, types."""

def load(decoder: Decoder, parts: Mapping[str, NDArray[Any]], where: NDArray[np.uint32]) -> None:
    """The inverse of dump(). Raises ValueError, nothing being changed, for what cannot have come from it."""

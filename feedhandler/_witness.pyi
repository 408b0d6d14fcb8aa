from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

class Witness:
    """Sees every message of a shard as it takes effect; see Shard.watch()."""

@final
class Caller(Witness):
    """Calls function(channel, events, quality) each time (for tests)."""

    error: BaseException | None
    def __init__(self, function: Callable[[int, NDArray[np.void], int], Any]) -> None: ...

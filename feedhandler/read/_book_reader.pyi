from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from feedhandler.read._reader import Reader

LEVEL: np.dtype[np.void]

class BookReader:
    """One book."""

    def __init__(self, reader: Reader, instrument: int, *args: Any, **kwargs: Any) -> None: ...
    def __new__(cls, reader: Reader, instrument: int, *args: Any, **kwargs: Any) -> Any: ...
    @property
    def reader(self) -> Reader: ...
    def move(self, reader: Reader, instrument: int) -> None:
        """Look at another segment's book from now on."""
    def follow(self) -> None:
        """Called while the writer does not run, or the symbol is not known."""
    @overload
    def snapshot(self, out: None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Bids and asks as they stood at one instant."""
    @overload
    def snapshot(self, out: NDArray[Any]) -> NDArray[Any]: ...
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
    def seen_since(self) -> int: ...
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

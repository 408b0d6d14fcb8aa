from typing import Any, final

import numpy as np
from numpy.typing import NDArray

@final
class Measures:
    """What is measured of the messages of a recording: rates, gaps between packets, delays, leads."""

    @property
    def rates(self) -> bool: ...
    @property
    def arrivals(self) -> bool: ...
    @property
    def latency(self) -> bool: ...
    @property
    def margin(self) -> bool: ...
    @property
    def origin(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def timeless(self) -> int: ...
    def __new__(
        cls,
        lines: int,
        midnights: NDArray[np.int64],
        *,
        bins: int = 512,
        rates: bool = False,
        arrivals: bool = False,
        latency: bool = False,
        margin: bool = False,
    ) -> Measures: ...
    def describe(self, table: int, kind: int, offset: int, size: int, big_endian: bool, of_the_day: bool) -> None:
        """Where a type of message has its time: ns since midnight, or since the Unix epoch."""
    def open_channel(self, channel: int) -> None:
        """Room for the copies of a channel's messages."""
    def __getitem__(self, name: str) -> NDArray[Any]:
        """One of the arrays."""
    @property
    def used(self) -> int:
        """Bins in use."""
    def finish(self) -> None:
        """All has been seen: what still waits for its second copy came alone."""

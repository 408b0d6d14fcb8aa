from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from feedhandler.receive._receiver import Receiver
from feedhandler.recording._sequences import Sequences

@final
class Walk:
    """Every packet of a receiver to the sequences, and into a timeline."""

    start: int
    """The time of the first packet, ns since the Unix epoch."""
    width: int
    """Of a bucket of the timeline, ns."""
    packets: int
    ended: bool
    def __new__(cls, receiver: Receiver, sequences: Sequences, *, buckets: int = ..., begin: int = ...) -> Self: ...
    def step(self, limit: int = ...) -> int:
        """Take at most so many packets; how many there were. Until `ended`."""
    def timeline(self) -> NDArray[np.uint64]:
        """u64 (lines, buckets, 6): packets, bytes, lost on the line, of these come, lacking on the channel, filled."""

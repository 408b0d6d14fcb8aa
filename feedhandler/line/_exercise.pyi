import numpy as np
from numpy.typing import NDArray

from feedhandler.line._arbiter import Arbiter
from feedhandler.session import Framing

class Exercise:
    """Packets of many lines through an arbiter and nothing else, timed."""

    place: int
    delivered: int
    nanoseconds: int
    def __init__(
        self,
        lines: NDArray[np.uint32],
        firsts: NDArray[np.uint64],
        times: NDArray[np.int64],
        session: bytes,
        messages: list[bytes],
    ) -> None: ...
    def play(self, arbiter: Arbiter, packets: int) -> bool:
        """Offer the next so many packets and take all that follows. False when there are no more."""
    def answer(self, arbiter: Arbiter, framing: Framing) -> None:
        """Take what recovery has brought."""

def bare_loop(firsts: NDArray[np.uint64], count: int) -> tuple[int, int]:
    """Messages taken, and CPU ns to look at each packet's number and take it or leave it."""

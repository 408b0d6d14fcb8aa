from socket import socket
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from feedhandler.receive._receiver import Receiver

@final
class Recvmsg(Receiver):
    """One recvmsg a packet: the benchmarks' peer."""

    def __new__(cls, lines: int, socket: socket) -> Self: ...

def gauge(
    receiver: Receiver, packets: int, seconds: float, ages: NDArray[np.int64] | None = None, stamp_at: int = 0
) -> dict[str, int]:
    """Spin on the receiver and count what that gave and took, in packets, bytes and ns."""

from collections.abc import Sequence
from socket import socket
from typing import Self

from feedhandler.receive._receiver import Receiver

class SocketReceiver(Receiver):
    """One UDP socket per line, all polled in turn; made by `sockets.receiver`."""

    slots: int
    slot_bytes: int
    spin_ns: int
    def __new__(
        cls,
        lines: int,
        sockets: Sequence[socket],
        sources: Sequence[bytes],
        slots: int = 64,
        slot_bytes: int = 9216,
        spin_ns: int = 0,
    ) -> Self: ...
    def counts(self, line: int) -> dict[str, int]:
        """As of every receiver; kernel_drops up to now."""

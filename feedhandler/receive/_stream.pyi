from typing import Self

from feedhandler.receive._receiver import Receiver
from feedhandler.receive._tls import Tls
from feedhandler.session._outbox import Outbox

class StreamReceiver(Receiver):
    """One TCP connection per line, handed over while the polling thread runs; made by `stream.receiver`."""

    buffer_bytes: int
    quickack: bool
    spin_ns: int
    unsent: int
    def __new__(cls, lines: int, buffer_bytes: int = 131072, quickack: bool = True, spin_ns: int = 0) -> Self: ...
    def connect(self, line: int, fd: int, leftover: bytes = b"", tls: Tls | None = None) -> bool:
        """Hand a connected descriptor over; False when the one before is not taken yet."""
    def send(self, line: int, data: bytes) -> bool:
        """Have whole frames sent on the connection handed over last; False: no room now."""
    def answer_with(self, line: int, outbox: Outbox | None) -> None:
        """Send what the line's framing puts into `outbox`."""
    def finish(self) -> None:
        """No connection will come any more: when all lines are down, poll() says END_OF_INPUT."""

from typing import Self, final

from feedhandler.receive._receiver import Receiver

@final
class PacketQueue(Receiver):
    """A receiver whose packets and whose clock are set from outside."""

    clock: int
    def __new__(cls, lines: int = 1) -> Self: ...
    def put(self, line: int, ts_recv: int, payload: bytes) -> None:
        """One more packet; the clock goes to its time."""
    def connect(self, line: int, connections: int, state: int) -> None:
        """Of a line that is a recorded stream: its connections so far, and its state, between two packets."""

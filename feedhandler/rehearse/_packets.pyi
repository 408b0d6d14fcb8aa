from typing import final

from feedhandler.receive._receiver import Receiver

@final
class PacketQueue(Receiver):
    """A receiver whose packets and whose clock are set from outside."""

    clock: int
    def __init__(self, lines: int = 1) -> None: ...
    def put(self, line: int, ts_recv: int, payload: bytes) -> None:
        """One more packet; the clock goes to its time."""

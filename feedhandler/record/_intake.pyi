from typing import Self, final

from feedhandler.receive._receiver import Receiver

@final
class Intake:
    """What a receiver gives, in a ring of `buffer_bytes` (a power of two); the recorder's hot thread."""

    receiver: Receiver
    def __new__(
        cls, receiver: Receiver, *, buffer_bytes: int = 67108864, wait: str = "adaptive", spin_us: int = 50
    ) -> Self: ...
    def run(self) -> bool:
        """Take what comes until stop(), without the GIL; True at the end of the input. Raises ReceiverError."""
    def stop(self) -> None:
        """Let run() return."""
    @property
    def held_ns(self) -> int:
        """For how long streams were not read, because what had come before found no room."""
    def counts(self, line: int) -> tuple[int, int, int, int]:
        """(packets, bytes, lost packets, lost bytes) of a line so far; the lost ones are among the others."""

from typing import Self

class Outbox:
    """What a framing answers with: whole frames, filled by parse(), drained by StreamReceiver.poll()."""

    def __new__(cls, capacity: int = 4096) -> Self: ...
    def put(self, data: bytes) -> bool:
        """Append one whole frame; False, and counted in `refused`, where it does not fit."""
    def sent(self, length: int) -> None:
        """So many bytes of `waiting` are sent."""
    @property
    def waiting(self) -> bytes:
        """The bytes still to be sent."""
    @property
    def capacity(self) -> int:
        """Bytes."""
    @property
    def refused(self) -> int:
        """Puts that found no room."""

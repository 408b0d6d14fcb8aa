from typing import Self, final

from feedhandler.line import Arbiter
from feedhandler.receive._receiver import Receiver
from feedhandler.replay._picker import Picker
from feedhandler.session import Framing

@final
class Repacked(Receiver):
    """Packets of messages that `source` brought, each once, all or some symbols' only."""

    def __new__(
        cls,
        lines: int,
        source: Receiver,
        channels: list[tuple[list[Framing], Arbiter, Picker | None, str, int]],
        *,
        mtu: int = 1472,
        rate: float | None = None,
        begin: int | None = None,
    ) -> Self: ...
    @property
    def taken(self) -> int:
        """Messages of the recording so far."""
    @property
    def sent(self) -> int:
        """Messages kept."""
    @property
    def missing(self) -> int:
        """Numbers of which no line had the message."""
    @property
    def offset(self) -> int:
        """Of the source: bytes of the files read so far."""

from collections.abc import Sequence
from typing import Any, Self, final

from feedhandler._handler import Shard
from feedhandler.line._arbiter import Arbiter
from feedhandler.publish import Publisher
from feedhandler.receive._kept import KeptPackets
from feedhandler.receive._receiver import Receiver
from feedhandler.session import Framing

@final
class HandoverReceiver(Receiver):
    """Packets of `recording`, then those of `live`, none lost between."""

    recording: Receiver
    live: Receiver
    memory: KeptPackets
    streaming: bool
    impatient: bool
    played: int
    offset: int
    overlap: int
    given: int
    def __new__(
        cls,
        lines: int,
        recording: Receiver,
        live: Receiver,
        line_of: list[int],
        *,
        memory: int = ...,
        patience_ns: int = ...,
        streaming: bool = ...,
    ) -> Self: ...
    def join(
        self, framings: list[Framing], channel_of: list[int], arbiters: Sequence[Arbiter], publisher: Publisher
    ) -> None:
        """What the lines lead to; `framings`: three of each line."""
    def lead(self, stages: Shard) -> None:
        """The shard that polls, where lines are streams."""
    def stand_by(self) -> bool:
        """Keep what the live lines bring until the hot thread takes them over; False after leave()."""
    def leave(self) -> None:
        """Let stand_by() end soon."""
    @property
    def state(self) -> str:
        """One of "replay", "kept", "live" or "present"."""
    @property
    def last_played(self) -> int:
        """ts_recv of the last recorded packet played, ns since the Unix epoch; 0 = none yet."""
    @property
    def sessions(self) -> list[bytes]:
        """The session of each line's channel where the recording ended."""
    @property
    def error(self) -> Any:
        """What ended the live input."""

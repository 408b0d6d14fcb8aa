from typing import Self

from typing_extensions import Buffer, disjoint_base

from feedhandler.errors import CaptureError
from feedhandler.receive._receiver import Receiver
from feedhandler.session._framing import Framing
from feedhandler.simulate._schedule import Schedule

@disjoint_base
class BlockSource:
    """Messages as length-prefixed blocks; `timed`: each behind its time."""

    timed: bool

    @property
    def error(self) -> CaptureError | None:
        """What ended the source before its time, or None."""

@disjoint_base
class ReceiverBlocks(BlockSource):
    """The messages of a file that a receiver reads."""

    missing: int
    duplicates: int
    def __new__(cls, receiver: Receiver, framing: Framing | None = None, *, timed: bool = False) -> Self: ...

@disjoint_base
class Feed:
    """A source of messages and their schedule."""

    taken: int
    kept: Schedule
    def __new__(cls, source: BlockSource, *, rate: float | None = None, speed: float | None = None) -> Self: ...
    def start_at(self, now: int) -> None:
        """Set the start instant of the schedule."""
    def take(self, buffer: Buffer, now: int) -> tuple[int, int]:
        """(bytes, messages) of the whole blocks that are due at `now` and fit into `buffer`, put there."""
    def take_sequenced(self, buffer: Buffer, now: int) -> tuple[int, int]:
        """As take(), each message as a SoupBinTCP Sequenced Data packet."""
    def next_due(self) -> int | None:
        """When the next message is due, on the clock of take(); None at the end."""
    @property
    def ended(self) -> bool:
        """There is nothing more to come."""

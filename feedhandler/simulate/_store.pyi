from typing import Self

from typing_extensions import Buffer, disjoint_base

@disjoint_base
class Tap:
    """Sees every message of a session."""

    def append(self, blocks: Buffer) -> None:
        """Take whole messages, u16 big-endian length before each. Raises ValueError when they do not add up."""

@disjoint_base
class Follower(Tap):
    """A tap that is read by another thread meanwhile."""

@disjoint_base
class MessageStore(Follower):
    """The newest messages of a session by number."""

    def __new__(cls, messages: int = 1 << 20, size: int = 0, *, first: int = 1) -> Self: ...
    def pack(self, number: int, count: int, room: int) -> tuple[bytes, int]:
        """(messages, n): the n messages from `number` on that are kept, at most `count` and `room` bytes, as blocks."""
    @property
    def first(self) -> int:
        """Number of the oldest message that is kept; `last` + 1 when there is none."""
    @property
    def last(self) -> int:
        """Number of the newest message; one below the first number when there is none."""

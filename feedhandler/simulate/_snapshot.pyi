from typing import Self, final

from typing_extensions import Buffer

from feedhandler.simulate._store import Follower

@final
class SnapshotSource(Follower):
    """Follows an ITCH 5.0 session and gives what is live in it."""

    unknown: int
    full: bool
    def __new__(cls, orders: int = 1 << 24, *, first: int = 1) -> Self: ...
    def advance(self, messages: Buffer) -> None:
        """Take the next messages: whole ones, u16 big-endian length before each."""
    def snapshot(self) -> tuple[int, bytes]:
        """(number, messages): the state before message `number`, as length-prefixed ITCH messages."""
    def clear(self, *, first: int = 1) -> None:
        """A new session: nothing is known, and its first message is number `first`."""
    @property
    def number(self) -> int:
        """Number of the message that comes next."""
    @property
    def live_orders(self) -> int:
        """Orders that are live now."""

def sequenced(blocks: Buffer) -> bytes:
    """The messages as SoupBinTCP Sequenced Data packets."""

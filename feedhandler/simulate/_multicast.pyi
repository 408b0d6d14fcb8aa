from collections.abc import Sequence
from typing import Any, Self, final

from feedhandler.receive._receiver import Receiver
from feedhandler.simulate._faults import LineFaults
from feedhandler.simulate._feed import Feed
from feedhandler.simulate._schedule import Schedule
from feedhandler.simulate._store import Tap

@final
class PacketSender:
    """The compiled half of MulticastSender."""

    def __new__(
        cls,
        fds: Sequence[int],
        delays_ns: Sequence[int],
        session: bytes,
        *,
        mtu: int = 1400,
        flush_ns: int = 100_000,
        heartbeat_ns: int = 1_000_000_000,
        end_repeats: int = 3,
        end_interval_ns: int = 100_000_000,
        taps: Sequence[Tap] = (),
        faults: Sequence[LineFaults] = (),
        spin: bool = False,
        real_time: bool = False,
    ) -> Self: ...
    def take_feed(self, feed: Feed) -> None:
        """What run() is to send: the messages of `feed` as MoldUDP64, and at the end that of the session."""
    def take_packets(self, receiver: Receiver, schedule: Schedule) -> None:
        """What run() is to send: the packets of `receiver` as they are, each on the line of its number."""
    def run(self) -> None:
        """Send all of it, until stop() is called; where this spins, on any number of threads at once."""
    def stop(self) -> None:
        """End soon; from any thread or a signal handler."""
    @property
    def made(self) -> int:
        """Messages (packets of a capture) made so far."""
    @property
    def statistics(self) -> dict[str, Any]:
        """Counts so far."""

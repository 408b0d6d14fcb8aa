from collections.abc import Mapping, Sequence
from typing import Any

from feedhandler._marks import Marks
from feedhandler._walk import Walk
from feedhandler._witness import Witness
from feedhandler.book import Books
from feedhandler.decode._decoder import Decoder
from feedhandler.line import Arbiter
from feedhandler.publish import Publisher
from feedhandler.receive._receiver import Receiver
from feedhandler.session import Framing

class Shard(Walk):
    """One hot thread's share: a receiver, its lines and channels, and the way into one segment."""

    line_count: int
    channel_count: int
    packets_taken: int

    def __new__(
        cls,
        receiver: Receiver,
        publisher: Publisher,
        lines: Sequence[tuple[Framing, int]],
        channels: Sequence[tuple[Arbiter, Decoder, Books, Sequence[tuple[int, int]]]],
        *,
        wait: str = ...,
        spin_us: int = ...,
        latency_sample: int = ...,
    ) -> Shard: ...
    def set_date(self, channel: int, midnight: int, date: int) -> None:
        """The session date of the channel's present session."""
    def watch(self, witness: Witness | None) -> None:
        """Let `witness` see each message as it takes effect; None: nobody."""
    def measure(self, latency_sample: int) -> None:
        """Take the latency of one packet in so many from now on, 0 = of none."""
    def go_on(self, receiver: Receiver) -> None:
        """Take packets from this receiver from now on, which has the same lines. Between turns."""
    def mark(self, marks: Marks | None) -> None:
        """Let `marks` look at each batch of packets before it is taken, and skim it; None: nobody."""
    @property
    def stages(self) -> tuple[tuple[Arbiter, Decoder, Books, Sequence[tuple[int, int]]], ...]:
        """The (arbiter, decoder, books, days) of each channel."""
    @property
    def framings(self) -> tuple[Framing, ...]:
        """The framing of each line."""
    def state(self) -> dict[str, Any]:
        """What the shard itself knows between two packets."""
    def set_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of state(). Raises KeyError, TypeError, ValueError or OverflowError for what it never said."""
    def run(self) -> bool:
        """Turn until stop() or the end of the input; True at the end of the input."""
    def turn_once(self) -> bool:
        """Take what is waiting, without waiting for more; True at the end of the input."""
    def turn_many(self, turns: int) -> bool:
        """At most so many turns, without waiting; True at the end of the input."""
    def turns_before(self, ts: int, turns: int) -> bool:
        """Take packets earlier than `ts`, so many at most; True when the next is not, or there is none."""
    def turn_to_cut(self, turns: int) -> bool:
        """At most so many packets, as far as the marks' next cut; True at the end of the input."""
    def turn_to_packet(self, packets: int, turns: int) -> bool:
        """As turn_many(), but no further than so many packets in all."""
    def step(self) -> bool:
        """Take one packet, if one is there; True at the end of the input."""
    def finish(self) -> None:
        """The end of a capture: holes still open become gaps."""
    def stop(self) -> None:
        """Ask run() to return after the present turn."""

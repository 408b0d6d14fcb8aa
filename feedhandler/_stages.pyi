from collections.abc import Mapping, Sequence
from typing import Any, Self

from feedhandler._marks import Marks
from feedhandler._walk import Walk
from feedhandler._witness import Witness
from feedhandler.book import Books, LevelBook
from feedhandler.decode._decoder import Decoder
from feedhandler.line import Arbiter
from feedhandler.publish import Publisher
from feedhandler.receive._receiver import Receiver
from feedhandler.session import Framing

class Stages(Walk):
    """A shard's stages: put together, dated, and between two packets as plain words and back."""

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
    ) -> Self: ...
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
    def pass_over(self, packets: int) -> int:
        """Let so many packets go by, which a snapshot has taken in: load it behind this. How many there were."""
    @property
    def standbys(self) -> dict[int, LevelBook]:
        """The standby books of each line that has some, by the shard's number of the line."""
    def state(self) -> dict[str, Any]:
        """What the shard itself knows between two packets."""
    def set_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of state(). Raises KeyError, TypeError, ValueError or OverflowError for what it never said."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

from feedhandler.recording.report import ChannelReport

class Sequences:
    """What passed, by its numbers, per line and per channel, without decoding."""

    lines: int
    """Of all channels."""
    channels: tuple[tuple[str, str, tuple[str, ...]], ...]
    """(name, session protocol, names of the lines)."""
    def __new__(
        cls,
        channels: Iterable[tuple[str, str, Sequence[str]]],
        *,
        reorder_us: int = ...,
        silence_ms: int = ...,
        skew_ms: int = ...,
        step_ms: int = ...,
        **kwargs: Any,
    ) -> Self: ...
    def feed(self, line: int, ts: int, payload: bytes) -> int:
        """One packet, received at `ts` (ns since the Unix epoch): what it showed (SAW_...), 0 for nothing."""
    def begin_connection(self, line: int) -> None:
        """The line, a stream, has a new connection: what comes next is its first byte."""
    def pass_time(self, now: int) -> int:
        """No packet has come until `now`, ns since the Unix epoch. As feed()."""
    def describe(self) -> str:
        """What the last feed() or pass_time() showed, in words; "" for nothing."""
    def report(self) -> list[ChannelReport]:
        """What has been seen so far, channel by channel. What is missing now counts as lost for good."""

from typing import Any, final

from feedhandler.line import _arbiter
from feedhandler.session import Framing

_Taken = list[tuple[Any, ...]]

@final
class Arbiter(_arbiter.Arbiter):
    """An arbiter that can be fed by hand."""

    words: list[int]
    def feed(
        self,
        session: bytes,
        first_seq: int,
        messages: list[bytes],
        ts_recv: int = ...,
        line: int = ...,
        *,
        kind: str = ...,
        send_time: int = ...,
        offset: int = ...,
    ) -> _Taken:
        """Offer one frame and take all that follows."""
    def pass_time(self, now: int) -> _Taken:
        """tick(), and all that take() then gives."""
    def disconnect(self, line: int, now: int) -> _Taken:
        """line_down(), and all that take() then gives."""
    def end_input(self) -> _Taken:
        """finish(), and all that take() then gives."""
    def take_answers(self, framing: Framing | None = ...) -> _Taken:
        """Take all that waits in the recovery, and all that take() then gives."""
    @property
    def session_name(self) -> bytes:
        """The present session's id."""
    @property
    def next_seq(self) -> int:
        """The next number to hand out."""
    @property
    def state(self) -> tuple[int, int, int]:
        """(quality, reason, epoch) of the channel."""
    @property
    def counts(self) -> dict[str, int]:
        """The channel's counters that the arbiter writes."""
    def leads(self, line: int) -> tuple[int, int, int, int]:
        """By how many ns the line's winning copies were before the next ones: (count, sum, least, most)."""
    def line_counts(self, line: int) -> dict[str, int]:
        """The line's counters that the arbiter writes, its state and next number."""

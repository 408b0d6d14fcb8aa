"""The arbiter in plain Python: the oracle of `_arbiter.pyx`. Numbers, holes and sessions; silence and restarts apart.

Says what its compiled twin says, message by message: ("session", name), ("message", number, bytes, ts_recv, line),
("gap", first, count), ("end", last number).
"""

from collections.abc import Callable, Iterator
from typing import Any

from feedhandler.records import Quality

__all__ = ["ReferenceArbiter"]

REMEMBERED = 64  # sessions left
NUMBER_MAX = 2**63 - 1

Taken = Iterator[tuple[Any, ...]]


class ReferenceArbiter:
    """One channel. `valid` says which messages are well formed; `window` is how far apart waiting numbers may lie."""

    def __init__(self, reorder_ns: int, window: int, valid: Callable[[bytes], bool] = lambda message: True) -> None:
        self.reorder_ns, self.window, self.valid = reorder_ns, window, valid
        self.session: bytes | None = None
        self.left: list[bytes] = []
        self.clock = 0
        self.begin()
        self.quality = Quality.INIT

    def begin(self) -> None:
        """Numbers start at 1."""
        self.expected = self.horizon = 1
        self.horizon_at = 0
        self.hole_since: int | None = None
        self.waiting: dict[int, tuple[bytes, int, int]] = {}
        self.end_seq: int | None = None
        self.end_told = False
        self.quality = Quality.INIT

    def feed(self, session: bytes, first: int, messages: list[bytes], ts: int, line: int, kind: str = "data") -> Taken:
        """One frame of kind "data", "heartbeat" or "end", and all that follows from it."""
        self.clock = ts
        yield from self.drain()
        if first == 0 or first > NUMBER_MAX:
            return
        if session != self.session:
            if session in self.left:
                return
            if self.session is not None:
                yield from self.drain(closing=True)
                self.left = [*self.left, self.session][-REMEMBERED:]
            self.session = session
            self.begin()
            yield "session", session
        if kind == "data":
            yield from self.data(first, messages, ts, line)
        else:
            if first > self.expected:
                self.beyond(first, ts)
                self.hole(ts)
            if kind == "end" and first >= self.expected and self.end_seq is None:
                self.end_seq = first
        yield from self.drain()

    def data(self, first: int, messages: list[bytes], ts: int, line: int) -> Taken:
        """Each message finds its place: out, if it is next, or into the window, which gives up holes to make room."""
        if first + len(messages) <= self.expected:
            return
        self.beyond(first + len(messages), ts)
        for number, message in enumerate(messages, first):
            yield from self.waiting_in_order()
            if number < self.expected:
                continue
            if number > self.expected:
                self.hole(ts)
            if not self.valid(message):
                self.hole(ts)
                continue
            while number > self.expected and number not in self.waiting and not self.near(number):
                yield self.give_up(min([number, *self.waiting]))
                yield from self.waiting_in_order()
            if number == self.expected:
                yield self.deliver(message, ts, line)
            elif number not in self.waiting:
                self.waiting[number] = (message, ts, line)

    def near(self, number: int) -> bool:
        """There is room for it: it lies not too far from all that wait."""
        return not self.waiting or max(*self.waiting, number) - min(*self.waiting, number) < self.window

    def deliver(self, message: bytes, ts: int, line: int) -> tuple[Any, ...]:
        self.begun_at_one()
        self.expected += 1
        return "message", self.expected - 1, message, ts, line

    def begun_at_one(self) -> None:
        """The next message is at hand, and none before it was given up."""
        if self.quality == Quality.INIT:
            self.quality = Quality.LIVE

    def waiting_in_order(self) -> Taken:
        """What waits at the next number, and directly behind it."""
        while self.expected in self.waiting:
            yield self.deliver(*self.waiting.pop(self.expected))
            self.hole_since = self.waiting[min(self.waiting)][1] if self.waiting else self.horizon_at

    def give_up(self, end: int) -> tuple[Any, ...]:
        """The hole is a gap, up to `end`."""
        self.quality = Quality.STALE
        first, self.expected = self.expected, end
        return "gap", first, end - first

    def drain(self, closing: bool = False) -> Taken:
        """All that waits and is due; then the end of the session, if it was reached."""
        while True:
            yield from self.waiting_in_order()
            if self.horizon <= self.expected:
                self.hole_since = None
                break
            assert self.hole_since is not None
            self.hole_since = min(self.hole_since, self.clock)
            if not closing and self.clock - self.hole_since < self.reorder_ns:
                break
            yield self.give_up(min(self.waiting, default=self.horizon))
        if self.session is not None and self.horizon <= self.expected and self.quality == Quality.INIT:
            self.quality = Quality.LIVE
        if self.end_seq is not None and self.expected >= self.end_seq and not self.end_told:
            self.end_told = True
            yield "end", self.expected - 1

    def beyond(self, number: int, ts: int) -> None:
        """All numbers below this one exist."""
        if number > self.horizon:
            self.horizon, self.horizon_at = number, ts

    def hole(self, ts: int) -> None:
        """`expected` is missing, since now, if it was not before."""
        if self.hole_since is None:
            self.hole_since = ts

    def pass_time(self, now: int) -> Taken:
        """Time has passed."""
        self.clock = now
        yield from self.drain()

    def end_input(self) -> Taken:
        """No packet will come any more."""
        yield from self.drain(closing=True)

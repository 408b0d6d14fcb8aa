"""The arbiter in plain Python: the oracle of `_arbiter.pyx`. Numbers, holes, sessions and retransmissions; silence,
restarts and snapshots apart.

Says what its compiled twin says, message by message: ("session", name), ("message", number, bytes, ts_recv, line),
("gap", first, count), ("end", last number).
"""

from collections.abc import Callable, Iterator
from typing import Any

from feedhandler.records import Quality

__all__ = ["RecoveringReference", "ReferenceArbiter"]

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
        self.end_seq = 0
        self.ended = self.end_due = False
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
            self.ended = self.ended and first + len(messages) <= self.end_seq
            yield from self.data(first, messages, ts, line)
        else:
            if first > self.expected:
                self.beyond(first, ts)
                self.hole(ts)
            if kind == "end" and first >= self.expected and not self.ended:
                self.end_seq, self.ended, self.end_due = first, True, True
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
            if not closing and not self.is_due(self.clock - self.hole_since):
                break
            told = self.close_hole(closing)
            if told is None:
                break
            yield told
        if self.session is not None and self.horizon <= self.expected and self.quality == Quality.INIT:
            self.quality = Quality.LIVE
        if self.end_due and self.expected >= self.end_seq:
            self.end_due = False
            yield "end", self.expected - 1

    def is_due(self, age: int) -> bool:
        """The hole at `expected` is old enough to be a gap."""
        return age >= self.reorder_ns

    def close_hole(self, closing: bool) -> tuple[Any, ...] | None:
        """What becomes of the hole that is due; None: it stays open, and there is nothing to tell."""
        return self.give_up(min(self.waiting, default=self.horizon))

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


class RecoveringReference(ReferenceArbiter):
    """With a recovery that can have no snapshot: `asks` are the holes asked for, as (first, count), oldest first."""

    def __init__(
        self, reorder_ns: int, window: int, gap_limit: int, valid: Callable[[bytes], bool] = lambda message: True
    ) -> None:
        self.gap_limit, self.asks = gap_limit, list[tuple[int, int]]()
        self.recovering = False
        super().__init__(reorder_ns, window, valid)

    def begin(self) -> None:
        super().begin()
        self.open: set[int] = set()  # asked for, and not there
        self.asked_end = self.told = 1  # what is missing below has been asked for; holes that begin below, told of
        self.surrendered = 0
        self.ripe: tuple[int, int] | None = None  # holes below this number are ripe `reorder_ns` after that time
        self.broken = self.recovering = False

    def missing(self, end: int) -> Iterator[tuple[int, int]]:
        """Holes from what was asked for to `end`, as (first, end)."""
        at = max(self.expected, self.asked_end)
        for waits in [*sorted(n for n in self.waiting if at <= n < end), end]:
            if waits > at:
                yield at, waits
            at = waits + 1

    def ask(self, end: int) -> None:
        """For all holes below `end`, up to the first that is too large."""
        for first, behind in self.missing(end):
            if behind - first > self.gap_limit:
                self.asked_end = first
                break
            self.asks.append((first, behind - first))
            self.open |= set(range(first, behind))
        else:
            self.asked_end = max(end, self.asked_end, self.expected)
        if self.asked_end > self.expected:
            self.recovering = True
            if not self.broken:
                self.quality = Quality.RECOVERING

    def is_due(self, age: int) -> bool:
        return age >= self.reorder_ns or self.expected < self.surrendered

    def close_hole(self, closing: bool) -> tuple[Any, ...] | None:
        end = min(self.waiting, default=self.horizon)
        if closing or self.expected < self.surrendered:
            return self.give_up(end)
        if self.expected >= self.asked_end:
            self.ask(self.horizon)
            if self.expected >= self.asked_end:
                return self.give_up(end)
        if self.expected < self.told:
            return None
        self.told = end
        return "gap", self.expected, end - self.expected

    def give_up(self, end: int) -> tuple[Any, ...]:
        self.broken = True
        self.open -= set(range(self.expected, end))
        self.told = end
        return super().give_up(end)

    def deliver(self, message: bytes, ts: int, line: int) -> tuple[Any, ...]:
        self.open.discard(self.expected)
        return super().deliver(message, ts, line)

    def drain(self, closing: bool = False) -> Taken:
        """As ever; then, while something is asked for, look whether more has to be, or nothing any more."""
        yield from super().drain(closing)
        self.open -= self.waiting.keys()
        if self.recovering and self.expected >= self.surrendered and not self.open:
            self.recovering = False
            if not self.broken:
                self.quality = Quality.LIVE
        if self.recovering:
            if self.ripe is not None and self.ripe[0] > self.asked_end:
                self.ripe = (self.ripe[0], min(self.ripe[1], self.clock))
                if self.clock - self.ripe[1] >= self.reorder_ns:
                    self.ask(self.ripe[0])
            if self.horizon > self.asked_end and (self.ripe is None or self.ripe[0] <= self.asked_end):
                self.ripe = (self.horizon, self.clock)

    def answer(self, session: bytes, first: int, messages: list[bytes], line: int) -> Taken:
        """A retransmission, of which counts what was asked for."""
        messages = messages[: max(0, self.asked_end - first)]
        if session == self.session and self.recovering and messages:
            yield from self.data(first, messages, self.clock, line)
            yield from self.drain()

    def surrender(self) -> Taken:
        """No server has it: all that is asked for is given up."""
        self.surrendered = self.asked_end
        yield from self.drain()

"""Books that are to be had again, one symbol at a time: by a REST snapshot, or by subscribing anew.

`ResyncControl` is a machine without sockets and clock: wishes of the hot thread come in by take(), step(now) does
what is due. A wish stands until the hot thread says that the book is whole; what does not lead there is tried again,
after a time that doubles, with full jitter. No symbol waits for another but in the venue's own rate limits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from feedhandler.recovery.pace import full_jitter

__all__ = ["Kind", "ResyncControl", "Wanted", "Wish"]

SNAPSHOT_S = 10.0  # an answer that has not made the book whole within so long was of no use
RETRY_S, RETRY_MAX_S = 0.5, 30.0
SUBSCRIBE_MAX = 4  # subscriptions of a line that bring nothing, then the connection is given up
SETTLED_S = 60.0  # a book that is lost again within so long after it was had waits longer and longer
NEVER = float("inf")


class Kind(IntEnum):
    """Of a wish; the numbers are those of `line/_resyncs.pxd`."""

    SNAPSHOT = 1
    SUBSCRIBE = 2
    OVER = 3
    CONNECT = 4


class Wish(Protocol):
    """What the hot thread wants; times in ns since the Unix epoch."""

    @property
    def kind(self) -> int: ...
    @property
    def instrument(self) -> int: ...
    @property
    def line(self) -> int: ...


class Wanted(NamedTuple):
    """What a wish is about: an instrument of the directory, 0 = all; a line of the channel."""

    instrument: int
    line: int
    subscribe: bool


@dataclass
class _State:
    due: float
    attempt: int = 0
    vain: int = 0  # of them, those of which nothing came
    asked: bool = False


class _Had(NamedTuple):
    at: float
    attempt: int


class ResyncControl:
    """What is wanted, and when it is tried again.

    `ask(wanted)` has the snapshot fetched or the subscription sent, and returns whether it could be begun;
    `give_up(line)` ends a connection on which subscribing does not help; `connect(line)` wants a new one.
    """

    def __init__(
        self,
        ask: Callable[[Wanted], bool],
        give_up: Callable[[int], None],
        connect: Callable[[int], None],
        *,
        rng: random.Random | None = None,
    ) -> None:
        self._ask, self._give_up, self._connect = ask, give_up, connect
        self._random = rng or random.Random()
        self._open: dict[Wanted, _State] = {}
        self._had: dict[Wanted, _Had] = {}  # what was wanted, asked for, and had
        self.counts = dict.fromkeys(("wanted", "asked", "again", "over"), 0)

    @property
    def open(self) -> tuple[Wanted, ...]:
        """What is wanted and not had yet."""
        return tuple(self._open)

    def take(self, wishes: Iterable[Wish], now: float) -> None:
        """Note what the hot thread wants."""
        for wish in wishes:
            if wish.kind == Kind.CONNECT:
                self._connect(wish.line)
            elif wish.kind == Kind.OVER:
                for wanted in [w for w in self._open if w.instrument == wish.instrument]:
                    if not wanted.subscribe or wanted.line == wish.line:
                        self._over(wanted, now)
            else:
                subscribe = wish.kind == Kind.SUBSCRIBE
                wanted = Wanted(wish.instrument, wish.line if subscribe else 0, subscribe)
                state = self._open.get(wanted)
                if state is None:
                    self._begin(wanted, now)
                elif state.asked:  # what came was of no use
                    self._again(state, now)

    def step(self, now: float) -> float:
        """Do what is due; the time of the next step at the latest."""
        for wanted, state in list(self._open.items()):
            if now < state.due:
                continue
            if state.asked:  # nothing came of it in time
                self._again(state, now)
                state.vain += 1
                if wanted.subscribe and state.vain >= SUBSCRIBE_MAX:
                    self._give_up(wanted.line)
                    state.attempt = state.vain = 0
            elif self._ask(wanted):
                state.asked, state.due = True, now + SNAPSHOT_S
                self.counts["asked"] += 1
            else:  # no connection to say it on: the next one brings it by itself, or it is wished again
                state.due = now + RETRY_S
        return min((state.due for state in self._open.values()), default=NEVER)

    def failed(self, instrument: int, now: float) -> None:
        """The snapshot of this instrument could not be had: try again."""
        for wanted, state in self._open.items():
            if wanted.instrument == instrument and not wanted.subscribe and state.asked:
                self._again(state, now)

    def forget(self, line: int) -> None:
        """The line has a new connection, which begins all its books by itself."""
        for wanted in [w for w in self._open if w.subscribe and w.line == line]:
            del self._open[wanted]

    def anew(self) -> None:
        """Forget all that was wanted and had: what is wanted from here on has other reasons."""
        self._open.clear()
        self._had.clear()

    def _begin(self, wanted: Wanted, now: float) -> None:
        """At once, unless it was had a short while ago and did not last (no room, a checksum that is never right)."""
        had = self._had.pop(wanted, None)
        state = _State(now)
        if had is not None and now - had.at < SETTLED_S:
            state.attempt = had.attempt + 1
            state.due += full_jitter(self._random, RETRY_S, had.attempt, RETRY_MAX_S)
        self._open[wanted] = state
        self.counts["wanted"] += 1

    def _over(self, wanted: Wanted, now: float) -> None:
        state = self._open.pop(wanted)
        if state.asked:
            self._had[wanted] = _Had(now, state.attempt)
        self.counts["over"] += 1

    def _again(self, state: _State, now: float) -> None:
        state.asked = False
        state.due = now + full_jitter(self._random, RETRY_S, state.attempt, RETRY_MAX_S)
        state.attempt += 1
        self.counts["again"] += 1

"""The ladder of recovery of one channel: retransmission, snapshot, give up. A machine without sockets, clock or thread.

Theory of operation
-------------------
The hot thread has waited for the other line (`reorder_us`) when it asks. Below that first rung stands this ladder:

    IDLE ──asked──► REQUESTS ──all filled──► IDLE
                       │ no server has it, or there is none
                       ▼
                    FREEZE ──frozen──► FETCH ──whole──► SPLICE ──taken──► JOIN ──► IDLE
                       ▲                 │ refused, cut off, late, too old: `attempts` times over all sources
                       │                 ▼
                       └── after a while GIVE_UP ──► IDLE, and the channel STALE

A hot thread that is out of room freezes by itself and asks for a snapshot: FETCH at once. While frozen it keeps every
live message, so that a snapshot taken from then on can be spliced to them; that is why it is frozen before the snapshot
is begun. A snapshot is of use when it is not older than what is kept, and than the end of what was missing. The hot
thread has the last word (JOIN): a snapshot that it cannot use is a failed one.

What has been given up stays STALE until a snapshot succeeds: one is tried again every `snapshot_retry_ms`, longer after
each failure. Gaps that come meanwhile are asked for like any other.

A restart under the same session id that is only suspected leaves the channel STALE (RESTART), and its numbers may never
tell. When that has lasted `doubt_s`, a snapshot settles it: to FREEZE, as above. Should the suspicion come back, the
next one is fetched after twice that time, and so on.

Everything belongs to an epoch of the channel. A new session moves the epoch, and what was under way is dropped.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from feedhandler.errors import SessionError
from feedhandler.line import ASK_MISSING, ASK_OVER, ASK_SNAPSHOT
from feedhandler.recovery.pace import full_jitter
from feedhandler.recovery.retransmission import NEVER, Retransmission
from feedhandler.recovery.transport import RequestTransport, Snapshot, SnapshotTransport, descriptor

if TYPE_CHECKING:
    from feedhandler.config import RecoverySettings
    from feedhandler.line import Ask
    from feedhandler.session import Framing

__all__ = ["Ladder", "Line", "Rung", "State"]

POLL_S = 0.001  # while something on the other side, or in the hot thread, is waited for
SNAPSHOT_REST_S = 0.1  # the wait before another try while frozen, doubled each time ...
SNAPSHOT_REST_MAX_S = 2.0  # ... up to this
LONGEST_RETRY = 12  # times snapshot_retry_ms
JOIN_S = 10.0  # for the feed to come to a snapshot's number, and for the hot thread to take it in
WATCH_S = 5.0  # orders that do not fit, so soon after a snapshot, come of a wrong `join`


class Rung(Enum):
    """Where a ladder stands."""

    IDLE = "idle"
    REQUESTS = "requests"
    FREEZE = "freeze"
    FETCH = "fetch"
    SPLICE = "splice"
    JOIN = "join"
    GIVE_UP = "give up"


SPLICING = (Rung.SPLICE, Rung.JOIN)


class State(Protocol):
    """What the ladder reads of its channel; both words as of now."""

    def __call__(self) -> tuple[int, int]:
        """(epoch, next number to be handed out)."""


class Line(Protocol):
    """The hot thread's end, `feedhandler.line.Recovery`; False = no room now, to be offered again."""

    def asks(self) -> list[Ask]: ...
    def packet(self, epoch: int, data: bytes) -> bool: ...
    def freeze(self, epoch: int) -> bool: ...
    def frozen(self) -> bool: ...
    def snapshot(self, epoch: int, number: int, messages: bytes) -> bool: ...
    def give_up(self, epoch: int) -> bool: ...


class Ladder:
    """One channel's. Call step() when the time it gave has come, or more often; all from one thread.

    `state` reads the channel's epoch and next number, `horizon` how far any line has come. `faults` counts orders that
    came twice or are unknown: when they come right after a snapshot, `note` says that `join` may be wrong. While
    `suspected` the channel is STALE for a restart that is not certain: after `doubt_s` of it a snapshot is fetched, of
    the channel's `session` (16 bytes). `note` takes sentences for people, `detail` those that come with every request.
    `framing` reads the answers. `stats` counts what became of everything.
    """

    def __init__(
        self,
        line: Line,
        settings: RecoverySettings,
        requests: Sequence[RequestTransport],
        snapshots: Sequence[SnapshotTransport],
        rng: random.Random | None = None,
        *,
        framing: Framing,
        state: State,
        horizon: Callable[[], int] = lambda: 1 << 63,
        faults: Callable[[], int] = lambda: 0,
        suspected: Callable[[], bool] = lambda: False,
        session: Callable[[], bytes] = lambda: b"",
        doubt_s: float = 3.0,
        note: Callable[[str], None] = lambda sentence: None,
        detail: Callable[[str], None] | None = None,
        name: str = "",
    ) -> None:
        self.name, self.settings, self.rung = name, settings, Rung.IDLE
        self.requests, self.snapshots = list(requests), list(snapshots)
        self.given_up = False
        """The channel is STALE for what could not be had; a snapshot, or a new session, ends it."""
        self.reason = ""
        """Why the last rung failed."""
        self._line, self._state, self._horizon = line, state, horizon
        self._faults, self._note, self._detail = faults, note, detail or note
        self._suspected, self._present, self._doubt = suspected, session, doubt_s
        self._random = rng or random.Random()
        self._retransmission = Retransmission(settings, self.requests, framing, self._random, self._asked)
        self._counts = dict.fromkeys(("holes", "snapshots", "snapshot_failures", "spliced", "given_up"), 0)
        self._turn = {
            Rung.IDLE: self._idle,
            Rung.REQUESTS: self._request,
            Rung.FREEZE: self._freeze,
            Rung.FETCH: self._fetch,
            Rung.SPLICE: self._splice,
            Rung.JOIN: self._join,
            Rung.GIVE_UP: self._give_up,
        }
        self._epoch, self._session = 0, b""
        self._needed = 0  # the end of the highest hole asked for: a snapshot must reach it
        self._floor = 0  # the first live message that is kept
        self._sent = False  # freeze() or give_up() was taken
        self._source, self._tries, self._failures = 0, 0, 0
        self._due = NEVER  # FETCH: the next try, or NEVER while one is under way
        self._retry = NEVER  # given up: when a snapshot is tried again
        self._snapshot: Snapshot | None = None
        self._offered = False
        self._spliced_at, self._soon = -NEVER, 0  # the last splice, and how many came too soon behind one
        self._faults_before, self._watch_until = 0, 0.0
        self._doubted, self._doubts = NEVER, 0  # when a snapshot has to settle a suspicion, and how many have in a row

    @property
    def stats(self) -> dict[str, int]:
        """Holes asked for, requests, answers, snapshots and how they ended."""
        return {**self._counts, **self._retransmission.stats}

    def filenos(self) -> list[int]:
        """The descriptors on which answers come now: a thread may wait for these."""
        ways: list[RequestTransport | SnapshotTransport] = [*self.requests] if self.rung is Rung.REQUESTS else []
        if self.rung is Rung.FETCH:
            ways.append(self.snapshots[self._source])
        return [number for number in map(descriptor, ways) if number >= 0]

    def step(self, now: float) -> float:
        """Do what is due; when to come again at the latest, asks apart: these may come at any time."""
        for ask in self._line.asks():
            self._hear(ask, now)
        epoch, number = self._state()
        if epoch == self._epoch:
            self._retransmission.settled(number)
        elif _later(epoch, self._epoch) and not (self.rung in SPLICING and self._line.frozen()):
            if self.rung is Rung.JOIN and self._reached(self._state()[1]):
                self._joined(epoch, now)
            else:
                self._leave()
                self._epoch, self._session, self._needed, self._doubts = epoch, b"", 0, 0
                self.given_up, self._retry = False, NEVER
        if now < self._watch_until and self._faults() != self._faults_before:
            self._watch_until = 0.0
            self._note(
                f"{self._who()}: orders came twice or are unknown right after the snapshot: their books are STALE. "
                f"join = {self.settings.join!r} is wrong for this venue, most likely: set [channel.recovery] join = "
                f"{'after' if self.settings.join == 'at' else 'at'!r}"
            )
        while True:
            before = self.rung
            due = self._turn[before](now)
            if self.rung is before:
                return due

    def stop(self) -> None:
        """End what is under way on the other side."""
        self._leave()

    # -- what the hot thread says --------------------------------------------------------------------------------------

    def _hear(self, ask: Ask, now: float) -> None:
        if _later(self._epoch, ask.epoch):
            return
        moved = ask.epoch != self._epoch
        if self.rung in SPLICING and ask.session == self._session and (not moved or self._reached(ask.first)):
            if ask.kind == ASK_SNAPSHOT:  # it took another look at the one it was given
                self._epoch, self._needed = ask.epoch, max(self._needed, ask.first + ask.count)
                self._fail(now, self.snapshots[self._source], "it is damaged, or older than what has been handed out")
                return
            if moved:
                self._joined(ask.epoch, now)
        elif moved or ask.session != self._session:
            self._leave()
            if moved:
                self.given_up, self._retry = False, NEVER
                self._doubts = 0
            self._epoch, self._session, self._needed = ask.epoch, ask.session, 0
            self._retransmission.begin(ask.session)
        if ask.kind == ASK_OVER:
            if self.rung is Rung.REQUESTS:
                self._retransmission.clear()
                self.rung = Rung.IDLE
            return
        self._needed = max(self._needed, ask.first + ask.count)
        if ask.kind == ASK_MISSING:
            self._counts["holes"] += 1
            if self.rung in (Rung.IDLE, Rung.REQUESTS):
                self._retransmission.want(ask.first, ask.first + ask.count, now)
                self.rung = Rung.REQUESTS
        elif ask.kind == ASK_SNAPSHOT and self.rung in (Rung.IDLE, Rung.REQUESTS):
            self._climb(now, f"{_numbers(ask.first, ask.first + ask.count)} cannot be asked for, or not waited for")

    def _leave(self) -> None:
        """Drop what is under way."""
        if self.rung is Rung.FETCH:
            self.snapshots[self._source].cancel()
        self._retransmission.clear()
        self._snapshot = None
        self.rung = Rung.IDLE

    # -- the rungs -----------------------------------------------------------------------------------------------------

    def _idle(self, now: float) -> float:
        self._try_again(now)
        return min(self._retry, self._doubt_due(now))

    def _doubt_due(self, now: float) -> float:
        """When a suspected restart is to be settled by a snapshot; it begins here when that is now."""
        if not self.snapshots or not self._suspected():
            self._doubted = NEVER
            return NEVER
        if self._doubted == NEVER:
            longest = LONGEST_RETRY * self.settings.snapshot_retry_ms / 1000
            self._doubted = now + max(self._doubt, min(self._doubt * 2.0**self._doubts, longest))
        if now < self._doubted or self._retry < NEVER:  # what was given up is tried again anyhow
            return self._doubted if now < self._doubted else self._retry
        self._doubted, self._doubts = NEVER, min(self._doubts + 1, 30)
        self._needed = 0  # of the run before, perhaps
        self._session = self._present()
        if self._state()[0] != self._epoch:
            return now  # it has just changed: the next look tells
        self._climb(now, f"the numbers may have begun again under the same session id, for {self._doubt:g} s and more")
        return now

    def _try_again(self, now: float) -> bool:
        """What was given up is to be had by a snapshot, now."""
        if now < self._retry:
            return False
        self._retry = NEVER
        self._climb(now, self.reason)
        return True

    def _request(self, now: float) -> float:
        requests, epoch = self._retransmission, self._epoch
        if self._try_again(now) or self._doubt_due(now) <= now:  # it stands for what is missing, too
            return now
        if not self.requests:
            self._climb(now, "no server of retransmissions is configured")
            return now
        due = requests.step(now, lambda data: self._line.packet(epoch, data))
        if requests.failed is not None:
            asked = "one server" if len(self.requests) == 1 else f"any of {len(self.requests)} servers"
            self._climb(
                now, f"{_numbers(*requests.failed)} could not be had of {asked} ({self.settings.attempts} rounds)"
            )
        elif not requests:
            self.rung = Rung.IDLE
        return min(due, self._retry, self._doubted)

    def _climb(self, now: float, reason: str) -> None:
        """To the snapshot, or to the end of the ladder: while the next try is still to come, that is where we are."""
        self._retransmission.clear()
        self.reason, self._sent, self._tries = reason, False, 0
        if not self.snapshots or now < self._retry < NEVER:
            self.rung = Rung.GIVE_UP
            return
        self._soon = self._soon + 1 if now < self._spliced_at + self.settings.snapshot_retry_ms / 1000 else 0
        self.rung = Rung.FREEZE
        self._note(f"{self._who()}: {reason}; fetching a snapshot")

    def _freeze(self, now: float) -> float:
        """Live messages are kept before the snapshot is taken: nothing may be missing between the two.

        A channel that has frozen by itself is told all the same: what is suspected by then is settled by this snapshot.
        """
        self._sent = self._sent or self._line.freeze(self._epoch)
        if not self._sent or not self._line.frozen():
            return now + POLL_S
        self._floor = max(self._needed, self._state()[1])
        self.rung, self._due = Rung.FETCH, now
        if self._soon:  # the last one did not last: no storm of them
            self._due += full_jitter(self._random, SNAPSHOT_REST_S, self._soon, SNAPSHOT_REST_MAX_S)
        return now

    def _fetch(self, now: float) -> float:
        source = self.snapshots[self._source]
        try:
            if now >= self._due:
                self._due = NEVER
                self._counts["snapshots"] += 1
                source.begin()
            elif self._due < NEVER:
                return self._due
            snapshot = source.poll(now)
            if snapshot is None:
                return now + POLL_S
            self._check(snapshot)
        except SessionError as error:
            self._fail(now, source, str(error))
            return now
        self._snapshot, self._offered, self.rung, self._due = snapshot, False, Rung.SPLICE, now + JOIN_S
        return now

    def _check(self, snapshot: Snapshot) -> None:
        """Can it be spliced? Raises SessionError."""
        feed = self._session.rstrip(b"\0 ").decode("latin1").strip()
        if self.settings.snapshot_session == "same" and snapshot.session.strip() not in ("", feed):
            raise SessionError(
                f"the snapshot is of session {snapshot.session.strip()!r}, the feed is in {feed!r}; where both have "
                'names of their own, set [channel.recovery] snapshot_session = "any"'
            )
        if snapshot.number < self._floor:
            raise SessionError(
                f"it ends before message {snapshot.number}, and {self._floor} is the oldest that is kept"
            )

    def _fail(self, now: float, source: SnapshotTransport, reason: str) -> None:
        """This source failed: the next one's turn after a while, or the end of the ladder."""
        source.cancel()
        self._snapshot, self.rung = None, Rung.FETCH
        self._counts["snapshot_failures"] += 1
        self._note(f"{self._who()}: no snapshot from {source.name}: {reason}")
        self._source = (self._source + 1) % len(self.snapshots)
        self._tries += 1
        if self._tries < self.settings.attempts * len(self.snapshots):
            turn = self._tries // len(self.snapshots)
            self._due = now + full_jitter(self._random, SNAPSHOT_REST_S, turn, SNAPSHOT_REST_MAX_S)
        else:
            self.reason, self._sent, self.rung = reason, False, Rung.GIVE_UP

    def _splice(self, now: float) -> float:
        assert self._snapshot is not None
        if not self._offered:
            if self._horizon() < self._snapshot.number:  # of another run under the same session, perhaps: wait and see
                if now >= self._due:
                    reason = f"the feed did not come to its number, {self._snapshot.number}, within {JOIN_S:g} s"
                    self._fail(now, self.snapshots[self._source], reason)
                    return now
                return now + POLL_S
            self._offered, self._faults_before = True, self._faults()
        if not self._line.snapshot(self._epoch, self._snapshot.number, self._snapshot.messages):
            return now + POLL_S
        self.rung, self._due = Rung.JOIN, now + JOIN_S
        return now

    def _join(self, now: float) -> float:
        if now >= self._due:
            self._fail(now, self.snapshots[self._source], f"the feed did not take it in within {JOIN_S:g} s")
            return now
        return now + POLL_S

    def _reached(self, number: int) -> bool:
        """A new epoch that stands here is the snapshot's; else the numbers begin anew under the same session id."""
        return self._snapshot is not None and number >= self._snapshot.number

    def _joined(self, epoch: int, now: float) -> None:
        """The books are those of the snapshot, and go on with the feed."""
        assert self._snapshot is not None
        self._note(
            f"{self._who()}: a snapshot from {self.snapshots[self._source].name} "
            f"({len(self._snapshot.messages):,} bytes) joins the feed at message {self._snapshot.number}"
        )
        self._counts["spliced"] += 1
        self._leave()
        self._epoch, self._needed, self._failures = epoch, 0, 0
        self.given_up, self._retry, self._spliced_at = False, NEVER, now
        self._watch_until = now + WATCH_S

    def _give_up(self, now: float) -> float:
        if not self._line.give_up(self._epoch):
            return now + POLL_S
        again = ""
        if self.snapshots and not now < self._retry < NEVER:
            base = self.settings.snapshot_retry_ms / 1000
            wait = base + full_jitter(self._random, base, self._failures, (LONGEST_RETRY - 1) * base)
            self._failures += 1
            self._retry = now + wait
            again = f"; a snapshot is tried again in {wait:.1f} s"
        self._counts["given_up"] += 1
        self.given_up, self.rung = True, Rung.IDLE
        self._note(f"{self._who()}: STALE: {self.reason}{again}")
        return now

    # -- words ---------------------------------------------------------------------------------------------------------

    def _who(self) -> str:
        return f"channel {self.name}" if self.name else "this channel"

    def _asked(self, first: int, end: int, server: RequestTransport) -> None:
        self._detail(f"{self._who()}: {_numbers(first, end)} asked of {server.name}")


def _numbers(first: int, end: int) -> str:
    return f"messages {first} to {end - 1}" if end - first > 1 else f"message {first}"


def _later(one: int, other: int) -> bool:
    """Epochs are counted in 32 bits."""
    return 0 < ((one - other) & 0xFFFFFFFF) < 1 << 31

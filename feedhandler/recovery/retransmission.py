"""The rung of requests: which numbers are asked of which server, when, and what its answers were worth.

A number that is wanted is in one of four places. `fresh`: to be asked for as soon as the rate allows, cut into pieces
of at most `request_messages`. `asked`: an answer is under way, until its time is up; meanwhile it is asked of nobody
else. `resting`: a server was silent, and the next one is asked after a wait (full jitter). `given`: an answer went to
the hot thread; when that stands at it and still lacks it, it was no good, and the next server is asked.

An answer to a request may hold less than was asked for: the rest is fresh again, and asked for at once. Once one piece
has been asked in vain of all servers, `attempts` times over, the rung has failed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from feedhandler.recovery.pace import TokenBucket, full_jitter
from feedhandler.recovery.ranges import Ranges

if TYPE_CHECKING:
    from feedhandler.config import RecoverySettings
    from feedhandler.recovery.transport import RequestTransport
    from feedhandler.session import Framing

OUTSTANDING = 64  # requests under way at most
BURST_S = 0.02  # of requests_per_second, what may be asked at once
LONGEST_REST_S = 2.0
TAKING_S = 0.2  # the hot thread has at least so long to take in what it was given
FULL_S = 0.001  # the ring to it was full: to be tried again after so long
NEVER = float("inf")


@dataclass(slots=True, eq=False)
class Piece:
    """Numbers [first, end) that have been asked for in vain `tries` times."""

    first: int
    end: int
    tries: int
    server: int
    due: float
    """Of an asked piece: when the server counts as silent. Of a resting one: when it is asked for again."""
    start: int = 0
    """The first number as it was asked for: the answer to this request begins there."""


class Retransmission:
    """Call want() for what is missing, settled() when numbers have been delivered, step() when it is due.

    `stats` counts requests, messages (asked for), answers, partial, strays (answers that nobody waits for: another
    session, other numbers), malformed and silences.
    """

    def __init__(
        self,
        settings: RecoverySettings,
        servers: Sequence[RequestTransport],
        framing: Framing,
        rng: random.Random,
        told: Callable[[int, int, RequestTransport], None],
    ) -> None:
        self.servers, self.framing = list(servers), framing
        self.stats = dict.fromkeys(
            ("requests", "messages", "answers", "partial", "strays", "malformed", "silences", "useless"), 0
        )
        self.failed: tuple[int, int] | None = None
        """The piece that no server has answered."""
        self._settings, self._random, self._told = settings, rng, told
        self._timeout = settings.request_timeout_ms / 1000
        rate = settings.requests_per_second
        self._bucket = TokenBucket(rate, max(1.0, rate * BURST_S))
        self._fresh = Ranges()
        self._asked: list[Piece] = []
        self._resting: list[Piece] = []
        self._given: list[Piece] = []
        self._packets: deque[bytes] = deque()  # for the hot thread, which had no room
        self._server = 0  # the one that is asked first
        self._settled = 0
        self._session = b""
        self._sent = -NEVER  # the last request
        self._deaf = False  # answers under way are of the run before: same session, same numbers, other messages

    def begin(self, session: bytes) -> None:
        """Forget all; what is wanted from now on belongs to this session (16 bytes), or to a new run of the same."""
        self.clear()
        self._deaf = session == self._session
        self._session, self._settled = session, 0

    def clear(self) -> None:
        """Want nothing any more; answers still under way are dropped when they come."""
        self._fresh.clear()
        for pieces in (self._asked, self._resting, self._given):
            pieces.clear()
        self._packets.clear()
        self.failed = None

    def __bool__(self) -> bool:
        return bool(self._fresh or self._asked or self._resting or self._given or self._packets)

    def want(self, first: int, end: int, now: float) -> None:
        """Numbers [first, end) are missing; of these, what was given was bad, and is asked of the next server."""
        new = Ranges()
        new.add(max(first, self._settled), end)
        for piece in (*self._asked, *self._resting):
            new.remove(piece.first, piece.end)
        for piece in list(self._given):
            bad = new.remove(piece.first, piece.end)
            if not bad:
                continue
            good = Ranges()
            good.add(piece.first, piece.end)
            for a, b in bad:
                good.remove(a, b)
                self._rest(replace(piece, first=a, end=b), now)
            self._given.remove(piece)
            self._given += [replace(piece, first=a, end=b) for a, b in good]
            self.stats["useless"] += 1
        for part in new:
            self._fresh.add(*part)

    def settled(self, number: int) -> None:
        """All below `number` has been delivered, whoever brought it."""
        if number <= self._settled:
            return
        self._settled = number
        self._fresh.remove(0, number)
        for pieces in (self._asked, self._resting, self._given):
            if any(piece.first < number for piece in pieces):
                for piece in pieces:
                    piece.first = max(piece.first, number)
                pieces[:] = [piece for piece in pieces if piece.first < piece.end]

    def step(self, now: float, deliver: Callable[[bytes], bool]) -> float:
        """Take the answers, hand them over by `deliver`, ask for what is due; when to come again at the latest."""
        for number, server in enumerate(self.servers):
            for data in server.receive():
                if not self._deaf:
                    self._take(number, data, now)
        if self._deaf and now < self._sent + max(self._timeout, TAKING_S):
            return self._sent + max(self._timeout, TAKING_S)
        self._deaf = False
        while self._packets and deliver(self._packets[0]):
            self._packets.popleft()
        self._time_out(now)
        return min(self._ask(now), self._next_due(now))

    # -- answers -------------------------------------------------------------------------------------------------------

    def _take(self, number: int, data: bytes, now: float) -> None:
        """One packet of one server: does it hold anything that is wanted?"""
        frames = self.framing.feed(data)
        if len(frames) != 1 or frames[0][0]["kind"] != "data":
            empty = len(frames) == 1 and frames[0][0]["kind"] in ("heartbeat", "end")
            self.stats["strays" if empty else "malformed"] += 1
            return
        fields = frames[0][0]
        first, end = fields["first_seq"], fields["first_seq"] + fields["count"]
        if fields["session"] != self._session:
            self.stats["strays"] += 1
            return
        got = self._receive(number, first, end, now)
        for piece in [p for p in self._asked if p.server == number and p.start == first]:
            self._asked.remove(piece)  # this was its answer: the rest is asked on
            self.stats["partial"] += 1
            if got:
                self._fresh.add(piece.first, piece.end)
            else:  # nothing of what is still lacking: as good as silence
                self._rest(piece, now)
        if not got:
            self.stats["strays"] += 1
            return
        self._server = number
        self.stats["answers"] += 1
        self._packets.append(data)

    def _receive(self, server: int, first: int, end: int, now: float) -> bool:
        """Numbers [first, end) have come: those that were wanted are `given` now. Whether there were any."""
        due = now + max(self._timeout, TAKING_S)
        given = [Piece(a, b, 0, server, due) for a, b in self._fresh.remove(first, end)]
        for pieces in (self._asked, self._resting):
            for piece in [p for p in pieces if p.first < end and first < p.end]:
                given.append(Piece(max(first, piece.first), min(end, piece.end), piece.tries, server, due))
                pieces.remove(piece)
                for a, b in ((piece.first, first), (end, piece.end)):
                    if a < b:  # what is left of it stays what it was
                        pieces.append(replace(piece, first=a, end=b))
        self._given += given
        return bool(given)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _time_out(self, now: float) -> None:
        """Whoever had to answer by now has not."""
        for piece in [p for p in self._asked if now >= p.due]:
            self._asked.remove(piece)
            self.stats["silences"] += 1
            self._rest(piece, now)
        for piece in list(self._given):
            if self._settled < piece.first:
                piece.due = now + max(self._timeout, TAKING_S)  # the hot thread has not come so far
            elif now >= piece.due:
                self._given.remove(piece)
                self.stats["useless"] += 1
                self._rest(piece, now)

    def _rest(self, piece: Piece, now: float) -> None:
        """Its server failed it: the next one's turn, after a while."""
        if piece.server == self._server:
            self._server = (self._server + 1) % len(self.servers)
        piece.tries += 1
        piece.server = (piece.server + 1) % len(self.servers)
        rounds = piece.tries // len(self.servers)
        if rounds >= self._settings.attempts:
            self.failed = self.failed or (piece.first, piece.end)
        piece.due = now + full_jitter(self._random, self._timeout, rounds, LONGEST_REST_S)
        self._resting.append(piece)

    def _ask(self, now: float) -> float:
        """Send what is due, as far as the rate and the number of requests under way allow."""
        rested = sorted((p for p in self._resting if now >= p.due), key=lambda p: p.first)
        while (rested or self._fresh) and len(self._asked) < OUTSTANDING and self.failed is None:
            if not self._bucket.take(now):
                return self._bucket.due(now)
            if rested:
                piece = rested.pop(0)
                self._resting.remove(piece)
                if piece.end - piece.first > self._settings.request_messages:
                    rest = replace(piece, first=piece.first + self._settings.request_messages)
                    piece.end = rest.first
                    self._resting.append(rest)
                    rested.insert(0, rest)
            else:
                first, end = self._fresh.take(self._settings.request_messages)
                piece = Piece(first, end, 0, self._server, now)
            piece.start, piece.due = piece.first, now + self._timeout
            server = self.servers[piece.server]
            server.send(self._session, piece.first, piece.end - piece.first)
            self._sent = now
            self.stats["requests"] += 1
            self.stats["messages"] += piece.end - piece.first
            self._asked.append(piece)
            self._told(piece.first, piece.end, server)
        return NEVER

    def _next_due(self, now: float) -> float:
        """The next moment that is not there yet: what is due already waits for the rate, or for an answer."""
        waiting = [piece.due for pieces in (self._asked, self._resting, self._given) for piece in pieces]
        return now + FULL_S if self._packets else min((due for due in waiting if due > now), default=NEVER)

"""A venue's REST service, asked by GET only: within its rate limits, again after failures, and not at all for a while
when it fails each time.

`RestQueue` is a machine without socket and clock: `step(now)` does what is due and says when to come again. Requests
are idempotent GETs, so each may be repeated: after a random time below a bound that doubles (full jitter), or after
what Retry-After says. Every request takes its weight from a token bucket, one of them all. A breaker opens after
several failures in a row, over all requests: nothing is asked until it lets one through to see. `HttpTransport` does
the asking, on threads of its own, by httpx, with a timeout for each part and a bound on the answer. However slowly a
server answers, a request is over after `TOTAL_S`, and close() returns soon.
"""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from feedhandler.decode.venue import Request, RestLimit
from feedhandler.errors import ConfigError
from feedhandler.records import Cause
from feedhandler.recovery.pace import TokenBucket, full_jitter
from feedhandler.session.websocket import BrokenError, refusal, retry_after

if TYPE_CHECKING:
    import httpx

__all__ = ["Breaker", "BreakerState", "HttpTransport", "RestQueue", "RestTransport"]

ATTEMPTS = 6
RETRY_S, RETRY_MAX_S = 0.25, 15.0
LIMITED_S = 5.0  # after a 429 without Retry-After nothing is asked for so long
TOTAL_S = 30.0  # a request that has no whole answer after so long has failed
CLOSE_S = 0.5  # close() waits so long for its threads, which hold up nobody after that
POLL_S = 0.01
NEVER = float("inf")


class BreakerState(Enum):
    CLOSED = "closed"  # all is well: requests go out
    OPEN = "open"  # it failed each time: none goes out
    HALF_OPEN = "half open"  # one goes out, to see


class Breaker:
    """Opens after `failures` in a row; then, after a time that doubles up to `most_s`, lets one request through."""

    def __init__(self, rng: random.Random, failures: int = 5, first_s: float = 2.0, most_s: float = 60.0) -> None:
        self.state = BreakerState.CLOSED
        self.since = 0.0
        self.opened = 0
        """How often it has."""
        self.row = 0
        """Failures in a row."""
        self._failures, self._first_s, self._most_s, self._random = failures, first_s, most_s, rng
        self._round = 0
        self._until = 0.0

    def lets(self, now: float) -> bool:
        """Whether a request may go out now; one that may while OPEN is the one to see by."""
        if self.state is BreakerState.OPEN and now >= self._until:
            self._turn(BreakerState.HALF_OPEN, now)
            return True
        return self.state is BreakerState.CLOSED

    def due(self) -> float:
        """When lets() may say so, after it did not."""
        return self._until if self.state is BreakerState.OPEN else 0.0

    def succeeded(self, now: float) -> None:
        self.row = self._round = 0
        if self.state is not BreakerState.CLOSED:
            self._turn(BreakerState.CLOSED, now)

    def failed(self, now: float) -> None:
        self.row += 1
        if self.state is BreakerState.HALF_OPEN or (self.state is BreakerState.CLOSED and self.row >= self._failures):
            bound = min(self._most_s, self._first_s * 2.0 ** min(self._round, 30))
            self._until = now + bound / 2 + self._random.uniform(0.0, bound / 2)
            self._round += 1
            self.opened += 1
            self._turn(BreakerState.OPEN, now)

    def _turn(self, state: BreakerState, now: float) -> None:
        self.state, self.since = state, now


class RestTransport(Protocol):
    """Who does the asking. No call waits."""

    def get(self, url: str) -> Future[bytes]:
        """The body of a 200 answer, later; BrokenError for anything else."""

    def give_up(self, answer: Future[bytes]) -> None:
        """Nobody waits for this answer any more: end what is under way for it."""

    def close(self) -> None: ...


class Hearer(NamedTuple):
    """Who waits for an answer."""

    done: Callable[[bytes], None]
    failed: Callable[[BrokenError], None]


@dataclass
class _Job:
    request: Request
    hearers: dict[object, Hearer]
    due: float = 0.0
    attempt: int = 0
    answer: Future[bytes] | None = None
    late: float = NEVER  # when an answer that is not there has failed


class RestQueue:
    """Requests to one service, oldest first, each asked until it is answered, `attempts` times at most.

    ask() may be called by whoever calls step(); `done` and `failed` are called from within step(), and raise nothing.
    A request has `total_s` seconds each time.
    """

    def __init__(
        self,
        transport: RestTransport,
        limit: RestLimit,
        *,
        rng: random.Random | None = None,
        attempts: int = ATTEMPTS,
        at_once: int = 4,
        breaker: Breaker | None = None,
        total_s: float = TOTAL_S,
    ) -> None:
        self._random = rng or random.Random()
        self.transport, self.bucket = transport, TokenBucket(limit.per_s, limit.burst)
        self.breaker = breaker or Breaker(self._random)
        self.error: BrokenError | None = None
        """The last failure; None after a success."""
        self.counts = dict.fromkeys(("asked", "answered", "retried", "failed", "limited"), 0)
        self._attempts, self._at_once, self._total_s = attempts, at_once, total_s
        self._jobs: list[_Job] = []
        self._out = 0  # of them, those that are asked and not answered

    def ask(
        self,
        request: Request,
        done: Callable[[bytes], None],
        failed: Callable[[BrokenError], None],
        who: object = None,
    ) -> None:
        """Have the request made. One for the same URL that waits already is enough: all who asked hear its answer.

        `who` is told once, however often it asks; None: nobody that has asked before.
        """
        hearer = Hearer(done, failed)
        who = hearer if who is None else who
        for job in self._jobs:
            if job.request.url == request.url:
                job.hearers[who] = hearer
                return
        self._jobs.append(_Job(request, {who: hearer}))

    def step(self, now: float) -> float:
        """Do what is due; the time of the next step at the latest."""
        due = NEVER
        for job in list(self._jobs):
            if job.answer is None:
                continue
            if job.answer.done():
                self._answered(job, job.answer.exception() or job.answer.result(), now)
            elif now >= job.late:
                self.transport.give_up(job.answer)
                late = f"{job.request.url}: no whole answer within {self._total_s:g} s"
                self._answered(job, BrokenError(late, Cause.TIMEOUT), now)
        for job in list(self._jobs):
            due = min(due, now + POLL_S) if job.answer is not None else min(due, self._start(job, now))
        return due

    def _start(self, job: _Job, now: float) -> float:
        """Send the request if it is due and may go; when to look again."""
        if now < job.due:
            return job.due
        if self._out >= self._at_once:
            return now + POLL_S
        if self.breaker.state is not BreakerState.CLOSED and now < self.breaker.due():
            return self.breaker.due()
        if not self.bucket.take(now, job.request.weight):
            return self.bucket.due(now, job.request.weight)
        if not self.breaker.lets(now):  # one is out, to see
            self.bucket.give_back(job.request.weight)
            return now + POLL_S
        self.counts["asked"] += 1
        job.answer, job.late = self.transport.get(job.request.url), now + self._total_s
        self._out += 1
        return now + POLL_S

    def _answered(self, job: _Job, failure: bytes | BaseException, now: float) -> None:
        job.answer = None
        self._out -= 1
        if isinstance(failure, bytes):
            self._jobs.remove(job)
            self.breaker.succeeded(now)
            self.counts["answered"] += 1
            self.error = None
            for hearer in job.hearers.values():
                hearer.done(failure)
            return
        broken = (
            failure
            if isinstance(failure, BrokenError)
            else BrokenError(f"{type(failure).__name__}: {failure}", Cause.LOST)
        )
        self.error = broken
        if broken.cause is Cause.RATE_LIMITED:
            self.counts["limited"] += 1
            self.bucket.close(now + max(broken.retry_s, LIMITED_S))
        if broken.cause in (Cause.HANDSHAKE, Cause.RATE_LIMITED):
            self.breaker.succeeded(now)  # the service is well; it does not like the request, or so many of them
        else:
            self.breaker.failed(now)
        job.attempt += 1
        if broken.cause is Cause.HANDSHAKE or job.attempt >= self._attempts:
            self._jobs.remove(job)
            self.counts["failed"] += 1
            for hearer in job.hearers.values():
                hearer.failed(broken)
            return
        self.counts["retried"] += 1
        job.due = now + broken.retry_s + full_jitter(self._random, RETRY_S, job.attempt - 1, RETRY_MAX_S)

    def close(self) -> None:
        """Ask no more."""
        self._jobs.clear()
        self._out = 0
        self.transport.close()

    def status(self, now: float) -> dict[str, Any]:
        """The breaker's state and since how many seconds, tokens left, requests that wait, counts, the last failure."""
        return {
            "breaker": self.breaker.state.value,
            "breaker_s": round(max(0.0, now - self.breaker.since), 3) if self.breaker.since else None,
            "opened": self.breaker.opened,
            "tokens": round(self.bucket.tokens, 3),
            "waiting": len(self._jobs),
            **self.counts,
            "error": str(self.error) if self.error is not None else "",
        }


@dataclass
class Timeouts:
    """Seconds for each part of a request."""

    connect: float = 5.0
    read: float = 10.0
    write: float = 5.0
    pool: float = 5.0


@dataclass
class HttpTransport:
    """GETs by httpx on a few threads. `ca`: PEM files of authorities to trust beside the system's; certificates are
    verified always, and redirects not followed. Answers of more than `most_bytes` are refused."""

    ca: tuple[str, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    most_bytes: int = 16 << 20
    threads: int = 4

    def __post_init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[str, Future[bytes]] | None] = queue.SimpleQueue()
        self._askers: list[_Asker] = []
        self._context = ssl.create_default_context()
        for path in self.ca:
            try:
                self._context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"ca: {path!r} holds no certificates in PEM form: {error}") from None

    def get(self, url: str) -> Future[bytes]:
        answer: Future[bytes] = Future()
        if len(self._askers) < self.threads:
            self._askers.append(_Asker(self._work, self._made, self.most_bytes))
            self._askers[-1].start()
        self._work.put((url, answer))
        return answer

    def give_up(self, answer: Future[bytes]) -> None:
        """End the connection on which it is asked for. Its thread, wherever that waits, is one of ours no more."""
        answer.cancel()
        for asker in [each for each in self._askers if each.answer is answer]:
            self._askers.remove(asker)
            asker.hang_up()

    def close(self) -> None:
        """End what is under way. A thread that waits where nobody can end it holds up neither us nor the process."""
        askers, self._askers = self._askers, []
        work, self._work = self._work, queue.SimpleQueue()
        for asker in askers:
            asker.hang_up()
            work.put(None)
        end = time.monotonic() + CLOSE_S
        for asker in askers:
            asker.join(max(0.0, end - time.monotonic()))

    def _made(self) -> httpx.Client:
        import httpx

        times = self.timeouts
        return httpx.Client(
            verify=self._context,
            timeout=httpx.Timeout(times.read, connect=times.connect, write=times.write, pool=times.pool),
            headers={"User-Agent": "feedhandler", "Accept": "application/json"},
            trust_env=False,
        )


class _Asker(threading.Thread):
    """Asks for one URL after the other, on a connection of its own."""

    def __init__(
        self,
        work: queue.SimpleQueue[tuple[str, Future[bytes]] | None],
        made: Callable[[], httpx.Client],
        most_bytes: int,
    ) -> None:
        super().__init__(name="feedhandler-rest", daemon=True)
        self.answer: Future[bytes] | None = None
        """What it is at."""
        self._work, self._made, self._most_bytes = work, made, most_bytes
        self._sock: socket.socket | None = None
        self._over = False

    def hang_up(self) -> None:
        """It is to end, from any thread: no read or write of its connection waits any longer."""
        self._over = True
        if self._sock is not None:
            with contextlib.suppress(OSError):  # SSLSocket's own shutdown() would go on in plain text
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def run(self) -> None:
        client = self._made()
        while not self._over and (work := self._work.get()) is not None:
            url, self.answer = work
            answer = self.answer
            if not answer.set_running_or_notify_cancel():
                continue
            with contextlib.suppress(InvalidStateError):
                try:
                    answer.set_result(self._get(client, url))
                except Exception as error:
                    answer.set_exception(error)
            self.answer = None
        client.close()

    def _watch(self, event: str, about: Mapping[str, Any]) -> None:
        """httpx says how far it is."""
        if self._over:
            raise BrokenError("given up", Cause.STOPPED)
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sock = about["return_value"].get_extra_info("socket")

    def _get(self, client: httpx.Client, url: str) -> bytes:
        import httpx

        try:
            with client.stream("GET", url, extensions={"trace": self._watch}) as response:
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > self._most_bytes:
                        raise BrokenError(f"{url}: an answer of more than {self._most_bytes} bytes", Cause.TOO_BIG)
                if response.status_code == 200:
                    return bytes(body)
                said = " ".join(body[:120].decode("utf-8", "replace").split())
                raise BrokenError(
                    f"{url}: HTTP {response.status_code}" + (f": {said}" if said else ""),
                    refusal(response.status_code),
                    retry_after(dict(response.headers)),
                    response.status_code,
                )
        except httpx.TimeoutException:
            raise BrokenError(f"{url}: no answer in time", Cause.TIMEOUT) from None
        except httpx.HTTPError as error:
            raise BrokenError(f"{url}: {error or type(error).__name__}", Cause.UNREACHABLE) from None

"""A venue's REST service, asked by GET only: within its rate limits, again after failures, and not at all for a while
when it fails each time.

`RestQueue` is a machine without socket and clock: `step(now)` does what is due and says when to come again. Requests
are idempotent GETs, so each may be repeated: after a random time below a bound that doubles (full jitter), or after
what Retry-After says. Every request takes its weight from a token bucket, one of them all. A breaker opens after
several failures in a row, over all requests: nothing is asked until it lets one through to see. `HttpTransport` does
the asking, on threads of its own, by httpx, with a timeout for each part and a bound on the answer.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

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
    """Who does the asking. Neither call waits."""

    def get(self, url: str) -> Future[bytes]:
        """The body of a 200 answer, later; BrokenError for anything else."""

    def close(self) -> None: ...


@dataclass
class _Job:
    request: Request
    done: Callable[[bytes], None]
    failed: Callable[[BrokenError], None]
    due: float = 0.0
    attempt: int = 0
    answer: Future[bytes] | None = None


class RestQueue:
    """Requests to one service, oldest first, each asked until it is answered, `attempts` times at most.

    ask() may be called by whoever calls step(); `done` and `failed` are called from within step().
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
    ) -> None:
        self._random = rng or random.Random()
        self.transport, self.bucket = transport, TokenBucket(limit.per_s, limit.burst)
        self.breaker = breaker or Breaker(self._random)
        self.error: BrokenError | None = None
        """The last failure; None after a success."""
        self.counts = dict.fromkeys(("asked", "answered", "retried", "failed", "limited"), 0)
        self._attempts, self._at_once = attempts, at_once
        self._jobs: list[_Job] = []
        self._out = 0  # of them, those that are asked and not answered

    def ask(self, request: Request, done: Callable[[bytes], None], failed: Callable[[BrokenError], None]) -> None:
        """Have the request made; one for the same URL that waits already is enough."""
        if all(job.request.url != request.url for job in self._jobs):
            self._jobs.append(_Job(request, done, failed))

    def step(self, now: float) -> float:
        """Do what is due; the time of the next step at the latest."""
        due = NEVER
        for job in list(self._jobs):
            if job.answer is not None and job.answer.done():
                self._answered(job, job.answer, now)
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
        job.answer = self.transport.get(job.request.url)
        self._out += 1
        return now + POLL_S

    def _answered(self, job: _Job, answer: Future[bytes], now: float) -> None:
        job.answer = None
        self._out -= 1
        failure = answer.exception()
        if failure is None:
            self._jobs.remove(job)
            self.breaker.succeeded(now)
            self.counts["answered"] += 1
            self.error = None
            job.done(answer.result())
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
            job.failed(broken)
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
        self._threads: ThreadPoolExecutor | None = None
        self._client: httpx.Client | None = None
        self._context = ssl.create_default_context()
        for path in self.ca:
            try:
                self._context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"ca: {path!r} holds no certificates in PEM form: {error}") from None

    def get(self, url: str) -> Future[bytes]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.threads, thread_name_prefix="feedhandler-rest")
            self._client = self._made()
        return self._threads.submit(self._get, url)

    def close(self) -> None:
        if self._threads is not None and self._client is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._client.close()
            self._threads = self._client = None

    def _made(self) -> httpx.Client:
        import httpx

        times = self.timeouts
        return httpx.Client(
            verify=self._context,
            timeout=httpx.Timeout(times.read, connect=times.connect, write=times.write, pool=times.pool),
            headers={"User-Agent": "feedhandler", "Accept": "application/json"},
            trust_env=False,
        )

    def _get(self, url: str) -> bytes:
        import httpx

        assert self._client is not None
        try:
            with self._client.stream("GET", url) as response:
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > self.most_bytes:
                        raise BrokenError(f"{url}: an answer of more than {self.most_bytes} bytes", Cause.TOO_BIG)
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

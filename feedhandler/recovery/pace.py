"""How often: a limit of rate, and waits that grow. Time is a parameter."""

from __future__ import annotations

import random

LEAST_S = 1e-6  # a wait that is one


class TokenBucket:
    """A limit of `rate` a second, of which `burst` may be taken at once; a rate of 0 is no limit.

    In any stretch of t seconds take() gives at most burst + rate * t tokens. What weighs more than `burst` takes all.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self.tokens = burst
        self._at: float | None = None
        self._closed = 0.0

    def take(self, now: float, weight: float = 1.0) -> bool:
        """Take so many tokens, if they are there."""
        if not self.rate:
            return now >= self._closed
        if self._at is not None and now > self._at:
            self.tokens = min(self.burst, self.tokens + (now - self._at) * self.rate)
        self._at = now if self._at is None else max(now, self._at)
        weight = min(weight, self.burst)
        if now < self._closed or self.tokens < weight:
            return False
        self.tokens -= weight
        return True

    def give_back(self, weight: float = 1.0) -> None:
        """What take() gave was not used."""
        self.tokens = min(self.burst, self.tokens + weight)

    def due(self, now: float, weight: float = 1.0) -> float:
        """When take() may succeed, after one that did not."""
        missing = max(0.0, min(weight, self.burst) - self.tokens)
        return max(self._closed, now + (missing / self.rate if self.rate else 0.0) + LEAST_S)

    def close(self, until: float) -> None:
        """Nothing before then."""
        self._closed = max(self._closed, until)
        self.tokens = 0.0


def full_jitter(rng: random.Random, base: float, attempt: int, most: float) -> float:
    """A random wait below a bound that doubles with each attempt (0, 1, ...): callers that failed together part."""
    return rng.uniform(0.0, min(most, base * 2.0 ** min(attempt, 30)))

"""How often: a limit of rate, and waits that grow. Time is a parameter."""

from __future__ import annotations

import random

LEAST_S = 1e-6  # a wait that is one
BURST_S = 0.02  # of a rate, what may be sent at once


class TokenBucket:
    """At most `rate` a second, and of these at once what `BURST_S` gives, one at least.

    In any stretch of t seconds take() gives at most burst + rate * t tokens.
    """

    def __init__(self, rate: float) -> None:
        self.rate, self.burst = rate, max(1.0, rate * BURST_S)
        self._tokens = self.burst
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """One token, if there is one."""
        if self._at is not None and now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        if self._at is None or now > self._at:
            self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def due(self, now: float) -> float:
        """When the next token will be there, after a take() that gave none."""
        return now + max(LEAST_S, (1.0 - self._tokens) / self.rate)


def full_jitter(rng: random.Random, base: float, attempt: int, most: float) -> float:
    """A random wait below a bound that doubles with each attempt (0, 1, ...): callers that failed together part."""
    return rng.uniform(0.0, min(most, base * 2.0 ** min(attempt, 30)))

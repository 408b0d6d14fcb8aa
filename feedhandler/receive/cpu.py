"""Where a thread runs."""

import os
from collections.abc import Collection

from feedhandler.errors import BackendError


def pin(cpus: Collection[int]) -> None:
    """Keep the calling thread on these CPUs; none given changes nothing. Raises BackendError naming those there are."""
    if not cpus:
        return
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, ValueError, OverflowError):
        there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        wanted = ", ".join(map(str, sorted(cpus)))
        raise BackendError(f"cannot run on CPU {wanted}: this process may use CPU {there}") from None

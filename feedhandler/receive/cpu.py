"""Where a thread runs, and before whom."""

import ctypes
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

from feedhandler.errors import BackendError

LOCK_CURRENT_AND_FUTURE = 3  # MCL_CURRENT | MCL_FUTURE
SETTLE_SECONDS = 0.02  # for work that the kernel has put off: after that a spinning thread may starve it


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


def prioritise(priority: int) -> None:
    """Give the calling thread SCHED_FIFO at this priority, 1 to 99; 0 changes nothing. Its children do not inherit it.

    Sockets' time stamps are switched on by work that the kernel puts off, and until then a packet is stamped when it is
    read: too late. So that a spinning thread does not starve that work, this waits for it first.

    Raises BackendError with the remedy when the kernel refuses.
    """
    if not priority:
        return
    time.sleep(SETTLE_SECONDS)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as error:
        raise BackendError(
            f"the hot thread cannot have SCHED_FIFO priority {priority}: {error.strerror}; allow it with: setcap "
            f"cap_sys_nice+ep {os.path.realpath(sys.executable)} (systemd: LimitRTPRIO={priority}), "
            "or set [handler] priority = 0"
        ) from None


def lock_memory() -> None:
    """Keep all memory of this process, that to come included, from being paged out. Raises BackendError."""
    if ctypes.CDLL(None, use_errno=True).mlockall(LOCK_CURRENT_AND_FUTURE):
        raise BackendError(
            f"memory cannot be locked: {os.strerror(ctypes.get_errno())}; raise the limit (ulimit -l unlimited) "
            "or set [handler] lock_memory = false"
        )


def starved(wait: str, cpus: Collection[int], root: Path = Path("/")) -> str:
    """What a hot thread with SCHED_FIFO keeps from running, in one sentence of warning."""
    where = f"CPU {', '.join(map(str, sorted(cpus)))}" if cpus else "whichever CPU it is on ([handler] cpu is not set)"
    if wait == "block":
        return f"SCHED_FIFO: while there are packets, nothing else runs on {where}, the kernel's own work included"
    hole = _hole(root)
    bound = (
        f"the kernel halts the thread up to {hole:g} ms in a second, and packets wait in the ring meanwhile"
        if hole
        else "and there is no bound to it (kernel.sched_rt_runtime_us is -1 or all of its period)"
    )
    when = "nothing else runs" if wait == "spin" else "while there are packets, and while it spins, nothing else runs"
    return (
        f"SCHED_FIFO with wait = {wait}: {when} on {where}, neither other programs nor the kernel's own workers "
        f"(interrupt threads, RCU, work put off); {bound}"
    )


def _hole(root: Path) -> float:
    """Milliseconds of each second that the kernel keeps from real-time threads; 50 where it does not tell."""
    try:
        runtime = int((root / "proc/sys/kernel/sched_rt_runtime_us").read_text())
        period = int((root / "proc/sys/kernel/sched_rt_period_us").read_text())
    except (OSError, ValueError):
        return 50.0
    return max(0.0, (period - runtime) / period * 1000) if runtime >= 0 else 0.0

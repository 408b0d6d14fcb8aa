"""How a handler's hot thread waits, seen by how often it gives its CPU up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from feedhandler.handler import Handler

SLEEPS = 20  # that a thread must have taken to count as one that sleeps
Waiting = Callable[..., Any]


def hot_thread(handler: Handler, wait_for: Waiting) -> int:
    """Its number in /proc, once it runs."""
    thread = handler._thread
    wait_for(lambda: int(handler.segment.header["hot_heartbeat"]) > 0)
    assert thread is not None and thread.native_id is not None
    return thread.native_id


def sleeps(thread: int) -> int:
    """How often the thread has given its CPU up by itself."""
    status = Path(f"/proc/self/task/{thread}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def beats(handler: Handler, wait_for: Waiting, count: int) -> None:
    """Wait for so many of the idle thread's turns, at least."""
    for _ in range(count):
        before = int(handler.segment.header["hot_heartbeat"])
        wait_for(lambda before=before: int(handler.segment.header["hot_heartbeat"]) != before)


def assert_waits(handler: Handler, wait: str, wait_for: Waiting) -> None:
    """ "spin" keeps its CPU; the other two sleep."""
    thread = hot_thread(handler, wait_for)
    before = sleeps(thread)
    if wait == "spin":
        beats(handler, wait_for, SLEEPS)
        assert sleeps(thread) - before < SLEEPS
    else:
        wait_for(lambda: sleeps(thread) >= before + SLEEPS)

"""The reader's side: snapshots, events in batches, and the hand-over from writer to reader beside a bare cache line.

Hand-over: two processes on two processors, both spinning. The bare cache line goes there and back; an event goes there
and a bare cache line comes back, so the event's own way is its round trip less half of the bare one.
"""

import atexit
import multiprocessing
import os
import time
from collections.abc import Callable
from mmap import mmap
from typing import Any

import harness
import numpy as np

from feedhandler import records
from feedhandler.publish import Publisher, Segment, Waker
from feedhandler.publish import _exercise as exercise
from feedhandler.read import attach
from feedhandler.read._reader import WAITS
from feedhandler.records import LEVEL, Quality


def open_market(instruments: int = 64) -> tuple[Segment, Publisher]:
    """A segment of our own whose books are full, ten levels a side."""
    segment = Segment.create(f"fh-bench-{os.getpid()}", instruments=instruments)
    segment.channels["quality"] = Quality.LIVE
    segment.part("directory")["used"] = instruments + 1
    publisher = Publisher(segment.memory)
    exercise.write(publisher, instruments + 1, 0)
    atexit.register(segment.close)
    return segment, publisher


snapshots = harness.Contest("read_snapshot", unit="snapshot", options={"count": 200_000})


@snapshots.contestant("Cython, ten levels a side")
def snapshot_cython(count: int) -> harness.Round:
    segment, _ = open_market()
    feed = attach(segment.name)

    def one_round() -> harness.Sample:
        nanoseconds, _ = exercise.time_snapshots(feed.reader, 5, count)
        return harness.Sample(count, nanoseconds * count)

    return one_round


@snapshots.contestant("Python, ten levels a side")
def snapshot_python(count: int) -> harness.Round:
    segment, _ = open_market()
    snapshot = attach(segment.name).book(5).snapshot

    def one_round() -> int:
        for _ in range(count):
            snapshot()
        return count

    return one_round


@snapshots.contestant("Python, into the caller's array")
def snapshot_into(count: int) -> harness.Round:
    segment, _ = open_market()
    snapshot, out = attach(segment.name).book(5).snapshot, np.empty((2, 10), LEVEL)

    def one_round() -> int:
        for _ in range(count):
            snapshot(out)
        return count

    return one_round


batches = harness.Contest("read_events", unit="event", options={"count": 1_000_000})


def receive(count: int, copy: bool) -> harness.Round:
    """Rounds in which Python takes events in batches of 1024; publishing them is not timed."""
    segment, publisher = open_market()
    events = np.zeros(1024, segment.slots.dtype)
    cursor = attach(segment.name).cursor()

    def one_round() -> harness.Sample:
        took = 0
        for _ in range(count // 1024):
            publisher.append(events)
            begin = time.perf_counter_ns()
            batch = cursor.take(WAITS["spin"], 0, 0, copy)
            took += time.perf_counter_ns() - begin
            assert batch is not None
            assert len(batch) == 1024 or not copy
        return harness.Sample(count // 1024 * 1024, took)

    return one_round


@batches.contestant("Python, copies")
def receive_copies(count: int) -> harness.Round:
    return receive(count, True)


@batches.contestant("Python, views")
def receive_views(count: int) -> harness.Round:
    return receive(count, False)


latency = harness.Contest("read_latency", unit="hand-over", floor="bare cache line", options={"count": 20_000})


def hand_over(count: int, far: Callable[..., None], near: Callable[..., None], event: bool) -> harness.Round:
    """Rounds of `count` trips to a process of its own on the other processor."""
    segment, publisher = open_market()
    shared = mmap(-1, 128)
    line = np.frombuffer(shared, np.uint64)
    cpus = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, {cpus[0]})

    def trips(there: Callable[..., None], back: Callable[..., None]) -> float:
        line[:] = 0
        out = np.zeros(count, np.int64)
        ready = multiprocessing.get_context("fork").Event()

        def echo() -> None:
            os.sched_setaffinity(0, {cpus[-1]})
            cursor = attach(segment.name).cursor()
            ready.set()
            back(cursor, line, count)

        child = multiprocessing.get_context("fork").Process(target=echo)
        child.start()
        ready.wait()
        there(publisher, line, out)
        child.join()
        return float(np.median(out))

    def bare(publisher: Any, line: Any, out: Any) -> None:
        exercise.time_words(line, out)

    def bare_echo(cursor: Any, line: Any, count: int) -> None:
        exercise.echo_words(line, count)

    def one_round() -> harness.Sample:
        floor = trips(bare, bare_echo) / 2
        own = trips(near, far) - floor if event else floor
        return harness.Sample(1, own, {"bare_ns": floor, "times_bare": own / floor})

    return one_round


def echo_python(cursor: Any, line: Any, count: int) -> None:
    """A Python reader: takes each event as a batch, answers."""
    take, spin, seen, answer = cursor.take, WAITS["spin"], 0, exercise.Answer(line)
    while seen < count:
        batch = take(spin, 0)
        seen += len(batch)
        answer(seen)


@latency.contestant("bare cache line")
def bare_line(count: int) -> harness.Round:
    return hand_over(count, exercise.echo_events, exercise.time_events, False)


@latency.contestant("Cython reader")
def cython_reader(count: int) -> harness.Round:
    return hand_over(count, exercise.echo_events, exercise.time_events, True)


@latency.contestant("Python reader")
def python_reader(count: int) -> harness.Round:
    return hand_over(count, echo_python, exercise.time_events, True)


waits = harness.Contest("read_waits", unit="event", rounds=3, options={"count": 400})


def hear_of(count: int, wait: str) -> harness.Round:
    """Publish an event a millisecond; another process waits for each in `wait`'s way and says how old it was."""

    def one_round() -> harness.Sample:
        segment, publisher = open_market()
        ages = np.frombuffer(mmap(-1, 8 * count), np.int64)
        ready = multiprocessing.get_context("fork").Event()

        def listen() -> None:
            cursor, heard = attach(segment.name).cursor(), 0
            ready.set()
            while heard < count:
                batch = cursor.take(WAITS[wait])
                ages[heard] = time.monotonic_ns() - int(batch["ts_recv"][-1])
                heard += len(batch)

        child = multiprocessing.get_context("fork").Process(target=listen)
        child.start()
        ready.wait()
        event = np.zeros(1, records.EVENT)
        with Waker(segment):
            for _ in range(count):
                time.sleep(0.001)
                event["ts_recv"] = time.monotonic_ns()
                publisher.append(event)
        child.join()
        segment.close()
        heard = ages[ages > 0]
        return harness.Sample(1, float(np.median(heard)), {"p99_ns": float(np.percentile(heard, 99))})

    return one_round


for way in ("spin", "sleep", "futex"):
    waits.contestant(f"Python, wait={way}", wait=way)(hear_of)

test_waits = waits.test()
test_snapshots = snapshots.test()
test_batches = batches.test()
test_latency = latency.test()

if __name__ == "__main__":
    for contest in (snapshots, batches, latency, waits):
        contest.main()

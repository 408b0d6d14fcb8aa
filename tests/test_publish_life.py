"""The life of a segment: made, refused, taken over, stopped, killed; and nothing torn while its writer runs."""

import ctypes
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from feedhandler.errors import LayoutError, SegmentError, WriterDiedError
from feedhandler.publish import Publisher, Segment, Waker
from feedhandler.publish import _exercise as exercise
from feedhandler.publish._control import lock_held
from feedhandler.read import Feed, attach
from feedhandler.read.opening import open_reader
from feedhandler.records import Quality, Reason

INSTRUMENTS = 8
SMALL = {"depth": 10, "instruments": INSTRUMENTS - 1, "ring_events": 256}


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a segment in /dev/shm that is gone after the test."""
    name = f"fh-test-{os.getpid()}-{time.monotonic_ns():x}"
    yield name
    for path in (Path("/dev/shm") / name, Path("/dev/shm") / f".{name}.new"):
        path.unlink(missing_ok=True)


def fork(work: Callable[[], object]) -> int:
    """The pid of a child that does `work` and ends with 0, or with 1 when it raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def make(name: str) -> tuple[Segment, Publisher]:
    segment = Segment.create(name, **SMALL)
    segment.channels["quality"] = Quality.LIVE
    segment.part("directory")["used"] = INSTRUMENTS
    return segment, Publisher(segment.memory)


def write_for_ever(name: str, stop_inside: int = 0) -> None:
    segment, publisher = make(name)
    exercise.write(publisher, INSTRUMENTS, 60.0, stop_inside)
    segment.close()


def test_nothing_is_torn_under_a_writer_at_full_speed(name: str) -> None:
    segment, publisher = make(name)
    seconds = 0.7
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    ready = context.Barrier(4)

    def read() -> None:
        reader = open_reader(name)
        books, events = [0, 0, 0], [0, 0, 0, 0]
        cursor = attach(name).cursor()
        ready.wait(20)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            books = [a + b for a, b in zip(books, exercise.read_books(reader, INSTRUMENTS, 0.02), strict=True)]
            events = [a + b for a, b in zip(events, exercise.read_events(cursor, INSTRUMENTS, 0.02), strict=True)]
        results.put((books, events))

    readers = [context.Process(target=read) for _ in range(3)]
    for process in readers:
        process.start()
    ready.wait(20)
    rounds = exercise.write(publisher, INSTRUMENTS, seconds + 0.3)
    found = [results.get() for _ in readers]
    for process in readers:
        process.join()
    segment.close()
    assert rounds > 1000
    for (whole, torn, without), (events, torn_events, _, disorder) in found:
        assert (torn, without, torn_events, disorder) == (0, 0, 0, 0)
        assert whole > 1000
        assert events > 1000


def test_the_levels_of_before_a_new_session_are_never_called_live(name: str) -> None:
    """STALE with wrong levels, then a new session, LIVE: a reader in between must not put the old with the new word."""
    segment, publisher = make(name)
    pid = fork(lambda: exercise.write_sessions(publisher, 60.0))
    try:
        reader = open_reader(name)
        right = wrong = unsaid = 0
        end = time.monotonic() + 20
        while not wrong and min(right, unsaid) < 20_000 and time.monotonic() < end:
            found = exercise.read_sessions(reader, 0.02)
            right, wrong, unsaid = right + found[0], wrong + found[1], unsaid + found[2]
    finally:
        kill(pid)
    segment.close()
    assert wrong == 0
    assert right
    assert unsaid


def test_a_writer_that_lives_and_does_not_run_is_not_live(name: str) -> None:
    """SIGSTOP, a debugger, a frozen container: the lock is held, and nobody keeps the books."""
    segment, publisher = make(name)
    with segment:
        feed = attach(name)
        segment.directory[1]["symbol"] = b"AAA"
        book = feed.book(1, timeout=20)
        segment.books[1][56], segment.books[1][58] = Quality.LIVE, Reason.NONE
        assert book.state == Quality.LIVE  # it has never beaten: not a handler's hot thread
        for age, state, reason in ((0, "LIVE", "NONE"), (4, "STALE", "SILENT"), (0, "LIVE", "NONE")):
            publisher.heartbeat(time.monotonic_ns() - age * 1_000_000_000)
            assert (book.state, book.reason, feed.status) == (Quality[state], Reason[reason], "running")


def test_a_writer_killed_at_any_moment_leaves_every_book_whole_but_one(name: str) -> None:
    dice = random.Random(5)
    unfinished = 0
    for attempt in range(210):
        inside = attempt % 21 == 20
        stop_inside = dice.randrange(1, 500) if inside else 0
        pid = fork(partial(write_for_ever, name, stop_inside))
        try:
            feed = attach(name, timeout=20)
            if inside:
                book = 1 + stop_inside % (INSTRUMENTS - 1)
                at = feed.reader.part(2)[0] + book * feed.reader.part(2)[1]
                seq = np.frombuffer(feed.reader.memory, np.uint64, 1, at)
                _until(partial(_is_inside, feed, _published(stop_inside - 1), seq))
            else:
                _until(partial(_has_reached, feed, dice.randrange(1, 4000)))
        finally:
            kill(pid)
        assert feed.status == "died"
        assert exercise.read_books(feed.reader, INSTRUMENTS, 0)[1] == 0
        bad = []
        for instrument in range(1, INSTRUMENTS):
            one = feed.book(instrument)
            bids, asks = one.snapshot()
            assert one.seen_state in (Quality.STALE, Quality.INIT)
            assert one.seen_reason == Reason.WRITER_DIED
            values = {*bids["price"].tolist(), *asks["price"].tolist(), *bids["size"].tolist(), *asks["size"].tolist()}
            assert len(values) == 1
            if values == {0} and one.seen_event_seq == 0 and _sequence(feed, instrument) % 2:
                bad.append(instrument)
            else:
                assert values == {one.seen_event_seq}
        assert len(bad) <= 1
        assert bool(bad) or not inside
        unfinished += len(bad)
        _, torn, _, disorder = exercise.read_events(feed.cursor(start="oldest"), INSTRUMENTS, 0)
        assert (torn, disorder) == (0, 0)
        with pytest.raises(WriterDiedError, match="died"):
            for batch in feed.events(start="oldest", wait="spin", successor_timeout=0):
                assert len(batch)
    assert unfinished >= 10


def _has_reached(feed: Feed, head: int) -> bool:
    return int(feed.heads[0]) >= head


def _is_inside(feed: Feed, head: int, seq: NDArray[np.uint64]) -> bool:
    return _has_reached(feed, head) and int(seq[0]) % 2 == 1


def _published(rounds: int) -> int:
    return sum(1 + n % 64 for n in range(1, rounds + 1))


def _sequence(feed: Feed, instrument: int) -> int:
    offset, stride, _ = feed.reader.part(2)
    return int(np.frombuffer(feed.reader.memory, np.uint64, 1, offset + instrument * stride)[0])


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0)


def test_a_live_name_is_refused_and_the_writer_is_named(name: str) -> None:
    with Segment.create(name, **SMALL):
        with pytest.raises(SegmentError, match=f"in use by process {os.getpid()} on .*alive"):
            Segment.create(name, **SMALL)
        assert not (Path("/dev/shm") / f".{name}.new").exists()


def test_of_two_writers_that_start_at_once_one_wins(name: str) -> None:
    for _ in range(20):
        gate_read, gate_write = os.pipe()
        done_read, done_write = os.pipe()
        over_read, over_write = os.pipe()

        def contend(gate: int = gate_read, done: int = done_write, over: int = over_read) -> None:
            os.read(gate, 1)
            try:
                segment = Segment.create(name, **SMALL)
            except SegmentError:
                os.write(done, b"n")
                return
            os.write(done, b"y")
            os.read(over, 1)
            segment.close()

        children = [fork(contend) for _ in range(2)]
        os.write(gate_write, b"ab")
        answers = os.read(done_read, 1) + os.read(done_read, 1)
        os.write(over_write, b"c")
        codes = [os.waitpid(child, 0)[1] for child in children]
        for end in (gate_read, gate_write, done_read, done_write, over_read, over_write):
            os.close(end)
        assert sorted(answers) == sorted(b"yn")
        assert codes == [0, 0]


def test_a_dead_name_is_taken_over_and_readers_follow(name: str) -> None:
    pid = fork(lambda: write_for_ever(name))
    try:
        feed = attach(name, timeout=20)
        old = feed.header["generation"]
        book = feed.book(1, timeout=20)
        events = feed.events(timeout=20)
        assert len(next(events))
    finally:
        kill(pid)
    assert (book.state, book.reason) == (Quality.STALE, Reason.WRITER_DIED)
    with pytest.raises(WriterDiedError):
        attach(name)
    with pytest.raises(SegmentError, match="there is none; start its handler") as caught:
        attach("absent")
    assert name not in str(caught.value)
    segment, publisher = make(name)
    segment.directory["symbol"][1] = b"AAA"
    assert feed.status == "replaced"
    exercise.write(publisher, INSTRUMENTS, 0)
    with segment:
        book.snapshot()
        assert feed.header["generation"] > old
        assert feed.status == "running"
        assert sum(len(batch) for batch in feed.events(timeout=0, start="oldest")) == 256  # all that the ring holds
        assert (book.state, book.symbol) == (Quality.INIT, "")


def test_events_go_on_with_the_successor(name: str) -> None:
    first, writer = make(name)
    zeros = np.zeros(5, first.slots.dtype)
    with attach(name) as feed:
        events = feed.events(wait="spin", start="oldest", timeout=20)
        writer.append(zeros)
        assert len(next(events)) == 5
        writer.append(zeros)
        first.close(unlink=False)
        second, writer = make(name)
        writer.append(zeros[:3])
        assert [len(next(events)), len(next(events))] == [5, 3]
        second.close()
        assert list(events) == []


def test_stop_is_told_apart_from_death(name: str) -> None:
    segment, _ = make(name)
    feed = attach(name)
    book = feed.book(1, timeout=20)
    segment.close(unlink=False)
    assert (feed.status, book.state, book.reason) == ("stopped", Quality.INIT, Reason.STOPPED)
    assert list(feed.events()) == []
    with pytest.raises(SegmentError, match="has stopped"):
        attach(name)
    segment.close()  # twice is harmless


def test_absent_wrong_and_damaged_segments_are_one_clear_error_each(name: str, tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match="there is none; start its handler"):
        attach("absent", dir=tmp_path)
    with pytest.raises(SegmentError, match="no folder"):
        attach("absent", dir=tmp_path / "no")
    with pytest.raises(SegmentError, match="without '/'"):
        attach("../x")
    (tmp_path / "text").write_bytes(b"x" * 10_000)
    with pytest.raises(SegmentError, match="no segment of feedhandler"):
        attach("text", dir=tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(SegmentError, match="empty"):
        attach("empty", dir=tmp_path)
    segment, _ = make(name)
    with segment:
        with pytest.raises(SegmentError, match=rf"there is none; start its handler, or attach to one of: .*{name}"):
            attach("absent")
        with pytest.raises(SegmentError, match="does not exist; make it"):
            Segment.create("x", dir=tmp_path / "no", **SMALL)
        segment.header["layout_hash"] ^= 1
        with pytest.raises(LayoutError, match=r"has layout \d:[0-9a-f]{16}.* expects \d:[0-9a-f]{16}"):
            attach(name)
        segment.header["layout_hash"] ^= 1
        segment.table["offset"][4] = 1 << 62
        with pytest.raises(SegmentError, match="damaged: its part 4"):
            attach(name)


def test_too_little_space_names_what_is_needed_and_free(name: str, tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match=r"[\d,]+ bytes are needed, [\d,]+ are free in /dev/shm"):
        Segment.create(name, ring_events=1 << 30, shards=256)
    assert not (Path("/dev/shm") / f".{name}.new").exists()


def test_rights(name: str) -> None:
    with pytest.raises(SegmentError, match="no Unix group 'no-such-group'"):
        Segment.create(name, group="no-such-group", **SMALL)
    with Segment.create(name, mode=0o600, **SMALL):
        assert (Path("/dev/shm") / name).stat().st_mode & 0o777 == 0o600
        if os.geteuid() == 0:

            def attach_as_nobody() -> None:
                os.setuid(65534)
                with pytest.raises(SegmentError, match="mode is 0o600 and its group"):
                    attach(name)

            assert os.waitpid(fork(attach_as_nobody), 0)[1] == 0


def test_a_reader_that_writes_dies_itself_and_nobody_else_notices(name: str) -> None:
    segment, publisher = make(name)
    with segment:
        other = attach(name)
        code = f"""
import ctypes, feedhandler as fh, numpy as np
feed = fh.attach({name!r})
array = np.frombuffer(feed.reader.memory, np.uint8)
assert not array.flags.writeable
ctypes.memset(array.ctypes.data, 0, 8)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=Path(__file__).parent.parent)
        # AddressSanitizer catches the signal, says so and aborts
        died = signal.SIGABRT if "FEEDHANDLER_SANITIZE" in os.environ else signal.SIGSEGV
        assert done.returncode == -died, done.stderr
        publisher.append(np.zeros(1, segment.slots.dtype))
        assert (other.status, int(other.heads[0])) == ("running", 1)
        assert ctypes.c_uint64.from_buffer(segment.memory).value != 0


def test_the_lock_goes_with_close_though_arrays_still_hold_the_mapping(name: str) -> None:
    segment, _ = make(name)
    books = segment.books
    fd = os.open(segment.path or "", os.O_RDONLY)
    assert lock_held(fd)
    segment.close()
    assert not lock_held(fd)
    assert books.shape[0] == INSTRUMENTS
    os.close(fd)


def test_sleepers_are_woken(name: str) -> None:
    segment, publisher = make(name)
    with segment, attach(name) as feed:

        def sleep() -> None:
            for batch in attach(name).events(wait="futex", timeout=20, start=1):
                assert len(batch) == 1
                return

        pid = fork(sleep)
        with Waker(segment, wake_us=50):
            publisher.append(np.zeros(1, segment.slots.dtype))
            _until(lambda: int(feed.header["wakes"]) > 0)
            assert os.waitpid(pid, 0)[1] == 0
            assert feed.header["control_heartbeat"] > 0

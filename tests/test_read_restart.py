"""A handler that died and was started again, as its readers live through it; the writers are segments of this process.

tests/test_deaths.py does the same with real handlers and real signals.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import feedhandler as fh
from feedhandler._instruments import Instruments
from feedhandler.errors import LayoutError, WriterDiedError
from feedhandler.publish import Publisher, Segment
from feedhandler.publish._control import release_lock
from feedhandler.read import Feed, Strategy, attach
from feedhandler.records import BOOK, EVENT, LEVEL, Action, Flag, Quality, Reason
from tests.conftest import ROOT


@pytest.fixture
def name() -> Iterator[str]:
    name = f"fh-restart-{os.getpid()}-{time.monotonic_ns():x}"
    yield name
    for path in (Path("/dev/shm") / name, Path("/dev/shm") / f".{name}.new"):
        path.unlink(missing_ok=True)


class Writer:
    """A handler's end of a segment, with books that are LIVE."""

    def __init__(self, name: str, symbols: str, depth: int = 3, ring_events: int = 64, shards: int = 1) -> None:
        self.segment = Segment.create(name, depth=depth, instruments=8, ring_events=ring_events, shards=shards)
        self.publisher = Publisher(self.segment.memory)
        self.directory = Instruments(self.segment.directory, self.segment.symbols, self.segment.part("directory"))
        self.segment.channels["quality"], self.segment.channels["reason"] = Quality.LIVE, Reason.NONE
        for symbol in symbols.split():
            self.name(symbol)

    def name(self, symbol: str) -> int:
        """A new instrument of the directory, its book LIVE with one bid, its number as price."""
        number: int = self.directory.add(symbol, "XNAS")
        head = self.segment.books[number, : BOOK.itemsize].view(BOOK)[0]
        level = self.segment.books[number, BOOK.itemsize : BOOK.itemsize + LEVEL.itemsize].view(LEVEL)
        level[0] = (number, 1, 1, 0)
        head["quality"], head["reason"], head["bids"], head["seq"] = Quality.LIVE, Reason.NONE, 1, 2
        return number

    def events(self, *instruments: int, **fields: int) -> None:
        batch = np.zeros(len(instruments), EVENT)
        batch["instrument"], batch["flags"], batch["action"] = instruments, Flag.LAST, Action.ADD
        for field, value in fields.items():
            batch[field] = value
        self.publisher.append(batch)

    def die(self) -> None:
        """What kill -9 leaves: a header that says RUNNING, and a lock that nobody holds."""
        release_lock(self.segment._fd)


def test_events_go_on_with_the_handler_that_is_started_again(name: str) -> None:
    first = Writer(name, "AAPL MSFT")
    with attach(name) as feed:
        events = feed.events(["MSFT"], start="oldest", wait="spin", timeout=20)
        first.events(1, 2, 2)
        assert next(events)["seq"].tolist() == [2, 3]
        first.events(2, 1)
        first.die()
        assert next(events)["seq"].tolist() == [4]
        second = Writer(name, "MSFT AAPL IBM", depth=5)
        second.events(*[1, 2] * 50)
        batch = next(events)  # of another shape: depth and numbers differ, and 36 events are gone already
        assert (batch.restarted, batch.lost, len(batch)) == (True, 36, 32)
        assert set(batch["instrument"].tolist()) == {1}
        assert feed.reader.depth == 5
        second.events(2, 1)
        batch = next(events)
        assert (batch.restarted, batch.lost, batch["seq"].tolist()) == (False, 0, [102])
        second.die()
        third: list[Writer] = []

        def start() -> None:
            third.append(Writer(name, "IBM MSFT"))
            third[0].events(1, 2)

        threading.Timer(0.05, start).start()
        batch = next(events)  # waits for it
        assert (batch.restarted, batch.lost, batch["seq"].tolist()) == (True, 0, [2])
        third[0].segment.close()
        assert list(events) == []


def test_nobody_takes_the_place_of_a_dead_handler(name: str) -> None:
    writer = Writer(name, "AAPL")
    with attach(name) as feed:
        writer.die()
        with pytest.raises(WriterDiedError, match=r"died; all its whole events have been given out$"):
            list(feed.events(successor_timeout=0))
        with pytest.raises(WriterDiedError, match=r"nobody took its place within 0.02 s: segment .*is dead; start the"):
            list(feed.events(successor_timeout=0.02))
        with pytest.raises(WriterDiedError, match=r"nobody took its place within 0.02 s"):
            Strategy().run(feed, timeout=0.02)


def test_after_a_stop_in_good_order_readers_go_on_if_they_are_told_to(name: str) -> None:
    first = Writer(name, "AAPL")

    def again() -> None:
        second = Writer(name, "AAPL")
        diary.then["live AAPL"] = second.segment.close

    diary = Diary(live_AAPL=first.segment.close, STALE_AAPL_STOPPED=again)
    with attach(name) as feed, attach(name) as other:
        events = other.events(start="oldest", stay=True, successor_timeout=0.02)
        first.events(1)
        assert len(next(events)) == 1
        diary.run(feed, stay=True, successor_timeout=0.02)
        assert diary.log[-4:] == ["restart", "live AAPL", "STALE AAPL STOPPED", "stop"]
        assert list(events) == []


def test_a_successor_of_another_version_is_one_clear_error(name: str) -> None:
    writer = Writer(name, "AAPL")
    with attach(name) as feed:
        book = feed.book("AAPL")
        writer.die()
        successor = Writer(name, "AAPL")
        successor.segment.header["layout_hash"] ^= 1
        for look in (lambda: list(feed.events()), book.snapshot, lambda: Strategy().run(feed)):
            with pytest.raises(LayoutError, match="use the same version"):
                look()
        successor.segment.close()


def test_symbols_that_the_new_handler_names_later_lose_no_event(name: str) -> None:
    first = Writer(name, "AAPL MSFT")
    with attach(name) as feed:
        events = feed.events(["MSFT", "AAPL"], start="oldest", timeout=20)
        first.events(1)
        next(events)
        first.die()
        second = Writer(name, "IBM")
        second.events(1)  # not wanted, and the first of the new handler
        second.name("AAPL")
        second.events(1, 2)
        assert next(events)["seq"].tolist() == [3]
        second.name("QQQ")
        second.events(3, 1, 2)
        assert next(events)["seq"].tolist() == [6]
        second.name("MSFT")
        second.events(2, 3, 4)
        assert next(events)["seq"].tolist() == [7, 9]
        second.name("SPY")
        second.events(5, 4)
        assert next(events)["seq"].tolist() == [11]
        second.segment.close()


def test_books_go_on_by_name_whatever_the_new_shape(name: str) -> None:
    first = Writer(name, "AAPL MSFT IBM")
    with attach(name) as feed:
        apple, ibm = feed.book("AAPL"), feed.book("IBM")
        first.die()
        before = time.time_ns()
        assert (apple.state, apple.reason) == (Quality.STALE, Reason.WRITER_DIED)
        assert before - 10**9 < apple.since <= time.time_ns()
        assert apple.snapshot()[0]["price"].tolist() == [1, 0, 0]
        second = Writer(name, "MSFT AAPL", depth=5)
        assert apple.snapshot()[0]["price"].tolist() == [2, 0, 0, 0, 0]
        assert (apple.seen_state, apple.instrument) == (Quality.LIVE, 2)
        assert (ibm.state, ibm.reason) == (Quality.INIT, Reason.START)  # not named yet
        second.name("IBM")
        assert (ibm.state, ibm.top()[0]) == (Quality.LIVE, 3)
        second.segment.close()  # stopped in good order, its name removed
        assert (ibm.state, ibm.reason) == (Quality.STALE, Reason.STOPPED)
        third = Writer(name, "IBM")
        time.sleep(0.01)  # after a stop, the folder is looked at every 5 ms
        assert (ibm.state, ibm.top()[0]) == (Quality.LIVE, 1)
        third.segment.close()


class Diary(Strategy):
    """Writes down every call; after some of them the world changes."""

    def __init__(self, **then: Callable[[], object]) -> None:
        self.then, self.log = {key.replace("_", " ", 2): what for key, what in then.items()}, list[str]()

    def note(self, text: str) -> None:
        self.log.append(text)
        self.then.pop(text, lambda: None)()

    def on_start(self, feed: Feed) -> None:
        self.note("start")

    def on_restart(self, feed: Feed) -> None:
        self.note("restart")

    def on_stop(self, feed: Feed) -> None:
        self.note("stop")

    def on_book(self, book: fh.Book) -> None:
        self.note(f"book {book.symbol}")

    def on_trade(self, event: Any) -> None:
        self.note(f"trade {event['price']}")

    def on_stale(self, book: fh.Book, reason: Reason) -> None:
        self.note(f"{book.state.name} {book.symbol} {reason.name}")

    def on_live(self, book: fh.Book) -> None:
        self.note(f"live {book.symbol}")

    def on_overrun(self, lost: int) -> None:
        self.note(f"overrun {lost}")


def test_a_strategy_lives_through_death_and_restart(name: str) -> None:
    writers = [Writer(name, "AAPL IBM")]

    def killed() -> None:
        writers[0].events(1, action=Action.TRADE, price=7)
        writers[0].die()
        time.sleep(0.02)  # the writer's life is looked at once per tick of the kernel's timer

    def again() -> None:
        writers.append(Writer(name, "QQQ AAPL"))
        writers[1].segment.channels["quality"], writers[1].segment.channels["reason"] = Quality.RECOVERING, Reason.GAP
        writers[1].events(*[2] * 70)

    def recovered() -> None:
        writers[1].segment.channels["quality"], writers[1].segment.channels["reason"] = Quality.LIVE, Reason.NONE
        diary.then["live AAPL"] = lambda: diary.then.update({"book AAPL": writers[1].segment.close})
        writers[1].events(2)

    diary = Diary(
        live_IBM=killed,
        STALE_IBM_WRITER_DIED=again,
        RECOVERING_AAPL_GAP=recovered,
    )
    with attach(name) as feed:
        diary.run(feed, ["AAPL", "IBM"], timeout=20)
    text = " / ".join(diary.log)
    assert text == (
        "start / live AAPL / live IBM / STALE AAPL WRITER_DIED / trade 7 / book AAPL / STALE IBM WRITER_DIED / "
        "restart / INIT IBM START / overrun 6 / RECOVERING AAPL GAP / book AAPL / live AAPL / book AAPL / "
        "STALE AAPL STOPPED / stop"
    )


def test_a_strategy_hears_of_every_state_on_its_way_back(name: str) -> None:
    writer = Writer(name, "AAPL")
    channel = writer.segment.channels

    def word(quality: Quality, reason: Reason) -> Callable[[], None]:
        def store() -> None:
            channel["quality"], channel["reason"] = quality, reason

        return store

    diary = Diary(
        live_AAPL=word(Quality.RECOVERING, Reason.GAP),
        RECOVERING_AAPL_GAP=word(Quality.STALE, Reason.GAP),
        STALE_AAPL_GAP=word(Quality.STALE, Reason.SILENT),
        STALE_AAPL_SILENT=lambda: (word(Quality.LIVE, Reason.NONE)(), diary.then.update({"live AAPL": frozen})),
        STALE_AAPL_STOPPED=lambda: None,
    )

    def frozen() -> None:
        writer.publisher.heartbeat(time.monotonic_ns() - 4_000_000_000)
        diary.then["STALE AAPL SILENT"] = writer.segment.close

    with attach(name) as feed:
        diary.run(feed, timeout=20)
    assert diary.log[1:-1] == [
        "live AAPL",
        "RECOVERING AAPL GAP",
        "STALE AAPL GAP",
        "STALE AAPL SILENT",
        "live AAPL",
        "STALE AAPL SILENT",
        "STALE AAPL STOPPED",
    ]


def test_a_strategy_reads_several_shards_and_follows_them_to_one(name: str) -> None:
    first = Writer(name, "AAPL", shards=2)

    def second() -> None:
        first.die()
        writer = Writer(name, "AAPL")
        diary.then["book AAPL"] = writer.segment.close
        writer.events(1)

    diary = Diary(start=lambda: first.events(1), book_AAPL=second)
    with attach(name) as feed:
        diary.run(feed, timeout=20)
    assert [entry for entry in diary.log if "DIED" not in entry and "STOPPED" not in entry] == [
        "start",
        "live AAPL",
        "book AAPL",
        "restart",
        "live AAPL",
        "book AAPL",
        "stop",
    ]


def test_snapshot_fills_the_callers_array(name: str) -> None:
    writer = Writer(name, "AAPL MSFT", depth=3)
    with attach(name) as feed:
        book = feed.book("MSFT")
        for levels in (1, 3, 5):
            out = np.full((2, levels), 9, fh.LEVEL)
            assert book.snapshot(out=out) is out
            assert out["price"].tolist() == [[2] + [0] * (levels - 1), [0] * levels]
        read_only = np.empty((2, 3), fh.LEVEL)
        read_only.flags.writeable = False
        for wrong in (np.empty((3, 2), fh.LEVEL), np.empty(6, fh.LEVEL), np.empty((2, 3)), out[:, ::2], read_only):
            with pytest.raises(ValueError, match=r"like numpy.empty\(\(2, 3\), feedhandler.LEVEL\), not one of shape"):
                book.snapshot(out=wrong)
    writer.segment.close()


# Every allocation of Python's own goes through malloc with PYTHONMALLOC=malloc, so the preloaded counter sees it.
SNAPSHOTS = """
import ctypes, itertools, sys
import numpy as np
import feedhandler as fh
count = ctypes.CDLL(None).allocations_of_this_thread
with fh.attach(sys.argv[1]) as feed:
    snapshot, out = feed.book("AAPL").snapshot, np.empty((2, 3), fh.LEVEL)
    def filled():
        for _ in itertools.repeat(None, 1000):
            snapshot(out=out)
    def copied():
        for _ in itertools.repeat(None, 1000):
            snapshot()
    for work in (filled, copied):
        work()
        before = count()
        work()
        print(count() - before)
"""


@pytest.mark.skipif("FEEDHANDLER_ASAN" in os.environ, reason="AddressSanitizer has its own malloc")
def test_snapshot_into_an_array_allocates_nothing(name: str, tmp_path: Path) -> None:
    library = tmp_path / "count_allocations.so"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(
        [*compiler, "-O2", "-shared", "-fPIC", "-o", library, ROOT / "tests/count_allocations.c"], check=True
    )
    writer = Writer(name, "AAPL")
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}
    done = subprocess.run(
        [sys.executable, "-c", SNAPSHOTS, name], capture_output=True, text=True, cwd=ROOT, env=environment, check=True
    )
    filled, copied = map(int, done.stdout.split())
    assert filled < 10  # the loop's own few, not one a snapshot
    assert copied > 1000
    writer.segment.close()


def test_a_books_directory_entry_is_its_own_though_another_book_has_gone_on_before(name: str) -> None:
    first = Writer(name, "AAPL MSFT")
    with attach(name) as feed:
        apple, microsoft = feed.book("AAPL"), feed.book("MSFT")
        first.die()
        second = Writer(name, "MSFT IBM AAPL")
        assert apple.top() == (3, 1, None, None)  # it followed
        assert microsoft.instrument_record["symbol"] == b"MSFT"
        assert microsoft.top() == (1, 1, None, None)
        assert [book.instrument_record["symbol"] for book in (microsoft, apple)] == [b"MSFT", b"AAPL"]
        second.die()

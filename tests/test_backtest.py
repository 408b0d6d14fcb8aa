"""A recording gone through in one process: each event with the book right after it, the same every time."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_days import SIZES, day, with_a_gap
from test_recording_streams import BREAKS, broken_off
from typer.testing import CliRunner

import feedhandler as fh
from feedhandler import simulate
from feedhandler._witness import Caller
from feedhandler.capture_config import capture_config
from feedhandler.cli import app
from feedhandler.handler import Handler, open_capture, play
from feedhandler.receive import capture
from feedhandler.recording import Recording
from feedhandler.recording import books as book_snapshots
from feedhandler.records import BOOK, EVENT, Action, Flag, Quality, Reason
from feedhandler.rehearse._packets import PacketQueue
from feedhandler.research import Backtest

ROOT = Path(__file__).resolve().parent.parent


class Diary(fh.Strategy):
    """Notes all it sees, and the place of every other book meanwhile."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.calls: list[tuple[str, str, int]] = []
        self.overruns = 0

    def note(self, what: str, symbol: str, number: int, more: bytes = b"") -> None:
        self.calls.append((what, symbol, number))
        self.hash.update(f"{what} {symbol} {number} ".encode() + more)

    def on_start(self, feed: fh.Feed) -> None:
        self.feed = feed
        self.other = feed.book("AAPL")  # not named yet
        self.note("start", feed.name and "", 0)

    def on_stop(self, feed: fh.Feed) -> None:
        self.note("stop", "", 0)

    def on_book(self, book: fh.Book) -> None:
        bids, asks = book.snapshot()
        other = self.other.top(), self.other.event_seq
        self.note("book", book.symbol, book.seen_event_seq, bids.tobytes() + asks.tobytes() + repr(other).encode())

    def on_trade(self, event: Any) -> None:
        self.note("trade", self.feed.symbol(event["instrument"]), int(event["seq"]), event.tobytes())

    def on_status(self, event: Any) -> None:
        self.note("status", self.feed.symbol(event["instrument"]), int(event["seq"]), event.tobytes())

    def on_stale(self, book: fh.Book, reason: Reason) -> None:
        self.note(f"stale {reason.name}", book.symbol, book.event_seq, repr((book.since, book.state)).encode())

    def on_live(self, book: fh.Book) -> None:
        self.note("live", book.symbol, book.event_seq, repr((book.since, book.epoch)).encode())

    def on_overrun(self, lost: int) -> None:
        self.overruns += lost


def tables(handler: Handler) -> list[bytes]:
    segment = handler.segment
    used = int(segment.rings["head"][0]) + 1
    parts = (segment.slots[1:used], segment.books, segment.directory, segment.channels, segment.lines)
    return [part.tobytes() for part in parts]


@pytest.mark.parametrize("make", [day, with_a_gap])
def test_a_run_publishes_what_a_handler_that_turns_publishes(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path / "day.pcap")
    run = fh.backtest(path, channel_events=True, **SIZES)
    seen = list(run)
    with open_capture(path, **SIZES) as plain:
        assert play(plain) is None
        assert tables(plain) == tables(run.handler)
        assert plain.types == run.handler.types
        ring = plain.segment.slots[1 : int(plain.segment.rings["head"][0]) + 1]
        assert b"".join(event.tobytes() for event, _ in seen) == ring.tobytes()
    assert run.events == len(seen) == len(ring)
    assert all((book is None) == (event["instrument"] == 0) for event, book in seen)
    assert isinstance(seen[-2][0], np.void) and seen[-2][0].dtype == EVENT


def test_each_book_is_what_it_was_right_after_the_events_message(tmp_path: Path) -> None:
    path = with_a_gap(tmp_path / "day.pcap")
    expected: list[bytes] = []
    with open_capture(path, **SIZES) as handler:

        def saw(channel: int, events: np.ndarray, quality: int) -> None:
            for event in events[events["instrument"] != 0]:
                head, bids, asks = handler.book(int(event["instrument"]))
                worst = max(quality, int(head["quality"]))
                expected.append(repr((head["event_seq"], worst, bids.tolist(), asks.tolist())).encode())

        witness = Caller(saw)
        handler.shard.watch(witness)
        play(handler)
        assert witness.error is None
    run = fh.backtest(path, **SIZES)
    found = []
    for event, book in run:
        bids, asks = book.snapshot()
        used = [side[side["size"] > 0].tolist() for side in (bids, asks)]
        found.append(repr((np.uint64(book.seen_event_seq), int(book.seen_state), *used)).encode())
        assert book.seen_event_seq >= event["seq"] > book.seen_event_seq - 4
        assert run.feed.symbol(event["instrument"]) == book.symbol
    assert found == expected
    assert any(b", 2, [" in row for row in found), "the gap should have made some books stale"


def test_batches_hold_the_same_events_and_books(tmp_path: Path) -> None:
    path = with_a_gap(tmp_path / "day.pcap")
    single = [
        (event.tobytes(), *(side.tobytes() for side in book.snapshot())) for event, book in fh.backtest(path, **SIZES)
    ]
    for size in (1, 7, 100_000):
        rows = []
        for events, books in fh.backtest(path, **SIZES).batches(size):
            assert events.dtype == EVENT and books["head"].dtype == BOOK and len(events) == len(books) <= size
            assert (books["head"]["event_seq"] >= events["seq"]).all()
            rows += [
                (e.tobytes(), b["bids"].tobytes(), b["asks"].tobytes()) for e, b in zip(events, books, strict=True)
            ]
        assert rows == single
    ((events, books),) = fh.backtest(path, **SIZES).batches(100_000, depth=2)
    assert books["bids"].shape == (len(single), 2)
    assert [side[:48] for _, side, _ in single] == [row.tobytes() for row in books["bids"]]
    with pytest.raises(ValueError, match="depth 1 to 10: not 5, 11"):
        next(fh.backtest(path, **SIZES).batches(5, depth=11))


def copies(folder: Path) -> list[Path]:
    """The same packets as files of several kinds."""
    return [with_a_gap(folder / name) for name in ("day.pcap", "day.pcapng", "day.pcap.gz", "day.pcapng.zst")]


def queued(path: Path) -> Handler:
    """A handler whose packets come from memory, a few at a time."""
    config, first = capture_config(path, **SIZES)
    targets = [(line.group, line.port) for line in config.channels[0].lines]

    queue = PacketQueue(len(targets))
    for ts, target, payload in list(capture.read(path))[:60]:
        queue.put(targets.index(target), ts, payload)
    return Handler(config, receiver=queue, first_packet=first, anonymous=True)


def test_what_a_strategy_sees_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    hashes = set()
    for path in [*copies(tmp_path), tmp_path / "day.pcap"]:
        diary = Diary()
        fh.backtest(path, strategy=diary, **SIZES)
        hashes.add(diary.hash.hexdigest())
        assert diary.calls[0][0] == "start" and diary.calls[-1][0] == "stop"
        assert len(diary.calls) > 2000 and diary.overruns == 0
    assert len(hashes) == 1


def test_it_is_the_same_whichever_receiver_brings_the_packets(tmp_path: Path) -> None:
    path = day(tmp_path / "day.pcap", messages=600)
    diaries = [Diary(), Diary()]
    head = list(capture.read(path))[:60]
    cut = tmp_path / "cut.pcap"
    with capture.PcapWriter(cut) as writer:
        for ts, target, payload in head:
            writer.write(ts, payload, target)
    diaries[0].run(fh.backtest(cut, **SIZES))
    diaries[1].run(Backtest(lambda: queued(path)))
    assert diaries[0].calls == diaries[1].calls != []


def test_a_strategy_is_told_of_states_before_books_and_of_a_gap_at_once(tmp_path: Path) -> None:
    diary = Diary()
    diary.run(fh.backtest(with_a_gap(tmp_path / "day.pcap"), ["AAPL", "AMZN"], **SIZES))
    assert {symbol for _, symbol, _ in diary.calls} == {"", "AAPL", "AMZN"}
    first = {symbol: next(what for what, s, _ in diary.calls if s == symbol) for symbol in ("AAPL", "AMZN")}
    assert first == {"AAPL": "live", "AMZN": "live"}
    stale = [(what, symbol) for what, symbol, _ in diary.calls if what.startswith("stale")]
    assert stale[:2] == [("stale GAP", "AAPL"), ("stale GAP", "AMZN")]  # later: orders that the gap swallowed
    kinds = {what.split()[0] for what, *_ in diary.calls}
    assert kinds == {"start", "live", "stale", "book", "trade", "status", "stop"}
    assert [number for what, _, number in diary.calls if what == "book"] == sorted(
        {number for what, _, number in diary.calls if what == "book"}
    )


def test_only_what_a_strategy_overrides_is_called_and_stop_ends_it(tmp_path: Path) -> None:
    path = day(tmp_path / "day.pcap")

    class Trades(fh.Strategy):
        symbols = "MSFT"
        seen = 0
        stopped = 0

        def on_trade(self, event: Any) -> None:
            assert event["action"] == Action.TRADE and not event["flags"] & Flag.STALE
            self.seen += 1
            if self.seen == 3:
                self.stop()

        def on_stop(self, feed: fh.Feed) -> None:
            self.stopped += 1

    trades = Trades()
    run = fh.backtest(path, strategy=trades, **SIZES)
    assert (trades.seen, trades.stopped) == (3, 1)
    assert 3 < run.events < sum(event["action"] > 0 for event, _ in fh.backtest(path, "MSFT", **SIZES))

    class Broken(fh.Strategy):
        def on_book(self, book: fh.Book) -> None:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fh.backtest(path, strategy=Broken(), **SIZES)


def test_symbols_are_names_and_a_wrong_one_is_told_of_at_the_end(tmp_path: Path) -> None:
    path = day(tmp_path / "day.pcap", messages=500)
    alone = [event.tobytes() for event, book in fh.backtest(path, [("AMZN", "XNAS")], **SIZES) if book.symbol == "AMZN"]
    assert alone and alone == [event.tobytes() for event, _ in fh.backtest(path, b"AMZN", **SIZES)]
    with pytest.raises(fh.UnknownSymbolError, match=r"no 'AMZ' among the 4 instruments .*; the nearest are AMZN"):
        list(fh.backtest(path, "AMZ", **SIZES))
    with pytest.warns(UserWarning, match="no 'AMZ' among"):
        assert len(list(fh.backtest(path, ["AMZ", "AMZN"], **SIZES))) == len(alone)
    for wrong in (3, [3]):
        with pytest.raises(TypeError, match="not 3: a recording's numbers are its own"):
            list(fh.backtest(path, wrong, **SIZES))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give an object of a Strategy class"):
        fh.backtest(path, strategy=Diary)  # type: ignore[arg-type]
    run = fh.backtest(path, **SIZES)
    with pytest.raises(fh.ConfigError, match="has not begun"):
        _ = run.feed
    next(iter(run))
    with pytest.raises(fh.FeedError, match=r"not by events\(\)"):
        run.feed.events()


def test_a_run_begins_anew_and_books_are_those_of_its_place(tmp_path: Path) -> None:
    run = fh.backtest(day(tmp_path / "day.pcap"), "AMZN", **SIZES)
    first = None
    for n, (event, book) in enumerate(run):
        other = run.book("AAPL")
        assert other.event_seq < event["seq"]  # nothing of what comes later has happened yet
        if n == 500:
            first = event.tobytes(), book.top(), other.top()
            break
    for n, (event, book) in enumerate(run):
        if n == 500:
            assert first == (event.tobytes(), book.top(), run.book("AAPL").top())
    assert run.book("AMZN").state == Quality.LIVE
    with pytest.raises(fh.UnknownSymbolError):
        run.feed.book(99)


def test_a_damaged_recording_gives_all_before_the_damage_and_then_says_so(tmp_path: Path) -> None:
    path = day(tmp_path / "day.pcap", messages=1000)
    whole = len(list(fh.backtest(path, **SIZES)))
    path.write_bytes(path.read_bytes()[:-2000])
    seen = 0
    with pytest.raises(fh.CaptureError, match="the file ends in the middle"):
        for _ in fh.backtest(path, **SIZES):
            seen += 1
    assert whole - 100 < seen < whole
    with fh.backtest(path, strict=False, **SIZES) as run:
        assert len(list(run)) == seen
    assert "ends in the middle" in str(run.error)


@pytest.mark.real_data
def test_level_feeds_and_whole_files_of_messages(shared_data: Path) -> None:
    diary = Diary()
    run = fh.backtest(shared_data / "iex" / "DEEP10-20170425-12-sessions.pcap.gz", strict=False, orders=10)
    diary.run(run, ["ZIEXT", "SPY"])
    assert {symbol for _, symbol, _ in diary.calls} >= {"SPY"}
    events = list(fh.backtest(shared_data / "itch50" / "nasdaq-day-first-1000.itch"))
    assert events == [] or {book.symbol for _, book in events}


def test_the_example_runs_on_a_recording(tmp_path: Path) -> None:
    path = day(tmp_path / "day.pcap")
    command = [sys.executable, "examples/backtest.py", str(path), "MSFT"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"MSFT: \d{3} books, \d{3,} shares traded, \d+ deals, [+-]\d+\.\d\d dollars", first)
    assert re.fullmatch(r"MSFT: the widest spread was \d+\.\d{4}", second)
    command[-1] = "MSFX"
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("there is no 'MSFX' among the 4 instruments")


def test_top_says_how_a_recording_is_looked_at(tmp_path: Path) -> None:
    path = day(tmp_path / "day.pcap", messages=500)
    done = CliRunner().invoke(app, ["top", str(path)])
    assert done.exit_code == 1 and isinstance(done.exception, fh.SegmentError)
    assert f"`feedhandler replay {path} --name day`, then `feedhandler top day`" in str(done.exception)


def test_a_part_of_a_day_begins_with_the_right_books(tmp_path: Path) -> None:
    path = day(tmp_path / "day.pcap")
    whole = [(event.tobytes(), book.top()) for event, book in fh.backtest(path, "AAPL", **SIZES)]
    times = [int(event["ts_recv"]) for event, _ in fh.backtest(path, "AAPL", **SIZES)]
    first = Recording(path).first_ts
    for start, end in (("+10s", "+20s"), (first + 10 * 10**9, first + 20 * 10**9), ("+20s", None), (None, "+1s")):
        bounds = [first + int(w[1:-1]) * 10**9 if isinstance(w, str) else w for w in (start, end)]
        inside = [row for row, ts in zip(whole, times, strict=True) if (bounds[0] or 0) <= ts < (bounds[1] or 2**63)]
        part = fh.backtest(path, "AAPL", start=start, end=end, **SIZES)
        assert [(event.tobytes(), book.top()) for event, book in part] == inside
        assert 5 < len(inside) < len(whole)
    diary = Diary()
    fh.backtest(path, "AAPL", start="+10s", strategy=diary, **SIZES)
    assert [what for what, *_ in diary.calls[:3]] == ["start", "live", "book"]  # what holds at the start is said first
    with pytest.raises(fh.RecordingError, match="expected"):
        fh.backtest(path, start="noon")


def test_a_part_of_a_day_begins_with_its_latest_book_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = day(tmp_path / "day.pcap")

    def seen() -> tuple[list[Any], list[Any]]:
        run = fh.backtest(path, "AMZN", start="+20s", depth=5, **SIZES)
        rows = [(e.tobytes()[8:], book.top()) for e, book in run]
        diary = Diary()
        fh.backtest(path, ["AMZN", "NVDA"], start="+20s", strategy=diary, **SIZES)
        return rows, [call[:2] for call in diary.calls]

    restored: list[int] = []
    restore = book_snapshots.restore
    monkeypatch.setattr(book_snapshots, "restore", lambda *what: restored.append(restore(*what)))
    played = seen()
    sizes = {name: SIZES[name] for name in ("orders", "instruments")}
    book_snapshots.Keeper(Recording(path), 4.0, **sizes).run()
    assert seen() == played and len(played[0]) > 100
    assert len(restored) == 2 and min(restored) > Recording(path).find("+10s")


def test_several_days_follow_each_other(tmp_path: Path) -> None:
    paths = [tmp_path / "one.pcap", tmp_path / "two.pcap"]
    for path, session, date in zip(
        paths, ("MON", "TUE"), (datetime.date(2026, 1, 5), datetime.date(2026, 1, 6)), strict=True
    ):
        exchange = simulate.Exchange(symbols=4, messages=800, seed=len(session), duration_s=10.0)
        simulate.write(path, exchange, session=session, date=date)
    single = [[(e["ts_event"], e["price"]) for e, _ in fh.backtest(path, "MSFT", **SIZES)] for path in paths]
    run = fh.backtest(reversed(paths), "MSFT", channel_events=True, **SIZES)
    both = list(run)
    assert [(e["ts_event"], e["price"]) for e, book in both if book is not None] == single[0] + single[1]
    assert sum(e["action"] == Action.RESET for e, book in both if book is None) == 2


def test_files_without_times_are_cut_by_the_exchanges_clock(tmp_path: Path) -> None:
    path = tmp_path / "day.itch"
    simulate.write(path, simulate.Exchange(symbols=4, messages=800, seed=1))
    noon = list(fh.backtest(path, start="12:00", end="13:00", protocol="itch50", **SIZES))
    hours = {int(event["ts_event"]) // 3_600_000_000_000 for event, _ in noon}
    assert hours == {12}
    dated = list(
        fh.backtest(path, start="12:00", end="13:00", protocol="itch50", day=datetime.date(2026, 1, 5), **SIZES)
    )
    assert len(dated) == len(noon) > 5
    with pytest.raises(fh.RecordingError, match="name one of the exchange's day"):
        fh.backtest(path, start="+5s", protocol="itch50")


@pytest.mark.parametrize("how", BREAKS)
def test_streams_are_followed_from_connection_to_connection(tmp_path: Path, how: str) -> None:
    """A connection that ended takes its line down; the next begins with whole messages: as in a shard that turns."""
    path = broken_off(tmp_path / "x.pcap", how)
    run = fh.backtest(path, strict=False, **SIZES)
    list(run)
    with open_capture(path, **SIZES) as plain:
        play(plain)
        assert plain.types == run.handler.types
        assert tables(plain) == tables(run.handler)

"""What a reader is told: books by symbol, the worst of three states, events in batches, exact overruns, strategies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import feedhandler as fh
from feedhandler._instruments import Instruments
from feedhandler.errors import UnknownSymbolError
from feedhandler.publish import Publisher, Segment
from feedhandler.read import Feed, Strategy, attach_local
from feedhandler.read._reader import Cursor
from feedhandler.records import BOOK, EVENT, LEVEL, Action, Flag, Quality, Reason, Trading

NAMES = (("AAPL", "XNAS"), ("MSFT", "XNAS"), ("AAPL", "IEXG"))


class Market:
    """A segment whose books a test writes by hand."""

    def __init__(self, ring_events: int = 64, shards: int = 1) -> None:
        self.segment = Segment.anonymous(depth=3, instruments=8, ring_events=ring_events, shards=shards)
        self.publisher = Publisher(self.segment.memory)
        directory = Instruments(self.segment.directory, self.segment.symbols, self.segment.part("directory"))
        for symbol, venue in NAMES:
            directory.add(symbol, venue)
        self.segment.channels["quality"] = Quality.LIVE
        self.feed = attach_local(self.segment)

    def head(self, instrument: int) -> Any:
        return self.segment.books[instrument, : BOOK.itemsize].view(BOOK)[0]

    def book(self, instrument: int, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]]) -> None:
        head = self.head(instrument)
        head["quality"], head["reason"] = Quality.LIVE, Reason.NONE
        head["bids"], head["asks"] = len(bids), len(asks)
        head["seq"] += 2
        stride = int(self.segment.header["side_stride"])
        for side, levels in enumerate((bids, asks)):
            at = BOOK.itemsize + side * stride
            rows = self.segment.books[instrument, at : at + 3 * LEVEL.itemsize].view(LEVEL)
            for i, (price, size) in enumerate(levels):
                rows[i] = (price, size, 1, 0)

    def events(self, *instruments: int, **fields: int) -> int:
        batch = np.zeros(len(instruments), EVENT)
        batch["instrument"] = instruments
        for name, value in fields.items():
            batch[name] = value
        return self.publisher.append(batch)


def test_a_book_by_symbol() -> None:
    market = Market()
    market.book(2, [(100, 5), (99, 7)], [(101, 2)])
    book = market.feed.book("MSFT")
    bids, asks = book.snapshot()
    assert (bids.dtype, bids.shape, asks.shape) == (fh.LEVEL, (3,), (3,))
    assert bids[["price", "size"]].tolist() == [(100, 5), (99, 7), (0, 0)]
    assert asks[["price", "size"]].tolist() == [(101, 2), (0, 0), (0, 0)]
    assert book.top() == (100, 5, 101, 2)
    assert (book.state, book.quality, book.reason) == (Quality.LIVE, Quality.LIVE, Reason.NONE)
    assert (book.seen_state, book.trading, book.last_trade) == (Quality.LIVE, Trading.UNKNOWN, None)
    bids["price"] = 0  # the caller's own
    assert book.top() == (100, 5, 101, 2)
    market.book(2, [], [(101, 2)])
    assert book.top() == (None, None, 101, 2)
    assert market.feed.symbols == ["AAPL", "MSFT", "AAPL"]
    assert market.feed.instruments["symbol"].tolist() == [b"", b"AAPL", b"MSFT", b"AAPL"]


def test_what_was_seen_with_a_snapshot_stays_when_the_book_moves_on() -> None:
    """Asking what is true now does not make levels of a STALE moment look LIVE."""
    market = Market()
    market.book(2, [(100, 5)], [])
    head = market.head(2)
    head["quality"], head["reason"], head["channel_seq"] = Quality.STALE, Reason.GAP, 7
    book = market.feed.book("MSFT")
    assert (book.seen_state, book.state) == (Quality.INIT, Quality.STALE), "nothing was seen yet"
    book.snapshot()
    head["quality"], head["reason"], head["channel_seq"] = Quality.LIVE, Reason.NONE, 8
    assert (book.state, book.reason, book.channel_seq) == (Quality.LIVE, Reason.NONE, 8)
    assert (book.seen_state, book.seen_reason, book.seen_channel_seq) == (Quality.STALE, Reason.GAP, 7)
    assert "whole to 8" in repr(book)
    book.top()
    assert (book.seen_state, book.seen_channel_seq) == (Quality.LIVE, 8)


def test_symbols_absent_or_ambiguous_are_one_clear_error() -> None:
    feed = Market().feed
    with pytest.raises(UnknownSymbolError, match="'AAPL' is on 2 venues, XNAS and IEXG: say which with venue='XNAS'"):
        feed.book("AAPL")
    assert feed.book("AAPL", venue="IEXG").instrument == 3
    with pytest.raises(UnknownSymbolError, match=r"no 'MSTF' among the 3 instruments.*nearest are MSFT"):
        feed.book("MSTF")
    with pytest.raises(UnknownSymbolError, match="no 'MSFT' on IEXG"):
        feed.book("MSFT", venue="IEXG")
    for wrong in ("", "x" * 40, "Ä"):
        with pytest.raises(UnknownSymbolError):
            feed.book(wrong)


@given(st.sampled_from(Quality), st.sampled_from(Quality))
def test_state_is_the_worst_of_book_and_channel(book: Quality, channel: Quality) -> None:
    market = Market()
    market.book(2, [], [])
    head = market.head(2)
    head["quality"], head["reason"] = book, Reason.FULL
    market.segment.channels["quality"], market.segment.channels["reason"] = channel, Reason.GAP
    seen = market.feed.book("MSFT")
    assert seen.state == max(book, channel)
    assert seen.reason == (Reason.GAP if channel > book else Reason.FULL)


def test_a_stopped_writer_makes_every_book_stale() -> None:
    market = Market()
    market.book(2, [(100, 5)], [])
    book = market.feed.book("MSFT")
    market.segment.close()
    bids, _ = book.snapshot()
    assert bids["price"][0] == 100
    assert (book.seen_state, book.seen_reason) == (Quality.STALE, Reason.STOPPED)


@given(
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=30),
    wanted=st.none() | st.sets(st.integers(1, 7)),
)
def test_overruns_are_counted_exactly(steps: list[tuple[int, int]], wanted: set[int] | None) -> None:
    """Against the plain model: a ring of 16 holds the last 16; what is older was lost."""
    market = Market(ring_events=16)
    cursor = Cursor(market.feed.reader, 0, "now", wanted, 12)
    written, position = 0, 1
    for write, read in steps:
        if write:
            written = market.events(*((written + i) % 8 for i in range(write)))
        if not read:
            continue
        lost = max(0, written - 15 - position)
        position += lost
        expected = []
        while position <= written and len(expected) < 12:
            if wanted is None or (position - 1) % 8 in wanted | {0}:
                expected.append(position)
            position += 1
        # events that nobody wanted behind the last one may be passed now or later
        batch = cursor.take(1, 1, 0)
        if batch is None:
            assert expected == []
        else:
            assert batch["seq"].tolist() == expected
        position = cursor.position
    batches = []
    while (batch := cursor.take(1, 1, 0)) is not None:
        batches.append(batch)
    assert cursor.position == written + 1
    assert all((np.diff(batch["seq"].astype(int)) > 0).all() for batch in batches)


@given(st.lists(st.integers(0, 60), max_size=20), st.integers(1, 40))
def test_every_event_is_handed_out_or_counted_as_lost(writes: list[int], capacity: int) -> None:
    market = Market(ring_events=16)
    cursor = Cursor(market.feed.reader, 0, "now", None, capacity)
    taken = told = 0
    for write in writes:
        market.events(*[1] * write)
        batch = cursor.take(1, 1, 0)
        if batch is not None:
            taken, told = taken + len(batch), told + batch.lost
            assert int(batch["seq"][-1]) == taken + told
    assert (told, taken + told) == (cursor.lost, cursor.position - 1)


def test_views_say_how_much_of_them_is_left() -> None:
    market = Market(ring_events=16)
    events = market.feed.events(copy=False, timeout=0, start="oldest")
    market.events(*range(1, 8))
    batch = next(events)
    assert (batch["seq"].tolist(), batch.intact()) == ([1, 2, 3, 4, 5, 6, 7], 7)
    assert not batch.flags.writeable
    with pytest.raises(ValueError, match="not a part of it"):
        batch[2:].intact()
    market.events(*[1] * 12)  # 8 to 19: numbers 1, 2, 3 are gone
    assert batch.intact() == 4
    assert next(events)["seq"].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]  # as far as the ring's end
    assert next(events)["seq"].tolist() == [16, 17, 18, 19]
    with pytest.raises(ValueError, match="not with symbols"):
        next(market.feed.events(["MSFT"], copy=False))


def test_filtered_events_keep_those_of_the_whole_channel() -> None:
    market = Market()
    market.events(1, 2, 3, 0, 2)
    batches = list(market.feed.events(["MSFT"], timeout=0, start="oldest"))
    assert [batch["seq"].tolist() for batch in batches] == [[2, 4, 5]]
    with pytest.raises(ValueError, match="wait must be one of spin, sleep, futex"):
        next(market.feed.events(wait="doze"))


def test_shards_are_merged_by_time_of_receipt() -> None:
    market = Market(shards=2)
    other = Publisher(market.segment.memory, 1)
    batch = np.zeros(3, EVENT)
    batch["ts_recv"] = (1, 5, 9)
    market.publisher.append(batch)
    batch["ts_recv"] = (2, 5, 8)
    batch["line"] = 1
    other.append(batch)
    (merged,) = market.feed.events(timeout=0, start="oldest")
    assert list(zip(merged["ts_recv"].tolist(), merged["line"].tolist(), strict=True)) == [
        (1, 0),
        (2, 1),
        (5, 0),
        (5, 1),
        (8, 1),
        (9, 0),
    ]


class Diary(Strategy):
    """Writes down every call."""

    def __init__(self, market: Market, days: list[Any]) -> None:
        self.market, self.days, self.log = market, days, []  # type: ignore[var-annotated]

    def on_start(self, feed: Feed) -> None:
        self.log.append("start")
        self.next()

    def on_stop(self, feed: Feed) -> None:
        self.log.append("stop")

    def on_book(self, book: fh.Book) -> None:
        self.log.append(f"book {book.symbol}")
        self.next()

    def on_trade(self, event: Any) -> None:
        self.log.append(f"trade {event['price']}")

    def on_status(self, event: Any) -> None:
        self.log.append(f"status {event['size']}")

    def on_stale(self, book: fh.Book, reason: Reason) -> None:
        self.log.append(f"stale {book.symbol} {reason.name}")
        self.next()

    def on_live(self, book: fh.Book) -> None:
        self.log.append(f"live {book.symbol}")

    def on_overrun(self, lost: int) -> None:
        self.log.append(f"overrun {lost}")

    def next(self) -> None:
        if self.days:
            self.days.pop(0)()


def test_a_strategy_hears_of_everything_in_order() -> None:
    market = Market()
    last = int(Flag.LAST)

    def trading() -> None:
        market.book(2, [(100, 1)], [])
        market.events(2, action=Action.STATUS, size=Trading.TRADING, flags=last)
        market.events(2, 2, action=Action.TRADE, price=100, flags=last)

    def gap() -> None:
        market.segment.channels["reason"] = Reason.GAP
        market.segment.channels["quality"] = Quality.STALE

    def flood() -> None:
        market.segment.channels["quality"] = Quality.LIVE
        market.events(*[2] * 100, flags=last)

    def end() -> None:
        market.segment.close()

    diary = Diary(market, [trading, gap, flood, end])
    diary.run(market.feed, ["MSFT"], timeout=20)
    text = " / ".join(diary.log)
    assert text == (
        "start / live MSFT / status 2 / trade 100 / trade 100 / book MSFT / stale MSFT GAP / overrun 36 / live MSFT / "
        "book MSFT / stale MSFT STOPPED / stop"
    )


def test_a_strategy_can_stop_itself() -> None:
    market = Market()
    diary = Diary(market, [])
    diary.days = [lambda: diary.stop()]
    diary.run(market.feed)
    assert diary.log == ["start", "stop"]


def test_a_symbol_is_what_people_and_numpy_call_one() -> None:
    feed = Market().feed
    two = np.uint32(2)
    assert feed.book(two).symbol == feed.book(b"MSFT").symbol == feed.symbol(two) == "MSFT"  # type: ignore[arg-type]
    assert feed.symbol(0) == ""  # a whole channel's
    for wrong in (None, 2.0):
        with pytest.raises(TypeError, match="a symbol or an instrument number is needed, not"):
            feed.book(wrong)  # type: ignore[arg-type]
    for number in (4, -1):
        with pytest.raises(UnknownSymbolError, match=f"there is no {number}"):
            feed.symbol(number)


def test_one_symbol_stands_for_itself_not_for_its_letters() -> None:
    market = Market()
    market.events(1, 2, 3, 2)
    for symbols in ("MSFT", b"MSFT", 2, ["MSFT"], (name for name in ["MSFT"])):
        (batch,) = market.feed.events(symbols, start=1, timeout=0)
        assert batch["instrument"].tolist() == [2, 2]


def test_where_and_how_events_begin_may_come_from_numpy_and_is_checked() -> None:
    market = Market()
    market.events(1, 2, 3)
    (batch,) = market.feed.events(start=np.uint64(2), timeout=0)  # type: ignore[arg-type]
    assert batch["instrument"].tolist() == [2, 3]
    for wrong in (0, -1, 1 << 70, 1.5, "first", None):
        with pytest.raises(ValueError, match="start must be"):
            list(market.feed.events(start=wrong, timeout=0))  # type: ignore[arg-type]
    for wrong in (0, 10**12):
        with pytest.raises(ValueError, match="batch must be"):
            list(market.feed.events(batch=wrong, timeout=0))
    for interval in (-1.0, "100", float("nan")):
        with pytest.raises(ValueError, match="sleep_us must be"):
            list(market.feed.events(sleep_us=interval, timeout=0))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="sleep_us must be"):
            Strategy().run(market.feed, sleep_us=interval)  # type: ignore[arg-type]


def test_a_name_that_is_none_is_refused() -> None:
    for wrong in (None, 5, "", "a/b", ".x", "x" * 64):
        with pytest.raises(fh.SegmentError, match="segment name"):
            fh.attach(wrong)  # type: ignore[arg-type]

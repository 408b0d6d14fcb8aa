"""LevelBook equals a plain dict of prices, seen only where an event is LAST."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_book import ASK, BID, INSTRUMENTS, event, records

from feedhandler.book import LevelBook
from feedhandler.records import PRICE_NONE, Flag, Quality, Reason, Trading, slot_stride

EDGES = [0, -1, 2**63 - 1, -(2**63) + 1, 10**15]


def make(depth: int = 10, **options: Any) -> LevelBook:
    return LevelBook(np.zeros(INSTRUMENTS * slot_stride(depth), np.uint8), depth=depth, **options)


@st.composite
def updates(draw: st.DrawFn) -> dict[str, Any]:
    return event(
        draw(st.sampled_from("MMMMMMMMMTSRN")),
        instrument=draw(st.sampled_from([0, 1, 1, 2, 3, 9])),
        side=draw(st.sampled_from([BID, ASK])),
        price=draw(st.one_of(st.integers(-3, 12), st.sampled_from(EDGES))),
        size=draw(st.sampled_from([0, 0, 1, 2, 5, 2**64 - 1])),
        flags=draw(st.sampled_from([0, int(Flag.LAST)])),
        ts_recv=draw(st.integers(0, 2**50)),
        channel_seq=draw(st.integers(0, 2**50)),
    )


@given(st.lists(updates(), max_size=80), st.sampled_from([1, 2, 3, 10, 64]))
@settings(deadline=None)
def test_level_book_is_a_dict_of_prices(stream: list[dict[str, Any]], depth: int) -> None:
    books = make(depth)
    private: dict[int, dict[int, dict[int, int]]] = {i: {BID: {}, ASK: {}} for i in range(1, INSTRUMENTS)}
    seen: dict[int, list[list[tuple[int, int]]]] = {i: [[], []] for i in private}
    stamps = dict.fromkeys(private, 0)
    epochs = dict.fromkeys(private, 0)
    half: set[int] = set()

    def best(number: int, side: int) -> list[tuple[int, int]]:
        return sorted(private[number][side].items(), reverse=side == BID)

    for position, update in enumerate(stream, 1):
        number, side = update["instrument"], update["side"]
        tob = False
        if update["action"] == ord("R") and number in (0, 1, 2, 3):
            for i in [number] if number else list(private):
                tob |= number > 0 and any(private[i].values())
                private[i], seen[i] = {BID: {}, ASK: {}}, [[], []]
                half.discard(i)
                epochs[i] += 1
                stamps[i] = position if not number else stamps[i]
        elif update["action"] == ord("M") and number in private:
            before = best(number, side)[:1]
            (half.discard if update["flags"] else half.add)(number)
            private[number][side][update["price"]] = update["size"]
            if not update["size"]:
                del private[number][side][update["price"]]
            tob = best(number, side)[:1] != before
        elif update["action"] == ord("S") and number == 0 and update["size"] == Trading.PRE_OPEN and position == 1:
            stamps = dict.fromkeys(private, position)
        filled = records([update])
        books.apply_events(filled, position)
        assert bool(filled["flags"][0] & Flag.TOB) == tob
        assert bool(filled["flags"][0] & Flag.LAST) == (update["flags"] != 0 and number not in half)
        if update["flags"] and number in private and number not in half:
            seen[number], stamps[number] = [best(number, side)[:depth] for side in (BID, ASK)], position
        for i in private:
            head, bids, asks = books.book(i)
            assert [bids[["price", "size"]].tolist(), asks[["price", "size"]].tolist()] == seen[i]
            assert head["seq"] % 2 == 0
            assert head["epoch"] == epochs[i]
            if update["action"] != ord("S"):
                assert head["event_seq"] >= stamps[i]


def test_trades_and_status_wait_for_last_too() -> None:
    books = make()
    half = {"instrument": 2, "flags": 0}
    books.apply_events(records([event("T", price=7, size=3, **half), event("S", size=Trading.TRADING, **half)]))
    assert books.trades(2) == (PRICE_NONE, 0, 0, 0)
    assert books.book(2)[0]["trading"] == Trading.UNKNOWN
    books.apply_events(records([event("M", instrument=2, side=BID, price=5, size=1, channel_seq=44)]), 3)
    head, bids, _ = books.book(2)
    assert books.trades(2) == (7, 3, 3, 1)
    assert [int(head[n]) for n in ("trading", "quality", "channel_seq", "event_seq")] == [2, Quality.LIVE, 44, 3]
    assert bids["orders"].tolist() == [0]


def test_a_trade_amid_the_updates_it_makes_shows_no_book_that_never_stood() -> None:
    """A sweep of two levels with its trade reports: trades carry LAST, but only the last update ends the event."""
    books = make()
    books.apply_events(records([event("M", side=ASK, price=p, size=1) for p in (5, 6, 7)]))
    sweep = records(
        [
            event("M", side=ASK, price=5, size=0, flags=0),
            event("T", price=5, size=1),
            event("S", size=Trading.TRADING),
            event("M", side=ASK, price=6, size=0),
        ]
    )
    books.apply_events(sweep[:3], 4)
    assert books.book(1)[2]["price"].tolist() == [5, 6, 7]
    assert [int(books.book(1)[0]["event_seq"]), int(sweep["flags"][1])] == [3, 0]
    books.apply_events(sweep[3:], 7)
    head, _, asks = books.book(1)
    assert (asks["price"].tolist(), int(head["trading"]), books.trades(1)[0]) == ([7], Trading.TRADING, 5)
    books.apply_events(records([event("M", side=ASK, price=7, size=0, flags=0), event("R", instrument=0), event("T")]))
    assert books.book(1)[0]["event_seq"] == 3  # a new session leaves nothing half done


def test_two_statuses_wait_for_last_and_the_worse_is_shown() -> None:
    books = make()
    venue = {"flags": int(Flag.LAST | Flag.VENUE)}
    books.apply_events(records([event("S", size=Trading.HALTED), event("S", size=Trading.TRADING, **venue)]))
    assert [int(books.book(1)[0][n]) for n in ("trading", "security", "venue")] == [Trading.HALTED, Trading.HALTED, 0]


def test_a_feed_of_levels_knows_no_orders() -> None:
    books = make()
    books.apply_events(records([event("A", 1, side=BID, price=5, size=1)]))
    assert [int(books.book(1)[0][n]) for n in ("quality", "reason")] == [Quality.STALE, Reason.MALFORMED]


@pytest.mark.wire
def test_no_room_gives_up_the_levels_of_that_book_only() -> None:
    books = make(level_bytes=16 * 24)
    books.apply_events(records([event("M", instrument=2, side=BID, price=i, size=1) for i in range(5)]))
    many = records([event("M", side=ASK, price=i, size=1) for i in range(20)])
    books.apply_events(many)
    head, bids, asks = books.book(1)
    assert [int(head["quality"]), int(head["reason"]), len(bids), len(asks)] == [Quality.STALE, Reason.FULL, 0, 0]
    assert books.counts[18] == 1
    assert len(books.book(2)[1]) == 5
    books.apply_events(records([event("R"), event("M", side=ASK, price=1, size=1)]))
    assert books.book(1)[0]["quality"] == Quality.LIVE
    assert books.book(1)[2]["price"].tolist() == [1]

"""OrderBook equals the plain-dict reference, event for event and slot for slot, under valid and invalid streams."""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedhandler.book import ALL_FAULTS, FAULTS, OrderBook
from feedhandler.book.reference import Book, ReferenceBooks
from feedhandler.errors import ConfigError
from feedhandler.records import EVENT, PRICE_NONE, SIZE_REST, Flag, Quality, Reason, Side, Trading, slot_stride

FIELDS = list(EVENT.names or ())
COUNTERS = {
    "UNKNOWN_ORDER": 13,
    "DUPLICATE_ORDER": 14,
    "OVER_EXECUTION": 15,
    "ZERO_SIZE": 16,
    "ORDERS_FULL": 17,
    "PRICE_RANGE": 19,
    "CROSSED": 20,
    "UNKNOWN_INSTRUMENT": 22,
}
LEVELS_FULL = 18
INSTRUMENTS = 4
BID, ASK, NONE = Side.BID, Side.ASK, Side.NONE


def event(action: str, order_id: int = 0, **fields: Any) -> dict[str, Any]:
    """An event as the decoder makes it; `LAST` unless said otherwise."""
    made = dict.fromkeys(FIELDS, 0) | {"instrument": 1, "side": NONE, "price": PRICE_NONE, "flags": int(Flag.LAST)}
    return made | {"action": ord(action), "order_id": order_id} | fields


def records(events: list[dict[str, Any]]) -> np.ndarray:
    array = np.zeros(len(events), EVENT)
    for name in FIELDS:
        array[name] = [e[name] for e in events]
    return array


def make(depth: int = 10, instruments: int = INSTRUMENTS, **options: Any) -> OrderBook:
    return OrderBook(np.zeros(instruments * slot_stride(depth), np.uint8), depth=depth, **options)


def assert_same_book(books: OrderBook, number: int, law: Book, depth: int) -> None:
    head, *sides = books.book(number)
    for side, levels in zip((BID, ASK), sides, strict=True):
        got = [(int(p), int(s), int(n)) for p, s, n in levels[["price", "size", "orders"]].tolist()]
        assert got == law.side(side)[:depth]
        assert not levels["reserved"].any()
    names = ("seq", "epoch", "quality", "reason", "trading", "since", "ts_event", "ts_recv", "channel_seq", "event_seq")
    got_head = tuple(int(head[name]) for name in names)
    assert got_head == (got_head[0], law.epoch, law.quality, law.reason, law.trading, law.since, *law.stamp)
    assert got_head[0] % 2 == 0
    assert books.trades(number) == law.trades


def assert_same(batches: list[list[dict[str, Any]]], depth: int = 10, orders: int = 100, **options: Any) -> None:
    """Both books take the batches; filled events, counters and slots are compared."""
    books = make(depth, orders=orders, **options)
    policy = options.get("policy")
    names = None if policy is None else frozenset(name for name, bit in FAULTS.items() if policy & bit)
    law = ReferenceBooks(INSTRUMENTS, orders, policy=names)
    position = 1
    for batch in batches:
        array = records(batch)
        books.apply_events(array, position)
        law.apply(batch, position)
        position += len(batch)
        for name in FIELDS:
            assert array[name].tolist() == [e[name] for e in batch], name
        for number, book in law.books.items():
            assert_same_book(books, number, book, depth)
    assert books.live_orders == len(law.orders)
    counts = books.counts
    assert {name: int(counts[at]) for name, at in COUNTERS.items()} == {name: law.counters[name] for name in COUNTERS}
    assert counts[LEVELS_FULL] == 0


IDS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 255, 256, 2**32, 2**63, 2**64 - 1])
PRICES = st.one_of(
    st.integers(0, 12).map(lambda p: p * 100_000),
    st.sampled_from([(2**32 - 1) * 100_000, 2**32 * 100_000, -100_000, 1, 99_999, PRICE_NONE, 2**63 - 1, -1]),
)
GOOD_PRICES = st.integers(0, 30).map(lambda p: p * 100_000)
SIZES = st.one_of(st.integers(0, 30), st.sampled_from([2**32, 2**56, 2**63, SIZE_REST - 1, SIZE_REST]))
TIMES = {name: st.integers(0, 2**40) for name in ("ts_event", "ts_recv", "channel_seq")}


@st.composite
def messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One message as an ITCH decoder makes them, about few ids, so that most name live orders."""
    base = {name: draw(times) for name, times in TIMES.items()} | {"instrument": draw(st.integers(1, INSTRUMENTS - 1))}
    kind = draw(st.sampled_from("AAAAAAXDDUEECCPSR"))
    made, size = draw(st.integers(0, 40)), draw(st.integers(0, 30))
    price = draw(GOOD_PRICES)
    if kind == "A":
        events = [event("A", made, side=draw(st.sampled_from([BID, ASK])), price=price, size=size)]
    elif kind == "X":
        events = [event("C", made, size=size)]
    elif kind == "D":
        events = [event("C", made, size=SIZE_REST)]
    elif kind == "U":
        events = [event("C", made, size=SIZE_REST), event("A", draw(st.integers(0, 40)), price=price, size=size)]
    elif kind == "E":
        events = [event("T", 77, size=size), event("F", made, size=size), event("C", made, size=size)]
    elif kind == "C":
        events = [event(a, made, size=size, price=p) for a, p in (("T", price), ("F", price), ("C", PRICE_NONE))]
        events = events[draw(st.integers(0, 1)) :]
    elif kind == "P":
        events = [event("T", 5, size=size, price=price)]
    elif kind == "S":
        events = [event("S", size=draw(st.integers(0, 7)), instrument=draw(st.integers(0, 3)))]
        base.pop("instrument")
    else:
        events = [event("R", instrument=draw(st.sampled_from([0, 1, 1, 2])))]
        base.pop("instrument")
    for one in events:
        one["flags"] = 0
    events[-1]["flags"] = int(Flag.LAST)
    return [one | base for one in events]


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, Any]:
    """Any event at all."""
    return event(
        draw(st.sampled_from("AAACCCFTRSMNZ\x00")),
        draw(IDS),
        instrument=draw(st.sampled_from([0, 1, 1, 1, 2, 3, 4, 5, 2**31, 2**32 - 1])),
        side=draw(st.sampled_from([BID, ASK, NONE, 0, 255])),
        price=draw(PRICES),
        size=draw(SIZES),
        flags=draw(st.sampled_from([0, 128, 128, 255, 127])),
        **{name: draw(times) for name, times in TIMES.items()},
    )


def batches_of(message: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    flat = st.lists(message, max_size=60).map(lambda found: [e for m in found for e in (m if type(m) is list else [m])])
    return st.lists(flat, min_size=1, max_size=3)


DEPTHS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 10, 10, 10, 13, 64])
WIDTHS: list[Any] = list(dict.fromkeys(make(vectors=v).vectors for v in ("plain", 128, 256, 512)))  # this processor's
VECTORS = st.sampled_from(WIDTHS)


@given(batches_of(messages()), DEPTHS, st.sampled_from([3, 12, 100]), VECTORS)
@settings(deadline=None)
def test_book_is_the_reference_on_whole_messages(batches: Any, depth: int, orders: int, vectors: Any) -> None:
    assert_same(batches, depth, orders, vectors=vectors)


@pytest.mark.wire
@given(batches_of(hostile()), DEPTHS, st.sampled_from([1, 4, 100]), st.integers(0, 127), VECTORS)
@settings(deadline=None)
def test_book_is_the_reference_on_any_events(batches: Any, depth: int, orders: int, policy: int, vectors: Any) -> None:
    assert_same(batches, depth, orders, policy=policy, vectors=vectors)


@pytest.mark.parametrize("depth", [*range(1, 20), 31, 32, 33, 63, 64])
@pytest.mark.parametrize("prefetch", [True, False])
def test_every_depth_on_a_long_random_stream(depth: int, prefetch: bool) -> None:
    for vectors in dict.fromkeys(make(depth, vectors=v).vectors for v in WIDTHS):
        assert_long_random_stream(depth, prefetch, vectors)


def assert_long_random_stream(depth: int, prefetch: bool, vectors: Any) -> None:
    rng = np.random.default_rng(depth)
    live: list[int] = []
    batch: list[dict[str, Any]] = []
    spread = 4 * depth + 10
    for number in range(900):
        if live and rng.random() < 0.45:
            batch.append(event("C", live.pop(rng.integers(len(live))), size=SIZE_REST))
            continue
        side = BID if rng.random() < 0.5 else ASK
        away = int(rng.integers(1, spread))
        price = (1000 - away if side == BID else 1000 + away) * 100_000
        batch.append(event("A", number * 7, side=side, price=price, size=int(rng.integers(1, 500))))
        live.append(number * 7)
    assert_same([batch[i : i + 90] for i in range(0, len(batch), 90)], depth, 1000, prefetch=prefetch, vectors=vectors)


@pytest.mark.parametrize("vectors", WIDTHS)
@pytest.mark.parametrize("side", [BID, ASK])
def test_thousands_of_levels_come_and_go_in_any_order(side: int, vectors: Any) -> None:
    rng = np.random.default_rng(5)
    prices = rng.permutation(3000)
    adds = [event("A", int(p), side=side, price=int(p) * 100_000, size=int(p) + 1) for p in prices]
    books = make(orders=4000, vectors=vectors)
    books.apply_events(records(adds))
    going = rng.permutation(3000)
    for step in range(0, 3000, 250):
        left = np.sort(going[step:])[:: -1 if side == BID else 1][:10]
        levels = books.book(1)[1 if side == BID else 2]
        assert levels["price"].tolist() == [int(p) * 100_000 for p in left]
        assert levels["size"].tolist() == [int(p) + 1 for p in left]
        books.apply_events(records([event("C", int(p), size=SIZE_REST) for p in going[step : step + 250]]))
    assert books.live_orders == 0
    assert not books.book(1)[1].size and not books.book(1)[2].size


def test_vectors_are_those_asked_for_or_the_next_narrower() -> None:
    assert make(vectors="plain").vectors == make(depth=3, vectors="plain").vectors == "plain"
    assert make(depth=3, vectors=512).vectors == (128 if os.uname().machine == "x86_64" else "plain")
    wrong: Any
    for wrong in (0, 64, 129, "avx2", None):
        with pytest.raises(ConfigError, match=r"expected 128, 256, 512 or 'plain'"):
            make(vectors=wrong)


def test_plain_c_needs_nothing_of_x86(tmp_path: Path) -> None:
    """What other processors compile: FH_X86 is 0 there by itself."""
    source = tmp_path / "plain.c"
    source.write_text(
        '#include "levels_run.h"\nint main(void) { fh_levels l = {.depth = 10}; return fh_levels_choose(&l, 512); }\n'
    )
    command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Werror", "-Wno-unused-function", "-DFH_X86=0"]
    include = Path(__file__).parents[1] / "ext/include"
    program = tmp_path / "plain"
    subprocess.run([*command, f"-I{include}", str(source), "-o", str(program)], check=True)
    subprocess.run([str(program)], check=True)  # 0: no vectors were chosen
    headers = subprocess.run([*command, f"-I{include}", "-M", str(source)], check=True, capture_output=True, text=True)
    assert "intrin.h" not in headers.stdout


def test_the_whole_price_range_of_itch() -> None:
    top = 2**32 - 1
    events = [event("A", i, side=BID, price=p * 100_000, size=i) for i, p in enumerate([0, 1, 2**31, top], 1)]
    events += [event("A", 9 + i, side=ASK, price=p * 100_000, size=i) for i, p in enumerate([top, top - 1, 0], 1)]
    assert_same(
        [events, [event("C", 4, size=SIZE_REST), event("C", 12, size=1), event("A", 4, side=BID, size=5, price=0)]]
    )


@pytest.mark.parametrize("quantum", [1, 2, 3, 7, 100_000, 10**9, 2**31 - 1])
@given(key=st.integers(0, 2**32), off=st.sampled_from([0, 0, 1, -1, 2**63]))
@settings(deadline=None, max_examples=40)
def test_prices_are_exact_for_every_quantum(quantum: int, key: int, off: int) -> None:
    price = key * quantum + off
    price = (price + 2**63) % 2**64 - 2**63
    books = make(price_quantum=quantum, orders=4)
    books.apply_events(records([event("A", 1, side=BID, price=price, size=1)]))
    good = price >= 0 and price % quantum == 0 and price // quantum < 2**32
    assert books.book(1)[1]["price"].tolist() == ([price] if good else [])
    assert books.counts[COUNTERS["PRICE_RANGE"]] == (not good)
    if good:
        gone = records([event("C", 1, size=SIZE_REST)])
        books.apply_events(gone)
        assert gone["price"][0] == price


def test_ids_in_any_pattern_survive_collisions() -> None:
    """Dense, strided, shifted, random and colliding ids, the table full to its limit, adds and removals mixed."""
    rng = np.random.default_rng(3)
    patterns = [
        np.arange(3000, dtype=np.uint64),
        np.arange(3000, dtype=np.uint64) * np.uint64(256),
        np.arange(3000, dtype=np.uint64) << np.uint64(40),
        rng.integers(0, 2**63, 3000, dtype=np.uint64) * np.uint64(2),
    ]
    for ids in patterns:
        books = make(orders=2000)
        live = ids[:2000].tolist()
        books.apply_events(records([event("A", i, side=BID, price=100_000, size=1) for i in live]))
        refused = records([event("A", int(ids[2000]), side=BID, price=100_000, size=1)])
        books.apply_events(refused)
        assert books.counts[COUNTERS["ORDERS_FULL"]] == 1
        assert refused["flags"][0] == Flag.LAST | Flag.STALE
        assert books.book(1)[0]["reason"] == Reason.FULL
        for fresh in ids[2000:].tolist():
            gone = live.pop(int(rng.integers(len(live))))
            live.append(fresh)
            books.apply_events(
                records([event("C", gone, size=SIZE_REST), event("A", fresh, side=BID, price=100_000, size=1)])
            )
        assert books.live_orders == 2000
        assert books.book(1)[1]["orders"].tolist() == [2000]
        books.apply_events(records([event("C", i, size=SIZE_REST) for i in live]))
        assert books.live_orders == 0
        assert books.counts[COUNTERS["UNKNOWN_ORDER"]] == 0


def test_orders_that_share_a_home_bucket_overflow_and_come_back() -> None:
    """300 ids of one home (order_map.h's hash, in Python): added, removed in any order, thrice; none is mixed up."""
    books = make(orders=2000)
    buckets = books.memory_bytes["orders"] // 128
    blocks = (b for b in range(1 << 20) if ((b * 0x9E3779B97F4A7C15 % 2**64 >> 32) * buckets >> 32) == 7)
    ids = [next(blocks) * 64 + low for _ in range(150) for low in (0, 1)]
    rng = np.random.default_rng(5)
    for _ in range(3):
        books.apply_events(records([event("A", i, side=BID, price=100_000, size=1 + n) for n, i in enumerate(ids)]))
        assert books.live_orders == len(ids)
        for half in np.array_split(rng.permutation(len(ids)), 2):
            gone = records([event("C", ids[n], size=SIZE_REST) for n in half])
            books.apply_events(gone)
            assert gone["size"].tolist() == [1 + n for n in half]
            again = records([event("C", ids[half[0]], size=SIZE_REST)])
            books.apply_events(again)
            assert again["flags"][0] & Flag.STALE
        assert books.live_orders == 0
    assert books.counts[COUNTERS["DUPLICATE_ORDER"]] == books.counts[COUNTERS["ORDERS_FULL"]] == 0
    assert books.counts[COUNTERS["UNKNOWN_ORDER"]] == 6


@pytest.mark.wire
def test_no_room_for_levels_gives_up_the_levels_and_says_so() -> None:
    books = make(orders=500, level_bytes=600, instruments=3)
    fine = [event("A", i, instrument=2, side=BID, price=i * 100_000, size=1) for i in range(1, 6)]
    many = [event("A", 100 + i, side=ASK, price=i * 100_000, size=1) for i in range(1, 200)]
    books.apply_events(records(fine + many))
    head, bids, asks = books.book(1)
    assert (head["quality"], head["reason"], len(bids), len(asks)) == (Quality.STALE, Reason.FULL, 0, 0)
    assert books.counts[LEVELS_FULL] == 1
    assert len(books.book(2)[1]) == 5
    assert books.book(2)[0]["quality"] == Quality.LIVE
    books.apply_events(records([event("C", 100 + i, size=SIZE_REST) for i in range(1, 200)]))
    assert books.live_orders == 5
    assert books.counts[COUNTERS["UNKNOWN_ORDER"]] == 0
    books.apply_events(records([event("R")]))
    assert books.book(1)[0]["quality"] == Quality.LIVE
    books.apply_events(records([event("A", 1000 + i, side=ASK, price=i * 100_000, size=1) for i in range(1, 20)]))
    assert len(books.book(1)[2]) == 10


def test_a_crossed_book_is_counted_once_while_trading() -> None:
    cross = [event("A", 1, side=BID, price=500_000, size=1), event("A", 2, side=ASK, price=500_000, size=1)]
    assert_same([[*cross, event("S", size=Trading.TRADING), event("A", 3, side=BID, price=600_000, size=1)]])
    books = make()
    stream = [event("S", size=Trading.TRADING), *cross, event("A", 3, side=BID, price=600_000, size=1)]
    books.apply_events(records([*stream, event("C", 2, size=SIZE_REST), event("A", 2, side=ASK, price=1, size=1)]))
    assert books.counts[COUNTERS["CROSSED"]] == 1
    books.apply_events(records([event("A", 2, side=ASK, price=100_000, size=1)]))
    assert books.counts[COUNTERS["CROSSED"]] == 2


def test_a_book_that_stays_crossed_while_trading_is_stale() -> None:
    cross = [event("A", 1, side=BID, price=500_000, size=1), event("A", 2, side=ASK, price=500_000, size=1)]
    trading = event("S", size=Trading.TRADING)
    after = {"ts_event": 1_000_000_000}
    longer = event("A", 3, side=BID, price=100_000, size=1, **after)
    uncrossed = event("C", 2, size=SIZE_REST, ts_event=999_999_999)
    for stream, stale in (
        ([trading, *cross, longer], True),
        ([*cross, longer, trading], False),  # before trading orders may cross
        ([trading, *cross, uncrossed, longer], False),
        ([trading, *cross, event("S", size=Trading.HALTED), longer], False),
    ):
        books = make()
        filled = records(stream)
        books.apply_events(filled)
        head = books.book(1)[0]
        assert (head["quality"], head["reason"]) == ((Quality.STALE, Reason.CROSSED) if stale else (Quality.LIVE, 0))
        assert bool(filled["flags"][-1] & Flag.STALE) == stale
        assert_same([[dict(e) for e in stream]])
    books = make(policy=ALL_FAULTS & ~FAULTS["CROSSED"])
    books.apply_events(records([trading, *cross, longer]))
    assert books.book(1)[0]["quality"] == Quality.LIVE


@pytest.mark.parametrize(
    ("security", "venue", "shown"),
    [
        ("HALTED", "TRADING", "HALTED"),  # an operational halt lifted does not lift the security's own
        ("PAUSED", "TRADING", "PAUSED"),
        ("TRADING", "HALTED", "HALTED"),  # and the other way round
        ("CLOSED", "HALTED", "CLOSED"),
        ("TRADING", "TRADING", "TRADING"),
        ("TRADING", "UNKNOWN", "TRADING"),
    ],
)
def test_the_worse_of_two_trading_statuses_is_shown(security: str, venue: str, shown: str) -> None:
    own = event("S", size=Trading[security])
    other = event("S", size=Trading[venue], flags=int(Flag.LAST | Flag.VENUE))
    for order in ([own, other], [other, own]):
        books = make()
        books.apply_events(records(order))
        assert books.book(1)[0]["trading"] == Trading[shown]
        assert_same([order])
    books.apply_events(records([event("R", instrument=0)]))
    assert books.book(1)[0]["trading"] == Trading.UNKNOWN  # of a new session nothing is known yet


def test_clear_and_mark() -> None:
    books = make()
    assert books.book(1)[0]["quality"] == Quality.INIT
    books.clear_books(now=5)
    assert [int(books.book(1)[0][n]) for n in ("quality", "reason", "epoch", "since")] == [0, 0, 1, 5]
    books.apply_events(records([event("A", i, instrument=i, side=BID, price=0, size=1) for i in (1, 2, 3)]))
    books.mark_book(2, Quality.STALE, Reason.GAP, now=9)
    books.mark_book(77, Quality.STALE)
    assert [int(books.book(2)[0][n]) for n in ("quality", "reason", "since")] == [2, Reason.GAP, 9]
    books.clear_books(2, 1)
    assert [len(books.book(i)[1]) for i in (1, 2, 3)] == [1, 0, 1]
    assert books.live_orders == 2
    books.mark_book(0, Quality.STALE, Reason.GAP)
    assert {int(books.book(i)[0]["quality"]) for i in (1, 2, 3)} == {Quality.STALE}
    books.clear_books(0, 2**31)
    assert books.live_orders == 0


def test_bad_arguments_are_one_sentence() -> None:
    room = np.zeros(4 * slot_stride(10), np.uint8)
    for bad in (
        {"depth": 0},
        {"depth": 65},
        {"instruments": 5},
        {"instruments": 0},
        {"orders": 0},
        {"price_quantum": 0},
        {"price_quantum": 2**31},
        {"level_bytes": -1},
    ):
        with pytest.raises(ConfigError):
            OrderBook(room, **bad)
    with pytest.raises(ConfigError, match="read-only"):
        OrderBook(bytes(room))
    with pytest.raises(ConfigError, match="aligned"):
        OrderBook(room[4:-4], instruments=3)
    with pytest.raises(ValueError, match="EVENT"):
        OrderBook(room).apply_events(np.zeros(3))

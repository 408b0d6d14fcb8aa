"""Books as arrays and back, their hashes, and loaders that are given what never was a snapshot."""

from __future__ import annotations

import random
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from feedhandler import records
from feedhandler._instruments import Instruments as Names
from feedhandler.book import LevelBook, OrderBook, _state
from feedhandler.decode import _state as decoder_state
from feedhandler.decode import decoder
from feedhandler.recording._digest import each, xxh64
from feedhandler.session import _state as framing_state
from feedhandler.session import framing

INSTRUMENTS = 6
INDEX = np.arange(1, INSTRUMENTS, dtype=np.uint32)
FEW = hypothesis.settings(max_examples=20)
Adds = list[tuple[int, int, str, int, int]]  # order, instrument, side, price in quanta, size


def order_book(orders: int = 5000, depth: int = 10) -> OrderBook:
    return OrderBook(bytearray(records.slot_stride(depth) * INSTRUMENTS), depth=depth, orders=orders)


def level_book(depth: int = 10) -> LevelBook:
    return LevelBook(bytearray(records.slot_stride(depth) * INSTRUMENTS), depth=depth)


def events(count: int) -> np.ndarray[Any, Any]:
    made = np.zeros(count, records.EVENT)
    made["flags"] = records.Flag.LAST
    made["channel_seq"] = 7
    return made


def add(book: OrderBook, adds: Adds) -> OrderBook:
    made = events(len(adds))
    made["action"] = ord("A")
    for event, (order, instrument, side, price, size) in zip(made, adds, strict=True):
        event["order_id"], event["instrument"], event["side"] = order, instrument, ord(side)
        event["price"], event["size"] = price * 100_000, size
    for i in range(0, len(made), 100):
        book.apply_events(made[i : i + 100])
    return book


def cancel(book: OrderBook, order: int, instrument: int) -> None:
    made = events(1)
    made["action"], made["order_id"], made["instrument"] = ord("C"), order, instrument
    made["side"], made["price"], made["size"] = ord("N"), records.PRICE_NONE, 2**64 - 1
    book.apply_events(made)


def some_adds(seed: int, count: int = 600) -> Adds:
    rng = random.Random(seed)
    ids = rng.sample(range(1, 1 << 40), count)
    return [
        (i, rng.randrange(1, INSTRUMENTS), side := rng.choice("BA"),
         1000 + rng.randrange(80) * (1 if side == "A" else -1), rng.randrange(1, 900))
        for i in ids
    ]  # fmt: skip


def test_xxh64_is_xxh64() -> None:
    """The values of its specification's sanity checks, and of the package xxhash."""
    assert xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64(b"a") == 0xD24EC4F1A98C6E5B
    assert xxh64(b"abc") == 0x44BC2CF5AD770999
    assert xxh64(b"Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1
    data = bytes(range(240))
    assert [int(one) for one in each(data, 24)] == [xxh64(data[i : i + 24]) for i in range(0, 240, 24)]
    with pytest.raises(ValueError, match="no rows of 7"):
        each(data, 7)


def test_a_books_hash_is_that_of_its_documented_words() -> None:
    book = add(order_book(), [(5, 2, "B", 990, 10), (6, 2, "B", 990, 5), (7, 2, "B", 980, 1), (8, 2, "A", 1010, 3)])
    orders = [(5, 10, 990 * 2), (6, 5, 990 * 2), (7, 1, 980 * 2), (8, 3, 1010 * 2 + 1)]
    total = sum(xxh64(np.array(order, np.uint64).tobytes()) for order in orders) % 2**64
    words = [0, 0, 7, 2**63, 0, 0, 0, total, 2, 1]
    words += [99_000_000, 15, 2, 98_000_000, 1, 1, 101_000_000, 3, 1]
    assert int(_state.hashes(book, [2])[0]) == xxh64(np.array(words, np.uint64).tobytes())


@FEW
@hypothesis.given(st.integers(0, 1 << 30))
def test_the_hash_does_not_know_how_a_book_came_about(seed: int) -> None:
    adds = some_adds(seed)
    plain = _state.hashes(add(order_book(), adds), INDEX)
    shuffled = list(adds)
    random.Random(seed).shuffle(shuffled)
    passing = [(order + (1 << 50), *rest) for order, *rest in some_adds(seed + 1, 50)]
    other = add(order_book(orders=900 if seed % 2 else 20_000), [*passing[:25], *shuffled, *passing[25:]])  # type: ignore[list-item]
    for order, instrument, *_ in passing:
        cancel(other, order, instrument)
    assert (_state.hashes(other, INDEX) == plain).all()


@FEW
@hypothesis.given(st.integers(0, 1 << 30), st.sampled_from(["size", "price", "side", "id", "gone", "more"]))
def test_any_change_of_an_order_changes_the_hash_of_its_book_alone(seed: int, change: str) -> None:
    adds = some_adds(seed, 200)
    place = random.Random(seed).randrange(len(adds))
    order, instrument, side, price, size = adds[place]
    changed = {
        "size": [(order, instrument, side, price, size + 1)],
        "price": [(order, instrument, side, price + 200, size)],
        "side": [(order, instrument, "A" if side == "B" else "B", price, size)],
        "id": [(order + (1 << 50), instrument, side, price, size)],
        "gone": [],
        "more": [adds[place], (order + (1 << 50), instrument, side, price, size)],
    }[change]
    before = _state.hashes(add(order_book(), adds), INDEX)
    after = _state.hashes(add(order_book(), [*adds[:place], *changed, *adds[place + 1 :]]), INDEX)
    assert list(np.flatnonzero(before != after) + 1) == [instrument]


def set_levels(book: LevelBook, levels: list[tuple[int, str, int, int]]) -> LevelBook:
    made = events(len(levels))
    made["action"], made["flags"] = ord("M"), records.Flag.LAST | records.Flag.MBP
    for event, (instrument, side, price, size) in zip(made, levels, strict=True):
        event["instrument"], event["side"], event["price"], event["size"] = instrument, ord(side), price, size
    book.apply_events(made)
    return book


@FEW
@hypothesis.given(st.integers(0, 1 << 30))
def test_any_change_of_a_level_changes_the_hash_and_its_order_does_not(seed: int) -> None:
    rng = random.Random(seed)
    levels = [
        (i, s, p * 100, rng.randrange(1, 50)) for i in range(1, 4) for s in "BA" for p in rng.sample(range(900), 40)
    ]
    before = _state.hashes(set_levels(level_book(), levels), INDEX)
    shuffled = rng.sample(levels, len(levels))
    assert (_state.hashes(set_levels(level_book(depth=3), shuffled), INDEX) == before).all()
    instrument, side, price, size = rng.choice(levels)
    for other in ((price, size + 1), (price, 0), (price + 1, size)):
        book = set_levels(set_levels(level_book(), levels), [(instrument, side, *other)])
        assert list(np.flatnonzero(_state.hashes(book, INDEX) != before) + 1) == [instrument]


@FEW
@hypothesis.given(st.integers(0, 1 << 30), st.sampled_from([1, 10, 33]))
def test_books_of_orders_come_back_at_any_depth(seed: int, depth: int) -> None:
    book = add(order_book(), some_adds(seed))
    parts = _state.dump(book, INDEX)
    again = order_book(orders=1000, depth=depth)
    _state.load(again, INDEX, parts, 99)
    assert parts["slots"]["event_seq"].max() == 100
    assert (_state.hashes(again, INDEX) == _state.hashes(book, INDEX)).all()
    assert again.live_orders == book.live_orders
    straight = add(order_book(depth=depth), some_adds(seed))
    for i in INDEX:
        for mine, theirs in zip(_state.levels(again, i), _state.levels(book, i), strict=True):
            assert mine.tobytes() == theirs.tobytes()
        (head, *sides), (wanted, *shown) = again.book(i), straight.book(i)
        assert [side.tobytes() for side in sides] == [side.tobytes() for side in shown]
        assert (head["bids"], head["asks"]) == (wanted["bids"], wanted["asks"])
        assert head["event_seq"] == min(99, int(parts["slots"]["event_seq"][i - 1]))
    second = _state.dump(again, INDEX)
    assert all(parts[name].tobytes() == second[name].tobytes() for name in parts if name not in ("depth", "slots"))


def test_what_does_not_fit_is_refused_and_leaves_nothing() -> None:
    parts = _state.dump(add(order_book(), some_adds(1)), INDEX)
    small = add(order_book(orders=100), some_adds(2, 50))
    with pytest.raises(ValueError, match=r"600 orders, there is room for 100: raise \[books\] orders"):
        _state.load(small, INDEX, parts)
    assert small.live_orders == 0
    assert not any(len(side) for i in INDEX for side in _state.levels(small, i))
    with pytest.raises(ValueError, match="not among those to be kept"):
        _state.dump(add(order_book(), some_adds(1)), INDEX[:2])
    with pytest.raises(ValueError, match="ascending indices"):
        _state.dump(order_book(), [3, 2])


# ---- hostile parts


def spoil(parts: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One part with other bytes, other length, or gone."""
    name = rng.choice(sorted(parts))
    data = bytearray(np.ascontiguousarray(parts[name]).tobytes())
    kind = rng.random()
    if kind < 0.1 or not data:
        return {key: value for key, value in parts.items() if key != name}
    if kind < 0.2:
        del data[rng.randrange(len(data)) :]
    elif kind < 0.3:
        data += rng.randbytes(rng.randrange(1, 40))
    else:
        for _ in range(rng.choice((1, 1, 8))):
            at = rng.randrange(len(data))
            data[at : at + 8] = rng.choice((rng.randbytes(8), b"\xff" * 8, bytes(8)))[: len(data[at : at + 8])]
    return {**parts, name: np.frombuffer(bytes(data), np.uint8)}


def refused(load: Any) -> bool:
    try:
        load()
    except ValueError:
        return True
    return False


@pytest.mark.wire
@FEW
@hypothesis.given(st.integers(0, 1 << 30))
def test_hostile_parts_of_order_books_are_refused_or_are_books(seed: int) -> None:
    rng = random.Random(seed)
    parts = spoil(_state.dump(add(order_book(), some_adds(seed, 60)), INDEX), rng)
    book = order_book(orders=100)
    if refused(lambda: _state.load(book, INDEX, parts)):
        assert book.live_orders == 0
    again = order_book(orders=100)
    _state.load(again, INDEX, _state.dump(book, INDEX))  # what was taken is a book: it can be dumped, and loaded
    assert (_state.hashes(again, INDEX) == _state.hashes(book, INDEX)).all()
    add(book, some_adds(seed + 1, 30))


@pytest.mark.wire
@FEW
@hypothesis.given(st.integers(0, 1 << 30))
def test_hostile_parts_of_level_books_are_refused_or_are_books(seed: int) -> None:
    rng = random.Random(seed)
    levels = [(rng.randrange(1, 6), rng.choice("BA"), rng.randrange(900), rng.randrange(1, 50)) for _ in range(60)]
    source = set_levels(level_book(), levels)
    amid = events(1)
    amid["action"], amid["flags"], amid["instrument"], amid["side"], amid["size"] = ord("M"), 16, 2, ord("B"), 5
    source.apply_events(amid)
    book = level_book()
    refused(lambda: _state.load(book, INDEX, spoil(_state.dump(source, INDEX), rng)))
    again = level_book()
    _state.load(again, INDEX, _state.dump(book, INDEX))
    assert (_state.hashes(again, INDEX) == _state.hashes(book, INDEX)).all()
    set_levels(book, levels)


@pytest.mark.wire
@FEW
@hypothesis.given(st.integers(0, 1 << 30), st.sampled_from(["itch50", "iex_deep"]))
def test_hostile_parts_of_decoders_are_refused_or_taken(seed: int, protocol: str) -> None:
    rng = random.Random(seed)
    source = decoder(protocol, Names.standalone(8))
    parts = decoder_state.dump(source)
    parts["ids"] = np.array([[3, 1], [4, 2]], np.uint32)
    parts["names"] = np.array([[7, 1], [9, 2]], np.uint64)
    target = decoder(protocol, Names.standalone(8))
    where = np.array([0, 1, 2], np.uint32)
    if not refused(lambda: decoder_state.load(target, spoil(parts, rng), where)):
        found = decoder_state.dump(target)
        assert found["ids"].max(initial=0) < 65536 and found["names"][:, 1].max(initial=0) <= 2


@pytest.mark.wire
def test_hostile_framings_are_refused() -> None:
    for name in ("soupbintcp", "binaryfile"):
        good = framing(name)
        good.feed(b"\x00\x20A" + b"SESSION   " + b"1".rjust(20) + b"\x00\x05S12")
        state = framing_state.dump(good)
        again = framing(name)
        framing_state.load(again, state)
        assert framing_state.dump(again) == state
        for key, value in (
            ("held", "00"),
            ("held", "0001ff"),
            ("held", "ff" * 70_000),
            ("held", 5),
            ("held", "zz"),
            ("next_seq", -1),
            ("next_seq", 2**63),
            ("next_seq", None),
        ):
            if (key, value) != ("held", "00"):
                with pytest.raises(ValueError, match=r"framing|hexadecimal"):
                    framing_state.load(again, {**state, key: value})
    with pytest.raises(ValueError, match="is none"):
        framing_state.load(framing("moldudp64"), {"next_seq": 1})

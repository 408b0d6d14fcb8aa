"""The line stage on feeds without numbers: stamps that rise, snapshots on the socket, checksums, standby books."""

import zlib
from typing import Any

import pytest
from splicer_world import MS, World

from feedhandler.line._resyncs import RESYNC_OVER, RESYNC_SNAPSHOT, RESYNC_SUBSCRIBE
from feedhandler.records import Flag, Quality, Reason

LIVE = (Quality.LIVE, Reason.NONE)
PRICE, SIZE = 10**9, 10**8


def coinbase(product: str, kind: str, *levels: list[str]) -> dict[str, Any]:
    """A snapshot, or an update of changes [side, price, size]."""
    if kind == "snapshot":
        bids = [level[1:] for level in levels if level[0] == "buy"]
        asks = [level[1:] for level in levels if level[0] == "sell"]
        return {"type": "snapshot", "product_id": product, "bids": bids, "asks": asks}
    return {
        "type": "l2update",
        "product_id": product,
        "changes": list(levels),
        "time": "2026-11-22T15:00:00.000001Z",
    }


def stamp(last: int, channel: str = "diff_order_book_btcusd", size: int | None = None) -> dict[str, Any]:
    data = {
        "timestamp": "1700000000",
        "microtimestamp": str(last),
        "bids": [["100.0", str(last if size is None else size)]],
        "asks": [],
    }
    return {"event": "data", "channel": channel, "data": data}


def rest(last: int) -> dict[str, Any]:
    body = {"timestamp": "1700000000", "microtimestamp": str(last), "bids": [["100.0", str(last)]], "asks": []}
    return {"rest": "depth", "symbol": "btcusd", "body": body}


def kraken(
    levels: dict[str, list[list[str]]], crc: int | None = None, pair: str = "XBT/USD", depth: int = 10
) -> list[Any]:
    parts: list[Any] = [{side: rows} for side, rows in levels.items()]
    if crc is not None:
        parts[-1]["c"] = str(crc)
    elif "as" in levels:
        parts = [levels]
    return [336, *parts, f"book-{depth}", pair]


def crc(asks: list[list[str]], bids: list[list[str]]) -> int:
    """Kraken's checksum, plainly."""
    digits = [text.replace(".", "").lstrip("0") for level in [*asks, *bids] for text in level[:2]]
    return zlib.crc32("".join(digits).encode())


def test_the_second_line_stands_by_with_a_book_of_its_own_and_takes_over_whole() -> None:
    world = World("coinbase", 2)
    whole = coinbase("BTC-USD", "snapshot", ["buy", "100", "1"], ["buy", "99", "2"], ["sell", "101", "3"])
    world.say(0, whole)
    world.say(1, whole)
    assert world.state("BTC-USD") == LIVE
    world.say(0, coinbase("BTC-USD", "l2update", ["buy", "100", "5"]))
    world.say(
        1, coinbase("BTC-USD", "l2update", ["buy", "100", "5"]), coinbase("BTC-USD", "l2update", ["sell", "101", "0"])
    )
    assert world.book("BTC-USD") == ({100 * PRICE: 5 * SIZE, 99 * PRICE: 2 * SIZE}, {101 * PRICE: 3 * SIZE})
    world.events()
    world.cut(0)
    assert world.book("BTC-USD") == ({100 * PRICE: 5 * SIZE, 99 * PRICE: 2 * SIZE}, {})
    assert world.state("BTC-USD") == LIVE and world.counts["switches"] == 1
    events = world.events()
    assert [chr(a) for a in events["action"]] == ["R", "M", "M"]
    assert events["flags"].tolist() == [
        Flag.SNAPSHOT | Flag.TOB,
        Flag.SNAPSHOT | Flag.MBP | Flag.TOB,
        Flag.SNAPSHOT | Flag.MBP | Flag.LAST,
    ] and set(events["line"].tolist()) == {1}
    world.connect(0)
    world.say(0, coinbase("BTC-USD", "l2update", ["buy", "100", "7"]))  # no snapshot of this connection yet
    world.say(1, coinbase("BTC-USD", "l2update", ["buy", "100", "8"]))
    assert world.book("BTC-USD")[0][100 * PRICE] == 8 * SIZE
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "9"]))
    world.life(1, "DISCONNECTED", "LOST")
    assert world.book("BTC-USD") == ({100 * PRICE: 9 * SIZE}, {}) and world.counts["switches"] == 2


def test_without_a_second_line_a_lost_connection_is_stale_until_another_snapshot() -> None:
    world = World("coinbase")
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "1"]))
    world.cut(0)
    assert world.state("BTC-USD") == (Quality.STALE, Reason.LINE_DOWN)
    world.connect(0)
    world.say(0, coinbase("BTC-USD", "l2update", ["buy", "100", "7"]))
    assert world.state("BTC-USD")[0] == Quality.STALE and world.counts["outdated"] == 1
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "2"]))
    assert world.state("BTC-USD") == LIVE and world.book("BTC-USD") == ({100 * PRICE: 2 * SIZE}, {})


def test_a_malformed_update_of_a_feed_without_numbers_wants_a_new_subscription() -> None:
    world = World("coinbase")
    world.say(
        0, coinbase("BTC-USD", "snapshot", ["buy", "100", "1"]), coinbase("ETH-USD", "snapshot", ["buy", "9", "1"])
    )
    world.say(0, coinbase("BTC-USD", "l2update", ["buy", "x", "1"]))
    assert world.state("BTC-USD") == (Quality.STALE, Reason.MALFORMED) and world.state("ETH-USD") == LIVE
    [wish] = world.wishes()
    assert (wish.kind, wish.line, wish.instrument) == (RESYNC_SUBSCRIBE, 0, world.index("BTC-USD"))
    assert wish.reason == Reason.MALFORMED
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "2"]))
    [over] = world.wishes()
    assert (over.kind, over.line, over.instrument) == (RESYNC_OVER, 0, world.index("BTC-USD"))
    world.say(0, coinbase("BTC-USD", "l2update", ["buy", "x", "1"]))
    assert [wish.kind for wish in world.wishes()] == [RESYNC_SUBSCRIBE]


def test_a_standby_that_is_subscribed_to_anew_is_over_on_its_line() -> None:
    world = World("coinbase", 2)
    for line in (0, 1):
        world.say(line, coinbase("BTC-USD", "snapshot", ["buy", "100", "1"]))
    world.say(1, coinbase("BTC-USD", "l2update", ["buy", "x", "1"]))
    assert world.state("BTC-USD") == LIVE
    [wish] = world.wishes()
    assert (wish.kind, wish.line, wish.reason) == (RESYNC_SUBSCRIBE, 1, Reason.MALFORMED)
    world.say(1, coinbase("BTC-USD", "snapshot", ["buy", "100", "1"]))
    [over] = world.wishes()
    assert (over.kind, over.line) == (RESYNC_OVER, 1)


def test_an_unreadable_text_wants_each_book_of_its_line_anew() -> None:
    world = World("coinbase")
    names = ("BTC-USD", "ETH-USD")
    world.say(0, *(coinbase(name, "snapshot", ["buy", "9", "1"]) for name in names))
    world.say(0, b"{nothing}")
    assert {world.state(name) for name in names} == {(Quality.STALE, Reason.MALFORMED)}
    assert {(w.kind, w.instrument, w.reason) for w in world.wishes()} == {
        (RESYNC_SUBSCRIBE, world.index(name), Reason.MALFORMED) for name in names
    }
    world.say(0, coinbase("BTC-USD", "l2update", ["buy", "9", "2"]))  # it is wished for already
    assert world.wishes() == []


def test_a_life_text_that_comes_late_takes_nothing_from_the_connection_behind_it() -> None:
    world = World("coinbase")
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "1"]), ms=1)
    world.cut(0)
    world.connect(0)
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "2"]), ms=9)
    world.control({"life": "DISCONNECTED", "line": 0, "from": "CONNECTED", "reason": "lost", "at": 5 * MS}, ms=12)
    assert world.state("BTC-USD") == LIVE
    world.say(0, coinbase("BTC-USD", "l2update", ["buy", "100", "3"]))
    assert world.state("BTC-USD") == LIVE and world.book("BTC-USD")[0] == {100 * PRICE: 3 * SIZE}
    assert world.wishes() == []


def test_an_update_of_a_book_that_its_line_has_lost_wishes_for_it() -> None:
    world = World("coinbase")
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "1"]))
    world.life(0, "DISCONNECTED", "LOST")  # and yet it goes on
    assert world.state("BTC-USD") == (Quality.STALE, Reason.LINE_DOWN) and world.wishes() == []
    for _ in range(3):
        world.say(0, coinbase("BTC-USD", "l2update", ["buy", "100", "3"]))
    [wish] = world.wishes()
    assert (wish.kind, wish.line, wish.reason) == (RESYNC_SUBSCRIBE, 0, Reason.LINE_DOWN)
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "4"]))
    assert world.state("BTC-USD") == LIVE and [w.kind for w in world.wishes()] == [RESYNC_OVER]


def test_a_line_that_is_left_without_a_quiet_book_is_asked_for_it() -> None:
    world = World("coinbase", 2)
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "1"]))
    world.life(0, "CONNECTED")
    world.life(1, "CONNECTED")
    world.cut(0)
    assert world.state("BTC-USD") == (Quality.STALE, Reason.LINE_DOWN)
    [wish] = world.wishes()
    assert (wish.kind, wish.line, wish.reason) == (RESYNC_SUBSCRIBE, 1, Reason.LINE_DOWN)


class Cramped(World):
    LEVEL_BYTES = 1024  # of all books of a side of the house: a snapshot of 200 levels does not go in


def crowd(venue: str) -> dict[str, Any]:
    """A snapshot that finds no room."""
    rows = [[f"{100 + n}.00", "1.00"] for n in range(200)]
    if venue == "coinbase":
        return {"type": "snapshot", "product_id": "BTC-USD", "bids": [["99.00", "1.00"]], "asks": rows}
    return {"rest": "depth", "symbol": "BTCUSDT", "body": {"lastUpdateId": 10, "bids": [["99", "1"]], "asks": rows}}


def test_a_book_without_room_for_its_snapshot_asks_for_another() -> None:
    world = Cramped("coinbase")
    for _ in range(3):
        world.say(0, crowd("coinbase"))
        assert world.state("BTC-USD") == (Quality.STALE, Reason.FULL)
        [wish] = [wish for wish in world.wishes() if wish.kind != RESYNC_OVER]
        assert (wish.kind, wish.reason) == (RESYNC_SUBSCRIBE, Reason.FULL)
    world.say(0, coinbase("BTC-USD", "snapshot", ["buy", "100", "4"]))
    assert world.state("BTC-USD") == LIVE


@pytest.mark.parametrize("proven", [True, False])
def test_a_numbered_book_without_room_for_its_snapshot_asks_for_another(proven: bool) -> None:
    def change(first: int) -> dict[str, Any]:
        return {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first, "u": first, "b": [["98", "1"]], "a": []}

    world = Cramped("binance")
    if proven:
        world.say(0, change(11))
        world.wishes()
    world.control(crowd("binance"))
    for first in (11, 12):
        world.say(0, change(first))
    assert world.state("BTCUSDT")[0] == Quality.STALE
    wishes = [wish for wish in world.wishes() if wish.kind != RESYNC_OVER]
    assert [wish.kind for wish in wishes[-1:]] == [RESYNC_SNAPSHOT]
    world.control({"rest": "depth", "symbol": "BTCUSDT",
                   "body": {"lastUpdateId": 12, "bids": [["99", "1"]], "asks": []}})  # fmt: skip
    world.say(0, change(13))
    assert world.state("BTCUSDT") == LIVE


def test_krakens_checksum_is_verified_on_every_update_and_the_book_is_cut_to_its_depth() -> None:
    world = World("kraken")
    asks = [[f"{5000 + i}.10000", "1.00000000", "1"] for i in range(10)]
    bids = [[f"{4999 - i}.10000", "2.50000000", "1"] for i in range(10)]
    world.say(0, kraken({"as": asks, "bs": bids}))
    assert world.state("XBT/USD") == LIVE
    bids = [["4999.50000", "0.00100000", "2"], *bids[:9]]
    world.say(0, kraken({"b": [bids[0]]}, crc(asks, bids)))
    assert world.state("XBT/USD") == LIVE and len(world.book("XBT/USD")[0]) == 10
    world.say(0, kraken({"a": [["5000.10000", "0.00000000", "3"]]}, 1))
    assert world.state("XBT/USD") == (Quality.STALE, Reason.CHECKSUM) and world.counts["checksum"] == 1
    [wish] = world.wishes()
    assert (wish.kind, wish.line, wish.reason) == (RESYNC_SUBSCRIBE, 0, Reason.CHECKSUM)
    world.say(0, kraken({"as": asks, "bs": bids}))
    assert world.state("XBT/USD") == LIVE


def test_a_wrong_checksum_changes_over_to_a_standby_that_is_right() -> None:
    world = World("kraken", 2)
    asks, bids = [["5001.10000", "1.00000000", "1"]], [["5000.10000", "2.00000000", "1"]]
    for line in (0, 1):
        world.say(line, kraken({"as": asks, "bs": bids}))
    new = [["5000.20000", "3.00000000", "2"], *bids]
    world.say(1, kraken({"b": [new[0]]}, crc(asks, new)))
    world.say(0, kraken({"b": [new[0]]}, 7))
    assert world.state("XBT/USD") == LIVE and world.counts["switches"] == 1
    assert max(world.book("XBT/USD")[0]) == 5000_200_000_000
    [wish] = world.wishes()
    assert (wish.kind, wish.line) == (RESYNC_SUBSCRIBE, 0)


def test_a_standby_book_without_room_is_never_shown_as_live() -> None:
    world = Cramped("coinbase", 2)
    for line in (0, 1):
        world.say(line, crowd("coinbase"))
    assert world.state("BTC-USD")[0] == Quality.STALE
    world.cut(0)
    assert world.state("BTC-USD")[0] == Quality.STALE
    world.say(1, {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "98.00", "2.00"]],
                  "time": "2021-04-17T16:43:37.000000Z"})  # fmt: skip
    assert world.state("BTC-USD")[0] == Quality.STALE


def test_stamps_rise_and_a_snapshot_must_be_younger_than_the_first_change() -> None:
    world = World("bitstamp")
    world.say(0, stamp(50), stamp(60))
    assert [w.kind for w in world.wishes()] == [RESYNC_SNAPSHOT]
    world.control(rest(40))
    assert world.state("btcusd")[0] == Quality.INIT and [w.kind for w in world.wishes()] == [RESYNC_SNAPSHOT]
    world.control(rest(55))
    assert world.state("btcusd") == LIVE and world.book("btcusd")[0] == {100 * PRICE: 60 * SIZE}
    world.say(0, stamp(60), stamp(59, size=1), stamp(61))
    assert world.book("btcusd")[0] == {100 * PRICE: 61 * SIZE} and world.line_counts(0)["duplicates"] == 2


def test_two_changes_of_one_stamp_are_both_applied_and_each_copy_but_once() -> None:
    world = World("bitstamp", 2)
    for line in (0, 1):
        world.say(line, stamp(50))
    world.control(rest(55))
    world.say(0, stamp(60, size=1))
    world.say(1, stamp(60, size=1), stamp(60, size=2))
    assert world.book("btcusd")[0] == {100 * PRICE: 2 * SIZE}
    world.say(0, stamp(60, size=2), stamp(60, size=3))
    assert world.book("btcusd")[0] == {100 * PRICE: 3 * SIZE} and world.state("btcusd") == LIVE
    assert [world.line_counts(line)["duplicates"] for line in (0, 1)] == [1, 2]


def test_a_connection_that_begins_amid_a_stamp_is_not_believed_until_the_book_has_passed_it() -> None:
    world = World("bitstamp", 2)
    world.say(0, stamp(50))
    world.control(rest(55))
    world.say(0, stamp(60, size=1))
    world.say(1, stamp(60, size=3))  # a second one, or a third: nobody knows
    assert world.book("btcusd")[0] == {100 * PRICE: 1 * SIZE} and world.state("btcusd") == LIVE
    world.say(0, stamp(60, size=2))
    assert world.book("btcusd")[0] == {100 * PRICE: 2 * SIZE}
    world.cut(0)
    assert world.state("btcusd")[0] == Quality.STALE


def test_changes_of_one_stamp_in_an_unknown_order_are_a_gap_not_a_guess() -> None:
    world = World("bitstamp", 2)
    world.say(0, stamp(50))
    world.say(1, stamp(60, size=2))
    world.say(0, stamp(60, size=1), stamp(60, size=2), stamp(70))
    world.control(rest(55))
    world.pass_time(10)
    assert world.state("btcusd")[0] == Quality.STALE
    world.control(rest(65))
    assert world.state("btcusd") == LIVE and world.book("btcusd")[0] == {100 * PRICE: 70 * SIZE}


def test_more_changes_of_one_stamp_than_can_be_told_apart_are_a_gap() -> None:
    world = World("bitstamp")
    world.say(0, stamp(50))
    world.control(rest(50))
    world.say(0, *(stamp(60, size=n) for n in range(1, 9)))
    assert world.book("btcusd")[0] == {100 * PRICE: 8 * SIZE} and world.state("btcusd") == LIVE
    world.say(0, stamp(60, size=9))
    world.pass_time(10)
    assert world.state("btcusd") == (Quality.STALE, Reason.GAP)


def test_a_line_ahead_of_the_others_waits_until_one_in_step_has_passed_it_by() -> None:
    world = World("bitstamp", 2)
    world.say(0, stamp(50))
    world.say(1, stamp(50))
    world.control(rest(50))
    world.cut(1)
    world.say(0, stamp(60))
    world.connect(1)
    world.say(1, stamp(80))  # 70 was lost on this line
    assert world.book("btcusd")[0] == {100 * PRICE: 60 * SIZE} and world.state("btcusd") == LIVE
    world.say(0, stamp(70))
    assert world.book("btcusd")[0] == {100 * PRICE: 70 * SIZE}
    world.say(0, stamp(80))
    world.say(1, stamp(90))
    assert world.book("btcusd")[0] == {100 * PRICE: 90 * SIZE} and world.counts["gaps"] == 0


def test_stamps_go_on_over_a_planned_replacement_where_its_first_packet_joins_them() -> None:
    world = World("bitstamp")
    other = "diff_order_book_ethusd"
    for symbol, channel in (("btcusd", "diff_order_book_btcusd"), ("ethusd", other)):
        world.say(0, stamp(50, channel))
        world.control({"rest": "depth", "symbol": symbol, "body": rest(60)["body"]})
        world.say(0, stamp(70, channel))
    assert world.state("btcusd") == world.state("ethusd") == LIVE
    world.life(0, "CONNECTED")
    world.life(0, "SYNCHRONIZING", "PLANNED")
    world.connect(0)
    world.events()
    world.say(0, stamp(70), stamp(80), ms=5)
    assert world.number("btcusd") == 80
    assert world.state("btcusd") == world.state("ethusd") == LIVE
    assert not any(event["flags"] & Flag.STALE for event in world.events())
    world.say(0, stamp(90), ms=9)
    assert world.state("btcusd") == LIVE
    assert world.state("ethusd") == (Quality.STALE, Reason.LINE_DOWN)  # nothing says that it lacks nothing


def test_with_no_line_in_step_it_is_a_gap() -> None:
    world = World("bitstamp", 2)
    world.say(0, stamp(50))
    world.control(rest(50))
    world.say(1, stamp(80))
    world.cut(0)
    world.pass_time(10)
    assert world.state("btcusd")[0] == Quality.STALE
    world.control(rest(85))
    assert world.state("btcusd") == LIVE
    world.say(1, stamp(90))
    assert world.book("btcusd")[0] == {100 * PRICE: 90 * SIZE}


def test_a_quiet_pair_is_stale_until_something_happens() -> None:
    """REST answers may be older than the subscription: two that are the same prove nothing."""
    world = World("bitstamp")
    world.life(0, "CONNECTED")
    world.control(rest(50), rest(50))
    assert world.state("btcusd") == (Quality.STALE, Reason.SNAPSHOT)
    world.say(0, stamp(51))
    world.control(rest(50))
    assert world.state("btcusd") == (Quality.STALE, Reason.SNAPSHOT)
    world.control(rest(51))
    assert world.state("btcusd") == LIVE


def test_a_change_that_the_snapshot_has_in_it_already_proves_it() -> None:
    world = World("bitstamp")
    world.control(rest(50))
    world.say(0, stamp(49))
    assert world.state("btcusd") == LIVE
    world.say(0, stamp(51))
    assert world.book("btcusd")[0] == {100 * PRICE: 51 * SIZE}


def test_whole_books_on_the_line_need_no_snapshot() -> None:
    world = World("bitstamp")
    for last in (10, 20, 15):
        world.say(0, stamp(last, "order_book_btcusd"))
    assert world.state("btcusd") == LIVE and world.book("btcusd")[0] == {100 * PRICE: 20 * SIZE}
    world.say(0, stamp(20, "order_book_btcusd", size=7), stamp(20, "order_book_btcusd"))
    assert world.book("btcusd")[0] == {100 * PRICE: 7 * SIZE}  # another of the same stamp; then a copy
    assert world.wishes() == []

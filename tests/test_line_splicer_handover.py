"""The end of a recording, and live connections behind it: what a Splicer believes of books that were recorded."""

from __future__ import annotations

from typing import Any

import pytest
from splicer_world import MS, World
from test_line_splicer import LIVE, begun, bid, change, snapshot

from feedhandler.line._resyncs import RESYNC_SNAPSHOT
from feedhandler.records import Quality, Reason

RECORDED = (Quality.STALE, Reason.CATCHING_UP)


def over(world: World) -> World:
    """The recording has ended, and the live connections begin."""
    world.splicer.catch_up()
    world.splicer.go_live((1 + world.ms) * MS)
    for line in range(world.lines):
        world.connect(line)
    return world


def wanted(world: World) -> list[tuple[int, int]]:
    return [(wish.kind, wish.number) for wish in world.wishes()]


def test_what_continues_the_recorded_number_is_the_proof() -> None:
    world = over(begun())
    assert world.state("BTCUSDT") == RECORDED and bid(world) == 100
    world.say(0, change(98, 99), change(100, 100), ms=20)  # both saw it
    assert world.state("BTCUSDT") == RECORDED
    world.say(0, change(101, 103), ms=30)
    assert world.state("BTCUSDT") == LIVE and bid(world) == 103 and not wanted(world)
    world.pass_time(5_000)
    assert world.state("BTCUSDT") == LIVE and not wanted(world) and world.counts["gaps"] == 0


def test_what_the_recording_lacks_is_had_by_a_snapshot() -> None:
    world = over(begun())
    world.say(0, change(105, 106), ms=20)
    assert world.state("BTCUSDT") == RECORDED and wanted(world) == [(RESYNC_SNAPSHOT, 104)]
    world.control(snapshot(104))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 106


def test_repeats_that_nothing_continues_are_not_believed() -> None:
    world = over(begun())
    world.say(0, change(95, 97), change(98, 100), ms=20)
    world.pass_time(900)
    assert not wanted(world)  # an old text may still be on its way
    world.pass_time(150)
    assert world.state("BTCUSDT") == RECORDED and wanted(world) == [(RESYNC_SNAPSHOT, 0)]
    world.control(snapshot(98))  # 99 and 100 were passed over
    assert world.state("BTCUSDT") == RECORDED and wanted(world) == [(RESYNC_SNAPSHOT, 100)]
    world.control(snapshot(100))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 100


def test_low_numbers_behind_the_overlap_have_begun_anew() -> None:
    world = over(begun())
    world.say(0, change(5, 6), ms=1_100)
    assert world.state("BTCUSDT") == RECORDED and wanted(world) == [(RESYNC_SNAPSHOT, 0)]
    world.control(snapshot(5))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 6 and world.number("BTCUSDT") == 6


def test_a_recording_wishes_for_nothing() -> None:
    world = begun()
    world.splicer.catch_up()
    assert world.word == (Quality.RECOVERING, Reason.CATCHING_UP)
    world.say(0, change(105, 105))
    world.pass_time(50)
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.GAP) and not wanted(world)
    over(world)
    assert wanted(world) == [(RESYNC_SNAPSHOT, 104)]  # now it is of the present


def test_a_recorded_trade_does_not_come_again() -> None:
    world = begun()
    trade = {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 7, "p": "100.00", "q": "1", "T": 1, "m": True, "M": True}
    world.say(0, trade)
    over(world)
    world.events()
    world.say(0, trade, {**trade, "t": 8}, ms=20)
    assert world.events()["order_id"].tolist()[-1:] == [8]
    assert world.counts["missing"] == 0


@pytest.mark.parametrize(("stamp", "state"), [(1_000, LIVE), (2_000, RECORDED)])
def test_a_stamp_that_was_recorded_is_the_proof(stamp: int, state: Any) -> None:
    world = World("bitstamp")

    def diff(at: int) -> dict[str, Any]:
        data = {"timestamp": "1", "microtimestamp": str(at), "bids": [["100", "1"]], "asks": []}
        return {"event": "data", "channel": "diff_order_book_btcusd", "data": data}

    body = {"timestamp": "1", "microtimestamp": "900", "bids": [["99", "1"]], "asks": [["200", "1"]]}
    world.life(0, "CONNECTED")
    world.say(0, diff(800), diff(1_000))
    world.control({"rest": "depth", "symbol": "btcusd", "body": body})
    assert world.state("btcusd") == LIVE
    world.wishes()
    over(world)
    world.say(0, diff(stamp), ms=20)
    assert world.state("btcusd") == state
    assert bool(wanted(world)) == (state != LIVE)

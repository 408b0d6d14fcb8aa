"""The line stage of JSON channels, one story after the other: what is applied, dropped, held, wished for."""

from typing import Any

import numpy as np
import pytest
from splicer_world import World

from feedhandler.line._resyncs import RESYNC_OVER, RESYNC_SNAPSHOT
from feedhandler.records import Cause, Connection, Flag, Quality, Reason

LIVE = (Quality.LIVE, Reason.NONE)


def change(first: int, last: int, symbol: str = "BTCUSDT", bids: Any = (), asks: Any = ()) -> dict[str, Any]:
    """A depthUpdate of the spot market; its bid at 100 says how far the book has come, where nothing else is said."""
    levels = bids if bids or asks else [["100.00", str(last)]]
    return {"e": "depthUpdate", "E": last, "s": symbol, "U": first, "u": last, "b": list(levels), "a": list(asks)}


def snapshot(last: int, symbol: str = "BTCUSDT") -> dict[str, Any]:
    body = {"lastUpdateId": last, "bids": [["100.00", str(last)]], "asks": [["200.00", "5"]]}
    return {"rest": "depth", "symbol": symbol, "body": body}


def bid(world: World, symbol: str = "BTCUSDT") -> int:
    """The number that the book's bid at 100 bears."""
    return world.book(symbol)[0][100 * 10**9] // 10**8


def begun(lines: int = 1, **options: Any) -> World:
    """All lines up, BTCUSDT whole to 100."""
    world = World("binance", lines, **options)
    for line in range(lines):
        world.life(line, "CONNECTED")
        world.say(line, change(99, 100))
    world.control(snapshot(100))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 100
    world.wishes(), world.events()
    return world


def test_a_snapshot_and_what_waited_for_it_make_the_book() -> None:
    world = World("binance")
    world.say(0, change(5, 9), change(10, 12))
    assert world.state("BTCUSDT") == (Quality.INIT, Reason.START)
    [wish] = world.wishes()
    assert (wish.kind, wish.instrument, wish.reason) == (RESYNC_SNAPSHOT, world.index("BTCUSDT"), Reason.SNAPSHOT)
    world.control(snapshot(3))  # older than the first that waits: 4 is missing
    assert world.state("BTCUSDT") == (Quality.INIT, Reason.START)
    assert [(w.kind, w.number) for w in world.wishes()] == [(RESYNC_SNAPSHOT, 4)]
    world.control(snapshot(10))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 12 and world.number("BTCUSDT") == 12
    assert [w.kind for w in world.wishes()] == [RESYNC_OVER]
    events = world.events()
    assert [chr(a) for a in events["action"]] == list("RMMM") and events["channel_seq"].tolist() == [10, 10, 10, 12]
    assert world.counts["outdated"] == 2 and world.counts["snapshots"] == 1 and world.counts["resyncs"] == 1


def test_a_snapshot_that_nothing_proves_is_shown_and_stale_until_a_change_continues_it() -> None:
    world = World("binance")
    world.life(0, "CONNECTED")
    world.control(snapshot(10))
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.SNAPSHOT) and bid(world) == 10
    world.say(0, change(11, 11))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 11


def test_a_hole_is_a_gap_after_reorder_us_and_only_of_its_own_book() -> None:
    world = begun()
    world.say(0, change(7, 7, "ETHUSDT"))
    world.control(snapshot(7, "ETHUSDT"))
    world.wishes(), world.events()
    world.say(0, change(103, 104), ms=10)
    assert world.state("BTCUSDT") == LIVE and bid(world) == 100
    world.pass_time(4)
    assert world.state("BTCUSDT") == LIVE
    world.pass_time(1)
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.GAP) and world.state("ETHUSDT") == LIVE
    [event] = world.events()
    assert (chr(event["action"]), event["instrument"], event["size"]) == ("N", world.index("BTCUSDT"), 2)
    assert [(w.kind, w.number) for w in world.wishes()] == [(RESYNC_SNAPSHOT, 102)]
    assert world.word == LIVE and world.counts["gaps"] == 1 and world.counts["missing"] == 2
    world.say(0, change(8, 8, "ETHUSDT"))
    assert bid(world, "ETHUSDT") == 8
    world.control(snapshot(102))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 104


def test_what_comes_late_heals_the_gap_without_a_snapshot() -> None:
    world = begun()
    world.say(0, change(103, 104))
    world.pass_time(10)
    assert world.state("BTCUSDT")[0] == Quality.STALE
    world.say(0, change(101, 102))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 104 and world.counts["recovered"] == 2
    assert [w.kind for w in world.wishes()] == [RESYNC_SNAPSHOT, RESYNC_OVER]


def test_of_two_lines_the_first_copy_wins_and_losing_one_loses_nothing() -> None:
    world = begun(2)
    world.say(0, change(101, 101))
    world.say(1, change(101, 101), change(102, 103))
    assert bid(world) == 103 and world.line_counts(1)["duplicates"] == 2
    world.cut(1)
    world.say(0, change(102, 103), change(104, 104))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 104
    world.connect(1)
    world.say(1, change(107, 107))  # it is ahead of line 0, and brings what is behind it all the same
    world.say(0, change(105, 106))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 107
    assert world.counts["gaps"] == 0 and world.word == LIVE


def test_with_all_lines_lost_every_book_is_stale_until_a_change_continues_it() -> None:
    world = begun()
    world.life(0, "DISCONNECTED", "LOST")
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.LINE_DOWN)
    line = world.segment.lines[0]
    assert (line["connection"], line["connection_reason"]) == (Connection.DISCONNECTED, Cause.LOST)
    world.life(0, "CONNECTED")
    assert world.state("BTCUSDT")[0] == Quality.STALE
    world.say(0, change(101, 102))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 102
    connections = [e for e in world.events() if e["instrument"] == 0]
    assert [(e["size"], e["order_id"], e["line"]) for e in connections] == [
        (Connection.DISCONNECTED, Cause.LOST, 0),
        (Connection.CONNECTED, Cause.SUBSCRIBED, 0),
    ]


@pytest.mark.parametrize("lines", [1, 2])
def test_what_waited_of_a_lost_connection_proves_no_book(lines: int) -> None:
    world = World("binance", lines)
    other = lines - 1
    world.life(0, "CONNECTED")
    world.say(0, change(99, 100), change(5, 6, "ETHUSDT"))
    world.cut(0)
    world.connect(0)
    world.say(other, change(9, 9, "ETHUSDT"))
    world.life(other, "CONNECTED")
    for symbol, last in (("BTCUSDT", 99), ("ETHUSDT", 5)):
        world.control(snapshot(last, symbol))  # asked for before: what came between the connections is not in it
        assert world.state(symbol) == (Quality.STALE, Reason.SNAPSHOT) and bid(world, symbol) == last + 1
    world.say(other, change(101, 102))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 102
    assert world.state("ETHUSDT")[0] == Quality.STALE
    world.control(snapshot(8, "ETHUSDT"))
    assert world.state("ETHUSDT") == LIVE and bid(world, "ETHUSDT") == 9


def planned(world: World) -> None:
    """Another connection takes the line from one that is up, as planned."""
    world.life(0, "CONNECTED")
    world.life(0, "SYNCHRONIZING", "PLANNED")
    world.connect(0)


def test_a_planned_replacement_leaves_books_live_as_far_as_their_numbers_go_on() -> None:
    world = begun()
    last = world.number("BTCUSDT")
    world.events()
    planned(world)
    assert world.state("BTCUSDT") == LIVE
    world.say(0, change(last - 3, last - 1), change(last, last + 2))  # it begins before the other ended
    assert world.state("BTCUSDT") == LIVE and world.number("BTCUSDT") == last + 2
    assert not np.any(world.events()["flags"] & Flag.STALE)
    world.life(0, "CONNECTED")
    planned(world)
    world.say(0, change(last + 9, last + 9))  # and this one does not
    world.pass_time(20)
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.GAP)


def test_what_is_planned_counts_for_the_connection_that_is_up_alone() -> None:
    world = begun()
    world.life(0, "CONNECTED")
    world.life(0, "SYNCHRONIZING", "PLANNED")
    world.cut(0)  # it ends by itself, before the other has its place
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.LINE_DOWN)
    world.connect(0)
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.LINE_DOWN)
    world = begun()
    planned(world)
    world.cut(0)  # the new one, before anything came of it
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.LINE_DOWN)
    world = begun()
    world.life(0, "CONNECTED")
    world.life(0, "SYNCHRONIZING", "PLANNED")
    world.life(0, "CONNECTED", "HEARD")  # it was given up
    world.connect(0)
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.LINE_DOWN)


def test_numbers_that_begin_anew_behind_a_lost_line_need_a_snapshot() -> None:
    world = begun()
    world.cut(0)
    world.connect(0)
    world.life(0, "DISCONNECTED", "LOST")
    world.say(0, change(5, 6))
    assert world.state("BTCUSDT")[0] == Quality.STALE and [w.kind for w in world.wishes()] == [RESYNC_SNAPSHOT]
    world.control(snapshot(5))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 6


def test_a_malformed_update_turns_its_instrument_stale_and_a_snapshot_is_wished_for() -> None:
    world = begun()
    world.say(0, change(101, 101, bids=[["1", "x"]]))
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.MALFORMED) and world.counts["malformed"] == 1
    assert [(w.kind, w.reason) for w in world.wishes()] == [(RESYNC_SNAPSHOT, Reason.MALFORMED)]
    world.say(0, change(102, 102))
    world.control(snapshot(101))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 102


def test_with_another_line_its_copy_is_taken_instead() -> None:
    world = begun(2)
    world.say(0, change(101, 101, bids=[["1", "x"]]), change(102, 102))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 100
    world.say(1, change(101, 101), change(102, 102))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 102


def test_an_unreadable_text_turns_all_books_of_its_line_stale() -> None:
    world = begun()
    world.say(0, b'{"e":"depthUpd')
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.MALFORMED) and world.line_counts(0)["malformed"] == 1
    world.say(0, change(101, 101))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 101
    both = begun(2)
    both.say(0, b"[")
    assert both.state("BTCUSDT") == LIVE


def test_a_broken_frame_is_a_lost_line() -> None:
    world = begun()
    world.data(0, b"\xff\xff")
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.LINE_DOWN) and world.line_counts(0)["bad_packets"] == 1


def test_texts_of_the_control_lines_form_count_on_the_control_line_only() -> None:
    world = begun()
    world.say(0, snapshot(500))
    world.control(change(101, 101))
    assert bid(world) == 100 and world.line_counts(0)["refused"] == 1 and world.line_counts(1)["refused"] == 1


def test_trades_pass_once_whichever_line_brings_them() -> None:
    world = begun(2)

    def trade(number: int) -> dict[str, Any]:
        return {"e": "trade", "E": 1, "s": "BTCUSDT", "t": number, "p": "1", "q": "2", "T": 1, "m": True}

    world.say(0, trade(1), trade(2))
    world.say(1, trade(1), trade(2), trade(3))
    assert world.events()["order_id"].tolist() == [1, 2, 3] and world.number("BTCUSDT") == 100


def test_what_finds_no_room_to_wait_is_counted_and_the_snapshot_must_have_it() -> None:
    world = World("binance", text_bytes=4096)
    for number in range(1, 60):
        world.say(0, change(number, number))
    assert world.counts["held_full"] > 0
    world.wishes()
    world.control(snapshot(1))
    assert world.state("BTCUSDT")[0] == Quality.INIT and world.wishes()[0].kind == RESYNC_SNAPSHOT
    world.control(snapshot(58))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 59


def test_futures_are_chained_by_the_number_before() -> None:
    world = World("binance_usdm")

    def linked(before: int, first: int, last: int) -> dict[str, Any]:
        return change(first, last) | {"pu": before, "T": 1}

    world.say(0, linked(90, 95, 99), linked(99, 105, 110))
    answer = snapshot(97)
    answer["body"] |= {"E": 1, "T": 1}
    world.control(answer)
    assert world.state("BTCUSDT") == LIVE and bid(world) == 110
    world.say(0, linked(112, 120, 121))
    world.pass_time(10)
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.GAP)
    world.say(0, linked(110, 111, 112))
    assert world.state("BTCUSDT") == LIVE and bid(world) == 121


@pytest.mark.parametrize("lines", [1, 2])
def test_the_end_of_a_recording_closes_holes(lines: int) -> None:
    world = begun(lines)
    world.say(0, change(105, 105))
    world.shard.finish()
    assert world.state("BTCUSDT") == (Quality.STALE, Reason.GAP)

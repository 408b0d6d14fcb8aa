"""Coinbase: the recorded log against dict books after every text, and what its texts mean one by one."""

from __future__ import annotations

import json

import pytest

from feedhandler.decode.venue import venue
from feedhandler.records import Flag
from tests import crypto_logs
from tests.crypto_oracles import MalformedError, coinbase, iso
from tests.crypto_replay import Replay

SNAPSHOT = b'{"type":"snapshot","product_id":"A-B","asks":[["2.5","1"]],"bids":[["2","3"],["1.5","4"]]}'
UPDATE = (
    b'{"type":"l2update","product_id":"A-B",'
    b'"changes":[["sell","2.5","0"],["buy","2.1","7"]],"time":"2021-04-17T16:43:37.075687Z"}'
)
MATCH = (
    b'{"type":"match","trade_id":7,"side":"sell","size":"985","price":"0.00001305","product_id":"A-B",'
    b'"sequence":1,"time":"2021-04-17T16:43:37Z"}'
)


@pytest.mark.real_data
def test_the_recorded_log_makes_the_books_of_the_dict_reference_at_every_text(shared_data):
    replay = Replay("coinbase")
    for line in crypto_logs.merged(shared_data, "coinbase/*.gz"):
        if line.direction == crypto_logs.RECEIVED:
            replay.take(line.text, line.ts)
    counts = replay.decoder.counts
    assert set(counts) == set("BDMRST") and counts["D"] >= 8273 and counts["S"] == len(replay.plain) >= 7
    assert replay.texts["malformed"] == 0
    assert replay.peel() > 5000


def test_a_snapshot_an_update_and_a_match():
    replay = Replay("coinbase")
    reset, *levels = replay.take(SNAPSHOT)
    assert reset.action == "R" and all(e.flags & Flag.SNAPSHOT and e.flags & Flag.BAD_TS for e in levels)
    assert [bool(e.flags & Flag.LAST) for e in (reset, *levels)] == [False, False, False, True]
    sell, buy = replay.take(UPDATE, 5)
    assert (sell.side, sell.size, buy.side, buy.price) == ("A", 0, "B", 210000000)
    assert sell.ts_event == 1618677817075687000
    (trade,) = replay.take(MATCH)
    assert (trade.action, trade.side, trade.order_id, trade.price, trade.size) == ("T", "B", 7, 1305, 98500000000)
    assert replay.plain["A-B"].best("A") == []


def test_look_says_what_a_text_is():
    look = Replay("coinbase").decoder.look_bytes
    assert [look(t)["kind"] for t in (SNAPSHOT, UPDATE, MATCH)] == ["snapshot", "change", "pass"]
    assert look(b'{"type":"heartbeat","product_id":"A-B","sequence":1}')["type"] == "H"
    assert look(b'{"type":"l2update"}') is None


@pytest.mark.parametrize("text", [SNAPSHOT, UPDATE, MATCH])
def test_keys_in_any_order_say_the_same(text):
    message = json.loads(text)
    expected = Replay("coinbase").take(text)
    keys = list(message)
    for turn in range(len(keys)):
        other = {key: message[key] for key in keys[turn:] + keys[:turn]}
        found = Replay("coinbase").take(json.dumps(other).encode())
        assert {e[:5] for e in found} == {e[:5] for e in expected}


@pytest.mark.parametrize(
    "text",
    [
        UPDATE.replace(b'"sell"', b'"offer"'),
        UPDATE.replace(b'"2.5","0"', b'"2.5","-1"'),
        UPDATE.replace(b'"2.1"', b'"2.123456789"'),
        UPDATE.replace(b'"2.1"', b'"99999999999999999999"'),
        UPDATE.replace(b'"2.1"', b"2.1.1"),
        UPDATE.replace(b'"l2update"', b'"l2update","type":"l2update"'),
        UPDATE.replace(b'"changes"', b'"changed"'),
        UPDATE.replace(b"A-B", b""),
        SNAPSHOT.replace(b'"asks"', b'"bids"'),
        SNAPSHOT[:-1],
        SNAPSHOT + b"x",
        MATCH.replace(b'"side":"sell",', b""),
        MATCH.replace(b'"985"', b'"-985"'),
        b"",
        b"[]",
        b'{"product_id":"A-B"}',
    ],
)
def test_a_malformed_text_is_refused_whole(text):
    replay = Replay("coinbase")
    replay.take(SNAPSHOT)
    before = replay.decoder.counts
    with pytest.raises(MalformedError):
        coinbase(text)
    assert replay.take(text) == [] and replay.texts["malformed"] == 1
    assert replay.decoder.counts == before
    assert not replay.decoder.accepts(text)
    replay.compare("A-B", True)


@pytest.mark.parametrize(
    "time",
    [
        "2021-04-17T16:43:37.075687Z",
        "2021-04-17T16:43:37Z",
        "2020-02-29T23:59:59.999999999Z",
        "1970-01-01T00:00:00Z",
        "2000-03-01T00:00:00.1Z",
        "2261-12-31T23:59:59Z",
        "2100-02-29T00:00:00Z",
        "2262-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2021-04-17T16:43:60Z",
        "2021-04-17T24:00:00Z",
        "2021-13-17T16:43:37Z",
        "2021-04-31T16:43:37Z",
        "2021-04-17T16:43:37.Z",
        "2021-04-17T16:43:37.0123456789Z",
        "2021-04-17 16:43:37Z",
        "2021-04-17T16:43:37+00:00",
        "",
    ],
)
def test_times_are_exact_or_marked_as_bad(time):
    (trade,) = Replay("coinbase").take(MATCH.replace(b"2021-04-17T16:43:37Z", time.encode()))
    assert (trade.ts_event, trade.flags & Flag.BAD_TS) == iso(time)


def test_instruments_before_the_data_set_the_exponents():
    there = venue("coinbase")
    replay = Replay("coinbase")
    body = [{"id": "A-B", "quote_increment": "0.0000000001", "base_increment": "1"}]
    text = there.instruments_text(there.feed(["A-B"]), json.dumps(body).encode())
    assert len(replay.decoder.decode_bytes([text])) == 0 and replay.decoder.taken == 1
    record = replay.directory.record(replay.directory.lookup("A-B", "COINBASE"))
    assert (record["price_exponent"], record["size_exponent"], record["tick"], record["lot"]) == (-10, -4, 1, 10000)
    events = replay.decoder.decode_bytes([MATCH])
    assert (events["price"][0], events["size"][0]) == (130500, 9850000)

"""Bitstamp: the recorded log against dict books after every text, and what its texts mean one by one."""

from __future__ import annotations

import json

import pytest

from feedhandler.decode.venue import venue
from feedhandler.records import Flag
from tests import crypto_logs
from tests.crypto_oracles import MalformedError, bitstamp
from tests.crypto_replay import Replay

DIFF = (
    b'{"data":{"timestamp":"16","microtimestamp":"1641343691244908","bids":[["1.15","993.5"],["1.14","0"]],'
    b'"asks":[["1.17","2"]]},"channel":"diff_order_book_abcdef","event":"data"}'
)
BOOK = DIFF.replace(b"diff_order_book", b"order_book")
TRADE = (
    b'{"data":{"id":5,"timestamp":"16","amount":0.1,"amount_str":"0.10000000","price":1.16,"price_str":"1.16","type":1,'
    b'"microtimestamp":"1641343691244999","buy_order_id":1,"sell_order_id":2},"channel":"live_trades_abcdef","event":"trade"}'
)
REST = (
    b'{"rest":"depth","symbol":"abcdef","body"'
    b':{"timestamp":"16","microtimestamp":"1641343691000000","bids":[],"asks":[["1.2","1"]]}}'
)


@pytest.mark.real_data
def test_the_recorded_log_makes_the_books_of_the_dict_reference_at_every_text(shared_data):
    replay, there = Replay("bitstamp"), venue("bitstamp")
    stamps: dict[str, int] = {}
    old = 0
    for line in crypto_logs.merged(shared_data, "bitstamp/*.gz"):
        if line.direction == crypto_logs.REST:
            text = there.depth_text(line.symbol, line.text)
        elif line.direction == crypto_logs.RECEIVED:
            text = line.text
        else:
            continue
        looked = replay.decoder.look_bytes(text)
        assert looked is not None
        if looked["numbered"]:
            symbol = replay.directory.symbol(looked["instrument"])
            if looked["kind"] == "change" and looked["last"] <= stamps.get(symbol, 0):
                old += 1
                continue
            stamps[symbol] = looked["last"]
        replay.take(text, line.ts)
    assert replay.texts["malformed"] == 0 and old >= 5 * len(replay.plain)
    assert set(replay.decoder.counts) == set("DRS") or set(replay.decoder.counts) == set("DRST")
    assert replay.peel() > 1000


def test_a_book_a_diff_and_a_trade():
    replay = Replay("bitstamp")
    assert [e.action for e in replay.take(REST)] == ["R", "M"]
    events = replay.take(DIFF)
    assert [(e.side, e.price, e.size) for e in events] == [
        ("B", 115000000, 99350000000),
        ("B", 114000000, 0),
        ("A", 117000000, 200000000),
    ]
    assert {(e.channel_seq, e.ts_event) for e in events} == {(1641343691244908, 1641343691244908000)}
    assert [bool(e.flags & Flag.LAST) for e in events] == [False, False, True]
    (trade,) = replay.take(TRADE)
    assert (trade.side, trade.order_id, trade.channel_seq, trade.size) == ("A", 5, 0, 10000000)
    assert [e.action for e in replay.take(BOOK)] == ["R", "M", "M", "M"]
    empty = DIFF.replace(b'[["1.15","993.5"],["1.14","0"]]', b"[]").replace(b'[["1.17","2"]]', b"[]")
    (nothing,) = replay.take(empty)
    assert (nothing.action, nothing.flags) == ("N", Flag.LAST)


@pytest.mark.parametrize(
    ("text", "kind", "letter"),
    [
        (DIFF, "change", "D"),
        (BOOK, "snapshot", "S"),
        (REST, "snapshot", "S"),
        (TRADE, "pass", "T"),
        (b'{"event":"bts:subscription_succeeded","channel":"diff_order_book_abcdef","data":{}}', "pass", "R"),
        (b'{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}', "pass", "H"),
        (b'{"event":"bts:request_reconnect","channel":"","data":""}', "reconnect", "R"),
        (b'{"data":{},"channel":"live_orders_abcdef","event":"order_created"}', "pass", "?"),
        (DIFF.replace(b"diff_order_book", b"detail_order_book"), "pass", "?"),
    ],
)
def test_look_says_what_a_text_is(text, kind, letter):
    replay = Replay("bitstamp")
    looked = replay.decoder.look_bytes(text)
    assert (looked["kind"], looked["type"], looked["numbered"]) == (kind, letter, letter in "DST")
    replay.take(text)
    assert replay.decoder.counts == {letter: 1}


@pytest.mark.parametrize("text", [DIFF, BOOK, TRADE])
def test_keys_in_any_order_say_the_same(text):
    message = json.loads(text)
    expected = {e[:5] for e in Replay("bitstamp").take(text)}
    for outer in (["data", "channel", "event"], ["event", "data", "channel"], ["channel", "event", "data"]):
        inner = list(message["data"])
        for turn in range(len(inner)):
            data = {key: message["data"][key] for key in inner[turn:] + inner[:turn]}
            other = {key: {**message, "data": data}[key] for key in outer}
            assert {e[:5] for e in Replay("bitstamp").take(json.dumps(other).encode())} == expected


@pytest.mark.parametrize(
    "text",
    [
        DIFF.replace(b'"microtimestamp":"1641343691244908",', b""),
        DIFF.replace(b"1641343691244908", b"9300000000000000"),
        DIFF.replace(b"1641343691244908", b"-1"),
        DIFF.replace(b'"asks"', b'"bids"'),
        DIFF.replace(b'"asks"', b'"ask"'),
        DIFF.replace(b'"2"', b'"-2"'),
        DIFF.replace(b'"1.17"', b'"1.123456789"'),
        DIFF.replace(b'{"data"', b'{"event":"data","data"'),
        DIFF.replace(b'{"data"', b'{"channel":"order_book_x","data"'),
        DIFF.replace(b"book_abcdef", b"book_abcdef") + b"}",
        DIFF[:-1],
        DIFF.replace(b'{"timestamp"', b'[{"timestamp"'),
        BOOK.replace(b'"data":{', b'"data":[],"other":{'),
        TRADE.replace(b'"type":1', b'"type":2'),
        TRADE.replace(b'"id":5,', b""),
        REST.replace(b'"microtimestamp":"1641343691000000",', b""),
        b'{"data":{}}',
        b"[]",
    ],
)
def test_a_malformed_text_is_refused_whole(text):
    with pytest.raises(MalformedError):
        bitstamp(text)
    replay = Replay("bitstamp")
    replay.take(REST)
    assert replay.take(text) == [] and replay.texts["malformed"] == 1
    assert replay.decoder.counts == {"S": 1}
    assert not replay.decoder.accepts(text)
    replay.compare("abcdef", True)

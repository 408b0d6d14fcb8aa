"""Kraken: the recorded logs against dict books, every checksum, and what its texts mean one by one."""

from __future__ import annotations

import pytest

from feedhandler.records import Flag
from tests import crypto_logs
from tests.crypto_oracles import MalformedError, kraken
from tests.crypto_replay import Replay

SNAPSHOT = b'[7,{"as":[["5.50","1.000","1.5"],["5.60","2.000","1.25"]],"bs":[["5.40","3.000","1"]]},"book-10","A/B"]'
UPDATE = b'[7,{"a":[["5.50","0.000","2.000001"]],"c":"12"},"book-10","A/B"]'
BOTH = b'[7,{"a":[["5.50","4.000","3"]]},{"b":[["5.30","1.000","4","r"]],"c":"99"},"book-10","A/B"]'
TRADE = b'[8,[["5.50","1.5","1618678134.1","b","l",""],["5.40","2","1618678134.2","s","m",""]],"trade","A/B"]'


@pytest.mark.real_data
def test_the_recorded_logs_say_what_the_oracle_says_at_every_text_and_every_checksum_is_right(shared_data):
    replay = Replay("kraken", books=False)
    for line in crypto_logs.merged(shared_data, "kraken/*.gz"):
        if line.direction == crypto_logs.RECEIVED:
            replay.take(line.text, line.ts)
    counts = replay.decoder.counts
    assert set(counts) == set("BDHRST") and replay.texts["malformed"] == 0
    assert counts["D"] >= 2800 and sum(book.checksums for book in replay.plain.values()) == counts["D"]
    assert not any(book.wrong for book in replay.plain.values())


@pytest.mark.real_data
def test_a_snapshot_shows_with_how_many_decimals_a_pair_is_sent(shared_data):
    replay = Replay("kraken", books=False)
    shown = {}
    for line in crypto_logs.merged(shared_data, "kraken/*.ws.50*"):
        if line.direction == crypto_logs.RECEIVED:
            for event in replay.take(line.text):
                if event.action == "M":
                    decimals = (len(event.price_text.partition(".")[2]), len(event.size_text.partition(".")[2]))
                    assert shown.setdefault(event.symbol, decimals) == decimals
    for symbol, decimals in shown.items():
        record = replay.directory.record(replay.directory.lookup(symbol, "KRAKEN"))
        assert (record["price_decimals"], record["size_decimals"]) == decimals
    assert len(shown) >= 5


def test_snapshot_update_both_sides_and_trades():
    replay = Replay("kraken", books=False)
    events = replay.take(SNAPSHOT)
    assert [e.action for e in events] == ["R", "M", "M", "M"] and events[-1].flags & Flag.LAST
    assert {e.ts_event for e in events} == {1500000000}
    record = replay.directory.record(1)
    assert (record["price_decimals"], record["size_decimals"]) == (2, 3)
    change, checksum = replay.take(UPDATE)
    assert not change.flags & Flag.LAST
    assert (checksum.action, checksum.order_id, checksum.size) == ("N", 12, 10)
    assert checksum.flags == Flag.LAST | Flag.MBP and checksum.ts_event == 2000001000
    assert [(e.action, e.side) for e in replay.take(BOTH)] == [("M", "A"), ("M", "B"), ("N", "N")]
    first, second = replay.take(TRADE)
    assert [(e.side, bool(e.flags & Flag.LAST)) for e in (first, second)] == [("B", False), ("A", True)]
    assert first.ts_event == 1618678134100000000


@pytest.mark.parametrize(
    ("text", "kind", "letter"),
    [
        (SNAPSHOT, "snapshot", "S"),
        (UPDATE, "change", "D"),
        (BOTH, "change", "D"),
        (b'[7,{"c":"12"},"book-10","A/B"]', "change", "D"),
        (b' [ 7 , { "c" : 12 } , "book-10" , "A\\/B" ] ', "change", "D"),
        (TRADE, "pass", "T"),
        (b'[7,{"a":["1",2,"3"]},"ticker","A/B"]', "pass", "B"),
        (b'[7,{},"ohlc-5","A/B"]', "pass", "?"),
        (b'{"event":"heartbeat"}', "pass", "H"),
        (b'{"event":"systemStatus","status":"online"}', "pass", "R"),
    ],
)
def test_look_says_what_a_text_is(text, kind, letter):
    replay = Replay("kraken", books=False)
    looked = replay.decoder.look_bytes(text)
    assert (looked["kind"], looked["type"]) == (kind, letter)
    if letter in "SDT":
        assert replay.directory.symbol(looked["instrument"]) == "A/B"
    replay.take(text)
    assert replay.decoder.counts == {letter: 1}


@pytest.mark.parametrize(
    "text",
    [
        UPDATE.replace(b',"c":"12"', b""),
        UPDATE.replace(b'"c":"12"', b'"c":"12","c":"13"'),
        UPDATE.replace(b'"c":"12"', b'"c":"x"'),
        UPDATE.replace(b'"0.000"', b'"-1"'),
        UPDATE.replace(b'"2.000001"', b'"-2"'),
        UPDATE.replace(b',"2.000001"', b""),
        UPDATE.replace(b'"5.50"', b'"5.5000000001"'),
        UPDATE.replace(b"[7", b"[-7"),
        UPDATE.replace(b'"A/B"', b'""'),
        UPDATE.replace(b'"A/B"]', b'"A/B"'),
        UPDATE.replace(b'"book-10","A/B"', b'["book-10","A/B"]'),
        UPDATE.replace(b'"book-10","A/B"', b'"book-10"'),
        SNAPSHOT.replace(b'"bs"', b'"b"'),
        SNAPSHOT.replace(b'"bs"', b'"as"'),
        SNAPSHOT.replace(b'"bs"', b'"other"'),
        SNAPSHOT.replace(b'"as"', b'"other"'),
        BOTH.replace(b'{"b"', b'{"a"'),
        BOTH.replace(b'{"b"', b'7,{"b"'),
        TRADE.replace(b'"b","l"', b'"x","l"'),
        TRADE.replace(b'"1.5"', b'"-1.5"'),
        TRADE.replace(b'"trade"', b'"trade","trade"'),
        b'["A/B"]',
        b"[]",
        b"7",
        b'[7,"book-10","A/B"]',
    ],
)
def test_a_malformed_text_is_refused_whole(text):
    with pytest.raises(MalformedError):
        kraken(text)
    replay = Replay("kraken", books=False)
    replay.take(SNAPSHOT)
    assert replay.take(text) == [] and replay.texts["malformed"] == 1
    assert replay.decoder.counts == {"S": 1}
    assert not replay.decoder.accepts(text)

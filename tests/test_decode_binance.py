"""Binance's decoders equal a plain reading of the same texts; recorded logs give books equal to bookTicker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedhandler._instruments import Instruments
from feedhandler.book import LevelBook
from feedhandler.decode import decoder, protocol
from feedhandler.records import Action, Flag, Quality, slot_stride
from tests import crypto_logs
from tests.binance_oracle import said
from tests.crypto_oracles import MalformedError
from tests.crypto_replay import bare, seen

MARKETS = {"binance": False, "binance_usdm": True}
every_market = pytest.mark.parametrize("name", MARKETS)
LOGS = {
    "spot-2024": ("binance", "binance/spot-*.gz"),
    "usdm-2024": ("binance_usdm", "binance/usdm-*.gz"),
    "spot-2021": ("binance", "binance/cf-BINANCE.*.gz"),
    "usdm-2021": ("binance_usdm", "binance/cf-BINANCE_FUTURES.*.gz"),
}
AGREED = {"spot-2024": 200, "usdm-2024": 250, "spot-2021": 20, "usdm-2021": 5}
"""Common update ids of book and bookTicker that each log has at least."""


def answer(symbol: str, body: bytes) -> bytes:
    """A REST answer as it comes on the control line."""
    return b'{"rest":"depth","symbol":' + json.dumps(symbol).encode() + b',"body":' + body + b"}"


def agree(name: str, text: bytes, symbol: str = "") -> None:
    """The decoder and the plain reading say the same of one text, in a batch of any size."""
    wire = answer(symbol, text) if symbol else text
    directory = Instruments.standalone(50)
    machine = decoder(name, directory)
    try:
        kind, expected = said(text, futures=MARKETS[name], symbol=symbol)
    except MalformedError:
        assert not machine.accepts(wire)
        assert len(machine.decode_bytes([wire])) == 0
        assert (machine.taken, machine.counts) == (0, {})
        return
    assert machine.accepts(wire)
    assert len(directory) == 0
    for capacity in (4, 5, 4096):
        made = machine.decode_bytes([wire, wire], 0, 77, 3, capacity)
        assert machine.taken == 2
        assert seen(made, directory) == bare(expected) * 2
        assert {(int(e["ts_recv"]), int(e["line"]), int(e["seq"])) for e in made} <= {(77, 3, 0)}
    assert machine.counts == {kind: 6}


# -- texts ----------------------------------------------------------------------

DECIMAL = st.from_regex(r"(0|[1-9][0-9]{0,7})(\.[0-9]{1,8})?", fullmatch=True)
LEVELS = st.lists(st.tuples(DECIMAL, DECIMAL).map(list) | st.just(["1.5", "0", []]), max_size=9)
ODD = st.sampled_from([None, True, -1, 1.5, "x", [], {}, [[]], [["1"]], [["1", "-1"]], [["1.0123456789", "1"]], 2**64])
EVENTS = {
    "depthUpdate": "eEsUubaTX",
    "trade": "eEstpqTmM",
    "aggTrade": "eEsapqflTm",
    "bookTicker": "eusbBaA",
    "kline": "eEsk",
}


def value(key: str, name: str) -> st.SearchStrategy[Any]:
    if key in ("b", "a") and name == "depthUpdate":
        return LEVELS
    return {
        "e": st.just(name),
        "s": st.sampled_from(["BTCUSDT", "ETHUSDT", "1000SHIBUSDT"]),
        "m": st.booleans(),
        "k": st.just({"t": 1, "e": "trade", "b": [["1", "2"]]}),
        "U": st.integers(0, 5),
        "u": st.integers(5, 9),
        "pu": st.integers(0, 9),
    }.get(key, DECIMAL if key in ("p", "q", "b", "a", "B", "A") and name != "aggTrade" else st.integers(0, 2**41))


@st.composite
def texts(draw: st.DrawFn, futures: bool) -> bytes:
    """Events with their keys in any order, one now and then missing, odd, doubled or escaped; wrapped or not."""
    name = draw(st.sampled_from(["depthUpdate"] * 3 + list(EVENTS)))
    keys = list(EVENTS[name]) + (["pu"] if futures else [])
    members = [(key, draw(value(key, name))) for key in keys]
    if name == "aggTrade":
        members = [(k, draw(DECIMAL) if k in "pq" else v) for k, v in members]
    if draw(st.booleans()):
        members = draw(st.permutations(members))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(members) - 1))
        change = draw(st.sampled_from(["drop", "odd", "double", "more"]))
        if change == "drop":
            members = members[:at] + members[at + 1 :] or members
        elif change == "odd":
            members[at] = (members[at][0], draw(ODD))
        elif change == "double":
            members.insert(draw(st.integers(0, len(members))), members[at])
        else:
            members.insert(at, (draw(st.sampled_from(["x", "bids", "lastUpdateId", "result", "id"])), draw(ODD)))
    blank = draw(st.sampled_from(["", "", " ", "\n\t"]))
    inner = f",{blank}".join(f"{_key(draw, k)}{blank}:{blank}{json.dumps(v)}" for k, v in members)
    event = f"{{{blank}{inner}{blank}}}"
    stream = draw(st.sampled_from(['{{"stream":"x","data":{}}}', '{{"data":{},"stream":"x"}}', "{}", " {} "]))
    return stream.format(event).encode()


def _key(draw: st.DrawFn, key: str) -> str:
    return f'"\\u{ord(key[0]):04x}{key[1:]}"' if draw(st.integers(0, 19)) == 0 else f'"{key}"'


@pytest.mark.wire
@every_market
@given(data=st.data())
def test_texts_of_any_order_are_read_as_plain_python_reads_them(name: str, data: st.DataObject) -> None:
    agree(name, data.draw(texts(MARKETS[name])))


@pytest.mark.wire
@every_market
@given(data=st.data())
def test_damaged_texts_are_refused_where_plain_python_refuses_them(name: str, data: st.DataObject) -> None:
    text = bytearray(data.draw(texts(MARKETS[name])))
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from(b'{}[]",:0179.eE+- \\ubasT\x00'))
    wire = bytes(text)[: len(text) - data.draw(st.sampled_from([0, 0, 1, 2, 9]))]
    if not wire.startswith((b'{"rest"', b'{"life"')) and wire:
        agree(name, wire)


@pytest.mark.wire
@every_market
@example(bids=[], asks=[], number=0, swap=False, odd={})
@given(bids=LEVELS, asks=LEVELS, number=st.integers(0, 2**63 - 1), swap=st.booleans(), odd=ODD | st.none())
def test_rest_answers_are_snapshots(name: str, bids: Any, asks: Any, number: int, swap: bool, odd: Any) -> None:
    body = {"lastUpdateId": number, "E": 5, "T": 4, "bids": bids, "asks": asks}
    agree(name, json.dumps(dict(reversed(body.items())) if swap else body).encode(), "BTCUSDT")
    agree(name, json.dumps(body | {"asks": odd, "code": -1121}).encode(), "BTCUSDT")
    agree(name, json.dumps({key: body[key] for key in ("bids", "asks", "E")}).encode(), "BTCUSDT")


@pytest.mark.wire
@every_market
def test_a_long_snapshot_comes_in_pieces_and_only_its_end_is_last(name: str) -> None:
    rows = [[f"{price}.5", "1.00000000"] for price in range(5000)]
    wire = answer("BTCUSDT", json.dumps({"lastUpdateId": 9, "bids": rows, "asks": rows}).encode())
    machine = decoder(name, Instruments.standalone(5))
    made = machine.decode_bytes([wire], 0, 1, 0, 192)
    assert (len(made), machine.taken, machine.counts) == (10_001, 1, {"S": 1})
    assert [chr(made["action"][0]), set(made["action"][1:].tolist())] == ["R", {ord("M")}]
    assert np.flatnonzero(made["flags"] & Flag.LAST).tolist() == [10_000]
    assert made["flags"].min() & Flag.SNAPSHOT
    assert (made["channel_seq"] == 9).all()
    assert len(machine.decode_bytes([wire[:-4] + b",]}}"], 0, 1, 0, 192)) == 0


@pytest.mark.wire
@every_market
@pytest.mark.parametrize("early", [("b", "a"), ("a",), ()])
def test_short_levels_that_pass_the_batch_come_in_pieces_wherever_they_stand(name: str, early: tuple[str, ...]) -> None:
    """Levels of fewer bytes than are usual pass a batch that seemed large enough; some stand before the numbers."""
    rows = [["1", "1"]] * 20
    numbers = {"e": "depthUpdate", "E": 8, "T": 7, "s": "BTCUSDT", "U": 5, "u": 6, "pu": 4}
    text = dict.fromkeys(early, rows) | numbers | {"b": rows, "a": rows}
    wire = json.dumps(text, separators=(",", ":")).encode()
    machine = decoder(name, Instruments.standalone(5))
    for taken, capacity in enumerate((4, 20, 30, 33, 38, 40, 4096), 1):
        made = machine.decode_bytes([wire], 0, 1, 0, capacity)
        assert (len(made), machine.taken, machine.counts) == (40, 1, {"D": taken})
        assert np.flatnonzero(made["flags"] & Flag.LAST).tolist() == [39]


@pytest.mark.wire
@every_market
def test_a_text_of_an_instrument_without_room_makes_no_event(name: str) -> None:
    directory = Instruments.standalone(1)
    machine = decoder(name, directory)
    wires = [
        answer(symbol, b'{"lastUpdateId":1,"bids":[["1","1"]],"asks":[]}') for symbol in ("A", "B", "x" * 33, "\u00e9")
    ]
    made = machine.decode_bytes(wires)
    assert machine.taken == 4
    assert made["instrument"].tolist() == [1, 1]
    assert machine.unknown_instrument == 3
    assert machine.instruments_full == 1


@pytest.mark.wire
@every_market
def test_look_says_where_a_text_belongs(name: str) -> None:
    machine = decoder(name, Instruments.standalone(5))
    extra = b'"pu":4,"T":7,' if MARKETS[name] else b""
    wire = b'{"e":"depthUpdate","E":8,"s":"BTCUSDT",' + extra + b'"U":5,"u":6,"b":[["1","x"]],"a":[]}'
    head = machine.look_bytes(wire)
    assert head["kind"] == "change"
    assert (head["first"], head["last"], head["numbered"], head["instrument"]) == (5, 6, True, 1)
    assert (head["chained"], head["previous"]) == ((True, 4) if MARKETS[name] else (False, 0))
    assert head["ts_event"] == (7 if MARKETS[name] else 8) * 10**6
    assert not machine.accepts(wire)  # its levels are no numbers: only the whole text tells
    head = machine.look_bytes(answer("ETHUSDT", b'{"lastUpdateId":77,"bids":[],"asks":[]}'))
    assert (head["kind"], head["last"], head["control"], head["instrument"]) == ("snapshot", 77, True, 2)
    head = machine.look_bytes(b'{"life":"CONNECTED","line":3,"from":"SYNCHRONIZING","reason":"subscribed","at":12}')
    assert (head["kind"], head["line"], head["connection"], head["reason"], head["ts_event"]) == ("life", 3, 5, 4, 12)
    for bad in (
        b'{"life":"GONE","line":1}',
        b'{"life":"DEAD"}',
        b'{"life":"DEAD","line":1',
        b'{"rest":"depth"}',
    ):
        assert machine.look_bytes(bad) is None
        assert not machine.accepts(bad)
    assert machine.look_bytes(b'{"result":null,"id":1}')["kind"] == "pass"
    assert machine.counts == {}


@pytest.mark.wire
def test_instruments_of_the_control_line_enter_the_directory() -> None:
    directory = Instruments.standalone(5)
    machine = decoder("binance", directory)
    rows = [
        {"symbol": "BTCUSDT", "tick": "0.01", "lot": "0.00001", "price_decimals": 2, "size_decimals": 5,
         "price_exponent": -9, "size_exponent": -8},
        {"size_exponent": -2, "lot": "0.25", "tick": "0.000000000001", "symbol": "TINY", "price_exponent": -12},
    ]  # fmt: skip
    wire = json.dumps({"rest": "instruments", "body": rows}, separators=(",", ":")).encode()
    assert len(machine.decode_bytes([wire])) == 0
    assert (machine.taken, machine.counts) == (1, {"I": 1})
    first, second = directory.record(1), directory.record(2)
    assert [int(first[k]) for k in ("tick", "lot", "price_decimals", "size_decimals")] == [10**7, 1000, 2, 5]
    assert [int(second[k]) for k in ("tick", "lot", "price_exponent", "size_exponent")] == [1, 25, -12, -2]
    made = machine.decode_bytes([answer("TINY", b'{"lastUpdateId":1,"bids":[["0.000000000007","1.25"]],"asks":[]}')])
    assert made[["price", "size"]].tolist()[1:] == [(7, 125)]
    # books hold prices in the old exponents: another description changes them no more
    again = json.dumps(
        {"rest": "instruments", "body": [rows[1] | {"price_exponent": -3, "tick": "1"}]}, separators=(",", ":")
    )
    machine.decode_bytes([again.encode()])
    assert [int(directory.record(2)[k]) for k in ("price_exponent", "tick")] == [-12, 10**12]
    for bad in ({"tick": "1"}, {"symbol": "X", "tick": "x"}, {"symbol": "X", "price_exponent": 3}, {"symbol": 1}, 7):
        text = json.dumps({"rest": "instruments", "body": [rows[0], bad]}, separators=(",", ":")).encode()
        assert not machine.accepts(text)
        assert len(machine.decode_bytes([text])) == 0
        assert machine.taken == 0


def test_the_table_names_every_type() -> None:
    for name in MARKETS:
        rules = protocol(name).text
        assert rules
        assert set("DSTABKR") == set(rules.types)


# -- the recorded logs ----------------------------------------------------------


def spliced(texts: Iterator[tuple[bytes, dict[str, Any]]], futures: bool) -> Iterator[bytes]:
    """The texts of recorded books in the order of the rule: what came before the snapshot behind it; no hole."""
    waiting: dict[int, list[tuple[bytes, dict[str, Any]]]] = {}
    at: dict[int, int] = {}
    joined: set[int] = set()

    def judged(wire: bytes, head: dict[str, Any]) -> Iterator[bytes]:
        book, last = head["instrument"], at[head["instrument"]]
        if head["last"] < last or (not futures and head["last"] == last):
            return
        if book in joined:
            assert (head["previous"] == last) if futures else (head["first"] == last + 1), "a hole in the log"
        else:
            assert head["first"] <= last + (not futures) <= head["last"], "the snapshot does not fit"
        joined.add(book)
        at[book] = head["last"]
        yield wire

    for wire, head in texts:
        book = head["instrument"]
        if head["kind"] == "snapshot" and book not in at:
            at[book] = head["last"]
            yield wire
            for held in waiting.pop(book, []):
                yield from judged(*held)
        elif head["kind"] == "change" and book in at:
            yield from judged(wire, head)
        elif head["kind"] == "change":
            waiting.setdefault(book, []).append((wire, head))
        elif head["kind"] == "pass":
            yield wire


def ticker(text: bytes) -> tuple[int, str, list[tuple[str, str]]] | None:
    """Update id, symbol, best bid and ask of a bookTicker."""
    if b'"B":' not in text or b'"kline"' in text:
        return None
    found = json.loads(text)
    found = found.get("data", found)
    return found["u"], found["s"], [(found["b"], found["B"]), (found["a"], found["A"])]


@pytest.mark.parametrize("log", LOGS)
def test_recorded_books_equal_the_book_ticker_at_every_common_update(log: str, shared_data: Path) -> None:
    name, pattern = LOGS[log]
    directory = Instruments.standalone(50)
    machine = decoder(name, directory)
    lines = [line for line in crypto_logs.merged(shared_data, pattern) if line.direction in ("received", "rest")]
    tickers, wires = {}, []
    for line in lines:
        if found := ticker(line.text):
            tickers[found[1], found[0]] = found[2]
        else:
            wires.append(answer(line.symbol, line.text) if line.direction == "rest" else line.text)
    heads = [(wire, machine.look_bytes(wire)) for wire in wires]
    assert all(head for _, head in heads)
    books = LevelBook(np.zeros(51 * slot_stride(1), np.uint8), depth=1, level_bytes=1 << 20)
    position, agreed = 1, 0
    for wire in spliced(iter(heads), MARKETS[name]):
        made = machine.decode_bytes([wire], 0, 1)
        assert machine.taken == 1
        books.apply_events(made, position)
        position += len(made)
        if not len(made) or made["action"][-1] == Action.TRADE:
            continue
        number = int(made["instrument"][0])
        head, bids, asks = books.book(number)
        assert head["quality"] == Quality.LIVE
        assert bids["price"][0] < asks["price"][0], "crossed"
        best = tickers.get((directory.symbol(number), int(head["channel_seq"])))
        if best:
            agreed += 1
            assert [tuple(side[["price", "size"]][0]) for side in (bids, asks)] == [
                (int(Decimal(price) * 10**9), int(Decimal(size) * 10**8)) for price, size in best
            ]
    assert agreed >= AGREED[log]
    assert "?" not in machine.counts


@pytest.mark.parametrize("log", LOGS)
def test_every_recorded_text_is_read_as_plain_python_reads_it(log: str, shared_data: Path) -> None:
    name, pattern = LOGS[log]
    directory = Instruments.standalone(50)
    machine = decoder(name, directory)
    for path in crypto_logs.logs(shared_data, pattern):
        for line in crypto_logs.read(path)[:4000]:
            if line.direction not in ("received", "rest"):
                continue
            symbol = line.symbol if line.direction == "rest" else ""
            _, expected = said(line.text, futures=MARKETS[name], symbol=symbol)
            made = machine.decode_bytes([answer(symbol, line.text) if symbol else line.text])
            assert seen(made, directory) == bare(expected)

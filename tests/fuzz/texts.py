"""JSON texts into events: what must hold of any venue's decoder, whatever the bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from feedhandler._instruments import Instruments
from feedhandler.decode import decoder
from feedhandler.decode._text import TextDecoder
from feedhandler.records import Flag
from tests.fuzz.engine import Target, ViolationError
from tests.fuzz.packets import Wire, pack, parse

CAPACITY = 8  # instruments, the unused 0 included
SIDES: dict[str, Any] = {"b": [["61737.63000000", "0.00000000"], ["1.5", "2"]], "a": [["61838.04", "1e-7"]]}
CONTROL: list[Any] = [
    {"life": "CONNECTED", "line": 0, "from": "SYNCHRONIZING", "reason": "subscribed", "at": 1_700_000_000_000_000_000},
    {"rest": "instruments", "body": [{"symbol": "BTCUSDT", "tick": "0.01", "lot": "0.001", "price_decimals": 2}]},
    {"rest": "depth", "symbol": "BTCUSDT", "body": {"lastUpdateId": 5, "bids": SIDES["b"], "asks": SIDES["a"]}},
]
BINANCE: list[Any] = [
    {"stream": "x", "data": {"e": "depthUpdate", "E": 9, "T": 8, "s": "BTCUSDT", "U": 5, "u": 6, "pu": 4} | SIDES},
    {"b": [], "a": [], "u": 7, "U": 7, "pu": 6, "s": "BTC\u00dcSDT", "E": 1, "e": "depthUpdate"},
    {"e": "trade", "E": 1, "s": "ETHUSDT", "t": 1, "p": "1.5", "q": "2", "T": 1, "m": True},
    {"e": "aggTrade", "E": 1, "s": "ETHUSDT", "a": 1, "p": "1.5", "q": "2", "f": 1, "l": 2, "T": 1, "m": False},
    {"u": 1, "s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4"},
    {"result": None, "id": 1},
]
COINBASE: list[Any] = [
    {"type": "snapshot", "product_id": "BTC-USD", "bids": [["1.5", "2"]], "asks": [["1.6", "1"]]},
    {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "1.5", "0"]], "time": "2021-04-17T01:02:03.4Z"},
    {"type": "match", "trade_id": 1, "sequence": 5, "side": "buy", "size": "1", "price": "2", "product_id": "BTC-USD",
     "time": "2021-04-17T01:02:03.456789Z", "maker_order_id": "m", "taker_order_id": "t"},
]  # fmt: skip
KRAKEN: list[Any] = [
    [7, {"as": [["1.60", "1.000", "1.5"]], "bs": [["1.50", "2.000", "1.5"]]}, "book-10", "XBT/USD"],
    [
        7,
        {"a": [["1.60", "0.000", "2.5"]]},
        {"b": [["1.50", "3.000", "2.5", "r"]], "c": "974947235"},
        "book-10",
        "XBT/USD",
    ],
    [8, [["1.5", "2.0", "1534614057.321597", "s", "l", ""]], "trade", "XBT/USD"],
    {"event": "heartbeat"},
]
BITSTAMP: list[Any] = [
    {"event": "data", "channel": "diff_order_book_btcusd",
     "data": {"timestamp": "1", "microtimestamp": "1000000", "bids": [["1.5", "2"]], "asks": []}},
    {"event": "trade", "channel": "live_trades_btcusd",
     "data": {"id": 1, "amount": 1.5, "price": 2.5, "type": 0, "microtimestamp": "1", "timestamp": "1"}},
    {"event": "bts:request_reconnect", "channel": "", "data": ""},
]  # fmt: skip
SEEDS = {"binance": BINANCE, "binance_usdm": BINANCE, "coinbase": COINBASE, "kraken": KRAKEN, "bitstamp": BITSTAMP}

# In the order of keys of today, which is read the short way.
STREAM = b'{"stream":"btcusdt@depth@100ms","data":'
USUAL = {
    "binance": STREAM + b'{"e":"depthUpdate","E":1723161601273,"s":"BTCUSDT","U":50093421585,"u":50093421612,'
    b'"b":[["61685.99000000","1.25869000"]],"a":[["61686.00000000","0.00000000"],["61687.10000000","2"]]}}',
    "binance_usdm": b'{"e":"depthUpdate","E":1626992741559,"T":1626992741467,"s":"1000SHIBUSDT","U":600859609657,'
    b'"u":600859609902,"pu":600859605486,"b":[["0.01714","1474950"]],"a":[]}',
    "coinbase": b'{"type":"l2update","product_id":"SKL-BTC","changes":[["sell","0.00001306","660.5"],'
    b'["buy","0.1","0.0"]],"time":"2021-04-17T16:43:37.075687Z"}',
    "kraken": b'[1664,{"b":[["13.206100","419.18349878","1618678133.711166"]],"c":"176333288"},'
    b'"book-1000","WAVES/EUR"]',
    "bitstamp": b'{"data":{"timestamp":"1641343697","microtimestamp":"1641343697352178","bids":[["0.05","12.5"]],'
    b'"asks":[["0.06","0.00000000"]]},"channel":"diff_order_book_sgbeur","event":"data"}',
}


def check(holds: object, promise: str) -> None:
    if not holds:
        raise ViolationError(promise)


def text_target(name: str) -> Target:
    """Any bytes are whole events or malformed; in batches of any size the same; refused is what accepts() refuses."""
    texts = [json.dumps(each, separators=(",", ":")).encode() for each in [*SEEDS.get(name, BINANCE), *CONTROL]]
    texts += [USUAL[name]] if name in USUAL else []
    return Target(f"decode.{name}", lambda raw: _run(name, raw), [pack([Wire(text) for text in texts])])


def _run(name: str, raw: bytes) -> None:
    wires = [packet.data for packet in parse(raw)]
    machines = [decoder(name, Instruments.standalone(CAPACITY - 1)) for _ in range(3)]
    whole, small, judge = (machine for machine in machines if isinstance(machine, TextDecoder))
    for wire in wires:
        head = judge.look_bytes(wire)
        good = judge.accepts(wire)
        events, parts = whole.decode_bytes([wire], 0, 5, 1), small.decode_bytes([wire], 0, 5, 1, 4)
        check(events.tobytes() == parts.tobytes(), f"batches of any size give the same events: {events} {parts}")
        check((whole.taken == 1) == (small.taken == 1) == good, "accepts() says what decode() takes")
        check(head is not None or not good, "what look() refuses is malformed")
        if head is None or not good:
            check(not len(events), "a malformed text makes no event")
            continue
        check(len(events) == 0 or events["flags"][-1] & Flag.LAST, "the last event is LAST")
        check(np.count_nonzero(events["flags"] & Flag.LAST) <= max(len(events), 1), "LAST is a flag of events")
        check(not len(events) or events["instrument"].min() > 0, "no event without an instrument")
        check(not len(events) or events["instrument"].max() < CAPACITY, "instruments are of the directory")
        judge.decode_bytes([wire], 0, 5, 1)
    check(whole.counts == small.counts == judge.counts, "all count the same types")

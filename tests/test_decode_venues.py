"""What is said to the venues and asked of them, against what was said and answered in the recorded logs."""

from __future__ import annotations

import json

import pytest

from feedhandler.decode.venue import Cause, Feed, Heard, Venue, venue
from feedhandler.errors import ConfigError, SessionError
from feedhandler.session.websocket_lines import Confirmations
from tests import crypto_logs

NAMES = ("binance", "binance_usdm", "coinbase", "kraken", "bitstamp")
SYMBOLS = {
    "binance": "BTCUSDT",
    "binance_usdm": "BTCUSDT",
    "coinbase": "BTC-USD",
    "kraken": "XBT/USD",
    "bitstamp": "btcusd",
}


def spoken(name: str) -> tuple[Venue, Feed]:
    there = venue(name)
    return there, there.feed([SYMBOLS[name]])


@pytest.mark.parametrize("name", NAMES)
def test_a_venue_names_itself_and_takes_its_own_defaults(name):
    there, feed = spoken(name)
    assert there.name == name
    assert set(there.defaults) <= set(there.streams) and set(there.books) <= set(there.streams)
    assert len([s for s in there.defaults if s in there.books]) == 1
    assert feed.streams == there.defaults and feed.depth == there.depths[-1]
    assert there.endpoint() == there.url
    assert there.endpoint("ws://127.0.0.1:9000").startswith("ws://127.0.0.1:9000/")
    assert there.endpoint("wss://localhost:9/some/where?x=1") == "wss://localhost:9/some/where?x=1"


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("binance", {1: 5000, 6: 5000, 7: 1000, 31: 1000, 32: 500, 63: 500, 64: 100, 500: 100}),
        ("binance_usdm", {1: 1000, 34: 1000, 35: 500, 69: 500, 70: 100, 139: 100, 140: 50, 300: 50}),
        ("kraken", {1: 1000, 100: 1000}),
        ("bitstamp", {1: 0, 100: 0}),
    ],
)
def test_the_usual_depth_lets_all_books_begin_within_the_venues_limit(name, depths):
    there = venue(name)
    symbols = [f"A{n}/USD" if name == "kraken" else f"A{n}USDT" for n in range(500)]
    for count, depth in depths.items():
        feed = there.feed(symbols[:count])
        assert feed.depth == depth
        weight = sum(r.weight for s in feed.symbols if (r := there.snapshot(feed, s)))
        took = (weight + there.instruments(feed).weight - there.rest_limit.burst) / there.rest_limit.per_s
        assert there.first_books_s(feed) == pytest.approx(max(took, 0.0))
        assert took <= 10 or depth == there.depths[0]
    assert there.feed(symbols[:300], depth=there.depths[-1]).depth == there.depths[-1]
    without = [stream for stream in there.streams if stream not in there.books]
    assert there.first_books_s(there.feed(symbols, without[:1], there.depths[-1])) == 0.0  # no book is waited for


@pytest.mark.parametrize("name", NAMES)
def test_every_message_is_json_and_names_each_symbol_and_stream(name):
    there = venue(name)
    other = {"coinbase": "ETH-EUR", "kraken": "ETH/EUR", "bitstamp": "etheur"}.get(name, "ETHUSDT")
    feed = there.feed([SYMBOLS[name], other])
    for texts in (there.subscribe(feed, 7), there.unsubscribe(feed, 7)):
        assert all(isinstance(json.loads(text), dict) for text in texts)
        for wanted in (*feed.symbols, *feed.streams):
            assert any(wanted.lower() in text.lower() for text in texts)
    again = " ".join(there.resubscribe(feed, other))
    assert other.lower() in again.lower() and SYMBOLS[name].lower() not in again.lower()
    assert "trade" not in again and "matches" not in again


def test_subscriptions_are_those_of_the_recorded_logs(shared_data):
    for name, pattern, streams, depth in (
        ("coinbase", "coinbase/*.ws.*", ("level2",), 0),
        ("kraken", "kraken/*.ws.50*", ("book",), 1000),
        ("bitstamp", "bitstamp/*.ws.*", ("diff_order_book", "live_trades"), 0),
    ):
        lines = [line for line in crypto_logs.merged(shared_data, pattern) if line.direction == crypto_logs.SENT]
        sent = [json.loads(line.text) for line in lines]
        there = venue(name)
        if name == "bitstamp":
            symbols = [s["data"]["channel"].rpartition("_")[2] for s in sent[: len(sent) // 2]]
        else:
            symbols = sent[0].get("product_ids") or sent[0]["pair"]
        ours = [json.loads(text) for text in there.subscribe(there.feed(symbols, streams, depth))]
        for message in ours:
            message.pop("reqid", None)
        assert ours == sent[: len(ours)]


def test_what_the_logs_hold_beside_market_data_is_heard(shared_data):
    heard: dict[str, set[Heard]] = {}
    for name in ("coinbase", "kraken", "bitstamp"):
        there = venue(name)
        subscribed = set()
        for line in crypto_logs.merged(shared_data, f"{name}/*.ws.*"):
            if line.direction == crypto_logs.RECEIVED and (said := there.heard(line.text)):
                heard.setdefault(name, set()).add(said.what)
                if said.what is Heard.SUBSCRIBED:
                    subscribed |= {(symbol, said.stream) for symbol in said.symbols}
                if name == "kraken" and said.stream == "book":
                    assert said.depth == 1000
        assert subscribed
    assert heard == {
        "coinbase": {Heard.SUBSCRIBED},
        "kraken": {Heard.SUBSCRIBED, Heard.STATUS, Heard.HEARTBEAT},
        "bitstamp": {Heard.SUBSCRIBED},
    }


def test_rest_answers_of_the_logs_become_texts_with_their_body_unchanged(shared_data):
    count = 0
    for name, pattern in (
        ("binance", "binance/*BINANCE.http*"),
        ("binance", "binance/spot-*08.gz"),
        ("binance_usdm", "binance/*FUTURES.http*"),
        ("binance_usdm", "binance/usdm-*"),
        ("bitstamp", "bitstamp/*.http*"),
    ):
        there = venue(name)
        for line in crypto_logs.merged(shared_data, pattern):
            if line.direction != crypto_logs.REST:
                continue
            symbol = there.symbol(line.symbol)
            text = there.depth_text(symbol, line.text)
            assert line.text in text
            assert json.loads(text) == {"rest": "depth", "symbol": symbol, "body": json.loads(line.text)}
            request = there.snapshot(there.feed([symbol], depth=1000 if "binance" in name else 0), symbol)
            assert request is not None and request.symbol == symbol
            if "unknown" not in line.connection:
                assert request.url.rstrip("/") == line.connection
            count += 1
    assert count >= 15


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"[]", b"null", b'{"code":-1121}', b'{"bids":1,"asks":2}'])
def test_an_answer_that_is_no_book_never_reaches_the_decoder(name, body):
    there, feed = spoken(name)
    with pytest.raises(SessionError, match=name):
        there.depth_text(feed.symbols[0], body)


INSTRUMENTS = {
    "binance": {
        "symbols": [
            {
                "symbol": "BTCUSDT",
                "baseAssetPrecision": 8,
                "quoteAssetPrecision": 8,
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
                ],
            }
        ]
    },
    "binance_usdm": {
        "symbols": [
            {"symbol": "ETHUSDT", "pricePrecision": 2, "quantityPrecision": 3, "filters": []},
            {
                "symbol": "BTCUSDT",
                "pricePrecision": 2,
                "quantityPrecision": 3,
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.001"},
                ],
            },
        ]
    },
    "coinbase": [{"id": "BTC-USD", "quote_increment": "0.01", "base_increment": "0.00000001"}],
    "kraken": {
        "error": [],
        "result": {
            "XXBTZUSD": {"wsname": "XBT/USD", "pair_decimals": 1, "lot_decimals": 8, "tick_size": "0.1"},
        },
    },
    "bitstamp": [{"url_symbol": "btcusd", "base_decimals": 8, "counter_decimals": 2}],
}
EXPECTED = {
    "binance": ("0.01", "0.00001", 8, 8, -9, -8),
    "binance_usdm": ("0.1", "0.001", 2, 3, -9, -4),
    "coinbase": ("0.01", "0.00000001", 2, 8, -8, -8),
    "kraken": ("0.1", "0.00000001", None, None, -9, -8),
    "bitstamp": ("0.01", "0.00000001", 2, 8, -8, -8),
}


@pytest.mark.parametrize("name", NAMES)
def test_instruments_become_a_text_of_exact_decimals(name):
    there, feed = spoken(name)
    assert there.instruments(feed).url.startswith(there.rest + "/")
    assert there.instruments(feed, "http://127.0.0.1:9/").url.startswith("http://127.0.0.1:9/")
    text = json.loads(there.instruments_text(feed, json.dumps(INSTRUMENTS[name]).encode()))
    tick, lot, price_decimals, size_decimals, price_exponent, size_exponent = EXPECTED[name]
    (row,) = text.pop("body")
    assert text == {"rest": "instruments"}
    assert row == {
        "symbol": SYMBOLS[name],
        "tick": tick,
        "lot": lot,
        "price_exponent": price_exponent,
        "size_exponent": size_exponent,
    } | ({} if price_decimals is None else {"price_decimals": price_decimals, "size_decimals": size_decimals})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", [b"busy", b"7", b'{"error":["EQuery:Unknown asset pair"]}', b'{"symbols":{}}', b"[1]"])
def test_an_answer_that_lists_no_instruments_is_refused(name, body):
    there, feed = spoken(name)
    with pytest.raises(SessionError, match=name):
        there.instruments_text(feed, body)


def test_hostile_values_in_a_list_of_instruments_are_unknown_not_believed():
    there, feed = spoken("coinbase")
    rows = [{"id": "BTC-USD", "quote_increment": "NaN", "base_increment": {"a": 1}}]
    (row,) = json.loads(there.instruments_text(feed, json.dumps(rows).encode()))["body"]
    assert (row["tick"], row["lot"]) == ("0", "0")
    there, feed = spoken("bitstamp")
    rows = [{"url_symbol": "btcusd", "base_decimals": "many", "counter_decimals": -3}]
    (row,) = json.loads(there.instruments_text(feed, json.dumps(rows).encode()))["body"]
    assert (row["price_decimals"], row["size_decimals"]) == (0, 0)


def test_more_decimals_than_usual_make_finer_exponents():
    there, feed = spoken("kraken")
    body = {"result": {"a": {"wsname": "XBT/USD", "pair_decimals": 10, "lot_decimals": 9}}}
    (row,) = json.loads(there.instruments_text(feed, json.dumps(body).encode()))["body"]
    assert (row["price_exponent"], row["size_exponent"], row["tick"]) == (-10, -9, "0.0000000001")


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("kraken", (["XBTUSD"],), "wsname"),
        ("kraken", (["XBT/USD"], ["books"]), "unknown stream 'books'"),
        ("kraken", (["XBT/USD"], ["book"], 50), "10, 25, 100"),
        ("coinbase", (["BTC-USD"], [], 10), "whole book"),
        ("coinbase", (["BTC-USD"], ["level2", "level2_batch"]), "the same book"),
        ("binance", ([],), "symbols is empty"),
        ("binance", (["BTC USDT"],), "no symbol"),
        ("binance", ([f"S{i}" for i in range(600)],), "1024 are allowed"),
        ("bitstamp", (["b" * 40],), "more than 32"),
    ],
)
def test_a_wish_that_cannot_be_had_is_refused_with_the_remedy(name, arguments, word):
    with pytest.raises(ConfigError, match=word):
        venue(name).feed(*arguments)


def test_unknown_venues_and_urls_are_refused():
    with pytest.raises(ConfigError, match="known are"):
        venue("nowhere")
    with pytest.raises(ConfigError, match="no WebSocket venue"):
        venue("itch50")
    with pytest.raises(ConfigError, match="wss://"):
        venue("kraken").endpoint("https://ws.kraken.com")


def test_why_a_connection_ended():
    there = venue("binance")
    assert there.cause(1006) is Cause.NETWORK
    assert there.cause(1001) is there.cause(1012) is Cause.PLANNED
    assert there.cause(1011) is there.cause(1013) is Cause.SERVER
    assert there.cause(1002) is there.cause(1007) is there.cause(1009) is Cause.PROTOCOL
    assert there.cause(1008, "Too many requests") is Cause.RATE_LIMITED
    assert venue("kraken").cause(1008) is Cause.POLICY
    assert venue("bitstamp").cause(4009) is Cause.AUTH_EXPIRED
    assert there.refusal(429) is there.refusal(418) is Cause.RATE_LIMITED
    assert there.refusal(503) is there.refusal(500) is there.refusal(408) is Cause.SERVER
    assert there.refusal(401) is Cause.AUTH_EXPIRED
    assert there.refusal(451) is Cause.POLICY
    assert there.refusal(404) is Cause.REQUEST


def test_answers_and_warnings_are_heard():
    binance = venue("binance")
    said = binance.heard('{"result":null,"id":3}')
    assert said and (said.what, said.request) == (Heard.SUBSCRIBED, 3)
    said = binance.heard('{"error":{"code":2,"msg":"Invalid request"},"id":4}')
    assert said and (said.what, said.request, said.reason) == (Heard.REFUSED, 4, "Invalid request (2)")
    said = binance.heard('{"stream":"x","data":{"e":"serverShutdown","E":1}}')
    assert said and said.what is Heard.RECONNECT
    said = venue("bitstamp").heard('{"event":"bts:request_reconnect","channel":"","data":""}')
    assert said and said.what is Heard.RECONNECT
    said = venue("bitstamp").heard('{"event":"bts:error","channel":"","data":{"code":null,"message":"Bad"}}')
    assert said and (said.what, said.reason) == (Heard.REFUSED, "Bad")
    said = venue("coinbase").heard('{"type":"error","message":"Failed to subscribe","reason":"x is not a product"}')
    assert said and (said.what, said.reason) == (Heard.REFUSED, "Failed to subscribe x is not a product")
    said = venue("kraken").heard(
        '{"errorMessage":"Currency pair not supported","event":"subscriptionStatus","pair":"A/B","status":"error"}'
    )
    assert said and (said.what, said.symbols) == (Heard.REFUSED, ("A/B",))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"[1,2]", b"{}", b"null", b'{"event":7,"type":[],"id":"x"}', b"[" * 9999]
)
def test_a_text_of_no_known_kind_says_nothing(name, text):
    assert venue(name).heard(text) is None


def test_coinbase_confirms_level2_batch_by_its_older_name():
    there = venue("coinbase")
    feed = there.feed(["BTC-USD"])
    confirmed = Confirmations(feed, 1)
    channels = [
        {"name": "level2_50" if stream == "level2_batch" else stream, "product_ids": ["BTC-USD"], "account_ids": None}
        for stream in feed.streams
    ]
    confirmed.hear(there.heard(json.dumps({"type": "subscriptions", "channels": channels})))
    assert confirmed.done


def coinbase_confirms(*channels: tuple[str, list[str]], symbols=("BTC-USD", "ETH-USD"), streams=("level2", "matches")):
    there = venue("coinbase")
    confirmed = Confirmations(there.feed(symbols, streams), 1)
    listed = [{"name": name, "product_ids": products} for name, products in channels]
    confirmed.hear(there.heard(json.dumps({"type": "subscriptions", "channels": listed})))
    return confirmed


def test_coinbase_confirms_what_it_lists_and_no_more():
    both = ["BTC-USD", "ETH-USD"]
    assert coinbase_confirms(("level2", both), ("matches", both)).done
    assert coinbase_confirms(("level2", ["BTC-USD"]), ("matches", both)).missing == "ETH-USD level2"
    assert coinbase_confirms(("matches", both)).missing == "BTC-USD level2, ETH-USD level2"
    assert coinbase_confirms(("ticker", both), streams=("level2",)).missing == "BTC-USD level2, ETH-USD level2"
    assert coinbase_confirms(symbols=("BTC-USD",), streams=("level2",)).missing == "BTC-USD level2"
    said = venue("coinbase").heard('{"type":"subscriptions","channels":[{"name":7,"product_ids":[["BTC-USD"]]},null]}')
    assert said and said.listed == (("['BTC-USD']", "7"),)


def test_a_confirmation_of_another_stream_confirms_nothing():
    there = venue("kraken")
    confirmed = Confirmations(there.feed(["XBT/USD"]), 2)
    answer = {"event": "subscriptionStatus", "status": "subscribed", "pair": "XBT/USD"}
    confirmed.hear(there.heard(json.dumps(answer | {"subscription": {"name": "ticker"}})))
    assert confirmed.missing == "XBT/USD book, XBT/USD trade"
    confirmed.hear(there.heard(json.dumps(answer | {"subscription": {"name": "book"}})))
    assert confirmed.missing == "XBT/USD trade"

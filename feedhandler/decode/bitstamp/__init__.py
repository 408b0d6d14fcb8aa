"""Bitstamp WebSocket v2, order books and live trades. Documents: SOURCES.md."""

from feedhandler.decode.spec import texts

PROTOCOL = texts(
    name="bitstamp",
    title="Bitstamp WebSocket v2, order books and live trades",
    venue="BITSTAMP",
    time="microtimestamp",
    symbol="channel",
    joined="stamps",
    price_exponent=-8,
    types={
        "D": "diff_order_book",
        "S": "order_book, REST order book",
        "T": "live_trades",
        "H": "heartbeat",
        "R": "bts: answers and requests",
    },
)

"""Bitstamp WebSocket v2, order books and live trades. Documents: SOURCES.md."""

from feedhandler.decode.spec import BySymbol, Clock, Protocol, TextRules

PROTOCOL = Protocol(
    name="bitstamp",
    title="Bitstamp WebSocket v2, order books and live trades",
    byte_order="little",
    framing="websocket",
    book="levels",
    venue="BITSTAMP",
    clock=Clock("microtimestamp", since="epoch", zone="UTC"),
    instrument=BySymbol("channel"),
    messages=(),
    price_exponent=-8,
    size_exponent=-8,
    price_decimals=8,
    size_decimals=8,
    text=TextRules(
        joined="stamps",
        types={
            "D": "diff_order_book",
            "S": "order_book, REST order book",
            "T": "live_trades",
            "H": "heartbeat",
            "R": "bts: answers and requests",
        },
    ),
)

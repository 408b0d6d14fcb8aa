"""Coinbase Exchange WebSocket feed, level2 and matches. Documents: SOURCES.md."""

from feedhandler.decode.spec import BySymbol, Clock, Protocol, TextRules

PROTOCOL = Protocol(
    name="coinbase",
    title="Coinbase Exchange WebSocket feed, level2 and matches",
    byte_order="little",
    framing="websocket",
    book="levels",
    venue="COINBASE",
    clock=Clock("time", since="epoch", zone="UTC"),
    instrument=BySymbol("product_id"),
    messages=(),
    price_exponent=-8,
    size_exponent=-8,
    price_decimals=8,
    size_decimals=8,
    text=TextRules(
        joined="snapshot first",
        types={
            "D": "l2update",
            "S": "snapshot",
            "T": "match",
            "M": "last_match",
            "B": "ticker",
            "H": "heartbeat",
            "R": "subscriptions, error",
        },
    ),
)

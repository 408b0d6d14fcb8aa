"""Coinbase Exchange WebSocket feed, level2 and matches. Documents: SOURCES.md."""

from feedhandler.decode.spec import texts

PROTOCOL = texts(
    name="coinbase",
    title="Coinbase Exchange WebSocket feed, level2 and matches",
    venue="COINBASE",
    time="time",
    symbol="product_id",
    joined="snapshot first",
    price_exponent=-8,
    types={
        "D": "l2update",
        "S": "snapshot",
        "T": "match",
        "M": "last_match",
        "B": "ticker",
        "H": "heartbeat",
        "R": "subscriptions, error",
    },
)

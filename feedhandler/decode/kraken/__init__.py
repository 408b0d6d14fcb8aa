"""Kraken WebSocket v1, book with checksum and trade. Documents: SOURCES.md."""

from feedhandler.decode.spec import texts

PROTOCOL = texts(
    name="kraken",
    title="Kraken WebSocket v1, book with checksum and trade",
    venue="KRAKEN",
    time="time",
    symbol="pair",
    joined="snapshot first",
    summed=True,
    types={
        "D": "book update",
        "S": "book snapshot",
        "T": "trade",
        "B": "ticker, spread",
        "H": "heartbeat",
        "R": "systemStatus, subscriptionStatus",
    },
)

"""Binance spot, WebSocket market streams. Documents: SOURCES.md."""

from feedhandler.decode.spec import texts

TYPES = {
    "D": "depthUpdate",
    "S": "snapshot of REST depth",
    "T": "trade",
    "A": "aggTrade",
    "B": "bookTicker",
    "K": "kline",
    "R": "answer to a request",
}

PROTOCOL = texts(
    name="binance",
    title="Binance spot, WebSocket market streams",
    venue="BINANCE",
    time="E",
    symbol="s",
    joined="ranges",
    types=TYPES,
)

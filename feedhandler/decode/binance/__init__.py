"""Binance spot, WebSocket market streams. Documents: SOURCES.md."""

from feedhandler.decode.spec import BySymbol, Clock, Protocol, TextRules

PROTOCOL = Protocol(
    name="binance",
    title="Binance spot, WebSocket market streams",
    byte_order="little",
    framing="websocket",
    book="levels",
    venue="BINANCE",
    clock=Clock("E", since="epoch", zone="UTC"),
    instrument=BySymbol("s"),
    messages=(),
    size_exponent=-8,
    price_decimals=8,
    size_decimals=8,
    text=TextRules(
        joined="ranges",
        types={
            "D": "depthUpdate",
            "S": "snapshot of REST depth",
            "T": "trade",
            "A": "aggTrade",
            "B": "bookTicker",
            "K": "kline",
            "R": "answer to a request",
        },
    ),
)

"""Binance USD-M futures, WebSocket market streams. Documents: SOURCES.md."""

from feedhandler.decode.spec import BySymbol, Clock, Protocol, TextRules

PROTOCOL = Protocol(
    name="binance_usdm",
    title="Binance USD-M futures, WebSocket market streams",
    byte_order="little",
    framing="websocket",
    book="levels",
    venue="BINUSDM",
    clock=Clock("E", since="epoch", zone="UTC"),
    instrument=BySymbol("s"),
    messages=(),
    size_exponent=-8,
    price_decimals=0,
    size_decimals=0,
    text=TextRules(
        joined="chain",
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

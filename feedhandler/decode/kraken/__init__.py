"""Kraken WebSocket v1, book with checksum and trade. Documents: SOURCES.md."""

from feedhandler.decode.spec import BySymbol, Clock, Protocol, TextRules

PROTOCOL = Protocol(
    name="kraken",
    title="Kraken WebSocket v1, book with checksum and trade",
    byte_order="little",
    framing="websocket",
    book="levels",
    venue="KRAKEN",
    clock=Clock("time", since="epoch", zone="UTC"),
    instrument=BySymbol("pair"),
    messages=(),
    size_exponent=-8,
    price_decimals=8,
    size_decimals=8,
    text=TextRules(
        joined="snapshot first",
        types={
            "D": "book update",
            "S": "book snapshot",
            "T": "trade",
            "B": "ticker, spread",
            "H": "heartbeat",
            "R": "systemStatus, subscriptionStatus",
        },
    ),
)

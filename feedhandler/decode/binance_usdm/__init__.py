"""Binance USD-M futures, WebSocket market streams. Documents: SOURCES.md."""

from feedhandler.decode.binance import TYPES
from feedhandler.decode.spec import texts

PROTOCOL = texts(
    name="binance_usdm",
    title="Binance USD-M futures, WebSocket market streams",
    venue="BINUSDM",
    time="E",
    symbol="s",
    joined="chain",
    decimals=0,
    types=TYPES,
)

"""Binance USD-M futures: what is said to it and asked of it. Sources: SOURCES.md."""

from __future__ import annotations

from typing import Any, ClassVar

from feedhandler.decode.binance.venue import Binance
from feedhandler.decode.venue import Cause, Feed, Heartbeat, Limits, Request, RestLimit, places


class BinanceUsdm(Binance):
    name: ClassVar[str] = "binance_usdm"
    api: ClassVar[str] = "/fapi/v1"
    weights: ClassVar[tuple[tuple[int, float], ...]] = ((50, 2), (100, 5), (500, 10), (1000, 20))

    def instruments(self, feed: Feed, rest: str = "") -> Request:
        return Request("instruments", self._at(rest, f"{self.api}/exchangeInfo"))

    def decimals(self, row: dict[str, Any]) -> tuple[int, int]:
        return places(row.get("pricePrecision")), places(row.get("quantityPrecision"))


VENUE = BinanceUsdm(
    url="wss://fstream.binance.com/stream",
    rest="https://fapi.binance.com",
    streams=("depth@0ms", "depth@100ms", "depth@500ms", "depth", "bookTicker", "trade"),
    defaults=("depth@0ms", "trade"),
    books=("depth@0ms", "depth@100ms", "depth@500ms", "depth"),
    depths=(50, 100, 500, 1000),
    snapshots="rest",
    numbered=True,
    heartbeat=Heartbeat(every_s=180.0),
    limits=Limits(messages=10, streams=1024, lifetime_s=86400.0),
    rest_limit=RestLimit(burst=300, per_s=40),
    close_causes={1008: Cause.RATE_LIMITED},
)

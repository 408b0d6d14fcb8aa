"""Bitstamp's WebSocket v2: diff_order_book, order_book, live_trades; REST order_book.

Messages as in the recorded logs of shared/data/crypto/bitstamp. Diffs bear a microtimestamp that rises, and no number.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from feedhandler.simulate.venues.dialect import US, Answer, Dialect, Out, Pending, Session, dump, said_object
from feedhandler.simulate.venues.market import ASK, BID, Market, Step, market

CHANNEL = re.compile(r"(?P<what>diff_order_book|order_book|live_trades)_(?P<symbol>[a-z0-9]+)")
BATCH_MS = 100
FULL = 100  # levels a side of order_book


class Bitstamp(Dialect):
    """Diffs batch by batch; the book over REST, with the stamp that says which diffs it holds."""

    name = "bitstamp"
    markets = (
        market("btcusd", "61841.23", "0.01", 2),
        market("ethusd", "3802.70", "0.01", 2),
        market("sgbeur", "0.14695", "0.00001", 5),
        market("batbtc", "0.00002829", "0.00000001", 8),
        market("usdteur", "0.88596", "0.00001", 5),
        market("xlmgbp", "0.20150", "0.00001", 5),
    )

    def __init__(self, symbols: Sequence[str] | None = None, batch_ms: float | None = None) -> None:
        super().__init__(symbols, batch_ms)
        self._pending = {symbol: Pending(0, 0) for symbol in self.books}
        self._full: dict[str, int] = {}
        self._random = random.Random("bitstamp")

    def opened(self, session: Session, path: str, query: Mapping[str, str], now: int) -> list[Out]:
        if path not in ("", "/"):
            raise LookupError(path)
        return []

    def heard(self, session: Session, said: str, now: int) -> list[Out]:
        request = said_object(said)
        event, data = request.get("event"), request.get("data")
        if event == "bts:heartbeat":
            return [_event("bts:heartbeat", "", {"status": "success"})]
        channel = data.get("channel") if isinstance(data, dict) else None
        found = CHANNEL.fullmatch(channel) if isinstance(channel, str) else None
        if event not in ("bts:subscribe", "bts:unsubscribe") or found is None or found["symbol"] not in self.books:
            return [_event("bts:error", "", {"code": None, "message": "Bad subscription string."})]
        assert isinstance(channel, str)
        if event == "bts:unsubscribe":
            session.streams.discard(channel)
            return [_event("bts:unsubscription_succeeded", channel, {})]
        session.streams.add(channel)
        return [_event("bts:subscription_succeeded", channel, {})]

    def changed(self, step: Step, now: int, wanted: set[str]) -> list[Out]:
        symbol = step.symbol
        self._pending[symbol].add(step.changes, now)
        self.numbers[symbol] = max(self.numbers[symbol] + 1, now // US)
        channel = f"live_trades_{symbol}"
        if step.trade is None:
            return []
        self.trades[symbol] += 1
        return [Out(channel, symbol, "trade", self._trade(step, channel))] if channel in wanted else []

    def due(self, now: int, everything: bool = False) -> list[Out]:
        outs = []
        interval = self.between(BATCH_MS)
        for symbol, pending in self._pending.items():
            if pending.due(now, interval, everything):
                market, full = self.books[symbol].market, self.books[symbol]
                diff = {"bids": pending.texts(market, BID), "asks": pending.texts(market, ASK)}
                outs.append(self._book(f"diff_order_book_{symbol}", symbol, diff))
                whole = {"bids": full.texts(BID, FULL), "asks": full.texts(ASK, FULL)}
                outs.append(self._book(f"order_book_{symbol}", symbol, whole))
                pending.levels.clear()
        return outs

    def rest(self, path: str, query: Mapping[str, str], now: int) -> Answer:
        parts = path.strip("/").split("/")
        if parts[:3] == ["api", "v2", "order_book"] and len(parts) == 4 and parts[3] in self.books:
            book = self.books[parts[3]]
            said = {**self._stamps(parts[3], now), "bids": book.texts(BID), "asks": book.texts(ASK)}
            return Answer(200, dump(said))
        if parts in (["api", "v2", "trading-pairs-info"], ["api", "v2", "markets"]):
            return Answer(200, dump([_listed(book.market) for book in self.books.values()]))
        return Answer(404, dump({"status": "error", "reason": "Not found", "code": "API0000"}))

    def _stamps(self, symbol: str, now: int) -> dict[str, str]:
        """When the last change was made: what is told later is later."""
        stamp = self.numbers[symbol] = self.numbers[symbol] or now // US
        return {"timestamp": str(stamp // 1_000_000), "microtimestamp": str(stamp)}

    def _book(self, channel: str, symbol: str, sides: Mapping[str, Any]) -> Out:
        data = {**self._stamps(symbol, 0), **sides}
        kind = "update" if channel.startswith("diff") else "top"
        return Out(channel, symbol, kind, dump({"data": data, "channel": channel, "event": "data"}))

    def _trade(self, step: Step, channel: str) -> str:
        trade, market = step.trade, self.books[step.symbol].market
        assert trade is not None
        price, size = market.level(trade.price, trade.size)
        stamps = self._stamps(step.symbol, 0)
        data = {"id": self.trades[step.symbol], "timestamp": stamps["timestamp"], "amount": float(size)}
        data |= {"amount_str": size, "price": float(price), "price_str": price, "type": int(trade.side == ASK)}
        data |= {"microtimestamp": stamps["microtimestamp"]}
        data |= {name: self._random.getrandbits(50) for name in ("buy_order_id", "sell_order_id")}
        return dump({"data": data, "channel": channel, "event": "trade"})


def _event(event: str, channel: str, data: Mapping[str, Any]) -> Out:
    return Out("", "", "life", dump({"event": event, "channel": channel, "data": dict(data)}))


def _listed(market: Market) -> dict[str, Any]:
    base, quote = market.symbol[:-3], market.symbol[-3:]
    return {
        "name": f"{base.upper()}/{quote.upper()}",
        "url_symbol": market.symbol,
        "base_decimals": market.size_decimals,
        "counter_decimals": market.price_decimals,
        "minimum_order": f"20.0 {quote.upper()}",
        "trading": "Enabled",
        "instant_and_market_orders": "Enabled",
        "description": f"{base.upper()} / {quote.upper()}",
    }

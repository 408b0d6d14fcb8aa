"""Binance: diff depth with update ids, bookTicker, trade and aggTrade; spot, and USD-M futures with `pu`.

Messages as in the recorded logs of shared/data/crypto/binance; streams by `/stream?streams=…`, `/ws/…`, or SUBSCRIBE.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from feedhandler.simulate.venues.dialect import MS, Answer, Dialect, Out, Pending, Session, dump, said_object
from feedhandler.simulate.venues.market import ASK, BID, Market, Step, market

STREAM = re.compile(r"(?P<symbol>[a-z0-9_]+)@(?P<what>depth|bookTicker|trade|aggTrade)(@(?P<ms>[0-9]+)ms)?")


def _spot(symbol: str, price: str, tick: str, lot: str) -> Market:
    return Market(symbol=symbol, price=price, tick=tick, lot=lot, price_decimals=8, size_decimals=8)


class Binance(Dialect):
    """Spot: each change of a symbol has a number; an event spans U to u, and the next begins at u + 1."""

    name = "binance"
    path = "/stream"
    markets: ClassVar[tuple[Market, ...]] = (
        _spot("BTCUSDT", "61837.63", "0.01", "0.00001"),
        _spot("ETHUSDT", "2684.12", "0.01", "0.0001"),
        _spot("SOLUSDT", "155.21", "0.01", "0.001"),
        _spot("XRPUSDT", "0.6123", "0.0001", "1"),
        _spot("NKNUSDT", "0.3525", "0.0001", "1"),
        _spot("BLZETH", "0.00006550", "0.00000001", "1"),
    )
    speeds: ClassVar[tuple[int, ...]] = (1000, 100)
    prefix = "/api/v3"
    depth_max = 5000

    def __init__(self, symbols: Sequence[str] | None = None, batch_ms: float | None = None) -> None:
        super().__init__(symbols, batch_ms)
        for i, symbol in enumerate(self.books):
            self.numbers[symbol] = 50_000_000_000 + 1_000_000 * i
        self._pending: dict[tuple[str, int], Pending] = {}
        self._tops: dict[str, tuple[Any, ...]] = {}

    def form(self, session: Session, out: Out) -> str:
        return f'{{"stream":"{out.stream}","data":{out.text}}}' if session.wrapped and out.stream else out.text

    def opened(self, session: Session, path: str, query: Mapping[str, str], now: int) -> list[Out]:
        if path == "/stream":
            session.wrapped = True
            names = [name for name in query.get("streams", "").split("/") if name]
        elif path == "/ws" or path.startswith("/ws/"):
            names = [name for name in path[4:].split("/") if name]
        else:
            raise LookupError(path)
        self._subscribe(session, [name for name in names if self._known(name)], now)
        return []

    def heard(self, session: Session, said: str, now: int) -> list[Out]:
        request = said_object(said)
        number, method, names = request.get("id"), request.get("method"), request.get("params", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            names = []
        if method == "SUBSCRIBE" and names and all(map(self._known, names)):
            self._subscribe(session, names, now)
        elif method == "UNSUBSCRIBE" and names:
            session.streams.difference_update(names)
        elif method == "LIST_SUBSCRIPTIONS":
            return [Out("", "", "life", dump({"result": sorted(session.streams), "id": number}))]
        else:
            return [Out("", "", "life", dump({"error": {"code": 2, "msg": "Invalid request"}, "id": number}))]
        return [Out("", "", "life", dump({"result": None, "id": number}))]

    def changed(self, step: Step, now: int, wanted: set[str]) -> list[Out]:
        symbol, book = step.symbol, self.books[step.symbol]
        first, self.numbers[symbol] = self._next(symbol, len(step.changes))
        outs = []
        low = symbol.lower()
        if step.trade is not None:
            outs += self._trade(step, now, wanted)
        top = tuple((price, book.sizes[side][price]) for side in (BID, ASK) if (price := book.best(side)) is not None)
        if self._tops.get(symbol) != top and len(top) == 2:
            self._tops[symbol] = top
            if f"{low}@bookTicker" in wanted:
                outs.append(Out(f"{low}@bookTicker", symbol, "top", dump(self._ticker(symbol, now))))
        for (own, speed), pending in self._pending.items():
            if own == symbol:
                pending.add(step.changes, now, first)
                if not self._interval(speed):
                    outs.append(self._depth(symbol, speed, pending, now))
        return outs

    def due(self, now: int, everything: bool = False) -> list[Out]:
        return [
            self._depth(symbol, speed, pending, now)
            for (symbol, speed), pending in self._pending.items()
            if pending.due(now, self._interval(speed), everything)
        ]

    def rest(self, path: str, query: Mapping[str, str], now: int) -> Answer:
        if path == f"{self.prefix}/depth":
            symbol, limit = query.get("symbol", ""), query.get("limit", "100")
            if symbol not in self.books:
                return Answer(400, dump({"code": -1121, "msg": "Invalid symbol."}))
            if not limit.isdecimal() or not 1 <= int(limit) <= self.depth_max:
                return Answer(400, dump({"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}))
            book = self.books[symbol]
            sides = {"bids": book.texts(BID, int(limit)), "asks": book.texts(ASK, int(limit))}
            return Answer(200, dump({"lastUpdateId": self.numbers[symbol], **self._stamps(now), **sides}))
        if path == f"{self.prefix}/exchangeInfo":
            try:
                chosen = json.loads(query["symbols"]) if "symbols" in query else [query.get("symbol")]
            except ValueError:
                return Answer(400, dump({"code": -1100, "msg": "Illegal characters found in parameter 'symbols'"}))
            if chosen == [None]:
                chosen = list(self.books)
            if not isinstance(chosen, list) or any(symbol not in self.books for symbol in chosen):
                return Answer(400, dump({"code": -1121, "msg": "Invalid symbol."}))
            listed = [self._listed(self.books[symbol].market) for symbol in chosen]
            return Answer(200, dump({"timezone": "UTC", "serverTime": now // MS, "rateLimits": [], "symbols": listed}))
        if path == f"{self.prefix}/time":
            return Answer(200, dump({"serverTime": now // MS}))
        if path == f"{self.prefix}/ping":
            return Answer(200, "{}")
        return Answer(404, dump({"code": -1, "msg": "no such path"}))

    # -- what futures say otherwise

    def _next(self, symbol: str, changes: int) -> tuple[int, int]:
        """The first and the last number of so many changes."""
        return self.numbers[symbol] + 1, self.numbers[symbol] + changes

    def _stamps(self, now: int) -> dict[str, int]:
        return {}

    def _range(self, pending: Pending, symbol: str) -> dict[str, int]:
        """The numbers of an event."""
        return {"U": pending.first, "u": self.numbers[symbol]}

    # -- messages

    def _known(self, name: str) -> bool:
        found = STREAM.fullmatch(name)
        if found is None or found["symbol"].upper() not in self.books:
            return False
        return found["ms"] is None or (found["what"] == "depth" and int(found["ms"]) in self.speeds)

    def _subscribe(self, session: Session, names: Sequence[str], now: int) -> None:
        session.streams.update(names)
        for name in names:
            found = STREAM.fullmatch(name)
            if found is not None and found["what"] == "depth":
                symbol = found["symbol"].upper()
                number = self.numbers[symbol]
                speed = int(found["ms"] or 0) if found["ms"] is not None else -1
                self._pending.setdefault((symbol, speed), Pending(number, now))

    def _interval(self, speed: int) -> int:
        """ns between two events of a stream; -1 is the stream whose name says none."""
        return self.between(self.speeds[0] if speed < 0 else speed) if speed else 0

    def _depth(self, symbol: str, speed: int, pending: Pending, now: int) -> Out:
        market = self.books[symbol].market
        event: dict[str, Any] = {"e": "depthUpdate", "E": now // MS, **self._trade_time(now), "s": symbol}
        event |= self._range(pending, symbol)
        event |= {"b": pending.texts(market, BID), "a": pending.texts(market, ASK)}
        pending.told = self.numbers[symbol]
        pending.levels.clear()
        stream = f"{symbol.lower()}@depth" + (f"@{speed}ms" if speed >= 0 else "")
        return Out(stream, symbol, "update", dump(event))

    def _trade_time(self, now: int) -> dict[str, int]:
        return {}

    def _ticker(self, symbol: str, now: int) -> dict[str, Any]:
        book = self.books[symbol]
        (bid, bid_size), (ask, ask_size) = book.texts(BID, 1)[0], book.texts(ASK, 1)[0]
        return {"u": self.numbers[symbol], "s": symbol, "b": bid, "B": bid_size, "a": ask, "A": ask_size}

    def _trade(self, step: Step, now: int, wanted: set[str]) -> list[Out]:
        trade, symbol, market = step.trade, step.symbol, self.books[step.symbol].market
        assert trade is not None
        self.trades[symbol] += 1
        number, low, ms = self.trades[symbol], symbol.lower(), now // MS
        price, size = market.level(trade.price, trade.size)
        maker = trade.side == ASK  # the buyer was there first
        outs = []
        if f"{low}@trade" in wanted:
            said = self._trade_text({"s": symbol, "t": number, "p": price, "q": size}, ms, maker)
            outs.append(Out(f"{low}@trade", symbol, "trade", dump(said)))
        if f"{low}@aggTrade" in wanted:
            said = {"e": "aggTrade", "E": ms, "s": symbol, "a": number, "p": price, "q": size, "f": number, "l": number}
            outs.append(Out(f"{low}@aggTrade", symbol, "trade", dump({**said, "T": ms, "m": maker, "M": True})))
        return outs

    def _trade_text(self, said: dict[str, Any], ms: int, maker: bool) -> dict[str, Any]:
        return {"e": "trade", "E": ms, **said, "T": ms, "m": maker, "M": True}

    def _listed(self, market: Market) -> dict[str, Any]:
        tick, lot = market.level(market.tick_units, market.lot_units)
        quote = next((q for q in ("USDT", "BTC", "ETH", "EUR") if market.symbol.endswith(q)), "USDT")
        return {
            "symbol": market.symbol,
            "status": "TRADING",
            "baseAsset": market.symbol.removesuffix(quote),
            "baseAssetPrecision": 8,
            "quoteAsset": quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            **self._precision(market),
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
                {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "92141578.00000000", "stepSize": lot},
            ],
        }

    def _precision(self, market: Market) -> dict[str, int]:
        return {}


class BinanceUsdm(Binance):
    """USD-M futures: the numbers of all symbols are one row, so that U of an event is beyond `pu` + 1."""

    name = "binance_usdm"
    markets = (
        market("BTCUSDT", "61800.20", "0.10", 2, 3),
        market("ETHUSDT", "2683.45", "0.01", 2, 3),
        market("SUSHIUSDT", "7.6110", "0.0010", 4, 0),
        market("KEEPUSDT", "0.2464", "0.0001", 4, 0),
        market("AKROUSDT", "0.01735", "0.00001", 5, 0),
    )
    speeds = (250, 500, 100, 0)
    prefix = "/fapi/v1"
    depth_max = 1000

    def __init__(self, symbols: Sequence[str] | None = None, batch_ms: float | None = None) -> None:
        super().__init__(symbols, batch_ms)
        self._row = 5_123_107_000_000
        self._random = random.Random("usdm")
        self.numbers = dict.fromkeys(self.books, self._row)

    def _next(self, symbol: str, changes: int) -> tuple[int, int]:
        first = self._row + self._random.randint(1, 40)
        self._row = first + changes - 1
        return first, self._row

    def _stamps(self, now: int) -> dict[str, int]:
        return {"E": now // MS, "T": now // MS}

    def _range(self, pending: Pending, symbol: str) -> dict[str, int]:
        return {"U": pending.first, "u": self.numbers[symbol], "pu": pending.told}

    def _trade_time(self, now: int) -> dict[str, int]:
        return {"T": now // MS}

    def _ticker(self, symbol: str, now: int) -> dict[str, Any]:
        return {"e": "bookTicker", **super()._ticker(symbol, now), "T": now // MS, "E": now // MS}

    def _trade_text(self, said: dict[str, Any], ms: int, maker: bool) -> dict[str, Any]:
        return {"e": "trade", "E": ms, "T": ms, **said, "X": "MARKET", "m": maker}

    def _precision(self, market: Market) -> dict[str, int]:
        return {"pricePrecision": market.price_decimals, "quantityPrecision": market.size_decimals}

"""Binance spot: what is said to it and asked of it. Sources: SOURCES.md."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from feedhandler.decode.venue import (
    Cause,
    Feed,
    Heard,
    Heartbeat,
    Instrument,
    Limits,
    Request,
    RestLimit,
    Said,
    Venue,
    decimal,
    pieces,
    places,
    text,
)
from feedhandler.errors import SessionError

STREAMS_PER_MESSAGE = 200  # a message stays below 8 KiB
FIRST_BOOKS_S = 10.0  # what all first snapshots may take: shallower ones are lighter


class Binance(Venue):
    name: ClassVar[str] = "binance"
    example: ClassVar[str] = 'for example "BTCUSDT"'
    api: ClassVar[str] = "/api/v3"
    weights: ClassVar[tuple[tuple[int, float], ...]] = ((100, 5), (500, 25), (1000, 50), (5000, 250))

    def symbol(self, text: str) -> str:
        return super().symbol(text).upper()

    def subscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        return self._messages("SUBSCRIBE", feed, number)

    def unsubscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        return self._messages("UNSUBSCRIBE", feed, number)

    def _messages(self, method: str, feed: Feed, number: int) -> tuple[str, ...]:
        names = [f"{symbol.lower()}@{stream}" for symbol in feed.symbols for stream in feed.streams]
        return tuple(
            text({"method": method, "params": some, "id": number + i})
            for i, some in enumerate(pieces(names, STREAMS_PER_MESSAGE))
        )

    def read(self, message: dict[str, Any]) -> Said | None:
        number = message.get("id")
        number = number if isinstance(number, int) else 0
        error = message.get("error", message if "code" in message and "msg" in message else None)
        if isinstance(error, dict):
            return Said(Heard.REFUSED, reason=f"{error.get('msg', '')} ({error.get('code', '')})", request=number)
        if number and message.get("result", 0) is None:
            return Said(Heard.SUBSCRIBED, request=number)  # also of an unsubscription: which one, the number says
        data = message.get("data")
        if "serverShutdown" in (message.get("e"), data.get("e") if isinstance(data, dict) else None):
            return Said(Heard.RECONNECT, reason="the server shuts down")
        return None

    def usual_depth(self, symbols: tuple[str, ...]) -> int:
        """The greatest of which the first snapshots of all symbols are there within FIRST_BOOKS_S; else the least."""
        for depth in reversed(self.depths):
            if self.first_books_s(Feed(symbols, self.defaults, depth)) <= FIRST_BOOKS_S:
                return depth
        return self.depths[0]

    def snapshot(self, feed: Feed, symbol: str, rest: str = "") -> Request | None:
        weight = next(w for limit, w in self.weights if feed.depth <= limit)
        path = f"{self.api}/depth?symbol={quote(symbol)}&limit={feed.depth}"
        return Request("depth", self._at(rest, path), symbol, weight)

    def book(self, answer: dict[str, Any]) -> bool:
        return (
            "lastUpdateId" in answer and isinstance(answer.get("bids"), list) and isinstance(answer.get("asks"), list)
        )

    def instruments(self, feed: Feed, rest: str = "") -> Request:
        symbols = quote(text(feed.symbols), safe="")
        return Request("instruments", self._at(rest, f"{self.api}/exchangeInfo?symbols={symbols}"), weight=20)

    def described(self, feed: Feed, answer: Any) -> list[Instrument]:
        if not isinstance(answer, dict):
            raise SessionError(f"{self.name}: the answer to the instruments request has no symbols")
        found = []
        for symbol, row in self._rows(feed, answer.get("symbols"), "symbol").items():
            filters = {f.get("filterType"): f for f in row.get("filters") or () if isinstance(f, dict)}
            tick = decimal(filters.get("PRICE_FILTER", {}).get("tickSize"))
            lot = decimal(filters.get("LOT_SIZE", {}).get("stepSize"))
            found.append(Instrument(symbol, tick, lot, *self.decimals(row)))
        return found

    def decimals(self, row: dict[str, Any]) -> tuple[int, int]:
        """Decimals of prices and sizes as the venue sends them: of spot always the assets' own."""
        return places(row.get("quoteAssetPrecision")), places(row.get("baseAssetPrecision"))


VENUE = Binance(
    url="wss://stream.binance.com:9443/stream",
    rest="https://api.binance.com",
    streams=("depth@100ms", "depth", "bookTicker", "trade"),
    defaults=("depth@100ms", "trade"),
    books=("depth@100ms", "depth"),
    depths=(100, 500, 1000, 5000),
    snapshots="rest",
    numbered=True,
    heartbeat=Heartbeat(every_s=20.0),
    limits=Limits(messages=5, streams=1024, connections=300, connections_s=300.0, lifetime_s=86400.0),
    rest_limit=RestLimit(burst=600, per_s=100),
    close_causes={1008: Cause.RATE_LIMITED},
)

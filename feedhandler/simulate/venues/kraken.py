"""Kraken's WebSocket v1: book with its checksum, trade, heartbeat.

Messages as in the recorded logs of shared/data/crypto/kraken. A follower cuts its book to the subscribed depth after
each update; what comes back into that depth is republished ("r").
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from feedhandler.simulate.venues.dialect import Answer, Dialect, Out, Session, dump, said_object, seconds
from feedhandler.simulate.venues.market import ASK, BID, Change, Levels, Market, Step, market

CHECKED = 10
CHANNELS = ("book", "trade", "spread", "ticker")
CHECKSUM = re.compile(r'"c":"([0-9]+)"')


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    """CRC-32 over the ten best of each side, best first, asks before bids: digits only, leading zeros dropped."""
    words = (word for side in (asks, bids) for level in side[:CHECKED] for word in level)
    return zlib.crc32("".join(word.replace(".", "").lstrip("0") for word in words).encode())


class Kraken(Dialect):
    """Views of the books, one for each depth that somebody subscribed to."""

    name = "kraken"
    depths = (10, 25, 100, 500, 1000)
    markets = (
        market("XBT/USD", "61840.1", "0.1", 1),
        market("ETH/USD", "2684.31", "0.01", 2),
        market("SC/EUR", "0.043130", "0.00001", 6),
        market("KSM/XBT", "0.00756500", "0.000001", 8),
        market("WAVES/EUR", "13.260800", "0.0001", 6),
        market("ADA/XBT", "0.000022900", "0.00000001", 9),
    )

    def __init__(self, symbols: Sequence[str] | None = None, batch_ms: float | None = None) -> None:
        super().__init__(symbols, batch_ms)
        self._channels: dict[tuple[str, str], int] = {}
        self._views: dict[tuple[str, int], dict[str, Levels]] = {}
        self._said = 0

    def opened(self, session: Session, path: str, query: Mapping[str, str], now: int) -> list[Out]:
        if path != "/":
            raise LookupError(path)
        self._said = now
        status = {"connectionID": zlib.crc32(str(now).encode()), "event": "systemStatus", "status": "online"}
        return [Out("", "", "life", dump({**status, "version": "1.9.1"}))]

    def heard(self, session: Session, said: str, now: int) -> list[Out]:
        request = said_object(said)
        event, extra = request.get("event"), {"reqid": request["reqid"]} if "reqid" in request else {}
        if event == "ping":
            return [Out("", "", "life", dump({"event": "pong", **extra}))]
        if event not in ("subscribe", "unsubscribe"):
            return [_error("Unsupported event", extra)]
        subscription = request.get("subscription")
        if not isinstance(subscription, dict) or subscription.get("name") not in CHANNELS:
            return [_error("Subscription name invalid", extra)]
        depth = subscription.get("depth", 10)
        if subscription["name"] == "book" and depth not in self.depths:
            return [_error("Subscription depth not supported", extra)]
        channel = f"book-{depth}" if subscription["name"] == "book" else subscription["name"]
        outs: list[Out] = []
        snapshots: list[Out] = []
        for pair in request.get("pair", []):
            if pair not in self.books:
                outs.append(_error("Currency pair not supported " + str(pair), {**extra, "pair": pair}))
                continue
            name = f"{channel}:{pair}"
            status = {"channelID": self._channel(channel, pair), "channelName": channel, "event": "subscriptionStatus"}
            status |= {"pair": pair, **extra, "status": f"{event}d", "subscription": {**subscription}}
            outs.append(Out("", pair, "life", dump(status)))
            if event == "unsubscribe":
                session.streams.discard(name)
            elif name not in session.streams:
                session.streams.add(name)
                if subscription["name"] == "book" and pair not in self.empty:
                    self._views.setdefault((pair, depth), self._view(pair, depth))
                    snapshots.append(Out("", pair, "snapshot", self._snapshot(pair, channel, depth, now)))
        return outs + snapshots

    def changed(self, step: Step, now: int, wanted: set[str]) -> list[Out]:
        symbol, outs = step.symbol, []
        if step.trade is not None:
            self.trades[symbol] += 1
            if f"trade:{symbol}" in wanted:
                price, size = self.books[symbol].market.level(step.trade.price, step.trade.size)
                trade = [price, size, seconds(now), "b" if step.trade.side == BID else "s", "l", ""]
                said = dump([self._channel("trade", symbol), [trade], "trade", symbol])
                outs.append(Out(f"trade:{symbol}", symbol, "trade", said))
        outs += self._tops(step, now, wanted)
        for (own, depth), before in self._views.items():
            if own == symbol:
                view = self._views[own, depth] = self._view(symbol, depth)
                update = self._update(symbol, depth, before, view, step.changes, now)
                if update:
                    outs.append(Out(f"book-{depth}:{symbol}", symbol, "update", update))
        if outs:
            self._said = now
        return outs

    def beat(self, now: int, wanted: set[str]) -> list[Out]:
        if now - self._said < 900_000_000 or not wanted:
            return []
        return [Out("*", "", "life", '{"event":"heartbeat"}')]

    def rest(self, path: str, query: Mapping[str, str], now: int) -> Answer:
        asked = [pair for pair in query.get("pair", "").split(",") if pair]
        by_name = {name: symbol for symbol in self.books for name in (symbol, symbol.replace("/", ""))}
        if any(pair not in by_name for pair in asked):
            return Answer(200, dump({"error": ["EQuery:Unknown asset pair"]}))
        chosen = [by_name[pair] for pair in asked] or list(self.books)
        if path == "/0/public/AssetPairs":
            listed = {symbol.replace("/", ""): _listed(self.books[symbol].market) for symbol in chosen}
            return Answer(200, dump({"error": [], "result": listed}))
        if path == "/0/public/Depth" and len(asked) == 1:
            book, count = self.books[chosen[0]], query.get("count", "100")
            depth = int(count) if count.isdecimal() else 100
            sides = {
                name: [[*level, now // 10**9] for level in book.texts(side, depth)]
                for name, side in (("asks", ASK), ("bids", BID))
            }
            return Answer(200, dump({"error": [], "result": {chosen[0].replace("/", ""): sides}}))
        if path == "/0/public/SystemStatus":
            return Answer(200, dump({"error": [], "result": {"status": "online"}}))
        return Answer(404, dump({"error": ["EGeneral:Unknown method"]}))

    def _tops(self, step: Step, now: int, wanted: set[str]) -> list[Out]:
        """The best of both sides after a step, of the channels that tell no more."""
        symbol, book = step.symbol, self.books[step.symbol]
        (bid, bid_size), (ask, ask_size) = book.texts(BID, 1)[0], book.texts(ASK, 1)[0]
        outs = []
        if f"spread:{symbol}" in wanted:
            said = [self._channel("spread", symbol), [bid, ask, seconds(now), bid_size, ask_size], "spread", symbol]
            outs.append(Out(f"spread:{symbol}", symbol, "top", dump(said)))
        if f"ticker:{symbol}" in wanted and step.trade is not None:
            best = {"a": [ask, 0, ask_size], "b": [bid, 0, bid_size]}
            best["c"] = list(book.market.level(step.trade.price, step.trade.size))
            said = [self._channel("ticker", symbol), best, "ticker", symbol]
            outs.append(Out(f"ticker:{symbol}", symbol, "top", dump(said)))
        return outs

    def _channel(self, channel: str, pair: str) -> int:
        return self._channels.setdefault((channel, pair), 1000 + 16 * len(self._channels))

    def _view(self, symbol: str, depth: int) -> dict[str, Levels]:
        return {side: self.books[symbol].levels(side, depth) for side in (BID, ASK)}

    def _snapshot(self, pair: str, channel: str, depth: int, now: int) -> str:
        book = self.books[pair]
        sides = {
            name: [[*level, seconds(now)] for level in book.texts(side, depth)]
            for name, side in (("as", ASK), ("bs", BID))
        }
        return dump([self._channel(channel, pair), sides, channel, pair])

    def _update(
        self,
        symbol: str,
        depth: int,
        before: Mapping[str, Levels],
        after: Mapping[str, Levels],
        changes: Sequence[Change],
        now: int,
    ) -> str:
        """What takes a follower from one view to the next; nothing where both are the same."""
        market, told = self.books[symbol].market, {(change.side, change.price) for change in changes}
        parts: list[dict[str, Any]] = []
        for side in (ASK, BID):
            old, new = dict(before[side]), dict(after[side])
            levels: list[list[str]] = []
            for price in old:
                if price not in new and self.books[symbol].sizes[side].get(price) is None:
                    levels.append([*market.level(price, 0), seconds(now)])
            for price, size in new.items():
                if old.get(price) != size:
                    again = [] if (side, price) in told else ["r"]
                    levels.append([*market.level(price, size), seconds(now), *again])
            if levels:
                parts.append({side: levels})
        if not parts:
            return ""
        best = [[market.level(price, size) for price, size in after[side][:CHECKED]] for side in (BID, ASK)]
        parts[-1]["c"] = str(checksum(best[0], best[1]))
        channel = f"book-{depth}"
        return dump([self._channel(channel, symbol), *parts, channel, symbol])


def spoiled(said: str) -> str:
    """An update with a checksum that is wrong; a text without one as it is."""
    return CHECKSUM.sub(lambda found: f'"c":"{int(found[1]) ^ 1}"', said)


def _error(message: str, extra: Mapping[str, Any]) -> Out:
    said = {"errorMessage": message, "event": "subscriptionStatus", "status": "error", **extra}
    return Out("", "", "life", dump(said))


def _listed(market: Market) -> dict[str, Any]:
    base, _, quote = market.symbol.partition("/")
    return {
        "altname": base + quote,
        "wsname": market.symbol,
        "base": base,
        "quote": quote,
        "pair_decimals": market.price_decimals,
        "lot_decimals": market.size_decimals,
        "tick_size": market.price_text(market.tick_units),
        "ordermin": market.size_text(market.lot_units),
        "status": "online",
    }

"""Coinbase Exchange's ws-feed: level2 and level2_batch (snapshot, then l2update), matches, ticker, heartbeat.

Messages as in the recorded log of shared/data/crypto/coinbase; heartbeat as documented. level2 has no numbers.
"""

from __future__ import annotations

import base64
import hmac
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from feedhandler.errors import ConfigError
from feedhandler.simulate.venues.dialect import SECOND, Answer, Dialect, Out, Pending, Session, dump, iso, said_object
from feedhandler.simulate.venues.market import ASK, BID, OTHER, Market, Step, market

CHANNELS = ("level2", "level2_batch", "matches", "ticker", "heartbeat")
CONFIRMED_AS = {"level2_batch": "level2_50"}
SIDE = {BID: "buy", ASK: "sell"}
BATCH_MS = 50
SIGNED_S = 30  # from the time of a signature
UNSIGNED = (
    "level2, level3, and full channels now require authentication. "
    "https://docs.cloud.coinbase.com/exchange/docs/websocket-auth"
)


class Coinbase(Dialect):
    """A snapshot for each product that a connection subscribes to, then each change as it comes.

    With `credentials` of its one customer, level2 is for those who sign, and every signature is looked at.
    """

    name = "coinbase"
    asks = ("key", "secret", "passphrase")
    markets = (
        market("BTC-USD", "61840.12", "0.01", 2, 8),
        market("ETH-USD", "2684.30", "0.01", 2, 8),
        market("SKL-USD", "0.7905", "0.0001", 4, 1),
        market("SKL-BTC", "0.00001304", "0.00000001", 8, 1),
        market("BAND-GBP", "14.7775", "0.0001", 4, 2),
        market("NU-GBP", "0.4394", "0.0001", 4, 6),
    )

    def __init__(self, symbols: Sequence[str] | None = None, batch_ms: float | None = None) -> None:
        super().__init__(symbols, batch_ms)
        for i, symbol in enumerate(self.books):
            self.numbers[symbol] = 200_000_000 + 10_000_000 * i
        self._pending = {symbol: Pending(0, 0) for symbol in self.books}
        self._last: dict[str, dict[str, Any]] = {}
        self._random = random.Random("coinbase")

    def opened(self, session: Session, path: str, query: Mapping[str, str], now: int) -> list[Out]:
        if path != "/":
            raise LookupError(path)
        return []

    def sign_with(self, credentials: Mapping[str, str]) -> None:
        super().sign_with(credentials)
        try:
            self._secret = base64.b64decode(credentials["secret"], validate=True)
        except ValueError:
            raise ConfigError("simulate: the secret is no base64") from None

    def heard(self, session: Session, said: str, now: int) -> list[Out]:
        request = said_object(said)
        kind = request.get("type")
        if kind not in ("subscribe", "unsubscribe"):
            return [_error("Malformed JSON" if not request else "Type has to be either subscribe or unsubscribe")]
        wanted = self._wanted(request)
        if isinstance(wanted, str):
            return [_error("Failed to subscribe", wanted)]
        names = [f"{channel}:{symbol}" for channel, symbols in wanted for symbol in symbols]
        if kind == "unsubscribe":
            session.streams.difference_update(names)
            return [self._subscriptions(session)]
        if self.credentials and (refusal := self._refusal(request, {channel for channel, _ in wanted}, now)):
            return [refusal]
        new = [name for name in names if name not in session.streams]
        session.streams.update(new)
        outs = [self._subscriptions(session)]
        for name in new:
            channel, _, symbol = name.partition(":")
            if channel.startswith("level2") and symbol not in self.empty:
                book = self.books[symbol]
                sides = {"asks": book.texts(ASK), "bids": book.texts(BID)}
                said = dump({"type": "snapshot", "product_id": symbol, **sides, "time": iso(now)})
                outs.append(Out("", symbol, "snapshot", said))
            elif channel == "matches" and symbol in self._last:
                outs.append(Out("", symbol, "life", dump({**self._last[symbol], "type": "last_match"})))
        return outs

    def changed(self, step: Step, now: int, wanted: set[str]) -> list[Out]:
        symbol, market = step.symbol, self.books[step.symbol].market
        outs = []
        if step.trade is not None:
            outs += self._trade(step, now, wanted)
        self.numbers[symbol] += len(step.changes)
        if f"level2:{symbol}" in wanted:
            changes = [[SIDE[side], *market.level(price, size)] for side, price, size in step.changes]
            outs.append(Out(f"level2:{symbol}", symbol, "update", _l2update(symbol, changes, now)))
        self._pending[symbol].add(step.changes, now)
        return outs

    def due(self, now: int, everything: bool = False) -> list[Out]:
        outs = []
        interval = self.between(BATCH_MS)
        for symbol, pending in self._pending.items():
            if pending.due(now, interval, everything):
                market = self.books[symbol].market
                changes = [[SIDE[s], *market.level(p, size)] for (s, p), size in pending.levels.items()]
                pending.levels.clear()
                outs.append(Out(f"level2_batch:{symbol}", symbol, "update", _l2update(symbol, changes, now)))
        return outs

    def beat(self, now: int, wanted: set[str]) -> list[Out]:
        outs = []
        for symbol in self.books:
            if f"heartbeat:{symbol}" in wanted:
                last = self.trades[symbol]
                said = {"type": "heartbeat", "last_trade_id": last, "product_id": symbol}
                said |= {"sequence": self.numbers[symbol], "time": iso(now)}
                outs.append(Out(f"heartbeat:{symbol}", symbol, "life", dump(said)))
        return outs

    def rest(self, path: str, query: Mapping[str, str], now: int) -> Answer:
        parts = path.strip("/").split("/")
        if parts == ["products"]:
            return Answer(200, dump([_listed(book.market) for book in self.books.values()]))
        if parts[0] != "products" or len(parts) > 3 or parts[1] not in self.books:
            return Answer(404, dump({"message": "NotFound"}))
        book = self.books[parts[1]]
        if len(parts) == 2:
            return Answer(200, dump(_listed(book.market)))
        if parts[2] != "book" or query.get("level", "1") not in ("1", "2"):
            return Answer(404, dump({"message": "NotFound"}))
        depth = 1 if query.get("level", "1") == "1" else None
        sides = {
            name: [[*level, 1] for level in book.texts(side, depth)] for name, side in (("bids", BID), ("asks", ASK))
        }
        return Answer(200, dump({**sides, "sequence": self.numbers[parts[1]], "auction_mode": False, "time": iso(now)}))

    def _wanted(self, request: Mapping[str, Any]) -> list[tuple[str, list[str]]] | str:
        """(channel, products) of a request, or what is wrong with it."""
        common = request.get("product_ids", [])
        wanted = []
        channels = request.get("channels")
        if not isinstance(channels, list) or not channels:
            return "channels is not a list of channels"
        for channel in channels:
            name, symbols = (
                (channel.get("name"), channel.get("product_ids", common))
                if isinstance(channel, dict)
                else (
                    channel,
                    common,
                )
            )
            if name not in CHANNELS:
                return f"{name} is not a valid channel"
            for symbol in symbols:
                if symbol not in self.books:
                    return f"{symbol} is not a valid product"
            wanted.append((name, symbols))
        return wanted

    def _refusal(self, request: Mapping[str, Any], channels: set[str], now: int) -> Out | None:
        """Of one that is not signed and should be, or is signed wrongly; the words are the venue's."""
        if "signature" not in request:
            return _error("Failed to subscribe", UNSIGNED) if "level2" in channels else None
        stamp = request.get("timestamp", "")
        try:
            off = abs(float(stamp) - now / SECOND)
        except (TypeError, ValueError):
            return _unauthorized("invalid timestamp")
        if off > SIGNED_S:
            return _unauthorized("request timestamp expired")
        if request.get("key") != self.credentials["key"]:
            return _unauthorized("Invalid API Key")
        asked = f"{stamp}GET/users/self/verify".encode()
        right = base64.b64encode(hmac.digest(self._secret, asked, "sha256"))
        if not hmac.compare_digest(str(request["signature"]).encode(), right):
            return _unauthorized("invalid signature")
        if request.get("passphrase") != self.credentials["passphrase"]:
            return _unauthorized("Invalid Passphrase")
        return None

    def _subscriptions(self, session: Session) -> Out:
        channels: dict[str, list[str]] = {}
        for name in sorted(session.streams):
            channel, _, symbol = name.partition(":")
            channels.setdefault(CONFIRMED_AS.get(channel, channel), []).append(symbol)
        listed = [{"name": name, "product_ids": symbols} for name, symbols in channels.items()]
        return Out("", "", "life", dump({"type": "subscriptions", "channels": listed}))

    def _trade(self, step: Step, now: int, wanted: set[str]) -> list[Out]:
        trade, symbol, book = step.trade, step.symbol, self.books[step.symbol]
        assert trade is not None
        self.trades[symbol] += 1
        self.numbers[symbol] += 1
        price, size = book.market.level(trade.price, trade.size)
        ids = [str(uuid.UUID(int=self._random.getrandbits(128), version=4)) for _ in range(2)]
        match = {"type": "match", "trade_id": self.trades[symbol], "maker_order_id": ids[0], "taker_order_id": ids[1]}
        match |= {"side": SIDE[OTHER[trade.side]], "size": size, "price": price, "product_id": symbol}
        match |= {"sequence": self.numbers[symbol], "time": iso(now)}
        self._last[symbol] = match
        outs = []
        if f"matches:{symbol}" in wanted:
            outs.append(Out(f"matches:{symbol}", symbol, "trade", dump(match)))
        if f"ticker:{symbol}" in wanted:
            (bid, _), (ask, _) = book.texts(BID, 1)[0], book.texts(ASK, 1)[0]
            ticker = {"type": "ticker", "sequence": self.numbers[symbol], "product_id": symbol, "price": price}
            ticker |= {"best_bid": bid, "best_ask": ask, "side": SIDE[trade.side], "time": iso(now)}
            ticker |= {"trade_id": self.trades[symbol], "last_size": size}
            outs.append(Out(f"ticker:{symbol}", symbol, "top", dump(ticker)))
        return outs


def _l2update(symbol: str, changes: list[list[str]], now: int) -> str:
    return dump({"type": "l2update", "product_id": symbol, "changes": changes, "time": iso(now)})


def _error(message: str, reason: str = "") -> Out:
    return Out("", "", "life", dump({"type": "error", "message": message} | ({"reason": reason} if reason else {})))


def _unauthorized(message: str) -> Out:
    return _error("Authentication Failed", dump({"message": message}))  # what its REST service would have answered


def _listed(market: Market) -> dict[str, Any]:
    base, _, quote = market.symbol.partition("-")
    return {
        "id": market.symbol,
        "base_currency": base,
        "quote_currency": quote,
        "quote_increment": market.price_text(market.tick_units),
        "base_increment": market.size_text(market.lot_units),
        "display_name": f"{base}/{quote}",
        "status": "online",
        "trading_disabled": False,
    }

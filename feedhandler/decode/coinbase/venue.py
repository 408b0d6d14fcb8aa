"""Coinbase Exchange ws-feed: what is said to it and asked of it. Sources: SOURCES.md."""

from __future__ import annotations

from typing import Any, ClassVar

from feedhandler.decode.venue import (
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
    decimals,
    text,
)

ALSO_NAMED = {"level2_50": "level2_batch"}  # what it confirms bears the older name


class Coinbase(Venue):
    name: ClassVar[str] = "coinbase"
    example: ClassVar[str] = 'for example "BTC-USD"'

    def symbol(self, text: str) -> str:
        return super().symbol(text).upper()

    def subscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        return (text({"type": "subscribe", "product_ids": feed.symbols, "channels": feed.streams}),)

    def unsubscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        return (text({"type": "unsubscribe", "product_ids": feed.symbols, "channels": feed.streams}),)

    def read(self, message: dict[str, Any]) -> Said | None:
        kind = message.get("type")
        if kind == "subscriptions":
            channels = [c for c in message.get("channels") or () if isinstance(c, dict)]
            symbols = [s for c in channels for s in c.get("product_ids") or ()]
            named = [str(channel.get("name")) for channel in channels]
            streams = ",".join(ALSO_NAMED.get(name, name) for name in named)
            return Said(Heard.SUBSCRIBED, tuple(dict.fromkeys(symbols)), streams)
        if kind == "error":
            reason = " ".join(str(message[key]) for key in ("message", "reason") if message.get(key))
            return Said(Heard.REFUSED, reason=reason)
        if kind == "heartbeat":
            return Said(Heard.HEARTBEAT, (str(message.get("product_id", "")),), "heartbeat")
        if kind == "status":
            return Said(Heard.STATUS, stream="status")
        return None

    def instruments(self, feed: Feed, rest: str = "") -> Request:
        return Request("instruments", self._at(rest, "/products"))

    def described(self, feed: Feed, answer: Any) -> list[Instrument]:
        found = []
        for symbol, row in self._rows(feed, answer, "id").items():
            tick, lot = decimal(row.get("quote_increment")), decimal(row.get("base_increment"))
            found.append(Instrument(symbol, tick, lot, decimals(tick), decimals(lot)))
        return found


VENUE = Coinbase(
    url="wss://ws-feed.exchange.coinbase.com/",
    rest="https://api.exchange.coinbase.com",
    streams=("level2_batch", "level2", "matches", "ticker", "heartbeat"),
    defaults=("level2_batch", "matches", "heartbeat"),
    books=("level2_batch", "level2"),
    depths=(0,),
    snapshots="socket",
    numbered=False,
    heartbeat=Heartbeat(every_s=1.0),
    limits=Limits(messages=100, connections=8, connections_s=1.0, subscribe_within_s=5.0),
    rest_limit=RestLimit(burst=15, per_s=10),
    price_exponent=-8,
)

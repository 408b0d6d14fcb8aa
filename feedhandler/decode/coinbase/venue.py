"""Coinbase Exchange ws-feed: what is said to it and asked of it. Sources: SOURCES.md."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
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
from feedhandler.errors import ConfigError

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

    def sign(self, said: str, credentials: Mapping[str, str], now: float) -> str:
        message = json.loads(said)
        if message["type"] != "subscribe":
            return said
        stamp = str(int(now))  # the venue takes it for 30 s
        proof = {"signature": signature(credentials["secret"], stamp), "key": credentials["key"]}
        return text(message | proof | {"passphrase": credentials["passphrase"], "timestamp": stamp})

    def read(self, message: dict[str, Any]) -> Said | None:
        kind = message.get("type")
        if kind == "subscriptions":
            channels = [c for c in message.get("channels") or () if isinstance(c, dict)]
            named = [(str(c.get("name")), str(symbol)) for c in channels for symbol in c.get("product_ids") or ()]
            listed = tuple((symbol, ALSO_NAMED.get(name, name)) for name, symbol in named)
            return Said(Heard.SUBSCRIBED, tuple(dict.fromkeys(symbol for symbol, _ in listed)), listed=listed)
        if kind == "error":
            words = [str(message[key]) for key in ("message", "reason") if message.get(key)]
            return Said(Heard.REFUSED, reason=" ".join(map(_plain, words)))
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


def signature(secret: str, stamp: str) -> str:
    """Of a request for GET /users/self/verify at `stamp`, base64; so the venue has subscriptions signed.

    Raises ConfigError for a secret that is no base64.
    """
    try:
        made = hmac.new(
            base64.b64decode(secret, validate=True), f"{stamp}GET/users/self/verify".encode(), hashlib.sha256
        )
    except ValueError:
        raise ConfigError(
            "credentials: secret: it is no base64: put it there as Coinbase Exchange showed it, one line that ends "
            "in = or == (keys of Coinbase's other APIs, which begin with -----BEGIN, are of no use here)"
        ) from None
    return base64.b64encode(made.digest()).decode()


def _plain(words: str) -> str:
    """Of what its REST service would have answered, {"message": …}, the message."""
    try:
        return str(json.loads(words)["message"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return words


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
    credentials=("key", "secret", "passphrase"),
    signed=("level2",),
    price_exponent=-8,
)

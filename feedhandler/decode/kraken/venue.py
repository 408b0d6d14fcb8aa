"""Kraken WebSocket v1: what is said to it and asked of it. Sources: SOURCES.md."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

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
    places,
    text,
)
from feedhandler.errors import ConfigError, SessionError


class Kraken(Venue):
    name: ClassVar[str] = "kraken"
    example: ClassVar[str] = 'for example "XBT/USD"'

    def symbol(self, text: str) -> str:
        pair = super().symbol(text).upper()
        if pair.count("/") != 1 or pair.startswith("/") or pair.endswith("/"):
            raise ConfigError(f"kraken: {text!r} is no pair; expected the name on the socket (wsname), {self.example}")
        return pair

    def subscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        return self._messages("subscribe", feed, number)

    def unsubscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        return self._messages("unsubscribe", feed, number)

    def _messages(self, event: str, feed: Feed, number: int) -> tuple[str, ...]:
        out = []
        for i, stream in enumerate(feed.streams):
            subscription: dict[str, object] = {"name": stream}
            if stream == "book":
                subscription["depth"] = feed.depth
            out.append(text({"event": event, "reqid": number + i, "pair": feed.symbols, "subscription": subscription}))
        return tuple(out)

    def read(self, message: dict[str, Any]) -> Said | None:
        event = message.get("event")
        if event in ("heartbeat", "pong"):
            return Said(Heard.HEARTBEAT)
        if event == "systemStatus":
            return Said(Heard.STATUS, reason=str(message.get("status", "")))
        if event != "subscriptionStatus":
            return Said(Heard.REFUSED, reason=str(message.get("errorMessage", ""))) if event == "error" else None
        about = message.get("subscription")
        about = about if isinstance(about, dict) else {}
        depth, number = about.get("depth", 0), message.get("reqid", 0)
        status = {"subscribed": Heard.SUBSCRIBED, "unsubscribed": Heard.UNSUBSCRIBED}.get(
            str(message.get("status")), Heard.REFUSED
        )
        return Said(
            status,
            (str(message["pair"]),) if message.get("pair") else (),
            str(about.get("name", "")),
            str(message.get("errorMessage", "")),
            number if isinstance(number, int) else 0,
            depth if isinstance(depth, int) else 0,
        )

    def instruments(self, feed: Feed, rest: str = "") -> Request:
        pairs = quote(",".join(symbol.replace("/", "") for symbol in feed.symbols), safe=",")
        return Request("instruments", self._at(rest, f"/0/public/AssetPairs?pair={pairs}"))

    def described(self, feed: Feed, answer: Any) -> list[Instrument]:
        if not isinstance(answer, dict) or answer.get("error") or not isinstance(answer.get("result"), dict):
            said = answer.get("error") if isinstance(answer, dict) else ""
            raise SessionError(f"kraken: the answer to the instruments request has no pairs: {said}")
        found = []
        for symbol, row in self._rows(feed, list(answer["result"].values()), "wsname").items():
            price, size = places(row.get("pair_decimals")), places(row.get("lot_decimals"))
            tick = decimal(row.get("tick_size")) or decimal(f"1e-{price}")
            found.append(Instrument(symbol, tick, decimal(f"1e-{size}")))  # the wire has more decimals than these
        return found


VENUE = Kraken(
    url="wss://ws.kraken.com/",
    rest="https://api.kraken.com",
    streams=("book", "trade", "ticker", "spread"),
    defaults=("book", "trade"),
    books=("book",),
    depths=(10, 25, 100, 500, 1000),
    snapshots="socket",
    numbered=False,
    heartbeat=Heartbeat(every_s=1.0, ask=text({"event": "ping"}), ask_every_s=30.0),
    limits=Limits(connections=150, connections_s=600.0),
    rest_limit=RestLimit(burst=15, per_s=1),
)

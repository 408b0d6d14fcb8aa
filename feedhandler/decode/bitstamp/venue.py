"""Bitstamp WebSocket v2: what is said to it and asked of it. Sources: SOURCES.md."""

from __future__ import annotations

from typing import Any, ClassVar

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
    places,
    text,
)


class Bitstamp(Venue):
    name: ClassVar[str] = "bitstamp"
    example: ClassVar[str] = 'for example "btcusd"'

    def symbol(self, text: str) -> str:
        return super().symbol(text.replace("/", "")).lower()

    def subscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        return self._messages("bts:subscribe", feed)

    def unsubscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        return self._messages("bts:unsubscribe", feed)

    def _messages(self, event: str, feed: Feed) -> tuple[str, ...]:
        return tuple(
            text({"event": event, "data": {"channel": f"{stream}_{symbol}"}})
            for stream in feed.streams
            for symbol in feed.symbols
        )

    def read(self, message: dict[str, Any]) -> Said | None:
        event = message.get("event")
        stream, symbol = self.channel(str(message.get("channel", "")))
        symbols = (symbol,) if symbol else ()
        if event == "bts:subscription_succeeded":
            return Said(Heard.SUBSCRIBED, symbols, stream)
        if event == "bts:unsubscription_succeeded":
            return Said(Heard.UNSUBSCRIBED, symbols, stream)
        if event == "bts:heartbeat":
            return Said(Heard.HEARTBEAT)
        if event == "bts:request_reconnect":
            return Said(Heard.RECONNECT, reason="the venue asks for a new connection")
        if event == "bts:error":
            about = message.get("data")
            return Said(
                Heard.REFUSED, symbols, stream, str(about.get("message", "") if isinstance(about, dict) else about)
            )
        return None

    def channel(self, name: str) -> tuple[str, str]:
        """Stream and symbol of a channel's name; both empty if it is none of ours."""
        for stream in self.streams:
            if name.startswith(stream + "_"):
                return stream, name[len(stream) + 1 :]
        return "", ""

    def snapshot(self, feed: Feed, symbol: str, rest: str = "") -> Request | None:
        if "diff_order_book" not in feed.streams:
            return None  # order_book is the whole book each time
        return Request("depth", self._at(rest, f"/api/v2/order_book/{symbol}/"), symbol)

    def book(self, answer: dict[str, Any]) -> bool:
        return (
            "microtimestamp" in answer and isinstance(answer.get("bids"), list) and isinstance(answer.get("asks"), list)
        )

    def instruments(self, feed: Feed, rest: str = "") -> Request:
        return Request("instruments", self._at(rest, "/api/v2/trading-pairs-info/"))

    def described(self, feed: Feed, answer: Any) -> list[Instrument]:
        found = []
        for symbol, row in self._rows(feed, answer, "url_symbol").items():
            price, size = places(row.get("counter_decimals")), places(row.get("base_decimals"))
            found.append(Instrument(symbol, decimal(f"1e-{price}"), decimal(f"1e-{size}"), price, size))
        return found


VENUE = Bitstamp(
    url="wss://ws.bitstamp.net/",
    rest="https://www.bitstamp.net",
    streams=("diff_order_book", "order_book", "live_trades"),
    defaults=("diff_order_book", "live_trades"),
    books=("diff_order_book", "order_book"),
    depths=(0,),
    snapshots="rest",
    numbered=True,
    heartbeat=Heartbeat(every_s=30.0, ask=text({"event": "bts:heartbeat"}), ask_every_s=10.0),
    limits=Limits(lifetime_s=90 * 86400.0),
    rest_limit=RestLimit(burst=20, per_s=13),
    price_exponent=-8,
    close_causes={4009: Cause.AUTH_EXPIRED},
)

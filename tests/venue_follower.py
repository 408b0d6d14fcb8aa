"""A plain client of a WebSocket venue: `websockets`, urllib, json and dicts, as the venues' own pages describe it.

It knows nothing of the simulator and nothing of the handler. What it cannot follow it says by raising LostError.
"""

import json
import urllib.request
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

from websockets.sync.client import ClientConnection, connect

from feedhandler.decode.venue import Feed, Heard, Venue, venue
from tests.authority import client_context

Side = dict[Decimal, Decimal]


class LostError(Exception):
    """The book cannot be right any more."""


class Book:
    """Two dicts, and the texts that Kraken's checksum is made from."""

    def __init__(self) -> None:
        self.bids: Side = {}
        self.asks: Side = {}
        self.texts: dict[Decimal, tuple[str, str]] = {}
        self.number = -1  # of the last update; -1 before the snapshot
        self.first = True  # the next update is the first after the snapshot
        self.held: list[dict[str, Any]] = []

    def set(self, side: Side, price: str, size: str) -> None:
        if Decimal(size):
            side[Decimal(price)] = Decimal(size)
            self.texts[Decimal(price)] = (price, size)
        else:
            side.pop(Decimal(price), None)

    def whole(self, bids: Any, asks: Any) -> None:
        self.bids, self.asks = {}, {}
        self.both(bids, asks)

    def both(self, bids: Any, asks: Any) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for level in levels:
                self.set(side, level[0], level[1])

    def cut(self, depth: int) -> None:
        self.bids = dict(sorted(self.bids.items(), reverse=True)[:depth])
        self.asks = dict(sorted(self.asks.items())[:depth])

    def checksum(self) -> int:
        best = sorted(self.asks)[:10] + sorted(self.bids, reverse=True)[:10]
        words = [word.replace(".", "").lstrip("0") for price in best for word in self.texts[price]]
        return zlib.crc32("".join(words).encode())

    def sides(self) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


class Follower:
    """Follows the books of one venue over one connection."""

    def __init__(self, served: Any, streams: tuple[str, ...] = (), depth: int = 0, **options: Any) -> None:
        self.served = served
        self.facts: Venue = venue(served.dialect.name)
        self.feed: Feed = self.facts.feed(served.symbols, streams, depth)
        self.context = client_context(served.ca) if served.ca else None
        self.books = {symbol: Book() for symbol in self.feed.symbols}
        self.tops: list[tuple[str, int, Any, Any]] = []
        self.trades: list[Any] = []
        self.heard: list[Any] = []
        self._stack = ExitStack()
        self.client: ClientConnection = self._stack.enter_context(
            connect(options.pop("url", served.url), ssl=self.context, max_size=1 << 20, max_queue=None, **options)
        )
        for text in self.facts.subscribe(self.feed):
            self.client.send(text)
        if self.facts.snapshots == "rest":
            self._until(lambda: all(book.held for book in self.books.values()) or self._subscribed())
            for symbol in self.feed.symbols:
                self.snapshot(symbol)

    def _subscribed(self) -> bool:
        return any(said.what is Heard.SUBSCRIBED for said in self.heard)

    def get(self, url: str) -> bytes:
        with urllib.request.urlopen(url, context=self.context, timeout=5) as answer:
            return bytes(answer.read())

    def snapshot(self, symbol: str) -> None:
        """Ask for a book until it goes with what is held."""
        request = self.facts.snapshot(self.feed, symbol, self.served.rest)
        if request is None:
            return
        answer = json.loads(self.get(request.url))
        book = self.books[symbol]
        book.whole(answer["bids"], answer["asks"])
        book.number = int(answer["lastUpdateId"] if "lastUpdateId" in answer else answer["microtimestamp"])
        book.first = True
        held, book.held = book.held, []
        for message in held:
            self._numbered(symbol, message)

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, timeout: float | None = 5.0) -> None:
        """One text."""
        text = self.client.recv(timeout=timeout)
        said = self.facts.heard(text)
        if said is not None:
            self.heard.append(said)
            return
        message = json.loads(text)
        getattr(self, "_" + self.facts.name.partition("_")[0])(message)

    def until_equal(self, symbol: str, timeout: float = 5.0, levels: int = 0) -> None:
        """Take texts until the book is the venue's own of this moment, which must not move meanwhile.

        `levels`: so many of each side, else as many as were asked for. What lies deeper is known in part.
        """
        depth = levels or self.feed.depth or None
        wanted = self.served.reference(symbol, depth)

        def equal() -> bool:
            bids, asks = self.books[symbol].sides()
            return (bids[:depth], asks[:depth]) == (wanted.bids, wanted.asks)

        while True:
            try:
                while True:
                    self.take(0)
            except TimeoutError:
                if equal():
                    return
            try:
                self.take(timeout)
            except TimeoutError:
                raise AssertionError(f"the venue did not say what was waited for of {symbol}") from None

    def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.take()

    # -- what each venue's pages say

    def _binance(self, message: dict[str, Any]) -> None:
        if "stream" not in message:
            return  # the answer to a request
        kind, data = message["stream"].partition("@")[2], message["data"]
        if kind.startswith("depth"):
            self._numbered(data["s"], data)
        elif kind == "bookTicker":
            top = [(Decimal(data[p]), Decimal(data[s])) for p, s in ("bB", "aA")]
            self.tops.append((data["s"], data["u"], *top))
        else:
            self.trades.append(data)

    def _bitstamp(self, message: dict[str, Any]) -> None:
        stream, symbol = message["channel"].rsplit("_", 1)
        if stream == "diff_order_book":
            self._numbered(symbol, message["data"])
        elif stream == "order_book":
            self.books[symbol].whole(message["data"]["bids"], message["data"]["asks"])
        else:
            self.trades.append(message)

    def _numbered(self, symbol: str, data: dict[str, Any]) -> None:
        book = self.books[symbol]
        if book.number < 0:
            book.held.append(data)
        elif "microtimestamp" in data:
            stamp = int(data["microtimestamp"])
            if stamp > book.number:
                book.number = stamp
                book.both(data["bids"], data["asks"])
        elif "pu" in data:
            if data["u"] < book.number or (data["u"] == book.number and not book.first):
                return
            spans = book.first and data["U"] <= book.number <= data["u"]
            if not (spans or data["pu"] == book.number):
                raise LostError(symbol)
            self._applied(book, data)
        elif data["u"] > book.number:
            if not (data["U"] <= book.number + 1 if book.first else data["U"] == book.number + 1):
                raise LostError(symbol)
            self._applied(book, data)

    def _applied(self, book: Book, data: dict[str, Any]) -> None:
        book.number, book.first = data["u"], False
        book.both(data["b"], data["a"])

    def _coinbase(self, message: dict[str, Any]) -> None:
        book = self.books[message["product_id"]]
        if message["type"] == "snapshot":
            book.whole(message["bids"], message["asks"])
        elif message["type"] == "l2update":
            for side, price, size in message["changes"]:
                book.set(book.bids if side == "buy" else book.asks, price, size)
        else:
            self.trades.append(message)

    def _kraken(self, message: list[Any]) -> None:
        book = self.books[message[-1]]
        if message[-2].startswith("book"):
            for part in message[1:-2]:
                if "as" in part:
                    book.whole(part["bs"], part["as"])
                book.both(part.get("b", ()), part.get("a", ()))
            book.cut(self.feed.depth)
            if "c" in message[-3] and int(message[-3]["c"]) != book.checksum():
                raise LostError(message[-1])
        else:
            self.trades.append(message)

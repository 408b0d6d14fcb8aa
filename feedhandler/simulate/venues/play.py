"""Recorded logs played by a simulated venue: their texts as they came, their snapshots where clients ask for them.

The venue's own books follow the log, so that who comes late, or comes again, gets a snapshot that goes with it. A
symbol has a book from the log's own snapshot of it on; until then requests for one wait, as for a slow venue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedhandler.errors import ConfigError
from feedhandler.record.logs import Entry, Kind, read
from feedhandler.simulate.venues.dialect import Dialect, Out
from feedhandler.simulate.venues.market import ASK, BID, Book, Change, Market, market, text, units

Level = tuple[str, str, str]  # side, price, size
SIDES = {"buy": BID, "sell": ASK}


@dataclass(frozen=True, slots=True)
class Played:
    """One text of a log, understood as far as a venue must."""

    symbol: str
    kind: str
    """As of Out; "answer": a REST snapshot, which is sent to nobody."""
    streams: tuple[str, ...]
    text: str
    levels: tuple[Level, ...] = ()
    number: int = 0
    depth: int = 0


class Log:
    """The logs of one venue as one, by time. Raises ConfigError where nothing of that venue is in them."""

    def __init__(self, venue: str, paths: Sequence[Path]) -> None:
        understand = READERS[venue]
        entries = sorted((entry for path in paths for entry in read(path)), key=lambda entry: entry.ts)
        found: list[tuple[int, Played]] = []
        symbols: set[str] = set()
        for entry in entries:
            played = _understood(understand, entry, symbols)
            if played is not None:
                found.append((entry.ts, played))
                symbols.add(played.symbol)
        begun = {played.symbol for _, played in found if played.kind in ("answer", "snapshot")}
        self.entries = [(ts, played) for ts, played in found if played.symbol in begun]
        if not self.entries:
            names = ", ".join(str(path) for path in paths)
            raise ConfigError(f"simulate: no book of {venue} begins in {names}: give its logs, the snapshots with them")
        self.symbols = tuple(sorted(begun))
        self._place = 0
        self._early: dict[str, list[Played]] = {}  # came before the book's snapshot

    def attach(self, dialect: Dialect) -> None:
        """Give a venue the log's symbols, and books that are not known yet."""
        for symbol in self.symbols:
            dialect.books[symbol] = Book(self._market(symbol))
        dialect.empty = set(self.symbols)
        depths = {played.depth for _, played in self.entries if played.depth}
        if depths:
            dialect.depths = tuple(sorted(depths))

    def _market(self, symbol: str) -> Market:
        levels = [level for _, played in self.entries if played.symbol == symbol for level in played.levels]
        price, size = (max((_decimals(level[i]) for level in levels), default=0) for i in (1, 2))
        first = levels[0][1] if levels else "1"
        return market(symbol, first, text(1, price), price, size)

    @property
    def finished(self) -> bool:
        return self._place >= len(self.entries)

    def take(self, dialect: Dialect, played: Played) -> list[Out]:
        """Do to the venue's books what a text says; what is sent of it."""
        symbol = played.symbol
        if played.kind in ("answer", "snapshot"):
            dialect.books[symbol].clear()
            dialect.empty.discard(symbol)
            dialect.numbers[symbol] = played.number
            _apply(dialect, played)
            for early in self._early.pop(symbol, []):
                if early.number > dialect.numbers[symbol]:
                    _apply(dialect, early)
        elif symbol in dialect.empty:
            self._early.setdefault(symbol, []).append(played)
        elif not played.number or played.number > dialect.numbers[symbol]:
            _apply(dialect, played)
        return [Out(stream, symbol, played.kind, played.text) for stream in played.streams]

    def until(self, elapsed: int) -> Iterator[Played]:
        """What comes within so many ns of the log's beginning, and was not given out yet."""
        end = self.entries[0][0] + elapsed
        while not self.finished and self.entries[self._place][0] <= end:
            self._place += 1
            yield self.entries[self._place - 1][1]


def _apply(dialect: Dialect, played: Played) -> None:
    book = dialect.books[played.symbol]
    for side, price, size in played.levels:
        book.set(Change(side, units(price, book.market.price_decimals), units(size, book.market.size_decimals)))
    if played.levels and played.depth:
        book.cut(played.depth)
    dialect.numbers[played.symbol] = played.number or dialect.numbers[played.symbol]


def _understood(understand: Callable[[Any, str, str], Played | None], entry: Entry, symbols: set[str]) -> Played | None:
    if entry.kind not in (Kind.TEXT, Kind.ANSWER):
        return None
    said = entry.text.decode()
    try:
        message = json.loads(said)
        if entry.kind is Kind.TEXT:
            return understand(message, said, "")
        symbol = entry.symbol or (next(iter(symbols)) if len(symbols) == 1 else "")
        return understand(message, said, symbol) if symbol else None
    except (ValueError, KeyError, TypeError, IndexError):
        return None  # nothing that this venue says of a book


def _binance(message: Any, said: str, asked: str) -> Played | None:
    if asked:
        return Played(asked, "answer", (), "", _both(message["bids"], message["asks"]), message["lastUpdateId"])
    stream, data = message["stream"], message["data"]
    text, symbol = said[said.index('"data":') + 7 : -1], data["s"]
    if "@depth" not in stream:
        return Played(symbol, "top" if stream.endswith("bookTicker") else "trade", (stream,), text)
    names = tuple(f"{symbol.lower()}@{name}" for name in DEPTHS)
    return Played(symbol, "update", names, text, _both(data["b"], data["a"]), data["u"])


def _bitstamp(message: Any, said: str, asked: str) -> Played | None:
    if asked:
        return Played(asked, "answer", (), "", _both(message["bids"], message["asks"]), int(message["microtimestamp"]))
    channel, data = message["channel"], message["data"]
    symbol = channel.rpartition("_")[2]
    if message["event"] == "trade":
        return Played(symbol, "trade", (channel,), said)
    if message["event"] != "data":
        return None
    if not channel.startswith("diff_"):
        return Played(symbol, "top", (channel,), said)
    return Played(symbol, "update", (channel,), said, _both(data["bids"], data["asks"]), int(data["microtimestamp"]))


def _coinbase(message: Any, said: str, asked: str) -> Played | None:
    kind, symbol = message["type"], message["product_id"]
    book = (f"level2:{symbol}", f"level2_batch:{symbol}")
    if kind == "snapshot":
        return Played(symbol, "snapshot", book, said, _both(message["bids"], message["asks"]))
    if kind == "l2update":
        return Played(symbol, "update", book, said, tuple((SIDES[s], p, q) for s, p, q in message["changes"]))
    stream = {"match": "matches", "last_match": "matches", "ticker": "ticker", "heartbeat": "heartbeat"}[kind]
    return Played(symbol, "trade" if stream == "matches" else "life", (f"{stream}:{symbol}",), said)


def _kraken(message: Any, said: str, asked: str) -> Played | None:
    name, symbol = message[-2], message[-1]
    if not name.startswith("book-"):
        return Played(symbol, "trade" if name == "trade" else "top", (f"{name}:{symbol}",), said)
    depth, parts = int(name[5:]), message[1:-2]
    whole = "as" in parts[0] or "bs" in parts[0]
    levels = [level for part in parts for level in _both(part.get("bs", ()), part.get("as", ()))]
    levels += [level for part in parts for level in _both(part.get("b", ()), part.get("a", ()))]
    return Played(symbol, "snapshot" if whole else "update", (f"{name}:{symbol}",), said, tuple(levels), 0, depth)


def _both(bids: Any, asks: Any) -> tuple[Level, ...]:
    return tuple((side, row[0], row[1]) for side, rows in ((BID, bids), (ASK, asks)) for row in rows)


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


DEPTHS = ("depth", *(f"depth@{ms}ms" for ms in (0, 100, 250, 500, 1000)))
READERS: dict[str, Callable[[Any, str, str], Played | None]] = {
    "binance": _binance,
    "binance_usdm": _binance,
    "bitstamp": _bitstamp,
    "coinbase": _coinbase,
    "kraken": _kraken,
}

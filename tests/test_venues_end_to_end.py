"""The whole way, against venues that do everything wrong: a book is right, or it says that it is stale.

A handler follows a simulated venue over TLS while it cuts, drops, swaps, refuses and answers nonsense. All the while
each book that calls itself LIVE is compared with what the venue's own was at that number (where updates have none:
with all that it ever was); in the end every book is LIVE and equal.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from feedhandler import attach
from feedhandler.cli.simulate_venue import configuration
from feedhandler.config import parse
from feedhandler.handler import Handler
from feedhandler.read import Book
from feedhandler.records import Quality
from feedhandler.session import websocket_life
from feedhandler.simulate.venues import NAMES, VenueFault, VenueFaults, serve
from feedhandler.simulate.venues.faults import MESSAGE_KINDS
from feedhandler.simulate.venues.market import ASK, BID
from feedhandler.simulate.venues.server import VENUES, VenueServer

Top = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]
DEPTH = 10
NUMBERED = ("binance", "binance_usdm", "bitstamp")
CHECKED = ("binance", "binance_usdm", "kraken")
KEYS = {"kraken": f"depth = {DEPTH}", "coinbase": 'streams = ["level2", "matches", "heartbeat"]'}
SYMBOLS = 2


class Truth:
    """What the venue's books were, and what LIVE books of the handler were said to be against that."""

    def __init__(self, venue: VenueServer) -> None:
        self.numbered = venue.dialect.name in NUMBERED
        self.at: dict[tuple[str, int], Top] = {}
        self.ever: dict[str, set[Top]] = {symbol: set() for symbol in venue.symbols}
        self.wrong: list[str] = []
        self.looks = self.live = 0
        for symbol in venue.symbols:
            self.note(venue.dialect.books[symbol], venue.dialect.numbers[symbol])
        venue.watch = self.note

    def note(self, book: Any, number: int) -> None:
        top = tuple(book.levels(BID, DEPTH)), tuple(book.levels(ASK, DEPTH))
        self.at[book.market.symbol, number] = top
        self.ever[book.market.symbol].add(top)

    def look(self, book: Book, market: Any) -> None:
        """Compare a book, if it says that it is LIVE."""
        seen = shown(book, market)
        self.looks += 1
        if book.seen_state is not Quality.LIVE:
            return
        self.live += 1
        number = book.seen_channel_seq
        known = {self.at.get((book.symbol, number))} if self.numbered else self.ever[book.symbol]
        if seen not in known:
            self.wrong.append(f"{book.symbol} at {number}: {seen}, was {self.at.get((book.symbol, number))}")


def shown(book: Book, market: Any) -> Top:
    """A book's levels in the venue's own units."""
    bids, asks = book.snapshot()
    record = book.instrument_record
    price = int(record["price_exponent"]) + market.price_decimals
    size = int(record["size_exponent"]) + market.size_decimals
    sides = []
    for levels in (bids, asks):
        there = [level for level in levels[:DEPTH] if level["size"]]
        sides.append(tuple((units(level["price"], price), units(level["size"], size)) for level in there))
    return sides[0], sides[1]


def units(value: Any, power: int) -> int:
    """value × 10^power, which is whole."""
    if power >= 0:
        return int(value) * 10**power
    whole, rest = divmod(int(value), 10**-power)
    assert not rest
    return whole


@contextmanager
def watched(truth: Truth, books: list[Book], markets: dict[str, Any]) -> Iterator[None]:
    """Look at all books again and again."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.001):
            for book in books:
                truth.look(book, markets[book.symbol])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def everything(name: str) -> VenueFaults:
    """A script in which each kind happens that this venue can have, a few updates apart."""
    rest = (
        ("rest_slow", {"for_s": 0.2}),
        ("rest_status", {"status": 503}),
        ("rest_cut", {}),
        ("rest_old", {"for_s": 1.0}),
        ("rest_garbage", {}),
    )
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("cut", {}),
        ("fragments", {}),
        ("duplicate", {}),
        ("close", {"code": 1012, "reason": "service restart"}),
        ("malformed", {}),
        ("oversized", {"bytes": 100_000}),
        ("bad_utf8", {}),
        ("silence", {"for_s": 0.2}),
        ("reserved", {}),
        ("stall", {"for_s": 0.1}),
        ("masked", {}),
        ("reconnect", {"for_s": 0.1}),
        ("bad_deflate", {}),
    ]
    if name in CHECKED:
        kinds[2:2] = [("drop", {}), ("swap", {})]
    if name == "kraken":
        kinds.insert(4, ("checksum", {}))
    faults = [VenueFault(kind=kind, at=40 + 25 * i, **options) for i, (kind, options) in enumerate(kinds)]
    faults += [VenueFault(kind=kind, at=2 + 2 * i, **options) for i, (kind, options) in enumerate(rest)]
    return VenueFaults(fault=(*faults, VenueFault(kind="refuse", at=3, status=503)))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back at once, whatever the cause: how long a line waits is told elsewhere."""
    for cause in websocket_life.BACKOFF:
        monkeypatch.setitem(websocket_life.BACKOFF, cause, websocket_life.Wait(0.02, 0.05))


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_books_are_right_or_say_that_they_are_stale(name: str, lines: int, wait_for: Callable[..., Any]) -> None:
    symbols = [market.symbol for market in VENUES[name].markets][:SYMBOLS]
    with serve(name, symbols, rate=300, batch_ms=5, levels=30, beat_s=0.2, faults=everything(name)) as venue:
        truth = Truth(venue)
        markets = {symbol: venue.dialect.books[symbol].market for symbol in symbols}
        keys = f"max_message_bytes = 65536\n{KEYS.get(name, '')}\n"
        text = configuration(venue, f"venue-{os.getpid()}", lines).replace("symbols =", f"{keys}symbols =", 1)
        with (
            Handler(parse(text, name)) as handler,
            attach(handler.config.shm.name) as feed,
            attach(handler.config.shm.name) as watching,  # a Book is one thread's
        ):
            handler.start()
            books = [feed.book(symbol, timeout=10) for symbol in symbols]
            with watched(truth, [watching.book(symbol, timeout=10) for symbol in symbols], markets):
                kinds = {fault.kind for fault in venue.script.fault if fault.kind in MESSAGE_KINDS}
                wait_for(lambda: kinds <= venue.faults.keys() or truth.wrong, 30, "all faults")
                wait_for(lambda: all(book.state is Quality.LIVE for book in books), 15, "LIVE books")
                assert not truth.wrong, truth.wrong[0]
                own = settled(venue)
                for book in books:
                    wait_for(lambda book=book: shown(book, markets[book.symbol]) == own[book.symbol], 5, "its book")
                    wait_for(lambda book=book: book.state is Quality.LIVE, 15, "a LIVE book")
            assert handler.error is None
        assert not truth.wrong, truth.wrong[0]
        assert truth.live > 50


def settled(venue: VenueServer) -> dict[str, Top]:
    """The venue's own books, which do not move any more."""
    venue.pause()
    books = venue.dialect.books
    return {s: (tuple(b.levels(BID, DEPTH)), tuple(b.levels(ASK, DEPTH))) for s, b in books.items()}

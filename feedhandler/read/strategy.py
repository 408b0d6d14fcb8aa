"""Strategies: what happens in the feed, as calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedhandler.errors import WriterDiedError
from feedhandler.read._reader import WAITS, Batch, Cursor
from feedhandler.read.feed import Feed
from feedhandler.read.views import Book
from feedhandler.records import Action, Flag, Quality, Reason

IDLE_SECONDS = 0.01  # how soon silence of a channel or the writer's death is noticed when no events come
_TRADE, _STATUS, _LAST = int(Action.TRADE), int(Action.STATUS), int(Flag.LAST)


class Strategy:
    """Override what you need, then `run(feed)`.

    `on_book` comes at most once per book and batch of events, however often the book changed; `on_trade` and
    `on_status` come for every event, in order. `on_stale` comes when a book in use may no longer be trusted, whatever
    the cause (the book, its channel, silence, the handler's end), before `on_book` of the same batch;
    `on_live` when it may be again.
    """

    symbols: Iterable[str | int] | None = None
    """The symbols to hear of; None for all."""

    def on_start(self, feed: Feed) -> None:
        """Before the first event; and again when a successor of the handler has taken over."""

    def on_stop(self, feed: Feed) -> None:
        """After the last event, also when the handler died."""

    def on_book(self, book: Book) -> None:
        """The book has changed. It is whole; `book.state` says how far to trust it."""

    def on_trade(self, event: Any) -> None:
        """A trade, dtype EVENT; its price in 1e-9, its side the aggressor's."""

    def on_status(self, event: Any) -> None:
        """A trading status, dtype EVENT: `size` is a `Trading` code, instrument 0 stands for the whole channel."""

    def on_stale(self, book: Book, reason: Reason) -> None:
        """The book may not be trusted from now on."""

    def on_live(self, book: Book) -> None:
        """The book may be trusted from now on."""

    def on_overrun(self, lost: int) -> None:
        """We were too slow: so many events were overwritten before we read them. Books are as right as before."""

    def run(
        self,
        feed: Feed,
        symbols: Iterable[str | int] | None = None,
        *,
        wait: str = "sleep",
        sleep_us: float = 100.0,
        timeout: float | None = None,
        batch: int = 1024,
    ) -> None:
        """Call the methods above until the handler stops, stop() is called, or `timeout` seconds pass without an event.

        `symbols` goes before the attribute of that name; for `wait` see `Feed.events`. Raises WriterDiedError, after
        on_stale and on_stop, when the handler died.
        """
        if wait not in WAITS:
            raise ValueError(f"wait must be one of {', '.join(WAITS)}, not {wait!r}")
        names = symbols if symbols is not None else self.symbols
        run = _Run(self, feed, None if names is None else list(names), WAITS[wait], int(sleep_us * 1000), batch)
        self._run = run
        self.on_start(feed)
        try:
            run.loop(timeout)
        finally:
            self.on_stop(feed)

    def stop(self) -> None:
        """End run() after the batch that is being worked on; from any thread, or from a method above."""
        run = getattr(self, "_run", None)
        if run is not None:
            run.stopping = True


class _Run:
    """One run of a strategy: its cursors, its books, and what it has said about each."""

    def __init__(
        self, strategy: Strategy, feed: Feed, symbols: list[str | int] | None, mode: int, interval: int, batch: int
    ) -> None:
        self.strategy, self.feed, self.symbols = strategy, feed, symbols
        self.mode, self.interval, self.batch = mode, interval, batch
        self.stopping = False
        self.open("now")

    def open(self, start: str) -> None:
        """Cursors into the present segment; nothing has been said of its books."""
        feed = self.feed
        self.wanted = None if self.symbols is None else [feed.book(symbol, timeout=2.0) for symbol in self.symbols]
        numbers = None if self.wanted is None else [book.instrument for book in self.wanted]
        self.cursors = [Cursor(feed.reader, s, start, numbers, self.batch) for s in range(feed.reader.shards)]
        self.books: dict[int, Book] = {book.instrument: book for book in self.wanted or []}
        self.said: NDArray[np.uint8] = np.full(feed.reader.instruments, Quality.INIT, np.uint8)
        self.words: bytes = b""

    def loop(self, timeout: float | None) -> None:
        """Batches and idle turns until there is a reason to end."""
        quiet, idle = 0.0, IDLE_SECONDS if timeout is None else min(IDLE_SECONDS, timeout)
        self.look_at_all()
        while not self.stopping:
            got = False
            for cursor in self.cursors:
                batch = cursor.take(self.mode, self.interval, int(idle * 1e9) if len(self.cursors) == 1 else 0)
                if batch is not None:
                    got = True
                    self.turn(batch)
            self.look_at_all()
            if got:
                quiet = 0.0
                continue
            status = self.feed.reader.status()
            if status == "died":
                raise WriterDiedError(f"the handler of {self.feed.name!r} died")
            if status == "replaced":
                self.feed.follow()
                self.open("oldest")
                self.strategy.on_start(self.feed)
            elif status == "stopped":
                return
            quiet += idle
            if timeout is not None and quiet >= timeout:
                return

    def turn(self, batch: Batch) -> None:
        """One batch: what was lost, then states, then each event, then each book once."""
        strategy = self.strategy
        if batch.lost:
            strategy.on_overrun(batch.lost)
        instruments = batch["instrument"]
        touched = np.unique(instruments[(batch["flags"] & _LAST) != 0])
        touched = touched[touched != 0].astype(np.uint32)
        self.say(touched)
        actions = batch["action"]
        for event in batch[(actions == _TRADE) | (actions == _STATUS)]:
            if event["action"] == _TRADE:
                strategy.on_trade(event)
            else:
                strategy.on_status(event)
        for instrument in touched.tolist():
            strategy.on_book(self.book(instrument))

    def look_at_all(self) -> None:
        """When a channel's word or the writer's life has changed, look at every book."""
        channels = self.feed.channels
        words = self.feed.status.encode() + channels["quality"].tobytes() + channels["reason"].tobytes()
        if words != self.words:
            self.words = words
            if self.wanted is not None:
                numbers = np.array([book.instrument for book in self.wanted], np.uint32)
            else:
                numbers = np.arange(1, self.feed.reader.used, dtype=np.uint32)
            self.say(numbers)

    def say(self, instruments: NDArray[np.uint32]) -> None:
        """on_stale and on_live for those whose quality has changed since we last said it."""
        quality, reason = np.empty(len(instruments), np.uint8), np.empty(len(instruments), np.uint8)
        self.feed.reader.states(instruments, quality, reason)
        changed = np.flatnonzero(quality != self.said[instruments])
        for i in changed.tolist():
            number, now, before = int(instruments[i]), Quality(int(quality[i])), int(self.said[instruments[i]])
            self.said[number] = now
            if now == Quality.LIVE:
                self.strategy.on_live(self.book(number))
            elif before != Quality.STALE:
                self.strategy.on_stale(self.book(number), Reason(int(reason[i])))

    def book(self, instrument: int) -> Book:
        """The Book of an instrument, made once."""
        book = self.books.get(instrument)
        if book is None:
            book = self.books[instrument] = self.feed.book(instrument)
        return book

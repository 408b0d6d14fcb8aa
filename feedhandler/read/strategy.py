"""Strategies: what happens in the feed, as calls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from feedhandler import records
from feedhandler.errors import WriterDiedError
from feedhandler.read._reader import WAITS, Batch
from feedhandler.read.feed import SUCCESSOR_SECONDS, Feed, Wait, waiting
from feedhandler.read.views import Book
from feedhandler.read.wanted import Name, Symbols, Wanted, name_of, part
from feedhandler.records import Action, Flag, Quality, Reason

if TYPE_CHECKING:
    from feedhandler.research import Backtest
    from feedhandler.research._steps import Steps

IDLE_SECONDS = 0.01  # how soon silence of a channel or the writer's death is noticed when no events come
_TRADE, _STATUS, _LAST = int(Action.TRADE), int(Action.STATUS), int(Flag.LAST)


class Strategy:
    """Override what you need, then `run(feed)`: of `attach`, or of `backtest`, which is a recording's.

    `on_book` comes at most once per book and batch of events, however often the book changed; `on_trade` and
    `on_status` come for every event, in order. `on_stale` comes when a book in use may no longer be trusted, whatever
    the cause (the book, its channel, silence, the handler's end), before `on_book` of the same batch, and again when
    state or reason become others; `on_live` when it may be trusted again.
    """

    symbols: Symbols | None = None
    """The symbols to hear of; None for all."""

    def on_start(self, feed: Feed) -> None:
        """Before the first event; and, unless on_restart is overridden, when the handler was started again."""

    def on_stop(self, feed: Feed) -> None:
        """After the last event, also when the handler died."""

    def on_restart(self, feed: Feed) -> None:
        """The handler died, on_stale has said so, and it was started again: its events follow from the first one.

        Epochs, event numbers and instrument numbers begin anew; books go on by their names.
        """
        self.on_start(feed)

    def on_book(self, book: Book) -> None:
        """The book has changed. It is whole; `book.state` says how far to trust it."""

    def on_trade(self, event: Any) -> None:
        """A trade, dtype EVENT; its price in 1e-9, its side the aggressor's."""

    def on_status(self, event: Any) -> None:
        """A trading status, dtype EVENT: `size` is a `Trading` code, instrument 0 stands for the whole channel."""

    def on_stale(self, book: Book, reason: Reason) -> None:
        """The book may not be trusted from now on: `book.state` is STALE, RECOVERING (being mended) or INIT (no data).

        Comes again each time state or reason change, until `on_live`.
        """

    def on_live(self, book: Book) -> None:
        """The book may be trusted from now on."""

    def on_overrun(self, lost: int) -> None:
        """We were too slow: so many events were overwritten before we read them. Books are as right as before."""

    def run(
        self,
        feed: Feed | Backtest,
        symbols: Symbols | None = None,
        *,
        wait: Wait = "sleep",
        sleep_us: float = 100.0,
        timeout: float | None = None,
        batch: int = 1024,
        successor_timeout: float | None = SUCCESSOR_SECONDS,
        stay: bool = False,
    ) -> None:
        """Call the methods above until the handler stops, stop() is called, or `timeout` seconds pass without an event.

        `symbols` goes before the attribute of that name; for `wait` see `Feed.events`. When the handler died, goes on
        with the one that is started again under its name. Raises WriterDiedError, after on_stale and on_stop, when none
        was within `successor_timeout` seconds (None: waits for ever) or `timeout`. With `stay`, goes on after a handler
        that stopped in good order, too; when no other comes, it returns.

        Of a Backtest, to its end (`Backtest.play`): there is nothing to wait for, and only `symbols` has a meaning.
        """
        if not isinstance(feed, Feed):
            feed.play(self, symbols)
            return
        mode, interval = waiting(wait, sleep_us)
        chosen = symbols if symbols is not None else self.symbols
        names = None if chosen is None else feed.names(chosen)
        run = _Run(self, feed, names, mode, interval, batch)
        self._run: _Run | Steps = run
        self.on_start(feed)
        try:
            run.loop(timeout, successor_timeout, stay)
        finally:
            self.on_stop(feed)

    def stop(self) -> None:
        """End run() after the batch that is being worked on; from any thread, or from a method above."""
        run = getattr(self, "_run", None)
        if run is not None:
            run.stopping = True


class _Run:
    """One run of a strategy: its cursors, its books, and what it has said about each.

    It keeps to one segment until that is read to its end, though a Book may have gone on to a successor's before.
    """

    def __init__(
        self, strategy: Strategy, feed: Feed, names: list[Name] | None, mode: int, interval: int, batch: int
    ) -> None:
        self.strategy, self.feed, self.names = strategy, feed, names
        self.mode, self.interval, self.batch = mode, interval, batch
        self.stopping = False
        self.books: dict[Name, Book] = {}
        self.told: dict[Name, tuple[int, int]] = {}
        self.open("now")

    def open(self, start: str | int) -> None:
        """Cursors into the present segment; what was said of its books was said by their names."""
        self.reader = reader = self.feed.reader
        self.wanted = Wanted(reader, self.names)
        self.cursors = self.wanted.cursors(start, self.batch)
        self.numbered: dict[int, Book] = {}
        self.quality: NDArray[np.uint8] = np.full(reader.instruments, Quality.INIT, np.uint8)
        self.reason: NDArray[np.uint8] = np.full(reader.instruments, Reason.START, np.uint8)
        self.known = 1
        self.words = b""

    def loop(self, timeout: float | None, successor_timeout: float | None, stay: bool) -> None:
        """Batches and idle turns until there is a reason to end."""
        idle = IDLE_SECONDS if timeout is None else min(IDLE_SECONDS, timeout)
        quiet_since = time.monotonic()
        patience = min((seconds for seconds in (successor_timeout, timeout) if seconds is not None), default=None)
        ended = 0.0
        self.look_at_all()
        while not self.stopping:
            got = self.turns(idle)
            self.look_at_all()
            now = time.monotonic()
            if got:
                quiet_since = now
                continue
            status = self.reader.status()
            if status == "running":
                if timeout is not None and now - quiet_since >= timeout:
                    return
                continue
            if any(cursor.pass_unfinished() for cursor in self.cursors):
                continue
            self.look_at_all()  # it may have ended since the last look
            if status == "stopped" and not stay:
                return
            ended = ended or now
            if self.feed.reader is not self.reader or self.feed.follow():
                self.succeed()
                ended, quiet_since = 0.0, now
            elif patience is not None and now - ended >= patience:
                if status == "stopped":
                    return
                raise WriterDiedError(self.feed.obituary(patience))
            else:
                time.sleep(IDLE_SECONDS)

    def turns(self, idle: float) -> bool:
        """A batch of each ring, waited for at most `idle` seconds; whether there was one."""
        got = False
        alone = len(self.cursors) == 1
        for cursor in self.cursors:
            batch = cursor.take(self.mode, self.interval, int(idle * 1e9) if alone else 0)
            if batch is not None:
                got = True
                self.turn(self.wanted.keep(batch))
        if not got and not alone and self.mode != WAITS["spin"]:
            time.sleep(self.interval / 1e9)
        return got

    def succeed(self) -> None:
        """Go on with the segment of the handler that was started again."""
        for number, quality in enumerate(self.quality[: self.known].tolist()):
            if number and (quality != Quality.INIT):
                self.told[name_of(self.reader, number)] = quality, int(self.reason[number])
        self.open(1)
        self.strategy.on_restart(self.feed)
        self.carry_over()
        for name, book in self.books.items():
            if name in self.told and not self.reader.find(*name):
                self.told[name] = int(Quality.INIT), int(Reason.START)
                self.strategy.on_stale(book, Reason.START)

    def carry_over(self) -> None:
        """What was said of a book before its handler was started again was said of it, whatever its number now."""
        used = self.reader.used
        if self.told:
            for number in range(self.known, used):
                self.quality[number], self.reason[number] = self.told.pop(
                    name_of(self.reader, number), (Quality.INIT, Reason.START)
                )
        self.known = used

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
        """When a channel's word or the writer's life has changed, or instruments were named, look at every book."""
        reader = self.reader
        channels = part(reader, "channels", records.CHANNEL)
        words = f"{reader.status()} {reader.frozen()} {reader.used}".encode()
        words += channels["quality"].tobytes() + channels["reason"].tobytes()
        if words == self.words:
            return
        self.words = words
        self.wanted.look()
        if self.names is None:
            numbers = np.arange(1, reader.used, dtype=np.uint32)
        else:
            numbers = np.array(sorted(self.wanted.numbers), np.uint32)
        self.say(numbers)

    def say(self, instruments: NDArray[np.uint32]) -> None:
        """on_stale and on_live for those whose state or reason are not what we last said."""
        self.carry_over()
        quality, reason = np.empty(len(instruments), np.uint8), np.empty(len(instruments), np.uint8)
        self.reader.states(instruments, quality, reason)
        before = self.quality[instruments]
        changed = (quality != before) | (quality != Quality.LIVE) & (reason != self.reason[instruments])
        changed &= (quality != Quality.INIT) | (before != Quality.INIT)
        self.quality[instruments], self.reason[instruments] = quality, reason
        for i in np.flatnonzero(changed).tolist():
            book = self.book(int(instruments[i]))
            if quality[i] == Quality.LIVE:
                self.strategy.on_live(book)
            else:
                self.strategy.on_stale(book, Reason(int(reason[i])))

    def book(self, instrument: int) -> Book:
        """The Book of an instrument, made once for each name."""
        book = self.numbered.get(instrument)
        if book is None:
            name = name_of(self.reader, instrument)
            book = self.books.get(name)
            if book is None:
                there = self.feed.reader
                found = [instrument] if there is self.reader else there.find(*name)
                book = self.books[name] = Book(self.feed, found[0] if found else 0, *name)
            self.numbered[instrument] = book
        return book

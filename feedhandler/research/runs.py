"""A recording gone through in one process: every event with the book right after it, or a Strategy that is called.

    for event, book in feedhandler.backtest("20261120", ["AAPL", "MSFT"]):
        ...

One thread, no clock: what is seen depends on the recording alone, and is the same each time.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from feedhandler.capture_config import CaptureOptions
from feedhandler.closing import Closing
from feedhandler.decode.session_date import midnight
from feedhandler.errors import CaptureError, ConfigError, UnknownSymbolError
from feedhandler.handler import Handler, open_recording
from feedhandler.read import Batch
from feedhandler.read._reader import Reader
from feedhandler.read.strategy import Strategy
from feedhandler.read.views import Book
from feedhandler.recording import Recording, Window
from feedhandler.recording.books import books_path
from feedhandler.records import Reason
from feedhandler.research._steps import Steps, book_dtype
from feedhandler.research.moments import of_the_day
from feedhandler.research.recorded import Choices, Choosing, RecordedFeed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Source = Recording | str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
When = int | str | None
"""An instant: ns since the Unix epoch, or a word of `Recording.find`; None: the beginning, or the end."""

_REASONS = tuple(Reason)
BATCH = 4096


def backtest(
    recording: Source,
    symbols: Choices | None = None,
    *,
    strategy: Strategy | None = None,
    start: When = None,
    end: When = None,
    channels: Iterable[str] | None = None,
    protocol: str | None = None,
    channel_events: bool = False,
    strict: bool = True,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[CaptureOptions],
) -> Backtest:
    """A run over a recording: folders of `feedhandler record`, captures of any kind, several of them in time order.

    `symbols`: names or (symbol, venue); None = all. With `strategy` it is run at once, to the end; without, iterate
    over what is returned, or give it to `Strategy.run`. `start` and `end`: ns since the Unix epoch, or words as "09:30"
    at the exchange, "+90s", an ISO time: nothing is given of before, though all of it takes effect, so that books are
    right from the first event on; from the latest book snapshot (`record --books`), where there is one. `channels`:
    only these. `channel_events`: events of whole channels (new session, gap) are given, too, with None as their book.
    Damage of the recording is raised after the last whole event; with `strict=False` it only stands in `error`.
    `protocol` is recognised where it can be; `options` are those of CaptureOptions (`depth`: price levels a side).
    `progress` is called now and then with the bytes read so far, of `recording.size`.

    Raises CaptureError for what is no recording, ConfigError when its protocol is not known, RecordingError for an
    instant that is not in it.
    """
    if not isinstance(recording, Recording):
        paths = [recording] if isinstance(recording, str | os.PathLike) else recording
        recording = Recording(*(Path(path) for path in paths), protocol=protocol)
    opened = recording
    names = None if channels is None else list(channels)
    begin, until = (_instant(opened, when, options.get("day")) for when in (start, end))

    def handler() -> Handler:
        if not opened.first_ts:
            return open_recording(opened, channels=names, **options)
        known = books_path(opened) if begin is not None else None
        snapshots = known is not None and known.exists()  # else played from its beginning, with progress
        return open_recording(opened, Window(begin if snapshots else None, until), channels=names, **options)

    title = " ".join(path.name for path in opened.paths)
    run = Backtest(
        handler,
        symbols,
        start=begin,
        end=until,
        channel_events=channel_events,
        strict=strict,
        progress=progress,
        name=title,
    )
    if strategy is not None:
        if not isinstance(strategy, Strategy):
            raise TypeError(f"strategy is {strategy!r}: give an object of a Strategy class, as strategy=Momentum()")
        strategy.run(run)
    return run


def _instant(recording: Recording, when: When, day: date | None) -> int | None:
    """The instant that a word names; of files without times, by the exchange's clock on `day`, if that is known."""
    if not isinstance(when, str):
        return when
    if recording.first_ts:
        return recording.find(when)
    return of_the_day(when) + (midnight(day, recording.zone) if day is not None else 0)


def _teller(progress: Callable[[int], None], receiver: Any) -> Callable[[], None]:
    """Says how far the receiver has come; no method of the run, which would then keep itself and its books alive."""
    return lambda: progress(receiver.offset)


class Backtest(Closing):
    """A run over a recording, as `backtest` makes it; each iteration begins anew. Use it as a context manager, or not.

    Iterated over, it gives (event, book): each event of the symbols, dtype EVENT, and the Book as it stands right after
    the event's message, the very class that `attach` gives. All other books, and `feed`, stand there, too.

    After the last event: CaptureError when the recording is damaged (all whole events before the damage have been
    given), UnknownSymbolError when none of the symbols was ever named; a warning when only some were not.
    """

    def __init__(
        self,
        handler: Callable[[], Handler],
        symbols: Choices | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        channel_events: bool = False,
        strict: bool = True,
        progress: Callable[[int], None] | None = None,
        name: str = "recording",
    ) -> None:
        self._make, self._symbols, self._progress, self.name = handler, symbols, progress, name
        self._start, self._end, self._channel_events, self._strict = start, end, channel_events, strict
        self._handler: Handler | None = None
        self._steps: Steps | None = None
        self._feed: RecordedFeed | None = None
        self._choosing: Choosing | None = None

    @property
    def feed(self) -> RecordedFeed:
        """The feed at the place that the run has come to: books by name, tables of channels and lines."""
        if self._feed is None:
            raise ConfigError("the run has not begun: iterate over it first; its feed is that of its place")
        return self._feed

    @property
    def handler(self) -> Handler:
        """The handler of the present run, for its counters and `types`."""
        if self._handler is None:
            raise ConfigError("the run has not begun: iterate over it first")
        return self._handler

    @property
    def events(self) -> int:
        """Events of the symbols that were given, or told of, so far."""
        return self._steps.given if self._steps is not None else 0

    @property
    def error(self) -> CaptureError | None:
        """Why the recording could not be read to its end; all that was whole before the damage has been given."""
        error: CaptureError | None = getattr(self._handler and self._handler.receiver, "error", None)
        return error

    def book(self, symbol: str, venue: str | None = None) -> Book:
        """The book of any symbol of the recording at the place that the run has come to."""
        return self.feed.book(symbol, venue)

    def __iter__(self) -> Iterator[tuple[Any, Book]]:
        steps = self._begin(self._symbols)
        yield from steps
        self._finish()

    def batches(self, events: int = BATCH, depth: int | None = None) -> Iterator[tuple[Batch, NDArray[np.void]]]:
        """The same, many at once: (events, books), up to `events` rows each, copies that belong to their holder.

        Events: dtype EVENT. Books: row i is the book right after event i's message, with `head`
        (dtype BOOK; its quality and reason the worst of the book's and its channel's), `bids` and `asks` (dtype LEVEL,
        shape (rows, depth), best first). `depth`: as many levels as the run has, or fewer, which is faster.
        """
        steps = self._begin(self._symbols)
        levels = self.feed.reader.depth if depth is None else depth
        if not 1 <= levels <= self.feed.reader.depth or events < 1:
            raise ValueError(f"events must be 1 or more, depth 1 to {self.feed.reader.depth}: not {events}, {levels}")
        kind = book_dtype(levels)
        while (batch := steps.take(events, levels, Batch, kind)) is not None:
            yield batch
        self._finish()

    def play(self, strategy: Strategy, symbols: Choices | None = None) -> None:
        """Call a strategy's methods to the end of the recording, or its stop(): what `strategy.run(run)` does.

        Of the symbols, those given here go before those of the run, and these before the strategy's own. `on_book`
        comes after each message that left the book whole, `on_stale` and `on_live` before it; `on_overrun` and
        `on_restart` never come. The end of the recording itself makes no book stale.
        """
        chosen = next((s for s in (symbols, self._symbols, strategy.symbols) if s is not None), None)
        steps = self._begin(chosen)
        strategy._run = steps
        strategy.on_start(self.feed)

        def overridden(name: str) -> Any:
            method = getattr(strategy, name)
            return None if getattr(method, "__func__", None) is getattr(Strategy, name) else method

        on_book, on_trade, on_status = map(overridden, ("on_book", "on_trade", "on_status"))
        try:
            steps.tell(on_book, on_trade, on_status, overridden("on_stale"), overridden("on_live"), _REASONS)
        finally:
            strategy.on_stop(self.feed)
        self._finish()

    def close(self) -> None:
        """Close the recording's files. Harmless when done twice; what was read of books stays."""
        if self._handler is not None:
            self._handler.receiver.close()

    def _begin(self, symbols: Choices | None) -> Steps:
        self.close()
        self._handler = handler = self._make()
        self._feed = feed = RecordedFeed(
            Reader(handler.segment.memory), self.name, [channel.venue for channel in handler.config.channels]
        )
        self._choosing = Choosing(feed, symbols)
        self._steps = Steps(
            handler.shard,
            feed.reader,
            self._choosing,
            feed.book,
            self._start,
            self._end,
            channel_events=self._channel_events,
            looked=self._progress and _teller(self._progress, handler.receiver),
        )
        return self._steps

    def _finish(self) -> None:
        """The run is over: what was wrong with it is said now, unless it was cut short."""
        assert self._choosing is not None and self._steps is not None
        error = self.error
        self.close()
        if not self._steps.ended:
            return
        if error is not None and self._strict:
            raise error
        missing = self._choosing.missing(self.feed.asked)
        if missing and self._choosing.in_vain:
            raise UnknownSymbolError(missing)
        if missing:
            warnings.warn(missing, stacklevel=3)

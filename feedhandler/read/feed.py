"""A feed as its readers see it: books by symbol, events in batches, the tables of channels and lines."""

from __future__ import annotations

import difflib
import operator
import os
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from feedhandler import records
from feedhandler.closing import Closing
from feedhandler.errors import LayoutError, SegmentError, UnknownSymbolError, WriterDiedError
from feedhandler.publish.layout import HISTOGRAMS
from feedhandler.publish.segment import DEFAULT_DIR
from feedhandler.read._reader import WAITS, Batch, Cursor, Reader
from feedhandler.read.opening import RETRY_SECONDS, open_reader
from feedhandler.read.views import Book, LatencyHistogram
from feedhandler.read.wanted import Name, Symbol, Symbols, Wanted, listed, name_of, part

SUCCESSOR_SECONDS = 60.0
Wait = Literal["spin", "sleep", "futex"]
"""How long events() and Strategy.run() wait for a handler that died to be started again."""


class Feed(Closing):
    """An attached feed. Use it in a `with` block, in one thread; attach once more for another thread.

    When a handler of the same name is started again, books and events go on with its segment, whatever its shape.
    """

    def __init__(self, reader: Reader, name: str = "", dir: str | os.PathLike[str] = DEFAULT_DIR) -> None:
        self.reader, self.name, self.dir = reader, name, dir
        self._looked = 0.0
        self._refusal: SegmentError | WriterDiedError | None = None

    def __repr__(self) -> str:
        return f"<Feed {self.name}: {len(self.symbols)} symbols, {self.status}>"

    def close(self) -> None:
        """Let go of the mapping. Books and views that are still held keep it; closing twice is harmless."""

    @property
    def status(self) -> str:
        """The writer's life, asked of the kernel: "running", "stopped", "died" or "replaced"."""
        return self.reader.status()

    @property
    def header(self) -> Any:
        """A copy of the segment's header, dtype HEADER."""
        return np.frombuffer(self.reader.memory, records.HEADER, 1)[0].copy()

    # -- instruments and books -----------------------------------------------------------------------------------------

    @property
    def instruments(self) -> NDArray[np.void]:
        """The directory, a copy, dtype INSTRUMENT; row i is instrument i, row 0 stands for none."""
        return part(self.reader, "directory", records.INSTRUMENT)[: self.reader.used].copy()

    @property
    def symbols(self) -> list[str]:
        """All symbols, in the order of the directory; one that has several venues stands there several times."""
        names = part(self.reader, "directory", records.INSTRUMENT)["symbol"][1 : self.reader.used]
        return [name.decode("ascii", "replace") for name in names.tolist()]

    def instrument(self, index: int) -> Any:
        """A copy of one directory entry, dtype INSTRUMENT."""
        return part(self.reader, "directory", records.INSTRUMENT)[index].copy()

    def symbol(self, instrument: int) -> str:
        """The symbol of an instrument number, as of `event["instrument"]`; "" for 0, which stands for a whole channel.

        Of a whole batch: `feed.instruments["symbol"][batch["instrument"]]`. Raises UnknownSymbolError.
        """
        number = operator.index(instrument)
        if number == 0:
            return ""
        if not 0 < number < self.reader.used:
            raise UnknownSymbolError(self._unknown(number, None))
        return name_of(self.reader, number)[0]

    def book(self, symbol: Symbol, venue: str | None = None, timeout: float = 0.0) -> Book:
        """The book of a symbol, or of an instrument number, as of `event["instrument"]`.

        The directory fills as the feed names its instruments: `timeout` waits so many seconds for the symbol to come.
        Raises UnknownSymbolError for a symbol that is not there, with the nearest names, or that is on several venues
        when `venue` is not given, with their names.
        """
        end = time.monotonic() + timeout
        if isinstance(symbol, bytes):  # as the directory has it
            symbol = symbol.decode("ascii", "replace")
        elif not isinstance(symbol, str):
            if not hasattr(symbol, "__index__"):
                raise TypeError(f"a symbol or an instrument number is needed, not {symbol!r}")
            symbol = operator.index(symbol)  # numpy's integers, too
        while True:
            if isinstance(symbol, int):
                found = [symbol] if 0 < symbol < self.reader.used else []
            else:
                found = self.reader.find(symbol, venue)
            if found or time.monotonic() >= end:
                break
            time.sleep(RETRY_SECONDS)
        if not found:
            raise UnknownSymbolError(self._unknown(symbol, venue))
        rows = [self.instrument(index) for index in found]
        venues = [row["venue"].decode("ascii", "replace") for row in rows]
        if len(found) > 1:
            raise UnknownSymbolError(
                f"{symbol!r} is on {len(found)} venues, {' and '.join(venues)}: say which with venue={venues[0]!r}"
            )
        return Book(self, found[0], rows[0]["symbol"].decode("ascii", "replace"), venues[0])

    def _unknown(self, symbol: str | int, venue: str | None) -> str:
        symbols = self.symbols
        where, name = f" on {venue}" if venue else "", f" {self.name!r}" if self.name else ""
        if not symbols:
            return f"there is no {symbol!r}{where}: the feed{name} has named no instruments yet; give a timeout"
        near = dict.fromkeys(difflib.get_close_matches(str(symbol).upper(), symbols, 3, 0.5))
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        return f"there is no {symbol!r}{where} among the {len(symbols)} instruments of the feed{name}{hint}"

    # -- events --------------------------------------------------------------------------------------------------------

    def cursor(
        self,
        shard: int = 0,
        start: str | int = "now",
        symbols: Symbols | None = None,
        venue: str | None = None,
        batch: int = 1024,
    ) -> Cursor:
        """A place in one shard's event ring; `start` is "now", "oldest" or an event's number. For Cython strategies."""
        wanted = None if symbols is None else [self.book(symbol, venue).instrument for symbol in listed(symbols)]
        return Cursor(self.reader, shard, start, wanted, batch)

    def events(
        self,
        symbols: Symbols | None = None,
        *,
        venue: str | None = None,
        copy: bool = True,
        wait: Wait = "sleep",
        sleep_us: float = 100.0,
        timeout: float | None = None,
        batch: int = 1024,
        start: str | int = "now",
        successor_timeout: float | None = SUCCESSOR_SECONDS,
        stay: bool = False,
    ) -> Iterator[Batch]:
        """Batches of events as they come: arrays of dtype EVENT, with `lost`, the events missed directly before.

        `symbols` filters, in compiled code; events of a whole channel (instrument 0: new session, gap) always come.
        `copy=False` gives read-only views of the ring, of all instruments of a single shard, with `intact()` to ask
        after use how many of the batch, counted from its end, had not been overwritten.

        `wait` says how to wait for news: "spin" burns a processor and hears at once (some hundred ns); "sleep" looks
        every `sleep_us` microseconds and hears up to that plus the kernel's timer slack (50 us) later; "futex" sleeps
        until the handler's control thread wakes it, at most every `wake_us` (50): up to that plus one thread switch.

        Ends after `timeout` seconds without an event (0: when the ring is drained), and when the handler stopped in
        good order, all events given out. When it died, all whole events are given out, and then those of the handler
        that is started again under the same name, from its first one; the first batch of these has `restarted`, and
        `lost` as ever. Instruments have other numbers then; `symbols` are followed by name, also those that the new
        handler names only later. Raises WriterDiedError when none was started within `successor_timeout` seconds (None:
        waits for ever) or `timeout`; LayoutError when it is another version of feedhandler. With `stay`, all this holds
        for a handler that stopped in good order, too; but when no other comes, the batches just end.

        Several shards are merged by `ts_recv`, then shard, within what has arrived.
        """
        mode, interval = waiting(wait, sleep_us)
        names = None if symbols is None else self.names(symbols, venue)
        restarted = False
        while True:
            reader = self.reader
            if not copy and (names is not None or reader.shards > 1):
                raise ValueError("copy=False gives views of a whole ring: not with symbols, not of several shards")
            wanted = Wanted(reader, names)
            cursors = wanted.cursors(start, batch)
            while True:
                for found in _drain(cursors, mode, interval, timeout, copy):
                    kept = wanted.keep(found)
                    if restarted:
                        kept.restarted, restarted = True, False
                    if len(kept) or kept.lost or kept.restarted:
                        yield kept
                status = reader.status()
                if status == "running" or not any(cursor.pass_unfinished() for cursor in cursors):
                    break
            if status == "running" or (status == "stopped" and not stay):
                return
            patience = min((seconds for seconds in (successor_timeout, timeout) if seconds is not None), default=None)
            if not self.await_successor(reader, patience):
                if status == "stopped":
                    return
                raise WriterDiedError(self.obituary(patience or 0.0))
            start, restarted = 1, True

    def names(self, symbols: Symbols, venue: str | None = None) -> list[Name]:
        """(symbol, venue) of each symbol or instrument number. Raises UnknownSymbolError as `book` does."""
        return [name_of(self.reader, self.book(symbol, venue).instrument) for symbol in listed(symbols)]

    # -- the tables ----------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> NDArray[np.void]:
        """The channel table, a copy, dtype CHANNEL; `feedhandler.counters` names the counters."""
        return part(self.reader, "channels", records.CHANNEL).copy()

    @property
    def lines(self) -> NDArray[np.void]:
        """The line table, a copy, dtype LINE; `feedhandler.counters` names the counters."""
        return part(self.reader, "lines", records.LINE).copy()

    @property
    def heads(self) -> NDArray[np.uint64]:
        """Number of the last event published, for each shard."""
        return part(self.reader, "rings", records.RING)["head"].copy()

    @property
    def histograms(self) -> dict[str, LatencyHistogram]:
        """Latencies in ns by name; of several shards together, "wire_receive/1" is the second shard's."""
        rows = part(self.reader, "histograms", records.HISTOGRAM).copy()
        return {
            name if shard == 0 else f"{name}/{shard}": LatencyHistogram(name, rows[shard * len(HISTOGRAMS) + i])
            for shard in range(self.reader.shards)
            for i, name in enumerate(HISTOGRAMS)
        }

    @property
    def leads(self) -> list[LatencyHistogram]:
        """For each line, by how many ns it was before the next copy of the messages that it won."""
        lines = len(part(self.reader, "lines", records.LINE))
        rows = part(self.reader, "histograms", records.HISTOGRAM)[self.reader.shards * len(HISTOGRAMS) :].copy()
        return [LatencyHistogram(f"lead/{i}", rows[i]) for i in range(lines)]

    def follow(self) -> bool:
        """Go on with the segment of a handler that was started again, if this one's no longer runs; whether it did so.

        Never waits. Raises LayoutError when the new one is another version of feedhandler.
        """
        status = self.reader.status()
        now = time.monotonic()
        if status == "running" or not self.name or (status != "replaced" and now - self._looked < RETRY_SECONDS):
            return False
        self._looked = now
        try:
            found = open_reader(self.name, self.dir)
        except LayoutError:
            raise
        except (SegmentError, WriterDiedError) as error:
            self._refusal = error
            return False
        self.reader = found
        return True

    def await_successor(self, reader: Reader, timeout: float | None) -> bool:
        """Wait until `follow` has gone on from `reader`, at most `timeout` seconds, None for ever; whether it has."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.reader is reader and not self.follow():
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(RETRY_SECONDS)
        return True

    def obituary(self, waited: float) -> str:
        """What became of a handler that died and was not started again within so many seconds."""
        text = f"the handler of {self.name!r} died; all its whole events have been given out"
        if waited and self._refusal is not None:
            text += f"; nobody took its place within {waited:g} s: {self._refusal}"
        return text


def waiting(wait: Wait, sleep_us: float) -> tuple[int, int]:
    """How a cursor waits, and how many ns it sleeps between two looks. Raises ValueError."""
    if wait not in WAITS:
        raise ValueError(f"wait must be one of {', '.join(WAITS)}, not {wait!r}")
    if not isinstance(sleep_us, int | float) or not 0 <= sleep_us <= 1e9:
        raise ValueError(f"sleep_us must be 0 to 1e9 microseconds, not {sleep_us!r}")
    return WAITS[wait], int(sleep_us * 1000)


def _drain(cursors: list[Cursor], mode: int, interval: int, timeout: float | None, copy: bool) -> Iterator[Batch]:
    """Batches until the time is up or the writer no longer runs."""
    nanoseconds = -1 if timeout is None else int(timeout * 1e9)
    if len(cursors) == 1:
        take = cursors[0].take
        while (batch := take(mode, interval, nanoseconds, copy)) is not None:
            yield batch
        return
    quiet_since = time.monotonic_ns()
    while True:
        running = cursors[0].reader.status() == "running"  # before we look: what came before its end is seen
        batches = [b for b in (cursor.take(mode, interval, 0) for cursor in cursors) if b is not None]
        if batches:
            yield merge(batches)
            quiet_since = time.monotonic_ns()
        elif not running or 0 <= nanoseconds <= time.monotonic_ns() - quiet_since:
            return
        elif mode != WAITS["spin"]:
            time.sleep(interval / 1e9)


def merge(batches: list[Batch]) -> Batch:
    """One batch of several shards' batches, by `ts_recv`, then in the order given."""
    together = np.concatenate(batches)
    merged: Batch = together[np.argsort(together["ts_recv"], kind="stable")].view(Batch)
    merged.lost = sum(batch.lost for batch in batches)
    return merged

"""What people hold in their hands: one book, latency histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from feedhandler.publish._publisher import histogram_ceilings
from feedhandler.read._book_reader import BookReader
from feedhandler.read.wanted import part
from feedhandler.records import INSTRUMENT, Quality, Reason, Trading

if TYPE_CHECKING:
    from feedhandler.read.feed import Feed

FAULTS = ("unknown_orders", "over_executions", "duplicate_orders", "crossed")
"""The counters of an INSTRUMENT record."""

_QUALITY, _REASON, _TRADING = tuple(Quality), tuple(Reason), tuple(Trading)


class Book(BookReader):
    """One instrument's book, read in place; made by `Feed.book`.

    `snapshot()` and `top()` give prices and sizes as integers: prices in units of 10^price_exponent, sizes in units of
    10^size_exponent of `instrument_record`. Every property reads shared memory when it is asked; those that begin with
    `seen_` tell what held at the instant of the last `snapshot()` or `top()`. When the handler is started again, the
    book goes on with the new one's, by its name; until that one names it, the book is empty and INIT.
    """

    def __new__(cls, feed: Feed, instrument: int, symbol: str, venue: str) -> Book:
        book: Book = super().__new__(cls, feed.reader, instrument)
        return book

    def __init__(self, feed: Feed, instrument: int, symbol: str, venue: str) -> None:
        self.feed, self.symbol, self.venue = feed, symbol, venue

    def __repr__(self) -> str:
        quality, reason, trading = self.codes()
        why = f" {_REASON[reason].name}" if reason else ""
        whole = f"{_QUALITY[quality].name}{why}, whole to {self.channel_seq}, {_TRADING[trading].name}"
        return f"<Book {self.symbol} on {self.venue}: {whole}>"

    def follow(self) -> None:
        """Move to the segment of a handler that was started again, and there to the symbol, once it is named."""
        self.feed.follow()
        reader = self.feed.reader
        if reader is not self.reader or self.instrument == 0:
            found = reader.find(self.symbol, self.venue)
            self.move(reader, found[0] if found else 0)

    @property
    def state(self) -> Quality:
        """How far to trust the book now: the worst of its own quality, its channel's, and the writer's life."""
        return _QUALITY[self.codes()[0]]

    quality = state

    @property
    def reason(self) -> Reason:
        """Why `state` is not LIVE."""
        return _REASON[self.codes()[1]]

    @property
    def trading(self) -> Trading:
        """The instrument's trading status, apart from the quality of its book."""
        return _TRADING[self.codes()[2]]

    @property
    def seen_state(self) -> Quality:
        """`state` at the instant of the last snapshot() or top()."""
        return _QUALITY[self.seen_codes()[0]]

    @property
    def seen_reason(self) -> Reason:
        """`reason` at the instant of the last snapshot() or top()."""
        return _REASON[self.seen_codes()[1]]

    @property
    def instrument_record(self) -> Any:
        """Its directory entry, a copy, dtype INSTRUMENT: exponents, tick, lot, currency, channel."""
        return part(self.reader, "directory", INSTRUMENT)[self.instrument].copy()  # the feed may be ahead of us

    @property
    def faults(self) -> dict[str, int]:
        """How often the feed contradicted what this book knew, by name, since the handler began: 0 on a sound feed."""
        row = self.instrument_record
        return {name: int(row[name]) for name in FAULTS}


class LatencyHistogram:
    """A copy of one latency histogram; all values in ns. Buckets are at most 1/32 of their value wide."""

    def __init__(self, name: str, record: Any) -> None:
        self.name = name
        self.count, self.sum = int(record["count"]), int(record["sum"])
        self.minimum, self.maximum = int(record["minimum"]), int(record["maximum"])
        self.buckets: NDArray[np.uint64] = record["buckets"].copy()

    def __repr__(self) -> str:
        return f"<LatencyHistogram {self.name}: {self.count} values, p50 {self.percentile(50)} ns>"

    @property
    def mean(self) -> float:
        """Mean in ns, 0 when empty."""
        return self.sum / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """The smallest bucket's upper end, in ns, that `percent` of the values do not exceed; 0 when empty."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be 0 to 100, not {percent}")
        total = np.cumsum(self.buckets)
        if not total[-1]:
            return 0
        rank = max(1, int(np.ceil(int(total[-1]) * percent / 100)))
        return int(min(histogram_ceilings()[int(np.searchsorted(total, rank))], max(self.maximum, 1)))

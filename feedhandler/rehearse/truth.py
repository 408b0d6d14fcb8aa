"""What every book should be, for readers of a live handler: a lossless run, made beforehand."""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np

from feedhandler.rehearse._witness import Original, book_hash
from feedhandler.rehearse.run import Lossless, Sizes
from feedhandler.rehearse.sources import Source
from feedhandler.simulate.faults import Faults


class Truth:
    """The levels of all books of a source's sessions, by symbol and number. `depth` must be that of the live books.

    For a few million messages: it keeps a number and a hash of each.
    """

    def __init__(self, source: Source, *, depth: int, instruments: int = 1024, orders: int = 1_000_000) -> None:
        original = Original(instruments, trading=False)
        run = Lossless(source, Faults(), Sizes(depth=depth, instruments=instruments, orders=orders), original)
        with run.handler:
            run.run()
        self.messages = original.messages
        self._numbers: dict[tuple[str, str], list[int]] = {}
        self._hashes: dict[tuple[str, str], list[int]] = {}
        names = original.names
        for number in range(original.runs):
            session = original.session(number)
            books, hashes, _ = original.history(number)  # what touches all books changes no levels
            for book, (symbol, _) in names.items():
                places = np.flatnonzero(books == book)
                self._numbers[session, symbol] = (places + 1).tolist()
                self._hashes[session, symbol] = hashes[places].tolist()

    def last(self, session: str, symbol: str, number: int) -> int:
        """The last message up to `number` that touched this book; 0 when none did."""
        numbers = self._numbers.get((session, symbol), [])
        place = bisect.bisect_right(numbers, number)
        return numbers[place - 1] if place else 0

    def holds(self, session: str, symbol: str, number: int, bids: Any, asks: Any) -> bool:
        """Whether a LIVE book that says to be whole to `number` is what it should be."""
        numbers = self._numbers.get((session, symbol), [])
        place = bisect.bisect_right(numbers, number)
        empty = not (bids["size"].any() or asks["size"].any())
        if empty and (not place or numbers[place - 1] == number == 1):
            return True  # the reset that begins a session bears the number of the first message
        return bool(place) and book_hash(bids, asks) == self._hashes[session, symbol][place - 1]

"""The feed of a recording as strategies hold it: what `attach` gives, at the place that the run has come to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from feedhandler.errors import FeedError, UnknownSymbolError
from feedhandler.read._reader import Reader
from feedhandler.read.feed import Feed
from feedhandler.read.views import Book
from feedhandler.read.wanted import Symbol

Choice = Symbol | tuple[str, str]
"""A symbol, on any venue, or (symbol, venue). Never a number, though a Strategy's `symbols` may be: that is refused."""

Choices = Iterable[Choice] | Choice
"""Several of them, or a single one."""


class RecordedFeed(Feed):
    """A Feed whose books and tables are those of the message that the run stands at.

    A symbol that the recording has not named yet has a book already, empty and INIT, that follows once it is named.
    """

    def __init__(self, reader: Reader, name: str, venues: Sequence[str]) -> None:
        super().__init__(reader, name)
        self.venues = tuple(dict.fromkeys(venues))
        self.asked: dict[str, Book] = {}
        """Books handed out before their symbol was named, by symbol."""

    def book(self, symbol: Symbol, venue: str | None = None, timeout: float = 0.0) -> Book:
        """The book of a symbol or instrument number, also of a symbol that is still to come; nothing is waited for.

        Raises UnknownSymbolError as of a Feed, but for symbols that are still to come on the one venue there is.
        """
        try:
            return super().book(symbol, venue)
        except UnknownSymbolError:
            where = venue or (self.venues[0] if len(self.venues) == 1 else "")
            if isinstance(symbol, bytes):
                symbol = symbol.decode("ascii", "replace")
            if not isinstance(symbol, str) or not where or self.reader.find(symbol):
                raise
            return self.asked.setdefault(symbol, Book(self, 0, symbol, where))

    def events(self, *arguments: Any, **options: Any) -> NoReturn:
        """Of a recording they come from the run itself. Raises FeedError."""
        raise FeedError("a recording's events come by `for event, book in feedhandler.backtest(...)`, not by events()")

    def follow(self) -> bool:
        """A recording has no successor."""
        return False


class Choosing:
    """Which instruments are wanted: all, or those of some names, as the directory gets them."""

    def __init__(self, feed: Feed, choices: Choices | None) -> None:
        self._feed = feed
        self._names = None if choices is None else {named(choice) for choice in listed(choices)}
        self._found: set[tuple[str, str | None]] = set()

    def __call__(self, instrument: int) -> bool:
        """Whether an instrument is one of them."""
        if self._names is None:
            return True
        record = self._feed.instrument(instrument)
        symbol, venue = record["symbol"].decode("ascii", "replace"), record["venue"].decode("ascii", "replace")
        hits = {(symbol, venue), (symbol, None)} & self._names
        self._found |= hits
        return bool(hits)

    @property
    def in_vain(self) -> bool:
        """Names were given, and none of them has been found."""
        return self._names is not None and not self._found

    def missing(self, asked: Iterable[str] = ()) -> str:
        """A sentence about the names that the recording never gave an event of or named; "" when there are none."""
        wanted = (self._names or set()) - self._found | {(symbol, None) for symbol in asked}
        reader = self._feed.reader
        absent = sorted({s for s, v in wanted if not (reader.find(s, v) if v else reader.find(s))})
        if not absent:
            return ""
        symbols = self._feed.symbols
        near = dict.fromkeys(n for s in absent for n in difflib.get_close_matches(s.upper(), symbols, 3, 0.5))
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        names = " and no ".join(map(repr, absent))
        return f"there is no {names} among the {len(symbols)} instruments of the recording{hint}"


def listed(choices: Choices) -> Iterator[Choice]:
    """The choices one by one; a single name stands for itself, not for its letters."""
    if isinstance(choices, str | bytes):
        return iter([choices])
    if not isinstance(choices, Iterable):
        raise TypeError(f"symbols are names, or (symbol, venue), not {choices!r}: a recording's numbers are its own")
    return iter(choices)


def named(choice: Choice) -> tuple[str, str | None]:
    """A choice as (symbol, venue); None = any venue."""
    if isinstance(choice, bytes):
        choice = choice.decode("ascii", "replace")
    if isinstance(choice, str):
        return choice, None
    if isinstance(choice, tuple) and len(choice) == 2 and all(isinstance(word, str) for word in choice):
        return choice
    raise TypeError(f"a symbol is a name, or (symbol, venue), not {choice!r}: a recording's numbers are its own")

"""What a simulated venue trades, and its books: exact whole numbers, written as the venue writes them."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

BID, ASK = "b", "a"
OTHER = {BID: ASK, ASK: BID}


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One instrument. Prices and sizes are whole numbers of the last digit that is written.

    `price` is where trading begins, `tick` and `lot` the steps, all as decimal text; `price_decimals` and
    `size_decimals` how many digits behind the point the venue writes.
    """

    symbol: str
    price: str
    tick: str
    lot: str
    price_decimals: int
    size_decimals: int

    @property
    def tick_units(self) -> int:
        return units(self.tick, self.price_decimals)

    @property
    def lot_units(self) -> int:
        return units(self.lot, self.size_decimals)

    def price_text(self, price: int) -> str:
        return text(price, self.price_decimals)

    def size_text(self, size: int) -> str:
        return text(size, self.size_decimals)

    def level(self, price: int, size: int) -> tuple[str, str]:
        """A level as two texts."""
        return text(price, self.price_decimals), text(size, self.size_decimals)


def market(symbol: str, price: str, tick: str, price_decimals: int, size_decimals: int = 8) -> Market:
    """A market whose sizes go by the last digit that is written."""
    return Market(
        symbol=symbol,
        price=price,
        tick=tick,
        lot=text(1, size_decimals),
        price_decimals=price_decimals,
        size_decimals=size_decimals,
    )


def units(value: str, decimals: int) -> int:
    """Decimal text as whole units of its last digit. Raises ValueError where there are more digits than that."""
    scaled = Decimal(value).scaleb(decimals)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{value} has more than {decimals} decimals")
    return int(scaled)


def text(value: int, decimals: int) -> str:
    """Whole units as decimal text: text(1205, 3) is "1.205"."""
    if not decimals:
        return str(value)
    digits = str(value).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


class Change(NamedTuple):
    """A level's new total; 0 removes it."""

    side: str
    price: int
    size: int


class Trade(NamedTuple):
    """What traded; `side` is the aggressor's."""

    side: str
    price: int
    size: int


class Step(NamedTuple):
    """What happened to one instrument at one moment."""

    symbol: str
    changes: list[Change]
    trade: Trade | None


Levels = list[tuple[int, int]]


class Book:
    """Levels of both sides, best first when asked for."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.sizes: dict[str, dict[int, int]] = {BID: {}, ASK: {}}
        self._prices: dict[str, list[int]] = {BID: [], ASK: []}  # rising

    def set(self, change: Change) -> None:
        """Take a level's new total over."""
        sizes, prices = self.sizes[change.side], self._prices[change.side]
        if change.size:
            if change.price not in sizes:
                insort(prices, change.price)
            sizes[change.price] = change.size
        elif sizes.pop(change.price, None) is not None:
            del prices[bisect_left(prices, change.price)]

    def cut(self, depth: int) -> None:
        """Forget what is behind the best so many levels of each side."""
        for side in (BID, ASK):
            while self.depth(side) > depth:
                self.set(Change(side, self.at(side, self.depth(side) - 1), 0))

    def clear(self) -> None:
        for side in (BID, ASK):
            self.sizes[side].clear()
            self._prices[side].clear()

    def best(self, side: str) -> int | None:
        prices = self._prices[side]
        return (prices[-1] if side == BID else prices[0]) if prices else None

    def depth(self, side: str) -> int:
        return len(self._prices[side])

    def at(self, side: str, rank: int) -> int:
        """The price at a rank, 0 for the best."""
        prices = self._prices[side]
        return prices[-1 - rank] if side == BID else prices[rank]

    def levels(self, side: str, depth: int | None = None) -> Levels:
        """(price, size), best first."""
        prices, sizes = self._prices[side], self.sizes[side]
        count = len(prices) if depth is None else min(depth, len(prices))
        best = prices[: -count - 1 : -1] if side == BID else prices[:count]
        return [(price, sizes[price]) for price in best]

    def texts(self, side: str, depth: int | None = None) -> list[tuple[str, str]]:
        """The same as the venue writes it."""
        return [self.market.level(price, size) for price, size in self.levels(side, depth)]


class Reference(NamedTuple):
    """A venue's own book at one moment: what a follower must have. Prices and sizes exact, best first."""

    symbol: str
    bids: list[tuple[Decimal, Decimal]]
    asks: list[tuple[Decimal, Decimal]]
    number: int
    """The venue's number of its last change: update id (Binance), microtimestamp (Bitstamp), sequence (Coinbase); 0."""


def reference(book: Book, number: int, depth: int | None = None) -> Reference:
    """A copy of a book."""
    sides = [[(Decimal(p), Decimal(s)) for p, s in book.texts(side, depth)] for side in (BID, ASK)]
    return Reference(book.market.symbol, sides[0], sides[1], number)

"""A generated flow of levels: books that stay whole, move, trade, thin out and fill again. Same seed, same flow."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal

from feedhandler.simulate.venues.market import ASK, BID, OTHER, Book, Change, Market, Step, Trade, units


class Flow:
    """Steps of a market in which nothing ever crosses. `levels` is how many a side has, about."""

    def __init__(self, books: Mapping[str, Book], seed: int, levels: int = 60) -> None:
        self._books, self._levels = books, levels
        self._symbols = list(books)
        self._random = random.Random(f"{seed}/flow")
        self._usual = {symbol: _usual(book.market) for symbol, book in books.items()}

    def fill(self) -> None:
        """The books as trading begins."""
        for book in self._books.values():
            market = book.market
            middle = units(market.price, market.price_decimals)
            for side, sign in ((BID, -1), (ASK, 1)):
                for rank in range(self._levels):
                    away = (rank + 1) * market.tick_units * (1 if rank < 10 else self._random.randint(1, 3))
                    if middle + sign * away > 0:
                        book.set(Change(side, middle + sign * away, self._size(book)))

    def step(self, symbol: str | None = None) -> Step:
        """The next thing that happens, done to the books: of one symbol, or of any."""
        book = self._books[symbol or self._random.choice(self._symbols)]
        side = self._random.choice((BID, ASK))
        dice = self._random.random()
        trade = None
        if dice < 0.10 and book.depth(side) > self._levels // 2:
            trade, changes = self._trade(book, side)
        elif dice < 0.30 and book.depth(side) > self._levels // 2:
            changes = [Change(side, self._near(book, side), 0)]
        elif dice < 0.40:
            changes = [self._improve(book, side)]
        elif dice < 0.55:
            changes = [self._add(book, side)]
        elif dice < 0.65:
            changes = [Change(s, self._near(book, s), self._size(book)) for s in (BID, ASK)]
        else:
            changes = [
                Change(side, price, self._size(book))
                for price in {self._near(book, side) for _ in range(self._random.randint(1, 3))}
            ]
        for change in changes:
            book.set(change)
        for end in (BID, ASK):  # what is far away goes, one level at a time
            if book.depth(end) > 2 * self._levels:
                far = Change(end, book.at(end, book.depth(end) - 1), 0)
                book.set(far)
                changes.append(far)
        return Step(book.market.symbol, changes, trade)

    def _trade(self, book: Book, side: str) -> tuple[Trade, list[Change]]:
        """An aggressor takes from the best level of `side`."""
        price = book.at(side, 0)
        resting, lot = book.sizes[side][price], book.market.lot_units
        taken = resting if self._random.random() < 0.3 else max(lot, resting // lot // 3 * lot)
        taken = min(taken, resting)
        return Trade(OTHER[side], price, taken), [Change(side, price, resting - taken)]

    def _improve(self, book: Book, side: str) -> Change:
        """A level inside the spread, or the best one anew where there is no room."""
        best, other, tick = book.at(side, 0), book.at(OTHER[side], 0), book.market.tick_units
        room = abs(other - best) // tick - 1
        away = self._random.randint(1, min(room, 5)) * tick if room > 0 else 0
        return Change(side, best + away if side == BID else best - away, self._size(book))

    def _add(self, book: Book, side: str) -> Change:
        away = self._random.randint(1, 2 * self._levels) * book.market.tick_units
        best = book.at(side, 0)
        price = best - away if side == BID else best + away
        return Change(side, price if price > 0 else best, self._size(book))

    def _near(self, book: Book, side: str) -> int:
        """A price that rests, likelier near the best."""
        rank = min(int(self._random.expovariate(0.2)), book.depth(side) - 1)
        return book.at(side, rank)

    def _size(self, book: Book) -> int:
        lots = int(self._usual[book.market.symbol] * self._random.lognormvariate(0, 2)) + 1
        return min(lots, 10**12) * book.market.lot_units


def _usual(market: Market) -> float:
    """Lots of a usual level: worth about a thousand in money, or 0.02 where coins are priced in coins."""
    worth = Decimal("0.02") if Decimal(market.price) < Decimal("0.005") else Decimal(1000)
    return float(worth / Decimal(market.price) / Decimal(market.lot))

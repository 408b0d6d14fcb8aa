"""Books: events in, published books out. `OrderBook` order by order, `LevelBook` by price level."""

from feedhandler.book._book import ALL_FAULTS, FAULTS, Books
from feedhandler.book._level_book import LevelBook
from feedhandler.book._order_book import OrderBook

__all__ = ["ALL_FAULTS", "FAULTS", "Books", "LevelBook", "OrderBook"]

"""Books: events in, published books out. `OrderBook` order by order, `LevelBook` by price level."""

from feedhandler.book._book import ALL_FAULTS, FAULTS, Books, OrderBook

__all__ = ["ALL_FAULTS", "FAULTS", "Books", "OrderBook"]

"""A strategy on a recording: python examples/backtest.py DAY SYMBOL. The same class would run on a live feed."""

import sys
from typing import Any

import feedhandler as fh


class Imbalance(fh.Strategy):
    """Buys a round lot at the ask when bids outweigh asks, sells it at the bid when it turns; counts the gain."""

    LOT = 100
    HEAVY = 3.0

    def __init__(self) -> None:
        self.position = 0
        self.cash = self.deals = self.traded = self.books = 0
        self.usable = False

    def on_live(self, book: fh.Book) -> None:
        self.usable = True

    def on_stale(self, book: fh.Book, reason: fh.Reason) -> None:
        self.usable = False  # no deal on a book that may be wrong

    def on_trade(self, event: Any) -> None:
        self.traded += int(event["size"])

    def on_book(self, book: fh.Book) -> None:
        self.books += 1
        bid, bids, ask, asks = book.top()
        if not self.usable or bid is None or ask is None or bid >= ask:
            return
        if self.position == 0 and bids > self.HEAVY * asks:
            self.deal(self.LOT, ask)
        elif self.position > 0 and asks > self.HEAVY * bids:
            self.deal(-self.LOT, bid)

    def deal(self, size: int, price: int) -> None:
        """At the price that stands there: without a queue, a fee or an effect on the market."""
        self.position += size
        self.cash -= size * price
        self.deals += 1


def main() -> int:
    """Run it, and say what came of it."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    day, symbol = sys.argv[1:]
    strategy = Imbalance()
    try:
        run = fh.backtest(day, [symbol], strategy=strategy)
        bid = run.book(symbol).top()[0] or 0
    except fh.FeedError as error:
        print(error, file=sys.stderr)
        return 1
    worth = (strategy.cash + strategy.position * bid) / 1e9
    seen = f"{strategy.books} books, {strategy.traded} shares traded"
    print(f"{symbol}: {seen}, {strategy.deals} deals, {worth:+.2f} dollars")

    widest = 0  # the same day once more, event by event
    for event, book in fh.backtest(day, [symbol]):
        bid, _, ask, _ = book.top()
        if bid is not None and ask is not None and event["flags"] & fh.Flag.TOB and book.seen_state == fh.Quality.LIVE:
            widest = max(widest, ask - bid)
    print(f"{symbol}: the widest spread was {widest / 1e9:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

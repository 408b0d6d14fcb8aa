"""A strategy that prints what it sees: python examples/strategy.py demo [SYMBOL ...]"""

import sys
import time
from typing import Any

import feedhandler as fh


class Printer(fh.Strategy):
    """Prints the first lines of each second, and a summary at the end."""

    LINES_PER_SECOND = 8

    def __init__(self) -> None:
        self.second, self.printed = 0, 0
        self.books = self.trades = self.lost = 0

    def on_start(self, feed: fh.Feed) -> None:
        self.feed = feed
        self.say(f"attached to {feed.name}: {len(feed.symbols)} symbols")

    def on_book(self, book: fh.Book) -> None:
        self.books += 1
        bid, bid_size, ask, ask_size = book.top()
        if bid is not None and ask is not None:
            state = f"{book.seen_state.name} {book.trading.name}"
            price, size = self.units(book.instrument)
            best = f"{bid * price:>10.4f} × {bid_size * size:<6g} {ask * price:>10.4f} × {ask_size * size:<6g}"
            self.say(f"{book.symbol:<8} {best} {state}")

    def on_trade(self, event: Any) -> None:
        self.trades += 1
        symbol = self.feed.symbol(event["instrument"])
        price, size = self.units(event["instrument"])
        self.say(f"{symbol:<8} {event['price'] * price:>10.4f} × {event['size'] * size:<6g} traded")

    def on_stale(self, book: fh.Book, reason: fh.Reason) -> None:
        self.say(f"{book.symbol:<8} {book.state.name}: {reason.name}")

    def on_live(self, book: fh.Book) -> None:
        self.say(f"{book.symbol:<8} LIVE")

    def on_overrun(self, lost: int) -> None:
        self.lost += lost

    def on_stop(self, feed: fh.Feed) -> None:
        print(f"strategy: {self.books} book updates, {self.trades} trades, {self.lost} events missed", flush=True)

    def units(self, instrument: int) -> tuple[float, float]:
        """What one of a price and of a size is worth."""
        record = self.feed.instrument(instrument)
        return 10.0 ** int(record["price_exponent"]), 10.0 ** int(record["size_exponent"])

    def say(self, text: str) -> None:
        """Print, but no more than a person can read."""
        now = int(time.monotonic())
        if now != self.second:
            self.second, self.printed = now, 0
        self.printed += 1
        if self.printed <= self.LINES_PER_SECOND:
            print(text, flush=True)


def main() -> int:
    """Attach, print until the handler ends or Ctrl-C."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    strategy = Printer()
    try:
        with fh.attach(sys.argv[1], timeout=30) as feed:
            symbols = sys.argv[2:] or None
            for symbol in symbols or []:
                feed.book(symbol, timeout=30)
            strategy.run(feed, symbols)
    except fh.FeedError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())

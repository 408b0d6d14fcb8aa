"""A sample strategy, in a process of its own: `python examples/strategy.py NAME`. Prints what it sees, once a second.

It counts trades and book updates of every symbol, says at once when a book may not be trusted, and ends with the feed
or on Ctrl-C.
"""

import signal
import sys
import time
from types import FrameType
from typing import Any

import feedhandler as fh


class Watch(fh.Strategy):
    """Counts, and shows the book that changed last."""

    def __init__(self) -> None:
        self.books = self.trades = self.shares = self.stale = 0
        self.next_line = 0.0

    def on_book(self, book: fh.Book) -> None:
        self.books += 1
        now = time.monotonic()
        if now < self.next_line:
            return
        self.next_line = now + 1.0
        bids, asks = book.snapshot()
        if bids["size"][0] and asks["size"][0]:
            best = " / ".join(f"{side['size'][0]} @ {side['price'][0] / 1e9:.2f}" for side in (bids, asks))
            print(f"{book.symbol:8} {best}   books {self.books:,}, trades {self.trades:,}, shares {self.shares:,}")

    def on_trade(self, event: Any) -> None:
        self.trades += 1
        self.shares += int(event["size"])

    def on_stale(self, book: fh.Book, reason: fh.Reason) -> None:
        self.stale += 1
        print(f"{book.symbol:8} may not be trusted: {reason.name}")

    def on_overrun(self, lost: int) -> None:
        print(f"too slow: {lost:,} events were overwritten before they were read")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/strategy.py NAME   (of a running handler's segment)")
    watch = Watch()

    def end(number: int, frame: FrameType | None) -> None:
        watch.stop()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    with fh.attach(sys.argv[1], timeout=10.0) as feed:
        watch.run(feed, wait="futex")
    print(f"seen: {watch.books:,} book updates, {watch.trades:,} trades of {watch.shares:,} shares, {watch.stale:,} stale")


if __name__ == "__main__":
    main()

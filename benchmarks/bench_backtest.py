"""Events a second through a strategy: one symbol's day, and after each change of its book the best bid and ask.

What each does, for the same changes of the same book, in one process:

- ours: opens the pcap, reads it, puts the lines in order, decodes, keeps the whole book and its published levels, and
  calls a Strategy in Python after each message; or gives (event, book) to a loop; or arrays of 4096 to NumPy.
- nautilus_trader: OrderBookDelta objects that were made before, not timed; BacktestEngine.run() advances its clock,
  keeps an L3 book (Rust) and calls a Strategy in Python after each. It simulates a venue and accounts besides.
- hftbacktest: an array of its own events that was made before, not timed. Its strategies are functions that Numba
  compiles: so is this one, which makes it no Python strategy; the same loop in plain Python stands beside it. It keeps
  two L3 books, local and exchange, with queue positions; changes of one instant are one feed to it.

An operation is one change of the book (an order added, or cancelled in part or whole).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import harness
import numpy as np

SYMBOL = "AAPL"
SIZES: Any = {"instruments": 16, "orders": 200_000, "depth": 10}

contest = harness.Contest(
    "backtest", unit="event", floor="ours: Strategy", rounds=5, options={"messages": 300_000, "seed": 1}
)


def recorded(messages: int, seed: int) -> Path:
    """The day of one symbol on one line, as a capture."""
    from feedhandler import simulate

    folder = Path(tempfile.mkdtemp(prefix="fh-bench-"))
    path = folder / "day.pcap"
    simulate.write(path, simulate.Exchange(symbols=1, messages=messages, seed=seed), lines=[("239.1.1.1", 4001)])
    return path


def everything(path: Path) -> np.ndarray:
    """All events of the recording."""
    import feedhandler as fh

    return np.concatenate([events for events, _ in fh.backtest(path, **SIZES).batches(65536)])


def those_that_change(events: np.ndarray) -> np.ndarray:
    """Adds and cancels: what the book is made of."""
    import feedhandler as fh

    return events[np.isin(events["action"], [fh.Action.ADD, fh.Action.CANCEL])]


def changes(messages: int, seed: int) -> np.ndarray:
    """What changes the book, in order."""
    path = recorded(messages, seed)
    events = everything(path)
    path.unlink()
    return those_that_change(events)


def day(messages: int, seed: int) -> tuple[Path, int, int]:
    """A recording, how many events it has, and how many of them change the book."""
    path = recorded(messages, seed)
    events = everything(path)
    return path, len(events), len(those_that_change(events))


def checked(spreads: int, seen: int, expected: int) -> None:
    """Raise if a round has not seen all events, or no book with two sides."""
    if seen != expected or not spreads:
        raise RuntimeError(f"{seen} events seen of {expected}, spreads {spreads}")


@contest.contestant("ours: Strategy")
def ours(messages: int, seed: int) -> harness.Round:
    import feedhandler as fh

    path, expected, operations = day(messages, seed)

    class Spread(fh.Strategy):
        def __init__(self) -> None:
            self.spreads = 0

        def on_book(self, book: fh.Book) -> None:
            bid, _, ask, _ = book.top()
            if bid is not None and ask is not None:
                self.spreads += ask - bid

    def one_round() -> int:
        strategy = Spread()
        run = fh.backtest(path, strategy=strategy, **SIZES)
        checked(strategy.spreads, run.events, expected)
        return operations

    return one_round


@contest.contestant("ours: for event, book in …")
def ours_iterated(messages: int, seed: int) -> harness.Round:
    import feedhandler as fh

    path, expected, operations = day(messages, seed)

    def one_round() -> int:
        spreads, run = 0, fh.backtest(path, **SIZES)
        for _, book in run:
            bid, _, ask, _ = book.top()
            if bid is not None and ask is not None:
                spreads += ask - bid
        checked(spreads, run.events, expected)
        return operations

    return one_round


@contest.contestant("ours: batches of 4096, NumPy")
def ours_in_batches(messages: int, seed: int) -> harness.Round:
    import feedhandler as fh

    path, expected, operations = day(messages, seed)

    def one_round() -> int:
        spreads, run = 0, fh.backtest(path, **SIZES)
        for _, books in run.batches(4096, depth=1):
            bids, asks = books["bids"][:, 0], books["asks"][:, 0]
            both = (bids["size"] > 0) & (asks["size"] > 0)
            spreads += int((asks["price"] - bids["price"])[both].sum())
        checked(spreads, run.events, expected)
        return operations

    return one_round


@contest.contestant("nautilus_trader: Strategy, deltas prebuilt", package="nautilus_trader")
def nautilus(messages: int, seed: int) -> harness.Round:
    from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.config import LoggingConfig
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import BookOrder, OrderBookDelta
    from nautilus_trader.model.enums import AccountType, BookAction, BookType, OmsType, OrderSide
    from nautilus_trader.model.identifiers import Venue
    from nautilus_trader.model.objects import Money, Price, Quantity
    from nautilus_trader.test_kit.providers import TestInstrumentProvider
    from nautilus_trader.trading.strategy import Strategy

    import feedhandler as fh

    events = changes(messages, seed)
    equity = TestInstrumentProvider.equity(symbol=SYMBOL, venue="XNAS")
    live: dict[int, list[int]] = {}
    deltas = []
    for event in events:
        number, size, ts = int(event["order_id"]), int(event["size"]), int(event["ts_event"])
        if event["action"] == fh.Action.ADD:
            side = OrderSide.BUY if event["side"] == fh.Side.BID else OrderSide.SELL
            live[number] = [side, int(event["price"]), size]
            action = BookAction.ADD
        else:
            live[number][2] -= size
            action = BookAction.UPDATE if live[number][2] else BookAction.DELETE
        side, price, left = live[number]
        order = BookOrder(side, Price(price / 1e9, 2), Quantity(left or size, 0), number)
        deltas.append(OrderBookDelta(equity.id, action, order, 0, 0, ts, ts))
        if action == BookAction.DELETE:
            del live[number]

    class Spread(Strategy):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.spreads = 0, 0

        def on_start(self) -> None:
            self.subscribe_order_book_deltas(equity.id, BookType.L3_MBO)

        def on_order_book_deltas(self, deltas: Any) -> None:
            book = self.cache.order_book(equity.id)
            bid, ask = book.best_bid_price(), book.best_ask_price()
            self.seen += 1
            if bid is not None and ask is not None:
                self.spreads += ask.raw - bid.raw

    def one_round() -> harness.Sample:
        import time

        engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
        money = [Money(1_000_000, USD)]
        engine.add_venue(Venue("XNAS"), OmsType.NETTING, AccountType.CASH, money, book_type=BookType.L3_MBO)
        engine.add_instrument(equity)
        engine.add_data(deltas)
        strategy = Spread()
        engine.add_strategy(strategy)
        begin = time.perf_counter_ns()
        engine.run()
        took = time.perf_counter_ns() - begin
        engine.dispose()
        checked(strategy.spreads, strategy.seen, len(deltas))
        return harness.Sample(len(deltas), took)

    return one_round


def hft_events(messages: int, seed: int) -> np.ndarray:
    """Our changes as hftbacktest's L3 events, its array."""
    import hftbacktest as hft

    import feedhandler as fh

    events = changes(messages, seed)
    made = np.zeros(len(events), hft.event_dtype)
    live: dict[int, list[int]] = {}
    for row, event in zip(made, events, strict=True):
        number, size = int(event["order_id"]), int(event["size"])
        if event["action"] == fh.Action.ADD:
            side = hft.BUY_EVENT if event["side"] == fh.Side.BID else hft.SELL_EVENT
            live[number] = [side, int(event["price"]), size]
            kind = hft.ADD_ORDER_EVENT
        else:
            live[number][2] -= size
            kind = hft.MODIFY_ORDER_EVENT if live[number][2] else hft.CANCEL_ORDER_EVENT
        side, price, left = live[number]
        row["ev"] = kind | side | hft.EXCH_EVENT | hft.LOCAL_EVENT
        row["exch_ts"] = int(event["ts_event"])
        row["local_ts"] = int(event["ts_recv"])
        row["order_id"], row["px"], row["qty"] = number, price / 1e9, left
    return made


def hft_rounds(messages: int, seed: int, compiled: bool) -> harness.Round:
    import time

    from hftbacktest import BacktestAsset, ROIVectorMarketDepthBacktest
    from numba import njit

    data = hft_events(messages, seed)
    low, high = float(data["px"].min()), float(data["px"].max())
    instants = len(np.unique(data["local_ts"]))  # the two changes of a replaced order are one to it

    def spread(test: Any) -> tuple[int, float]:
        seen, spreads = 0, 0.0
        depth = test.depth(0)
        while test.wait_next_feed(False, 10**15) == 2:
            seen += 1
            if depth.best_bid_tick > 0 and depth.best_ask_tick < 2**31:
                spreads += depth.best_ask - depth.best_bid
        return seen, spreads

    run = njit(spread) if compiled else spread

    def one_round() -> harness.Sample:
        asset = (
            BacktestAsset()
            .data(data)
            .linear_asset(1.0)
            .constant_order_latency(0, 0)
            .l3_fifo_queue_model()
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0, 0.0)
            .tick_size(0.01)
            .lot_size(1.0)
            .roi_lb(max(0.0, low - 1))
            .roi_ub(high + 1)
        )
        test = ROIVectorMarketDepthBacktest([asset])
        begin = time.perf_counter_ns()
        seen, spreads = run(test)
        took = time.perf_counter_ns() - begin
        test.close()
        checked(int(1e9 * spreads), seen, instants - 1)  # it does not stop at the last one
        return harness.Sample(len(data), took)

    return one_round


@contest.contestant("hftbacktest: function compiled by Numba, array prebuilt", package="hftbacktest")
def hft_compiled(messages: int, seed: int) -> harness.Round:
    return hft_rounds(messages, seed, compiled=True)


@contest.contestant("hftbacktest: the same in plain Python", package="hftbacktest")
def hft_plain(messages: int, seed: int) -> harness.Round:
    return hft_rounds(messages, seed, compiled=False)


test_backtest = contest.test()

if __name__ == "__main__":
    contest.main()

"""The laws of the order-by-order book as plain dicts: slow, obvious, and what the compiled book must equal.

Takes events as the decoder makes them (dicts of EVENT's fields), fills in what a book fills in, in place, and keeps
`orders` {id: [instrument, side, price, size]} and per instrument a `Book`.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from feedhandler.records import PRICE_NONE, SIZE_REST, Flag, Quality, Reason, Trading

A, C, F, T, R, S, M = (ord(letter) for letter in "ACFTRSM")
BID, ASK, NONE = (ord(letter) for letter in "BAN")
Event = dict[str, Any]


@dataclass
class Book:
    levels: dict[int, dict[int, list[int]]] = field(default_factory=lambda: {BID: {}, ASK: {}})  # price: [size, orders]
    epoch: int = 0
    quality: int = Quality.INIT
    security: int = Trading.UNKNOWN
    venue: int = Trading.UNKNOWN  # what the venue adds; UNKNOWN = nothing
    reason: int = Reason.START
    since: int = 0
    stamp: tuple[int, ...] = (0, 0, 0, 0)  # ts_event, ts_recv, channel_seq, event_seq
    trades: tuple[int, int, int, int] = (PRICE_NONE, 0, 0, 0)  # last price, last size, volume, count
    crossed_since: int | None = None  # exchange time; None = it is not, or not while trading

    @property
    def trading(self) -> int:
        return max(self.security, self.venue)

    def side(self, side: int) -> list[tuple[int, int, int]]:
        """(price, size, orders), best first."""
        prices = sorted(self.levels[side], reverse=side == BID)
        return [(price, self.levels[side][price][0], self.levels[side][price][1]) for price in prices]

    def judge(self, quality: int, reason: int, now: int) -> None:
        if quality != self.quality:
            self.since = now
        self.quality, self.reason = quality, reason

    def change(self, side: int, price: int, size: int, orders: int) -> bool:
        """Add to a level; True when the best price or size of the side changed."""
        best = self.side(side)[:1]
        level = self.levels[side].setdefault(price, [0, 0])
        level[0], level[1] = level[0] + size, level[1] + orders
        if not level[1]:
            del self.levels[side][price]
        return self.side(side)[:1] != best

    def reset(self, now: int) -> bool:
        """True when there was something to forget."""
        had = any(self.levels.values())
        self.levels, self.crossed_since = {BID: {}, ASK: {}}, None
        self.epoch, self.trades = self.epoch + 1, (PRICE_NONE, 0, 0, 0)
        self.judge(Quality.LIVE, Reason.NONE, now)
        return had


class ReferenceBooks:
    def __init__(
        self,
        instruments: int,
        capacity: int,
        quantum: int = 100_000,
        policy: frozenset[str] | None = None,
        crossed_ns: int = 1_000_000_000,
    ):
        self.crossed_ns = crossed_ns
        self.books = {i: Book() for i in range(1, instruments)}
        self.orders: dict[int, list[int]] = {}
        self.counters: Counter[str] = Counter()
        self.capacity, self.quantum, self.policy = capacity, quantum, policy
        self.open: tuple[Book, Event, int] | None = None  # the book a message is changing, and its last event

    def apply(self, events: list[Event], first_event: int) -> None:
        """Fill and apply one batch of whole messages; events[0] will stand at `first_event` of the ring."""
        self.replaced: tuple[int, int] | None = None  # instrument and side of the order the C before named
        self.unknown, self.open = False, None
        for i, event in enumerate(events):
            self.position = first_event + i
            if event["instrument"] in self.books:
                self.one(event, events[i + 1] if i + 1 < len(events) else None)
            else:
                self.outside(event)
            if event["flags"] & Flag.LAST:
                self.finish()
                self.replaced, self.unknown = None, False
        self.finish()

    def one(self, event: Event, following: Event | None) -> None:
        replaced, self.replaced = self.replaced, None
        action, fault, tob = event["action"], None, False
        change: tuple[int, int, int, int] | None = None
        if action == A:
            fault, change = self.add(event, replaced)
        elif action == C:
            fault, change = self.cancel(event)
        elif action == F:
            fault = None if self.fill(event, event["order_id"]) else self.unknown_order()
        elif action == T and not event["flags"] & Flag.LAST and following and following["action"] == F:
            self.fill(event, following["order_id"])
        elif action == R:
            self.orders = {k: o for k, o in self.orders.items() if o[0] != event["instrument"]}
        elif action == M:
            fault = "MALFORMED"
        book = self.books[event["instrument"]]
        if self.open and self.open[0] is not book:
            self.finish()
        if change:
            tob = book.change(*change)
        elif action == T:
            if event["size"]:
                price, size, volume, count = book.trades
                if event["price"] != PRICE_NONE:
                    price, size = event["price"], event["size"]
                book.trades = (price, size, (volume + event["size"]) % 2**64, count + 1)
        elif action == S and event["size"] <= Trading.CLOSED:
            if not event["flags"] & Flag.VENUE:
                book.security = event["size"]
            elif event["size"] >= Trading.TRADING:
                book.venue = 0 if event["size"] == Trading.TRADING else event["size"]
        elif action == R:
            tob = book.reset(event["ts_recv"])
        if tob:
            event["flags"] |= Flag.TOB
        if fault:
            self.fault(book, event, fault)
        self.open = (book, event, self.position)

    def fault(self, book: Book, event: Event, fault: str) -> None:
        if self.policy is None or fault in self.policy:
            event["flags"] |= Flag.STALE
            if book.quality != Quality.STALE:
                book.judge(Quality.STALE, Reason[fault], event["ts_recv"])

    def add(self, event: Event, replaced: tuple[int, int] | None) -> tuple[str | None, Any]:
        if event["side"] not in (BID, ASK):
            if replaced is None:
                return self.unknown_order(), None
            event["instrument"], event["side"] = replaced
        price, size = event["price"], event["size"]
        if size == 0:
            self.counters["ZERO_SIZE"] += 1
            return None, None
        if price % self.quantum or not 0 <= price // self.quantum < 2**32 or size >= 2**63 // self.capacity:
            self.counters["PRICE_RANGE"] += 1
            return "PRICE_RANGE", None
        if event["order_id"] in self.orders:
            self.counters["DUPLICATE_ORDER"] += 1
            return "DUPLICATE_ORDER", None
        if len(self.orders) >= self.capacity:
            self.counters["ORDERS_FULL"] += 1
            return "FULL", None
        self.orders[event["order_id"]] = [event["instrument"], event["side"], price, size]
        return None, (event["side"], price, size, 1)

    def cancel(self, event: Event) -> tuple[str | None, Any]:
        order, fault = self.orders.get(event["order_id"]), None
        if order is None:
            event["size"] = 0 if event["size"] == SIZE_REST else event["size"]
            return self.unknown_order(), None
        self.fill(event, event["order_id"])
        instrument, side, price, left = order
        if event["size"] > left:
            if event["size"] != SIZE_REST:
                self.counters["OVER_EXECUTION"] += 1
                fault = "OVER_EXECUTION"
            event["size"] = left
        order[3] -= event["size"]
        if not order[3]:
            del self.orders[event["order_id"]]
        self.replaced = (instrument, side)
        return fault, (side, price, -event["size"], 0 if order[3] else -1)

    def fill(self, event: Event, order_id: int) -> bool:
        """Price, side and instrument from the resting order; of a trade the side is the opposite one."""
        if order_id not in self.orders:
            return False
        event["instrument"], side, price, _ = self.orders[order_id]
        if event["side"] == NONE:
            event["side"] = BID + ASK - side if event["action"] == T else side
        if event["price"] == PRICE_NONE:
            event["price"] = price
        return True

    def unknown_order(self) -> str:
        """Counted once a message."""
        self.counters["UNKNOWN_ORDER"] += not self.unknown
        self.unknown = True
        return "UNKNOWN_ORDER"

    def outside(self, event: Event) -> None:
        """An event of the whole channel, or of an instrument that has no book."""
        self.replaced = None
        if event["instrument"] != 0:
            self.counters["UNKNOWN_INSTRUMENT"] += 1
            return
        if event["action"] in (R, S):
            self.finish()
        if event["action"] == R:
            self.orders.clear()
        for book in self.books.values():
            if event["action"] == R:
                book.reset(event["ts_recv"])
                book.security = book.venue = Trading.UNKNOWN
            elif event["action"] == S and event["size"] == Trading.CLOSED:
                book.security = Trading.CLOSED
            elif event["action"] == S and event["size"] == Trading.PRE_OPEN and book.security == Trading.UNKNOWN:
                book.security = Trading.HALTED
            else:
                continue
            self.write(book, event, self.position)

    def finish(self) -> None:
        """The open book is whole."""
        if not self.open:
            return
        book, event, position = self.open
        self.open = None
        if book.quality == Quality.INIT:
            book.judge(Quality.LIVE, Reason.NONE, event["ts_recv"])
        bids, asks = book.side(BID), book.side(ASK)
        if not (bids and asks and bids[0][0] >= asks[0][0]) or book.trading != Trading.TRADING:
            book.crossed_since = None
        elif book.crossed_since is None:
            book.crossed_since = event["ts_event"]
            self.counters["CROSSED"] += 1
        elif event["ts_event"] - book.crossed_since >= self.crossed_ns:
            self.fault(book, event, "CROSSED")
        self.write(book, event, position)

    def write(self, book: Book, event: Event, position: int) -> None:
        book.stamp = (event["ts_event"], event["ts_recv"], event["channel_seq"], position)

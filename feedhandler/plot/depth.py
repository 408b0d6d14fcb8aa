"""The depth of one book over time: what rests at each price, the best bid and ask, and the trades."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from feedhandler.errors import ConfigError
from feedhandler.figures import price_text, shown_decimals, size_text
from feedhandler.plot.panels import GREEN, GREY, RED, Array, Axis, Heat, Panel, Picture, Series, times
from feedhandler.records import Action, Flag, Quality, Side
from feedhandler.research import Backtest

COLUMNS = 1000  # of the heat map, at most
ROWS = 240
TRADES_KEPT, TRADES_DRAWN = 50_000, 600
STEP_NS = 1_000_000
BUBBLES = (6.0, 160.0)  # areas of the smallest and the largest trade, in square pixels


@dataclass(frozen=True)
class Trades:
    """Of one book, in order: ns, price and size in the instrument's units, `Side` of the aggressor."""

    ts: Array
    price: Array
    size: Array
    side: Array

    def __len__(self) -> int:
        return len(self.ts)

    def largest(self, most: int) -> Trades:
        """The largest of them, in order."""
        if len(self) <= most:
            return self
        kept = np.sort(np.argpartition(self.size, len(self) - most)[len(self) - most :])
        return Trades(*(part[kept] for part in (self.ts, self.price, self.size, self.side)))


class Columns:
    """The book at the end of each stretch of time, in bounded memory: too many, and each two become one."""

    def __init__(self) -> None:
        self.step, self.origin = STEP_NS, 0
        self.behind: int | None = None  # receipt less exchange's time, ns, of the last event that had both
        self.rows: dict[int, Any] = {}
        self.trades, self.traded = Trades(*(np.empty(0, kind) for kind in ("i8", "i8", "u8", "u1"))), 0

    def add(self, events: Array, books: Array) -> None:
        """A batch of events, and the books after them."""
        if not self.rows:
            named = np.flatnonzero(events["instrument"])
            if not len(named):
                return
            events, books = events[named[0] :], books[named[0] :]
        ts = self._times(events)
        if not self.rows:
            self.origin = int(ts[0])
        places = np.maximum(ts - self.origin, 0) // self.step
        for i in np.flatnonzero(np.diff(places, append=-1)).tolist():  # the last of each stretch
            if events["instrument"][i]:
                self.rows[int(places[i])] = books[i].copy()
            elif events["flags"][i] & Flag.STALE and self.rows:  # the whole channel: whoever is in it is stale with it
                stale = self.rows[max(self.rows)].copy()
                stale["head"]["quality"] = Quality.STALE
                self.rows[int(places[i])] = stale
        while self.rows and max(self.rows) >= COLUMNS:  # of the time between, not of the rows: all are to be filled
            self.step *= 2
            self.rows = {place // 2: row for place, row in self.rows.items()}
        traded = (events["action"] == Action.TRADE) & (events["size"] > 0) & (events["instrument"] != 0)
        found = events[traded]
        if len(found):
            self.traded += len(found)
            parts = (self.trades.ts, self.trades.price, self.trades.size, self.trades.side)
            new = (ts[traded], *(found[name] for name in ("price", "size", "side")))
            joined = (np.concatenate(pair) for pair in zip(parts, new, strict=True))
            self.trades = Trades(*joined).largest(TRADES_KEPT)

    def _times(self, events: Array) -> Array:
        """The exchange's; of what bears none, as a REST snapshot, that of receipt, set back as its neighbour's."""
        sent, received = events["ts_event"], events["ts_recv"]
        timed = np.flatnonzero(sent > 0)
        if not len(timed):
            return np.asarray(received - (self.behind or 0))
        if self.behind is None:
            self.behind = int(received[timed[0]] - sent[timed[0]])
        before = np.searchsorted(timed, np.arange(len(events)), side="right") - 1
        behind = np.where(before >= 0, (received - sent)[timed[before]], self.behind)
        self.behind = int(behind[-1])
        return np.where(sent > 0, sent, received - behind)


def depth(run: Backtest, symbol: str, clock: Callable[[int], tuple[int, str]]) -> Picture:
    """The picture of a run over one symbol; `clock(ns)` gives the exchange's distance from UTC in ns, and its name."""
    columns = Columns()
    for events, books in run.batches(16384):
        columns.add(events, books)
    if not columns.rows:
        raise ConfigError(f"plot: there is no event of {symbol} in the time that was asked for")
    if not any(row["head"]["bids"] or row["head"]["asks"] for row in columns.rows.values()):
        raise ConfigError(f"plot: the book of {symbol} is empty all the time that was asked for")
    record = run.book(symbol).instrument_record
    price_unit, size_unit = 10.0 ** int(record["price_exponent"]), 10.0 ** int(record["size_exponent"])
    shift, zone = clock(columns.origin)
    first, last = min(columns.rows), max(columns.rows)
    stretches = columns.origin + np.arange(first, last + 1, dtype=np.int64) * columns.step
    place = np.array(sorted(columns.rows))
    rows = np.array([columns.rows[p] for p in place])
    filled = rows[np.searchsorted(place, np.arange(first, last + 1), side="right") - 1]  # a book stays until it changes
    x = times(stretches, shift)
    best = {side: np.where(filled[side]["size"][:, 0] > 0, filled[side]["price"][:, 0], 0) for side in ("bids", "asks")}
    trades = columns.trades.largest(TRADES_DRAWN)
    trades = Trades(*(part[trades.price > 0] for part in (trades.ts, trades.price, trades.size, trades.side)))
    low, high, step, tick = _prices(filled, best)
    stale = filled["head"]["quality"] != Quality.LIVE
    series = [
        _line("best ask", x, best["asks"], RED, price_unit),
        _line("best bid", x, best["bids"], GREEN, price_unit),
        *_bubbles(trades, shift, record),
    ]
    drawn = f"{len(trades):,} largest of {columns.traded:,} trades" if columns.traded > len(trades) else ""
    drawn = drawn or f"{columns.traded:,} trades"
    said = [f"{run.events:,} events; {drawn}; a column is the book at the end of {columns.step / 1e9:,.4g} s"]
    panel = Panel(
        Axis(f"time, {zone}", "time"),
        Axis("price", limits=(low * price_unit, high * price_unit)),
        series,
        heat=_heat(x, filled, (low, high, step, tick), price_unit, size_unit),
        spans=_spans(x, stale),
        span_name="not live",
        height=2.0,
    )
    return Picture(f"{symbol}: depth of the book, {run.name}", [panel], said).damaged(run.error)


def _prices(rows: Array, best: dict[str, Array]) -> tuple[int, int, int, int]:
    """Lowest and highest price shown, the step of the heat map, and what prices lie apart, in units of the prices."""
    shown = np.concatenate([rows[side]["price"][rows[side]["size"] > 0] for side in ("bids", "asks")])
    if not len(shown):
        return 0, 10**9, 10**7, 10**7
    known = np.unique(shown)
    tick = int(np.gcd.reduce(np.diff(known))) if len(known) > 1 else 10**7
    tops = np.concatenate([prices[prices > 0] for prices in best.values()])
    tops = tops if len(tops) else shown
    low, high = (int(np.percentile(tops, part)) for part in (1, 99))
    room = max((high - low) // 4, 12 * tick)
    low, high = max(low - room, int(shown.min()) - tick), min(high + room, int(shown.max()) + tick)
    step = tick * max(1, -(-(high - low) // (tick * ROWS)))
    return low // step * step, -(-high // step) * step, step, tick


def _heat(x: Array, rows: Array, along: tuple[int, int, int, int], price_unit: float, size_unit: float) -> Heat:
    low, high, step, tick = along
    places = (high - low) // step + 1
    z = np.zeros((places, len(rows)))
    for side in ("bids", "asks"):
        levels = rows[side]
        column = np.broadcast_to(np.arange(len(rows))[:, None], levels.shape)
        inside = (levels["size"] > 0) & (levels["price"] >= low) & (levels["price"] <= high)
        place = (levels["price"][inside] - low) // step
        np.add.at(z, (place, column[inside]), levels["size"][inside].astype(np.float64))
    z[z == 0] = np.nan
    prices = (low + np.arange(places) * step + (step - tick) / 2) * price_unit  # the middle of those in a row
    return Heat(x, prices, z * size_unit, "size resting at a price")


def _line(name: str, x: Array, prices: Array, colour: str, unit: float) -> Series:
    return Series(name, x, np.where(prices > 0, prices * unit, np.nan), colour, "step", width=1.1)


def _bubbles(trades: Trades, shift: int, record: Any) -> list[Series]:
    made = []
    exponent, unit = int(record["price_exponent"]), int(record["size_exponent"])
    decimals = shown_decimals(int(record["tick"]), exponent, int(record["price_decimals"]))
    largest = float(trades.size.max()) if len(trades) else 1.0
    areas = BUBBLES[0] + (BUBBLES[1] - BUBBLES[0]) * trades.size / largest
    for side, name, colour in ((Side.BID, "bought", GREEN), (Side.ASK, "sold", RED), (None, "trade", GREY)):
        mine = ~np.isin(trades.side, (Side.BID, Side.ASK)) if side is None else trades.side == side
        if not mine.any():
            continue
        words = [
            f"{name} {size_text(size, unit)} at {price_text(price, exponent, decimals)}"
            for size, price in zip(trades.size[mine].tolist(), trades.price[mine].tolist(), strict=True)
        ]
        where, prices = times(trades.ts[mine], shift), trades.price[mine] * 10.0**exponent
        made.append(Series(name, where, prices, colour, "points", None, areas[mine], words))
    return made


def _spans(x: Array, stale: Array) -> list[tuple[Any, Any]]:
    """Stretches of columns that are stale."""
    edges = np.flatnonzero(np.diff(stale.astype(np.int8), prepend=0, append=0))
    return [(x[begin], x[min(end, len(x) - 1)]) for begin, end in zip(edges[::2], edges[1::2], strict=True)]

"""What a person wants to know of a running feed, taken from its shared segment at one moment, and how it is drawn.

`take()` copies books, channels, lines and latencies out of an attached feed; `draw()` makes them a page for a terminal
of 80 columns or more; rates come from two views.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from feedhandler.figures import COLOURS, SHORT, amount, duration, price_text, rate, shown_decimals, size_text, table
from feedhandler.read import Book, Feed
from feedhandler.read.views import FAULTS
from feedhandler.scoreboard import (
    ChannelView,
    LineView,
    connections,
    draw_channels,
    draw_connections,
    draw_scores,
    draw_traffic,
    draw_troubles,
    take_channels,
    take_lines,
    text_of,
    writer_of,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text


@dataclass(frozen=True, slots=True)
class BookView:
    """The top of one book. Prices are integers in units of 10^price_exponent; None for an empty side or no trade.

    Sizes and `volume` are in units of 10^size_exponent; `decimals` is how many people write prices with. `since` is
    when `state` took its value, ns since the Unix epoch; `channel_seq` is the number the book is whole to; `faults` how
    often the feed contradicted what the book knew.
    """

    symbol: str
    venue: str
    state: str
    reason: str
    trading: str
    bid: tuple[int, int] | None
    ask: tuple[int, int] | None
    last: int | None
    volume: int
    event_seq: int
    price_exponent: int = -9
    size_exponent: int = 0
    decimals: int = 4
    since: int = 0
    channel_seq: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LatencyView:
    """One histogram, in nanoseconds."""

    name: str
    count: int
    p50: int
    p99: int
    p999: int
    maximum: int


@dataclass(frozen=True, slots=True)
class View:
    """A feed at one moment. `taken` is the time of the copy, ns since the Unix epoch."""

    name: str
    writer: str
    pid: int
    taken: int
    since: int
    events: int
    instruments: int
    channels: tuple[ChannelView, ...]
    lines: tuple[LineView, ...]
    latency: tuple[LatencyView, ...]
    books: tuple[BookView, ...]
    backend: str = ""
    """The way to the wire and its mode, as "af_xdp native copy"."""


def take(feed: Feed) -> View:
    """A view of the feed now. Each book is whole; books and tables are copied one after the other."""
    header, instruments = feed.header, feed.instruments
    return View(
        name=feed.name,
        writer=writer_of(feed),
        pid=int(header["pid"]),
        taken=time.time_ns(),
        since=int(header["generation"]),
        events=int(feed.heads.sum()),
        instruments=len(instruments) - 1,
        channels=take_channels(feed),
        lines=take_lines(feed),
        latency=tuple(_latency_view(name, histogram) for name, histogram in feed.histograms.items()),
        books=tuple(_book(feed, index, instruments[index]) for index in range(1, len(instruments))),
        backend=text_of(header["backend"]),
    )


def _latency_view(name: str, histogram: Any) -> LatencyView:
    at = histogram.percentile
    return LatencyView(name.replace("_", "→"), histogram.count, at(50), at(99), at(99.9), histogram.maximum)


def _book(feed: Feed, index: int, row: Any) -> BookView:
    symbol, venue = text_of(row["symbol"]), text_of(row["venue"])
    book = Book(feed, index, symbol, venue)
    bid, bid_size, ask, ask_size = book.top()
    since, channel_seq = book.seen_since, book.seen_channel_seq
    last = book.last_trade
    return BookView(
        symbol=symbol,
        venue=venue,
        state=book.seen_state.name,
        reason=book.seen_reason.name,
        trading=book.trading.name,
        bid=None if bid is None else (bid, bid_size),
        ask=None if ask is None else (ask, ask_size),
        last=last[0] if last else None,
        volume=book.volume[0],
        event_seq=book.event_seq,
        price_exponent=int(row["price_exponent"]),
        size_exponent=int(row["size_exponent"]),
        decimals=shown_decimals(int(row["tick"]), int(row["price_exponent"]), int(row["price_decimals"])),
        since=since,
        channel_seq=channel_seq,
        faults={name: int(row[name]) for name in FAULTS},
    )


def draw(view: View, earlier: View | None = None, rows: int = 0, width: int = 80, height: int = 0) -> "RenderableType":
    """The page: writer, channels, lines, latencies, and the busiest books, at most `rows` of them (0 = all).

    What does not fit beside the prices in `width` columns is left out; on a terminal of `height` lines (0 = any) also
    the lines' scores and the latencies, where too few books would be seen beside them, and the books that do not fit.
    """
    from rich.console import Group

    span = view.taken - earlier.taken if earlier else 0
    channels = draw_channels(view.channels, view.taken, earlier.channels if earlier else (), span)
    lines = draw_traffic(view.lines, view.taken, earlier.lines if earlier else (), span)
    parts: list[RenderableType] = [_head(view, earlier), _way(view), "", channels, "", lines]
    if connections(view.lines):
        parts += ["", draw_connections(view.lines, view.taken)]
    fit, scores, latencies = _fit(view, height) if height else (0, True, True)
    if scores:
        parts += ["", draw_scores(view.lines, view.taken)]
    parts += draw_troubles(view.channels)
    if latencies and any(latency.count for latency in view.latency):
        parts += ["", _latency(view)]
    parts += ["", _books(view, earlier, rows or fit, width), *_faulty(view)]
    return Group(*parts)


def draw_books(view: View, width: int = 80) -> "Table":
    """The books alone, all of them."""
    return _books(view, None, 0, width)


BOOKS_WANTED = 7  # before anything else is shown beside them but channels and lines


def _fit(view: View, height: int) -> tuple[int, bool, bool]:
    """On a terminal of `height` lines: how many books are shown, at least one, and whether scores and latencies are."""
    rows = height - 10 - len(view.channels) - len(draw_troubles(view.channels)) - len(view.lines) - len(_faulty(view))
    rows -= len(connections(view.lines)) + 2 if connections(view.lines) else 0
    spoken = sum(1 for latency in view.latency if latency.count)
    taken = spoken + 2 if spoken else 0
    latencies = rows - taken >= BOOKS_WANTED
    rows -= taken * latencies
    scores = rows - len(view.lines) - 2 >= BOOKS_WANTED
    return max(1, rows - (len(view.lines) + 2) * scores), scores, latencies


def _head(view: View, earlier: View | None) -> "Text":
    from rich.text import Text

    span = view.taken - earlier.taken if earlier else 0
    style = "green" if view.writer == "RUNNING" else "bold red"
    text = Text.assemble((view.name, "bold"), "  ", (view.writer, style), no_wrap=True, overflow="ellipsis")
    if earlier:
        text.append(f"  {amount(rate(view.events, earlier.events, span))} events/s", "bold")
    text.append(f"  {amount(view.events)} events  {view.instruments:,} instruments")
    text.append(f"  up {_clock(view.taken - view.since)}  pid {view.pid}")
    return text


def _way(view: View) -> "Text":
    """The way to the wire, and whose clock stamps the packets: of all lines alike, or of each."""
    from rich.text import Text

    kinds = {line.timestamps.lower() for line in view.lines} - {"none"}
    stamps = kinds.pop() if len(kinds) == 1 else ", ".join(f"{n.name} {n.timestamps.lower()}" for n in view.lines)
    said = f"by {view.backend}" + (f", timestamps: {stamps}" if stamps else "")
    return Text(said, style="dim", no_wrap=True, overflow="ellipsis")


def _clock(nanoseconds: int) -> str:
    seconds = max(0, nanoseconds // 1_000_000_000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _latency(view: View) -> "Table":
    made = table("latency<", "p50", "p99", "p99.9", "max", "samples")
    for latency in view.latency:
        if latency.count:
            figures = (latency.p50, latency.p99, latency.p999, latency.maximum)
            made.add_row(latency.name, *map(duration, figures), amount(latency.count))
    return made


FAULTY_SHOWN = 3  # books that the feed contradicted most


def _faulty(view: View) -> "list[Text]":
    """A sentence for each of the books that the feed contradicted most."""
    from rich.text import Text

    worst = sorted(view.books, key=lambda book: -sum(book.faults.values()))[:FAULTY_SHOWN]
    return [
        Text(
            f"{book.symbol}: " + ", ".join(f"{k.replace('_', ' ')} {amount(n)}" for k, n in book.faults.items() if n),
            style="yellow",
        )
        for book in worst
        if any(book.faults.values())
    ]


BOOK_COLUMNS = ("symbol<", "state<", "status<", "size", "bid", "ask", "size", "last", "volume")
DISPENSABLE = (8, 7, 2)  # columns left out first where the page is narrow


def _books(view: View, earlier: View | None, rows: int, width: int) -> "Table":
    from rich.text import Text

    old = {(book.symbol, book.venue): book.event_seq for book in earlier.books} if earlier else {}
    books = sorted(view.books, key=lambda b: (b.event_seq <= old.get((b.symbol, b.venue), 0), -_traded(b), b.symbol))
    shown = books[:rows] if rows else books
    named = Counter(symbol for symbol, _ in {(book.symbol, book.venue) for book in books})
    cells = [_book_cells(book, several=named[book.symbol] > 1) for book in shown]
    kept = list(range(len(BOOK_COLUMNS)))
    for column in DISPENSABLE:
        widths = [max([len(BOOK_COLUMNS[i].removesuffix("<")), *(len(row[i]) for row in cells)]) for i in kept]
        if sum(widths) + len(widths) - 1 > width:
            kept.remove(column)
    made = table(*(BOOK_COLUMNS[i] for i in kept))
    for book, row in zip(shown, cells, strict=True):
        styles = ["bold", COLOURS.get(book.state, "")]
        made.add_row(*(Text(row[i], style=styles[i] if i < 2 else "") for i in kept))
    if len(shown) < len(books):
        made.caption = f"{len(books) - len(shown):,} more books"
        made.caption_justify = "left"
    return made


def _traded(book: BookView) -> float:
    return book.volume * 10.0**book.size_exponent


def _book_cells(book: BookView, several: bool) -> list[str]:
    """`several`: other venues have books of that name, too."""
    bid, ask = book.bid or (None, None), book.ask or (None, None)
    status = book.trading if book.state == "LIVE" else book.reason
    return [
        f"{book.symbol}@{book.venue}" if several else book.symbol,
        SHORT.get(book.state, book.state),
        SHORT.get(status, status.lower().replace("_", " ")),
        "" if bid[1] is None else size_text(bid[1], book.size_exponent),
        *(price_text(price, book.price_exponent, book.decimals) for price in (bid[0], ask[0])),
        "" if ask[1] is None else size_text(ask[1], book.size_exponent),
        price_text(book.last, book.price_exponent, book.decimals),
        size_text(book.volume, book.size_exponent),
    ]

"""What a person wants to know of a running feed, taken from its shared segment at one moment, and how it is drawn.

`take()` copies books, channels, lines and latencies out of an attached feed; `draw()` makes them a page for a terminal
of 80 columns or more; rates come from two views.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from feedhandler.counters import CHANNEL, LINE, by_name
from feedhandler.read import Book, Feed
from feedhandler.records import Quality, Reason, TimestampKind

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

COLOURS = {"LIVE": "green", "RECOVERING": "yellow", "STALE": "red", "INIT": "dim"}
LINE_STATES = ("DOWN", "UP", "SILENT", "ENDED")
LINE_COLOURS = {"UP": "green", "SILENT": "yellow", "DOWN": "red", "ENDED": "dim"}


@dataclass(frozen=True, slots=True)
class BookView:
    """The top of one book. Prices are integers in units of 10^price_exponent; None for an empty side or no trade."""

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
    decimals: int = 4


@dataclass(frozen=True, slots=True)
class LineView:
    """One line of a channel. `last_packet` is in ns since the Unix epoch, 0 for none; counters by their names."""

    name: str
    channel: str
    state: str
    timestamps: str
    receive_buffer: int
    last_packet: int
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One channel; counters by their names."""

    name: str
    protocol: str
    session: str
    state: str
    reason: str
    epoch: int
    next_seq: int
    counters: Mapping[str, int] = field(default_factory=dict)


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


def take(feed: Feed) -> View:
    """A view of the feed now. Each book is whole; books and tables are copied one after the other."""
    header, channels = feed.header, feed.channels
    lines = tuple(_line(row, channels) for row in feed.lines)
    instruments = feed.instruments
    return View(
        name=feed.name,
        writer=feed.status.upper(),
        pid=int(header["pid"]),
        taken=time.time_ns(),
        since=int(header["generation"]),
        events=int(feed.heads.sum()),
        instruments=len(instruments) - 1,
        channels=tuple(_channel(row) for row in channels),
        lines=lines,
        latency=tuple(_latency_view(name, histogram) for name, histogram in feed.histograms.items()),
        books=tuple(_book(feed, index, instruments[index]) for index in range(1, len(instruments))),
    )


def _text(word: bytes) -> str:
    return word.decode("ascii", "replace").strip()


def _channel(row: Any) -> ChannelView:
    return ChannelView(
        name=_text(row["name"]),
        protocol=_text(row["protocol"]),
        session=_text(row["session"]),
        state=Quality(int(row["quality"])).name,
        reason=Reason(int(row["reason"])).name,
        epoch=int(row["epoch"]),
        next_seq=int(row["next_seq"]),
        counters=by_name(CHANNEL, row),
    )


def _line(row: Any, channels: Any) -> LineView:
    return LineView(
        name=_text(row["name"]),
        channel=_text(channels[int(row["channel"])]["name"]),
        state=LINE_STATES[int(row["state"])],
        timestamps=TimestampKind(int(row["ts_kind"])).name,
        receive_buffer=int(row["receive_buffer"]),
        last_packet=int(row["last_packet"]),
        counters=by_name(LINE, row),
    )


def _latency_view(name: str, histogram: Any) -> LatencyView:
    at = histogram.percentile
    return LatencyView(name.replace("_", "→"), histogram.count, at(50), at(99), at(99.9), histogram.maximum)


def _book(feed: Feed, index: int, row: Any) -> BookView:
    symbol, venue = _text(row["symbol"]), _text(row["venue"])
    book = Book(feed, index, symbol, venue)
    bid, bid_size, ask, ask_size = book.top()
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
        decimals=int(row["price_decimals"]),
    )


def amount(number: float) -> str:
    """A count in at most six characters: 950, 12.3k, 4.56M."""
    if number < 9999.5:
        return f"{number:.0f}"
    for divisor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")):
        scaled = number / divisor
        if scaled < 999.5 or unit == "T":
            break
    return f"{scaled:.{_decimals(scaled)}f}{unit}"


def _decimals(number: float) -> int:
    """Places after the point that make three figures."""
    return 2 if number < 9.995 else 1 if number < 99.95 else 0


def duration(nanoseconds: float) -> str:
    """A time span in at most six characters: 850ns, 12.3µs, 4.56ms, 2.10s."""
    if nanoseconds < 999.5:
        return f"{nanoseconds:.0f}ns"
    for divisor, unit in ((1e3, "µs"), (1e6, "ms"), (1e9, "s")):
        scaled = nanoseconds / divisor
        if scaled < 999.5 or unit == "s":
            break
    return f"{scaled:.{_decimals(scaled)}f}{unit}"


def price_text(price: int | None, exponent: int = -9, decimals: int = 4) -> str:
    """A price as people write it, with `decimals` places and more only where the price has them; "" for none."""
    if price is None:
        return ""
    if exponent >= 0:
        return str(price * 10**exponent)
    digits = f"{abs(price):0{-exponent + 1}d}"
    whole, fraction = digits[:exponent], digits[exponent:]
    kept = fraction[: max(decimals, len(fraction.rstrip("0")))]
    return ("-" if price < 0 else "") + (f"{whole}.{kept}" if kept else whole)


def rate(now: int, before: int, nanoseconds: int) -> float:
    """Per second; 0 where there is no earlier view."""
    return max(0, now - before) * 1e9 / nanoseconds if nanoseconds > 0 else 0.0


def draw(view: View, earlier: View | None = None, rows: int = 0, width: int = 80) -> "RenderableType":
    """The page: writer, channels, lines, latencies, and the busiest books, at most `rows` of them (0 = all).

    What does not fit beside the prices in `width` columns is left out.
    """
    from rich.console import Group

    parts: list[RenderableType] = [_head(view, earlier), "", _channels(view, earlier), "", _lines(view, earlier)]
    if any(latency.count for latency in view.latency):
        parts += ["", _latency(view)]
    parts += ["", _books(view, earlier, rows, width)]
    return Group(*parts)


def draw_books(view: View, width: int = 80) -> "Table":
    """The books alone, all of them."""
    return _books(view, None, 0, width)


def page_rows(view: View, height: int) -> int:
    """How many books fit beside the rest on a terminal of `height` lines; at least one."""
    fixed = 9 + len(view.channels) + sum(1 for c in view.channels if _troubles(c)) + len(view.lines)
    spoken = sum(1 for latency in view.latency if latency.count)
    return max(1, height - fixed - (spoken + 2 if spoken else 0))


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


def _clock(nanoseconds: int) -> str:
    seconds = max(0, nanoseconds // 1_000_000_000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _table(*columns: str) -> "Table":
    """A table without borders; columns whose name ends in < are of words, the others of numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column.removesuffix("<"), justify="left" if column.endswith("<") else "right", no_wrap=True)
    return table


def _word(word: str, colours: dict[str, str]) -> "Text":
    from rich.text import Text

    return Text(word, style=colours.get(word, ""))


USUAL = ("messages", "events", "sessions")  # every other counter of a channel is worth a word as soon as it is not 0


def _troubles(channel: ChannelView) -> str:
    counted = {name: count for name, count in channel.counters.items() if count and name not in USUAL}
    return ", ".join(f"{name.replace('_', ' ')} {amount(count)}" for name, count in counted.items())


def _channels(view: View, earlier: View | None) -> "Table":
    table = _table("channel<", "protocol<", "session<", "state<", "reason<", "next", "messages", "msg/s")
    span = view.taken - earlier.taken if earlier else 0
    old = {channel.name: channel for channel in earlier.channels} if earlier else {}
    for channel in view.channels:
        messages = channel.counters.get("messages", 0)
        before = old[channel.name].counters.get("messages", 0) if channel.name in old else messages
        table.add_row(
            channel.name,
            channel.protocol,
            channel.session,
            _word(channel.state, COLOURS),
            channel.reason if channel.state != "LIVE" else "",
            str(channel.next_seq),
            amount(messages),
            amount(rate(messages, before, span)),
        )
    return table


def _lines(view: View, earlier: View | None) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    figures = ("packets", "pkt/s", "won", "dup", "late", "gaps", "miss", "drops", "bad", "ago")
    table = _table("line<", "state<", *figures, "stamp<")
    span = view.taken - earlier.taken if earlier else 0
    old = {(line.channel, line.name): line for line in earlier.lines} if earlier else {}
    for line in view.lines:
        count = line.counters.get
        key = (line.channel, line.name)
        before = old[key].counters.get("packets", 0) if key in old else count("packets", 0)
        drops = count("kernel_drops", 0)
        table.add_row(
            line.name if len(view.channels) == 1 else f"{line.channel}/{line.name}",
            _word(line.state, LINE_COLOURS),
            amount(count("packets", 0)),
            amount(rate(count("packets", 0), before, span)),
            amount(count("won", 0)),
            amount(count("duplicates", 0)),
            amount(count("late", 0)),
            amount(count("gaps", 0)),
            amount(count("missing", 0)),
            Text(amount(drops), style="red" if drops else ""),
            amount(count("bad_packets", 0) + count("malformed", 0)),
            duration(max(0, view.taken - line.last_packet)) if line.last_packet else "never",
            line.timestamps.lower(),
        )
    words = [f"{channel.name}: {_troubles(channel)}" for channel in view.channels if _troubles(channel)]
    return Group(table, *(Text(word, style="yellow") for word in words))


def _latency(view: View) -> "Table":
    table = _table("latency<", "p50", "p99", "p99.9", "max", "samples")
    for latency in view.latency:
        if latency.count:
            figures = (latency.p50, latency.p99, latency.p999, latency.maximum)
            table.add_row(latency.name, *map(duration, figures), amount(latency.count))
    return table


SHORT = {
    "QUOTE_ONLY": "quote only",
    "JOINED_LATE": "late start",
    "UNSEQUENCED": "no numbers",
    "UNKNOWN_ORDER": "unknown id",
    "OVER_EXECUTION": "over-exec",
    "DUPLICATE_ORDER": "duplicate",
    "PRICE_RANGE": "price",
    "WRITER_DIED": "died",
    "SESSION_ENDED": "ended",
    "RECOVERING": "RECOV",
}
BOOK_COLUMNS = ("symbol<", "state<", "status<", "size", "bid", "ask", "size", "last", "volume")
DISPENSABLE = (8, 7, 2)  # columns left out first where the page is narrow


def _books(view: View, earlier: View | None, rows: int, width: int) -> "Table":
    from rich.text import Text

    old = {(book.symbol, book.venue): book.event_seq for book in earlier.books} if earlier else {}
    books = sorted(view.books, key=lambda b: (b.event_seq <= old.get((b.symbol, b.venue), 0), -b.volume, b.symbol))
    shown = books[:rows] if rows else books
    cells = [_book_cells(book) for book in shown]
    kept = list(range(len(BOOK_COLUMNS)))
    for column in DISPENSABLE:
        widths = [max([len(BOOK_COLUMNS[i].removesuffix("<")), *(len(row[i]) for row in cells)]) for i in kept]
        if sum(widths) + len(widths) - 1 > width:
            kept.remove(column)
    table = _table(*(BOOK_COLUMNS[i] for i in kept))
    for book, row in zip(shown, cells, strict=True):
        styles = ["bold", COLOURS.get(book.state, "")]
        table.add_row(*(Text(row[i], style=styles[i] if i < 2 else "") for i in kept))
    if len(shown) < len(books):
        table.caption = f"{len(books) - len(shown):,} more books"
        table.caption_justify = "left"
    return table


def _book_cells(book: BookView) -> list[str]:
    bid, ask = book.bid or (None, None), book.ask or (None, None)
    status = book.trading if book.state == "LIVE" else book.reason
    return [
        book.symbol,
        SHORT.get(book.state, book.state),
        SHORT.get(status, status.lower().replace("_", " ")),
        "" if bid[1] is None else amount(bid[1]),
        *(price_text(price, book.price_exponent, book.decimals) for price in (bid[0], ask[0])),
        "" if ask[1] is None else amount(ask[1]),
        price_text(book.last, book.price_exponent, book.decimals),
        amount(book.volume),
    ]

"""feedhandler books: the books at the end of a recording, or at a moment of it, through the code that runs live."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedhandler.cli.common import (
    Channels,
    Protocol,
    Recorded,
    Symbols,
    To,
    emit,
    examples,
    known_protocol,
    named,
    reading,
    talk,
    window,
)

if TYPE_CHECKING:
    from feedhandler.read import Book, Feed

Orders = Annotated[int, typer.Option(min=1, help="Live orders there is room for.")]
Instruments = Annotated[int, typer.Option(min=1, help="Symbols there is room for.")]
Day = Annotated[
    datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Session date, if not the first packet's."),
]


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler books day.itch.gz",
        "feedhandler books feed.pcap --symbols AAPL --depth 5",
        "feedhandler books days/20261120 --to 09:30",
        "feedhandler books day.itch.gz --protocol itch50 --depth 10 --json",
    )
    app.command(short_help="Print the books at the end of a recording, or at a moment.", epilog=examples(*commands))(
        books
    )


def books(
    recording: Recorded,
    protocol: Protocol = "",
    depth: Annotated[int, typer.Option(min=1, max=64, help="Price levels per side.")] = 10,
    symbols: Symbols = "",
    end: To = "",
    channels: Channels = "",
    orders: Orders = 2_000_000,
    instruments: Instruments = 16384,
    date: Day = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="All levels as JSON; prices in units of 1e-9, sizes of 10^size_exponent.")
    ] = False,
) -> None:
    """Print the books as they stand at the end of a recording, and how many messages of each type it had.

    With --symbols, all levels of these books; with --to, as they stood at that moment.
    """
    from feedhandler.errors import CaptureError
    from feedhandler.figures import kinds_text
    from feedhandler.handler import open_recording, play
    from feedhandler.news import complaints, unusable
    from feedhandler.read import attach_local
    from feedhandler.recording import Recording

    opened = Recording(*recording, protocol=known_protocol(protocol))
    sizes: dict[str, Any] = {"depth": depth, "orders": orders, "instruments": instruments}
    day = date.date() if date else None
    part = window(opened, "", end)
    with open_recording(opened, part, channels=named(channels), day=day, **sizes) as handler:
        with reading(f"reading {opened.paths[0].name}", opened.size) as done:
            try:
                error = play(handler, done)
            except KeyboardInterrupt:
                talk("stopped; no books, since they would be those of the middle of the recording")
                raise typer.Exit(1) from None
        messages = sum(handler.types.values())
        with attach_local(handler.segment) as feed:
            _show(feed, named(symbols) or [], messages, handler.types, as_json)
        if not as_json:
            talk(f"{messages:,} messages: {kinds_text(handler.types) or 'none'}")
        for sentence in complaints(handler.segment):
            talk(sentence)
        unread = unusable(handler.segment)
    if error is not None:
        raise error
    if unread > messages:
        mend = (
            f"as {protocol}: leave out --protocol, or name another"
            if protocol
            else "; name the protocol with --protocol"
        )
        raise CaptureError(f"{opened.paths[0]}: {unread:,} of its {unread + messages:,} messages cannot be read {mend}")


def _show(feed: "Feed", symbols: list[str], messages: int, types: dict[str, int], as_json: bool) -> None:
    """The books on stdout: all of them, or all levels of some."""
    if as_json:
        every = named_books(feed)
        for name in {*symbols} - {*every} - {book.symbol for book in every.values()}:
            symbol, _, venue = name.partition("@")
            feed.book(symbol, venue or None)  # raises, with the nearest names
        chosen = {name: book for name, book in every.items() if not symbols or {name, book.symbol} & {*symbols}}
        emit({"messages": messages, "types": types, "books": {name: whole(book) for name, book in chosen.items()}})
        return
    from rich.console import Console

    console = Console(highlight=False)
    for page in [ladder(feed, symbol) for symbol in symbols] or [overview(feed, console.width)]:
        console.print(page)


def named_books(feed: "Feed") -> "dict[str, Book]":
    """Every book by its symbol; SYMBOL@VENUE where several venues have it."""
    from feedhandler.read import Book

    rows = [(i, r["symbol"].decode(), r["venue"].decode()) for i, r in enumerate(feed.instruments) if i]
    seen: dict[str, int] = {}
    for _, symbol, _ in rows:
        seen[symbol] = seen.get(symbol, 0) + 1
    return {s if seen[s] == 1 else f"{s}@{venue}": Book(feed, i, s, venue) for i, s, venue in rows}


def whole(book: "Book") -> dict[str, Any]:
    """One book for JSON: its state, and per side [price, size, orders], best first.

    Prices are in units of 1e-9, sizes of 10^size_exponent.
    """
    scale = 10 ** (9 + int(book.instrument_record["price_exponent"]))
    sides = [
        [[int(level["price"]) * scale, int(level["size"]), int(level["orders"])] for level in side if level["size"]]
        for side in book.snapshot()
    ]
    exponent = int(book.instrument_record["size_exponent"])
    return {"state": book.seen_state.name, "size_exponent": exponent, "bids": sides[0], "asks": sides[1]}


def overview(feed: "Feed", width: int) -> Any:
    """The best prices of all books."""
    from feedhandler.top import draw_books, take

    return draw_books(take(feed), width)


def ladder(feed: "Feed", symbol: str) -> Any:
    """All levels of one book. Raises UnknownSymbolError."""
    from rich.table import Table

    from feedhandler.figures import price_text, shown_decimals

    name, _, venue = symbol.partition("@")
    book = feed.book(name, venue or None)
    row = book.instrument_record
    exponent, unit = int(row["price_exponent"]), int(row["size_exponent"])
    decimals = shown_decimals(int(row["tick"]), exponent, int(row["price_decimals"]))
    places = shown_decimals(int(row["lot"]), unit, int(row["size_decimals"])) if unit else 0

    def size(level: Any) -> str:
        return price_text(int(level["size"]), unit, places) if unit else f"{level['size']:,}"

    bids, asks = book.snapshot()
    words = [book.seen_state.name, *([book.seen_reason.name] if book.seen_reason else []), book.trading.name]
    table = Table(box=None, title=f"{book.symbol} on {book.venue}: {', '.join(words)}", title_justify="left")
    for column in ("orders", "size", "bid", "ask", "size", "orders"):
        table.add_column(column, justify="right")
    for bid, ask in zip(bids, asks, strict=True):
        if bid["size"] or ask["size"]:
            left = [str(bid["orders"]), size(bid), price_text(int(bid["price"]), exponent, decimals)]
            right = [price_text(int(ask["price"]), exponent, decimals), size(ask), str(ask["orders"])]
            table.add_row(*(left if bid["size"] else [""] * 3), *(right if ask["size"] else [""] * 3))
    return table

"""feedhandler inspect: the messages of a capture, as a table or as JSON lines."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from feedhandler.cli.common import Capture, Protocol, emit, examples, known_protocol, leave_stdout, talk

if TYPE_CHECKING:
    from feedhandler.decode.spec import Protocol as Table
    from feedhandler.listing import Entry, Listing

HEAD = f"{'seq':>9} line {'time':<18} {'symbol':<8} message"


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler inspect day.itch.gz --limit 20",
        "feedhandler inspect feed.pcap --protocol itch50 --symbol AAPL --type A,D --json",
    )
    app.command(epilog=examples(*commands))(inspect)


def inspect(
    capture: Capture,
    protocol: Protocol = "",
    types: Annotated[str, typer.Option("--type", metavar="A,D,…", help="Only messages of these types.")] = "",
    symbol: Annotated[str, typer.Option(metavar="SYMBOL", help="Only messages about this symbol.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many messages; 0 = all.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, prices in units of 1e-9.")] = False,
) -> None:
    """List the messages of a capture: every copy on every line, in the order of the file."""
    from feedhandler.figures import kinds_text
    from feedhandler.listing import Listing

    wanted = frozenset(kind for kind in types.split(",") if kind)
    shown = 0
    symbols: set[str] = set()
    width = _width()
    with Listing(capture, known_protocol(protocol), wanted) as listing:
        try:
            for entry in listing:
                if symbol and entry.symbol != symbol:
                    symbols.add(entry.symbol)
                    continue
                if as_json:
                    emit(asdict(entry) | {"line": listing.lines[entry.line]})
                else:
                    if shown % 1000 == 0:
                        sys.stdout.write(HEAD + "\n")
                    sys.stdout.write(cut(row(entry, listing.table(entry), listing.lines[entry.line]), width) + "\n")
                shown += 1
                if shown == limit:
                    break
        except KeyboardInterrupt:
            talk("stopped")
        except BrokenPipeError:  # the reader of our output has seen enough
            leave_stdout()
        finally:
            sys.stdout.flush()
            read = sum(listing.types.values())
            bad = f"; {listing.refused:,} packets of another protocol, or damaged" if listing.refused else ""
            talk(f"{shown:,} of {read:,} messages read: {kinds_text(listing.types) or 'none'}{bad}")
            if not shown and read:
                talk(_why_none(wanted, symbol, listing, symbols))


def row(entry: "Entry", table: "Table", line: str) -> str:
    """One message as a line of text; times of day as the exchange wrote them, else of receipt (UTC)."""
    from feedhandler.figures import price_text, visible

    naming = table.instrument
    hidden = {table.clock.field, naming.symbol, getattr(naming, "field", "")}
    message = table.by_type.get(entry.type)
    words = []
    for name, value in entry.fields.items():
        kind = message.layout[name].type if message else None
        if name not in hidden:
            text = price_text(int(value), -9, kind.decimals) if kind and kind.kind == "price" else str(value).strip()
            words.append(f"{name}={visible(text)}")
    stamp = int(entry.fields.get(table.clock.field, entry.ts_recv))
    seconds, nanoseconds = divmod(stamp, 10**9)
    clock = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{nanoseconds:09}" if stamp else ""
    said = entry.fault or " ".join(words)
    number = entry.seq or "-"
    whose, what = visible(entry.symbol), visible(entry.type)
    return f"{number:>9} {line:<4} {clock:<18} {whose:<8} {what} {entry.name} {said}".rstrip()


def cut(text: str, width: int) -> str:
    """The text, shortened to `width` columns; 0 = as it is."""
    return text if width == 0 or len(text) <= width else text[: width - 1] + "…"


def _width() -> int:
    """Columns of the terminal that stdout is; 0 where it is none, and nothing is cut."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _why_none(wanted: frozenset[str], symbol: str, listing: "Listing", symbols: set[str]) -> str:
    """Why nothing was shown: what was asked for is not in the file."""
    import difflib

    from feedhandler.figures import visible

    if wanted and not wanted & set(listing.types):
        return f"no message of type {', '.join(sorted(wanted))} is in it; a type is one of the letters above"
    near = difflib.get_close_matches(symbol.upper(), map(visible, symbols), 3, 0.5)
    return f"no such message is about {symbol!r}" + (f"; the nearest are {', '.join(near)}" if near else "")

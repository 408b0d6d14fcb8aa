"""feedhandler inspect: the messages of a recording, as a table, as JSON lines, or as bytes beside their fields."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedhandler.cli.common import (
    Channels,
    From,
    Protocol,
    Recorded,
    Symbols,
    To,
    emit,
    examples,
    known_protocol,
    leave_stdout,
    named,
    progress,
    stopped_by_signals,
    talk,
    window,
)
from feedhandler.figures import kinds_text, price_text, visible

if TYPE_CHECKING:
    from feedhandler.decode.spec import Protocol as Table
    from feedhandler.listing import Entry, Listing, Wanted
    from feedhandler.recording import Recording

IDLE_SECONDS = 0.05
HEAD_EVERY = 1000


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler inspect day.itch.gz --limit 20",
        "feedhandler inspect days/20261120 --symbols AAPL --type A,D --from 09:30 --to 09:31 --json",
        "feedhandler inspect feed.pcap --seq 100..200 --line B --hex",
        "feedhandler inspect feed.pcap --where 'shares>=1000' --where side==B",
        "feedhandler inspect days/20261120 --follow",
    )
    app.command(short_help="List the messages of a recording, of every line.", epilog=examples(*commands))(inspect)


def inspect(
    recording: Recorded,
    protocol: Protocol = "",
    types: Annotated[str, typer.Option("--type", metavar="A,D,…", help="Only messages of these types.")] = "",
    symbols: Symbols = "",
    begin: From = "",
    end: To = "",
    seq: Annotated[str, typer.Option("--seq", metavar="FIRST..LAST", help="Only these numbers of the feed.")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD>VALUE", help="Only if the field is ==, !=, <, <=, > or >= this; all of several."),
    ] = None,
    channels: Channels = "",
    line: Annotated[str, typer.Option(metavar="A,B,…", help="Only what these lines brought.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many messages; 0 = all.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Go on while it is being recorded; Ctrl-C ends it.")] = False,
    as_hex: Annotated[bool, typer.Option("--hex", help="The bytes of each field beside it; in JSON, of all.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, prices in units of 1e-9.")] = False,
) -> None:
    """List the messages of a recording: every copy on every line, in the order of their times."""
    from feedhandler.listing import Listing, Wanted, between
    from feedhandler.recording import ALL, Recording
    from feedhandler.research.conditions import Condition

    opened = Recording(*recording, protocol=known_protocol(protocol))
    timeless = not opened.first_ts and bool(begin or end)
    conditions = tuple(map(Condition.parse, where or ())) + (between(opened, begin, end) if timeless else ())
    wanted = Wanted(
        frozenset(named(types) or ()),
        frozenset(named(symbols) or ()),
        frozenset(named(line) or ()),
        _numbers(seq),
        conditions,
    )
    part = ALL if timeless else window(opened, begin, end)
    with Listing(opened, wanted, window=part, channels=named(channels), follow=follow) as listing:
        _show(listing, opened, wanted, _shower(listing, as_json, as_hex), limit, follow)


def _show(
    listing: "Listing",
    recording: "Recording",
    wanted: "Wanted",
    show: Callable[["Entry", int], None],
    limit: int,
    follow: bool,
) -> None:
    """Message after message, and a word at the end about what was read."""
    from contextlib import nullcontext
    from threading import Event

    shown = 0
    quiet = follow or sys.stdout.isatty()  # a bar would stand between the lines
    bar: Any = nullcontext(lambda done: None) if quiet else progress("reading", recording.size or None, "bytes")
    # Where compiled code calls Python (to unpack, to look at a file that grows) a KeyboardInterrupt would be swallowed.
    stopping = Event()
    try:
        with stopped_by_signals(stopping.set), bar as read_so_far:
            for entry in listing.entries():
                if stopping.is_set():
                    raise KeyboardInterrupt
                if entry is None:
                    read_so_far(listing.offset)
                    if follow:
                        sys.stdout.flush()
                        time.sleep(IDLE_SECONDS)
                    continue
                shown += 1
                show(entry, shown - 1)
                if shown % 4096 == 0:
                    read_so_far(listing.offset)
                if shown == limit:
                    break
    except KeyboardInterrupt:
        talk("stopped")
    except BrokenPipeError:  # the reader of our output has seen enough
        leave_stdout()
    finally:
        sys.stdout.flush()
        types = listing.types
        bad = f"; {listing.refused:,} packets of another protocol, or damaged" if listing.refused else ""
        talk(f"{shown:,} of {listing.read:,} messages read: {kinds_text(types) or 'none'}{bad}")
        if not shown and listing.read:
            talk(_why_none(wanted, listing))


def _shower(listing: "Listing", as_json: bool, as_hex: bool) -> Callable[["Entry", int], None]:
    """How a message is shown; it is told how many were before."""
    if as_json:

        def show_json(entry: "Entry", before: int) -> None:
            view = asdict(entry)
            wire = view.pop("wire")
            view |= {"line": listing.lines[entry.line], "channel": listing.channels[entry.line]}
            emit(view | ({"wire": wire.hex()} if as_hex else {}))

        return show_json
    width, room = _width(), max([4, *map(len, listing.lines)])

    def show(entry: "Entry", before: int) -> None:
        if before % HEAD_EVERY == 0 and not as_hex:
            sys.stdout.write(f"{'seq':>9} {'line':<{room}} {'time':<18} {'symbol':<8} message\n")
        table, line = listing.table(entry), f"{listing.lines[entry.line]:<{room}}"
        if not as_hex:
            sys.stdout.write(cut(row(entry, table, line), width) + "\n")
            return
        sys.stdout.write(row(entry, table, line, fields=False) + "\n")
        sys.stdout.writelines(f"{text}\n" for text in bytes_beside_fields(entry, table))

    return show


def row(entry: "Entry", table: "Table", line: str, fields: bool = True) -> str:
    """One message as a line of text; times of day as the exchange wrote them, else of receipt (UTC)."""
    naming = table.instrument
    hidden = {table.clock.field, naming.symbol, getattr(naming, "field", "")} if table.text is None else set()
    words = [f"{name}={_value(entry, table, name)}" for name in entry.fields if name not in hidden] if fields else []
    stamp = int(entry.fields.get(table.clock.field, entry.ts_recv)) if table.text is None else entry.ts_recv
    seconds, nanoseconds = divmod(stamp, 10**9)
    clock = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{nanoseconds:09}" if stamp else ""
    said = entry.fault or " ".join(words)
    number = entry.seq or "-"
    whose, what = visible(entry.symbol), visible(entry.type)
    return f"{number:>9} {line:<4} {clock:<18} {whose:<8} {what} {entry.name} {said}".rstrip()


def bytes_beside_fields(entry: "Entry", table: "Table") -> list[str]:
    """A line for each field: where it stands in the message, its bytes, its name and its value."""
    message = table.by_type.get(entry.type)
    places = [(0, entry.wire[:1], "type", visible(entry.type))] if entry.wire and table.text is None else []
    if message is not None and not entry.fault:
        for field in message.layout.values():
            wire = entry.wire[field.offset : field.offset + field.type.size]
            places.append((field.offset, wire, field.name, _value(entry, table, field.name)))
    end = places[-1][0] + len(places[-1][1]) if places else 0
    if rest := entry.wire[end:]:
        what = "beyond the table" if message is not None and not entry.fault else ""
        for at in range(0, len(rest) if table.text is not None else 0, 16):  # a JSON text stands beside its bytes
            places.append((at, rest[at : at + 16], visible(rest[at : at + 16].decode("latin-1")), ""))
        rest = rest if table.text is None else b""
        places += [(end + at, rest[at : at + 16], what if at == 0 else "", "") for at in range(0, len(rest), 16)]
    hexes = [wire.hex(" ") for _, wire, _, _ in places]
    room, names = max(map(len, hexes), default=0), max((len(name) for *_, name, _ in places), default=0)
    return [
        f"{at:>13}  {text:<{room}}  {name:<{names}}  {value}".rstrip()
        for text, (at, _, name, value) in zip(hexes, places, strict=True)
    ]


def cut(text: str, width: int) -> str:
    """The text, shortened to `width` columns; 0 = as it is."""
    return text if width == 0 or len(text) <= width else text[: width - 1] + "…"


def _value(entry: "Entry", table: "Table", name: str) -> str:
    """A field as people read it."""
    value = entry.fields[name]
    if isinstance(value, str):
        return visible(value.strip())
    if table.text is not None:
        return str(value)
    kind = table.by_type[entry.type].layout[name].type
    return price_text(value, -9, kind.decimals) if kind.kind == "price" else str(value)


def _width() -> int:
    """Columns of the terminal that stdout is; 0 where it is none, and nothing is cut."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _numbers(text: str) -> tuple[int, int] | None:
    """FIRST..LAST, one of them left out, or a single number; None: all."""
    if not text:
        return None
    first, dots, last = text.partition("..")
    if not (first or last) or not all(word == "" or (word.isascii() and word.isdigit()) for word in (first, last)):
        raise typer.BadParameter(f"expected FIRST..LAST, as 100..200, 100.. or 100, found {text!r}", param_hint="--seq")
    return int(first or 0), int(last) if last else 2**64 - 1 if dots else int(first)


def _why_none(wanted: "Wanted", listing: "Listing") -> str:
    """Why nothing was shown: what was asked for is not in the recording."""
    import difflib

    if wanted.types and not wanted.types & set(listing.types):
        return f"no message of type {', '.join(sorted(wanted.types))} is in it; a type is one of the letters above"
    there = listing.symbols
    if missing := sorted(wanted.symbols - there):
        near = difflib.get_close_matches(missing[0].upper(), map(visible, there), 3, 0.5)
        return f"no such message is about {missing[0]!r}" + (f"; the nearest are {', '.join(near)}" if near else "")
    return "no message is all that was asked for at once"

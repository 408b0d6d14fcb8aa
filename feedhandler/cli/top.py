"""feedhandler top: a live view of a feed, from its shared segment alone."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feedhandler.cli.common import Json, emit, examples

if TYPE_CHECKING:
    from rich.console import Console

    from feedhandler.read import Feed


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler top nasdaq",
        "feedhandler top nasdaq --once --json",
        "feedhandler replay days/20261120 --name day & feedhandler top day",
    )
    app.command(short_help="Show a running feed: books, rates, latency, health.", epilog=examples(*commands))(top)


def top(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Of the segment; not needed where only one handler runs.")
    ] = "",
    directory: Annotated[str, typer.Option("--dir", help="Where the segment lies.")] = "/dev/shm",
    interval: Annotated[float, typer.Option(min=0.05, help="Seconds between two views.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One view, without rates, and end.")] = False,
    rows: Annotated[int, typer.Option(min=0, help="Books to show; 0 = as many as fit, without a terminal all.")] = 0,
    as_json: Json = False,
) -> None:
    """Show a running feed: books, rates, latency, the health of lines and channels. It only reads; Ctrl-C ends it.

    A recording runs while `feedhandler replay DAY --name NAME` does. When the handler died, the view stays and goes on
    with the one that is started again.
    """
    from feedhandler import attach
    from feedhandler.errors import SegmentError
    from feedhandler.read.opening import only_segment
    from feedhandler.top import draw, take

    if name and Path(name).exists() and ("/" in name or not (Path(directory) / name).exists()):
        raise SegmentError(
            f"{name}: top shows a running feed, and this is a recording: let it run with `feedhandler replay {name} "
            "--name day`, then `feedhandler top day` in another terminal; `feedhandler books` shows its end at once"
        )
    with attach(name or only_segment(directory), dir=directory) as feed:
        if as_json and once:
            emit(asdict(take(feed)))
        elif as_json:
            _stream(feed, interval)
        else:
            from rich.console import Console

            console = Console(highlight=False)
            if once:
                console.print(draw(take(feed), rows=rows, width=console.width))
            elif console.is_terminal:
                _live(feed, console, interval, rows)
            else:
                _pages(feed, console, interval, rows)


def _stream(feed: "Feed", interval: float) -> None:
    """A view a line, until Ctrl-C or the end of the feed."""
    import sys

    from feedhandler.top import take

    try:
        while True:
            view = take(feed)
            emit(asdict(view))
            sys.stdout.flush()
            if view.writer == "STOPPED":
                return
            time.sleep(interval)
            feed.follow()
    except KeyboardInterrupt:
        return


def _live(feed: "Feed", console: "Console", interval: float, rows: int) -> None:
    """The page, drawn again and again in place; what stood there last stays when it ends."""
    from rich.live import Live

    from feedhandler.top import draw, take

    before, view = None, take(feed)
    page = draw(view, None, rows, console.width, console.height)
    try:
        with Live(page, console=console, screen=True, auto_refresh=False) as live:
            while view.writer != "STOPPED":
                time.sleep(interval)
                feed.follow()
                before, view = view, take(feed)
                page = draw(view, before, rows, console.width, console.height)
                live.update(page, refresh=True)
    except KeyboardInterrupt:
        pass
    console.print(page)


def _pages(feed: "Feed", console: "Console", interval: float, rows: int) -> None:
    """Page after page, for a log."""
    from feedhandler.top import draw, take

    before = None
    try:
        while True:
            view = take(feed)
            console.print(draw(view, before, rows, console.width))
            if view.writer == "STOPPED":
                return
            console.print()
            before = view
            time.sleep(interval)
            feed.follow()
    except KeyboardInterrupt:
        return

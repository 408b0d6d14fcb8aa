"""feedhandler lines: which line of a feed wins, by how much, and what each one loses; from its shared segment alone."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from feedhandler.cli.common import Json, emit, examples

if TYPE_CHECKING:
    from feedhandler.read import Feed
    from feedhandler.scoreboard import Score


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = ("feedhandler lines nasdaq", "feedhandler lines --once --json")
    app.command(short_help="Show each line's score: won, lost, doubled, late.", epilog=examples(*commands))(lines)


def lines(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Of the segment; not needed where only one handler runs.")
    ] = "",
    directory: Annotated[str, typer.Option("--dir", help="Where the segment lies.")] = "/dev/shm",
    interval: Annotated[float, typer.Option(min=0.05, help="Seconds between two views.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One view, and end.")] = False,
    as_json: Json = False,
) -> None:
    """Show each line's score: how often it won and by how much, what it lost, doubled, or brought late or out of order.

    And each channel: whether it is whole, since when not and why, and its gaps. It only reads; Ctrl-C ends it.
    """
    from feedhandler import attach
    from feedhandler.read.opening import only_segment

    with attach(name or only_segment(directory), dir=directory) as feed:
        scores = _scores(feed, 0.0 if once else interval)
        if as_json:
            for score in scores:
                emit(asdict(score))
                sys.stdout.flush()
        else:
            _show(scores)


def _scores(feed: "Feed", interval: float) -> "Iterator[Score]":
    """The score again and again, until Ctrl-C or until the handler stops in good order; once, without an interval."""
    from feedhandler.scoreboard import take_score

    try:
        while True:
            score = take_score(feed)
            yield score
            if not interval or score.writer == "STOPPED":
                return
            time.sleep(interval)
            feed.follow()
    except KeyboardInterrupt:
        return


def _show(scores: "Iterator[Score]") -> None:
    """Drawn in place on a terminal, page after page elsewhere; what stood there last stays."""
    from rich.console import Console
    from rich.live import Live

    from feedhandler.scoreboard import draw_score

    console = Console(highlight=False)
    if not console.is_terminal:
        for number, score in enumerate(scores):
            console.print(*([""] if number else []), draw_score(score), sep="\n")
        return
    with Live(console=console, auto_refresh=False) as live:
        for score in scores:
            live.update(draw_score(score), refresh=True)

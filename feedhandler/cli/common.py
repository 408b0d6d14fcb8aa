"""What the subcommands share: results to stdout, talk to stderr, progress on a terminal."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Capture = Annotated[
    Path,
    typer.Argument(
        metavar="CAPTURE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="pcap, pcapng or BinaryFILE (.itch); plain, .gz or .zst.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Protocol = Annotated[
    str,
    typer.Option(metavar="NAME", help="itch50, iex_deep, …; recognised where it can be.", show_default=False),
]


def examples(*commands: str) -> str:
    """The end of a help page: commands that work as they stand."""
    head = "Example:" if len(commands) == 1 else "Examples:"
    return "\n\n".join([head, *(f"  [bold]{command.replace('[', chr(92) + '[')}[/bold]" for command in commands)])


def talk(message: str) -> None:
    """A line for the person at the terminal: never part of the result."""
    print(message, file=sys.stderr, flush=True)


def emit(value: Any) -> None:
    """A result as one line of JSON on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")) + "\n")


@contextmanager
def progress(title: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr while the block runs; its value is called with the amount done so far.

    Nothing is drawn when stderr is no terminal. `total` None shows the amount without an end; `unit` "bytes" shows it
    in bytes.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)

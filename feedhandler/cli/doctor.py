"""feedhandler doctor: what this host can do, and the command that would mend each "no"."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from feedhandler.cli.common import Json, emit, examples

if TYPE_CHECKING:
    from rich.table import Table

    from feedhandler.doctor import Row

MARKS = {"yes": ("yes", "green"), "no": ("no", "yellow"), "unseen": ("?", "dim")}


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(
        short_help="Say what this host can do for a feed.",
        epilog=examples("feedhandler doctor", "feedhandler doctor --json"),
    )(doctor)


def doctor(
    buffer: Annotated[
        int, typer.Option(min=4096, help="Bytes of receive buffer to ask for; 0 = the default.")
    ] = 8388608,
    interface: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this interface; may be given again.")
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="As root: open AF_XDP on each interface for a moment. A NIC may lose packets meanwhile."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what this host can do for a feed: kernel, CPUs, clock, sockets, interfaces, memory, privileges, back ends.

    Each line says yes or no, the reason, and the command that would mend it; of several commands each one is enough or
    does its part. It changes nothing and needs no root; what it could not see has a question mark.
    """
    from feedhandler.doctor import examine

    rows = examine(receive_buffer=buffer, only=interface or (), probe=probe)
    if as_json:
        emit([asdict(row) for row in rows])
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(table(rows))
    wanting = sum(row.state == "no" for row in rows)
    unseen = sum(row.state == "unseen" for row in rows)
    console.print(
        f"\n{len(rows)} checks: {len(rows) - wanting - unseen} yes, {wanting} no, {unseen} could not be seen."
    )


def table(rows: "list[Row]") -> "Table":
    """The rows as a table that reads well at 80 columns: each mending command on a line of its own."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    topic = ""
    for row in rows:
        mark, colour = MARKS[row.state]
        grid.add_row(row.topic if row.topic != topic else "", row.check, Text(mark, style=colour), Text(row.found))
        for mend in row.mend.splitlines():
            grid.add_row("", "", Text("↳", style="dim"), Text(mend, style="cyan"))
        topic = row.topic
    return grid

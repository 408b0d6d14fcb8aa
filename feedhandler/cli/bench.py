"""feedhandler bench: what this machine does with a capture, before anybody buys hardware."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from feedhandler.cli.common import Capture, Json, Protocol, emit, examples, known_protocol


class Stage(StrEnum):
    """What is measured."""

    DECODE = "decode"
    HOTPATH = "hotpath"
    READ = "read"


UNITS = {Stage.DECODE: "message", Stage.HOTPATH: "message", Stage.READ: "event"}


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = ("feedhandler bench decode day.itch.zst", "feedhandler bench hotpath day.itch --json")
    app.command(epilog=examples(*commands))(bench)


def bench(
    what: Annotated[
        Stage,
        typer.Argument(metavar="decode|hotpath|read", help="The decoder, the whole handler, or a Python reader."),
    ],
    capture: Capture,
    protocol: Protocol = "",
    as_json: Json = False,
) -> None:
    """Measure this machine on a capture: nanoseconds a message, beside a bare C loop over the same bytes.

    CPU time of one thread, median of five rounds. decode: wire bytes into events. hotpath: from the file to the event
    ring, with full books. read: what a Python reader pays for each event; a bare copy is its floor.
    """
    from feedhandler import bench as benchmark

    measure = {Stage.DECODE: benchmark.decode, Stage.HOTPATH: benchmark.hotpath, Stage.READ: benchmark.read}[what]
    figures = measure(capture, known_protocol(protocol)).as_dict()
    if as_json:
        emit(figures)
        return
    from rich.console import Console

    Console(highlight=False).print(table(what, figures))


def table(what: str, figures: dict[str, Any]) -> Any:
    """The figures for people: each in nanoseconds, and as a multiple of the floor."""
    from rich.table import Table

    unit = UNITS[Stage(what)]
    page = Table(box=None, title=f"{what}: {figures['messages']:,} {unit}s", title_justify="left")
    for column, side in (("", "left"), (f"ns per {unit}", "right"), ("× floor", "right")):
        page.add_column(column, justify=side)  # type: ignore[arg-type]
    floor = figures["floor_ns_per_message"]
    rows = {what: figures["ns_per_message"], **{f"  {k}": v for k, v in figures["stages"].items() if k != what}}
    for name, nanoseconds in rows.items():
        calls = name.strip() in ("snapshot", "top")
        times = "" if floor is None or calls else f"{nanoseconds / floor:.2f}"
        page.add_row(name + (" (a call)" if calls else ""), f"{nanoseconds:,.1f}", times)
    page.add_row("floor", "none for this protocol" if floor is None else f"{floor:,.1f}", "")
    return page

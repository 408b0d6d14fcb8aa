"""feedhandler bench: what this machine does with a capture, before anybody buys hardware."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from feedhandler.cli.common import Json, Protocol, emit, examples, known_protocol, progress


class Stage(StrEnum):
    """What is measured."""

    DECODE = "decode"
    HOTPATH = "hotpath"
    READ = "read"
    LATENCY = "latency"


UNITS = {Stage.DECODE: "message", Stage.HOTPATH: "message", Stage.READ: "event"}


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler bench decode day.itch.zst",
        "feedhandler bench hotpath day.itch --json",
        "feedhandler bench latency --plot latency.png",
    )
    app.command(short_help="Measure this machine: cost of a message, latency of a packet.", epilog=examples(*commands))(
        bench
    )


def bench(
    what: Annotated[
        Stage,
        typer.Argument(
            metavar="decode|hotpath|read|latency",
            help="The decoder, the whole handler, a Python reader; or each back end, from the wire to a strategy.",
        ),
    ],
    capture: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CAPTURE]",
            exists=True,
            dir_okay=False,
            readable=True,
            help="pcap, pcapng or BinaryFILE (.itch); plain, .gz or .zst. None for latency.",
            show_default=False,
        ),
    ] = None,
    protocol: Protocol = "",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="latency: draw it into a PNG.")
    ] = None,
    packets: Annotated[int, typer.Option(min=10, max=1_000_000, help="latency: packets for each back end.")] = 5000,
    rate: Annotated[float, typer.Option(min=1, max=50_000, help="latency: packets a second.")] = 2000,
    rdma: Annotated[
        str, typer.Option(metavar="NAME", help="latency: an interface with an RDMA device; RoCE packets leave by it.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Measure this machine: what a capture's messages cost, or how long a packet takes.

    CPU time of one thread, median of five rounds, beside a bare C loop over the same bytes. decode: wire bytes into
    events. hotpath: from the file to the event ring, with full books. read: what a Python reader pays for each event; a
    bare copy is its floor.

    latency: one packet at a time through a handler of its own, with each back end that works on this host, on loopback
    and, as root, on a veth pair between namespaces of its own: wire → receive → publish → strategy.
    """
    if what is Stage.LATENCY:
        if capture is not None:
            raise typer.BadParameter("latency makes its own packets, it takes no capture", param_hint="CAPTURE")
        _latency(packets, rate, plot, rdma, as_json)
        return
    if capture is None:
        raise typer.BadParameter(f"{what.value} is measured on a capture: give its file", param_hint="CAPTURE")
    if plot is not None:
        raise typer.BadParameter("only latency is drawn", param_hint="--plot")
    from feedhandler import bench as benchmark

    measure = {Stage.DECODE: benchmark.decode, Stage.HOTPATH: benchmark.hotpath, Stage.READ: benchmark.read}[what]
    figures = measure(capture, known_protocol(protocol)).as_dict()
    if as_json:
        emit(figures)
        return
    from rich.console import Console

    Console(highlight=False).print(table(what, figures))


def _latency(packets: int, rate: float, plot: Path | None, rdma: str, as_json: bool) -> None:
    from feedhandler import latency

    if plot is not None:
        latency.figures()
    wanted = latency.rigs(rdma)
    with progress("measuring latency", len(wanted)) as done:
        report = latency.measure(wanted, packets, rate, done)
    if not rdma:
        report.left_out["rdma"] = "its packets leave by the device's own interface: name it with --rdma"
    if plot is not None and report.figures:
        latency.plot(report, plot)
    if as_json:
        emit(report.as_dict())
    else:
        from rich.console import Console

        Console(highlight=False).print(latency.draw(report))
    if not report.figures:
        raise typer.Exit(1)


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

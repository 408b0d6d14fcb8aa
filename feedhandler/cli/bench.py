"""feedhandler bench: what this machine does with a capture, before anybody buys hardware."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedhandler.cli.common import Json, Protocol, emit, examples, known_protocol, progress

if TYPE_CHECKING:
    from feedhandler.stages import Report


class Stage(StrEnum):
    """What is measured."""

    DECODE = "decode"
    HOTPATH = "hotpath"
    READ = "read"
    LATENCY = "latency"
    WEBSOCKET = "websocket"


UNITS = {Stage.DECODE: "message", Stage.HOTPATH: "message", Stage.READ: "event"}


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler bench decode day.itch.zst",
        "feedhandler bench hotpath day.itch --json",
        "feedhandler bench latency --plot latency.png",
        "feedhandler bench websocket --plot stages.html",
    )
    app.command(short_help="Measure this machine: cost of a message, latency of a packet.", epilog=examples(*commands))(
        bench
    )


def bench(
    what: Annotated[
        Stage,
        typer.Argument(
            metavar="decode|hotpath|read|latency|websocket",
            help="The decoder, the whole handler, a Python reader; each back end, from the wire to a strategy; or the "
            "stages of a WebSocket over TLS.",
        ),
    ],
    capture: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CAPTURE]",
            exists=True,
            dir_okay=False,
            readable=True,
            help="pcap, pcapng or BinaryFILE (.itch); plain, .gz or .zst. None for latency and websocket.",
            show_default=False,
        ),
    ] = None,
    protocol: Protocol = "",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="latency: draw it into a PNG; websocket: .png or .html."),
    ] = None,
    packets: Annotated[int, typer.Option(min=10, max=1_000_000, help="latency: packets for each back end.")] = 5000,
    rate: Annotated[
        float, typer.Option(min=1, max=50_000, help="latency: packets a second; websocket: texts, under light load.")
    ] = 2000,
    messages: Annotated[
        int, typer.Option(min=1000, max=5_000_000, help="websocket: texts under heavy load; a tenth under light load.")
    ] = 50_000,
    levels: Annotated[int, typer.Option(min=1, max=200, help="websocket: levels a side of each update.")] = 20,
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

    websocket: depth updates of a local venue over TLS, through a handler whose stages are timed apart: TLS → WebSocket
    → line → JSON → book, one text after the other and in a flood; and the heap allocations of its thread.
    """
    if what is Stage.WEBSOCKET:
        if capture is not None:
            raise typer.BadParameter("websocket makes its own texts, it takes no capture", param_hint="CAPTURE")
        _websocket(messages, rate, levels, plot, as_json)
        return
    if what is Stage.LATENCY:
        if capture is not None:
            raise typer.BadParameter("latency makes its own packets, it takes no capture", param_hint="CAPTURE")
        _latency(packets, rate, plot, rdma, as_json)
        return
    if capture is None:
        raise typer.BadParameter(f"{what.value} is measured on a capture: give its file", param_hint="CAPTURE")
    if plot is not None:
        raise typer.BadParameter("only latency and websocket are drawn", param_hint="--plot")
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


def _websocket(messages: int, rate: float, levels: int, plot: Path | None, as_json: bool) -> None:
    from feedhandler import stages
    from feedhandler.plot.draw import save, writable

    if plot is not None:
        writable(plot)
    with progress("measuring", 2) as done:
        report = stages.measure(messages, rate, levels, progress=done)
    if plot is not None:
        save(report.picture(), plot)
    if as_json:
        emit(report.as_dict())
        return
    from rich.console import Console

    page = Console(highlight=False)
    page.print(stages_table(report))
    for sentence in report.sentences():
        page.print(sentence)


def stages_table(report: "Report") -> Any:
    """Each stage's percentiles under each load, for people."""
    from rich.table import Table

    from feedhandler.figures import duration
    from feedhandler.stages.report import STAGES, WHOLE

    page = Table(box=None, title=f"{report.levels} + {report.levels} levels, TLS to book", title_justify="left")
    page.add_column("")
    for name in report.loads:
        for share in ("p25", "p50", "p99"):
            page.add_column(f"{name} {share}", justify="right")
    for stage in (*STAGES, WHOLE):
        figures = [duration(each) for load in report.loads.values() for each in load.percentiles(stage)]
        page.add_row(stage, *figures, style="bold" if stage == WHOLE else None)
    rates = [text for load in report.loads.values() for text in ("", f"{load.per_second:,.0f}/s", "")]
    page.add_row("texts", *rates)
    return page


def table(what: str, figures: dict[str, Any]) -> Any:
    """The figures for people: each in nanoseconds, and as a multiple of the floor."""
    from rich.table import Table

    unit = UNITS[Stage(what)]
    page = Table(box=None, title=f"{what}: {figures['messages']:,} {unit}s", title_justify="left")
    page.add_column("")
    for column in (f"ns per {unit}", "× floor"):
        page.add_column(column, justify="right")
    floor = figures["floor_ns_per_message"]
    rows = {what: figures["ns_per_message"], **{f"  {k}": v for k, v in figures["stages"].items() if k != what}}
    for name, nanoseconds in rows.items():
        calls = name.strip() in ("snapshot", "top")
        times = "" if floor is None or calls else f"{nanoseconds / floor:.2f}"
        page.add_row(name + (" (a call)" if calls else ""), f"{nanoseconds:,.1f}", times)
    page.add_row("floor", "none for this protocol" if floor is None else f"{floor:,.1f}", "")
    return page

"""feedhandler convert: recordings to Parquet, Arrow, Databento DBN, CSV and NumPy."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedhandler.cli.books import Day, Instruments, Orders
from feedhandler.cli.common import (
    From,
    Json,
    Protocol,
    Symbols,
    To,
    emit,
    examples,
    known_protocol,
    named,
    progress,
    stopped_by_signals,
    talk,
)

if TYPE_CHECKING:
    from feedhandler.convert import Options
    from feedhandler.recording import Recording

Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="IN... OUT",
        help="Captures or recorded days, then what to write: a file (.parquet, .arrow, .dbn, .dbn.zst, .csv, .csv.gz, "
        ".npz, .npy), made of all of them in time order, or a folder with files of each of them apart.",
        show_default=False,
    ),
]
KINDS = "events|book|trades|bars|messages"


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler convert day.pcapng day.parquet",
        "feedhandler convert 20260105 20260106 lake/ --kind book --sample 1s --jobs 2",
        "feedhandler convert 20260105 aapl.csv --kind trades --symbols AAPL,MSFT --from 09:30 --to 16:00",
        "feedhandler convert 20260105 bars.parquet --kind bars --sample 5m --prices float",
        "feedhandler convert day.itch.gz day.dbn.zst --date 2026-01-05",
        "feedhandler convert days/* lake/ --kind messages --dask tcp://head:8786",
    )
    app.command(short_help="Recordings to Parquet, Arrow, DBN, CSV or NumPy.", epilog=examples(*commands))(convert)


def convert(
    paths: Paths,
    kind: Annotated[str, typer.Option(metavar=KINDS, help="What the rows are.")] = "events",
    sample: Annotated[
        str,
        typer.Option(
            metavar="every|N|TIME",
            help="Books: every change, each N changes, or by time (250ms, 1s); bars: their length [1m].",
            show_default=False,
        ),
    ] = "",
    fill: Annotated[bool, typer.Option("--fill", help="By time: rows also where nothing changed.")] = False,
    depth: Annotated[int, typer.Option(min=1, max=64, help="Price levels per side of a book's row.")] = 10,
    symbols: Symbols = "",
    start: From = "",
    end: To = "",
    prices: Annotated[
        str,
        typer.Option(
            metavar="nano|decimal|float",
            help="Whole numbers of 1e-9, exact decimals, or float64; of CSV decimal unless told.",
            show_default=False,
        ),
    ] = "",
    format: Annotated[
        str, typer.Option(metavar="parquet|arrow|…", help="Of the files in a folder [parquet].", show_default=False)
    ] = "",
    partition: Annotated[
        str,
        typer.Option(metavar="date,symbol", help="Of a folder of Parquet; or: date, symbol, none.", show_default=False),
    ] = "",
    protocol: Protocol = "",
    date: Day = None,
    orders: Orders = 2_000_000,
    instruments: Instruments = 16384,
    level: Annotated[int, typer.Option(min=0, max=22, help="zstd's; 0 = the library's own.")] = 0,
    rows: Annotated[int, typer.Option(min=0, help="Of a row group; 0 = about 16 MiB.")] = 0,
    dbn_version: Annotated[int, typer.Option(min=2, max=3, help="Of .dbn files.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Processes side by side, an input each; OUT is a folder.")] = 1,
    dask: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Instead, on this scheduler's cluster.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """Convert recordings to tables: events, books, trades, bars, or the messages themselves.

    The format follows the name of OUT. Nothing stands under a final name before it is whole. At the end: rows, gaps,
    the first instant at which a book was valid, bytes, rate.
    """
    from feedhandler.convert import Stopped
    from feedhandler.convert import convert as run
    from feedhandler.convert.run import known_format, plan
    from feedhandler.recording import Recording

    if len(paths) < 2:
        raise typer.BadParameter("at least one input, then what to write", param_hint="IN... OUT")
    *inputs, out = paths
    protocol_name = known_protocol(protocol)
    recording = Recording(*inputs, protocol=protocol_name)
    csv = format == "csv" or ".csv" in out.suffixes[-2:]
    options = _options(
        kind=kind,
        sample=sample,
        fill=fill,
        depth=depth,
        symbols=tuple(named(symbols) or ()) or None,
        start=_instant(recording, start),
        end=_instant(recording, end),
        prices=prices or ("decimal" if csv else "nano"),
        protocol=protocol_name,
        day=date.date() if date else None,
        orders=orders,
        instruments=instruments,
        level=level or None,
        rows=rows,
        dbn=dbn_version if format == "dbn" or ".dbn" in out.suffixes[-2:] else 0,
    )
    parts = None if not partition else [] if partition == "none" else partition.split(",")
    how = known_format(format) if format else None
    count = len(plan(inputs, out, options, format=how, partition=parts))
    side = f", {min(jobs, count)} side by side" if jobs > 1 and count > 1 else ""
    stop = threading.Event()
    title = f"converting to {out.name or out}{side}"
    try:
        with stopped_by_signals(stop.set), progress(title, recording.size, "bytes") as done:
            report = run(
                inputs,
                out,
                options,
                format=how,
                partition=parts,
                jobs=jobs,
                dask=dask or None,
                progress=done,
                stopping=stop.is_set,
            )
    except (Stopped, KeyboardInterrupt):
        talk(f"stopped; what was not finished by then does not stand in {out}")
        raise typer.Exit(1) from None
    if as_json:
        emit(report.as_json())
    for sentence in report.sentences():
        talk(sentence)


def _options(**given: Any) -> "Options":
    """The options, which are checked there: a wrong one is wrong usage."""
    from feedhandler.convert import Options
    from feedhandler.errors import ConfigError

    try:
        return Options(**given)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def _instant(recording: "Recording", when: str) -> int | None:
    return recording.find(when) if when else None

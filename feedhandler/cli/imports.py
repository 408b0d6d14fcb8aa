"""feedhandler import: logs of WebSocket feeds, made into recorded days."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from feedhandler.cli.common import Json, emit, examples, progress, talk


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler import btcusdt_20240808.gz --to /data/binance",
        "feedhandler import BINANCE.ws.1.0 BINANCE.http.0.0 --to /data/binance --compress 3",
        "feedhandler import eth.log.zst --protocol bitstamp --name bitstamp --to /data/bitstamp",
    )
    app.command("import", short_help="Make recorded days of logs of WebSocket feeds.", epilog=examples(*commands))(
        imports
    )


def imports(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG…",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Lines of `<ns> <text>` (hftbacktest), or `<seconds>: <text>` and `<url> -> <seconds>: <text>` "
            "(cryptofeed); plain, .gz or .zst.",
            show_default=False,
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", file_okay=False, help="A folder; each day gets one of its own in it.")
    ],
    name: Annotated[str, typer.Option(help="Of the recording.  \\[default: its protocol]", show_default=False)] = "",
    protocol: Annotated[
        str,
        typer.Option(metavar="NAME", help="binance, kraken, …: of logs that do not say it.", show_default=False),
    ] = "",
    compress: Annotated[int, typer.Option(min=0, max=19, help="zstd level; 0 = none.")] = 0,
    as_json: Json = False,
) -> None:
    """Make recorded days of logs of WebSocket feeds: for replay, check, convert, inspect, plot and backtests.

    Texts become WebSocket frames on a line of their channel, answers of REST requests texts on its control line, each
    at the time that the log has, to the ns. Logs that follow each other are connections of one line; those of one venue
    that overlap are channels of their own. What the client sent is left out, as in any recording.
    """
    from feedhandler.record.imported import import_logs

    with progress("importing", None) as done:
        made = import_logs(logs, to, name=name, protocol=protocol, compress=compress, progress=done)
    if as_json:
        emit([{**asdict(day), "folder": str(day.folder)} for day in made])
        return
    for day in made:
        counts = f"{day.texts:,} texts, {day.answers:,} answers, {day.bytes:,} bytes"
        talk(f"{day.folder}: {', '.join(day.channels)}: {counts}")

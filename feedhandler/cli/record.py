"""feedhandler record: what comes off the wire, into files, until Ctrl-C."""

import json
import sys
import time
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedhandler.cli.common import Json, emit, examples, stop_after, stopped_by_signals, talk

if TYPE_CHECKING:
    from feedhandler.config import Config, Record
    from feedhandler.record import Recorder, Status

LOOK_SECONDS = 0.2

ConfigPath = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", exists=True, dir_okay=False, help="A TOML file; see run --example.", show_default=False
    ),
]
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Format(StrEnum):
    """What is written."""

    PCAPNG = "pcapng"
    PCAP = "pcap"


class OnFull(StrEnum):
    """What is done when the disk is full."""

    STOP = "stop"
    DROP_OLDEST = "drop-oldest"


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler record feed.toml --to /data/nasdaq",
        "feedhandler record feed.toml --to /data/nasdaq --rotate-bytes 1G --compress 3",
        "feedhandler record feed.toml --to /data/nasdaq --books 60",
        "feedhandler record feed.toml --to /data/ring --rotate-seconds 60 --keep 60 --on-full drop-oldest",
    )
    app.command(short_help="Record every line of a feed, byte for byte, with its times.", epilog=examples(*commands))(
        record
    )


def record(
    config: ConfigPath,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", file_okay=False, help="A folder; each day gets one of its own in it.")
    ],
    format: Annotated[Format | None, typer.Option(help="pcapng names the lines; pcap is read by everything.")] = None,
    rotate_bytes: Annotated[
        str, typer.Option(metavar="SIZE", help="A file's most, unpacked: 64K, 500M, 1G; 0 = no end.")
    ] = "",
    rotate_seconds: Annotated[
        int | None, typer.Option(min=0, help="A new file each so many seconds from midnight; 0 = each day.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=0, help="A ring of so many files; 0 = all are kept.")] = None,
    compress: Annotated[int | None, typer.Option(min=0, max=19, help="zstd level; 0 = none.")] = None,
    sync: Annotated[
        str, typer.Option(metavar="WHEN", help='On the disk for sure: each "file", "none", or every so many seconds.')
    ] = "",
    on_full: Annotated[OnFull | None, typer.Option(help="When the disk is full.")] = None,
    books: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Snapshots of the books so often, by a process beside.")
    ] = None,
    zone: Annotated[str, typer.Option(help="A day is one there: UTC, America/New_York.")] = "",
    seconds: Annotated[float, typer.Option(min=0, help="End after so long; 0 = at Ctrl-C.")] = 0,
    as_json: Json = False,
) -> None:
    """Record every line of a feed, byte for byte, with the times of its packets; nothing is decoded.

    What no option says is as the table \\[record] of the configuration has it. Recording goes on after a crash where it
    was; what cannot be written is counted, by line, in the files and in the day's manifest.json.
    """
    from feedhandler import config as configuration
    from feedhandler.record import Recorder

    feed = configuration.load(config)
    given: dict[str, Any] = {
        "format": format.value if format else None,
        "rotate_bytes": size(rotate_bytes) if rotate_bytes else None,
        "rotate_s": rotate_seconds,
        "keep": keep,
        "compress": compress,
        "sync": how_often(sync) if sync else None,
        "on_full": on_full.value if on_full else None,
        "books_s": books,
        "zone": zone or None,
    }
    feed = replace(feed, record=chosen(feed.record, given))
    with Recorder(feed, to) as recorder:
        with stopped_by_signals(recorder.stop), stop_after(seconds, recorder.stop):
            recorder.start()
            talk(in_effect(feed, to, recorder))
            watch(recorder)
        ended(recorder, to, as_json)


def chosen(settings: "Record", given: dict[str, Any]) -> "Record":
    """The table [record] with what the options say in its place, checked as the table is."""
    from feedhandler.config import Record
    from feedhandler.errors import ConfigError
    from feedhandler.settings import Place, read_table

    table = {**asdict(settings), **{key: value for key, value in given.items() if value is not None}}
    try:
        return read_table(Record, table, Place("the options", ""))
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def size(text: str) -> int:
    """Bytes, as people write them: 64K, 500M, 1G."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdigit() or unit not in UNITS:
        raise typer.BadParameter(f"expected a size, as 64K, 500M or 1G, found {text!r}", param_hint="--rotate-bytes")
    return int(number) * UNITS[unit]


def how_often(text: str) -> str | float:
    """ "none", "file", or seconds."""
    try:
        return text if text in ("none", "file") else float(text)
    except ValueError:
        raise typer.BadParameter(f"expected none, file or seconds, found {text!r}", param_hint="--sync") from None


def in_effect(feed: "Config", to: Path, recorder: "Recorder") -> str:
    """What is recorded, and where to."""
    lines = ", ".join(f"{line.channel}/{line.line.name}" for line in recorder.lines)
    return f"recording {feed.shm.name} into {to}: {recorder.backend}, lines {lines}; Ctrl-C ends it"


def watch(recorder: "Recorder") -> None:
    """Say what there is to say until the recording ends; on a terminal, one line shows its rates."""
    told, before, began = 0, recorder.status(), time.monotonic()
    shown = sys.stderr.isatty()
    moment = began
    while True:
        over = recorder.wait_quietly(LOOK_SECONDS)
        told, notes = recorder.notes.since(told)
        for sentence in notes:
            talk(("\r\x1b[K" if shown else "") + sentence)
        if over:
            break
        now, status = time.monotonic(), recorder.status()
        if shown and now - moment >= 1:
            sys.stderr.write("\r\x1b[K" + rates(before, status, now - moment, now - began))
            sys.stderr.flush()
            before, moment = status, now
    if shown:
        sys.stderr.write("\r\x1b[K")


def rates(before: "Status", now: "Status", seconds: float, since: float) -> str:
    """One line: how long, how many, how fast, and what is missing."""
    packets = (now.packets - before.packets) / seconds
    megabytes = (now.written - before.written) / seconds / 1e6
    clock = time.strftime("%H:%M:%S", time.gmtime(since))
    missing = f"  not recorded {now.lost:,}" if now.lost else ""
    drops = f"  kernel drops {now.kernel_drops:,}" if now.kernel_drops else ""
    file = f"  {now.file.name}" if now.file else ""
    return (
        f"{clock}  {now.packets:,} packets  {packets:,.0f}/s  {now.written / 1e6:,.1f} MB  {megabytes:,.1f} MB/s"
        f"{file}{missing}{drops}"
    )


def ended(recorder: "Recorder", to: Path, as_json: bool) -> None:
    """What was written; raises what ended the recording before its time."""
    status = recorder.status()
    folder = recorder.disk.folder or to
    if as_json:
        emit({**json.loads(json.dumps(asdict(status), default=str)), "folder": str(folder)})
    else:
        missing = f"; not recorded: {status.lost:,}" if status.lost else ""
        drops = f"; dropped by the kernel: {status.kernel_drops:,}" if status.kernel_drops else ""
        files = "1 file" if status.files == 1 else f"{status.files:,} files"
        talk(f"wrote {status.packets - status.lost:,} packets, {status.written:,} bytes, in {files}; "
             f"{folder}/manifest.json has the rest{missing}{drops}")  # fmt: skip
    recorder.wait()

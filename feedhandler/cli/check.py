"""feedhandler check: is this day complete?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feedhandler.cli import common
from feedhandler.cli.common import Channels, From, Json, Protocol, Recorded, To, emit, examples, talk

if TYPE_CHECKING:
    from feedhandler.check import DayReport
    from feedhandler.recording import Recording
    from feedhandler.recording.books import Proof

DIFFERENCES_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler check recordings/20261122",
        "feedhandler check recordings/20261122 --html day.html --plot day.png",
        "feedhandler check recordings/20261122 --books",
        "feedhandler check a.pcap b.pcap.gz --json",
        "feedhandler check recordings/2026112* --strict",
    )
    app.command(short_help="Is a recorded day complete, and are its files as written?", epilog=examples(*commands))(
        check
    )


def check(
    day: Recorded,
    begin: From = "",
    end: To = "",
    channels: Channels = "",
    protocol: Protocol = "",
    reorder_us: Annotated[
        int, typer.Option(min=0, max=10_000_000, help="What came later than that was a gap to a live handler.")
    ] = 1000,
    silence_ms: Annotated[
        int,
        typer.Option(min=0, max=86_400_000, help="A line quiet for so long is silent; 0 = three heartbeats."),
    ] = 0,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Draw a timeline (.png, .svg, .pdf).", show_default=False),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Write one self-contained page.", show_default=False),
    ] = None,
    hashes: Annotated[
        bool, typer.Option("--hash/--no-hash", help="Compare the files' sha256 with the manifest's.")
    ] = True,
    books: Annotated[
        bool, typer.Option("--books", help="Play it again, and compare the book hashes that record --books kept.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 for warnings, too: a late start, an end not recorded, …")
    ] = False,
    as_json: Json = False,
) -> None:
    """Is this day complete? What each line lost, what no line brought, and whether the files are as recorded.

    Each recorded day (a folder with a manifest) is checked by itself, all captures without one together, merged in
    time order: lines may lie in different files. Nothing is decoded: the sequence numbers of the session protocol
    tell; of JSON texts their books, played as live. Exit code 0: nothing was lost for good; 1: something was, or a file
    is missing, changed or damaged, or, with --books, a book is not as it was when the day was recorded: channel,
    message, symbol and level are named.
    """
    from feedhandler import check as checking
    from feedhandler import picture
    from feedhandler.check import drawing, page

    if plot is not None or html is not None:
        drawing.figures()
    if plot is not None:
        picture.writable(plot, "check: --plot")
    found = checking.recordings(day, common.known_protocol(protocol))
    if plot is not None and len(found) > 1:
        raise typer.BadParameter(
            f"there are {len(found)} recordings here, a picture shows one; --html shows all", param_hint="--plot"
        )
    reports, proofs = [], []
    for recording in found:
        total = recording.size + (sum(f.size for f in checking.hashed(recording)) if hashes else 0)
        with common.reading(f"checking {recording.paths[0].name}", total) as done:
            try:
                report = checking.check(
                    recording,
                    window=common.window(recording, begin, end),
                    channels=common.named(channels),
                    hashes=hashes,
                    reorder_us=reorder_us,
                    silence_ms=silence_ms,
                    progress=done,
                )
            except KeyboardInterrupt:
                talk(f"stopped; {recording.paths[0].name} was read in part only, so nothing is said of it")
                raise typer.Exit(1) from None
        reports.append(report)
        if not as_json:
            _show(report, first=len(reports) == 1)
        if books:
            proofs.append(_prove(recording, report))
            if not as_json:
                _show_proof(proofs[-1], report)
    if as_json:
        told = [report.as_json() for report in reports]
        for one, proof in zip(told, proofs, strict=False):
            one["books"] = proof.as_json()
        emit(told if len(told) > 1 else told[0])
    if plot is not None:
        drawing.plot(reports[0], plot)
    if html is not None:
        page.write(reports, html)
    proven = all(proof.ok and not (strict and proof.damage) for proof in proofs)
    if not proven or not all(report.strictly_whole if strict else report.whole for report in reports):
        raise typer.Exit(1)


def _prove(recording: "Recording", report: "DayReport") -> "Proof":
    from feedhandler.recording.books import prove

    with common.reading(f"proving {report.source}", 2 * recording.size) as done:
        try:
            return prove(recording, progress=done)
        except KeyboardInterrupt:
            talk(f"stopped; the books of {report.source} were compared in part only, so nothing is said of them")
            raise typer.Exit(1) from None


def _show_proof(proof: "Proof", report: "DayReport") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=False)
    moments = f"{proof.hashes:,} moments, played from the beginning and from each of {proof.snapshots:,} snapshots"
    if proof.ok:
        verdict = f"books: all {proof.compared:,} hashes are as they were, at {moments}"
    elif not proof.compared:
        verdict = f"books: no hash could be compared, of {moments}"
    else:
        verdict = f"books: {len(proof.differences) + proof.more:,} differences, at {moments}"
    console.print()
    console.print(Text(verdict, style="bold green" if proof.ok else "bold red"))
    for difference in proof.differences[:DIFFERENCES_SHOWN]:
        console.print(Text(f"  {report.time(difference.ts)}  {difference}"))
    if (left := len(proof.differences) + proof.more - DIFFERENCES_SHOWN) > 0:
        console.print(Text(f"  and {left:,} more; --json has those that are named"))
    for sentence in proof.damage:
        console.print(Text(f"  {sentence}", style="yellow"))


def _show(report: object, first: bool) -> None:
    from rich.console import Console

    from feedhandler.check import DayReport, table

    assert isinstance(report, DayReport)
    console = Console(highlight=False, soft_wrap=False)
    if not first:
        console.print()
    console.print(table.draw(report))

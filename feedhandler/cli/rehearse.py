"""feedhandler rehearse: a stream through the live code with faults and without, every book compared."""

from pathlib import Path
from typing import Annotated

import typer

from feedhandler.cli.common import Json, Protocol, emit, examples, known_protocol, progress, talk

Seed = Annotated[int, typer.Option(min=0, help="Of the faults, and of the simulated day.")]


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler rehearse simulate --seed 7",
        "feedhandler rehearse day.pcap.gz --faults hard.toml --seed 7 --plot gaps.png",
        "feedhandler rehearse day.itch.gz --json",
    )
    app.command(short_help="Rehearse losing packets: was any book ever LIVE and wrong?", epilog=examples(*commands))(
        rehearse
    )


def rehearse(
    capture: Annotated[
        str,
        typer.Argument(metavar="CAPTURE|simulate", help="A capture's file, or a simulated day.", show_default=False),
    ],
    faults: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Script of faults (TOML).", show_default=False),
    ] = None,
    seed: Seed = 1,
    protocol: Protocol = "",
    lines: Annotated[int, typer.Option(min=1, max=16, help="Lines that carry the stream, each with its faults.")] = 2,
    messages: Annotated[int, typer.Option(min=1, help="simulate: messages of the day.")] = 200_000,
    symbols: Annotated[int, typer.Option(min=1, help="simulate: symbols.")] = 50,
    rate: Annotated[float, typer.Option(min=1, help="simulate, BinaryFILE: messages per second.")] = 100_000,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Draw the gaps into a PNG.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Rehearse losing packets: was any book ever LIVE and wrong?

    The stream goes through the live code twice, in virtual time: without faults on one line, and with the faults of
    the script on all lines, with request and snapshot servers to recover from. Every book is compared at every message
    where it claims to be LIVE. Exit code 1 when one was wrong, with the seed and the first differing level. Without
    --faults a hard script is taken: loss, bursts, duplicates, reordering, skew, an outage of all lines.
    """
    from feedhandler import picture
    from feedhandler import rehearse as rehearsal
    from feedhandler.rehearse import plot as drawing
    from feedhandler.simulate.faults import Faults

    if plot is not None:
        drawing.figures()
        picture.writable(plot, "rehearse: --plot")
    script = Faults.default() if faults is None else Faults.load(faults)
    if capture == "simulate":
        source = rehearsal.from_simulation(symbols=symbols, messages=messages, seed=seed, rate=rate)
    elif not Path(capture).is_file():
        raise typer.BadParameter(f"{capture!r} is neither a file nor the word simulate", param_hint="CAPTURE|simulate")
    else:
        source = rehearsal.from_capture(capture, known_protocol(protocol), rate=rate)
    with progress(f"rehearsing {source.name}", source.total, "") as done:
        try:
            report = rehearsal.rehearse(source, script, seed=seed, lines=lines, progress=done)
        except KeyboardInterrupt:
            talk("stopped; no report, since it would be one of the beginning only")
            raise typer.Exit(1) from None
    if plot is not None:
        drawing.plot(report, plot)
    if as_json:
        emit(report.as_json())
    else:
        from rich.console import Console

        Console(highlight=False).print(rehearsal.draw(report))
        for note in report.notes:
            talk(note)
    if not report.ok:
        talk(f"a book was LIVE and wrong; this seed shows it again: --seed {seed}")
        raise typer.Exit(1)

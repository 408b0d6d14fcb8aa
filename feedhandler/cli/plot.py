"""feedhandler plot: a recording as a picture."""

from pathlib import Path
from typing import Annotated

import typer

from feedhandler.cli.common import (
    Channels,
    From,
    Protocol,
    Recorded,
    Symbols,
    To,
    examples,
    known_protocol,
    named,
    reading,
    talk,
)

KINDS = ("depth", "rates", "interarrival", "latency", "margin")


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler plot days/20261120 --kind depth --symbols AAPL --from 09:30 --to 10:00",
        "feedhandler plot days/20261120 --kind rates -o rates.html",
        "feedhandler plot feed.pcap --kind margin -o margin.png",
    )
    app.command(short_help="Draw a recording: book depth, rates, gaps in time.", epilog=examples(*commands))(plot)


def plot(
    recording: Recorded,
    kind: Annotated[
        str,
        typer.Option(
            metavar="|".join(KINDS),
            help="depth: a heat map of a book over time, with trades; rates: messages a second; interarrival: time "
            "between packets; latency: received − sent; margin: by how much a line is before the other.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="By its ending: .png (.svg, .pdf), or .html, interactive. [KIND.png]"
        ),
    ] = None,
    symbols: Symbols = "",
    begin: From = "",
    end: To = "",
    channels: Channels = "",
    levels: Annotated[int, typer.Option(min=1, max=64, help="Price levels a side, of depth.")] = 20,
    protocol: Protocol = "",
) -> None:
    """Draw a recording: the depth of a book, rates, or how times between and behind messages are distributed."""
    from feedhandler.plot import draw
    from feedhandler.recording import Recording

    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(KINDS)}", param_hint="--kind")
    path = output or Path(f"{kind}.png")
    opened = Recording(*recording, protocol=known_protocol(protocol))
    try:
        with reading("reading", opened.size or None) as done:
            made = draw(
                opened,
                kind,
                path,
                symbols=named(symbols) or (),
                start=begin,
                end=end,
                channels=named(channels),
                levels=levels,
                progress=done,
            )
    except KeyboardInterrupt:
        talk(f"stopped; {path} is not written")
        raise typer.Exit(1) from None
    for sentence in made.said[: -1 if made.damage else None]:
        talk(sentence)
    talk(f"written: {path}")
    if made.damage is not None:
        raise made.damage

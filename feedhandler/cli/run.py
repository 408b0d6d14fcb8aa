"""feedhandler run: a handler from a configuration file, until Ctrl-C."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from feedhandler.cli.common import examples, talk

ConfigPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG", exists=True, dir_okay=False, help="A TOML file; see --example.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(epilog=examples("feedhandler run --example > feed.toml", "feedhandler run feed.toml"))(run)


def run(
    config: ConfigPath = None,
    example: Annotated[bool, typer.Option("--example", help="Print a documented configuration and end.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and end.")] = False,
) -> None:
    """Receive a feed and publish its books in shared memory, until Ctrl-C.

    Strategies attach by the name of the segment, from any number of processes.
    """
    from feedhandler import config as configuration

    if example:
        sys.stdout.write(configuration.example())
        return
    if config is None:
        raise typer.BadParameter("a configuration file is wanted; print one with --example", param_hint="CONFIG")
    feed = configuration.load(config)
    if check:
        lines = sum(len(channel.lines) for channel in feed.channels)
        talk(f"{config}: good: segment {feed.shm.name}, channels {len(feed.channels)}, lines {lines}")
        return

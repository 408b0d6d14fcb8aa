"""feedhandler run: a handler from a configuration file, until Ctrl-C."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feedhandler.cli.common import examples, stopped_by_signals, talk

if TYPE_CHECKING:
    from feedhandler.config import Channel
    from feedhandler.handler import Handler

LOOK_SECONDS = 0.2  # between two looks at the channels

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

    Strategies attach by the name of the segment, from any number of processes. What goes wrong with a channel, and when
    it is whole again, is said on stderr.
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
    from feedhandler.handler import Handler
    from feedhandler.news import News

    with Handler(feed) as handler, stopped_by_signals(handler.stop):
        handler.start()
        for sentence in in_effect(handler):
            talk(sentence)
        told, stamps, news = 0, "", News(handler.segment.channels)
        while True:
            told, notes = handler.notes.since(told)
            for sentence in [*notes, *news.look()]:
                talk(sentence)
            if handler.wait(LOOK_SECONDS):
                break
            if not stamps and (stamps := timestamps(handler)):
                talk(stamps)
        messages = sum(handler.types.values())
    talk(f"stopped after {messages:,} messages; {feed.shm.name} is gone")


def in_effect(handler: "Handler") -> list[str]:
    """What is in effect: segment, backend, lines, cpu and what the kernel granted; then how each channel recovers."""
    status = handler.status()
    cpu = ",".join(map(str, status["cpu"])) or "any"
    granted = [handler.receiver.line_status(number)["receive_buffer"] for number in range(len(status["lines"]))]
    buffers = f", receive buffers {min(granted):,} bytes" if min(granted) else ""
    fifo = f", SCHED_FIFO {status['priority']}" if status["priority"] else ""
    lines = ", ".join(f"{line['channel']}/{line['name']}" for line in status["lines"])
    first = (
        f"publishing {status['segment']}: {status['backend']}, lines {lines}, wait {status['wait']}, cpu {cpu}"
        f"{fifo}{buffers}"
    )
    return [first, *filter(None, map(way_back, handler.config.channels))]


def way_back(channel: "Channel") -> str:
    """How a channel of datagrams gets back what all of its lines lost; of a stream, whose server repeats it, ""."""
    if any(line.host for line in channel.lines):
        return ""
    ways = []
    if channel.recovery is not None:
        if channel.recovery.servers:
            ways.append(f"retransmissions from {', '.join(channel.recovery.servers)}")
        if channel.recovery.snapshot:
            ways.append(f"snapshots from {channel.recovery.snapshot}")
    if not ways:
        return f"channel {channel.name} has no [channel.recovery]: after a gap it is STALE until its next session"
    return f"channel {channel.name} recovers by {', then by '.join(ways)}"


def timestamps(handler: "Handler") -> str:
    """How the packets of each line are stamped, once every line has brought one; until then ""."""
    lines = handler.status()["lines"]
    if any(line["timestamps"] == "NONE" for line in lines):
        return ""
    kinds = (f"{line['channel']}/{line['name']} {line['timestamps'].lower()}" for line in lines)
    return "packets on every line, timestamps: " + ", ".join(kinds)

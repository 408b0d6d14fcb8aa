"""feedhandler run: a handler from a configuration file, until Ctrl-C; a recording first, if asked for."""

import contextlib
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feedhandler.cli.common import examples, progress, stopped_by_signals, talk

if TYPE_CHECKING:
    from feedhandler.config import Channel, Config
    from feedhandler.handler import Handler
    from feedhandler.handover import Handover

LOOK_SECONDS = 0.2  # between two looks at the channels
SAY_SECONDS = 5.0  # between two sentences about how far a recording is played

ConfigPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG", exists=True, dir_okay=False, help="A TOML file; see --example.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(
        short_help="Receive a feed and publish its books in shared memory.",
        epilog=examples(
            "feedhandler run --example > feed.toml",
            "feedhandler run feed.toml",
            "feedhandler run feed.toml --from /var/feeds/20261122",
        ),
    )(run)


def run(
    config: ConfigPath = None,
    example: Annotated[bool, typer.Option("--example", help="Print a documented configuration and end.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and end.")] = False,
    day: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="DAY",
            exists=True,
            help="A recording to play first, as fast as it goes: a recorded day, or captures of the lines.",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        int, typer.Option(metavar="MIB", min=1, max=1 << 20, help="With --from: room for what comes meanwhile.")
    ] = 256,
    patience: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.0, help="With --from: wait so long for a recorder that still writes."),
    ] = 10.0,
) -> None:
    """Receive a feed and publish its books in shared memory, until Ctrl-C.

    Strategies attach by the name of the segment, from any number of processes. What goes wrong with a channel, and when
    it is whole again, is said on stderr. With --from, the day's recording is played first, that of a recorder still at
    work too, and nothing is lost or doubled between it and the live feed; until a channel is whole to the present, its
    books are RECOVERING, CATCHING_UP.
    """
    from feedhandler import config as configuration

    if example:
        sys.stdout.write(configuration.example())
        return
    if config is None:
        raise typer.BadParameter("a configuration file is wanted; print one with --example", param_hint="CONFIG")
    feed = configuration.load(config)
    if check:
        from feedhandler.session.websocket_signing import Signer

        for channel in feed.channels:
            if channel.websocket:
                Signer.of(channel)  # what it would sign with is at hand
        lines = sum(len(channel.lines) for channel in feed.channels)
        talk(f"{config}: good: segment {feed.shm.name}, channels {len(feed.channels)}, lines {lines}")
        if day:
            talk(recorded_lines(feed, day))
        return
    from feedhandler.handler import Handler
    from feedhandler.news import News

    handover = recorded(day, memory, patience) if day else None
    with contextlib.ExitStack() as stack:
        handler = stack.enter_context(Handler(feed, handover=handover))
        stack.enter_context(stopped_by_signals(handler.stop))
        handler.start()
        story = CatchingUp(handover, stack) if handover else None
        for sentence in in_effect(handler):
            talk(sentence)
        told, stamps, news = 0, "", News(handler.segment.channels)
        while True:
            told, notes = handler.notes.since(told)
            for sentence in [*notes, *(story.look() if story else []), *news.look()]:
                talk(sentence)
            if handler.wait(LOOK_SECONDS):
                break
            if not stamps and (story is None or story.live) and (stamps := timestamps(handler)):
                talk(stamps)
        messages = sum(handler.types.values())
    talk(f"stopped after {messages:,} messages; {feed.shm.name} is gone")


def recorded(paths: list[Path], memory: int, patience: float) -> "Handover":
    """The recording to play first."""
    from feedhandler.handover import Handover
    from feedhandler.recording import Recording

    return Handover(Recording(*paths), memory=memory << 20, patience_s=patience)


def recorded_lines(feed: "Config", paths: list[Path]) -> str:
    """Which lines of the recording are which of the configuration's, in a sentence."""
    from feedhandler.handover import match
    from feedhandler.recording import Recording

    recording = Recording(*paths)
    lines = [f"{channel.name}/{line.name}" for channel in feed.channels for line in channel.lines]
    channels, numbers = match(feed, recording)
    named = [f"{line.channel}/{line.name}" for name in channels for line in recording.lines if line.channel == name]
    pairs = [f"{name} for {lines[number]}" for name, number in zip(named, numbers, strict=True) if number >= 0]
    return f"the recording has {', '.join(pairs)}"


class CatchingUp:
    """How far a handler has caught up: a bar on a terminal while the recording is played, sentences now and then."""

    def __init__(self, handover: "Handover", stack: contextlib.ExitStack) -> None:
        self._handover = handover
        self._bar = stack.enter_context(contextlib.ExitStack())
        self._move = self._bar.enter_context(progress("recording", handover.size or None, "bytes"))
        self._began = time.monotonic()
        self._due = self._began + SAY_SECONDS
        self._over = False
        self.live = False
        """Packets are those of the live lines."""

    def look(self) -> list[str]:
        """What is to be said now."""
        if self._over:
            return []
        done = self._handover.progress()
        self._move(done.offset)
        self.live = done.state in ("live", "present")
        if done.state != "replay":
            self._bar.close()
        if done.state == "present":
            self._over = True
            lost = f", {done.lost:,} for want of room lost" if done.lost else ""
            return [
                f"caught up with the live feed in {time.monotonic() - self._began:.1f} s: "
                f"{done.played:,} recorded packets, {done.kept:,} kept meanwhile{lost}"
            ]
        now = time.monotonic()
        if now < self._due:
            return []
        self._due = now + SAY_SECONDS
        if done.state == "replay":
            behind = f", behind by {timedelta(seconds=done.behind_ns // 10**9)}" if done.behind_ns else ""
            return [f"played {done.played:,} recorded packets{behind}; {done.waiting:,} live ones wait"]
        if done.state == "kept":
            return [f"the recording is over; {done.waiting:,} live packets that came meanwhile wait"]
        return ["live; not every channel is known to be whole to the present yet"]


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

"""feedhandler replay: a capture into a handler that others can attach to, or onto the wire."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedhandler.cli.books import Day, Instruments, Orders
from feedhandler.cli.common import (
    Capture,
    Protocol,
    address_and_port,
    examples,
    known_protocol,
    progress,
    size_of,
    stop_after,
    stopped_by_signals,
    talk,
)

if TYPE_CHECKING:
    from feedhandler.simulate import Replayer
    from feedhandler.simulate.venue import Venue


class Target(StrEnum):
    """Where a capture goes."""

    HANDLER = "handler"
    MULTICAST = "multicast"
    SOUPBINTCP = "soupbintcp"


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler replay day.itch.gz --name replay",
        "feedhandler replay feed.pcap --to multicast --speed 10",
        "feedhandler replay feed.pcap --to multicast --speed 1 --faults faults.toml --seed 7",
        "feedhandler replay day.itch.gz --to multicast --rate 100000 --requests 26410 --glimpse 26420",
        "feedhandler replay day.itch.gz --to soupbintcp --port 26477 --rate 100000",
    )
    app.command(epilog=examples(*commands))(replay)


def replay(
    capture: Capture,
    to: Annotated[Target, typer.Option(help="Into a handler of its own, or onto the wire.")] = Target.HANDLER,
    protocol: Protocol = "",
    name: Annotated[str, typer.Option(help="handler: of the segment that others attach to.")] = "replay",
    depth: Annotated[int, typer.Option(min=1, max=64, help="handler: price levels per side.")] = 10,
    orders: Orders = 2_000_000,
    instruments: Instruments = 16384,
    date: Day = None,
    keep: Annotated[
        bool, typer.Option(help="handler: keep the segment until Ctrl-C once the capture has ended.")
    ] = True,
    speed: Annotated[float, typer.Option(min=0, help="Wire: times the recorded pace; 0 = as fast as it can.")] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Wire: messages per second instead; not for packets.")] = 0,
    group: Annotated[
        list[str] | None, typer.Option(help="multicast: ADDRESS:PORT of a line, once for each.  [default: lines A, B]")
    ] = None,
    interface: Annotated[str, typer.Option(help="multicast: send here; lo keeps packets on this host.")] = "lo",
    ttl: Annotated[int, typer.Option(min=0, max=255, help="multicast: hops; 0 keeps packets on this host.")] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="soupbintcp: on 127.0.0.1; 0 = a free one.")] = 0,
    requests: Annotated[
        int, typer.Option(metavar="PORT", help="multicast of a BinaryFILE: a MoldUDP64 request server there.")
    ] = -1,
    glimpse: Annotated[
        int, typer.Option(metavar="PORT", help="multicast of an ITCH BinaryFILE: a GLIMPSE snapshot server there.")
    ] = -1,
    faults: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="multicast: what goes wrong; TOML."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="multicast: the same seed gives the same faults.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="Wire: end after so long; 0 = at the end of the capture.")] = 0,
) -> None:
    """Play a capture: into a handler whose books others attach to, or onto the wire."""
    known = known_protocol(protocol)
    pace: dict[str, Any] = {"speed": speed or None, "rate": rate or None}
    if to is not Target.MULTICAST and (requests >= 0 or glimpse >= 0 or faults is not None):
        raise typer.BadParameter("--requests, --glimpse and --faults go with --to multicast")
    if to is Target.HANDLER:
        sizes = {"depth": depth, "orders": orders, "instruments": instruments}
        into_handler(capture, known, name, keep, {**sizes, "day": date.date() if date else None})
    elif to is Target.MULTICAST:
        from feedhandler.simulate import Faults
        from feedhandler.simulate.venue import Venue

        script = Faults.load(faults) if faults is not None else None
        source = replayer(capture, known)
        if source.packets and (requests >= 0 or glimpse >= 0):
            raise typer.BadParameter("servers need a BinaryFILE: a capture's packets bear sessions of their own")
        options = {"interface": interface, "ttl": ttl, "faults": script, "seed": seed, **pace}
        options["framing"] = source.framing
        ports = (requests if requests >= 0 else None, glimpse if glimpse >= 0 else None)
        venue = Venue(*ports, faults=script, seed=seed)
        onto_lines(capture, source, [address_and_port(text) for text in group or []], options, seconds, venue)
    else:
        to_clients(capture, known, port, pace, seconds)


def into_handler(capture: Path, protocol: str | None, name: str, keep: bool, sizes: dict[str, Any]) -> None:
    """The capture through a handler at full speed; its segment stays until Ctrl-C, if it is to be kept."""
    from feedhandler.handler import open_capture, play
    from feedhandler.news import complaints

    with open_capture(capture, protocol, name=name, **sizes) as handler:
        talk(f"publishing {capture} as {name}; attach, or: feedhandler top {name}")
        began = time.monotonic()
        try:
            with progress(f"playing {capture.name}", size_of(capture), "bytes") as done:
                error = play(handler, done)
            seconds = time.monotonic() - began
            messages = sum(handler.types.values())
            talk(f"{messages:,} messages in {seconds:.1f} s ({messages / max(seconds, 1e-9):,.0f} a second)")
            for sentence in complaints(handler.segment):
                talk(sentence)
            if error is not None:
                raise error
            if keep:
                talk(f"{name} stays until Ctrl-C")
                while True:
                    time.sleep(3600)
        except KeyboardInterrupt:
            talk(f"stopped; {name} is gone")


def onto_lines(
    capture: Path,
    source: "Replayer",
    lines: list[tuple[str, int]],
    options: dict[str, Any],
    seconds: float,
    venue: "Venue",
) -> None:
    """The capture onto multicast lines: packets as they were, or messages in new packets, with servers beside them."""
    from feedhandler.simulate import MulticastSender
    from feedhandler.simulate.multicast import LINES

    with venue:
        sender = MulticastSender(lines or LINES, taps=venue.taps, **options)
        where = ", ".join(f"{address}:{port}" for address, port in sender.lines)
        with stopped_by_signals(sender.stop), stop_after(seconds, sender.stop), progress("sending", None) as done:
            talk(f"sending {capture} to {where} on {options['interface']}; Ctrl-C ends it")
            if venue.servers:
                talk(venue.places())
            source.send(sender, done)
    talk(f"sent {sender.stats['messages']:,} messages; at worst {sender.stats['latest_ns'] / 1000:,.0f} µs late")


def to_clients(capture: Path, protocol: str | None, port: int, pace: dict[str, Any], seconds: float) -> None:
    """The capture's messages to the clients of a SoupBinTCP server on loopback."""
    from feedhandler.simulate import SoupServer

    source = replayer(capture, protocol)
    server = SoupServer("127.0.0.1", port, **pace)
    with stopped_by_signals(server.stop), stop_after(seconds, server.stop), progress("serving", None) as done:
        talk(f"serving {capture} on 127.0.0.1:{server.port}; Ctrl-C ends it")
        source.serve(server, done)
    talk(f"served {server.stats['messages']:,} messages to {server.stats['logins']} logins")


def replayer(capture: Path, protocol: str | None) -> "Replayer":
    """The lines of the capture's first channel; a BinaryFILE needs no recognising."""
    from feedhandler.capture_config import capture_config
    from feedhandler.receive import capture as captures
    from feedhandler.simulate import Replayer

    if captures.kind(capture).format == "binaryfile":
        return Replayer(capture)
    config, _ = capture_config(capture, protocol)
    channel = config.channels[0]
    return Replayer(capture, lines=[(line.group, line.port) for line in channel.lines], framing=channel.session)

"""feedhandler replay: a recording onto the wire, to TCP clients, or into a handler that others can attach to."""

import contextlib
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedhandler.cli.books import Day, Instruments, Orders
from feedhandler.cli.common import (
    Channels,
    From,
    Json,
    Protocol,
    Recorded,
    Symbols,
    To,
    address_and_port,
    emit,
    examples,
    known_protocol,
    named,
    progress,
    reading,
    stop_after,
    stopped_by_signals,
    talk,
    window,
)

if TYPE_CHECKING:
    from feedhandler.handler import Handler
    from feedhandler.recording import Recording
    from feedhandler.replay import Choice, PacingReport, Rewrite, Source, Steps
    from feedhandler.simulate import Faults


class Target(StrEnum):
    """Where a recording goes."""

    HANDLER = "handler"
    MULTICAST = "multicast"
    SOUPBINTCP = "soupbintcp"
    WEBSOCKET = "websocket"


LOOP_SAYS = (
    "each pass bears the sessions and sequence numbers of the recording: to a receiver the second one is a restart "
    "under the same session id, or old packets come again; start receivers anew, or expect STALE"
)
PICK_SAYS = (
    "only these symbols' messages, in new packets under new numbers, each once and the same on every line: a hole in "
    "the recorded numbers would be a gap"
)


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler replay /data/nasdaq/20260105 --onto multicast",
        "feedhandler replay DAY --onto multicast --from 09:30 --to 09:35 --speed 10",
        "feedhandler replay monday.pcap tuesday.pcapng.zst --onto multicast --rewrite A=239.1.2.3:26400",
        "feedhandler replay DAY --onto multicast --pps 20000 --spin --json",
        "feedhandler replay DAY --onto multicast --spin --spinners 2 --cpu 2,3",
        "feedhandler replay DAY --onto multicast --symbols AAPL,MSFT --rate 50000",
        "feedhandler replay DAY --onto multicast --step",
        "feedhandler replay day.itch.gz --onto soupbintcp --port 26477 --rate 100000",
        "feedhandler replay day.itch.gz --onto multicast --rate 100000 --requests 26410 --glimpse 26420",
        "feedhandler replay feed.pcap --onto multicast --faults faults.toml --seed 7",
        "feedhandler replay DAY --onto websocket --port 8765 --speed 10",
        "feedhandler replay DAY --name replay --speed 1",
    )
    app.command(
        short_help="Play a recording onto the wire, to TCP clients, into a handler.", epilog=examples(*commands)
    )(replay)


def replay(
    recorded: Recorded,
    onto: Annotated[Target, typer.Option(help="Into a handler of its own, or onto the wire.")] = Target.HANDLER,
    begin: From = "",
    end: To = "",
    channels: Channels = "",
    symbols: Symbols = "",
    protocol: Protocol = "",
    speed: Annotated[
        float | None,
        typer.Option(
            min=0, help="Times the recorded pace; 0 = as fast as it can.  \\[default: 1 on the wire, 0 into a handler]"
        ),
    ] = None,
    pps: Annotated[float, typer.Option(min=0, help="Packets per second instead, of all lines together.")] = 0,
    rate: Annotated[
        float,
        typer.Option(min=0, help="Messages per second instead, in new packets (BinaryFILE, --symbols, soupbintcp)."),
    ] = 0,
    step: Annotated[
        bool,
        typer.Option("--step", help="One packet for each key press, or line of standard input (a number: so many)."),
    ] = False,
    loop: Annotated[
        int, typer.Option(min=0, help="Play it so many times, paced through; 0 = for ever. Numbers stay as recorded.")
    ] = 1,
    spin: Annotated[
        bool | None,
        typer.Option(
            "--spin/--no-spin", help="Wait without sleeping, to the microsecond.  \\[default: if there is a second CPU]"
        ),
    ] = None,
    spinners: Annotated[
        int,
        typer.Option(
            min=1, max=2, help="multicast: 2 threads race for each packet, on 2 CPUs: on time though one is taken away."
        ),
    ] = 1,
    cpu: Annotated[
        str, typer.Option(metavar="N[,N]", help="multicast: send from this CPU, spinners from these.  \\[default: any]")
    ] = "",
    priority: Annotated[
        int, typer.Option(min=0, max=99, help="multicast: SCHED_FIFO, for a busy machine; without spinning.")
    ] = 0,
    rewrite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FROM=ADDRESS:PORT",
            help="multicast: send a line elsewhere; FROM is its recorded ADDRESS:PORT, or its name (A, itch/A).",
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(help="multicast: ADDRESS:PORT of the lines, in order, once for each.  \\[default: as recorded]"),
    ] = None,
    interface: Annotated[str, typer.Option(help="multicast: send here; lo keeps packets on this host.")] = "lo",
    ttl: Annotated[int, typer.Option(min=0, max=255, help="multicast: hops; 0 keeps packets on this host.")] = 0,
    faults: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="multicast: what goes wrong; TOML."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="multicast: the same seed gives the same faults.")] = 1,
    requests: Annotated[
        int, typer.Option(metavar="PORT", help="multicast of a BinaryFILE: a MoldUDP64 request server there.")
    ] = -1,
    glimpse: Annotated[
        int, typer.Option(metavar="PORT", help="multicast of an ITCH BinaryFILE: a GLIMPSE snapshot server there.")
    ] = -1,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="soupbintcp, websocket: on 127.0.0.1; 0 = a free one.")
    ] = 0,
    clients: Annotated[
        int,
        typer.Option(
            min=1,
            help="soupbintcp: ends when so many have had everything; websocket: begins when each line has them.",
        ),
    ] = 1,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="PEM", exists=True, dir_okay=False, help="websocket: serve wss with this certificate."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="PEM", exists=True, dir_okay=False, help="websocket: its key, if it stands apart."),
    ] = None,
    name: Annotated[str, typer.Option(help="handler: of the segment that others attach to.")] = "replay",
    depth: Annotated[int, typer.Option(min=1, max=64, help="handler: price levels per side.")] = 10,
    orders: Orders = 2_000_000,
    instruments: Instruments = 16384,
    date: Day = None,
    keep: Annotated[
        bool, typer.Option(help="handler: keep the segment until Ctrl-C once the recording has ended.")
    ] = True,
    seconds: Annotated[float, typer.Option(min=0, help="End after so long; 0 = at the end of the recording.")] = 0,
    as_json: Json = False,
) -> None:
    """Play recorded days: onto the wire as they were, to TCP clients, or into a handler whose books others attach to.

    Several days and files are merged in the order of their times. How well the pace was kept is said at the end.
    """
    from feedhandler.recording import Recording
    from feedhandler.replay import Choice, Rewrite

    if end in list(Target):
        raise typer.BadParameter(f"a time; the target is named by --onto {end}", param_hint="--to")
    if onto is not Target.MULTICAST and (requests >= 0 or glimpse >= 0 or faults is not None or rewrite or group):
        raise typer.BadParameter("--onto multicast only: --requests --glimpse --faults --rewrite --group")
    cpus = numbers(cpu)
    if onto is not Target.MULTICAST and (cpus or priority or spinners > 1):
        raise typer.BadParameter("of the sending thread, --onto multicast only: --spinners --cpu --priority")
    paces = [name for name, given in (("--speed", speed), ("--pps", pps), ("--rate", rate), ("--step", step)) if given]
    if len(paces) > 1:
        raise typer.BadParameter("one pace at a time", param_hint=" and ".join(paces))
    recording = Recording(*recorded, protocol=known_protocol(protocol))
    binary = any(file.kind.format == "binaryfile" for file in recording.files)
    if not pps and not rate and not step and speed is None:
        speed = 0.0 if onto is Target.HANDLER else 1.0
    picked = tuple(named(symbols) or ())
    names = named(channels)
    choice = Choice(window(recording, begin, end), tuple(names) if names else None, picked, None, loop)
    if picked:
        talk(PICK_SAYS)
    if loop != 1:
        talk(LOOP_SAYS)
    pace = {"speed": speed or None, "pps": pps or None, "rate": rate or None}
    if onto is Target.SOUPBINTCP:
        if pps or step:
            raise typer.BadParameter("a TCP stream has no packets: --speed, or --rate of messages", param_hint=paces[0])
        outcome = to_clients(recording, choice, port, clients, pace, seconds)
    elif onto is Target.WEBSOCKET:
        if pps or rate or step or picked or loop != 1:
            raise typer.BadParameter("its texts as they came: --speed, --from, --to and --channels only")
        files = {"certificate": str(certificate or ""), "key": str(key or "")}
        outcome = to_websockets(recording, choice, {"port": port, "clients": clients, **files}, speed or None, seconds)
    elif onto is Target.HANDLER:
        if rate:
            raise typer.BadParameter("it is of messages in new packets: --speed or --pps", param_hint="--rate")
        sizes = {"name": name, "depth": depth, "orders": orders, "instruments": instruments}
        outcome = into_handler(
            recording, choice, pace, step, keep, {**sizes, "day": date.date() if date else None}, seconds, bool(spin)
        )
    else:
        from feedhandler.simulate import Faults

        script = Faults.load(faults) if faults is not None else None
        way: dict[str, Any] = {"interface": interface, "ttl": ttl}
        targets = [address_and_port(text) for text in group or []]
        disturbed: dict[str, Any] = {
            "faults": script,
            "seed": seed,
            "spin": spin,
            "spinners": spinners,
            "cpu": cpus,
            "priority": priority,
        }
        if (requests >= 0 or glimpse >= 0) and not binary:
            raise typer.BadParameter("servers need a BinaryFILE: a capture's packets bear sessions of their own")
        if binary:
            if pps or step or rewrite:
                raise typer.BadParameter("a BinaryFILE has no packets: --speed or --rate of messages, and --group")
            ports = (requests if requests >= 0 else None, glimpse if glimpse >= 0 else None)
            outcome = in_new_packets(recording, choice, targets, {**way, **disturbed, "pace": pace}, seconds, ports)
        elif step:
            if script is not None or picked or spinners > 1:
                raise typer.BadParameter(
                    "packets as they were, one by one: no --faults, no --symbols, no --spinners", param_hint="--step"
                )
            outcome = step_by_step(recording, choice, targets, Rewrite(rewrite or ()), way)
        else:
            if rate and not picked:
                raise typer.BadParameter(
                    "packets stay as they are: --pps is their rate; messages are re-packed with --symbols",
                    param_hint="--rate",
                )
            choice = replace(choice, rate=pace["rate"])
            options = {**way, **disturbed, "groups": targets, "speed": pace["speed"], "rate": pace["pps"]}
            outcome = onto_lines(recording, choice, {**options, "rewrite": Rewrite(rewrite or ())}, seconds)
    if as_json:
        emit(outcome)


def numbers(cpus: str) -> tuple[int, ...]:
    """CPUs as they are given on the command line. Raises typer.BadParameter."""
    given = named(cpus) or []
    if not all(cpu.isdecimal() for cpu in given):
        raise typer.BadParameter(f"{cpus!r} is no CPU's number, nor two: 2 or 2,3", param_hint="--cpu")
    return tuple(int(cpu) for cpu in given)


def onto_lines(recording: "Recording", choice: "Choice", options: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The packets onto multicast lines."""
    from feedhandler.replay import WireReplay, backlog
    from feedhandler.replay.rewrite import text

    with WireReplay(recording, choice, **options) as played:
        for line in played.source.left_out:
            why = f"served by --onto soupbintcp --channels {line.channel}" if line.stream else "it went to one host"
            talk(f"{text(line)} is left out: {why}")
        pairs = zip(played.lines, played.destinations, strict=True)
        where = ", ".join(f"{line.name} to {address}:{port}" for line, (address, port) in pairs)
        try:
            with (
                stopped_by_signals(played.stop),
                stop_after(seconds, played.stop),
                progress("sending", played.source.size, units(played.source)) as done,
            ):
                talk(f"sending {title(recording)} on {options['interface']}: {where}; Ctrl-C ends it")
                played.run(done)
        finally:
            say(played.report)
            tell_unmet(played.source)
            if played.backlog_drops:
                talk(backlog.sentence(played.backlog_drops))
        return played.outcome()


def in_new_packets(
    recording: "Recording",
    choice: "Choice",
    targets: list[tuple[str, int]],
    options: dict[str, Any],
    seconds: float,
    ports: tuple[int | None, int | None],
) -> dict[str, Any]:
    """The messages of a BinaryFILE as MoldUDP64 onto multicast lines, with servers beside them."""
    from feedhandler.replay import PacingReport, messages
    from feedhandler.replay.wire import spins
    from feedhandler.simulate import MulticastSender
    from feedhandler.simulate.multicast import LINES
    from feedhandler.simulate.venue import Venue

    pace = options.pop("pace")
    script: Faults | None = options["faults"]
    paced = pace["speed"] is not None or pace["rate"] is not None
    options["spin"] = spins() and paced and not options["priority"] if options["spin"] is None else options["spin"]
    with Venue(*ports, faults=script, seed=options["seed"]) as venue:
        lines = targets or LINES
        sender = MulticastSender(lines, taps=venue.taps, speed=pace["speed"], rate=pace["rate"], **options)
        where = ", ".join(f"{address}:{port}" for address, port in sender.lines)

        def report() -> PacingReport:
            counts = {"preempted": sender.preempted, "spinners": sender.spinners}
            return PacingReport.of(sender.schedule, starved=sender.stats["starved"], **counts)

        try:
            with (
                stopped_by_signals(sender.stop),
                stop_after(seconds, sender.stop),
                messages(recording, choice) as found,
                progress("sending", found.source.size, units(found.source)) as done,
            ):
                talk(f"sending {title(recording)} to {where} on {options['interface']}; Ctrl-C ends it")
                if venue.servers:
                    talk(venue.places())
                sender.run(found.blocks, lambda _: done(found.source.done))
        finally:
            talk(
                f"sent {sender.stats['messages']:,} messages; at worst {sender.stats['latest_ns'] / 1000:,.0f} µs late"
            )
            say(report())
            tell_unmet(found.source)
        return {**sender.stats, **venue.stats, "pacing": report().as_dict()}


def to_clients(
    recording: "Recording", choice: "Choice", port: int, clients: int, pace: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """The messages of one channel to the clients of a SoupBinTCP server on loopback."""
    from feedhandler.replay import PacingReport, messages
    from feedhandler.replay.source import opening
    from feedhandler.simulate import SoupServer

    name, first = opening(recording, choice)
    server = SoupServer(
        "127.0.0.1",
        port,
        speed=pace["speed"],
        rate=pace["rate"],
        clients=clients,
        session=name[:10] or "RECORDED",
        first=first,
    )
    with server:
        with (
            stopped_by_signals(server.stop),
            stop_after(seconds, server.stop),
            messages(recording, choice) as found,
            progress("serving", found.source.size, units(found.source)) as done,
        ):
            talk(
                f"serving {title(recording)} on 127.0.0.1:{server.port} as session {server.account.session} from "
                f"number {first}; Ctrl-C ends it"
            )
            server.run(found.blocks, lambda _: done(found.source.done))
        report = PacingReport.of(server.kept)
        talk(f"served {server.stats['messages']:,} messages to {server.stats['logins']} logins")
        say(report, "messages")
        tell_unmet(found.source)
        if found.source.missing:
            talk(f"{found.source.missing:,} numbers have no message in the recording: those behind them moved up")
    return {"port": server.port, **server.stats, "missing": found.source.missing, "pacing": report.as_dict()}


def to_websockets(
    recording: "Recording", choice: "Choice", options: dict[str, Any], speed: float | None, seconds: float
) -> dict[str, Any]:
    """The recorded WebSockets to the clients of a server on loopback, their REST answers by the same port."""
    from feedhandler.replay.websocket import WebSocketReplay, places

    server = WebSocketReplay(recording, choice, speed=speed, **options)

    def ready() -> None:
        where = ", ".join(places(server.lines))
        talk(f"serving {title(recording)} at {server.url} ({where}); begins with its clients; Ctrl-C ends it")

    with (
        stopped_by_signals(server.stop),
        stop_after(seconds, server.stop),
        progress("serving", server.source.size, units(server.source)) as done,
    ):
        began = time.monotonic()
        server.run(ready, done)
    stats = server.stats
    late = f"; at worst {server.latest_ns / 1e6:,.1f} ms late" if speed else ""
    talk(f"served {stats['texts']:,} texts to {stats['clients']} clients, {stats['requests']} requests{late}")
    return {"port": server.port, **stats, "seconds": time.monotonic() - began, "latest_ns": server.latest_ns}


def into_handler(
    recording: "Recording",
    choice: "Choice",
    pace: dict[str, Any],
    step: bool,
    keep: bool,
    sizes: dict[str, Any],
    seconds: float,
    spin: bool,
) -> dict[str, Any]:
    """The recording through a handler; its segment stays until Ctrl-C, if it is to be kept."""
    from feedhandler.handler import open_recording, play
    from feedhandler.news import complaints
    from feedhandler.replay import HandlerReplay
    from feedhandler.simulate._schedule import Schedule

    plain = not (pace["speed"] or pace["pps"] or step or choice.symbols or choice.loops != 1 or seconds)
    if plain:
        names = recording.channels(choice.channels)
        handler = open_recording(recording, choice.window, channels=names, **sizes)
        played = None
    else:
        schedule = Schedule(speed=pace["speed"], rate=pace["pps"])
        played = HandlerReplay(recording, choice, schedule, spin=spin, steps=step)
        handler = played.open(**sizes)
    name = sizes["name"]
    with handler:
        talk(f"publishing {title(recording)} as {name}; attach, or: feedhandler top {name}")
        began = time.monotonic()
        try:
            with stop_after(seconds, played.stop) if played is not None else contextlib.nullcontext():
                if played is not None and step:
                    with played.source:
                        stepping(played.steps(handler))
                elif played is not None:
                    with progress("playing", played.source.size, units(played.source)) as done:
                        played.run(handler, done)
                else:
                    with reading("playing", recording.size) as done:
                        error = play(handler, done)
                        if error is not None:
                            raise error
        except KeyboardInterrupt:
            talk(f"stopped; {name} is gone")
            keep = False
        finally:
            outcome = summary(handler, time.monotonic() - began)
            if played is not None:
                say(played.report)
                tell_unmet(played.source)
                outcome["pacing"] = played.report.as_dict()
            for sentence in complaints(handler.segment):
                talk(sentence)
        if keep:
            talk(f"{name} stays until Ctrl-C")
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                talk(f"stopped; {name} is gone")
    return outcome


def summary(handler: "Handler", seconds: float) -> dict[str, Any]:
    """What went through, said and for JSON."""
    messages = sum(handler.types.values())
    talk(f"{messages:,} messages in {seconds:.1f} s ({messages / max(seconds, 1e-9):,.0f} a second)")
    return {"messages": messages, "types": handler.types, "seconds": seconds}


def step_by_step(
    recording: "Recording",
    choice: "Choice",
    targets: list[tuple[str, int]],
    rewrite: "Rewrite",
    way: dict[str, Any],
) -> dict[str, Any]:
    """Packets onto the wire one by one, each told as it goes."""
    from feedhandler.replay.wire import StepReplay

    with StepReplay(recording, choice, groups=targets, rewrite=rewrite, **way) as played, played.source:
        stepping(played.steps)
    if played.source.error is not None:
        raise played.source.error
    return {"packets": played.steps.packets}


def stepping(steps: "Steps") -> None:
    """One step after the other, as the person asks for them."""
    import sys

    from feedhandler.replay.steps import HELP, KEYS, counts

    talk(KEYS if sys.stdin.isatty() else HELP)
    try:
        for count in counts():
            said = 0
            for sentence in steps.step(count):
                said += 1
                talk(sentence)
            if said < count:
                talk("the recording is over")
                break
    except KeyboardInterrupt:
        pass
    talk(f"{steps.packets:,} packets, step by step")


def tell_unmet(source: "Source") -> None:
    """Say which of the symbols asked for never came: a name that is misspelt replays nothing."""
    if source.unmet:
        talk(f"no message names {', '.join(source.unmet)}: write symbols as the feed does")


def say(report: "PacingReport", what: str = "packets") -> None:
    """How well the pace was kept."""
    for sentence in report.sentences(what):
        talk(sentence)


def units(source: "Source") -> str:
    """What its progress counts."""
    return "" if source.size is None else "bytes"


def title(recording: "Recording") -> str:
    """The recording in a word."""
    first, *more = recording.paths
    return f"{first.name or first}{f' and {len(more)} more' if more else ''}"

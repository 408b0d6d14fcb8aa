"""feedhandler simulate: an exchange in a box, to a file, to multicast lines, over SoupBinTCP, or as a crypto venue."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedhandler.cli.common import (
    Json,
    address_and_port,
    emit,
    examples,
    progress,
    stop_after,
    stopped_by_signals,
    talk,
)

if TYPE_CHECKING:
    from feedhandler.simulate import Exchange, Faults, MulticastSender
    from feedhandler.simulate.venue import Venue

Output = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        dir_okay=False,
        help=".itch (BinaryFILE), .pcap or .pcapng, and .gz or .zst of these; without it, onto the wire.",
        show_default=False,
    ),
]
DEFAULT_MESSAGES = 1_000_000


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    commands = (
        "feedhandler simulate day.itch.zst --symbols 500 --messages 10000000",
        "feedhandler simulate --rate 50000 --seconds 60 --skew-us 20",
        "feedhandler simulate --soupbintcp 26477",
        "feedhandler simulate --transport rdma --interface eth0 --ttl 1",
        "feedhandler simulate --requests 26410 --glimpse 26420 --faults faults.toml --seed 7",
        "feedhandler simulate --requests 26410",
        "feedhandler simulate --glimpse 26420 --end-s 30",
        "feedhandler simulate --example > faults.toml",
        "feedhandler simulate lossy.pcapng --faults faults.toml --seed 7",
        "feedhandler simulate --venue binance --config venue.toml --seconds 60",
        "feedhandler simulate --venue kraken --symbols 2 --rate 500 --faults venue-faults.toml",
        "feedhandler simulate --venue kraken --example > venue-faults.toml",
        "feedhandler simulate --venue coinbase --credentials secrets --config coinbase.toml",
        "feedhandler simulate --venue bitstamp --play BITSTAMP.http.0.0.gz --play BITSTAMP.ws.1.0.gz --speed 10",
    )
    app.command(
        short_help="Simulate a Nasdaq-like day or a crypto venue.",
        epilog=examples(*commands),
    )(simulate)


def simulate(
    file: Output = None,
    venue: Annotated[
        str,
        typer.Option(metavar="NAME", help="A crypto venue instead: binance, binance_usdm, coinbase, kraken, bitstamp."),
    ] = "",
    symbols: Annotated[
        int | None, typer.Option(help="1 to 8000; 100 unless told. Of a venue its first so many, all unless told.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes, and the same faults.")] = 1,
    messages: Annotated[
        int, typer.Option(min=0, help="Length of the day; 0 = rate × seconds where both are set, else a million.")
    ] = 0,
    orders: Annotated[int, typer.Option(min=0, help="Orders that rest in the books; 0 = 150 a symbol.")] = 0,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0, help="Messages per second on the wire; 0 = as fast as it can. 50000 unless told, of a venue 200."
        ),
    ] = None,
    speed: Annotated[float, typer.Option(min=0, help="Instead: so many times the pace of the day's own clock.")] = 0,
    seconds: Annotated[
        float, typer.Option(min=0, help="End after so long on the wire; 0 = at the end of the day.")
    ] = 0,
    group: Annotated[
        list[str] | None, typer.Option(help="ADDRESS:PORT of a line, once for each.  [default: lines A and B]")
    ] = None,
    interface: Annotated[str, typer.Option(help="Send here; lo keeps all packets on this host.")] = "lo",
    ttl: Annotated[int, typer.Option(min=0, max=255, help="Hops; 0 keeps all packets on this host.")] = 0,
    transport: Annotated[
        str, typer.Option(metavar="udp|rdma", help="rdma: datagrams of RoCE, by the interface's RDMA device.")
    ] = "udp",
    skew_us: Annotated[float, typer.Option(min=0, help="Each line this much later than the one before.")] = 0,
    session: Annotated[str, typer.Option(help="Session id, at most 10 characters.")] = "SIMULATED",
    soupbintcp: Annotated[
        int | None, typer.Option(metavar="PORT", min=0, max=65535, help="Serve SoupBinTCP there instead.")
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Beside the lines: a MoldUDP64 request server there; 0 = a free port.",
        ),
    ] = None,
    glimpse: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Beside the lines: a GLIMPSE snapshot server there; 0 = a free port."
        ),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="What goes wrong on the lines and in the servers: TOML."
        ),
    ] = None,
    end_s: Annotated[
        float, typer.Option(min=0, max=300, help="Say the end of the session for so long; servers answer until then.")
    ] = 0.3,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of a venue: its WebSocket; 0 = a free port.", show_default=False)
    ] = 0,
    rest_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of a venue: its REST service; 0 = a free port.", show_default=False)
    ] = 0,
    play: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LOG",
            exists=True,
            dir_okay=False,
            help="Of a venue: play a recorded log; once for each of its files.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Of a venue: write there how a handler follows it."),
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Of a venue: keep its test certificates there, not for its life only.",
        ),
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Of coinbase: subscriptions are signed, with its key, secret and passphrase there, made up if absent.",
        ),
    ] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print a script of faults with every key, and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Simulate a Nasdaq-like day, from the directory to the close; or, with --venue, a crypto venue on loopback.

    Nothing leaves this host unless an interface is named.
    """
    if venue:
        from feedhandler.cli.simulate_venue import chosen, refuse, serve_venue
        from feedhandler.simulate.venues import VenueFaults

        refuse(file=file, messages=messages, orders=orders, group=group, skew_us=skew_us, requests=requests is not None)
        refuse(soupbintcp=soupbintcp is not None, glimpse=glimpse is not None, transport=transport != "udp", ttl=ttl)
        chosen(venue, symbols)
        if example:
            sys.stdout.write(VenueFaults.example())
            return
        served = serve_venue(
            venue,
            symbols=symbols,
            rate=rate,
            seed=seed,
            seconds=seconds,
            speed=speed,
            ports=(port, rest_port),
            logs=play or [],
            config=config,
            folder=certificates,
            script=VenueFaults.load(faults) if faults is not None else None,
            credentials=credentials,
        )
        if as_json:
            emit(served)
        return
    if port or rest_port or play or config or certificates or credentials:
        raise typer.BadParameter(
            "--port, --rest-port, --play, --config, --certificates, --credentials are of a venue: name it with --venue"
        )
    elsewhere = {"--group": group, "--interface": interface != "lo", "--ttl": ttl, "--skew-us": skew_us}
    paced = {"--rate": rate, "--speed": speed, "--seconds": seconds}
    _refuse("of lines on the wire", elsewhere if file is not None or soupbintcp is not None else {})
    _refuse("a file is written as fast as it goes", paced if file is not None else {})
    symbols = 100 if symbols is None else symbols
    rate = 50_000 if rate is None else rate
    from feedhandler.simulate import Exchange, Faults
    from feedhandler.simulate.venue import Venue

    if example:
        sys.stdout.write(Faults.example())
        return
    script = Faults.load(faults) if faults is not None else None
    if (requests is not None or glimpse is not None) and (file is not None or soupbintcp is not None):
        raise typer.BadParameter("servers stand beside multicast lines: leave out FILE and --soupbintcp")
    if transport not in ("udp", "rdma"):
        raise typer.BadParameter(f"udp or rdma, not {transport}", param_hint="--transport")
    if transport == "rdma" and (file is not None or soupbintcp is not None):
        raise typer.BadParameter("it is of multicast lines: leave out FILE and --soupbintcp", param_hint="--transport")
    if script is not None and soupbintcp is not None:
        raise typer.BadParameter("faults are of packets: TCP loses none", param_hint="--faults")
    if not messages:
        messages = round(rate * seconds) if file is None and rate and seconds and not speed else DEFAULT_MESSAGES
    exchange = Exchange(symbols=symbols, seed=seed, messages=messages, live_orders=orders or None)
    pace = {"speed": speed} if speed else {"rate": rate or None}
    if file is not None:
        outcome = to_file(file, exchange, script, seed, session)
    elif soupbintcp is not None:
        outcome = to_clients(soupbintcp, exchange, session, pace, seconds)
    else:
        options: dict[str, Any] = {"interface": interface, "ttl": ttl, "skew_us": skew_us, "session": session, **pace}
        options |= {"faults": script, "seed": seed, "end_repeats": max(1, round(end_s * 10))}
        beside = Venue(requests, glimpse, session=session, faults=script, seed=seed, messages=messages)
        outcome = to_lines(group or [], exchange, options, seconds, beside, transport)
    if as_json:
        emit(outcome)


def _refuse(why: str, options: dict[str, Any]) -> None:
    """Options that would do nothing. Raises BadParameter."""
    if given := [name for name, value in options.items() if value]:
        raise typer.BadParameter(f"{why}: leave out {', '.join(given)}")


def to_file(file: Path, exchange: "Exchange", faults: "Faults | None", seed: int, session: str) -> dict[str, Any]:
    """The day into a file; an unfinished one is removed."""
    from feedhandler.simulate import write

    try:
        with progress(f"writing {file.name}", exchange.market.messages) as done:
            written = write(file, exchange, done, faults=faults, seed=seed, session=session)
    except KeyboardInterrupt:
        file.unlink(missing_ok=True)
        talk(f"stopped after {exchange.messages:,} messages; {file} was removed")
        raise typer.Exit(1) from None
    size = file.stat().st_size
    talk(f"{file}: {written:,} messages of {len(exchange.symbols):,} symbols, {size:,} bytes")
    return {"file": str(file), "messages": written, "bytes": size, "types": exchange.types}


def to_lines(
    groups: list[str],
    exchange: "Exchange",
    options: dict[str, Any],
    seconds: float,
    venue: "Venue",
    transport: str = "udp",
) -> dict[str, Any]:
    """The day onto multicast lines, until it is over, Ctrl-C, or `seconds`; the servers stand beside it meanwhile."""
    from feedhandler.simulate import MulticastSender
    from feedhandler.simulate.multicast import LINES

    kind: type[MulticastSender] = MulticastSender
    if transport == "rdma":
        from feedhandler.simulate.rdma import RdmaSender

        kind = RdmaSender
    lines = [address_and_port(group) for group in groups] or list(LINES)
    with venue:
        outcome = send(kind(lines, taps=venue.taps, **options), exchange, seconds, venue)
    return {"types": exchange.types, **outcome}


def send(sender: "MulticastSender", exchange: "Exchange", seconds: float, venue: "Venue") -> dict[str, Any]:
    """What to_lines() does while the servers run."""
    where = ", ".join(f"{address}:{port}" for address, port in sender.lines)
    total = exchange.market.messages
    with stopped_by_signals(sender.stop), stop_after(seconds, sender.stop), progress("sending", total) as done:
        talk(f"sending {exchange.market.messages:,} messages to {where} on {sender.interface}; Ctrl-C ends it")
        if venue.servers:
            talk(venue.places())
        sender.run(exchange, done)
    talk(f"sent {sender.stats['messages']:,} messages")
    for name, counts in venue.stats.items():
        talk(f"{name}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items() if what != "port"))
    return {**sender.stats, **venue.stats}


def to_clients(port: int, exchange: "Exchange", session: str, pace: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The day to the clients of a SoupBinTCP server on loopback."""
    from feedhandler.simulate import SoupServer

    server = SoupServer("127.0.0.1", port, session=session, **pace)
    total = exchange.market.messages
    with stopped_by_signals(server.stop), stop_after(seconds, server.stop), progress("serving", total) as done:
        talk(f"serving {exchange.market.messages:,} messages on 127.0.0.1:{server.port}; Ctrl-C ends it")
        server.run(exchange, done)
    talk(f"served {server.stats['messages']:,} messages to {server.stats['logins']} logins")
    return {"port": server.port, "types": exchange.types, **server.stats}

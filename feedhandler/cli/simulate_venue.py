"""feedhandler simulate --venue: a crypto venue on loopback, until Ctrl-C."""

import base64
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from feedhandler.cli.common import progress, stop_after, stopped_by_signals, talk
from feedhandler.settings import toml

if TYPE_CHECKING:
    from feedhandler.simulate.venues import VenueFaults
    from feedhandler.simulate.venues.server import VenueServer

RATE = 200.0  # of what happens a second, unless told
LOOK_S = 0.1  # between two looks at how far it is
COUNTS = ("connections", "messages", "bytes", "requests", "refused", "limited")


def refuse(**given: Any) -> None:
    """Options that are of another kind of simulation. Raises BadParameter."""
    for name, value in given.items():
        if value:
            option = "FILE" if name == "file" else f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"a venue has no use for it: leave out {option}", param_hint="--venue")


def chosen(venue: str, count: int | None) -> list[str] | None:
    """The first so many symbols of a venue; None for all that it knows. Raises BadParameter."""
    from feedhandler.simulate.venues import NAMES
    from feedhandler.simulate.venues.server import VENUES

    if venue not in NAMES:
        raise typer.BadParameter(f"one of {', '.join(NAMES)}, not {venue}", param_hint="--venue")
    known = [market.symbol for market in VENUES[venue].markets]
    if count is None:
        return None
    if not 1 <= count <= len(known):
        raise typer.BadParameter(f"{venue} trades 1 to {len(known)} symbols, not {count}", param_hint="--symbols")
    return known[:count]


def serve_venue(
    venue: str,
    *,
    symbols: int | None,
    rate: float | None,
    seed: int,
    seconds: float,
    speed: float,
    ports: tuple[int, int],
    logs: Sequence[Path],
    config: Path | None,
    folder: Path | None,
    script: "VenueFaults | None",
    credentials: Path | None,
) -> dict[str, Any]:
    """Serve until Ctrl-C, `seconds`, or the end of the logs that are played; what was done."""
    from feedhandler.simulate.venues import serve

    stop = threading.Event()
    server = serve(
        venue,
        None if logs else chosen(venue, symbols),
        rate=RATE if rate is None else rate,
        seed=seed,
        logs=logs,
        speed=speed or 1.0,
        port=ports[0],
        rest_port=ports[1],
        faults=script,
        folder=folder,
        credentials=None if credentials is None else customer(venue, credentials),
    )
    with server:
        talk(f"{venue} on {' and '.join(server.urls)}, REST on {server.rest}")
        talk(f"trading {', '.join(server.symbols)}; its authority: {server.ca}")
        if config is not None:
            part = config.with_name(config.name + ".part")  # whoever waits for the file finds it whole
            part.write_text(configuration(server, config.stem, credentials=credentials))
            part.replace(config)
            talk(f"a handler of it: feedhandler run {config}")
        talk("Ctrl-C ends it")
        with stopped_by_signals(stop.set), stop_after(seconds, stop.set), progress("serving", None) as done:
            while not stop.wait(LOOK_S) and not (logs and server.finished.is_set() and not server.clients):
                done(server.stats["messages"])
        outcome = summary(server)
    tell(venue, outcome)
    return outcome


def customer(venue: str, folder: Path) -> dict[str, str]:
    """The credentials of a venue's one customer: the files of a folder; made up where there are none."""
    from feedhandler.simulate.venues.server import VENUES

    names = VENUES[venue].asks
    if not names:
        raise typer.BadParameter(f"{venue} asks nobody who he is", param_hint="--credentials")
    made = {"secret": base64.b64encode(secrets.token_bytes(64)).decode()}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(made.get(name) or secrets.token_hex(16))
    return {name: (folder / name).read_text().strip() for name in names}


def summary(server: "VenueServer") -> dict[str, Any]:
    """What a venue has done."""
    counts = {name: server.stats[name] for name in COUNTS}
    return {"venue": server.dialect.name, "symbols": list(server.symbols), **counts, "faults": server.faults}


def tell(venue: str, outcome: Mapping[str, Any]) -> None:
    """The summary for people."""
    talk(f"{venue}: " + ", ".join(f"{outcome[name]:,} {name}" for name in COUNTS))
    if outcome["faults"]:
        talk("faults: " + ", ".join(f"{count:,} {kind}" for kind, count in outcome["faults"].items()))


def configuration(server: "VenueServer", name: str = "", lines: int = 2, credentials: Path | None = None) -> str:
    """The configuration of a handler that follows this venue.

    `name`: of its segment, if it can be. `credentials`: the folder of what it signs with; then it takes what must be
    signed.
    """
    from feedhandler.decode.venue import venue

    name = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else server.dialect.name
    symbols = ", ".join(f'"{symbol}"' for symbol in server.symbols)
    text = [
        "[shm]",
        f'name = "{name}"',
        "",
        "[[channel]]",
        f'name = "{server.dialect.name}"',
        f'protocol = "{server.dialect.name}"',
        f"symbols = [{symbols}]",
        f'rest = "{server.rest}"',
    ]
    if server.dialect.name == "binance":
        text.append("depth = 1000  # of a snapshot: 5000 levels weigh five times as much with the venue's limit")
    if credentials is not None:
        known = venue(server.dialect.name)
        streams = [*known.signed, *(stream for stream in known.defaults if stream not in known.books)]
        text += [f"streams = {toml(streams)}", "", "[channel.credentials]"]
        text += [f"{each} = {toml(f'file:{(credentials / each).absolute()}')}" for each in known.credentials]
    for line, url in zip("ABCD"[:lines], server.urls, strict=False):
        text += ["", "[[channel.line]]", f'name = "{line}"', f'url = "{url}"', f'ca = "{server.ca}"']
    return "\n".join(text) + "\n"

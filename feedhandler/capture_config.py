"""The configuration that fits a capture: its streams recognised, and put together as lines of channels."""

from __future__ import annotations

import contextlib
import itertools
from datetime import date
from pathlib import Path
from typing import TypedDict, Unpack

from feedhandler import decode
from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.errors import CaptureError, ConfigError
from feedhandler.receive import capture
from feedhandler.recognise import recognise, session_of

PACKETS_LOOKED_AT = 4096  # of a capture, to recognise its streams by ...
PAYLOADS_LOOKED_AT = 8  # ... so many packets of each


class CaptureOptions(TypedDict, total=False):
    """What can be said of a capture's handler; what is left out is as in `DEFAULTS`."""

    depth: int
    """Price levels published per side."""
    day: date | None
    """The session date; None = the first packet's."""
    name: str | None
    """Of the segment, so that others can attach; None = it has no name."""
    ring_events: int
    orders: int
    instruments: int


DEFAULTS: CaptureOptions = {
    "depth": 10,
    "day": None,
    "name": None,
    "ring_events": 65536,
    "orders": 2_000_000,
    "instruments": 16384,
}


def capture_config(
    path: str | Path, protocol: str | None = None, **options: Unpack[CaptureOptions]
) -> tuple[Config, int]:
    """The configuration for a capture, and the time of its first packet (ns since the Unix epoch, 0 = it has none).

    Streams of packets to different addresses are lines of one channel when they speak the same protocol in the same
    session. Streams of no known protocol are left out. Raises ConfigError when none is left, or `protocol` is unknown.
    """
    unknown = set(options) - set(DEFAULTS)
    if unknown:
        raise TypeError(f"a capture has no option {min(unknown)!r}; it takes: {', '.join(DEFAULTS)}")
    chosen: CaptureOptions = {**DEFAULTS, **options}
    day = chosen["day"]
    path = Path(path)
    if protocol is not None:
        decode.protocol(protocol)
    if capture.kind(path).format == "binaryfile":
        speaks = protocol or recognise(_first_messages(path), framing="binaryfile")
        if speaks is None:
            raise ConfigError(f"{path}: the protocol cannot be recognised; name it with --protocol ({_known()})")
        line = Line(name="file", port=0)
        channels = [_channel(speaks, "binaryfile", "file", (line,), day)]
        first_packet = 0
    else:
        channels, first_packet = _packet_channels(path, protocol, day)
    config = Config(
        Shm(name=chosen["name"] or "capture"),
        Books(depth=chosen["depth"], instruments=chosen["instruments"], orders=chosen["orders"]),
        Ring(events=chosen["ring_events"]),
        Run(),
        tuple(channels),
    )
    return config, first_packet


def _packet_channels(path: Path, protocol: str | None, day: date | None) -> tuple[list[Channel], int]:
    found: dict[tuple[str, bytes], list[Line]] = {}
    first_packet = 0
    heads = _heads(path)
    for stream in capture.streams(path):
        payloads = heads.get(stream.destination) or [stream.first_payload]
        speaks = recognise(payloads, only=protocol)
        if speaks is None:
            continue
        first_packet = min(first_packet or stream.first_ts, stream.first_ts)
        which = session_of(decode.protocol(speaks).framing, payloads)
        if not which.strip(b"\0 "):  # blank sample wrappers name no session: each stream stands for itself
            which = f"{stream.address}:{stream.port}".encode()
        lines = found.setdefault((speaks, which), [])
        lines.append(Line(name="ABCDEFGHIJKLMNOPQRSTUVWXYZ"[len(lines) % 26], group=stream.address, port=stream.port))
    if not found:
        raise ConfigError(
            f"{path}: no stream of a known protocol in it"
            + (f" ({protocol} was asked for)" if protocol else "")
            + f"; name one with --protocol ({_known()})"
        )
    return [
        _channel(speaks, decode.protocol(speaks).framing, f"{speaks}-{number}", tuple(lines), day)
        for number, ((speaks, _), lines) in enumerate(found.items())
    ], first_packet


def _heads(path: Path) -> dict[tuple[str, int], list[bytes]]:
    """The first payloads of each destination, found among the first packets of the file; damage ends the search."""
    heads: dict[tuple[str, int], list[bytes]] = {}
    with contextlib.suppress(CaptureError):
        for _, destination, payload in itertools.islice(capture.read(path), PACKETS_LOOKED_AT):
            head = heads.setdefault(destination, [])
            if len(head) < PAYLOADS_LOOKED_AT:
                head.append(payload)
    return heads


def _channel(protocol: str, framing: str, name: str, lines: tuple[Line, ...], day: date | None) -> Channel:
    return Channel(
        name=name[:15],
        protocol=protocol,
        session=framing,
        venue=decode.protocol(protocol).venue,
        date=day,
        lines=lines,
    )


def _first_messages(path: Path) -> list[bytes]:
    """The first runs of messages of a BinaryFILE, as they stand in it."""
    with capture.receiver(path) as file:
        runs = [payload for _, _, payload in file.drain(1)]
        if not runs and file.error is not None:
            raise CaptureError(str(file.error))
    return runs


def _known() -> str:
    return ", ".join(decode.protocols())


__all__ = ["CaptureOptions", "capture_config"]

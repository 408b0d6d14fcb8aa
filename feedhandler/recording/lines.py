"""The lines of a recording: told by its manifest or the comments of its interfaces, else recognised."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from feedhandler import decode, session
from feedhandler.errors import RecordingError
from feedhandler.receive import capture
from feedhandler.recognise import recognise, session_of

if TYPE_CHECKING:
    from feedhandler.config import Channel
    from feedhandler.recording.manifest import Manifest

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NAME_MAX = 15  # characters of a channel's or a line's name


@dataclass(frozen=True, slots=True)
class RecordedLine:
    """A line as it was recorded."""

    channel: str
    name: str
    protocol: str
    """Of its messages; "" where it could not be recognised."""
    session: str
    """The session protocol that carries them: moldudp64, soupbintcp, binaryfile, …"""
    venue: str = ""
    date: date | None = None
    """The session date, where it was configured."""
    destination: capture.Destination | None = None
    """Where its packets go: address, port and, if only one sender's were taken, its address; of a stream the server's
    address and port; None of a BinaryFILE, which has no packets."""
    stream: bool = False


def framing_of(line: RecordedLine | Channel) -> session.Framing:
    """What cuts the packets of a line, or of a channel's lines, into messages, as its protocol wants it."""
    return session.framing(line.session, **decode.protocol(line.protocol).options_of(line.session))


class Lines:
    """The lines of all files together, in order of appearance; which of them a file has is told by its `Part`."""

    def __init__(self, protocol: str | None = None) -> None:
        self.protocol = protocol
        self.known: list[RecordedLine] = []
        self.unknown: list[RecordedLine] = []
        """Destinations of which nobody knows the protocol."""
        self.of: dict[Path, list[RecordedLine]] = {}
        """Those of a known protocol that a file has."""
        self.packets: dict[capture.Destination, int] = {}
        """Of the unknown ones."""
        self._sessions: dict[tuple[str, bytes], str] = {}

    def add(self, line: RecordedLine) -> RecordedLine:
        """The line as it stands among the others: the one that is there, if they are the same."""
        for known in self.known:
            if (known.channel, known.name) == (line.channel, line.name):
                if (known.protocol, known.session, known.stream) == (line.protocol, line.session, line.stream):
                    return known
                line = replace(line, channel=self._free(line.channel))
        self.known.append(line)
        return line

    def recognise(self, stream: capture.Stream) -> RecordedLine:
        """The line of a destination of which nothing was told."""
        for line in (*self.known, *self.unknown):
            if line.destination is not None and not line.stream and line.destination[:2] == stream.destination:
                if line.protocol == "":
                    self.packets[stream.destination] += stream.packets
                return line
        speaks = recognise(stream.payloads, only=self.protocol)
        if speaks is None:
            line = RecordedLine("", f"{stream.address}:{stream.port}", "", "", destination=stream.destination)
            self.packets[stream.destination] = stream.packets
            self.unknown.append(line)
            return line
        protocol = decode.protocol(speaks)
        which = session_of(protocol.framing, stream.payloads)
        if not which.strip(b"\0 "):  # blank sample wrappers name no session: each stream stands for itself
            which = f"{stream.address}:{stream.port}".encode()
        channel = self._sessions.get((speaks, which))
        if channel is None:
            channel = self._sessions[speaks, which] = self._free(f"{speaks}-{len(self._sessions)}"[:NAME_MAX])
        name = LETTERS[sum(line.channel == channel for line in self.known) % 26]
        line = RecordedLine(channel, name, speaks, protocol.framing, protocol.venue, destination=stream.destination)
        self.known.append(line)
        return line

    def recognise_server(self, server: capture.Stream) -> RecordedLine | None:
        """The line of a sender of TCP segments; None where it speaks no session that we know."""
        for line in self.known:
            if line.stream and line.destination == server.destination:
                return line
        for name in session.framings():
            if name == "binaryfile" or not session.framing(name).stream:
                continue
            speaks = recognise(server.payloads, only=self.protocol, framing=name)
            if speaks is not None:
                channel = self._free(f"{speaks}-{len(channels_of(self.known))}"[:NAME_MAX])
                venue = decode.protocol(speaks).venue
                line = RecordedLine(channel, "A", speaks, name, venue, None, server.destination, True)
                self.known.append(line)
                return line
        return None

    def _free(self, channel: str) -> str:
        """The name, or one like it, that no channel has."""
        taken = {line.channel for line in self.known}
        number, free = 2, channel
        while free in taken:
            free = f"{channel[: NAME_MAX - 1 - len(str(number))]}-{number}"
            number += 1
        return free


def of_manifest(manifest: Manifest) -> list[RecordedLine]:
    """The lines that a manifest names."""
    found = []
    for channel in manifest.channels:
        day = date.fromisoformat(channel.date) if channel.date else None
        for line in channel.lines:
            address = line.host if line.stream else line.group
            target: capture.Destination = (address, line.port, line.source) if line.source else (address, line.port)
            found.append(
                RecordedLine(
                    channel.name, line.name, channel.protocol, channel.session, channel.venue, day, target, line.stream
                )
            )
    return found


def of_comment(comment: str, file: Path) -> RecordedLine | None:
    """The line that an interface's comment describes; None for a comment that is not our recorder's.

    Raises RecordingError when it is, and is not understood.
    """
    if not comment.startswith('{"feedhandler"'):
        return None
    try:
        said = json.loads(comment)
        stream, port = bool(said["stream"]), int(said["port"])
        address = str(said["host"] if stream else said["group"])
        source = str(said.get("source") or "")
        day = date.fromisoformat(said["date"]) if said.get("date") else None
        channel, name, protocol, session = (str(said[key]) for key in ("channel", "line", "protocol", "session"))
        venue = str(said.get("venue") or "")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordingError(
            f"{file}: the comment of an interface is not understood ({error!r}): {comment[:200]}; it was written by "
            "another version of feedhandler, or changed since"
        ) from None
    target: capture.Destination = (address, port, source) if source else (address, port)
    return RecordedLine(channel, name, protocol, session, venue, day, target, stream)


def first_of(name: str, among: Sequence[str], what: str) -> str:
    """`name`, which must be one of those. Raises RecordingError with the nearest of them."""
    if name in among:
        return name
    import difflib

    near = sorted(difflib.get_close_matches(name, among, 3, 0.5)) or list(among)[:8]
    raise RecordingError(f"no {what} {name!r} in the recording; there are: {', '.join(near)}")


def channels_of(lines: Iterable[RecordedLine]) -> list[str]:
    """The names of the channels, in order of appearance."""
    return list(dict.fromkeys(line.channel for line in lines))

"""The lines of a recording: how the configuration's channels appear in files and manifest."""

import json
from dataclasses import dataclass

import feedhandler
from feedhandler.config import Config
from feedhandler.record import frames
from feedhandler.recording.manifest import Channel, Line
from feedhandler.session import framing


@dataclass(frozen=True, slots=True)
class RecordedLine:
    """A line of the receiver, by its number."""

    channel: str
    line: Line
    interface: str
    """Its name in a pcapng file: the line's; with several channels, behind the channel's."""
    description: str
    comment: str
    """All there is to know about it, as JSON: who finds the file alone can read it."""


def channels(config: Config) -> tuple[Channel, ...]:
    """The channels of a configuration as the manifest has them; nothing has come yet."""
    found = []
    for channel in config.channels:
        stream = framing(channel.session).stream
        lines = tuple(
            Line(line.name, line.group, line.port, line.host, line.source, line.interface, stream)
            for line in channel.lines
        )
        date = channel.date.isoformat() if channel.date else None
        found.append(Channel(channel.name, channel.protocol, channel.session, channel.venue, date, lines))
    return tuple(found)


def recorded(found: tuple[Channel, ...]) -> list[RecordedLine]:
    """All lines, in the order in which the receiver numbers them."""
    lines = []
    for channel in found:
        for line in channel.lines:
            name = line.name if len(found) == 1 else f"{channel.name}/{line.name}"
            place = f"{line.host}:{line.port}" if line.stream else f"{line.group}:{line.port} on {line.interface}"
            about = {
                "feedhandler": 1,
                "channel": channel.name,
                "line": line.name,
                "protocol": channel.protocol,
                "session": channel.session,
                "venue": channel.venue,
                "date": channel.date,
                "stream": line.stream,
                **({"host": line.host} if line.stream else {"group": line.group}),
                "port": line.port,
                "source": line.source,
            }
            comment = json.dumps(about, separators=(",", ":"))
            description = f"{channel.protocol} in {channel.session}, {place}"
            lines.append(RecordedLine(channel.name, line, name, description, comment))
    return lines


def head(lines: list[RecordedLine], pcapng: bool) -> bytes:
    """The beginning of each file."""
    if not pcapng:
        return frames.pcap_head()
    application = f"feedhandler {feedhandler.__version__}"
    parts = [frames.interface(line.interface, line.description, line.comment) for line in lines]
    return frames.section(application) + b"".join(parts)

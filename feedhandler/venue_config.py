"""Channels of JSON over WebSockets in the configuration: their keys, what must go together, and the control line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from feedhandler.errors import ConfigError
from feedhandler.settings import Kind, Place, shown

if TYPE_CHECKING:
    from feedhandler.config import Channel, Line

CONTROL = "control"  # the name of a JSON channel's last line, which it makes itself
WEBSOCKET = "websocket"
LINE_KEYS = ("url", "ca", "certificate", "key", "address")
CHANNEL_KEYS = ("symbols", "streams", "rest", "depth", "deflate", "max_message_bytes")
PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}


def url(first: str, second: str, optional: bool = False) -> Kind:
    """A URL of one of two schemes, without user, password and fragment."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        if not value and optional:
            return value
        if not value.isascii() or re.search(r"[\x00-\x20\x7f\"\\]", value):
            raise ValueError
        parts = urlsplit(value)
        if parts.scheme not in (first, second) or not parts.hostname or parts.fragment or "@" in parts.netloc:
            raise ValueError
        if parts.port == 0:
            raise ValueError
        return value

    return Kind(f'a URL as "{first}://host/path" or "{second}://host/path"' + (', or ""' if optional else ""), read)


def file() -> Kind:
    """The path of a file that is there, or "" for none."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or (value and not Path(value).is_file()):
            raise ValueError
        return value

    return Kind('the path of a PEM file that is there, or ""', read)


def reach() -> Kind:
    """ "host" or "host:port", or "" for none; an IPv6 address stands in brackets where a port follows it."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        if value:
            host_and_port(value, 1)
        return value

    return Kind('a host or address, with or without ":port", or ""', read)


def host_and_port(value: str, port: int) -> tuple[str, int]:
    """Both parts of "host:port"; of "host" alone with the port given. Raises ValueError."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.%\w]+)\](?::([0-9]{1,5}))?|([^\s/:\[\]]+)(?::([0-9]{1,5}))?", value)
    if match is None:
        if value.count(":") > 1 and re.fullmatch(r"[0-9A-Fa-f:.]+", value):
            return value, port
        raise ValueError
    number = int(match[2] or match[4] or port)
    if not 1 <= number <= 65535:
        raise ValueError
    return match[1] or match[3], number


def where(address: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    return parts.hostname, parts.port or PORTS[parts.scheme]


def line(found: Line, place: Place) -> Line:
    """A line with the host and port that its URL names; what does not go together is an error."""
    if found.name == CONTROL:
        raise place.at("name").error("another name", f'"{CONTROL}", which the channel\'s own control line bears')
    plain = urlsplit(found.url).scheme == "ws"
    for name in ("ca", "certificate", "key"):
        if plain and getattr(found, name):
            raise place.at(name).error('"" with a ws:// URL, which is not encrypted', shown(getattr(found, name)))
    if found.key and not found.certificate:
        raise place.at("key").error("a certificate beside the key", "none")
    host, port = where(found.url)
    return replace(found, host=host, port=port)


def control_line(made: type[Line], channel: int) -> Line:
    """The line on which our own control path speaks; `channel` keeps its address apart from the others'."""
    return made(name=CONTROL, host="127.0.0.1", port=channel + 1)


def check(channel: Channel, place: Place) -> None:
    """Symbols, streams and depth are what the venue has; two sessions cannot be spoken at once."""
    from feedhandler.decode.venue import venue

    known = venue(channel.protocol)
    wanted: tuple[tuple[str, tuple[str, ...], int], ...] = (
        ("symbols", (), 0),
        ("streams", channel.streams, 0),
        ("depth", channel.streams, channel.depth),
    )
    for key, streams, depth in wanted:
        try:
            known.feed(channel.symbols, streams, depth)
        except ConfigError as error:
            raise place.at(key).error("what the venue has", f"a mistake: {error}") from None
    if channel.credentials is None:
        return
    here = place.at("credentials")
    if not known.credentials:
        raise here.error(f"none: {known.name} gives its market data to everybody, and nothing is signed", "it")
    for number, line in enumerate(channel.lines):
        if urlsplit(line.url).scheme == "ws":
            where = place.at("line", number, "url")
            raise where.error("wss:// beside [channel.credentials], which ws:// would show on its way", shown(line.url))
    for name in known.credentials:
        if not getattr(channel.credentials, name):
            raise here.at(name).error('"env:NAME" or "file:/path"', "nothing, and the key is required")


def implied(table: Any, framing_of: Mapping[str, str]) -> Any:
    """The channel's table, its session filled in where its protocol is spoken over WebSockets and nothing is said."""
    if isinstance(table, Mapping) and "session" not in table:
        protocol = table.get("protocol")
        if isinstance(protocol, str) and framing_of.get(protocol) == WEBSOCKET:
            return {**table, "session": WEBSOCKET}
    return table

"""What the ladder asks of the ways to the other side; real ones are `udp`, `glimpse`, tests have their own."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from feedhandler.errors import ConfigError
from feedhandler.settings import host_and_port

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RequestTransport", "Snapshot", "SnapshotTransport", "Transports", "address_of", "descriptor"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of a channel's books at one moment."""

    session: str
    """Whose numbers `number` belongs to; "" when the source does not say."""
    number: int
    """The live message to go on with: all before it is in here."""
    messages: bytes = field(repr=False)
    """The protocol's own messages, each behind its length (u16, big-endian)."""


class RequestTransport(Protocol):
    """One server of retransmissions. Nothing blocks; an error of the network is silence."""

    name: str
    """For people, as "127.0.0.1:26500"."""

    def send(self, session: bytes, first: int, count: int) -> None:
        """Ask for messages [first, first + count); `session` is 16 bytes, padded with zeros."""

    def receive(self) -> list[bytes]:
        """The packets that have come since, as they came."""


class SnapshotTransport(Protocol):
    """One source of snapshots. Nothing blocks."""

    name: str

    def begin(self) -> None:
        """Start to fetch a snapshot that is taken from now on. Raises SessionError."""

    def poll(self, now: float) -> Snapshot | None:
        """The snapshot once it is whole. Raises SessionError when it was refused, cut off or timed out."""

    def cancel(self) -> None:
        """Give up what is under way; harmless when nothing is."""


@dataclass(frozen=True, slots=True)
class Transports:
    """The ways to recover one channel, those to be tried first in front."""

    requests: Sequence[RequestTransport] = ()
    snapshots: Sequence[SnapshotTransport] = ()


def address_of(what: str, server: str, kind: socket.SocketKind) -> tuple[socket.AddressFamily, Any]:
    """Family and address of a server, "host:port"; `what` names it in the ConfigError raised when there is none."""
    host, port = host_and_port(server)
    try:
        found = socket.getaddrinfo(host, port, type=kind)
    except socket.gaierror as error:
        raise ConfigError(f"{what} {server}: no address of {host!r} is known: {error.strerror}") from error
    return found[0][0], found[0][4]


def descriptor(transport: object) -> int:
    """The file descriptor on which a transport's answers come, to be waited for; -1 = it has none now."""
    fileno = getattr(transport, "fileno", None)
    return int(fileno()) if fileno is not None else -1

"""What the simulator's SoupBinTCP servers share: who may log in, and the connections of those who did."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from feedhandler.errors import BackendError, ConfigError

LOGIN_LENGTHS = (47, 52)  # SoupBinTCP 4.0, 4.1; the type byte included


@dataclass(frozen=True, slots=True)
class Account:
    """The session that is served, and who may have it: a blank user name or password is anybody's.

    Raises ConfigError.
    """

    session: str
    username: str
    password: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.session) <= 10 or not self.session.isascii():
            raise ConfigError(f"simulate: a session is 1 to 10 ASCII characters, not {self.session!r}")
        if len(self.username) > 6 or len(self.password) > 10:
            raise ConfigError("simulate: a user name has at most 6 characters, a password 10")

    def refusal(self, login: bytes) -> bytes:
        """The reason for rejecting a login request (its type byte first), its number apart; nothing when it is good."""
        if not is_login(login):
            return b"A"
        user, password, session = (login[a:b].decode("latin1").strip() for a, b in ((1, 7), (7, 17), (17, 27)))
        for given, wanted in ((user, self.username), (password, self.password)):
            if wanted and given.lower() != wanted.lower():
                return b"A"
        return b"" if session in ("", self.session) else b"S"


def is_login(packet: bytes) -> bool:
    """A Login Request, as far as its type and length say."""
    return packet[:1] == b"L" and len(packet) in LOGIN_LENGTHS


class Client(Protocol):
    """One connection."""

    socket: socket.socket


C = TypeVar("C", bound=Client)


class Clients(Generic[C]):
    """Listens on a TCP port, and keeps who connects in `open`. `make` makes a client of its connection.

    `what` names the service in the BackendError raised when the port cannot be had.
    """

    def __init__(self, address: str, port: int, what: str, make: Callable[[socket.socket], C]) -> None:
        try:
            self._listener = socket.create_server((address, port), backlog=16)
        except OSError as error:
            raise BackendError(f"simulate: cannot {what} on {address}:{port}: {error.strerror}") from error
        except OverflowError as error:
            raise BackendError(f"simulate: cannot {what} on {address}:{port}: {error}") from error
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self.open: list[C] = []
        self._make = make
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    @property
    def closed(self) -> bool:
        return self._listener.fileno() < 0

    def wait(self, seconds: float, hear: Callable[[C], None]) -> None:
        """Until somebody connects, speaks (`hear`), or can take more after all; at most so long."""
        for key, events in self._selector.select(seconds):
            if key.data is None:
                self._accept()
                continue
            if events & selectors.EVENT_WRITE:
                self._selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
            if events & selectors.EVENT_READ:
                hear(key.data)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = self._make(connection)
            self.open.append(client)
            self._selector.register(connection, selectors.EVENT_READ, client)

    def is_full(self, client: C) -> None:
        """It can take no more now: wait() ends when it can."""
        self._selector.modify(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)

    def drop(self, client: C) -> None:
        """End its connection; twice is harmless."""
        if client in self.open:
            self.open.remove(client)
            self._selector.unregister(client.socket)
            client.socket.close()

    def close(self) -> None:
        """End all connections, and give the port back."""
        for client in list(self.open):
            self.drop(client)
        self._selector.close()
        self._listener.close()

"""Stream lines of a recorder: taken up again at the number that is missing.

What is recorded is what the hot thread reads; the numbers are counted by the writer, behind it. So a line counts as
down only when the writer has come to the end of its connection: what is asked for then is what the recording lacks.
"""

import socket
from collections.abc import Callable
from typing import Protocol

from feedhandler.config import Line
from feedhandler.receive.stream import StreamReceiver
from feedhandler.record.frames import Endpoint
from feedhandler.session.stream_lines import StreamLine


class Streamed(Protocol):
    """What the writer knows of a line that is a stream, and tells it."""

    receiver: StreamReceiver
    position: tuple[str, int]
    """Session and number to ask for next; after the start written by the writer at the end of each connection."""
    written: int
    """The connection whose end the writer has come to."""
    over: bool
    """The session is over: the writer's word."""

    def ends(self, connection: int) -> tuple[Endpoint, Endpoint]:
        """(server, client) of a connection."""

    def down(self) -> bool:
        """The connection handed over last has ended."""

    def collect(self) -> None:
        """Take what the line's framing wants said; on the writer's thread."""


class RecordedStream(StreamLine):
    """The line of a recorder."""

    def __init__(
        self, number: int, config: Line, receiver: StreamReceiver, start: tuple[str, int], held: Callable[[], int]
    ) -> None:
        super().__init__(number, config, receiver)
        self._held = held
        self.position = start
        """Session and number to ask for next; after `start` written by the writer at the end of each connection."""
        self.written = 0
        """The connection whose end the writer has come to."""
        self.over = False
        """The session is over: the writer's word."""
        self._ends: dict[int, tuple[Endpoint, Endpoint]] = {}

    def wanted(self) -> tuple[str, int]:
        """The session that the recording is in, and the next number that it lacks; at first, what is configured."""
        session, number = self.position
        return (session, number) if session else (self.config.requested_session, 1)

    def prepare(self, sock: socket.socket) -> None:
        """Note the ends of the connection, for the file."""
        self._ends = {self.connections + 1: (sock.getpeername()[:2], sock.getsockname()[:2])}

    def ends(self, connection: int) -> tuple[Endpoint, Endpoint]:
        """(server, client) of a connection."""
        return self._ends[connection]

    def collect(self) -> None:
        """A framing of SoupBinTCP answers nobody."""

    def received(self) -> int:
        """Runs of bytes received so far; it grows, too, while the disk keeps us from reading: that is not silence."""
        return int(self.receiver.counts(self.number)["packets"]) + self._held()

    def down(self) -> bool:
        """The connection handed over last has ended, and the writer has written all of it."""
        return super().down() and self.written > self.connections

    def ended(self) -> bool:
        """The server has said that the session is over, and all that it sent is here."""
        return self.over

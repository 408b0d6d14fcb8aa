"""The control thread of stream lines, of handler and recorder alike: logs in, keeps alive, comes back."""

from __future__ import annotations

import abc
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from feedhandler.control import ControlThread
from feedhandler.errors import SessionError
from feedhandler.receive import stream
from feedhandler.session.soupbintcp import SoupBinTcpClient, State

if TYPE_CHECKING:
    from feedhandler.config import Line
    from feedhandler.receive.stream import StreamReceiver

LONGEST_STEP_S = 0.05  # between two looks at the lines


class StreamLine(abc.ABC):
    """What a session client knows of its line, and does to it (`soupbintcp.Line`)."""

    def __init__(self, number: int, config: Line, receiver: StreamReceiver) -> None:
        self.number, self.config, self.receiver = number, config, receiver
        self.connections = 0
        """That the line has had before the one that was handed over last."""

    def connect(self) -> socket.socket:
        """A new connection to the server. Raises ReceiverError."""
        return stream.connect(self.config.host, self.config.port, line=self.config.name)

    def hand_over(self, sock: socket.socket, received: bytes) -> bool:
        """Give socket and bytes to the hot thread. Raises SessionError when it cannot take them."""
        self.connections = int(self.receiver.line_status(self.number)["connections"])
        try:
            self.prepare(sock)
            return self.receiver.connect(self.number, sock.fileno(), received)
        except (OSError, ValueError) as error:
            raise SessionError(f"the connection cannot be handed over: {error}") from error

    def down(self) -> bool:
        """The hot thread took the connection handed over last, and has seen its end."""
        status = self.receiver.line_status(self.number)
        return bool(status["connections"] > self.connections and status["state"] == 0)

    @abc.abstractmethod
    def prepare(self, sock: socket.socket) -> None:
        """What is to be done before the hot thread gets this connection."""

    @abc.abstractmethod
    def wanted(self) -> tuple[str, int]:
        """The session and the next number to ask for; at first, what is configured."""

    @abc.abstractmethod
    def received(self) -> int:
        """A count that grows with every sign of life."""

    @abc.abstractmethod
    def ended(self) -> bool:
        """The server has said that the session is over."""


class StreamControl(ControlThread):
    """Steps the clients of all lines, from start() to stop(), which logs out of all sessions.

    Each trouble of a line is said in `notes`, once, until it is another one. `alone`: the receiver has no other
    lines, so its input is over when their sessions are.
    """

    def __init__(
        self, receiver: StreamReceiver, lines: Sequence[StreamLine], notes: list[str], alone: bool = True
    ) -> None:
        super().__init__("feedhandler-streams")
        self.receiver, self.notes, self._alone = receiver, notes, alone
        self._clients = [
            (
                line.config.name,
                SoupBinTcpClient(
                    line, line.config.username, line.config.password, any_session=not line.config.requested_session
                ),
            )
            for line in lines
        ]
        self._said: dict[SoupBinTcpClient, str] = {}

    def _run(self) -> None:
        due = 0.0
        while not self._stopping.wait(max(0.0, min(due - time.monotonic(), LONGEST_STEP_S))):
            due = min((self._step(name, client) for name, client in self._clients), default=0.0)
            if all(client.state is State.ENDED for _, client in self._clients):
                break
        for _, client in self._clients:
            if client.state is not State.ENDED:
                client.logout()
        if self._alone:
            self.receiver.finish()

    def _step(self, name: str, client: SoupBinTcpClient) -> float:
        now = time.monotonic()
        try:
            due = client.step(now)
        except SessionError:  # a rejection, kept in `error`: it is tried again after a while
            due = now + LONGEST_STEP_S
        sentence = str(client.error) if client.error is not None else ""
        if self._said.get(client, "") != sentence:
            self._said[client] = sentence
            if sentence:
                self.notes.append(f"line {name}: {sentence}")
        return due

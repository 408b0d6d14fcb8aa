"""Stream lines of a recorder: logged in, kept alive, taken up again at the number that is missing.

What is recorded is what the hot thread reads; the numbers are counted by the writer, behind it. So a line counts as
down only when the writer has come to the end of its connection: what is asked for then is what the recording lacks.
"""

import socket
import threading
import time
from collections.abc import Callable

from feedhandler.config import Line
from feedhandler.errors import SessionError
from feedhandler.receive import stream
from feedhandler.receive.stream import StreamReceiver
from feedhandler.record.frames import Endpoint
from feedhandler.session.soupbintcp import SoupBinTcpClient, State

LONGEST_STEP_S = 0.05  # between two looks at the lines
LINE_DOWN = 0


class RecordedStream:
    """What a session client knows of its line, and does to it (`soupbintcp.Line`)."""

    def __init__(
        self, number: int, config: Line, receiver: StreamReceiver, start: tuple[str, int], held: Callable[[], int]
    ) -> None:
        self.number, self.config, self.receiver, self._held = number, config, receiver, held
        self.position = start
        """Session and number to ask for next; after `start` written by the writer at the end of each connection."""
        self.written = 0
        """The connection whose end the writer has come to."""
        self.over = False
        """The session is over: the writer's word."""
        self._known = 0
        self._ends: dict[int, tuple[Endpoint, Endpoint]] = {}

    def connect(self) -> socket.socket:
        """A new connection to the server. Raises ReceiverError."""
        return stream.connect(self.config.host, self.config.port, line=self.config.name)

    def wanted(self) -> tuple[str, int]:
        """The session that the recording is in, and the next number that it lacks; at first, what is configured."""
        session, number = self.position
        return (session, number) if session else (self.config.requested_session, 1)

    def hand_over(self, sock: socket.socket, received: bytes) -> bool:
        """Give socket and bytes to the hot thread. Raises SessionError when it cannot take them."""
        self._known = int(self.receiver.line_status(self.number)["connections"])
        self._ends = {self._known + 1: (sock.getpeername()[:2], sock.getsockname()[:2])}
        try:
            return self.receiver.connect(self.number, sock.fileno(), received)
        except (OSError, ValueError) as error:
            raise SessionError(f"the connection cannot be handed over: {error}") from error

    def ends(self, connection: int) -> tuple[Endpoint, Endpoint]:
        """(server, client) of a connection."""
        return self._ends[connection]

    def received(self) -> int:
        """Runs of bytes received so far; it grows, too, while the disk keeps us from reading: that is not silence."""
        return int(self.receiver.counts(self.number)["packets"]) + self._held()

    def down(self) -> bool:
        """The connection handed over last has ended, and the writer has written all of it."""
        status = self.receiver.line_status(self.number)
        if status["connections"] <= self._known or status["state"] != LINE_DOWN:
            return False
        return self.written > self._known

    def ended(self) -> bool:
        """The server has said that the session is over, and all that it sent is here."""
        return self.over


class StreamKeeper:
    """The control thread of a recorder's stream lines."""

    def __init__(self, receiver: StreamReceiver, lines: list[RecordedStream], notes: list[str]) -> None:
        self.receiver, self.notes = receiver, notes
        self.clients = [
            SoupBinTcpClient(
                line, line.config.username, line.config.password, any_session=not line.config.requested_session
            )
            for line in lines
        ]
        self._said: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feedhandler-streams", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Log out of all sessions and end the thread. Stopping twice is harmless."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        due = 0.0
        while not self._stopping.wait(max(0.0, min(due - time.monotonic(), LONGEST_STEP_S))):
            due = min(self._step(client) for client in self.clients)
            if all(client.state is State.ENDED for client in self.clients):
                break
        for client in self.clients:
            if client.state is not State.ENDED:
                client.logout()
        self.receiver.finish()

    def _step(self, client: SoupBinTcpClient) -> float:
        now = time.monotonic()
        try:
            due = client.step(now)
        except SessionError as error:  # a rejection: it is tried again after a while
            self._say(client, str(error))
            return now + LONGEST_STEP_S
        self._say(client, str(client.error) if client.error is not None else "")
        return due

    def _say(self, client: SoupBinTcpClient, sentence: str) -> None:
        """A line's trouble is said once, until it is another one."""
        name = client.line.config.name  # type: ignore[attr-defined]
        if self._said.get(name, "") != sentence:
            self._said[name] = sentence
            if sentence:
                self.notes.append(f"line {name}: {sentence}")

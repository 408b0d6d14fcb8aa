"""Stream lines of a handler: the session client of each, stepped on one control thread."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from feedhandler.counters import LINE
from feedhandler.errors import SessionError
from feedhandler.receive import stream
from feedhandler.session.soupbintcp import SoupBinTcpClient

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from feedhandler.config import Line
    from feedhandler.receive.stream import StreamReceiver
    from feedhandler.session import Framing

BAD_PACKETS = [counter.name for counter in LINE].index("bad_packets")
LONGEST_STEP_S = 0.05  # between two looks at the lines
LOOKS = 1000  # at a session's name and number, which change within nanoseconds
LINE_ENDED = 3  # LineRecord.state: the server has said that the session is over


class StreamLine:
    """What a session client knows of its line, and does to it (`soupbintcp.Line`)."""

    def __init__(
        self,
        number: int,
        config: Line,
        receiver: StreamReceiver,
        framing: Framing,
        channel: NDArray[np.void],
        record: NDArray[np.void],
    ) -> None:
        self.number, self.config, self.receiver, self.framing = number, config, receiver, framing
        self._channel, self._record = channel, record
        self._session = config.requested_session
        self._connections = 0

    def connect(self) -> socket.socket:
        """A new connection to the server. Raises ReceiverError."""
        return stream.connect(self.config.host, self.config.port, line=self.config.name)

    def wanted(self) -> tuple[str, int]:
        """The session that the channel is in and the next number it needs; at first, what is configured."""
        for _ in range(LOOKS):
            present, number = bytes(self._channel["session"]), int(self._channel["next_seq"])
            if number and present == bytes(self._channel["session"]):  # else they were changing: 0, name, 1
                break
        else:
            number = 1
        name = present.decode("latin1").strip("\0 ")
        return (name, number) if name else (self._session, 1)

    def hand_over(self, sock: socket.socket, received: bytes) -> bool:
        """Give socket and bytes to the hot thread. Raises SessionError when it cannot take them."""
        self.framing.begin_connection()
        self._connections = int(self.receiver.line_status(self.number)["connections"])
        try:
            return self.receiver.connect(self.number, sock.fileno(), received)
        except (OSError, ValueError) as error:
            raise SessionError(f"the connection cannot be handed over: {error}") from error

    def received(self) -> int:
        """Runs of bytes received so far that the framing could make something of.

        What it cannot read is no sign of life: a connection of which the framing has lost its place is to be ended.
        """
        bad = int(self._record["counters"][BAD_PACKETS])
        return max(0, int(self.receiver.counts(self.number)["packets"]) - bad)

    def down(self) -> bool:
        """The hot thread took the connection handed over last, and has seen its end."""
        status = self.receiver.line_status(self.number)
        return bool(status["connections"] > self._connections and status["state"] == 0)

    def ended(self) -> bool:
        """The server has said that the session is over."""
        return bool(self._record["state"] == LINE_ENDED)


class StreamControl:
    """The control thread of a handler's stream lines: logs in, keeps alive, comes back."""

    def __init__(self, receiver: StreamReceiver, lines: list[StreamLine], notes: list[str]) -> None:
        self.receiver, self.notes = receiver, notes
        self.clients = [
            SoupBinTcpClient(
                line, line.config.username, line.config.password, any_session=not line.config.requested_session
            )
            for line in lines
        ]
        self.refused: SessionError | None = None
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
            due = min((self._step(client) for client in self.clients), default=0.0)
            if all(client.state.value == "ended" for client in self.clients):
                break
        for client in self.clients:
            if client.state.value != "ended":
                client.logout()
        self.receiver.finish()

    def _step(self, client: Any) -> float:
        now = time.monotonic()
        try:
            return float(client.step(now))
        except SessionError as error:  # a rejection: said once, tried again after a while
            if self.refused is None or str(error) != str(self.refused):
                self.refused = error
                self.notes.append(f"line {client.line.config.name}: {error}")
            return now + LONGEST_STEP_S

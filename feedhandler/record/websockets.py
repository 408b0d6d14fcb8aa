"""WebSocket lines of a recorder: connected, subscribed and kept as in a handler; nobody decodes them.

What the hot thread reads is parsed by the thread of the writer alone, behind it. So a line is down when the writer has
come to the end of its connection, and answers to pings go the way back: from the writer's framing through `answers` to
the control thread, which sends them. Snapshots are fetched with each new connection, once; they are texts on the
control line, which is recorded like any other.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, cast

from feedhandler.config import Channel
from feedhandler.decode.venue import Feed, Venue, venue
from feedhandler.receive.stream import StreamReceiver
from feedhandler.record.frames import Endpoint
from feedhandler.recording._sequences import Sequences
from feedhandler.session.control_line import ControlLine
from feedhandler.session.websocket_control import ChannelControl, WebSocketControl, rest_queue
from feedhandler.session.websocket_lines import VenueLine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feedhandler.session import Framing
    from feedhandler.session._websocket import WebSocketFraming

CONTROL_PORT = 49152
ANSWERS = 64  # that may wait for the control thread; older ones nobody waits for any more


class RecordedVenueLine(VenueLine):
    """A venue's line of a recorder."""

    def __init__(
        self,
        number: int,
        index: int,
        channel: Channel,
        receiver: StreamReceiver,
        framing: WebSocketFraming,
        venue: Venue,
        feed: Feed,
        held: Callable[[], int],
    ) -> None:
        super().__init__(number, index, channel, receiver, framing, venue, feed, answering=False)
        self.position = "", 1
        self.written = 0
        """The connection whose end the writer has come to."""
        self.over = False
        self._held = held
        self._box = framing.replies
        self._answers: deque[bytes] = deque(maxlen=ANSWERS)
        self._ends: dict[int, tuple[Endpoint, Endpoint]] = {}

    def prepare(self, sock: socket.socket) -> None:
        """Note the ends of the connection, for the file."""
        number = int(self.receiver.line_status(self.number)["connections"]) + 1
        self._ends = {number - 1: self._ends.get(number - 1, NOWHERE), number: _ends(sock)}
        self._answers.clear()

    def ends(self, connection: int) -> tuple[Endpoint, Endpoint]:
        """(server, client) of a connection."""
        return self._ends.get(connection, NOWHERE)

    def collect(self) -> None:
        """Take what the framing answers; on the writer's thread."""
        if waiting := self._box.waiting:
            self._box.sent(len(waiting))
            self._answers.append(waiting)

    def tend(self, now: float) -> None:
        while self._answers and self.send(self._answers[0]):
            self._answers.popleft()
        super().tend(now)

    def received(self) -> int:
        """It grows, too, while the disk keeps us from reading: that is not silence."""
        return super().received() + self._held()

    def down(self) -> bool:
        """The connection handed over last has ended, and the writer has written all of it."""
        return super().down() and self.written > self.connections

    def whole(self) -> bool:
        """What is subscribed is recorded; books are no matter of ours."""
        return True


class RecordedControlLine(ControlLine):
    """The control line of a recorder: its file says that it came from this host."""

    def __init__(self, number: int, port: int, receiver: StreamReceiver, framing: Framing) -> None:
        super().__init__(number, receiver, framing)
        self.position = "", 1
        self.written = 0
        self.over = False
        self._port = port

    def prepare(self, sock: socket.socket) -> None:
        """The writer begins its framing anew when it comes to the connection."""

    def ends(self, connection: int) -> tuple[Endpoint, Endpoint]:
        """(server, client) of a connection: it is within this process, and has none."""
        return ("127.0.0.1", self._port), ("127.0.0.1", CONTROL_PORT + connection % 16384)

    def collect(self) -> None:
        """Nobody is answered here."""

    def down(self) -> bool:
        """The connection has ended."""
        return int(self.receiver.line_status(self.number)["state"]) == 0


NOWHERE: tuple[Endpoint, Endpoint] = ("192.0.2.1", 443), ("192.0.2.2", CONTROL_PORT)  # of a socket that has none


def _ends(sock: socket.socket) -> tuple[Endpoint, Endpoint]:
    try:
        return sock.getpeername()[:2], sock.getsockname()[:2]
    except OSError:  # it is gone already
        return NOWHERE


def controlled(
    channels: Sequence[Channel],
    receiver: StreamReceiver,
    sequences: Sequences,
    held: Callable[[], int],
    note: Callable[[str], None],
) -> tuple[list[RecordedVenueLine | RecordedControlLine], WebSocketControl]:
    """All lines of the channels, in their order, and the thread that leads their lives."""
    lines: list[RecordedVenueLine | RecordedControlLine] = []
    made = []
    for channel in channels:
        known = venue(channel.protocol)
        feed = known.feed(channel.symbols, channel.streams, channel.depth)
        own: list[VenueLine] = []
        for index in range(len(channel.lines) - 1):
            framing = cast("WebSocketFraming", sequences.framing(len(lines)))
            line = RecordedVenueLine(len(lines), index, channel, receiver, framing, known, feed, held)
            own.append(line)
            lines.append(line)
        number = len(lines)
        control = RecordedControlLine(number, channel.lines[-1].port, receiver, sequences.framing(number))
        lines.append(control)
        rest = rest_queue(channel, known)
        made.append(ChannelControl(channel.name, known, feed, own, control, rest, rest_url=channel.rest, note=note))
    return lines, WebSocketControl(receiver, made, note)

"""A JSON channel's last line: what our own control path says to the hot thread, as texts of a WebSocket."""

from __future__ import annotations

import json
import socket
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from feedhandler.errors import SessionError
from feedhandler.records import Cause, Connection
from feedhandler.session import frames
from feedhandler.session._websocket import WebSocketFraming

if TYPE_CHECKING:
    from feedhandler.receive.stream import StreamReceiver
    from feedhandler.session import Framing

__all__ = ["TEXT_MAX", "ControlLine"]

SEND_BUFFER = 4 << 20  # bytes asked of the kernel
TEXT_MAX = 4 << 20  # bytes of a text: a whole book as REST answers it
WAITING_MAX = 32 << 20  # bytes that wait for room


class _Turn(NamedTuple):
    """A line's step from one state to another."""

    before: Connection
    state: Connection
    cause: Cause
    at: int


class ControlLine:
    """A channel's last line: what we say ourselves, as a WebSocket of which we are the server.

    The hot thread receives it like any other. What it cannot take at once waits here, in order, as far as there is
    room: an answer that finds none is dropped and counted; of a line's states then the last one is kept.
    """

    def __init__(self, number: int, receiver: StreamReceiver, framing: Framing) -> None:
        self.number, self.receiver, self.framing = number, receiver, framing
        self.said = 0
        """Texts so far."""
        self.dropped = 0
        """Answers that found no room, or were longer than a text may be."""
        self.broken = False
        """Nothing more can be said: the receiver is gone, or refuses what we say."""
        self._sock: socket.socket | None = None
        self._waiting: deque[memoryview] = deque()
        self._bytes = 0  # that wait
        self._states: dict[int, _Turn] = {}  # by line: those that found no room

    def open(self) -> None:
        """Connect it. Raises OSError where there are no descriptors left."""
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            self.prepare(ours)
            self.receiver.connect(self.number, theirs.fileno())
            self._sock = ours
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def prepare(self, sock: socket.socket) -> None:
        """What is to be done before the hot thread gets it."""
        self.framing.begin_connection()

    def say(self, text: bytes) -> bool:
        """Send a text, now or as soon as there is room; False: it is dropped."""
        if self.broken or len(text) > TEXT_MAX or self._bytes + len(text) > WAITING_MAX:
            self.dropped += 1
            return False
        self._put(text)
        self.flush()
        return True

    def life(self, line: int, before: Connection, state: Connection, cause: Cause, at: int) -> None:
        """Say that a line of the channel stands elsewhere now; `at` in ns since the Unix epoch."""
        unsaid = self._states.pop(line, None)
        self._states[line] = _Turn(unsaid.before if unsaid is not None else before, state, cause, at)
        self.flush()

    def _put(self, text: bytes) -> None:
        self.said += 1
        self._waiting.append(memoryview(frames.text(text, masked=False)))
        self._bytes += len(self._waiting[-1])

    def flush(self) -> bool:
        """Send what waits; False: there is no room for all of it."""
        if self.broken:
            return True
        self._put_states()
        while self._waiting and self._sock is not None:
            piece = self._waiting[0]
            try:
                sent = self._sock.send(piece)
            except BlockingIOError:
                return False
            except OSError:
                self.broken = True
                self.dropped += len(self._waiting)
                self._waiting.clear()
                self._bytes = 0
                return True
            self._bytes -= sent
            if sent == len(piece):
                self._waiting.popleft()
                self._put_states()
            else:
                self._waiting[0] = piece[sent:]
        return True

    def _put_states(self) -> None:
        """What is to be said of the lines, if it may wait with the rest."""
        while self._states and self._bytes < WAITING_MAX:
            line = next(iter(self._states))
            turn = self._states.pop(line)
            text = {
                "life": turn.state.name,
                "line": line,
                "from": turn.before.name,
                "reason": turn.cause.name.lower(),
                "at": turn.at,
            }
            self._put(json.dumps(text, separators=(",", ":")).encode())

    def check(self) -> None:
        """Raises SessionError when nothing that is said arrives any more."""
        if isinstance(self.framing, WebSocketFraming) and self.framing.violation:
            self.broken = True
        if self.broken:
            raise SessionError("nothing can be said on its control line any more")

    @property
    def socket(self) -> socket.socket | None:
        """Ours, to wait for room on."""
        return self._sock

    def close(self) -> None:
        self.flush()
        if self._sock is not None:
            self._sock.close()
            self._sock = None

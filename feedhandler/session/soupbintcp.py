"""SoupBinTCP 4.1, what talks back: login, heartbeats, logout, and the way back after a broken connection.

Theory of operation. The hot thread owns reading: once a login is accepted the connected socket is handed to it, with
all bytes read so far, the Login Accepted packet among them, so that its framing counts from there. This side, on the
control thread, keeps the socket for sending: a client heartbeat each second, a logout at the end. It learns from the
`Line` how the connection does, and when it is down it waits (exponential backoff, full jitter), connects, and asks for
the session and the next number that the arbiter lacks: nothing is lost, nothing comes twice.

A line's framing may be reset only while its line is down: begin_connection() belongs into `Line.hand_over`, before the
receiver gets the socket. Lengths, offsets and reasons: shared/protocols/soupbintcp.md.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from feedhandler.errors import ConfigError, ReceiverError, SessionError

__all__ = ["Line", "Login", "SoupBinTcpClient", "State", "login"]

REJECTIONS = {
    "A": "not authorised: check user name and password",
    "S": "session not available: check the requested session, or leave it blank for the current one",
}
VERSIONS = ("4.1", "4.0", "auto")
ACCEPTED_LENGTH, REJECTED_LENGTH = 31, 2
HEARTBEAT = b"\x00\x01R"
LOGOUT = b"\x00\x01O"


def login_request(username: str, password: str, session: str, number: int, heartbeat_timeout_ms: int | None) -> bytes:
    """The Login Request packet; without a heartbeat timeout it is version 4.0's.

    `session` "" asks for the current one, `number` for the next message wanted: 1 = from the start, 0 = the newest.
    Raises ConfigError for what does not fit its field.
    """
    for what, text, room in (("user name", username, 6), ("password", password, 10), ("session", session, 10)):
        if len(text) > room or not text.isascii():
            shown = text if what != "password" else "*" * len(text)
            raise ConfigError(f"a SoupBinTCP {what} has at most {room} ASCII characters: {shown!r}")
    body = f"L{username:<6}{password:<10}{session:<10}{number:>20}"
    if heartbeat_timeout_ms is not None:
        body += f"{heartbeat_timeout_ms:>5}"
    return struct.pack(">H", len(body)) + body.encode("ascii")


class RejectedError(SessionError):
    """The server refused the login; `reason` is its letter."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"login rejected ({reason}): {REJECTIONS.get(reason, 'no reason known')}")
        self.reason = reason


class Login:
    """What comes between connecting and the answer to the login: bytes in, the answer out. A pure machine."""

    def __init__(self) -> None:
        self.received = b""
        self.session = ""
        self.next_seq = 0

    def receive(self, data: bytes) -> bool:
        """Take what came; True once the login is accepted: `session` and `next_seq` say where the stream goes on.

        `received` then holds all bytes so far, for the framing. Raises SessionError with the reason of a rejection,
        and for an answer that is none.
        """
        self.received += data
        place = 0
        while len(self.received) >= place + 3:
            (length,) = struct.unpack_from(">H", self.received, place)
            kind = self.received[place + 2 : place + 3]
            if length == 0 or kind not in b"+AJ" or len(kind) != 1:
                raise SessionError(f"the server answered the login with {self.received[place : place + 8]!r}, "
                                   f"which is no SoupBinTCP answer: is this the right port?")  # fmt: skip
            if len(self.received) < place + 2 + length:
                return False
            payload = self.received[place + 3 : place + 2 + length]
            if kind == b"J" and length == REJECTED_LENGTH:
                reason = payload.decode("latin1")
                raise RejectedError(reason)
            if kind == b"A":
                number = payload[10:].strip()
                if length != ACCEPTED_LENGTH or not number.isdigit() or int(number) == 0:
                    raise SessionError(f"login accepted with session and number {payload!r}: no number to count from")
                self.session = payload[:10].decode("latin1").strip()
                self.next_seq = int(number)
                return True
            place += 2 + length
        return False


def login(
    sock: socket.socket,
    username: str = "",
    password: str = "",
    session: str = "",
    number: int = 1,
    *,
    heartbeat_timeout_ms: int | None = 15_000,
    timeout_s: float = 5.0,
) -> tuple[str, int, bytes]:
    """Log in over a connected socket and wait for the answer: (session, next number, bytes to hand to the framing).

    Raises SessionError when refused, with the reason, when the server hangs up, or does not answer in time.
    """
    answer = Login()
    sock.settimeout(timeout_s)
    try:
        sock.sendall(login_request(username, password, session, number, heartbeat_timeout_ms))
        while True:
            data = sock.recv(4096)
            if not data:
                raise SessionError("the server closed the connection without an answer to the login")
            if answer.receive(data):
                return answer.session, answer.next_seq, answer.received
    except TimeoutError:
        raise SessionError(f"the server did not answer the login within {timeout_s:g} s") from None
    except OSError as error:
        raise SessionError(f"the connection broke during the login: {error}") from error
    finally:
        sock.settimeout(None)


class State(Enum):
    """Where a client stands."""

    WAITING = "waiting"  # for the time of the next attempt
    LOGIN = "login"  # connected; the answer to the login is due
    UP = "up"  # the hot thread reads
    BROKEN = "broken"  # given up by us; the hot thread has not noticed yet
    ENDED = "ended"  # end of session, or logged out: nothing more will come


class Line(Protocol):
    """What a client knows of its line, and does to it; the handler gives it. All are called on the control thread."""

    def connect(self) -> socket.socket:
        """A new connection to the server. Raises ReceiverError."""

    def wanted(self) -> tuple[str, int]:
        """The session ("" = the current one) and the next number to ask for."""

    def hand_over(self, sock: socket.socket, received: bytes) -> bool:
        """Give socket and bytes to the hot thread, the framing reset before; False: not now, ask again.

        Raises SessionError when it cannot be done with this connection.
        """

    def received(self) -> int:
        """A count that grows with everything the hot thread receives."""

    def down(self) -> bool:
        """The hot thread has taken over the connection handed over last, and has seen its end."""

    def ended(self) -> bool:
        """The server has said that the session is over."""


class SoupBinTcpClient:
    """One line's session: call step() whenever the time it gave has come, or more often.

    Times are seconds of any clock that does not step back. `version`: "4.1", "4.0", or "auto": 4.0 is tried after a
    server hung up on the longer request. `any_session`: when the session we are in is not available any more, the
    present one is asked for, from its start. `rng` decides the jitter. `error` is the last failure, None while all is
    well.
    """

    def __init__(
        self,
        line: Line,
        username: str = "",
        password: str = "",
        *,
        version: str = "auto",
        any_session: bool = False,
        heartbeat_s: float = 1.0,
        silence_s: float = 15.0,
        login_s: float = 5.0,
        backoff_s: float = 0.25,
        backoff_max_s: float = 30.0,
        rng: random.Random | None = None,
    ) -> None:
        if version not in VERSIONS:
            raise ConfigError(f"SoupBinTCP version {version!r} is not known; choose one of: {', '.join(VERSIONS)}")
        login_request(username, password, "", 1, None)
        self.line = line
        self.state = State.WAITING
        self.attempts = 0
        self.session = ""
        self.error: SessionError | ReceiverError | None = None
        self._username, self._password = username, password
        self._version, self._old = version, version == "4.0"
        self._any_session, self._gone = any_session, False
        self._heartbeat_s, self._silence_s, self._login_s = heartbeat_s, silence_s, login_s
        self._backoff_s, self._backoff_max_s = backoff_s, backoff_max_s
        self._random = rng or random.Random()
        self._sock: socket.socket | None = None
        self._answer = Login()
        self._accepted = False
        self._due = 0.0  # WAITING: the next attempt; LOGIN: the end of patience; UP: the next heartbeat
        self._count = 0
        self._heard = 0.0

    def step(self, now: float) -> float:
        """Do what is due; the time of the next step at the latest.

        Raises SessionError when the server rejects a login; the client has backed off already, and goes on trying if
        step() is called again. Other failures are kept in `error` and lead to the next attempt by themselves.
        """
        turn: dict[State, Callable[[float], None]] = {
            State.WAITING: self._connect,
            State.LOGIN: self._await_answer,
            State.UP: self._keep_alive,
            State.BROKEN: self._await_down,
        }
        while self.state in turn:
            before = self.state
            turn[self.state](now)
            if self.state is before:
                break
        if self.state in (State.LOGIN, State.BROKEN):
            return now + 0.01
        return self._due if self.state is not State.ENDED else float("inf")

    def logout(self) -> None:
        """Say goodbye and close; nothing more is done by step()."""
        self._send(LOGOUT)
        self._close()
        self.state = State.ENDED

    def _connect(self, now: float) -> None:
        if now < self._due:
            return
        self._answer, self._accepted = Login(), False
        try:
            self._sock = self.line.connect()
        except ReceiverError as error:
            self._back_off(now, error)
            return
        self._sock.setblocking(False)
        self.session, number = ("", 1) if self._gone else self.line.wanted()
        timeout_ms = None if self._old else min(99_999, round(self._silence_s * 1000))
        self.state, self._due = State.LOGIN, now + self._login_s
        if not self._send(login_request(self._username, self._password, self.session, number, timeout_ms)):
            self._back_off(now, SessionError("the connection broke before the login was sent"))

    def _await_answer(self, now: float) -> None:
        assert self._sock is not None
        try:
            while not self._accepted:
                data = self._sock.recv(4096)
                if not data:
                    raise ConnectionError("the server closed the connection without an answer to the login")
                self._accepted = self._answer.receive(data)
        except BlockingIOError:
            pass
        except OSError as error:
            if self._version == "auto":
                self._old = not self._old
            self._back_off(now, SessionError(str(error)))
            return
        except SessionError as error:
            lost = isinstance(error, RejectedError) and error.reason == "S"
            self._gone = self._any_session and lost and bool(self.session)
            self._back_off(now, error)
            raise
        try:
            taken = self._accepted and self.line.hand_over(self._sock, self._answer.received)
        except SessionError as error:
            self._back_off(now, error)
            return
        if taken:
            self.session = self._answer.session
            self.state, self.error, self.attempts = State.UP, None, 0
            self._gone = False
            self._due = now + self._heartbeat_s
            self._count, self._heard = self.line.received(), now
        elif now >= self._due:
            self._back_off(now, SessionError(f"the server did not answer the login within {self._login_s:g} s"))

    def _keep_alive(self, now: float) -> None:
        count = self.line.received()
        if count != self._count:
            self._count, self._heard = count, now
        if self.line.ended():
            self._close()
            self.state = State.ENDED
        elif self.line.down():
            self._back_off(now, SessionError("the server closed the connection"))
        elif now - self._heard >= self._silence_s:
            self.error = SessionError(f"nothing came from the server for {self._silence_s:g} s: the link is dead")
            assert self._sock is not None
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # the hot thread's descriptor is the same socket: it sees the end
            self.state = State.BROKEN
        elif now >= self._due:
            self._due = now + self._heartbeat_s
            self._send(HEARTBEAT)  # a connection that cannot take it any more is seen by the hot thread

    def _await_down(self, now: float) -> None:
        if self.line.down():
            self._back_off(now, self.error)

    def _back_off(self, now: float, error: SessionError | ReceiverError | None) -> None:
        """Close, and wait for a random time below a bound that doubles with each attempt (full jitter)."""
        self._close()
        bound = min(self._backoff_max_s, self._backoff_s * 2 ** min(self.attempts, 30))
        self.attempts += 1
        self.state, self.error = State.WAITING, error
        self._due = now + self._random.uniform(0, bound)

    def _send(self, packet: bytes) -> bool:
        if self._sock is None:
            return False
        try:
            return self._sock.send(packet) == len(packet)
        except OSError:
            return False

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

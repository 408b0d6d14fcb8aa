"""Nasdaq GLIMPSE 5.0, a snapshot of the ITCH book over SoupBinTCP: shared/protocols/{glimpse,soupbintcp}.md.

`Spin` is the pure machine: bytes of the connection in, the snapshot out. `GlimpseSnapshots` is the connection: it
never blocks, poll() does a bounded piece of the work each time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from typing import Literal

from feedhandler.decode import itch50
from feedhandler.errors import SessionError
from feedhandler.recovery.transport import Snapshot, address_of
from feedhandler.session.soupbintcp import HEARTBEAT, LOGOUT, Login, login_request

TAKEN = {ord(m.type): m.length for m in itch50.PROTOCOL.messages if m.type in "RHYhNAFS"}
CHANGES = frozenset(b"ECXDUPQB")  # of live messages: what a snapshot cannot hold
END = ord("G")
END_BYTES = 21
HEARTBEAT_S = 1.0
SILENCE_MS = 15_000  # told to the server
RECEIVE_BYTES = 1 << 18  # taken in one poll: some thousand messages, a few milliseconds of work


class Spin:
    """What comes after the connection: login accepted, the messages, their end. Bytes in, one snapshot out."""

    def __init__(self, join: Literal["at", "after"] = "at") -> None:
        self._login = Login()
        self._accepted = False
        self._rest = b""
        self._messages = bytearray()
        self._join = join
        self.taken = 0
        """Messages so far."""

    @property
    def answered(self) -> bool:
        """The server has said something."""
        return self._accepted or bool(self._login.received)

    def receive(self, data: bytes) -> Snapshot | None:
        """Take what came; the snapshot once it is whole. Raises SessionError when it can come to nothing."""
        if not self._accepted:
            if not self._login.receive(data):
                return None
            if self._login.next_seq != 1:
                raise SessionError(f"the server begins at number {self._login.next_seq}; a snapshot begins at 1")
            self._accepted, data = True, _behind_login(self._login.received)
        data = self._rest + data
        place, size = 0, len(data)
        while size - place >= 3:
            length, kind = data[place] << 8 | data[place + 1], data[place + 2]
            if length == 0:
                raise SessionError("a SoupBinTCP packet of no length")
            end = place + 2 + length
            if kind == 0x53:  # 'S', sequenced data
                if end > size:
                    break
                number = self._take(data, place + 3, end)
                if number:
                    number += self._join == "after"
                    if number > 1 and not self.taken:  # each symbol has its directory message: all would be empty
                        raise SessionError(f"a snapshot of nothing, that goes on with message {number}")
                    return Snapshot(self._login.session, number, bytes(self._messages))
            elif kind == 0x5A:  # 'Z'
                raise SessionError(f"the server ended the session after {self.taken} messages, before the snapshot did")
            elif kind not in b"HU+":
                raise SessionError(f"a SoupBinTCP packet of type {chr(kind)!r} amid the snapshot")
            elif end > size:
                break
            place = end
        self._rest = data[place:]
        return None

    def _take(self, data: bytes, first: int, end: int) -> int:
        """One message; the number of an end of snapshot, else 0."""
        kind = data[first] if first < end else -1
        least = TAKEN.get(kind)
        if least is not None:
            if end - first < least:
                raise SessionError(f"a message {chr(kind)!r} of {end - first} bytes, where {least} are wanted")
            self._messages += (end - first).to_bytes(2, "big")
            self._messages += data[first:end]
            self.taken += 1
        elif kind == END:
            digits = data[first + 1 : end].strip()
            if end - first != END_BYTES or not digits.isdigit() or int(digits) == 0:
                raise SessionError(f"an end of snapshot without a number to go on with: {data[first:end]!r}")
            return int(digits)
        elif kind in CHANGES:
            raise SessionError(f"a message of type {chr(kind)!r} in a snapshot: this is a live feed, not GLIMPSE")
        return 0


class GlimpseSnapshots:
    """A GLIMPSE server, "host:port"; the name is looked up once. Raises ConfigError for what cannot be a login.

    `join`: "at" = the live feed goes on with the number that ends the snapshot, "after" = with the one behind it.
    `timeout_s`: for a whole snapshot.
    """

    def __init__(
        self,
        server: str,
        username: str = "",
        password: str = "",
        *,
        join: Literal["at", "after"] = "at",
        timeout_s: float = 30.0,
    ) -> None:
        self.name = server
        login_request(username, password, "", 1, None)
        self._family, self._address = address_of("snapshot server", server, socket.SOCK_STREAM)
        self._username, self._password = username, password
        self._join, self._timeout = join, timeout_s
        self._socket: socket.socket | None = None
        self._connected = False
        self._old = False  # version 4.0, after a server hung up on the longer login of 4.1
        self._until: float | None = None
        self._told = 0.0
        self._spin = Spin(join)

    def begin(self) -> None:
        """Start to connect. Raises SessionError when that cannot even be tried."""
        self.cancel()
        self._spin = Spin(self._join)
        self._until, self._connected = None, False
        try:
            self._socket = socket.socket(self._family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            failed = self._socket.connect_ex(self._address)
        except OSError as error:
            raise SessionError(f"cannot connect: {error.strerror or error}") from error
        if failed not in (0, errno.EINPROGRESS):
            raise SessionError(f"cannot connect: {_reason(failed)}")

    def poll(self, now: float) -> Snapshot | None:
        """Do what can be done without waiting; the snapshot once it is whole, and the connection is over."""
        if self._socket is None:
            raise SessionError("the connection is closed")
        if self._until is None:
            self._until = now + self._timeout
        try:
            snapshot = self._go_on(self._socket, now)
        except ConnectionError as error:
            raise SessionError(f"the connection broke after {self._spin.taken} messages: {error.strerror}") from error
        except OSError as error:
            raise SessionError(f"the connection failed: {error.strerror or error}") from error
        if snapshot is not None:
            with contextlib.suppress(OSError):
                self._socket.send(LOGOUT)
            self.cancel()
        elif now >= self._until:
            raise SessionError(
                f"{self._spin.taken} messages and no end of the snapshot within {self._timeout:g} s"
                if self._connected
                else f"no connection within {self._timeout:g} s"
            )
        return snapshot

    def cancel(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    close = cancel

    def fileno(self) -> int:
        """The socket's descriptor, -1 while there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def _go_on(self, sock: socket.socket, now: float) -> Snapshot | None:
        if not self._connected:
            waiting = select.poll()
            waiting.register(sock, select.POLLOUT)
            if not waiting.poll(0):
                return None
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                raise SessionError(f"cannot connect: {_reason(failed)}")
            self._connected, self._told = True, now
            timeout_ms = None if self._old else SILENCE_MS
            sock.send(login_request(self._username, self._password, "", 1, timeout_ms))  # a new socket has the room
        if now - self._told >= HEARTBEAT_S:
            self._told = now
            with contextlib.suppress(BlockingIOError):
                sock.send(HEARTBEAT)
        try:
            data = sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        if not data:
            if not self._spin.answered:
                self._old = not self._old
                raise SessionError("the server closed the connection without an answer to the login")
            raise SessionError(f"the server closed the connection after {self._spin.taken} messages: cut off")
        return self._spin.receive(data)


def _behind_login(received: bytes) -> bytes:
    """What follows the Login Accepted packet."""
    place = 0
    while True:
        end = place + 2 + int.from_bytes(received[place : place + 2], "big")
        if received[place + 2 : place + 3] == b"A":
            return received[end:]
        place = end


def _reason(number: int) -> str:
    return os.strerror(number) + (" (nobody listens there)" if number == errno.ECONNREFUSED else "")

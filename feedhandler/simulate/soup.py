"""A SoupBinTCP server: one session of sequenced messages, from any number, to several clients.

The session's messages are kept in an unlinked temporary file, already framed as Sequenced Data packets, so that a
client that comes late or again is served by sendfile() from wherever it asks.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable

from feedhandler.closing import Closing
from feedhandler.errors import ConfigError
from feedhandler.simulate._feed import BlockSource, Feed
from feedhandler.simulate._schedule import Schedule
from feedhandler.simulate.clients import Account, Clients

SECOND = 1_000_000_000
CHUNK = 1 << 18
INDEX_STEP = 1 << 16  # bytes of the file between two places of the index
SEND_MAX = 1 << 20  # bytes for one client before the next has its turn
TURN_S = 0.05  # the longest wait: how soon stop() is noticed
SILENCE_NS = 15 * SECOND  # of a client, unless its login says otherwise
LEAVE_NS = SECOND  # for a client to close after the last packet; closing first could take that packet from it


class SessionStore:
    """The messages of the session, from number `first` on, as Sequenced Data packets in a file, found by number."""

    def __init__(self, directory: str | None = None, first: int = 1) -> None:
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - closed by close()
        self.fd = self._file.fileno()
        self.size = 0
        self.count = 0
        self.first = first
        self._numbers, self._offsets = [first], [0]

    def append(self, packets: memoryview, messages: int) -> None:
        """Put whole packets at the end."""
        if self.size - self._offsets[-1] >= INDEX_STEP:
            self._numbers.append(self.first + self.count)
            self._offsets.append(self.size)
        written = 0
        while written < len(packets):
            written += self._file.write(packets[written:]) or 0
        self.size += len(packets)
        self.count += messages

    def offset_of(self, number: int) -> int:
        """Where message `number` (first to first + count) begins."""
        place = bisect.bisect_right(self._numbers, number) - 1
        at, here = self._offsets[place], self._numbers[place]
        buffer, base = b"", at
        while here < number:
            if at + 2 - base > len(buffer):
                buffer, base = os.pread(self.fd, CHUNK, at), at
            at += 2 + struct.unpack_from(">H", buffer, at - base)[0]
            here += 1
        return at

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


class _Client:
    """One connection: waits for a login, then for the end."""

    def __init__(self, connection: socket.socket, now: int) -> None:
        self.socket = connection
        self.received = bytearray()
        self.place: int | None = None  # in the store, once logged in
        self.heard = self.told = now
        self.silence = 0
        self.leaving: int | None = None  # until when the other side has time to close


class SoupServer(Closing):
    """Serves a source of messages as one SoupBinTCP session.

    `port` 0 takes a free one; `port` says which. A login must carry `username` and `password` (blank: any), and the
    session's name or none; other logins are rejected. `rate`, `speed` as for MulticastSender, from run() on. Heartbeats
    after `heartbeat_s` of silence. `first`: the number of the first message; who asks for an earlier one gets that.
    Once the source has ended, each client that has everything is told the end of the session; run() returns when
    `clients` of them were, or after stop(). `directory`: where the session's file is.

    Listens on loopback unless another address is given. Raises ConfigError, BackendError when it cannot listen.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        session: str = "SIMULATED",
        username: str = "",
        password: str = "",
        rate: float | None = None,
        speed: float | None = None,
        heartbeat_s: float = 1.0,
        login_s: float = 30.0,
        clients: int = 1,
        directory: str | None = None,
        first: int = 1,
    ) -> None:
        self.kept = Schedule()
        """How far from its due time each message was taken up."""
        self.account = Account(session, username, password)
        self.rate, self.speed, self.clients = rate, speed, clients
        self._heartbeat, self._login = round(heartbeat_s * SECOND), round(login_s * SECOND)
        self._stopping = False
        self._served = 0
        self.stats = {"messages": 0, "logins": 0, "rejected": 0, "dropped": 0, "bytes": 0}
        self._clients = Clients(address, port, "listen", lambda socket: _Client(socket, time.monotonic_ns()))
        self.port = self._clients.port
        self._store = SessionStore(directory, first)

    def run(self, source: BlockSource, progress: Callable[[int], None] | None = None) -> None:
        """Serve all of `source`; see the class. Raises CaptureError, at the end, if the source is damaged."""
        if self._clients.closed:
            raise ConfigError("simulate: this server has run and closed its port; make another one")
        feed = Feed(source, rate=self.rate, speed=self.speed)
        feed.start_at(time.monotonic_ns())
        self.kept = feed.kept
        buffer = bytearray(CHUNK)
        try:
            while not self._stopping and not (feed.ended and self._served >= self.clients):
                now = time.monotonic_ns()
                size, messages = feed.take_sequenced(buffer, now)
                if size:
                    self._store.append(memoryview(buffer)[:size], messages)
                    self.stats["messages"] = self._store.count
                due = feed.next_due()
                busy = self._serve(now, feed.ended)
                idle_s = TURN_S if due is None else min(max(due - now, 0) / SECOND, TURN_S)
                self._clients.wait(0 if busy else idle_s, self._hear)
                if progress is not None:
                    progress(self._store.count)
            self._say_goodbye()
        finally:
            self.close()
        if source.error is not None:
            raise source.error

    def stop(self) -> None:
        """End soon: clients that have everything are told the end of the session. From any thread or signal handler."""
        self._stopping = True

    def close(self) -> None:
        """Close all connections and the session's file; run() does so by itself."""
        self._clients.close()
        self._store.close()

    # ---- one turn ----

    def _hear(self, client: _Client) -> None:
        try:
            data = client.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.heard = time.monotonic_ns()
        if client.leaving is None:
            client.received += data
        while len(client.received) >= 3:
            length, kind = int.from_bytes(client.received[:2], "big"), bytes(client.received[2:3])
            out_of_order = (kind == b"L") == (client.place is not None) and kind != b"+"
            if length == 0 or kind not in (b"L", b"R", b"O", b"U", b"+") or out_of_order:
                data = b""  # no SoupBinTCP client, or one that logs in twice, or not at first
                break
            if len(client.received) < 2 + length:
                break
            body = bytes(client.received[3 : 2 + length])
            del client.received[: 2 + length]
            if kind == b"O":
                data = b""
                break
            if kind == b"L" and not self._log_in(client, body):
                return
        if not data:
            self._clients.drop(client)

    def _log_in(self, client: _Client, body: bytes) -> bool:
        """Answer a login request; False when it was rejected."""
        reason = self.account.refusal(b"L" + body)
        number = _number(body[26:46])
        if not reason and number is None:
            reason = b"A"
        if reason:
            self.stats["rejected"] += 1
            self._leave(client, b"J" + reason)
            return False
        assert number is not None
        first, following = self._store.first, self._store.first + self._store.count
        number = max(first, following - 1 if number == 0 else min(number, following))
        client.silence = (_number(body[46:51]) or 0) * 1_000_000 or SILENCE_NS
        accepted = b"A" + self.account.session.rjust(10).encode() + str(number).rjust(20).encode()
        client.place = self._store.offset_of(number)
        self.stats["logins"] += 1
        return self._tell(client, accepted)

    def _serve(self, now: int, ended: bool) -> bool:
        """Send each client what it lacks; True while somebody can take more at once."""
        busy = False
        for client in list(self._clients.open):
            if client.leaving is not None:
                if now > client.leaving:
                    self._clients.drop(client)
            elif client.place is None:
                if now - client.heard > self._login:
                    self.stats["dropped"] += 1
                    self._clients.drop(client)
            elif now - client.heard > client.silence:
                self.stats["dropped"] += 1
                self._clients.drop(client)
            elif client.place < self._store.size:
                busy = self._send(client, now) or busy
            elif ended:
                self._served += self._leave(client, b"Z")
            elif now - client.told > self._heartbeat and self._tell(client, b"H"):
                client.told = now
        return busy

    def _send(self, client: _Client, now: int) -> bool:
        assert client.place is not None
        try:
            sent = os.sendfile(
                client.socket.fileno(), self._store.fd, client.place, min(SEND_MAX, self._store.size - client.place)
            )
        except BlockingIOError:
            self._clients.is_full(client)
            return False
        except OSError:
            self._clients.drop(client)
            return False
        client.place += sent
        client.told = now
        self.stats["bytes"] += sent
        return client.place < self._store.size

    def _tell(self, client: _Client, packet: bytes) -> bool:
        """Send a short control packet; a client that cannot take even that is dropped."""
        framed = len(packet).to_bytes(2, "big") + packet
        try:
            whole = client.socket.send(framed) == len(framed)
        except OSError:
            whole = False
        if not whole:
            self._clients.drop(client)
        return whole

    def _leave(self, client: _Client, packet: bytes) -> bool:
        """Send a last packet, and let the client close."""
        if not self._tell(client, packet):
            return False
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_WR)
        client.received.clear()
        client.leaving = time.monotonic_ns() + LEAVE_NS
        return True

    def _say_goodbye(self) -> None:
        """The end of the session for those who have all of it; then time for all that are leaving to go."""
        for client in list(self._clients.open):
            if client.leaving is None and client.place == self._store.size:
                self._leave(client, b"Z")
            elif client.leaving is None:
                self._clients.drop(client)
        while self._clients.open:
            self._clients.wait(TURN_S, self._hear)
            self._serve(time.monotonic_ns(), True)


def _number(field: bytes) -> int | None:
    """An ASCII number padded with blanks; blank is 0, anything else none."""
    text = field.strip()
    if not text:
        return 0
    return int(text) if text.isdigit() and text.isascii() else None

"""A GLIMPSE server: what is live in the session now, and the number at which to go on, over SoupBinTCP.

`GlimpseAnswerer` is the machine, without sockets and without a clock: a login in, all that is sent for it out.
`GlimpseServer` puts it on a TCP port.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections import deque

from feedhandler.errors import ConfigError, SessionError
from feedhandler.simulate._snapshot import SnapshotSource, sequenced
from feedhandler.simulate.clients import LOGIN_LENGTHS, Account, Clients, is_login
from feedhandler.simulate.faults import GlimpseFault
from feedhandler.simulate.server import TURN_S, Server

SEND_MAX = 1 << 18
LOGIN_S = 30.0  # for a client to say who it is
LEAVE_S = 1.0  # for a client to close after the last packet
PACE_S = 0.01  # between two pieces of a slow snapshot


class GlimpseAnswerer:
    """What is sent for a login: the snapshot, `G` with the number at which to join, and the end of the session.

    `source` is fed by the sender. A login must carry `username` and `password` (blank: any), the session or none, and
    ask for number 1; other logins are rejected. `join`: `G` bears the number of the next live message ("at") or of the
    last one that is in the snapshot ("after"). The same logins get the same answers.
    """

    def __init__(
        self,
        source: SnapshotSource,
        session: str = "SIMULATED",
        *,
        username: str = "",
        password: str = "",
        join: str = "at",
        faults: GlimpseFault | None = None,
        seed: int = 1,
    ) -> None:
        if join not in ("at", "after"):
            raise ConfigError(f'simulate: join must be "at" or "after", not {join!r}')
        self.source, self.account, self.join = source, Account(session, username, password), join
        self.faults = GlimpseFault() if faults is None else faults
        self._random = {name: random.Random(f"{seed}/{name}") for name in ("refuse", "cut")}
        self._older: deque[tuple[int, bytes]] = deque()
        self.stats = dict.fromkeys(("logins", "rejected", "snapshots", "cut", "bytes"), 0)

    def tick(self) -> None:
        """Now and then: keep what stale snapshots are made of."""
        every = self.faults.stale_messages
        if every and (not self._older or self.source.number - self._older[-1][0] >= every):
            self._older.append(self.source.snapshot())
        while len(self._older) > 1 and self.source.number - self._older[1][0] >= every:
            self._older.popleft()

    def snapshot(self) -> tuple[int, bytes]:
        """(number, messages), length-prefixed: an old one where `stale_messages` says so. Raises SessionError."""
        self.tick()
        return self._older[0] if self._older else self.source.snapshot()

    def answer(self, login: bytes) -> bytes:
        """All that is sent for a login request (its type byte first), before the server closes."""
        reason = self._refusal(login)
        messages, number = b"", 0
        if not reason:
            try:
                number, messages = self.snapshot()
            except SessionError:
                reason = b"S"
        if not reason and number == 1 and self.join == "after":
            reason = b"S"  # before the first message there is no last one to name
        if reason:
            self.stats["rejected"] += 1
            return _soup(b"J" + reason)
        self.stats["logins"] += 1
        accepted = _soup(b"A" + self.account.session.rjust(10).encode() + b"1".rjust(20))
        last = b"G" + str(number if self.join == "at" else number - 1).encode().ljust(20)
        data = accepted + sequenced(messages) + _soup(b"S" + last)
        if self._draw("cut"):
            self.stats["cut"] += 1
            return data[: self._random["cut"].randrange(len(accepted), len(data))]
        self.stats["snapshots"] += 1
        return data + _soup(b"Z")

    def _draw(self, fault: str) -> bool:
        probability: float = getattr(self.faults, fault)
        return probability > 0 and self._random[fault].random() < probability

    def _refusal(self, login: bytes) -> bytes:
        """The reason for rejecting a login, or nothing."""
        if is_login(login) and self._draw("refuse"):
            return b"A"
        return self.account.refusal(login) or (b"" if login[27:47].strip() == b"1" else b"S")


def _soup(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


class _Client:
    """One connection: says who it is, gets its snapshot, goes."""

    def __init__(self, connection: socket.socket, now: float) -> None:
        self.socket = connection
        self.received = bytearray()
        self.answer: memoryview | None = None
        self.place = 0
        self.since = now  # its connection, its login, the last packet
        self.leaving = False


class GlimpseServer(Server):
    """A GlimpseAnswerer on a TCP port, of loopback unless told otherwise. `.port` says which, where 0 took a free one.

    Options are those of GlimpseAnswerer. Raises ConfigError for bad ones, BackendError when the port cannot be had.
    """

    def __init__(
        self,
        source: SnapshotSource,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        session: str = "SIMULATED",
        username: str = "",
        password: str = "",
        join: str = "at",
        faults: GlimpseFault | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.answerer = GlimpseAnswerer(
            source, session, username=username, password=password, join=join, faults=faults, seed=seed
        )
        self._clients = Clients(address, port, "serve snapshots", lambda socket: _Client(socket, time.monotonic()))
        self.port = self._clients.port

    @property
    def stats(self) -> dict[str, int]:
        """logins, rejected, snapshots sent whole, cut, bytes."""
        return dict(self.answerer.stats)

    def _turn(self) -> None:
        self.answerer.tick()
        now = time.monotonic()
        wait = min([self._serve(client, now) for client in list(self._clients.open)], default=TURN_S)
        self._clients.wait(wait, self._hear)

    def _hear(self, client: _Client) -> None:
        try:
            data = client.socket.recv(1 << 12)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._clients.drop(client)
            return
        if client.answer is not None:
            return  # heartbeats, or a logout: the end comes by itself
        client.received += data
        while client.answer is None and len(client.received) >= 2:
            length = int.from_bytes(client.received[:2], "big")
            if len(client.received) < 2 + length:
                if length > max(LOGIN_LENGTHS) and client.received[2:3] != b"+":
                    self._clients.drop(client)  # no SoupBinTCP client
                return
            packet = bytes(client.received[2 : 2 + length])
            del client.received[: 2 + length]
            if packet[:1] not in (b"+", b"R"):
                client.answer = memoryview(self.answerer.answer(packet))
                client.since = time.monotonic()

    def _serve(self, client: _Client, now: float) -> float:
        """Send what may be sent now; how long it can wait until the next time."""
        if client.answer is None or client.leaving:
            if now - client.since > (LEAVE_S if client.leaving else LOGIN_S):
                self._clients.drop(client)
            return TURN_S
        pace = self.answerer.faults.bytes_per_s
        due = len(client.answer)
        if pace:
            due = min(due, 1 + int((now - client.since) * pace))
        try:
            sent = client.socket.send(client.answer[client.place : min(due, client.place + SEND_MAX)])
        except BlockingIOError:
            self._clients.is_full(client)
            return TURN_S
        except OSError:
            self._clients.drop(client)
            return TURN_S
        client.place += sent
        self.answerer.stats["bytes"] += sent
        if client.place == len(client.answer):
            with contextlib.suppress(OSError):
                client.socket.shutdown(socket.SHUT_WR)
            client.leaving, client.since = True, now
            return TURN_S
        return PACE_S if pace and client.place >= due else 0

    def _close(self) -> None:
        self._clients.close()

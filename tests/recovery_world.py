"""The other side of a ladder, without sockets: servers and snapshots, and time that the test passes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

from feedhandler import session
from feedhandler.config import RecoverySettings
from feedhandler.errors import SessionError
from feedhandler.line import Recovery
from feedhandler.recovery import Ladder, Rung, Snapshot

SESSION = b"TODAY     ".ljust(16, b"\0")
LAST = 1_000_000


def packet(first: int, messages: Sequence[bytes], name: bytes = SESSION) -> bytes:
    """A MoldUDP64 packet."""
    blocks = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    return name[:10] + struct.pack(">QH", first, len(messages)) + blocks


def message(number: int) -> bytes:
    return b"m%d" % number


def answer(first: int, count: int, name: bytes = SESSION) -> bytes:
    return packet(first, [message(n) for n in range(first, first + count)], name)


def snapshot(number: int, session: str = "TODAY") -> Snapshot:
    return Snapshot(session, number, b"\0\3abc")


class Server:
    """A request server: `most` messages to an answer, `delay` seconds; `respond` replaces its answer."""

    def __init__(self, name: str = "one:1", *, most: int = 30, delay: float = 0.0) -> None:
        self.name, self.most, self.delay, self.now = name, most, delay, 0.0
        self.session = SESSION
        self.asked: list[tuple[float, int, int]] = []
        self.respond: Callable[[int, int], list[bytes]] = lambda first, count: [answer(first, min(count, self.most))]
        self.waiting: list[tuple[float, bytes]] = []

    def send(self, session: bytes, first: int, count: int) -> None:
        assert session == self.session
        self.asked.append((self.now, first, count))
        self.waiting += [(self.now + self.delay, data) for data in self.respond(first, count)]

    def receive(self) -> list[bytes]:
        came = [data for due, data in self.waiting if due <= self.now]
        self.waiting = [(due, data) for due, data in self.waiting if due > self.now]
        return came

    def silent(self) -> None:
        self.respond = lambda first, count: []


class Source:
    """A source of snapshots: what `answers` says, each after `delay` polls."""

    def __init__(self, name: str = "glimpse:1", answers: Sequence[Snapshot | str] = (), delay: int = 2) -> None:
        self.name, self.answers, self.delay = name, list(answers), delay
        self.begun = self.cancelled = 0
        self.polls = 0

    def begin(self) -> None:
        self.begun += 1
        self.polls = 0

    def poll(self, now: float) -> Snapshot | None:
        self.polls += 1
        if self.polls <= self.delay or not self.answers:
            return None
        found = self.answers.pop(0)
        if isinstance(found, str):
            raise SessionError(found)
        return found

    def cancel(self) -> None:
        self.cancelled += 1


class HotEnd:
    """The real rings; what the arbiter says by itself is said by the test."""

    def __init__(self, snapshot: bool) -> None:
        self.ring = Recovery(snapshot=snapshot)
        self.is_frozen = False
        self.full = False
        self.asks, self.packet = self.ring.asks, self.ring.packet
        self.snapshot = self.ring.snapshot

    def freeze(self, epoch: int) -> bool:
        return not self.full and self.ring.freeze(epoch)

    def give_up(self, epoch: int) -> bool:
        return not self.full and self.ring.give_up(epoch)

    def frozen(self) -> bool:
        return self.is_frozen


class World:
    """A ladder, its servers, and the hot thread played by hand."""

    def __init__(self, servers: Sequence[Server] = (), sources: Sequence[Source] = (), **settings: Any) -> None:
        self.now, self.epoch, self.next_seq = 100.0, 1, 10
        self.faults, self.horizon, self.suspected = 0, 1 << 63, False
        self.servers, self.sources = list(servers), list(sources)
        self.line = HotEnd(snapshot=bool(sources))
        self.delivering = True  # the hot thread takes retransmissions in
        self.spoil = 0  # so many snapshots are damaged
        self.given: set[int] = set()
        self.answers: list[tuple[str, int]] = []
        self.notes: list[str] = []
        self.due = 0.0
        self.ladder = Ladder(
            self.line,
            RecoverySettings(**settings),
            self.servers,
            self.sources,
            random.Random(7),
            framing=session.framing("moldudp64"),
            state=lambda: (self.epoch, self.next_seq),
            horizon=lambda: self.horizon,
            faults=lambda: self.faults,
            suspected=lambda: self.suspected,
            session=lambda: SESSION,
            doubt_s=3.0,
            note=self.notes.append,
            name="itch",
        )

    def ask(self, first: int, end: int, kind: int = 1) -> None:
        assert self.line.ring.tell(kind, self.epoch, SESSION, first, end - first)

    def take(self) -> None:
        """Do as the hot thread does with what it was answered."""
        for kind, epoch, number, data, _, ends in self.line.ring.answers():
            if kind != "packet" and (kind != "snapshot" or ends):
                self.answers.append((kind, number))
            if epoch != self.epoch:
                continue
            if kind == "freeze":
                self.line.is_frozen = True
            elif kind == "give_up":
                self.line.is_frozen = False
            elif kind == "snapshot" and ends:
                if self.spoil:  # as the arbiter does with a damaged one: a newer one, please
                    self.spoil -= 1
                    self.epoch, self.next_seq = epoch + 1, number
                    self.ask(number, number, 2)
                    continue
                self.epoch, self.next_seq, self.line.is_frozen = epoch + 1, number, False
                self.ask(number, number, 3)
            elif kind == "packet" and self.delivering:
                first, count = struct.unpack_from(">QH", data, 10)
                self.given |= set(range(first, first + count))
                while self.next_seq in self.given:
                    self.next_seq += 1

    def step(self) -> float:
        for server in self.servers:
            server.now = self.now
        self.due = self.ladder.step(self.now)
        assert self.due > self.now or self.ladder.rung is Rung.FETCH, "it would spin"
        self.take()
        return self.due

    def run(self, seconds: float, step: float = 0.001, until: Callable[[], bool] = lambda: False) -> None:
        """Pass time, in steps no longer than the control thread's."""
        end = self.now + seconds
        while self.now < end:
            self.step()
            if until():
                return
            arrival = min((due for server in self.servers for due, _ in server.waiting if due > self.now), default=end)
            self.now = min(end, max(self.now + 1e-6, min(self.due, arrival, self.now + step)))

    def requests(self) -> list[tuple[float, int, int]]:
        return sorted(request for server in self.servers for request in server.asked)

"""The exchange's servers of a rehearsal: the simulator's own, without sockets, their answers after a virtual time.

ITCH over MoldUDP64 has a request server and a GLIMPSE server; what the script says of them happens. IEX-TP has no
recovery protocol that we could verify: there a source of our own gives back the packets as they were sent (`Replay`).
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from feedhandler.errors import SessionError
from feedhandler.recovery import Snapshot, Transports
from feedhandler.recovery.glimpse import Spin
from feedhandler.rehearse.wire import MOLD, Wire
from feedhandler.session.soupbintcp import login_request
from feedhandler.simulate._snapshot import SnapshotSource
from feedhandler.simulate._store import MessageStore
from feedhandler.simulate.glimpse import GlimpseAnswerer
from feedhandler.simulate.requests import RequestAnswerer

if TYPE_CHECKING:
    from feedhandler.rehearse.sources import Source
    from feedhandler.simulate.faults import Faults

NEVER = 1 << 62
ROUND_TRIP_NS = 200_000  # from a request to its answer
LOGIN_NS = 1_000_000  # from a connection to the first byte of a snapshot
SNAPSHOT_BYTES_PER_S = 500e6  # unless the script says otherwise
STORED = 1 << 20  # messages that the request server keeps, unless the script says otherwise
SECOND = 1_000_000_000

Answer = Callable[[bytes, int, int, int], list[bytes]]
"""(session of 16 bytes, first number, count, now in ns) -> packets."""


class Venue:
    """The servers of one rehearsal: set `now` before they are asked, and tell them what is sent by sent().

    `servers`: request servers, each with faults of its own dice. `snapshots`: whether there is a snapshot server.
    """

    def __init__(self, source: Source, faults: Faults, seed: int, *, servers: int = 1, snapshots: bool = True) -> None:
        self.now = 0
        self.wake = NEVER
        """When the next answer comes, ns since the Unix epoch."""
        self.wire = Wire(source.framing)
        self.requests: list[Requests] = []
        self.snapshots: list[Snapshots] = []
        self._session, self._next = b"", 1
        self._replay: Replay | None = None
        if source.framing != "moldudp64":
            self._replay = Replay(self.wire)
            self.requests = [Requests(self, self._replay.answer, f"source {n + 1}") for n in range(servers)]
            return
        self._store = MessageStore(STORED)
        self._live = SnapshotSource()
        self._answerers = [
            RequestAnswerer(self._store, "REHEARSAL", faults=faults.requests, seed=seed + n) for n in range(servers)
        ]
        self.requests = [
            Requests(self, self._mold(answerer), f"request server {n + 1}")
            for n, answerer in enumerate(self._answerers)
        ]
        self._faults, self._seed, self._sessions = faults.glimpse, seed, 0
        self.glimpse = GlimpseAnswerer(self._live, faults=self._faults, seed=seed)
        if snapshots and source.protocol == "itch50":
            self.snapshots = [Snapshots(self, faults.glimpse.bytes_per_s or SNAPSHOT_BYTES_PER_S)]

    def transports(self) -> Transports | None:
        """The ways to these servers; None: there are none, and the channel has no recovery."""
        return Transports(self.requests, self.snapshots) if self.requests or self.snapshots else None

    def sent(self, ts: int, payload: bytes) -> None:
        """The exchange has sent this packet, at `ts`."""
        if self._replay is not None:
            self._replay.sent(payload)
            return
        head = self.wire.head(payload)
        if head is None:
            return
        again = head.first == 1 < self._next or (head.end < self._next and not head.messages)
        if head.session != self._session or again:
            self._begin(head.session, head.first)
        elif head.first > self._next:  # the source itself lacks messages: what is behind them is all there is
            self._begin(head.session, head.first)
            self.snapshots.clear()
        if head.messages and head.first == self._next:
            self._store.append(payload[MOLD.size :])
            self._live.append(payload[MOLD.size :])
            self._next = head.end
            self.glimpse.tick()

    def look_out(self) -> None:
        """Set `wake` anew."""
        dues = [way.due for way in self.requests] + [way.due for way in self.snapshots]
        self.wake = min(dues, default=NEVER)

    def _begin(self, session: bytes, first: int) -> None:
        """The session's numbers begin, or begin again; of the one before only a new name leaves anything."""
        self._session, self._next = session, first
        self._store = MessageStore(STORED, first=first)
        self._live.clear(first=first)
        name = session.decode("latin1").strip(" \0")
        for answerer in self._answerers:
            answerer.add_session(name, self._store)
        self._sessions += 1  # a server of the new session has no snapshots of the old one
        self.glimpse = GlimpseAnswerer(self._live, name, faults=self._faults, seed=self._seed + self._sessions)

    def _mold(self, answerer: RequestAnswerer) -> Answer:
        def answer(session: bytes, first: int, count: int, now: int) -> list[bytes]:
            return answerer.answer(MOLD.pack(session[:10], first, count), now / SECOND)

        return answer


class Requests:
    """A RequestTransport: what it is asked reaches the server at once, the answers come back after a round trip."""

    def __init__(self, venue: Venue, answer: Answer, name: str, latency_ns: int = ROUND_TRIP_NS) -> None:
        self.name, self.latency = name, latency_ns
        self._venue, self._answer = venue, answer
        self._coming: deque[tuple[int, bytes]] = deque()

    def send(self, session: bytes, first: int, count: int) -> None:
        """Ask for messages [first, first + count)."""
        now = self._venue.now
        self._coming.extend((now + self.latency, data) for data in self._answer(session, first, count, now))
        self._venue.look_out()

    def receive(self) -> list[bytes]:
        """The answers that have come by now."""
        come = []
        while self._coming and self._coming[0][0] <= self._venue.now:
            come.append(self._coming.popleft()[1])
        if come:
            self._venue.look_out()
        return come

    @property
    def due(self) -> int:
        """When the next answer comes."""
        return self._coming[0][0] if self._coming else NEVER


class Snapshots:
    """A SnapshotTransport: the server takes its snapshot at the login, and the handler's own client reads the bytes."""

    name = "the snapshot server"

    def __init__(self, venue: Venue, bytes_per_s: float) -> None:
        self._venue, self._speed = venue, bytes_per_s
        self._data = b""
        self.due = NEVER

    def begin(self) -> None:
        """Log in."""
        self._data = self._venue.glimpse.answer(login_request("", "", "", 1, None)[2:])
        self.due = self._venue.now + LOGIN_NS + round(len(self._data) / self._speed * SECOND)
        self._venue.look_out()

    def poll(self, now: float) -> Snapshot | None:
        """The snapshot, once all of it has come."""
        if self._venue.now < self.due:
            return None
        self.cancel()
        snapshot = Spin("at").receive(self._data)
        if snapshot is None:
            raise SessionError("the connection was cut off amid the snapshot")
        return snapshot

    def cancel(self) -> None:
        """Leave."""
        self.due = NEVER
        self._venue.look_out()


class Replay:
    """The packets of each session as they were sent; of a session that began again, those since."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._firsts: dict[bytes, list[int]] = {}
        self._packets: dict[bytes, list[bytes]] = {}

    def sent(self, payload: bytes) -> None:
        """This packet has been sent."""
        head = self.wire.head(payload)
        if head is None or not head.messages:
            return
        firsts = self._firsts.setdefault(head.session, [])
        packets = self._packets.setdefault(head.session, [])
        if firsts and head.first <= firsts[-1]:
            firsts.clear()
            packets.clear()
        firsts.append(head.first)
        packets.append(payload)

    def answer(self, session: bytes, first: int, count: int, now: int) -> list[bytes]:
        """The packet that has message `first`, and those behind it up to the last message asked for."""
        name = next((known for known in self._firsts if session.startswith(known)), b"")
        firsts, packets = self._firsts.get(name, []), self._packets.get(name, [])
        low = max(bisect.bisect_right(firsts, first) - 1, 0)
        high = bisect.bisect_left(firsts, first + count)
        return packets[low:high]

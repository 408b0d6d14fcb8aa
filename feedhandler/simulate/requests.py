"""A MoldUDP64 request server: messages of the session once more, for those who have lost them.

`RequestAnswerer` is the machine, without sockets and without a clock of its own; `RequestServer` puts it on a UDP port.
"""

from __future__ import annotations

import random
import socket
import struct
from time import monotonic

from feedhandler.errors import BackendError, ConfigError
from feedhandler.recovery.pace import TokenBucket
from feedhandler.simulate._faults import spoiled
from feedhandler.simulate._store import MessageStore
from feedhandler.simulate.faults import RequestFault
from feedhandler.simulate.server import TURN_S, Server

HEADER = struct.Struct(">10sQH")
COUNT_MAX = 0xFFFE
DATAGRAM_MAX = 65507
BUCKET_S = 0.1  # of the rate: what may be answered at once after a rest
WRONGS = ("other_session", "other_sequence", "more", "fewer", "malformed")


class RequestAnswerer:
    """Answers requests out of stores of messages, one for each session; wrongly where `faults` says so.

    A request is answered by one packet with as many of the messages as fit `faults.mtu`, from the number asked for on.
    Everything else is silence: another session, messages not sent yet or too old, too many requests, no request at
    all. The same requests at the same times get the same answers.
    """

    def __init__(
        self,
        store: MessageStore,
        session: str = "SIMULATED",
        *,
        faults: RequestFault | None = None,
        seed: int = 1,
    ) -> None:
        self.faults = RequestFault() if faults is None else faults
        self.sessions: dict[bytes, MessageStore] = {}
        self.add_session(session, store)
        self._random = {name: random.Random(f"{seed}/{name}") for name in ("silence", *WRONGS)}
        self._bucket = TokenBucket(self.faults.rate, max(1.0, self.faults.rate * BUCKET_S))
        self.stats = dict.fromkeys(("requests", "answers", "messages", "silent", "unknown", "wrong"), 0)

    def add_session(self, session: str, store: MessageStore) -> None:
        """From now on answer for this session, too."""
        if not 1 <= len(session) <= 10 or not session.isascii():
            raise ConfigError(f"simulate: a session is 1 to 10 ASCII characters, not {session!r}")
        self.sessions[session.ljust(10).encode()] = store

    def answer(self, request: bytes, now: float) -> list[bytes]:
        """The packets that answer a request which came at `now`, in seconds: one, or none."""
        self.stats["requests"] += 1
        name, number, count = HEADER.unpack(request) if len(request) == HEADER.size else (b"", 0, 0)
        store = self.sessions.get(name)
        if store is None or number == 0 or not 0 < count <= COUNT_MAX or not self._has(store, number):
            self.stats["unknown"] += 1
            return []
        if self._is_silent(now):
            self.stats["silent"] += 1
            return []
        return [self._packet(store, name, number, count)]

    def _has(self, store: MessageStore, number: int) -> bool:
        last = store.last
        return store.first <= number <= last and (not self.faults.age or number > last - self.faults.age)

    def _is_silent(self, now: float) -> bool:
        return not self._bucket.take(now) or self._draw("silence")

    def _draw(self, fault: str) -> bool:
        probability: float = getattr(self.faults, fault)
        return probability > 0 and self._random[fault].random() < probability

    def _packet(self, store: MessageStore, name: bytes, number: int, count: int) -> bytes:
        """The answer; the first fault that is drawn makes it a wrong one."""
        drawn = [fault for fault in WRONGS if self._draw(fault)]
        wrong = drawn[0] if drawn else ""
        dice = self._random[wrong] if wrong else None
        if wrong == "other_session":
            name = b"OTHER".ljust(10) if name != b"OTHER".ljust(10) else b"ANOTHER".ljust(10)
        elif wrong == "other_sequence" and dice is not None:
            first, last = store.first, store.last
            number = next((n for n in (number + dice.randint(-count, count), number + 1, number - 1)
                           if n != number and first <= n <= last), number)  # fmt: skip
        elif wrong == "more" and dice is not None:
            count = min(COUNT_MAX, count + dice.randint(1, 1 + count))
        blocks, n = self._fitting(store, number, count)
        if wrong == "fewer" and n > 1:
            blocks, n = self._fitting(store, number, max(1, n // 2))
        packet = HEADER.pack(name, number, n) + blocks
        if wrong == "malformed" and dice is not None:
            packet = spoiled(packet, dice.getrandbits(64))
        self.stats["wrong"] += bool(wrong)
        self.stats["answers"] += 1
        self.stats["messages"] += n
        return packet

    def _fitting(self, store: MessageStore, number: int, count: int) -> tuple[bytes, int]:
        """What fits the mtu; a message that is longer by itself goes alone, as it did on the lines."""
        blocks, n = store.pack(number, count, self.faults.mtu - HEADER.size)
        return (blocks, n) if n else store.pack(number, 1, DATAGRAM_MAX - HEADER.size)


class RequestServer(Server):
    """A RequestAnswerer on a UDP port, of loopback unless told otherwise. `.port` says which, where 0 took a free one.

    `store` is fed by the sender, while it sends. Raises ConfigError for a bad session, BackendError when the port
    cannot be had.
    """

    def __init__(
        self,
        store: MessageStore,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        session: str = "SIMULATED",
        faults: RequestFault | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.answerer = RequestAnswerer(store, session, faults=faults, seed=seed)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((address, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise BackendError(f"simulate: cannot serve requests on {address}:{port}: {error}") from error
        self._socket.settimeout(TURN_S)
        self.port = int(self._socket.getsockname()[1])

    @property
    def stats(self) -> dict[str, int]:
        """requests, answers, messages; and of the requests: silent, unknown, and answered wrong."""
        return dict(self.answerer.stats)

    def _turn(self) -> None:
        try:
            request, client = self._socket.recvfrom(65536)
        except TimeoutError:
            return
        except ConnectionRefusedError:
            return  # said of an earlier answer: that client has gone
        for packet in self.answerer.answer(request, monotonic()):
            try:
                self._socket.sendto(packet, client)
            except OSError:
                self.answerer.stats["silent"] += 1  # no room to send, or nobody there: as if it was lost

    def _close(self) -> None:
        self._socket.close()

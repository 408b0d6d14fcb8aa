"""What a case needs of a receiver under test."""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from feedhandler.config import Config
from feedhandler.handler import Handler
from feedhandler.receive._receiver import Receiver
from feedhandler.receive.sockets import UdpLine
from tests.conformance.feed import GROUPS, PORT, Feed
from tests.frames import Frame
from tests.namespaces import Network, Veth

Sent = Sequence[tuple[int, bytes]]
"""(line, payload), in this order."""
Taken = list[tuple[int, int, bytes]]
"""(line, ts_recv, payload), as Receiver.drain() gives it."""
FIRST_TS = 1_700_000_000_000_000_000
PATIENCE = 20.0


class Flow(UdpLine):
    """What a receiver is told of a line."""

    def but(self, **changes: Any) -> Self:
        return replace(self, **changes)


class Rig(ABC):
    """A receiver and the other end of its lines; one for each case."""

    name: ClassVar[str]
    excused: ClassVar[Mapping[str, str]] = {}
    """Case → why it does not apply, one sentence."""
    refuses: ClassVar[Mapping[str, str]] = {}
    """Case → what the error says that it is refused with."""
    datagrams: ClassVar[bool] = True
    """What was sent as one payload arrives as one packet."""
    live: ClassVar[bool] = True
    largest: ClassVar[int] = 65507
    """Bytes of payload that can be sent as one packet."""
    jumbo: ClassVar[int] = 8900
    """Bytes of payload of a jumbo frame that it takes."""
    lines: ClassVar[int] = 3
    """Lines that it can have, as far as cases want them."""
    interface: ClassVar[str] = ""
    source: ClassVar[str] = Veth.SENDER
    """The usual sender's address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    _receiver: Receiver | None = None

    @property
    def receiver(self) -> Receiver:
        """What open() has opened."""
        assert self._receiver is not None
        return self._receiver

    @abstractmethod
    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        """Make a receiver of these lines. `room`: it holds about so many packets before it loses some."""

    @abstractmethod
    def send(self, sent: Sent, source: int = 0) -> None:
        """Send payloads on the lines; `source` 1: from another address than all the others."""

    def close(self) -> None:
        """Close the receiver; twice is harmless. open() does so first."""
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    def finish(self) -> None:
        """The case is over."""
        self.close()

    @abstractmethod
    def handled(self, feed: Feed) -> AbstractContextManager[Handler]:
        """A real Handler that takes, or has taken, the feed from two lines of this receiver."""

    def within(self, payload: bytes) -> bytes:
        """A payload as it stands in a run of bytes."""
        return payload

    def end(self) -> None:
        """Nothing more will come."""
        raise AssertionError("excused")

    def frames(self, frames: Sequence[Frame | bytes]) -> None:
        """Send frames as they are."""
        raise AssertionError("excused")

    def hold(self, flows: Sequence[Flow]) -> Killable:
        """Another process that receives these lines."""
        raise AssertionError("excused")

    def left(self) -> str:
        """What a receiver that is gone has left behind; "" is nothing."""
        return ""

    def flow(self, number: int = 0) -> Flow:
        """The line of that number, as cases use it unless they say otherwise."""
        return Flow(f"line {number}", GROUPS[number], PORT, self.interface)


class Killable(Protocol):
    """Another process, that receives."""

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""


class Holder:
    """A fork of this process that opens a receiver and holds it until it is killed; in `network`, or where we are."""

    def __init__(self, opened: Callable[[], Receiver], network: Network | None = None) -> None:
        ready, tell = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            try:
                with network.inside() if network else nullcontext(), opened() as receiver:
                    os.write(tell, b"r")
                    while True:  # most of what arrives stays where it is: the process dies with full rings
                        receiver.wait_for(1.0)
                        receiver.drain(1)
            finally:
                os._exit(1)
        os.close(tell)
        said = os.read(ready, 1)
        os.close(ready)
        assert said == b"r", "the receiver could not be opened in a fork"

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)


class LiveRig(Rig):
    """A rig whose receiver a Handler opens, as its configuration says."""

    @abstractmethod
    def handler(self, config: Config, room: int = 0) -> AbstractContextManager[Handler]:
        """A handler that is not started yet; `config` is completed with what this receiver needs."""

    @contextmanager
    def handled(self, feed: Feed) -> Iterator[Handler]:
        with self.handler(feed.config([self.flow(0), self.flow(1)])) as handler:
            handler.start()
            for packet in feed.packets:
                self.send([(0, packet), (1, packet)])
            yield handler
            assert handler.error is None


def until(condition: Callable[[], object], what: str | Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition; AssertionError says `what` did not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what() if callable(what) else what} did not come within {seconds} s"
        time.sleep(0.002)


def collect(rig: Rig, sent: Sent) -> Taken:
    """Everything that was sent; AssertionError when it does not come."""
    receiver = rig.receiver
    size, count = sum(len(rig.within(p)) for _, p in sent), len(sent) if rig.datagrams else 0
    taken: Taken = []
    end = time.monotonic() + PATIENCE
    while sum(len(t[2]) for t in taken) < size or len(taken) < count:
        taken += receiver.drain()
        if receiver.ended:
            break
        receiver.wait_for(0.05)
        assert time.monotonic() < end, f"{len(taken)} of {len(sent)} packets came"
    return taken


def content(rig: Rig, taken: Taken, line: int) -> bytes | list[bytes]:
    """What a line brought, in the form in which it can be compared with `wanted`."""
    mine = [data for at, _, data in taken if at == line]
    return mine if rig.datagrams else b"".join(mine)


def wanted(rig: Rig, sent: Sent, line: int) -> bytes | list[bytes]:
    """What a line should bring."""
    mine = [data for at, data in sent if at == line]
    return mine if rig.datagrams else b"".join(map(rig.within, mine))


def check(rig: Rig, sent: Sent) -> Taken:
    """Send, and see everything arrive, whole, in order and counted."""
    rig.send(sent)
    taken = collect(rig, sent)
    for line in range(rig.receiver.lines):
        assert content(rig, taken, line) == wanted(rig, sent, line), f"line {line}"
        counts = rig.receiver.counts(line)
        assert counts["packets"] == sum(at == line for at, _, _ in taken)
        assert counts["bytes"] == sum(len(data) for at, _, data in taken if at == line)
        assert counts["foreign"] == counts["truncated"] == counts["kernel_drops"] == 0, counts
    return taken

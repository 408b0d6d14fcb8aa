"""Recordings and live lines for the tests of the hand-over between them: packets in lists, files and queues."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from feedhandler import simulate
from feedhandler.config import Books, Channel, Config, Line, RecoverySettings, Ring, Run, Shm
from feedhandler.handler import Handler, run_capture
from feedhandler.handover import Handover
from feedhandler.receive import capture
from feedhandler.receive._receiver import Receiver
from feedhandler.receive.capture_writer import PcapngWriter
from feedhandler.recording import Recording
from tests.background import beside

DAY = date(2026, 11, 20)
RING = 1 << 14
SESSION = "SIMULATED"
TARGETS = (("239.192.0.1", 26400), ("239.192.0.2", 26400))
STALE_FLAG = 4
MS = 1_000_000
START = 1_795_186_800_000_000_000  # 2026-11-20 10:00 in New York
SECOND = 1_000_000_000

Packets = list[tuple[int, int, bytes]]
"""(ts_recv, line, payload)."""


def config(lines: Sequence[Line] | None = None, recovery: RecoverySettings | None = None, **channel: Any) -> Config:
    """One channel of ITCH over MoldUDP64 on two lines."""
    if lines is None:
        lines = [Line(name=name, group=g, port=p, interface="lo") for name, (g, p) in zip("AB", TARGETS, strict=True)]
    return Config(
        Shm(name="unused"),
        Books(instruments=64, orders=50_000),
        Ring(events=RING),
        Run(wait="block"),
        (
            Channel(
                name="itch", protocol="itch50", session="moldudp64", venue="XNAS", date=DAY, lines=tuple(lines),
                recovery=recovery, **channel,
            ),
        ),
    )  # fmt: skip


def lossless_of(path: Path, market: simulate.Market) -> tuple[dict[str, Any], np.ndarray]:
    """Books at the end of a simulated day, and all its events. Writes the day to `path`."""
    simulate.write(path, simulate.Exchange(market))
    with run_capture(path, day=DAY, ring_events=RING).handler as handler:
        return books_of(handler), events_of(handler)


def packets_of(path: Path, market: simulate.Market, session: str = SESSION) -> Packets:
    """The messages of a simulated day on two lines, up to six in a packet, a packet each tenth of a millisecond."""
    simulate.write(path, simulate.Exchange(market))
    blocks = []
    with capture.receiver(path) as receiver:
        for _, _, run in receiver.drain():
            while run:
                size = 2 + int.from_bytes(run[:2], "big")
                if size > 2:
                    blocks.append(run[:size])
                run = run[size:]
    made, number, name = [], 1, session.ljust(10).encode()
    while number <= len(blocks):
        some = blocks[number - 1 : number + number % 6]
        made.append(name + struct.pack(">QH", number, len(some)) + b"".join(some))
        number += len(some)
    made.append(name + struct.pack(">QH", number, 0xFFFF))
    found = []
    for n, payload in enumerate(made):
        ts = START + n * 100_000
        found += [(ts, 0, payload), (ts + 20_000, 1, payload)]
    return found


def number_of(payload: bytes) -> tuple[int, int]:
    """First number and number of messages of a MoldUDP64 packet."""
    first, count = struct.unpack_from(">QH", payload, 10)
    return first, 0 if count == 0xFFFF else count


def heartbeat(number: int, session: str = SESSION) -> bytes:
    """A MoldUDP64 heartbeat: the next number that will be sent."""
    return session.ljust(10).encode() + struct.pack(">QH", number, 0)


def written(path: Path, packets: Iterable[tuple[int, int, bytes]]) -> Path:
    """A capture of these packets."""
    with PcapngWriter(path, ("A", "B")) as writer:
        for ts, line, payload in packets:
            writer.write(ts, payload, TARGETS[line], interface=line)
    return path


def live(path: Path, packets: Iterable[tuple[int, int, bytes]]) -> Receiver:
    """Live lines that bring these packets at once, and then are over."""
    return capture.receiver(written(path, packets), TARGETS)


@dataclass
class Recorded:
    """As much of a Recording as a hand-over asks for; its packets come from `open`."""

    open: Callable[[], Receiver]
    first_ts: int = 0
    size: int = 0
    channel: str = "itch"
    protocol: str = "itch50"
    targets: Sequence[tuple[str, int]] = TARGETS
    files: Sequence[Any] = ()
    manifests: Sequence[Any] = ()
    lines: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = [
            SimpleNamespace(
                channel=self.channel, name=name, protocol=self.protocol, session="moldudp64", destination=target
            )
            for name, target in zip("AB", self.targets, strict=True)
        ]

    def channels(self) -> list[str]:
        """There is one."""
        return [self.channel]

    def receiver(self, *, follow: bool = False, channels: Sequence[str] = ()) -> Receiver:
        """All that was recorded."""
        return self.open()


def recorded(path: Path, packets: Packets) -> Recording:
    """A recording of these packets that is complete."""
    return Recording(written(path, packets))


def played(settings: Config, handover: Handover, lines: Receiver, kept: int = 0) -> Handler:
    """A handler that has played the recording and all that `lines` have, by hand; `kept` packets wait before."""
    handler = Handler(settings, receiver=lines, handover=handover, anonymous=True)
    handover.start(lambda: None, handler.notes.append, handler._sessions)
    end = time.monotonic() + 20
    while handover.progress().kept < kept:
        assert time.monotonic() < end, handover.progress()
        time.sleep(0.0005)
    while not handler.shard.turn_once():
        pass
    handover.stop()
    return handler


def events_of(handler: Handler) -> np.ndarray:
    """All events but those of gaps; times of receipt, lines and what they say of the channel's quality left out."""
    head = int(handler.segment.rings["head"][0])
    assert head < len(handler.segment.slots)
    events = handler.segment.slots[1 : head + 1].copy()
    events = events[~gaps(events)]
    events["ts_recv"] = events["line"] = events["seq"] = 0
    events["flags"] &= ~np.uint8(STALE_FLAG)
    return events


def gaps(events: np.ndarray) -> np.ndarray:
    """Which events tell of a gap."""
    found: np.ndarray = (events["action"] == b"N"[0]) & (events["instrument"] == 0) & (events["order_id"] == 0)
    return found


def books_of(handler: Handler) -> dict[str, Any]:
    """The levels of every symbol's book."""
    found = {}
    for number, record in enumerate(handler.segment.directory):
        if record["symbol"]:
            _, bids, asks = handler.book(number)
            found[bytes(record["symbol"]).decode()] = (bids.tolist(), asks.tolist())
    return found


@contextlib.contextmanager
def feeding(sender: simulate.MulticastSender, market: simulate.Market) -> Iterator[None]:
    """The day is sent meanwhile, and its end is said until the block is over: a feed does not just vanish."""
    over = threading.Event()
    last = SESSION.ljust(10).encode() + struct.pack(">QH", market.messages + 1, 0xFFFF)

    def work() -> None:
        sender.run(simulate.Exchange(market))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            way.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            while not over.wait(0.01):
                for group in sender.lines:
                    way.sendto(last, group)

    def stop() -> None:
        sender.stop()
        over.set()

    with beside(work, stop):
        yield

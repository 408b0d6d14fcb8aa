"""The recorded feed: a simulated day, always the same, and the events that it makes."""

from __future__ import annotations

import functools
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from feedhandler import simulate
from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.handler import Handler, run_capture

if TYPE_CHECKING:
    from tests.conformance.rig import Flow

DAY = date(2026, 11, 20)
MARKET = simulate.Market(symbols=12, messages=8_000, seed=7)
GROUPS = ("239.77.1.1", "239.77.1.2", "239.77.1.3")
PORT = 26400
RING = 1 << 16
END_OF_SESSION = 0xFFFF
PACKET_BYTES = 1000  # of payload: what fits the smallest packet of any receiver


@dataclass(frozen=True)
class Feed:
    """MoldUDP64 packets, the number of their messages, and the events that a handler makes of them."""

    packets: Sequence[bytes]
    messages: int
    events: np.ndarray

    def config(self, flows: Sequence[Flow], reorder_us: int = 1_000_000) -> Config:
        """A handler of one channel on these lines."""
        lines = tuple(
            Line(name=f.name, group=f.group, port=f.port, interface=f.interface, source=f.source, vlan=f.vlan)
            for f in flows
        )
        channel = Channel(
            name="itch", protocol="itch50", session="moldudp64", venue="XNAS", date=DAY, lines=lines,
            reorder_us=reorder_us,
        )  # fmt: skip
        books = Books(instruments=64, orders=50_000)
        return Config(Shm(name="unused"), books, Ring(events=RING), Run(wait="block"), (channel,))


@functools.cache
def recorded() -> Feed:
    """The feed. The events come from a BinaryFILE of the day: neither packets nor a network were near them."""
    blocks = bytearray(1 << 16)
    exchange = simulate.Exchange(MARKET)
    packets: list[bytes] = []
    number = 1
    while size := exchange.produce(blocks):
        for count, body in _packed(bytes(blocks[:size])):
            packets.append(struct.pack(">10sQH", b"RECORDED  ", number, count) + body)
            number += count
    packets.append(struct.pack(">10sQH", b"RECORDED  ", number, END_OF_SESSION))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "day.itch"
        simulate.write(path, simulate.Exchange(MARKET))
        result = run_capture(path, day=DAY, ring_events=RING)
        with result.handler as handler:
            assert result.messages == MARKET.messages == number - 1
            return Feed(packets, MARKET.messages, events_of(handler))


def _packed(blocks: bytes) -> list[tuple[int, bytes]]:
    """Message blocks as (count, bytes), as many as fit a packet."""
    packed: list[tuple[int, bytes]] = []
    begin = at = count = 0
    while at < len(blocks):
        end = at + 2 + int.from_bytes(blocks[at : at + 2], "big")
        if count and end - begin > PACKET_BYTES - 20:
            packed.append((count, blocks[begin:at]))
            begin, count = at, 0
        at, count = end, count + 1
    packed.append((count, blocks[begin:at]))
    return packed


def events_of(handler: Handler) -> np.ndarray:
    """All events, byte for byte, but for the time of receipt and the line that was first: those are the network's."""
    head = int(handler.segment.rings["head"][0])
    assert head < RING
    events = handler.segment.slots[1 : head + 1].copy()
    events["ts_recv"] = 0
    events["line"] = 0
    return events

"""Small recorded days for the tests of book snapshots, and what a handler holds, as bytes that can be compared."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feedhandler.counters import CHANNEL
from feedhandler.decode import protocols
from feedhandler.decode.interpret import encode
from feedhandler.handler import Handler, play
from feedhandler.receive.capture import PcapWriter, read
from feedhandler.simulate import Exchange
from feedhandler.simulate.faults import Faults
from feedhandler.simulate.files import write

LINES = (("239.192.7.1", 26400), ("239.192.7.2", 26400))
SIZES: dict[str, Any] = {"orders": 30_000, "instruments": 64, "ring_events": 1 << 17}
START = 1_767_623_400_000_000_000  # 09:30 in New York, 2026-01-05
MILLISECOND = 1_000_000
EVENTS = [counter.name for counter in CHANNEL].index("events")
LOSSY = "[all]\nloss = 0.03\nduplicate = 0.02\nreorder = 0.03\n"


@dataclass
class Held:
    """What a handler holds and has said; `events` from a given one on."""

    events: bytes
    books: bytes
    directory: bytes
    counters: list[list[int]]
    types: dict[str, int]
    channels: list[tuple[Any, ...]] = field(default_factory=list)


def held(handler: Handler, behind: int = 0) -> Held:
    """All of it that does not depend on where the handler began; `behind`: events left out at the beginning."""
    segment = handler.segment
    head, slots = int(segment.rings["head"][0]), segment.slots
    assert head < len(slots), "the ring is too small for this test"
    events = slots[behind + 1 : head + 1]
    assert np.array_equal(events["seq"], np.arange(behind + 1, head + 1))
    books = _books(handler)
    used = int(segment.part("directory")["used"][0])
    channels = [
        tuple(bytes(row[name]) if name == "session" else int(row[name]) for name in ("session", "next_seq", "epoch"))
        + tuple(int(row[name]) for name in ("quality", "reason", "since"))
        for row in segment.channels
    ]
    counters = [list(map(int, row["counters"])) for row in segment.channels]
    directory = segment.directory[1:used].tobytes()
    return Held(events.tobytes(), books, directory, counters, handler.types, channels)


def rest(handler: Handler) -> Held:
    """Play a handler that was put behind a snapshot, or before a window, to the end."""
    return played(handler, int(handler.segment.rings["head"][0]))


def _books(handler: Handler) -> bytes:
    """Every book's slot, but for its seqlock."""
    used = int(handler.segment.part("directory")["used"][0])
    found = []
    for index in range(1, used):
        head, bids, asks = handler.book(index)
        head["seq"] = 0
        channel = int(handler.segment.directory["channel"][index])
        trades = handler.shard.stages[channel][2].trades(index)
        found.append(head.tobytes() + bids.tobytes() + asks.tobytes() + repr(trades).encode())
    return b"".join(found)


def played(handler: Handler, behind: int = 0) -> Held:
    """Play to the end, and what is held then."""
    with handler:
        play(handler)
        return held(handler, behind)


def itch_day(path: Path, seed: int, *, messages: int = 6_000, faults: str = LOSSY, seconds: float = 20.0) -> Path:
    """An ITCH day of two lines, with faults; its packets lie in the file as a receiver hands them on: line by line."""
    exchange = Exchange(symbols=8, messages=messages, seed=seed, duration_s=seconds, live_orders=200)
    write(path, exchange, lines=LINES, faults=Faults.parse(faults) if faults else None, seed=seed, flush_us=2000)
    return shuffled(path, seed)


def shuffled(path: Path, seed: int, batch_ns: int = 5 * MILLISECOND) -> Path:
    """The same packets, those within a few milliseconds in the order of their lines: times go back a little."""
    packets = list(read(path))
    packets.sort(key=lambda packet: (packet[0] // batch_ns, packet[1] if seed % 2 else "", packet[0]))
    with PcapWriter(path) as out:
        for ts, target, payload in packets:
            out.write(ts, payload, target)
    return path


def deep_day(path: Path, seed: int, *, messages: int = 3_000, seconds: float = 20.0, restarts: int = 1) -> Path:
    """An IEX DEEP day of two lines: events of several messages, also over packets; losses; restarts of the numbers."""
    rng, table = random.Random(seed), protocols()["iex_deep"]
    symbols = [f"SYM{i}".ljust(8) for i in range(rng.randint(1, 6))]
    made: list[tuple[int, tuple[str, int], bytes]] = []
    runs = restarts + 1
    ns = int(seconds * 1e9) // messages
    for run in range(runs):
        number, offset, waiting = 1, 0, list[bytes]()
        for i in range(messages // runs):
            now = START + (run * (messages // runs) + i) * ns + run * 3_000_000_000
            waiting.append(_deep(rng, table, symbols, now))
            if len(waiting) >= rng.randint(1, 5):
                body = b"".join(struct.pack("<H", len(m)) + m for m in waiting)
                ids = (len(body), len(waiting), offset, number, now)
                packet = struct.pack("<BxHIIHHqqq", 1, 0x8004, 1, 0x42420000, *ids) + body
                number, offset, waiting = number + len(waiting), offset + len(body), []
                for line, target in enumerate(LINES):
                    if rng.random() > (0.02 if line else 0.05):
                        made.append((now + line * rng.randint(0, 3) * MILLISECOND, target, packet))
    made.sort(key=lambda packet: packet[0])
    with PcapWriter(path) as out:
        for ts, target, payload in made:
            out.write(ts, payload, target)
    return shuffled(path, seed)


def _deep(rng: random.Random, table: Any, symbols: list[str], now: int) -> bytes:
    symbol = rng.choice(symbols).strip()
    kind = rng.random()
    if kind < 0.02:
        return encode(
            table, "trading_status", trading_status=rng.choice("HTOP"), timestamp=now, symbol=symbol, reason=""
        )
    if kind < 0.03:
        return encode(
            table, "operational_halt_status", operational_halt_status=rng.choice("ON"), timestamp=now, symbol=symbol
        )
    if kind < 0.12:
        return encode(
            table, "trade_report", sale_condition=0, timestamp=now, symbol=symbol, size=rng.randint(1, 500),
            price=rng.randint(900_000, 1_100_000) * 100_000, trade_id=rng.randint(1, 1 << 40),
        )  # fmt: skip
    side = rng.choice(("buy", "sell"))
    price = (1_000_000 + (-1 if side == "buy" else 1) * rng.randint(-2, 60) * 100) * 100_000
    size = rng.choice((0, rng.randint(1, 10_000)))
    flags = rng.choice((0, 1, 1, 1))
    name = f"price_level_{side}_update"
    return encode(table, name, event_flags=flags, timestamp=now, symbol=symbol, size=size, price=price)


def total_events(state: dict[str, Any]) -> int:
    """Events that the dumped handler had published."""
    return sum(int(channel["channel"]["counters"][EVENTS]) for channel in state["channels"])


def payload_times(path: Path) -> np.ndarray:
    """The times of a capture's packets, as they lie in it."""
    return np.array([ts for ts, _, _ in read(path)], np.int64)

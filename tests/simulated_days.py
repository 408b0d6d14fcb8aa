"""Short simulated days as files, for tests of what reads recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feedhandler import simulate
from feedhandler.receive import capture
from feedhandler.simulate.files import LINES

SIZES: Any = {"orders": 10_000, "instruments": 16, "ring_events": 8192}
"""Of the handlers that go through them."""

SYMBOLS = ("AAPL", "MSFT", "NVDA", "AMZN")


def day(path: Path, messages: int = 2000, seed: int = 1) -> Path:
    """Four symbols on two lines, the second 20 µs behind the first, in half a minute."""
    exchange = simulate.Exchange(symbols=len(SYMBOLS), messages=messages, seed=seed, duration_s=30.0)
    simulate.write(path, exchange, lines=LINES)
    return path


def with_a_gap(path: Path, messages: int = 2000) -> Path:
    """The same; a packet in the middle is on neither line."""
    whole = day(path.with_name(f"whole-{path.name}"), messages)
    packets = list(capture.read(whole))
    lost = packets[len(packets) // 2][2]
    kept = [packet for packet in packets if packet[2] != lost]
    assert len(kept) == len(packets) - len(LINES)
    kind = capture.PcapWriter if ".pcapng" not in path.name else capture.PcapngWriter
    with kind(path) as writer:
        for ts, target, payload in kept:
            writer.write(ts, payload, target)
    whole.unlink()
    return path

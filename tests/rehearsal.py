"""Small streams for rehearsals, and the words that stories about them are told in."""

from __future__ import annotations

import functools

from feedhandler.rehearse.sources import in_packets
from feedhandler.simulate import Exchange


@functools.cache
def day(
    seed: int = 1, messages: int = 2_000, symbols: int = 4, rate: float = 100_000.0, session: bytes = b"DAY       "
) -> list[tuple[int, bytes]]:
    """A short simulated day in MoldUDP64 packets, about seven messages in each."""
    exchange = Exchange(symbols=symbols, messages=messages, seed=seed)
    return list(in_packets(exchange, rate=rate, session=session, flush_ns=70_000))

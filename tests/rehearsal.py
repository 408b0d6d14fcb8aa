"""Small streams for rehearsals, and the words that stories about them are told in."""

from __future__ import annotations

import functools
import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Any

from feedhandler import rehearse
from feedhandler.config import RecoverySettings
from feedhandler.rehearse import Report, Sizes, Source, Venue
from feedhandler.rehearse.sources import in_packets
from feedhandler.simulate import Exchange
from feedhandler.simulate.faults import Faults

SMALL = Sizes(depth=32, orders=4096, instruments=32, window_messages=4096)
SECOND = 1_000_000_000


@functools.cache
def day(
    seed: int = 1, messages: int = 2_000, symbols: int = 4, rate: float = 100_000.0, session: bytes = b"DAY       "
) -> list[tuple[int, bytes]]:
    """A short simulated day in MoldUDP64 packets, about seven messages in each."""
    exchange = Exchange(symbols=symbols, messages=messages, seed=seed)
    return list(in_packets(exchange, rate=rate, session=session, flush_ns=70_000))


def two_days(second: bytes, pause_s: float = 5.0, **options: Any) -> list[tuple[int, bytes]]:
    """Two days one after the other, the other one's session called `second`: the same name is a restart.

    In the pause between them come heartbeats: of the first for a second, then of the second.
    """
    one, other = day(seed=1, **options), day(seed=2, session=second, **options)
    ended, begins = one[-1][0], one[-1][0] + round(pause_s * SECOND)
    name, number, _ = struct.unpack_from(">10sQH", one[-1][1])
    beat, new_beat = struct.pack(">10sQH", name, number, 0), struct.pack(">10sQH", second, 1, 0)
    quiet = [(at, beat if at < ended + SECOND else new_beat) for at in range(ended, begins, SECOND // 4)]
    return [*one[:-1], *quiet, *((begins + ts - other[0][0], payload) for ts, payload in other)]


def tell(
    script: str | Faults = "",
    *,
    packets: list[tuple[int, bytes]] | None = None,
    seed: int = 1,
    lines: int = 2,
    sizes: Sizes = SMALL,
    patience_s: float = 60.0,
    venue: Callable[[Source, Faults, int], Venue] = Venue,
    **settings: Any,
) -> Report:
    """What became of the stream under this script of faults."""
    faults = Faults.parse(script) if isinstance(script, str) else script
    source = rehearse.listed(day() if packets is None else packets)
    return rehearse.rehearse(
        source,
        faults,
        seed=seed,
        lines=lines,
        sizes=sizes,
        settings=RecoverySettings(**settings),
        patience_s=patience_s,
        venue=venue,
    )


def words(report: Report) -> list[str]:
    """What the channel was, other than LIVE, one after the other: QUALITY REASON."""
    return [key for key, _ in itertools.groupby(f"{p.quality} {p.reason}" for p in report.periods)]


def messages_of(packets: list[tuple[int, bytes]]) -> Iterator[bytes]:
    """The messages of MoldUDP64 packets."""
    for _, payload in packets:
        at = 20
        while at + 2 <= len(payload):
            size = int.from_bytes(payload[at : at + 2], "big")
            yield payload[at + 2 : at + 2 + size]
            at += 2 + size

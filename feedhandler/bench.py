"""What this machine does with a capture: nanoseconds a message of each stage, beside a bare C loop over the same bytes.

Each figure is the median of some rounds, measured in CPU time of this thread, so that other work on the machine counts
little. Prices of set-up (opening, unpacking, taking memory) are outside.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from feedhandler._floor import decode_floor
from feedhandler._instruments import Instruments
from feedhandler.decode import decoder
from feedhandler.errors import CaptureError
from feedhandler.listing import Listing

ROUNDS = 5
FLOORS = {"itch50": decode_floor}
"""Bare C loops that switch on the type and read the fields, by protocol."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Messages in the file, and CPU nanoseconds for each: ours, of a bare loop (None: there is none), of each stage."""

    messages: int
    ns_per_message: float
    floor_ns_per_message: float | None
    stages: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: nanoseconds to a hundredth."""
        return {
            "messages": self.messages,
            "ns_per_message": round(self.ns_per_message, 2),
            "floor_ns_per_message": None if self.floor_ns_per_message is None else round(self.floor_ns_per_message, 2),
            "stages": {name: round(figure, 2) for name, figure in self.stages.items()},
        }


def decode(path: Path, protocol: str | None = None) -> Figures:
    """The compiled decoder alone: wire bytes into events in a reused batch."""
    name, memory = in_memory(path, protocol)
    table = decoder(name, Instruments.standalone(1 << 16))
    loop = FLOORS.get(name)
    floor = partial(_count, loop, memory) if loop else None
    taken, bare = medians(partial(_count, table.decode_file, memory), floor)
    return Figures(table.decode_file(memory)[0], taken, bare, {"decode": taken})


def _count(work: Callable[[bytes], tuple[int, ...]], memory: bytes) -> int:
    return work(memory)[0]


def in_memory(path: Path, protocol: str | None = None) -> tuple[str, bytes]:
    """The protocol of a capture and its messages, each behind its length as u16 big-endian.

    Of several protocols in one capture, that of its first line. Raises CaptureError when there is no message.
    """
    with Listing(path, protocol) as listing:
        name = listing.protocols[0].name
        mine = {i for i, table in enumerate(listing.protocols) if table.name == name}
        parts = [len(m).to_bytes(2, "big") + m for _, _, line, m in listing.raw() if line in mine and m]
    if not parts:
        raise CaptureError(f"{path}: no message of {name} in it, nothing to measure")
    return name, b"".join(parts)


def medians(ours: Callable[[], int], floor: Callable[[], int] | None) -> tuple[float, float | None]:
    """Median CPU nanoseconds per operation of both, in rounds that take turns; the first round of each warms up."""
    rounds: list[float] = []
    bare: list[float] = []
    for n in range(ROUNDS + 1):
        for work, figures in ((ours, rounds), (floor, bare)):
            if work is not None:
                begin = time.thread_time_ns()
                count = work()
                taken = time.thread_time_ns() - begin
                if n:
                    figures.append(taken / max(count, 1))
    return statistics.median(rounds), statistics.median(bare) if bare else None

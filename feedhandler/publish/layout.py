"""How a segment is laid out: sizes in, the table of parts out. The records themselves stand in `_records.pxd`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feedhandler import records
from feedhandler._records import CONSTANTS

LINE_BYTES = 64  # every part and every book begins on a cache line of its own
PART_NAMES = ("directory", "symbols", "books", "rings", "slots", "channels", "lines", "histograms")
PART_INDEX = {name: CONSTANTS[f"PART_{name.upper()}"] for name in PART_NAMES}
# Per shard, in the order of HISTOGRAM_... in _records.pxd. Behind those of all shards stands one for each line: by how
# many ns it was before the next copy of the messages that it won (`Feed.leads`).
HISTOGRAMS = ("wire_receive", "receive_publish", "decode", "book")


def align(size: int) -> int:
    """`size` rounded up to whole cache lines."""
    return (size + LINE_BYTES - 1) // LINE_BYTES * LINE_BYTES


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of a segment. `instruments` counts symbols; number 0, which stands for none, is added.

    Raises ValueError, naming the size and its range, for what cannot be laid out.
    """

    depth: int = 10
    instruments: int = 1024
    channels: int = 1
    lines: int = 1
    ring_events: int = 65536
    shards: int = 1

    def __post_init__(self) -> None:
        ranges = {
            "depth": (1, 256),
            "instruments": (1, 1 << 24),
            "channels": (1, 1 << 15),
            "lines": (1, 1 << 15),
            "ring_events": (2, 1 << 30),
            "shards": (1, 256),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}, not {value}")
        if self.ring_events & (self.ring_events - 1):
            raise ValueError(f"ring_events must be a power of two, not {self.ring_events}")

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Stride in bytes and count of records of each part, by name, in the order in which they lie."""
        entries = self.instruments + 1
        places = 1 << (2 * entries - 1).bit_length()  # at most half full: searches stay short
        return {
            "directory": (records.INSTRUMENT.itemsize, entries),
            "symbols": (4, places),
            "books": (records.slot_stride(self.depth), entries),
            "rings": (records.RING.itemsize, self.shards),
            "slots": (records.EVENT.itemsize, self.shards * self.ring_events),
            "channels": (records.CHANNEL.itemsize, self.channels),
            "lines": (records.LINE.itemsize, self.lines),
            "histograms": (records.HISTOGRAM.itemsize, self.shards * len(HISTOGRAMS) + self.lines),
        }

    def parts(self) -> tuple[NDArray[np.void], int]:
        """The table of parts, dtype PART, and the bytes of the whole segment."""
        table = np.zeros(CONSTANTS["PARTS"], records.PART)
        offset = align(records.HEADER.itemsize + table.nbytes)
        for name, (stride, count) in self.sizes.items():
            table[PART_INDEX[name]] = (offset, stride, count, 1 if name == "directory" else count)
            offset += align(stride * count)
        return table, offset

"""What a handler has to tell the person who runs it: the states of its channels, in sentences."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from feedhandler.counters import CHANNEL, LINE, by_name
from feedhandler.records import Quality, Reason

if TYPE_CHECKING:
    from feedhandler.publish import Segment

ROOM = {
    "instruments_full": ("instruments", "definitions of instruments found no room, which have no books"),
    "orders_full": ("orders", "orders found no room, and their books are STALE"),
    "levels_full": ("orders", "orders found no room for their price level, and their books are STALE"),
}
"""Counters of what is too small, with the setting that makes it larger."""
UNUSED = {
    "malformed": "messages are malformed: too short for the protocol, or with values that cannot be",
    "unknown_type": "messages are of types that the protocol does not know",
    "bad_packets": "packets have lengths or counts that do not add up",
}


def complaints(segment: "Segment") -> list[str]:
    """A sentence for each thing that keeps the books of a capture from being whole, and what mends it."""
    counts = _counted(segment)
    sentences = [f"{counts[name]:,} {what}: raise --{key}" for name, (key, what) in ROOM.items() if counts.get(name)]
    return sentences + [f"{counts[name]:,} {what}" for name, what in UNUSED.items() if counts.get(name)]


def unusable(segment: "Segment") -> int:
    """Messages, and packets of them, of which the channels' protocols could make nothing."""
    counts = _counted(segment)
    return sum(counts.get(name, 0) for name in UNUSED)


def _counted(segment: "Segment") -> dict[str, int]:
    """The counters of all channels, and of all lines the packets that were refused."""
    counts: dict[str, int] = {}
    for table, rows in ((LINE, segment.lines), (CHANNEL, segment.channels)):
        for row in rows:
            for name, count in by_name(table, row).items():
                if table is CHANNEL or name == "bad_packets":
                    counts[name] = counts.get(name, 0) + count
    return counts


class News:
    """The states of channels, in words for people: said when they have lasted from one look to the next.

    And what has become too small, said once.
    """

    def __init__(self, channels: NDArray[np.void]) -> None:
        self._channels = channels
        self._seen = [(Quality.INIT, Reason.START)] * len(channels)
        self._said = list(self._seen)
        self._full: set[tuple[int, str]] = set()

    @staticmethod
    def _state(row: np.void) -> tuple[Quality, Reason]:
        quality = Quality(int(row["quality"]))
        return quality, Reason(int(row["reason"])) if quality != Quality.LIVE else Reason.NONE

    def look(self) -> list[str]:
        """A sentence for each channel that is in another state than it was said to be."""
        sentences = []
        now = [self._state(row) for row in self._channels]
        for i, (quality, reason) in enumerate(now):
            if now[i] != self._seen[i] or now[i] == self._said[i]:
                continue
            name = self._channels[i]["name"].decode()
            if quality != Quality.LIVE:
                sentences.append(f"channel {name}: {quality.name}, {reason.name}")
            elif self._said[i][1] == Reason.CATCHING_UP:
                sentences.append(f"channel {name}: caught up, LIVE")
            elif self._said[i][0] != Quality.INIT:
                sentences.append(f"channel {name}: LIVE again")
            self._said[i] = now[i]
        self._seen = now
        return sentences + self._too_small()

    def _too_small(self) -> list[str]:
        sentences = []
        for i, row in enumerate(self._channels):
            counts = by_name(CHANNEL, row)
            for name, (key, what) in ROOM.items():
                if counts[name] and (i, name) not in self._full:
                    self._full.add((i, name))
                    sentences.append(f"channel {row['name'].decode()}: {what}: raise [books] {key}")
        return sentences

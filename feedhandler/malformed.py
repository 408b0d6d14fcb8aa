"""Malformed messages as people read them: of each channel one now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from feedhandler.line import Arbiter

SAMPLE_SECONDS = 10.0  # between two malformed messages of a channel that are shown


class Malformed:
    """Looks at the channels, of which `names` and `arbiters` are given; `lines` is the line table."""

    def __init__(
        self, names: Sequence[str], arbiters: Sequence[Arbiter], lines: NDArray[np.void], note: Callable[[str], None]
    ) -> None:
        self._names, self._arbiters, self._lines, self._note = names, arbiters, lines, note
        self._shown: dict[int, float] = {}  # when one of a channel was shown last

    def show(self) -> None:
        """A note of a malformed message of each channel that has had any, in `SAMPLE_SECONDS` one at most."""
        for number, arbiter in enumerate(self._arbiters):
            now = time.monotonic()
            if now >= self._shown.get(number, -SAMPLE_SECONDS) + SAMPLE_SECONDS and (found := arbiter.malformed.take()):
                self._shown[number] = now
                self._note(self._sentence(number, *found))

    def _sentence(self, channel: int, number: int, line: int, length: int, data: bytes) -> str:
        lines = self._lines
        ours = line < len(lines) and int(lines[line]["channel"]) == channel
        where = f"line {lines[line]['name'].decode()}" if ours else "a retransmission"
        more = " ..." if length > len(data) else ""
        which = f"message {number}" if number else "a message"
        return (
            f"channel {self._names[channel]}: {which} is malformed, of {where}, {length} bytes: {data.hex(' ')}{more}"
        )

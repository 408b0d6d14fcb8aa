"""What a handler has to tell the person who runs it: the states of its channels, in sentences."""

import numpy as np
from numpy.typing import NDArray

from feedhandler.records import Quality, Reason


class News:
    """The states of channels, in words for people: said when they have lasted from one look to the next."""

    def __init__(self, channels: NDArray[np.void]) -> None:
        self._channels = channels
        self._seen = [(Quality.INIT, Reason.START)] * len(channels)
        self._said = list(self._seen)

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
            elif self._said[i][0] != Quality.INIT:
                sentences.append(f"channel {name}: LIVE again")
            self._said[i] = now[i]
        self._seen = now
        return sentences

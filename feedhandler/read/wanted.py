"""Which instruments a reader wants to hear of, by name: their numbers change with each segment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedhandler import records
from feedhandler.publish.layout import PART_INDEX
from feedhandler.read._reader import Batch, Cursor, Reader

Name = tuple[str, str]
"""Symbol and venue."""

Symbol = str | bytes | int
"""A symbol, also as the directory has it, or an instrument number."""

Symbols = Iterable[Symbol] | Symbol
"""Several of them, or a single one."""


def listed(symbols: Symbols) -> list[Symbol]:
    """The symbols one by one; a single one stands for itself, not for its letters."""
    if isinstance(symbols, str | bytes) or not isinstance(symbols, Iterable):
        return [symbols]
    return list(symbols)


def part(reader: Reader, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """One part of a segment in place, read-only."""
    offset, _, count = reader.part(PART_INDEX[name])
    return np.frombuffer(reader.memory, dtype, count, offset)


def name_of(reader: Reader, instrument: int) -> Name:
    """Symbol and venue of an instrument."""
    row = part(reader, "directory", records.INSTRUMENT)[instrument]
    return row["symbol"].decode("ascii", "replace"), row["venue"].decode("ascii", "replace")


class Wanted:
    """The instruments of one segment that are wanted: all, or those of `names` (symbol, venue).

    A name that the segment does not know yet is looked for as its directory grows, and no event of it is passed over:
    until all names are known, cursors let the events of every new instrument through, and `keep` judges them.
    """

    def __init__(self, reader: Reader, names: Sequence[Name] | None) -> None:
        self.reader, self.names = reader, names
        self.missing: set[Name] = set()
        self.numbers: dict[int, Name] = {}
        self._cursors: list[Cursor] = []
        self._seen = reader.used
        for name in names or ():
            found = reader.find(*name)
            if found:
                self.numbers[found[0]] = name
            else:
                self.missing.add(name)

    def cursors(self, start: str | int, batch: int) -> list[Cursor]:
        """A place in each shard's ring."""
        wanted: list[int] | None = None
        if self.names is not None:
            wanted = list(self.numbers)
            if self.missing:
                wanted += range(self._seen, self.reader.instruments)
        self._cursors = [Cursor(self.reader, shard, start, wanted, batch) for shard in range(self.reader.shards)]
        return self._cursors

    def look(self) -> None:
        """Learn the numbers of names that the directory has got since the last look."""
        if not self.missing:
            return
        used = self.reader.used
        for number in range(self._seen, used):
            name = name_of(self.reader, number)
            if name in self.missing:
                self.missing.discard(name)
                self.numbers[number] = name
            else:
                for cursor in self._cursors:
                    cursor.want(number, False)
        if not self.missing:
            for number in range(used, self.reader.instruments):
                for cursor in self._cursors:
                    cursor.want(number, False)
        self._seen = used

    def keep(self, batch: Batch) -> Batch:
        """The batch without what is not wanted of instruments that were named since the last look; it may be empty."""
        if not self.missing:
            return batch
        before = self._seen
        self.look()  # after the batch was taken: a directory entry is made before the first event that bears its number
        unwanted = [number for number in range(before, self._seen) if number not in self.numbers]
        if not unwanted:
            return batch
        kept = batch[~np.isin(batch["instrument"], unwanted)].view(Batch)
        kept.lost = batch.lost
        return kept

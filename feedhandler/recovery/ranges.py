"""Sets of message numbers, as ascending half-open ranges that neither touch nor overlap."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

Range = tuple[int, int]


class Ranges:
    """A set of numbers; each change costs a search and, at worst, the ranges behind it."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def add(self, first: int, end: int) -> None:
        """Put [first, end) in; ranges that touch become one."""
        if first >= end:
            return
        low = bisect_left(self._ends, first)  # the first range that touches or overlaps
        high = bisect_right(self._firsts, end)  # one behind the last
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._firsts[low:high], self._ends[low:high] = [first], [end]

    def remove(self, first: int, end: int) -> list[Range]:
        """Take [first, end) out; the parts of it that were in."""
        if first >= end:
            return []
        low = bisect_right(self._ends, first)
        high = bisect_left(self._firsts, end)
        taken, left = [], []
        for place in range(low, high):
            inside_first, inside_end = self._firsts[place], self._ends[place]
            taken.append((max(first, inside_first), min(end, inside_end)))
            left += [(inside_first, first)] if inside_first < first else []
            left += [(end, inside_end)] if inside_end > end else []
        if taken:
            self._firsts[low:high], self._ends[low:high] = [a for a, _ in left], [b for _, b in left]
        return taken

    def take(self, most: int) -> Range:
        """Take out the lowest range, at most so many numbers of it. Raises IndexError when the set is empty."""
        first, end = self._firsts[0], min(self._ends[0], self._firsts[0] + most)
        self.remove(first, end)
        return first, end

    def clear(self) -> None:
        self._firsts.clear()
        self._ends.clear()

    def __iter__(self) -> Iterator[Range]:
        return iter(list(zip(self._firsts, self._ends, strict=True)))

    def __bool__(self) -> bool:
        return bool(self._firsts)

"""What passed, the slow and obvious way: sets of numbers. The oracle of `feedhandler.recording._sequences`."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass
class PlainLine:
    seen: set[int] = field(default_factory=set)
    next: int = 0
    missing: dict[int, int] = field(default_factory=dict)  # number: since
    messages: int = 0
    duplicates: int = 0
    reordered: int = 0
    furthest: int = 0
    furthest_ns: int = 0
    won: int = 0
    filled: int = 0
    began: int = 0
    begun: int = 0


@dataclass
class PlainGap:
    first: int
    count: int
    opened: int
    session: str
    missing: set[int]
    closed: int | None = None
    lines: set[str] = field(default_factory=set)

    def plain(self) -> tuple[Any, ...]:
        return (self.first, self.count, self.opened, self.closed, self.session, len(self.missing), self.lines)


@dataclass
class PlainRun:
    session: str
    late: bool
    begun: int
    horizon: int
    lines: dict[str, PlainLine]
    seen: set[int] = field(default_factory=set)
    missing: dict[int, tuple[int, int, PlainGap | None]] = field(default_factory=dict)  # number: since, hole, gap


def ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """(first, count) of the consecutive ones."""
    if not numbers:
        return []
    cuts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if b != a + 1), len(numbers)]
    return [(numbers[a], b - a) for a, b in pairwise(cuts)]


class PlainChannel:
    """One channel, all within one second and without restarts."""

    def __init__(self, lines: list[str], reorder_ns: int) -> None:
        self.names = lines
        self.reorder_ns = reorder_ns
        self.runs: list[PlainRun] = []
        self.gaps: list[PlainGap] = []
        self.holes = self.bridged = self.filled = 0
        self.late: dict[str, int] = dict.fromkeys(lines, 0)

    def saw(self, name: str, ts: int, session: str, first: int, count: int) -> None:
        """A packet, or with `count` 0 a heartbeat."""
        self.due(ts)
        if not self.runs:
            self.runs.append(PlainRun(session, True, first, first, {n: PlainLine() for n in self.names}))
        known = [run.session for run in self.runs]
        if session not in known:
            self.runs.append(PlainRun(session, False, 1, 1, {n: PlainLine() for n in self.names}))
        elif session != known[-1]:
            self.late[name] += 1
            if session != known[-2]:
                return
        run = next(run for run in self.runs if run.session == session)
        self.place(run, name, run.lines[name], ts, first, count)
        if self.reorder_ns == 0:
            self.due(ts)

    def place(self, run: PlainRun, name: str, line: PlainLine, ts: int, first: int, count: int) -> None:
        if count == 0:
            first = max(first, run.begun)
        end = first + count
        numbers = range(first, end)
        line.messages += count
        new = [n for n in numbers if n not in line.seen]
        line.duplicates += count - len(new)
        if line.next == 0:
            line.next = line.begun = first
            line.began = ts
        swapped = [n for n in new if n < line.next]
        line.reordered += len(swapped)
        for n in swapped:
            line.furthest = max(line.furthest, line.next - n)
            line.furthest_ns = max(line.furthest_ns, ts - line.missing.pop(n, line.began))
        for n in [*range(line.next, first), *(range(end, line.begun) if count else ())]:
            line.missing[n] = ts
        line.next = max(line.next, end)
        if count:
            line.begun = min(line.begun, first)
        line.seen.update(numbers)
        # the channel
        if first > run.horizon:
            self.holes += 1
            self.runs_missing(run, range(run.horizon, first), ts)
        if count and end < run.begun:
            self.holes += 1
            self.runs_missing(run, range(end, run.begun), ts)
        won = [n for n in numbers if n not in run.seen]
        filled = [n for n in won if n < run.horizon]
        line.won += len(won)
        line.filled += len(filled)
        for n in filled:
            _, _, gap = run.missing.pop(n, (0, 0, None))
            if gap is None:
                self.bridged += 1
                continue
            self.filled += 1
            gap.missing.remove(n)
            gap.lines.add(name)
            if not gap.missing:
                gap.closed = ts
        run.horizon = max(run.horizon, end, first)
        if count:
            run.begun = min(run.begun, first)
        run.seen.update(numbers)

    def runs_missing(self, run: PlainRun, numbers: range, ts: int) -> None:
        run.missing.update(dict.fromkeys(numbers, (ts, self.holes, None)))

    def due(self, now: int | None) -> None:
        for run in self.runs:
            young: dict[tuple[int, int], list[int]] = {}
            for n, (since, hole, gap) in sorted(run.missing.items()):
                if gap is None and (now is None or now - since >= self.reorder_ns):
                    young.setdefault((since, hole), []).append(n)
            for (since, hole), numbers in young.items():
                for first, count in ranges(numbers):
                    gap = PlainGap(first, count, since, run.session, set(range(first, first + count)))
                    self.gaps.append(gap)
                    run.missing.update(dict.fromkeys(range(first, first + count), (since, hole, gap)))

    def report(self) -> dict[str, Any]:
        """The figures by the names of ChannelReport and LineReport; what is still young is a gap now."""
        self.due(None)
        lines = {}
        for name in self.names:
            parts = [run.lines[name] for run in self.runs]
            sums: dict[str, Any] = {
                key: sum(getattr(part, key) for part in parts)
                for key in ("messages", "duplicates", "reordered", "won", "filled")
            }
            sums["missing"] = sum(len(part.missing) for part in parts)
            sums["gaps"] = sum(len(ranges(sorted(part.missing))) for part in parts)
            sums["furthest"] = max((part.furthest for part in parts), default=0)
            sums["furthest_ns"] = max((part.furthest_ns for part in parts), default=0)
            sums["late"] = self.late[name]
            sums["before"] = sum(run.lines[name].begun - run.begun for run in self.runs if run.lines[name].next)
            sums["after"] = sum(run.horizon - (run.lines[name].next or run.begun) for run in self.runs)
            lines[name] = sums
        return {
            "lines": lines,
            "messages": sum(len(run.seen) for run in self.runs),
            "lost": sum(len(run.missing) for run in self.runs),
            "holes": self.holes,
            "bridged": self.bridged,
            "filled": self.filled,
            "gap_count": len(self.gaps),
            "gap_messages": sum(gap.count for gap in self.gaps),
            "closed": sum(gap.closed is not None for gap in self.gaps),
            "gaps": sorted(gap.plain() for gap in self.gaps),
            "sessions": [(run.session, run.begun, run.horizon, len(run.missing)) for run in self.runs],
        }

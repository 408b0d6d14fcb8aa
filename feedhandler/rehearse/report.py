"""What a rehearsal found, for people and for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MS = 1e-6  # of a nanosecond

WAYS = {
    "other_line": "the other line",
    "reordered": "the same line, late",
    "retransmission": "retransmission",
    "snapshot": "a snapshot",
    "session": "left behind by a new session",
    "given_up": "given up",
    "open": "still open",
}
SHARES = (0.5, 0.99, 1.0)
FILLED = ("other_line", "reordered", "retransmission", "snapshot")


@dataclass(frozen=True)
class Gap:
    """A hole in the numbers of a channel: `messages` were missing from `first` on. Times in virtual ns."""

    first: int
    messages: int
    opened: int
    closed: int
    filled: str
    """How it was filled: a key of WAYS."""

    @property
    def nanoseconds(self) -> int:
        return self.closed - self.opened


@dataclass(frozen=True)
class Period:
    """A time in which the channel was not LIVE, in virtual ns."""

    quality: str
    reason: str
    begun: int
    ended: int


@dataclass(frozen=True)
class WrongBook:
    """The first book that was LIVE and not what it should have been.

    `level` names the first place that differs, as ("bid", 1) for the best one; both books are lists of
    (price, size, orders) per side, best first.
    """

    symbol: str
    session: str
    run: int
    number: int
    side: str
    level: int
    shown: tuple[Sequence[tuple[int, int, int]], Sequence[tuple[int, int, int]]]
    wanted: tuple[Sequence[tuple[int, int, int]], Sequence[tuple[int, int, int]]]
    exponent: int = -9
    decimals: int = 9


@dataclass(frozen=True)
class LineCounts:
    """One line of the run with faults. `missing`: numbers that it did not bring in its own order."""

    messages: int
    won: int
    duplicates: int
    missing: int
    bad_packets: int


@dataclass
class Report:
    """The outcome of one rehearsal. `ok`: no book was ever LIVE and wrong, and at the end all are right."""

    source: str
    seed: int
    packets: int = 0
    messages: int = 0
    compared: int = 0
    """Books found LIVE and equal right after a message that touched them."""
    wrong_live: int = 0
    """Moments at which a book was LIVE and not equal to the lossless one."""
    first_wrong: WrongBook | None = None
    gaps: list[Gap] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    lost_messages: int = 0
    snapshots: int = 0
    lines: list[LineCounts] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    """The lossless run's sessions; a restart under the same session id is named once more."""
    equal: list[str] = field(default_factory=list)
    not_live: list[str] = field(default_factory=list)
    wrong_at_end: list[str] = field(default_factory=list)
    stale_without_faults: list[str] = field(default_factory=list)
    """Books that were not LIVE at the end of the lossless run either."""
    begun: int = 0
    ended: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.wrong_live and not self.wrong_at_end

    @property
    def whole(self) -> bool:
        """At the end every book is LIVE and equal, as far as it is in the lossless run."""
        return self.ok and set(self.not_live) <= set(self.stale_without_faults)

    @property
    def filled(self) -> dict[str, int]:
        """How many gaps were filled in each way."""
        count = Counter(gap.filled for gap in self.gaps)
        return {way: count[way] for way in WAYS}

    def times(self) -> list[int]:
        """Times to recovery in virtual ns, ascending: of the gaps that were filled."""
        return sorted(gap.nanoseconds for gap in self.gaps if gap.filled in FILLED)

    def as_json(self) -> dict[str, Any]:
        """For programs: numbers and short names only. Times in milliseconds of virtual time."""
        times = self.times()
        first = self.first_wrong
        return {
            "source": self.source,
            "seed": self.seed,
            "gaps": len(self.gaps),
            "recovered": len(times),
            "lost": self.filled["given_up"] + self.filled["open"],
            "lost_messages": self.lost_messages,
            "wrong_live": self.wrong_live,
            "filled": self.filled,
            "snapshots": self.snapshots,
            "recovery_ms": {
                "p50": percentile(times, 0.5) * MS,
                "p99": percentile(times, 0.99) * MS,
                "max": percentile(times, 1) * MS,
            },
            "not_live": [
                {
                    "quality": period.quality,
                    "reason": period.reason,
                    "from_ms": (period.begun - self.begun) * MS,
                    "ms": (period.ended - period.begun) * MS,
                }
                for period in self.periods
            ],
            "lines": [asdict(line) for line in self.lines],
            "sessions": self.sessions,
            "packets": self.packets,
            "messages": self.messages,
            "compared": self.compared,
            "books": {
                "live_and_equal": len(self.equal),
                "not_live": self.not_live,
                "wrong": self.wrong_at_end,
                "not_live_without_faults": self.stale_without_faults,
            },
            "first_wrong": None
            if first is None
            else {
                "symbol": first.symbol,
                "session": first.session,
                "number": first.number,
                "side": first.side,
                "level": first.level,
                "shown": first.shown,
                "wanted": first.wanted,
            },
        }


def percentile(ascending: Sequence[int], share: float) -> int:
    """The smallest value that this share of all is not above; 0 of none."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)] if ascending else 0


def duration(nanoseconds: float) -> str:
    """A time for people: 350 µs, 1.20 ms, 2.0 s."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def draw(report: Report) -> Any:
    """The report as something that rich prints."""
    from rich.console import Group
    from rich.table import Table

    head = Table(box=None, show_header=False, pad_edge=False)
    times = report.times()
    filled = ", ".join(f"{count:,} by {WAYS[way]}" for way, count in report.filled.items() if count and way in FILLED)
    rows = [
        ("source", f"{report.source}, seed {report.seed}"),
        ("packets, messages", f"{report.packets:,}, {report.messages:,} in {duration(report.ended - report.begun)}"),
        ("missed by lines", ", ".join(f"{line.missing:,} of {report.messages:,}" for line in report.lines)),
        ("gaps", f"{len(report.gaps):,}"),
        ("filled", filled or "none"),
        ("given up, open", f"{report.filled['given_up']:,}, {report.filled['open']:,}"),
        ("messages lost", f"{report.lost_messages:,}"),
        (
            "time to recovery",
            "p50 {}, p99 {}, max {}".format(*(duration(percentile(times, p)) for p in (0.5, 0.99, 1))),
        ),
        ("not LIVE", _periods(report.periods)),
        ("compared", f"{report.compared:,} times a LIVE book with the lossless one"),
        ("LIVE and wrong", f"{report.wrong_live:,}"),
        ("at the end", _end(report)),
    ]
    for name, value in rows:
        head.add_row(f"[bold]{name}[/bold]", value)
    return Group(head, *(_first(report) if report.first_wrong is not None else ()))


def _end(report: Report) -> str:
    words = [f"{len(report.equal):,} books LIVE and equal", f"{len(report.not_live):,} not LIVE"]
    if report.stale_without_faults:
        words.append(f"{len(report.stale_without_faults):,} not LIVE without faults either")
    words.append(f"{len(report.wrong_at_end):,} wrong")
    return ", ".join(words)


def _periods(periods: Sequence[Period]) -> str:
    total: dict[str, list[int]] = {}
    for period in periods:
        total.setdefault(f"{period.quality} ({period.reason})", []).append(period.ended - period.begun)
    return (
        ", ".join(f"{len(all_):,} × {what}, {duration(sum(all_))}" for what, all_ in sorted(total.items())) or "never"
    )


def _first(report: Report) -> tuple[str, Any]:
    """A sentence, and both books beside each other around the first difference."""
    from rich.table import Table

    from feedhandler.figures import price_text

    wrong = report.first_wrong
    assert wrong is not None
    where = f"number {wrong.number:,} of session {wrong.session}, first at {wrong.side} {wrong.level}"
    sentence = f"{wrong.symbol} was LIVE and wrong at {where}; --seed {report.seed} shows it again:"
    table = Table(box=None)
    for column in ("level", "shown bid", "right bid", "shown ask", "right ask"):
        table.add_column(column, justify="right")
    sides = (wrong.shown[0], wrong.wanted[0], wrong.shown[1], wrong.wanted[1])

    def cell(levels: Sequence[tuple[int, int, int]], i: int) -> str:
        if i >= len(levels):
            return "-"
        price, size, orders = levels[i]
        return f"{size:,} @ {price_text(price, wrong.exponent, wrong.decimals)} ({orders})"

    for i in range(max(0, wrong.level - 3), min(wrong.level + 2, max(map(len, sides), default=0))):
        cells = [cell(levels, i) for levels in sides]
        for k in (0, 2):
            if cells[k] != cells[k + 1]:
                cells[k] = f"[red]{cells[k]}[/red]"
        table.add_row(str(i + 1), *cells)
    return sentence, table

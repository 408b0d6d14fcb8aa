"""What a conversion did, in figures: for people, for `--json`, and to be added up over processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feedhandler.counters import CHANNEL, by_name

if TYPE_CHECKING:
    from feedhandler.convert.files import Written
    from feedhandler.publish import Segment


@dataclass
class Report:
    """Figures of one conversion, or of several together."""

    inputs: list[str] = field(default_factory=list)
    files: list[Written] = field(default_factory=list)
    messages: int = 0
    """Messages read, each once, whatever the lines."""
    events: int = 0
    """What they came to."""
    rows: int = 0
    gaps: int = 0
    lost: int = 0
    """Messages that no line brought."""
    first_valid: int | None = None
    """Exchange time of the first row whose book was LIVE, ns since the Unix epoch; None = there was none."""
    stepped_back: int = 0
    """Rows whose exchange time is before that of a row before: the feed's order is kept."""
    read: int = 0
    """Bytes of the inputs."""
    written: int = 0
    """Bytes of the files."""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    """Sentences: what was damaged, what found no room, what a format cannot hold."""

    def count(self, segment: Segment) -> None:
        """Take the counters of a handler's channels."""
        for row in segment.channels:
            counts = by_name(CHANNEL, row)
            self.gaps += counts["gaps"]
            self.lost += counts["lost"]

    def add(self, other: Report) -> None:
        """Take another's figures; the seconds are not added: they pass side by side."""
        self.inputs += other.inputs
        self.files += other.files
        for name in ("messages", "events", "rows", "gaps", "lost", "stepped_back", "read", "written"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        known = [first for first in (self.first_valid, other.first_valid) if first is not None]
        self.first_valid = min(known, default=None)
        self.notes += [note for note in other.notes if note not in self.notes]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """For people."""
        rate = self.events / self.seconds if self.seconds else 0.0
        many = f" in {len(self.files):,} files" if len(self.files) != 1 else f" in {self.files[0].path}"
        first = "no book was ever LIVE" if self.first_valid is None else f"first valid {_time(self.first_valid)}"
        lines = [
            f"{self.rows:,} rows{many}, {self.written:,} bytes",
            f"of {self.messages:,} messages, {self.events:,} events, {self.read:,} bytes, "
            f"in {self.seconds:.1f} s: {rate:,.0f} events a second",
            f"{self.gaps:,} gaps, {self.lost:,} messages lost for good; {first}",
        ]
        if self.stepped_back:
            lines.append(f"{self.stepped_back:,} rows are older than one before them, by the exchange's time, as sent")
        return lines + self.notes


def _time(ns: int) -> str:
    seconds, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"

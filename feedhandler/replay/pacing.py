"""How well a replay kept its times."""

from __future__ import annotations

import dataclasses
from typing import Any

from feedhandler.figures import duration
from feedhandler.simulate._schedule import Schedule


@dataclasses.dataclass(frozen=True)
class PacingReport:
    """The error |sent - due| of every packet, and the mean rate beside the one that was wanted.

    Due times count from one start instant on CLOCK_MONOTONIC. A packet counts as sent when the system call that carried
    it has returned, so the kernel's own work is part of the error. Percentiles are exact to 1/32. Without a pace (as
    fast as possible, or step by step) there are no errors and no wanted rate: they are None.
    """

    packets: int
    seconds: float
    """From the first packet sent to the last."""
    per_second: float
    wanted_per_second: float | None
    rate_error: float | None
    """How much faster than wanted the mean was: 0.001 is 0.1 %."""
    p50_ns: int | None
    p99_ns: int | None
    p999_ns: int | None
    max_ns: int | None
    starved: int
    """How often the next packet was due and had not been read yet: the disk, or the unpacking, was too slow."""
    preempted: int
    """How often the kernel took the sending thread, or one of the two, off its CPU for another."""
    spinners: int
    """How many threads raced for each packet."""

    @classmethod
    def of(cls, schedule: Schedule, *, starved: int = 0, preempted: int = 0, spinners: int = 1) -> PacingReport:
        """The report of a schedule that has been kept."""
        figures = schedule.figures
        packets, seconds = int(figures["sends"]), figures["sent_ns"] / 1e9
        rate = (packets - 1) / seconds if packets > 1 and seconds > 0 else 0.0
        wanted = error = None
        paced = schedule.paced and packets > 0
        if paced:
            due = figures["due_ns"] / 1e9
            wanted = (packets - 1) / due if packets > 1 and due > 0 else 0.0
            error = due / seconds - 1 if seconds > 0 and due > 0 else 0.0
        errors = [schedule.error_ns(share) if paced else None for share in (0.5, 0.99, 0.999, 1.0)]
        p50, p99, p999, worst = errors
        return cls(packets, seconds, rate, wanted, error, p50, p99, p999, worst, starved, preempted, spinners)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def sentences(self, what: str = "packets") -> list[str]:
        """For people."""
        if self.wanted_per_second is None or self.rate_error is None:
            rate = f" ({self.per_second:,.0f} a second), without a pace" if self.packets else ""
            return [f"{self.packets:,} {what} in {self.seconds:.2f} s{rate}"]
        shares = (("p50", self.p50_ns), ("p99", self.p99_ns), ("p99.9", self.p999_ns), ("max", self.max_ns))
        said = [
            f"{self.packets:,} {what} in {self.seconds:.2f} s: {self.per_second:,.1f} a second, wanted "
            f"{self.wanted_per_second:,.1f} ({self.rate_error:+.4%})",
            "pacing error |sent - due|: " + ", ".join(f"{name} {duration(error or 0)}" for name, error in shares),
        ]
        if self.preempted:
            who = "sending thread was taken off its CPU" if self.spinners == 1 else "spinners were taken off their CPUs"
            said.append(f"the {who} {self.preempted:,} times: other programs wanted it")
        if self.starved:
            said.append(f"the recording was not read fast enough {self.starved:,} times")
        return said

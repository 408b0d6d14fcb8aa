"""What a check found: the figures of the recording, what the manifest promised of it, and the sentences for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from feedhandler.recording.report import ChannelReport, LineReport, plain
from feedhandler.venue_config import CONTROL, WEBSOCKET

Severity = Literal["lost", "damage", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should know. `lost` and `damage` mean that the recording is not whole."""

    severity: Severity
    text: str
    channel: str = ""
    line: str = ""
    at: int | None = None
    """When, ns since the Unix epoch; None: of the whole recording."""


@dataclass(frozen=True, slots=True)
class FileCheck:
    """A file beside what the manifest says of it; without a manifest, as it was found."""

    name: str
    bytes: int
    packets: int | None
    """As promised; None: nothing was."""
    state: Literal["whole", "growing", "missing", "changed", "damaged", "unlisted", "unchecked"]
    """whole: its sha256 is right. unchecked: it could not be, or should not be compared."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Drops:
    """Packets of a line that came and were not recorded, as the recorder counted them."""

    channel: str
    line: str
    kernel: int
    """The kernel or the NIC had no room."""
    recorder: int
    """They could not be written."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lines over time, in buckets of equal width."""

    start: int
    width: int
    """ns."""
    lines: tuple[tuple[str, str], ...]
    """(channel, line) of each row."""
    rows: NDArray[np.uint64]
    """(lines, buckets, 6): packets, bytes, numbers lost on the line, of these come after all, lacking on the channel,
    filled by the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookCheck:
    """A book of a JSON channel, played through the line stage that keeps it live."""

    channel: str
    symbol: str
    state: str
    """At the end: LIVE, STALE, INIT; and why."""
    reason: str
    began: bool
    """It has been LIVE."""
    continued: int
    """Times that it was not whole, and a late or other copy, or what continues it, proved it right."""
    by_snapshot: int
    """Times that only a snapshot made it whole again."""
    missing: int
    """Numbers that never came, as far as they are told."""
    longest_ns: int
    """The longest time that it was not whole, of those that ended."""
    first: int | None
    """When it first was not, ns since the Unix epoch."""
    open_since: int | None
    """Since when it is not, at the end; None: it is, or never was."""


@dataclass(frozen=True, kw_only=True)
class DayReport:
    """What there is to say about one recording."""

    source: str
    zone: str
    """The time zone of the exchange, in which times are shown."""
    channels: tuple[ChannelReport, ...]
    files: tuple[FileCheck, ...]
    drops: tuple[Drops, ...]
    findings: tuple[Finding, ...]
    manifest: bool
    """There was one to compare with."""
    timeline: Timeline
    books: tuple[BookCheck, ...] = ()
    """Of JSON channels."""

    @property
    def whole(self) -> bool:
        """Nothing was lost for good, no file is damaged."""
        return not any(finding.severity in ("lost", "damage") for finding in self.findings)

    @property
    def strictly_whole(self) -> bool:
        """And nothing else is to be warned of: it begins with the first message and ends with the last."""
        return not any(finding.severity != "note" for finding in self.findings)

    @property
    def messages(self) -> int:
        """Numbered messages that came, each once."""
        return sum(channel.messages for channel in self.channels)

    @property
    def lost(self) -> int:
        """Messages that no line ever brought."""
        return sum(channel.lost for channel in self.channels)

    @property
    def packets(self) -> int:
        """Of all lines."""
        return sum(line.packets for channel in self.channels for line in channel.lines)

    @property
    def first_ts(self) -> int | None:
        """The time of the first packet."""
        return min((c.first_ts for c in self.channels if c.first_ts is not None), default=None)

    @property
    def last_ts(self) -> int | None:
        """The latest time of a packet."""
        return max((c.last_ts for c in self.channels if c.last_ts is not None), default=None)

    @property
    def verdict(self) -> str:
        """What a person needs first, in one sentence."""
        if self.whole:
            if self.books and all(channel.session == WEBSOCKET for channel in self.channels):
                return f"{self.source}: whole: {self._followed()}"
            if self.channels and all(channel.unsequenced for channel in self.channels):
                return (
                    f"{self.source}: unknown: its messages bear no numbers, so nothing can be said of what is missing"
                )
            return f"{self.source}: whole{self._late()}: {self._amount()}, nothing lost{self._spared()}"
        reasons = []
        if self.lost:
            gaps = sum(_lost_gaps(channel) for channel in self.channels)
            first = min((g.opened for c in self.channels for g in c.gaps if g.missing), default=None)
            when = f", the first at {self.time(first)}" if first else ""
            reasons.append(
                f"{_count(self.lost, 'message')} of {self.messages + self.lost:,} lost for good in "
                f"{_count(gaps, 'gap')}{when}"
            )
        damage = [finding.text for finding in self.findings if finding.severity == "damage"]
        others = [f.text for f in self.findings if f.severity == "lost"] if not self.lost else []
        reasons += [*others[:1], *damage[:1]]
        more = len(others[1:]) + len(damage[1:])
        return f"{self.source}: NOT whole: {'; '.join(reasons)}{f'; and {more} more' if more else ''}"

    def _late(self) -> str:
        late = [channel for channel in self.channels if channel.joined_late]
        if not late:
            return ""
        return f" from {late[0].sessions[0].first:,} on" if len(self.channels) == 1 else " as far as it goes back"

    def _followed(self) -> str:
        texts = sum(line.unsequenced for channel in self.channels for line in channel.lines)
        span = f", {self.time(self.first_ts)} to {self.time(self.last_ts)} {self.zone}" if self.first_ts else ""
        began = sum(book.began for book in self.books)
        return (
            f"{_count(texts, 'text')} of {_count(len(self.channels), 'channel')}{span}; {began:,} of "
            f"{_count(len(self.books), 'book')} by the venues' own rules, nothing lost for good"
        )

    def _amount(self) -> str:
        lines = sum(len(channel.lines) for channel in self.channels)
        span = f", {self.time(self.first_ts)} to {self.time(self.last_ts)} {self.zone}" if self.first_ts else ""
        return (
            f"{_count(self.messages, 'message')} in {_count(self.packets, 'packet')} of "
            f"{_count(len(self.channels), 'channel')} on {_count(lines, 'line')}{span}"
        )

    def _spared(self) -> str:
        apart = [
            (line.name, passed)
            for channel in self.channels
            for line in channel.lines
            if (passed := line.missing + line.before + line.after - channel.lost) > 0 and len(channel.lines) > 1
        ]
        if not apart:
            return ""
        told = ", ".join(f"{name} {passed:,}" for name, passed in apart[:3])
        return f" (the lines had what the others missed: {told}{', …' if len(apart) > 3 else ''})"

    def time(self, ts: int | None, digits: int = 3) -> str:
        """A time at the exchange: HH:MM:SS.mmm; with its date when the recording spans several days."""
        if not ts:
            return "-"
        seconds, rest = divmod(ts, 1_000_000_000)
        try:
            moment = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(self.zone))
        except (ValueError, OverflowError, OSError):
            return f"{ts} ns"
        text = f"{moment:%H:%M:%S}.{rest:09d}"[: 8 + (digits and digits + 1)]
        first, last = self.first_ts, self.last_ts
        apart = first is not None and last is not None and last - first > 86_400_000_000_000
        return f"{moment:%Y-%m-%d} {text}" if apart else text

    @property
    def day(self) -> str:
        """The date of the first packet at the exchange; "" without times."""
        if not self.first_ts:
            return ""
        return f"{datetime.fromtimestamp(self.first_ts // 1_000_000_000, UTC).astimezone(ZoneInfo(self.zone)):%Y-%m-%d}"

    def as_json(self) -> dict[str, Any]:
        """Everything but the timeline, as JSON has it."""
        return {
            "source": self.source,
            "verdict": self.verdict,
            "whole": self.whole,
            "zone": self.zone,
            "day": self.day or None,
            "first_ts": self.first_ts,
            "last_ts": self.last_ts,
            "packets": self.packets,
            "messages": self.messages,
            "lost": self.lost,
            "manifest": self.manifest,
            "findings": plain(self.findings),
            "channels": plain(self.channels),
            "files": plain(self.files),
            "drops": plain(self.drops),
            "books": plain(self.books),
        }


def _lost_gaps(channel: ChannelReport) -> int:
    return channel.gap_count - channel.closed


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def describe(report: DayReport) -> Iterator[Finding]:
    """What the figures of the channels and lines say, the worst of each channel first."""
    if not report.packets:  # of a wrong interface or a wrong stretch, too, nothing was lost
        yield Finding("lost", "it is empty: no packet of any line")
    for channel in report.channels:
        yield from _of_channel(report, channel)
        for line in channel.lines:
            yield from _of_line(report, channel, line)


ENDS = ("moldudp64", "soupbintcp", "binaryfile")
"""Session protocols that say when a session is over."""


def _of_channel(report: DayReport, channel: ChannelReport) -> Iterator[Finding]:
    name = channel.name

    def found(severity: Severity, text: str, at: int | None = None) -> Finding:
        return Finding(severity, text, name, "", at)

    if channel.lost:
        worst = max((gap for gap in channel.gaps if gap.missing), key=lambda gap: gap.missing, default=None)
        largest = ""
        if worst is not None:
            largest = (
                f"; the largest: {worst.missing:,} of {worst.first:,} to {worst.first + worst.count - 1:,} "
                f"at {report.time(worst.opened)}"
            )
        text = f"{_count(channel.lost, 'message')} lost for good in {_count(_lost_gaps(channel), 'gap')}{largest}"
        yield found("lost", text, worst.opened if worst else None)
    if channel.forgotten:
        yield found(
            "warning",
            f"{channel.forgotten:,} holes found no room beside thousands of others: they count as lost, even if some "
            "of their messages came later",
        )
    if channel.unsequenced and channel.session != WEBSOCKET:  # whose books are looked at
        yield found("warning", "its messages bear no numbers: nothing can be said of what is missing")
    if channel.filled:
        yield found(
            "note",
            f"{_count(channel.filled, 'message')} came later than {channel.reorder_ns / 1e6:g} ms after they were "
            "missed: a live book would have been stale meanwhile",
        )
    if channel.joined_late:
        first = channel.sessions[0].first
        yield found(
            "warning", f"begins at number {first:,}: the {_count(first - 1, 'message')} before it were not recorded"
        )
    if channel.session in ENDS and channel.sessions and channel.sessions[-1].ended is None:
        yield found("warning", "the end of the session was not recorded", channel.last_ts)
    if channel.restarts:
        yield found("note", f"its numbers began anew {_count(channel.restarts, 'time')} under the same session id")
    if channel.session_count - channel.restarts > 1:
        yield found("note", f"{channel.session_count - channel.restarts} sessions")


def _of_line(report: DayReport, channel: ChannelReport, line: LineReport) -> Iterator[Finding]:
    lines = len(channel.lines)

    def found(severity: Severity, text: str, at: int | None = None) -> Finding:
        return Finding(severity, text, channel.name, line.name, at)

    if channel.session == WEBSOCKET and line.name == CONTROL:  # it speaks when there is something to say
        return
    if not line.packets:
        yield found("warning", "brought nothing at all")
        return
    others = line.missing + line.before + line.after - channel.lost
    if lines > 1 and others > 0:
        parts = [f"{line.missing:,} in {_count(line.gaps, 'gap')}"] if line.missing else []
        parts += [f"{line.before:,} before its first"] if line.before else []
        parts += [f"{line.after:,} after its last"] if line.after else []
        yield found("note", f"did not bring {', '.join(parts)}; {others:,} of these came on other lines")
    if line.bad:
        yield found("warning", f"{_count(line.bad, 'bad packet')}: lengths or counts that do not add up")
    if line.late:
        yield found("note", f"{_count(line.late, 'packet')} of a session that was over, or from before the recording")
    if line.silence_count:
        longest = line.longest_silence
        assert longest is not None
        seconds = (longest.end - longest.start) / 1e9
        times = "" if line.silence_count == 1 else f" {line.silence_count:,} times, the longest"
        lost = sum(silence.missing for silence in line.silences)
        over = f"; {_count(lost, 'message')} lost over it" if lost else ""
        yield found("warning", f"silent{times} {seconds:,.1f} s from {report.time(longest.start)}{over}", longest.start)
    last = channel.last_ts
    if last is not None and line.last_ts is not None and last - line.last_ts >= channel.silence_ns:
        quiet = (last - line.last_ts) / 1e9
        yield found(
            "warning", f"said nothing in the last {quiet:,.1f} s, from {report.time(line.last_ts)}", line.last_ts
        )
    first = channel.first_ts
    if first is not None and line.first_ts is not None and line.first_ts - first >= channel.silence_ns:
        yield found(
            "warning", f"came only {(line.first_ts - first) / 1e9:,.1f} s after the channel began", line.first_ts
        )
    if line.clock_step_count:
        step = max(line.clock_steps, key=lambda step: abs(step.by))
        way = "back" if step.by < 0 else "forward"
        times = "" if line.clock_step_count == 1 else f"{line.clock_step_count:,} times, at most "
        yield found(
            "warning", f"its clock was set {times}{way} by {abs(step.by) / 1e9:g} s at {report.time(step.at)}", step.at
        )

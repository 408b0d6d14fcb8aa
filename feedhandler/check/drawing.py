"""A recording over time as a picture: rates of the lines, what each lost, what no line brought."""

from __future__ import annotations

import io
import textwrap
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from feedhandler import picture

if TYPE_CHECKING:
    from feedhandler.check.report import DayReport

COMMAND = "check"
COLOURS = ("#1f6feb", "#e8833a", "#3fa66b", "#a371f7", "#d4a72c", "#57606a")
LOST, SPARED, SILENT = "#d1242f", "#f0a202", "#c9d1d9"
POINTS = 600  # of a curve: what a picture can show
PACKETS, _, LINE_LOST, LINE_CAME, _, _ = range(6)
FORMS = ((5e9, "%H:%M:%S.%f"), (600e9, "%H:%M:%S"), (26 * 3600e9, "%H:%M"), (float("inf"), "%m-%d %H:%M"))
"""How times stand at the axis, for spans of less than so many ns."""


def figures() -> Any:
    """matplotlib's Figure. Raises ConfigError when matplotlib is not installed."""
    return picture.figures(COMMAND)


def plot(report: DayReport, path: str | Path) -> None:
    """Draw it into `path`: PNG, SVG, PDF, by its ending. Raises ConfigError when that cannot be."""
    picture.save(draw(report), path, COMMAND)


def svg(report: DayReport) -> str:
    """The picture as an SVG element, to stand in a page."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "feedhandler"}):
        draw(report, titled=False).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def draw(report: DayReport, titled: bool = True) -> Any:
    """For each channel the packets a second of each line, and below them a strip for each line and one for all."""
    channels = [channel for channel in report.channels if channel.first_ts]
    lines = [len(channel.lines) for channel in channels] or [1]
    heights = [height for count in lines for height in (2.2, 0.28 * count + 0.36)]
    figure = figures()(figsize=(11, 1.15 + sum(heights)), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.06, hspace=0.01)
    if not channels:
        figure.text(0.5, 0.5, "no times in this recording: nothing to draw", ha="center")
        return figure
    axes = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    clock = _Clock(report)
    for number, channel in enumerate(channels):
        _rates(report, channel, axes[2 * number], clock)
        _strips(report, channel, axes[2 * number + 1], clock)
    axes[-1].set_xlabel(f"{report.day}, {report.zone}" if report.day else report.zone)
    if not titled:
        return figure
    figure.suptitle(
        textwrap.fill(report.verdict, 110, max_lines=2, placeholder=" …"),
        fontsize="medium",
        color=LOST if not report.whole else "#1a7f37",
        fontweight="bold",
    )
    return figure


class _Clock:
    """Times of the feed as matplotlib has them: days at the exchange."""

    def __init__(self, report: DayReport) -> None:
        self.zone: tzinfo = ZoneInfo(report.zone)
        self.origin = report.first_ts or 0
        shift = datetime.fromtimestamp(self.origin // 1_000_000_000, self.zone).utcoffset()
        self.shift = (shift or timedelta()).total_seconds() * 1e9

    def __call__(self, ts: int | NDArray[np.floating]) -> Any:
        return (np.asarray(ts, dtype=np.float64) + self.shift) / 86_400e9


def _rates(report: DayReport, channel: Any, axis: Any, clock: _Clock) -> None:
    from matplotlib import dates
    from matplotlib.ticker import FuncFormatter

    timeline = report.timeline
    used = _used(report)
    fold = max(1, -(-used // POINTS))
    seconds = timeline.width * fold / 1e9
    top = 0.0
    for number, line in enumerate(channel.lines):
        row = timeline.lines.index((channel.name, line.name))
        packets = _folded(timeline.rows[row, :used, PACKETS], fold) / seconds
        edges = clock(timeline.start + np.arange(len(packets) + 1) * float(timeline.width * fold))
        colour = COLOURS[number % len(COLOURS)]
        if number == 0:
            axis.stairs(packets, edges, color=colour, alpha=0.18, fill=True)
        axis.stairs(packets, edges, color=colour, lw=1.4 - 0.3 * min(number, 3), label=f"line {line.name}")
        top = max(top, float(packets.max(initial=0.0)))
    axis.set_ylim(0, top * 1.3 or 1)
    axis.set_ylabel("packets/s")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_title(f"{channel.name}", loc="left", fontsize="medium")
    lost = f"{channel.lost:,} lost for good" if channel.lost else "nothing lost"
    axis.set_title(f"{channel.messages:,} messages, {lost}", loc="right", fontsize="small", color="#57606a")
    axis.grid(alpha=0.25)
    axis.legend(fontsize="small", ncols=len(channel.lines), loc="upper left", frameon=False)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    made: Any = dates  # matplotlib does not type these
    span = (report.last_ts or 0) - (report.first_ts or 0)
    form = next(form for most, form in FORMS if span < most)
    axis.xaxis.set_major_locator(made.AutoDateLocator(maxticks=9))
    axis.xaxis.set_major_formatter(made.DateFormatter(form))
    axis.tick_params(labelbottom=False)


def _strips(report: DayReport, channel: Any, axis: Any, clock: _Clock) -> None:
    """A row for each line: when it lost what others had, when it was silent; below them what no line brought."""
    from matplotlib.patches import Patch

    timeline = report.timeline
    used = _used(report)
    names = [f"line {line.name}" for line in channel.lines] + (["all lines"] if len(channel.lines) > 1 else [])
    width = max(timeline.width, (timeline.width * used) // 500)  # a gap of one packet is to be seen, too
    end = (report.last_ts or 0) + 1
    gone = [(gap.opened, width) for gap in channel.gaps if gap.missing]
    for number, line in enumerate(channel.lines):
        at = len(names) - 1 - number
        axis.broken_barh(
            [(clock(timeline.start), clock(end) - clock(timeline.start))], (at - 0.36, 0.72), color="#eef1f4"
        )
        row = timeline.lines.index((channel.name, line.name))
        rows = timeline.rows[row, :used].astype(np.int64)
        lacking = np.flatnonzero(rows[:, LINE_LOST] > rows[:, LINE_CAME])
        quiet = [(silence.start, silence.end - silence.start) for silence in line.silences]
        if line.last_ts is not None and channel.last_ts - line.last_ts >= channel.silence_ns:
            quiet.append((line.last_ts, channel.last_ts - line.last_ts))
        if line.first_ts is not None and line.first_ts - channel.first_ts >= channel.silence_ns:
            quiet.append((channel.first_ts, line.first_ts - channel.first_ts))
        _bars(axis, clock, quiet, at, SILENT)
        spared = SPARED if len(channel.lines) > 1 else LOST
        _bars(axis, clock, [(timeline.start + int(i) * timeline.width, width) for i in lacking], at, spared)
    if len(channel.lines) > 1:
        axis.broken_barh([(clock(timeline.start), clock(end) - clock(timeline.start))], (-0.36, 0.72), color="#e6f4ea")
        _bars(axis, clock, gone, 0, LOST)
    axis.set_yticks(range(len(names)), reversed(names))
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.tick_params(length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(labelbottom=True, axis="x", length=3)
    handles = [Patch(color=SPARED, label="lost on this line")] if len(channel.lines) > 1 else []
    handles += [
        Patch(color=LOST, label="lost on all lines" if handles else "lost for good"),
        Patch(color=SILENT, label="silent"),
    ]
    axis.legend(
        handles=handles, fontsize="x-small", ncols=3, loc="lower right", bbox_to_anchor=(1.0, 0.98), frameon=False
    )


def _bars(axis: Any, clock: _Clock, spans: list[tuple[int, int]], at: int, colour: str) -> None:
    if spans:
        made = [(float(clock(start)), float(length) / 86_400e9) for start, length in spans]
        axis.broken_barh(made, (at - 0.36, 0.72), color=colour, lw=0)


def _used(report: DayReport) -> int:
    """Buckets of the timeline up to the last that holds anything."""
    filled = np.flatnonzero(report.timeline.rows[:, :, PACKETS].sum(axis=0))
    return int(filled[-1]) + 1 if len(filled) else 1


def _folded(row: NDArray[np.uint64], fold: int) -> NDArray[np.float64]:
    """Sums of `fold` neighbours."""
    padded = np.zeros(-(-len(row) // fold) * fold, dtype=np.float64)
    padded[: len(row)] = row
    sums: NDArray[np.float64] = padded.reshape(-1, fold).sum(axis=1)
    return sums


def _short(value: float) -> str:
    for divisor, unit in ((1e6, "M"), (1e3, "k")):
        if value >= divisor:
            return f"{value / divisor:g}{unit}"
    return f"{value:g}"

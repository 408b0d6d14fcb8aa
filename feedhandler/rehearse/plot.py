"""Gaps and times to recovery as a picture. Needs matplotlib, an extra of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feedhandler import picture
from feedhandler.rehearse.report import WAYS, Report


def figures() -> Any:
    """matplotlib's Figure. Raises ConfigError when matplotlib is not installed."""
    return picture.figures("rehearse")


def plot(report: Report, path: str | Path) -> None:
    """Draw when gaps opened and how long each stayed open, and how the times are distributed, into `path`.

    Raises ConfigError when matplotlib is not installed, or does not know the ending of `path`.
    """
    figure = figures()(figsize=(10, 6), layout="constrained")
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    along, spread = figure.subplots(2, 1, height_ratios=(3, 2))
    for period in report.periods:
        colour = "tab:red" if period.quality == "STALE" else "tab:orange"
        along.axvspan(
            (period.begun - report.begun) / 1e9, (period.ended - report.begun) / 1e9, color=colour, alpha=0.2, lw=0
        )
    for way, name in WAYS.items():
        gaps = [gap for gap in report.gaps if gap.filled == way]
        if not gaps:
            continue
        times = [max(gap.nanoseconds, 1) / 1e6 for gap in gaps]
        along.scatter([(gap.opened - report.begun) / 1e9 for gap in gaps], times, s=8, label=f"{name} ({len(gaps):,})")
        ordered = sorted(times)
        spread.step(ordered, [(i + 1) / len(ordered) for i in range(len(ordered))], where="post", label=name)
    for axis in (along, spread):
        axis.grid(alpha=0.3)
    along.set(
        yscale="log", xlabel="virtual time, s", ylabel="open for, ms", title=f"{report.source}, seed {report.seed}"
    )
    spread.set(xscale="log", xlabel="time to recovery, ms", ylabel="share of gaps")
    for side in (along.yaxis, spread.xaxis):
        side.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        side.set_minor_formatter(NullFormatter())
    if report.gaps:
        along.legend(fontsize="small", title="filled by")
    picture.save(figure, path, "rehearse")

"""The report as a table, and as a picture. The picture needs matplotlib, an extra of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedhandler import picture
from feedhandler.latency.measure import STAGES, Report

if TYPE_CHECKING:
    from rich.console import Group

COLOURS = {"wire_receive": "#4477aa", "receive_publish": "#ccbb44", "publish_strategy": "#66ccee"}
LINES = ("#aa3377", "#ee6677", "#228833", "#4477aa", "#bbbbbb")


def figures() -> Any:
    """matplotlib's Figure. Raises ConfigError when matplotlib is not installed."""
    return picture.figures("bench")


def label(stage: str) -> str:
    """A stage as people read it: wire → receive."""
    return stage.replace("_", " → ")


def plot(report: Report, path: str | Path) -> None:
    """Draw the stages of the median packet of each back end, and how many packets are slower than what, into `path`.

    Raises ConfigError when matplotlib is not installed, or does not know the ending of `path`.
    """
    figure = figures()(figsize=(10, 8), layout="constrained")
    bars, tails = figure.subplots(2, 1, height_ratios=(max(2, len(report.figures)), 4))
    _bars(bars, report)
    _tails(tails, report)
    figure.suptitle(
        f"{report.machine}; {report.packets:,} packets, {report.rate:,.0f} a second, one at a time", fontsize=10
    )
    picture.save(figure, path, "bench")


def _bars(axis: Any, report: Report) -> None:
    """One bar a back end, its stages side by side; their lengths add up to the median."""
    names = [f"{each.name}\n({each.timestamps} stamps)" for each in report.figures]
    left = np.zeros(len(names))
    for stage in STAGES:
        widths = np.array([each.median_packet()[stage] / 1000 for each in report.figures])
        axis.barh(names, widths, left=left, color=COLOURS[stage], label=label(stage), height=0.6)
        for row, (start, width) in enumerate(zip(left, widths, strict=True)):
            if width > 0.08 * max(left.max() + widths.max(), 1e-9):
                axis.text(start + width / 2, row, f"{width:.2f}", ha="center", va="center", fontsize=8)
        left += widths
    for row, whole in enumerate(left):
        axis.text(whole, row, f"  {whole:.2f} µs", va="center", fontsize=9, fontweight="bold")
    axis.set(xlabel="µs, of the packets around the median")
    axis.set_xlim(0, left.max() * 1.15 if len(names) else 1)
    axis.invert_yaxis()
    axis.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(STAGES), frameon=False)
    axis.grid(axis="x", alpha=0.3)


def _tails(axis: Any, report: Report) -> None:
    """How large a share of the packets is slower than so many microseconds, both on logarithmic scales."""
    for each, colour in zip(report.figures, LINES * len(report.figures), strict=False):
        ordered = np.sort(each.whole) / 1000
        slower = 1 - np.arange(len(ordered)) / len(ordered)
        p50, p99 = np.percentile(ordered, [50, 99])
        said = f"{each.name}: p50 {p50:,.1f}, p99 {p99:,.1f} µs" + (f", {each.lost} lost" if each.lost else "")
        axis.step(ordered, slower, where="post", color=colour, label=said)
    for share, name in ((0.5, "p50"), (0.01, "p99"), (0.001, "p99.9")):
        axis.axhline(share, color="black", lw=0.6, ls=":")
        axis.annotate(name, (1.0, share), xycoords=("axes fraction", "data"), fontsize=8, va="bottom", ha="right")
    axis.set(xscale="log", yscale="log", xlabel="wire → strategy, µs", ylabel="share of packets that are slower")
    if report.figures:
        axis.legend(fontsize="small")
    axis.grid(which="both", alpha=0.2)


def draw(report: Report) -> "Group":
    """The report for a terminal: each stage at the median and at p99, in microseconds, and what was left out."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    page = Table(box=None, title=f"µs, p50 / p99: {report.machine}", title_justify="left")
    page.add_column("", no_wrap=True)
    for stage in (*STAGES, "wire_strategy"):
        page.add_column(label(stage).replace(" → ", "→\n"), justify="right", no_wrap=True)
    for each in report.figures:
        stages = each.as_dict()["stages"]
        cells = [f"{_short(stages[s]['p50'])} / {_short(stages[s]['p99'])}" for s in (*STAGES, "wire_strategy")]
        page.add_row(each.name, *cells)
    said = [f"{each.name}: {each.lost} packets were lost" for each in report.figures if each.lost]
    said += [f"{name}: left out: {reason}" for name, reason in report.left_out.items()]
    return Group(page, *(Text(sentence, style="yellow") for sentence in said))


def _short(nanoseconds: int) -> str:
    """Microseconds in few characters."""
    return f"{nanoseconds / 1000:.2f}" if nanoseconds < 10_000 else f"{nanoseconds / 1000:,.0f}"

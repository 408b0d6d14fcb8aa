"""A picture as a file that matplotlib writes: PNG, SVG, PDF."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from feedhandler import picture
from feedhandler.figures import amount, quantity
from feedhandler.plot.panels import Axis, Panel, Picture, Series, a_decade, round_duration

INK = "#333333"
WIDTH = 130  # characters of a line above the picture


def write(drawn: Picture, path: Path) -> None:
    """Draw it into `path`. Raises ConfigError when matplotlib is missing, or does not know the file's ending."""
    heights = [panel.height for panel in drawn.panels]
    figure = picture.figures("plot", f"a {path.suffix}")(figsize=(12, 1.4 + 3.2 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, panel in zip(axes, drawn.panels, strict=True):
        _panel(figure, axis, panel)
    said = [line for sentence in drawn.said for line in textwrap.wrap(sentence, WIDTH)]
    title = "\n".join((drawn.title, *said))
    heading = figure.suptitle(drawn.title, fontsize=13, color=INK)
    if drawn.said:
        heading.set_text(title)
        heading.set_fontsize(11)
    picture.save(figure, path, "plot", "--output")


def _panel(figure: Any, axis: Any, panel: Panel) -> None:
    if panel.heat is not None:
        _heat(figure, axis, panel)
    for begin, end in panel.spans:
        axis.axvspan(begin, end, color="#bbbbbb", alpha=0.45, lw=0, zorder=1.5, label=panel.span_name)
    for series in panel.series:
        _series(axis, series)
    _axis(axis, "x", panel.x)
    _axis(axis, "y", panel.y)
    axis.set_title(panel.title, fontsize=10, loc="left", color=INK)
    axis.margins(x=0)
    axis.grid(which="major", alpha=0.25, lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    named = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    named = {name: handle for name, handle in named.items() if name and not name.startswith("_")}
    if named:
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderpad": 0.2}  # above: nothing is hidden
        legend = axis.legend(named.values(), named.keys(), fontsize=8, frameon=False, ncols=len(named), **place)
        for handle in legend.legend_handles:
            if hasattr(handle, "set_sizes"):
                handle.set_sizes([30])


def _heat(figure: Any, axis: Any, panel: Panel) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter

    heat = panel.heat
    assert heat is not None
    seen = heat.z[np.isfinite(heat.z)]
    low, high = (float(np.percentile(seen, 2)), float(np.percentile(seen, 99.5))) if len(seen) else (1.0, 10.0)
    norm = LogNorm(low, max(high, 2 * low))
    drawn = axis.pcolormesh(heat.x, heat.y, heat.z, norm=norm, cmap="YlGnBu", shading="nearest", rasterized=True)
    bar = figure.colorbar(drawn, ax=axis, pad=0.01, fraction=0.04, extend="both")
    bar.set_label(heat.label, fontsize=9)
    bar.formatter = FuncFormatter(lambda value, _: quantity(value))
    bar.minorformatter = FuncFormatter(lambda value, _: "")
    bar.update_ticks()
    bar.ax.tick_params(labelsize=8)


def _series(axis: Any, series: Series) -> None:
    style = {"color": series.colour, "label": series.name}
    line = {**style, "lw": series.width, "ls": "--" if series.dashed else "-", "zorder": 3}
    match series.style:
        case "points":
            size = 12 if series.size is None else series.size
            axis.scatter(series.x, series.y, s=size, alpha=0.75, lw=0.4, edgecolors="white", zorder=4, **style)
        case "band":
            axis.fill_between(series.x, series.y, series.upper, alpha=0.25, lw=0, zorder=2, step="post", **style)
        case "area":
            top = 0 if series.upper is None else series.upper
            axis.fill_between(series.x, series.y, top, alpha=0.6, lw=0, step="post", **style)
        case "step":
            axis.step(series.x, series.y, where="post", **line)
        case _:
            axis.plot(series.x, series.y, **line)


def _axis(axis: Any, which: str, said: Axis) -> None:
    import matplotlib.dates as dates
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    tools: Any = dates  # which has no types
    side = getattr(axis, f"{which}axis")
    axis.set(**{f"{which}label": said.label})
    side.label.set_fontsize(9)
    axis.tick_params(axis=which, labelsize=8)
    if said.scale in ("log share", "duration"):
        axis.set(**{f"{which}scale": "log"})
    if said.limits is not None:
        axis.set(**{f"{which}lim": said.limits})
    if said.scale == "duration":
        if said.limits is None:
            axis.set(**{f"{which}lim": a_decade(*getattr(axis, f"get_{which}lim")())})
        low, high = getattr(axis, f"get_{which}lim")()
        side.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high < 1000 * low else (1,), numticks=15))
        side.set_major_formatter(FuncFormatter(lambda value, _: round_duration(value)))
        side.set_minor_formatter(NullFormatter())
    elif said.scale == "log share":
        side.set_major_locator(LogLocator(10, numticks=9))
        side.set_minor_formatter(NullFormatter())
    elif said.scale == "time":
        locator = tools.AutoDateLocator(minticks=5, maxticks=12)
        side.set_major_locator(locator)
        forms = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S.%f"]  # each label by itself
        side.set_major_formatter(tools.ConciseDateFormatter(locator, formats=forms, show_offset=False))
    elif said.scale == "count":
        side.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
        axis.set(**{f"{which}lim": (0, None)})
    elif said.scale == "linear":
        side.get_major_formatter().set_useOffset(False)
    if said.scale.endswith("share"):
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))

"""A picture as one page of HTML that needs nothing else: plotly, with its script in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from feedhandler.errors import ConfigError
from feedhandler.figures import quantity
from feedhandler.plot.panels import Array, Axis, Heat, Panel, Picture, Series, round_duration

PANEL_PX = 300  # of a panel of height 1
BETWEEN_PX = 110  # the upper panel's axis with its label, the lower one's title
BOTTOM_PX = 70


def write(drawn: Picture, path: Path) -> None:
    """Write it to `path`. Raises ConfigError when plotly is missing, or the file cannot be written."""
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError:
        raise ConfigError(
            "plot: a .html needs plotly, which is not installed; install it with: "
            "pip install 'feedhandler[plot]', or name a .png"
        ) from None
    heights = [panel.height for panel in drawn.panels]
    drawn_over = PANEL_PX * sum(heights) + BETWEEN_PX * (len(heights) - 1)
    top = 80 + 22 * len(drawn.said)
    titles = [panel.title for panel in drawn.panels]
    shares = [height / sum(heights) for height in heights]
    options: Any = {"row_heights": shares, "vertical_spacing": BETWEEN_PX / drawn_over, "subplot_titles": titles}
    figure: Any = make_subplots(len(heights), 1, **options)
    for row, panel in enumerate(drawn.panels, 1):
        _panel(go, figure, panel, row)
    said = "".join(f"<br><sup>{sentence}</sup>" for sentence in drawn.said)
    figure.update_layout(
        title={"text": drawn.title + said, "x": 0.5, "y": 1, "yanchor": "top", "pad": {"t": 18}},
        height=round(top + drawn_over + BOTTOM_PX),
        template="plotly_white",
        hovermode="closest",
        margin={"t": top, "l": 80, "r": 40, "b": BOTTOM_PX},
        legend={"groupclick": "toggleitem", "tracegroupgap": 40},
    )
    try:
        figure.write_html(path, include_plotlyjs=True, full_html=True, config={"displaylogo": False})
    except OSError as error:
        raise ConfigError(f"plot: {path}: cannot be written: {error.strerror}") from None


def _panel(go: Any, figure: Any, panel: Panel, row: int) -> None:
    place = {"row": row, "col": 1}
    if panel.heat is not None:
        figure.add_trace(_heat(go, panel.heat), **place)
    for number, (begin, end) in enumerate(panel.spans):
        note = {"annotation_text": panel.span_name, "annotation_position": "top left"} if number == 0 else {}
        figure.add_vrect(x0=_iso(begin), x1=_iso(end), fillcolor="#999999", opacity=0.3, line_width=0, **note, **place)
    for series in panel.series:
        for trace in _traces(go, series, row):
            figure.add_trace(trace, **place)
    figure.update_xaxes(_axis(panel.x, [series.x for series in panel.series]), **place)
    figure.update_yaxes(_axis(panel.y, [series.y for series in panel.series]), **place)


def _heat(go: Any, heat: Heat) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(heat.z)
    seen = shown[np.isfinite(shown)]
    low, high = (float(np.percentile(seen, 2)), float(np.percentile(seen, 99.5))) if len(seen) else (0.0, 1.0)
    marks = np.arange(np.floor(low), np.ceil(high) + 1)
    sizes = np.where(np.isfinite(heat.z), heat.z, 0)
    return go.Heatmap(
        x=_plain(heat.x),
        y=heat.y,
        z=shown,
        zmin=low,
        zmax=max(high, low + 0.3),
        colorscale="YlGnBu",
        customdata=sizes,
        hovertemplate="%{x}<br>%{y}: %{customdata:,.8~f}<extra></extra>",
        colorbar={"title": heat.label, "tickvals": marks, "ticktext": [quantity(10.0**m) for m in marks], "len": 0.6},
    )


def _traces(go: Any, series: Series, row: int) -> list[Any]:
    common = {"x": _plain(series.x), "name": series.name, "legendgroup": f"{row}", "showlegend": bool(series.name)}
    line = {"color": series.colour, "width": series.width + 0.3, "dash": "dash" if series.dashed else "solid"}
    match series.style:
        case "points":
            size = 6 if series.size is None else np.sqrt(series.size) * 1.3
            marker = {"color": series.colour, "size": size, "opacity": 0.75, "line": {"width": 0.5, "color": "white"}}
            words = {"text": series.words, "hovertemplate": "%{text}<extra></extra>"} if series.words else {}
            return [go.Scatter(y=series.y, mode="markers", marker=marker, **words, **common)]
        case "band" | "area":
            base = np.zeros(len(series.y)) if series.upper is None else series.y
            top = series.y if series.upper is None else series.upper
            bare = {"mode": "lines", "line": {"width": 0, "color": series.colour}}
            lower = go.Scatter(y=base, hoverinfo="skip", **bare, **{**common, "showlegend": False})
            return [lower, go.Scatter(y=top, fill="tonexty", **bare, **common)]
        case _:
            shape = {"shape": "hv"} if series.style == "step" else {}
            return [go.Scatter(y=series.y, mode="lines", line=line | shape, **common)]


def _axis(said: Axis, data: list[Array]) -> dict[str, Any]:
    made: dict[str, Any] = {"title": {"text": said.label}, "showline": True, "linecolor": "#999999"}
    if said.scale in ("log share", "duration"):
        made["type"] = "log"
    if said.scale == "duration":
        seen = [part[part > 0] for part in data if len(part) and np.any(part > 0)]
        low = min((float(part.min()) for part in seen), default=1.0)
        high = max((float(part.max()) for part in seen), default=1e9)
        marks = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        made |= {"tickvals": marks, "ticktext": [round_duration(mark) for mark in marks]}
    elif said.scale.endswith("share"):
        made["tickformat"] = "~%"
    elif said.scale == "count":
        made["tickformat"] = "~s"
    elif said.scale == "linear":
        made["exponentformat"] = "none"
    if said.limits is not None:
        limits = np.log10(said.limits) if made.get("type") == "log" else said.limits
        made["range"] = list(limits)
    return made


def _plain(x: Array) -> Array:
    """Times as plotly reads them: text to the microsecond."""
    return np.datetime_as_string(x, unit="us") if np.issubdtype(x.dtype, np.datetime64) else x


def _iso(x: Any) -> Any:
    return np.datetime_as_string(x, unit="us") if isinstance(x, np.datetime64) else x

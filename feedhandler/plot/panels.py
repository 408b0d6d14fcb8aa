"""What a picture holds, said once for both ways of drawing it: panels with axes, lines, areas, points, a heat map."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from feedhandler.errors import CaptureError

Array = NDArray[Any]

BLUE, RED, GREEN, YELLOW, CYAN, PURPLE, GREY = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999",
)  # fmt: skip
LINES = (BLUE, RED, GREEN, PURPLE, YELLOW, CYAN, GREY)
"""Colours of the lines of a feed, in their order: told apart by the colour-blind, too (Paul Tol, "bright")."""


@dataclass(frozen=True)
class Axis:
    """`scale`: how it runs and how its ticks are written. "time": datetime64[ns]; "duration": ns, logarithmic."""

    label: str
    scale: Literal["linear", "time", "duration", "share", "log share", "count"] = "linear"
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """One row of the legend. `style` "band": between `y` and `upper`; "points": of area `size`, in square pixels."""

    name: str
    x: Array
    y: Array
    colour: str
    style: Literal["line", "step", "area", "band", "points"] = "line"
    upper: Array | None = None
    size: Array | None = None
    words: list[str] = field(default_factory=list)
    """Of each point, shown under the mouse."""
    dashed: bool = False
    width: float = 1.2


@dataclass(frozen=True)
class Heat:
    """A heat map: `z` of shape (len(y), len(x)); NaN is nothing. Colours run with the logarithm of z."""

    x: Array
    y: Array
    z: Array
    label: str


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `spans` are stretches of x, drawn grey."""

    x: Axis
    y: Axis
    series: list[Series]
    title: str = ""
    heat: Heat | None = None
    spans: list[tuple[Any, Any]] = field(default_factory=list)
    span_name: str = ""
    height: float = 1.0


@dataclass(frozen=True)
class Picture:
    """Panels below each other. `said` stands under the title: what was counted, and what was left out."""

    title: str
    panels: list[Panel]
    said: list[str] = field(default_factory=list)
    damage: CaptureError | None = None
    """Why the recording could not be read to its end: all that was whole before it is drawn."""

    def damaged(self, error: CaptureError | None) -> Picture:
        """The same, with a word about this, if it is anything."""
        return self if error is None else replace(self, said=[*self.said, str(error)], damage=error)


def a_decade(low: float, high: float) -> tuple[float, float]:
    """The limits of a logarithmic axis: at least a decade, so that it has ticks."""
    if high >= 10 * low:
        return low, high
    middle = math.sqrt(low * high)
    return middle / math.sqrt(10), middle * math.sqrt(10)


def round_duration(nanoseconds: float) -> str:
    """A time span at a tick: 50 ns, 1 µs, 200 ms."""
    for divisor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if nanoseconds >= 0.999 * divisor:
            return f"{nanoseconds / divisor:.4g} {unit}"
    return f"{nanoseconds:.4g} ns"


def times(ns: Array, shift: int) -> Array:
    """Nanoseconds since the Unix epoch as datetime64[ns] on a clock that is `shift` ns ahead of UTC."""
    return (np.asarray(ns, np.int64) + shift).astype("datetime64[ns]")

"""Rates, gaps between packets, delays and leads of a recording, as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from feedhandler.errors import ConfigError
from feedhandler.figures import amount, duration
from feedhandler.plot.panels import LINES, Array, Axis, Panel, Picture, Series, a_decade, times
from feedhandler.publish._publisher import histogram_ceilings
from feedhandler.research._measures import Measures

TIME = "time of receipt"
LATER = "share that are longer"
LONGEST = float(histogram_ceilings()[-1])


class Drawn:
    """What has been measured of some lines, ready to be drawn."""

    def __init__(
        self, measures: Measures, lines: Sequence[str], title: str, clock: Callable[[int], tuple[int, str]]
    ) -> None:
        if measures.used == 0:
            raise ConfigError("plot: there is no message in what was asked for")
        self.measures, self.lines, self.title = measures, lines, title
        self.shift, self.zone = clock(measures.origin)
        self.used = measures.used
        self.ceilings = np.array(histogram_ceilings(), np.float64)
        starts = measures.origin + np.arange(self.used + 1, dtype=np.int64) * measures.step
        self.x = times(starts, self.shift)
        self.seconds = measures.step / 1e9

    @property
    def along(self) -> Axis:
        """The axis of time."""
        return Axis(f"{TIME}, {self.zone}", "time")

    def over(self, name: str) -> Array:
        """Counts over time, a row for each line, of the bins in use."""
        return self.measures[name][:, : self.used]

    def named(self, i: int) -> tuple[str, str]:
        """Name and colour of a line."""
        return self.lines[i], LINES[i % len(LINES)]


def rates(drawn: Drawn) -> Picture:
    """Messages a second over time, and the busiest millisecond in each stretch of it."""
    counts, peaks, packets = drawn.over("messages"), drawn.over("peaks"), drawn.over("packets")
    above, below = [], []
    for i in np.flatnonzero(counts.any(axis=1)).tolist():
        name, colour = drawn.named(i)
        rate = _closed(counts[i] / drawn.seconds)
        mean = counts[i].sum() / (drawn.used * drawn.seconds)
        said = f"{name}: {amount(mean)}/s mean, {amount(float(rate.max()))}/s in its busiest {_stretch(drawn.seconds)}"
        above.append(Series(said, drawn.x, rate, colour, "step", dashed=i % 2 == 1))
        said = f"{name}: {int(peaks[i].max()):,} messages in the busiest of all"
        below.append(Series(said, drawn.x, _closed(peaks[i].astype(float)), colour, "step", dashed=i % 2 == 1))
    said = f"{int(counts.sum()):,} messages in {int(packets.sum()):,} packets, every copy on every line"
    return Picture(
        f"Message rates, {drawn.title}",
        [
            Panel(drawn.along, Axis("messages a second", "count"), above, f"over {_stretch(drawn.seconds)} each"),
            Panel(drawn.along, Axis("messages in 1 ms", "count"), below, "busiest millisecond of each stretch"),
        ],
        [said],
    )


def interarrival(drawn: Drawn) -> Picture:
    """How long after one packet of a line the next one comes."""
    shape, tail = _distribution(drawn, drawn.measures["gaps"])
    reach = _reach(shape)
    return Picture(
        f"Time between two packets of a line, {drawn.title}",
        [
            Panel(Axis("", "duration", reach), Axis("share of packets", "share"), shape, "distribution"),
            Panel(Axis("time between two packets", "duration", reach), Axis(LATER, "log share"), tail),
        ],
        [f"{int(drawn.measures['gaps'].sum()):,} pairs of packets that hold what was asked for"],
    )


def latency(drawn: Drawn) -> Picture:
    """Time of receipt less the time that the exchange wrote into the message."""
    delays = drawn.measures["delays"]
    after, before = delays[:, 0], delays[:, 1]
    if not delays.any():
        raise ConfigError(
            "plot: no message has both a time of its own that is read here (of JSON texts none is) and one of receipt: "
            "there is no latency to draw"
        )
    shape, tail = _distribution(drawn, after)
    reach = _reach(shape)
    along = _percentiles(drawn, drawn.measures["delays_over"][: drawn.used, :, 0])
    over_time = f"over time: median, and up to p99, of {_stretch(drawn.seconds)}"
    said = [f"{int(after.sum()):,} messages"]
    if early := int(before.sum()):
        worst = drawn.ceilings[int(np.flatnonzero(before.any(axis=0))[-1])]
        up_to = f"up to {duration(worst)}" if worst < LONGEST else _at_most(worst)
        said.append(f"{early:,} were received before they were sent, by {up_to}: the clocks disagree; not drawn")
    if drawn.measures.timeless:
        said.append(f"{drawn.measures.timeless:,} messages without a time are left out")
    return Picture(
        f"Latency: received − sent (ts_recv − ts_event), {drawn.title}",
        [
            Panel(Axis("", "duration", reach), Axis("share of messages", "share"), shape, "distribution"),
            Panel(Axis("latency", "duration", reach), Axis(LATER, "log share"), tail),
            Panel(drawn.along, Axis("latency", "duration"), along, over_time),
        ],
        said,
    )


def margin(drawn: Drawn) -> Picture:
    """By how much the first line was earlier than the second, and which one is the first how often."""
    leads, alone = drawn.measures["leads"], drawn.measures["alone"]
    if not leads.any():
        raise ConfigError("plot: no message came on two lines: there is no margin to draw")
    wins = leads.sum(axis=1)
    shape, _ = _distribution(drawn, leads, whole=int(wins.sum()), verb="first in")
    over = drawn.measures["leads_over"][: drawn.used]
    along = _percentiles(drawn, over)
    each = over.sum(axis=2).astype(float)
    total = each.sum(axis=1)
    shares, base = [], np.zeros(drawn.used + 1)
    with np.errstate(invalid="ignore"):
        for i in np.flatnonzero(wins).tolist():
            name, colour = drawn.named(i)
            top = base + _closed(np.where(total > 0, each[:, i] / total, np.nan))
            shares.append(Series(f"{name}: {100 * wins[i] / wins.sum():.3g} %", drawn.x, base, colour, "area", top))
            base = top
    over_time = f"over time: median, and up to p99, of {_stretch(drawn.seconds)}"
    lonely = ", ".join(f"{int(n):,} on {drawn.lines[i]} alone" for i, n in enumerate(alone.tolist()) if n)
    return Picture(
        f"Margin: how much earlier the first copy of a message came than the second, {drawn.title}",
        [
            Panel(
                Axis("lead of the line that was first", "duration", _reach(shape)),
                Axis("share of messages", "share"),
                shape,
                "distribution",
            ),
            Panel(drawn.along, Axis("lead", "duration"), along, over_time),
            Panel(drawn.along, Axis("share of messages", "share", (0, 1)), shares, "which line was first"),
        ],
        [f"{int(wins.sum()):,} messages came on two lines" + (f"; {lonely}" if lonely else "")],
    )  # fmt: skip


def _distribution(
    drawn: Drawn, counts: Array, whole: int | None = None, verb: str = ""
) -> tuple[list[Series], list[Series]]:
    """For each line: the share of all in each bucket (of equal width on the logarithmic axis), and what is longer."""
    shape, tail = [], []
    for i in np.flatnonzero(counts.any(axis=1)).tolist():
        name, colour = drawn.named(i)
        row = counts[i].astype(np.float64)
        total = row.sum()
        p50, p99, most = (drawn.ceilings[_rank(row, part)] for part in (0.5, 0.99, 1.0))
        share = f"{verb} {100 * total / whole:.3g} %, " if whole else ""
        said = f"{name}: {share}p50 {_at_most(p50)}, p99 {_at_most(p99)}, max {_at_most(most)}"
        edges, shares = _rebinned(drawn.ceilings, row / (whole or total))
        shape.append(Series(said, edges, shares, colour, "step", dashed=i % 2 == 1))
        used = np.flatnonzero(row)
        part = slice(max(int(used[0]) - 1, 1), int(used[-1]) + 2)
        longer = 1 - np.cumsum(row)[part] / total
        where = np.maximum(drawn.ceilings[part], 1)
        tail.append(
            Series(said, where, np.where(longer > 0.5 / total, longer, np.nan), colour, "step", dashed=i % 2 == 1)
        )
    return shape, tail


def _at_most(ns: float) -> str:
    """A bucket's time in words; the last bucket also holds all that is longer."""
    return f"over {duration(ns)}" if ns >= LONGEST else duration(ns)


def _reach(shape: list[Series]) -> tuple[float, float] | None:
    """From where on the distributions are worth drawing, and up to where: all but the lowest ten-thousandth."""
    if not shape:
        return None
    lows = [float(series.x[np.searchsorted(np.cumsum(series.y), 1e-4)]) for series in shape]
    return a_decade(max(min(lows) / 1.3, 1), 1.3 * max(float(series.x.max()) for series in shape))


def _rebinned(ceilings: Array, shares: Array, a_decade: int = 20) -> tuple[Array, Array]:
    """Shares by buckets into steps that are equally wide on a logarithmic axis, from the first to the last in use.

    A bucket that lies in two steps is divided between them as its width is.
    """
    used = np.flatnonzero(shares)
    first = np.floor(np.log10(max(ceilings[max(int(used[0]) - 1, 0)], 1)) * a_decade)
    last = np.ceil(np.log10(max(ceilings[int(used[-1])], 2)) * a_decade) + 1
    edges = 10 ** (np.arange(first, last + 1) / a_decade)
    below = np.interp(edges, ceilings, np.cumsum(shares))
    below[0] = 0.0  # what is shorter than the first edge counts in the first step
    return edges, np.append(np.diff(below), 0.0)


def _percentiles(drawn: Drawn, over: Array) -> list[Series]:
    """Median and p99 of each line over time; `over` is (bins, lines, buckets)."""
    made = []
    for i in np.flatnonzero(over.any(axis=(0, 2))).tolist():
        name, colour = drawn.named(i)
        sums = np.cumsum(over[:, i], axis=1, dtype=np.float64)
        total = sums[:, -1:]
        rows = []
        for part in (0.5, 0.99):
            place = np.argmax(sums >= np.maximum(np.ceil(total * part), 1), axis=1)
            rows.append(_closed(np.where(total[:, 0] > 0, np.maximum(drawn.ceilings[place], 1), np.nan)))
        made.append(Series(f"{name}: median to p99", drawn.x, rows[0], colour, "band", rows[1]))
        made.append(Series(f"{name}: median", drawn.x, rows[0], colour, "step", dashed=i % 2 == 1))
    return made


def _rank(row: Array, part: float) -> int:
    """The bucket that this part of the values does not exceed."""
    sums = np.cumsum(row)
    return int(np.searchsorted(sums, max(1.0, np.ceil(sums[-1] * part))))


def _closed(values: Array) -> Array:
    """The last value once more, for the end of the last step."""
    return np.append(values, values[-1:])


def _stretch(seconds: float) -> str:
    return duration(seconds * 1e9) if seconds < 60 else f"{seconds / 60:.3g} min"


PICTURES: dict[str, tuple[Callable[[Drawn], Picture], dict[str, Any]]] = {
    "rates": (rates, {"rates": True}),
    "interarrival": (interarrival, {"arrivals": True}),
    "latency": (latency, {"latency": True}),
    "margin": (margin, {"margin": True}),
}
"""By kind: what draws it, and what is measured for it."""

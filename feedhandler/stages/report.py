"""The loads measured, each in a process of its own, and what they say: a table, a picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from feedhandler.errors import FeedError
from feedhandler.stages import _allocations

if TYPE_CHECKING:
    from feedhandler.plot.panels import Picture

STAGES = ("TLS", "WebSocket", "line", "JSON", "book")
WHOLE = "whole"
SHARES = (25, 50, 99)
LIGHT, HEAVY = "light", "heavy"


@dataclass(frozen=True)
class Load:
    """What was measured under one load."""

    name: str
    rate: float
    """Texts a second, each by itself; 0: as fast as they are taken."""
    rows: NDArray[np.uint32]
    """ns of each text in each of STAGES."""
    said: dict[str, Any]
    """texts, reads, events, allocations (None: not counted), quality, tls, cpu_ns, wall_ns, clock_ns."""

    def of(self, stage: str) -> NDArray[np.float64]:
        """ns of each text in a stage, or in all together ("whole")."""
        if stage == WHOLE:
            return np.asarray(self.rows.sum(axis=1, dtype=np.float64))
        return self.rows[:, STAGES.index(stage)].astype(np.float64)

    def percentiles(self, stage: str) -> tuple[float, ...]:
        """p25, p50 and p99 in ns."""
        return tuple(float(each) for each in np.percentile(self.of(stage), SHARES))

    @property
    def per_message(self) -> float | None:
        """Heap allocations for a text; None: they were not counted."""
        counted = self.said["allocations"]
        return None if counted is None else counted / max(1, self.said["texts"])

    @property
    def per_second(self) -> float:
        """Texts a second."""
        return float(self.said["texts"] / max(1, self.said["wall_ns"]) * 1e9)


@dataclass(frozen=True)
class Report:
    """All loads of one run."""

    levels: int
    loads: dict[str, Load]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: nanoseconds."""
        return {
            "levels": self.levels,
            "loads": {
                name: {
                    "rate": load.rate,
                    "per_second": round(load.per_second, 1),
                    "allocations_per_message": load.per_message,
                    **load.said,
                    "stages": {
                        stage: dict(zip(("p25", "p50", "p99"), map(round, load.percentiles(stage)), strict=True))
                        for stage in (*STAGES, WHOLE)
                    },
                }
                for name, load in self.loads.items()
            },
        }

    def picture(self) -> Picture:
        """A panel for each load: how large a share of the texts takes longer than what, stage by stage."""
        from feedhandler.figures import duration
        from feedhandler.plot.panels import LINES, Axis, Panel, Picture, Series, a_decade

        panels = []
        for load in self.loads.values():
            series = []
            for stage, colour in zip((*STAGES, WHOLE), LINES, strict=False):
                ordered = np.maximum(np.sort(load.of(stage)), 1)
                where = np.unique(np.linspace(0, len(ordered) - 1, 2000).astype(int))
                slower = 1 - where / len(ordered)
                name = f"{stage} {duration(float(np.median(ordered)))}"
                width = 2.4 if stage == WHOLE else 1.2
                series.append(Series(name, ordered[where], slower, colour, "step", width=width))
            limits = a_decade(20.0, float(max(np.percentile(load.of(WHOLE), 99.9), 1000)))
            what = f"{load.rate:,.0f} a second, one by one" if load.rate else "as fast as they are taken"
            panels.append(
                Panel(
                    Axis(f"time of a text: {load.name} load, {what}, {load.per_second:,.0f}/s", "duration", limits),
                    Axis("share of the texts that take longer", "log share"),
                    series,
                )
            )
        return Picture(
            f"{self.levels} + {self.levels} levels, TLS to book, stage by stage (medians)", panels, self.sentences()
        )

    def sentences(self) -> list[str]:
        """What stands under the table."""
        load = next(iter(self.loads.values()))
        said = [f"{load.said['tls']}; a read of the clock, {load.said['clock_ns']:.0f} ns, is in each stage once"]
        for each in self.loads.values():
            counted = each.said["allocations"]
            words = "not counted here" if counted is None else f"{counted:,} in {each.said['texts']:,} texts"
            said.append(f"heap allocations under {each.name} load: {words}")
        return said


def measure(
    messages: int = 50_000,
    rate: float = 1000.0,
    levels: int = 20,
    light_messages: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """Light load (`rate` texts a second, a tenth of `messages` unless told) and heavy load, each in its own process.

    Raises FeedError with what a process said when it failed, ConfigError where the package cryptography is missing.
    """
    from feedhandler.simulate.venues.authority import Authority

    with tempfile.TemporaryDirectory("-stages") as folder:
        Authority(Path(folder))  # says what is missing, before anything is begun
        loads = {}
        for number, (name, pace) in enumerate(((LIGHT, rate), (HEAVY, 0.0)), 1):
            count = messages if not pace else light_messages or max(100, messages // 10)
            loads[name] = _in_a_process(name, levels, pace, count, Path(folder) / f"{name}.npy")
            progress(number)
    return Report(levels, loads)


def _in_a_process(name: str, levels: int, rate: float, messages: int, file: Path) -> Load:
    command = [sys.executable, "-m", "feedhandler.stages.line", str(levels), str(rate), str(messages), str(file)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    if "LD_PRELOAD" not in environment:  # a sanitizer's library must be the first, and counts for itself
        environment["LD_PRELOAD"] = str(_allocations.__file__)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise FeedError(f"bench websocket: the {name} load ended with code {done.returncode}: {last}")
    return Load(name, rate, np.load(file), json.loads(done.stdout))

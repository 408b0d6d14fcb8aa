"""Losing packets, rehearsed: a stream through the live code with faults and without, every book compared."""

from feedhandler.rehearse.report import Gap, LineCounts, Period, Report, WrongBook, draw
from feedhandler.rehearse.sources import Source, from_capture, from_simulation, listed

__all__ = [
    "Gap",
    "LineCounts",
    "Period",
    "Report",
    "Source",
    "WrongBook",
    "draw",
    "from_capture",
    "from_simulation",
    "listed",
]

"""Losing packets, rehearsed: a stream through the live code with faults and without, every book compared."""

from feedhandler.rehearse.report import Gap, LineCounts, Period, Report, WrongBook, draw
from feedhandler.rehearse.run import Sizes, rehearse
from feedhandler.rehearse.sources import Source, from_capture, from_simulation, listed
from feedhandler.rehearse.venue import Replay, Requests, Venue

__all__ = [
    "Gap",
    "LineCounts",
    "Period",
    "Replay",
    "Report",
    "Requests",
    "Sizes",
    "Source",
    "Venue",
    "WrongBook",
    "draw",
    "from_capture",
    "from_simulation",
    "listed",
    "rehearse",
]

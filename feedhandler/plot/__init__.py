"""Pictures of a recording: depth over time, rates, distributions of gaps, delays and leads; PNG or interactive HTML."""

from feedhandler.plot.draw import KINDS, draw

__all__ = ["KINDS", "draw"]

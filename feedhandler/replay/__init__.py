"""A recording lived again: onto the wire, to TCP clients, or into a handler, at any pace, its error told."""

from feedhandler.replay.pacing import PacingReport

__all__ = ["PacingReport"]

"""The configuration that fits a capture: its streams recognised, and put together as lines of channels."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

if TYPE_CHECKING:
    from feedhandler.config import Config

__all__ = ["DEFAULTS", "CaptureOptions", "capture_config"]


class CaptureOptions(TypedDict, total=False):
    """What can be said of a capture's handler; what is left out is as in `DEFAULTS`."""

    depth: int
    """Price levels published per side."""
    day: date | None
    """The session date; None = as it was recorded, else the first packet's."""
    name: str | None
    """Of the segment, so that others can attach; None = it has no name."""
    ring_events: int
    orders: int
    instruments: int


DEFAULTS: CaptureOptions = {
    "depth": 10,
    "day": None,
    "name": None,
    "ring_events": 65536,
    "orders": 2_000_000,
    "instruments": 16384,
}


def capture_config(
    path: str | Path, protocol: str | None = None, **options: Unpack[CaptureOptions]
) -> tuple[Config, int]:
    """The configuration for a recording, and the time of its first packet (ns since the Unix epoch, 0 = it has none).

    Streams of packets to different addresses are lines of one channel when they speak the same protocol in the same
    session. Streams of no known protocol are left out. Raises ConfigError when none is left, or `protocol` is unknown.
    """
    from feedhandler.recording import Recording

    recording = Recording(path, protocol=protocol)
    return recording.config(**options), recording.first_ts

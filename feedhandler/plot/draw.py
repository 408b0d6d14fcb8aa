"""From a recording to a picture of it, in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from feedhandler import decode, picture
from feedhandler.decode.session_date import date_of, midnight
from feedhandler.errors import CaptureError, ConfigError
from feedhandler.listing import Listing, Wanted, between
from feedhandler.plot.depth import depth
from feedhandler.plot.measured import PICTURES, Drawn
from feedhandler.plot.panels import Picture
from feedhandler.recording import ALL, Recording, Window
from feedhandler.research import backtest
from feedhandler.research._measures import Measures

KINDS = ("depth", *PICTURES)
PICTURE_FILES = (*picture.ENDINGS, ".html")
DAY_NS = 86_400 * 10**9
BINS, BINS_OF_ALL = 400, 1600  # over time, of one line and of all together: what bounds the memory


def draw(
    recording: Recording | str | Path,
    kind: str,
    path: str | Path,
    *,
    symbols: Sequence[str] = (),
    start: str = "",
    end: str = "",
    channels: Iterable[str] | None = None,
    levels: int = 20,
    progress: Callable[[int], None] = lambda done: None,
) -> Picture:
    """Draw one of KINDS into `path`: .png (.svg, .pdf) by matplotlib, .html, one page in itself, by plotly.

    `start` and `end` are words of `Recording.find`; `symbols` are those that count, depth takes exactly one and draws
    `levels` price levels a side. Returns what was drawn. Raises ConfigError for a kind, an ending or a symbol that is
    not known, or when there is nothing to draw; CaptureError for a recording that is none. Of one that is damaged
    further on all is drawn that was whole before; the picture says so, and its `damage` is why.
    """
    path = Path(path)
    if kind not in KINDS:
        raise ConfigError(f"plot: kind is {kind!r}; there are {', '.join(KINDS)}")
    writable(path)
    if not isinstance(recording, Recording):
        recording = Recording(recording)
    names = None if channels is None else list(channels)
    if kind == "depth":
        made = _depth(recording, symbols, start, end, names, levels, progress)
    else:
        made = _measured(recording, kind, symbols, start, end, names, progress)
    save(made, path)
    return made


def writable(path: Path) -> None:
    """Say what would stop save() before the long work. Raises ConfigError."""
    picture.writable(path, "plot:", PICTURE_FILES)


def save(made: Picture, path: Path) -> None:
    """Write a picture: .html by plotly, anything else by matplotlib. Raises ConfigError where that is missing."""
    if path.suffix == ".html":
        from feedhandler.plot import html

        html.write(made, path)
    else:
        from feedhandler.plot import png

        png.write(made, path)


def _depth(
    recording: Recording,
    symbols: Sequence[str],
    start: str,
    end: str,
    channels: list[str] | None,
    levels: int,
    progress: Callable[[int], None],
) -> Picture:
    if len(symbols) != 1:
        raise ConfigError(f"plot: depth is drawn of one symbol, {len(symbols)} are named: say which, --symbols AAPL")
    run = backtest(
        recording,
        list(symbols),
        start=start or None,
        end=end or None,
        channels=channels,
        channel_events=True,
        strict=False,
        depth=levels,
        ring_events=1024,
        progress=progress,
    )
    with run:
        return depth(run, symbols[0], _clock(recording))


def _measured(
    recording: Recording,
    kind: str,
    symbols: Sequence[str],
    start: str,
    end: str,
    channels: list[str] | None,
    progress: Callable[[int], None],
) -> Picture:
    drawing, what = PICTURES[kind]
    timeless = not recording.first_ts
    if timeless and kind != "rates":
        raise ConfigError(f"plot: {_title(recording)} has no times of receipt: of those, {kind} is made")
    conditions = between(recording, start, end) if timeless else ()
    window = ALL if timeless else Window(*(recording.find(word) if word else None for word in (start, end)))
    wanted = Wanted(symbols=frozenset(symbols), where=conditions)
    with Listing(recording, wanted, window=window, channels=channels) as listing:
        lines = len(listing.lines)
        bins = max(32, min(BINS, BINS_OF_ALL // lines)) // 2 * 2
        measures = Measures(lines, _midnights(recording), bins=bins, **what)
        damage = None
        try:
            listing.measure(measures, progress)
        except CaptureError as error:
            damage = error
        about = " ".join((_title(recording), *symbols))
        return drawing(Drawn(measures, listing.lines, about, _clock(recording))).damaged(damage)


def _midnights(recording: Recording) -> Any:
    """The beginnings of the exchange's days from the recording's first on; a week of them where it has no times."""
    zone, first = recording.zone, recording.first_ts
    days = range(-1, 400)
    return np.array(sorted({midnight(date_of(first + n * DAY_NS, zone), zone) for n in days}), np.int64)


def _clock(recording: Recording) -> Callable[[int], tuple[int, str]]:
    """The exchange's distance from UTC at an instant, in ns, and its name; of times of day alone, none."""
    zone = recording.zone if recording.lines else "UTC"
    day_only = not recording.first_ts and all(
        decode.protocol(line.protocol).clock.since == "midnight" for line in recording.lines
    )

    def clock(ns: int) -> tuple[int, str]:
        if day_only:
            return 0, "the exchange's"
        at = datetime.fromtimestamp(ns // 10**9, UTC).astimezone(ZoneInfo(zone))
        offset = at.utcoffset()
        seconds = int(offset.total_seconds()) if offset is not None else 0
        return seconds * 10**9, f"{zone} ({at:%Y-%m-%d})"

    return clock


def _title(recording: Recording) -> str:
    names = [path.resolve().name for path in recording.paths]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"

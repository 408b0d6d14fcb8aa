"""A stretch of time of a recording, and the words by which people name an instant of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from feedhandler.errors import RecordingError

WORDS = "an ISO time, HH:MM[:SS[.f]] at the exchange, +90s from the start, seq:12345, seq:CHANNEL:12345, open or close"
_UNITS = {"": 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_AFTER = re.compile(r"\+\s*(\d+)(?:\.(\d{1,9}))?\s*([a-z]*)")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?")
_ISO = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?\s*(Z|[+-]\d{2}:?\d{2})?")
_NUMBER = re.compile(r"seq:(?:(.+):)?(\d+)")


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` on and before `end`, in ns since the Unix epoch; None: from the first packet, to the last."""

    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.start > self.end:
            raise RecordingError(f"the window ends ({text(self.end)}) before it starts ({text(self.start)})")


ALL = Window()


def text(ts_ns: int) -> str:
    """A time as people read it: ISO, UTC, to the nanosecond."""
    seconds, rest = divmod(ts_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def number(when: str) -> tuple[str, int] | None:
    """`seq:[CHANNEL:]NUMBER` taken apart; "" for no channel. None: it is no such word."""
    found = _NUMBER.fullmatch(when)
    return (found[1] or "", int(found[2])) if found else None


def moment(when: str, first_ts: int, zone: str) -> int | None:
    """The instant that `when` names: ISO (UTC unless it says otherwise), a time of the first day in `zone`, or +90s.

    None: it is neither. Raises RecordingError for a time that is none, as 25:00.
    """
    if found := _AFTER.fullmatch(when):
        if found[3] not in _UNITS:
            raise RecordingError(f"{when!r}: expected h, m, s, ms, us or ns behind the number, found {found[3]!r}")
        unit = _UNITS[found[3]]
        return first_ts + int(found[1]) * unit + int((found[2] or "").ljust(9, "0")) * unit // 10**9
    try:
        if found := _CLOCK.fullmatch(when):
            day = datetime.fromtimestamp(first_ts // 10**9, ZoneInfo(zone)).date()
            hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
            local = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=ZoneInfo(zone))
            return _ns(local, found[4])
        if found := _ISO.fullmatch(when):
            local = datetime.fromisoformat(f"{found[1]}T{found[2]}{(found[4] or 'Z').replace('Z', '+00:00')}")
            return _ns(local, found[3])
    except ValueError as error:
        raise RecordingError(f"{when!r}: expected {WORDS}: {error}") from None
    return None


def _ns(at: datetime, fraction: str | None) -> int:
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(seconds=1) * 10**9 + int((fraction or "").ljust(9, "0"))

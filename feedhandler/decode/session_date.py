"""Which day a session belongs to, and when that day began: what turns a feed's time of day into a time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from feedhandler.decode.spec import Protocol
from feedhandler.errors import ConfigError

NANOSECONDS = 1_000_000_000


def midnight(day: date, zone: str) -> int:
    """The first instant of `day` in `zone`, in ns since the Unix epoch; daylight saving by the zone database.

    Raises ConfigError when the zone is not known here.
    """
    start = datetime.combine(day, time(), _zone(zone))
    return int((start - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * NANOSECONDS


def date_of(timestamp: int, zone: str) -> date:
    """The date in `zone` at `timestamp`, ns since the Unix epoch."""
    return datetime.fromtimestamp(timestamp // NANOSECONDS, _zone(zone)).date()


def as_number(day: date) -> int:
    """yyyymmdd, as it stands in the instrument directory."""
    return day.year * 10000 + day.month * 100 + day.day


def session_date(
    protocol: Protocol, *, stated: date | None = None, first_packet: int | None = None, now: int | None = None
) -> date | None:
    """The date of a session: the one stated (config, --date), else the first packet's, else today at the exchange.

    `first_packet` is the time of a capture's first packet and `now` the clock, both in ns since the Unix epoch; a file
    without times gives neither. None: the date is not known, and events are marked BAD_TS.
    """
    if stated is not None:
        return stated
    for moment in (first_packet, now):
        if moment:
            return date_of(moment, protocol.clock.zone)
    return None


def start_of(protocol: Protocol, day: date | None) -> tuple[int, int]:
    """What a decoder's begin() takes: midnight in ns since the Unix epoch, and yyyymmdd; (0, 0) for an unknown date."""
    return (0, 0) if day is None else (midnight(day, protocol.clock.zone), as_number(day))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(
            f"time zone {name!r} is not known here; install the zone database: apt install tzdata"
        ) from error

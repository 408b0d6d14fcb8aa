"""Which day, and which stretch of it, a time belongs to."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

NS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Periods:
    """Days of a zone, cut into stretches of `seconds` from midnight (0: not cut). Times are ns since the Unix epoch."""

    def __init__(self, zone: str, seconds: int = 0) -> None:
        self.zone, self.seconds = ZoneInfo(zone), seconds

    def day(self, ts: int) -> date:
        """The day that `ts` lies in."""
        return datetime.fromtimestamp(ts // NS, self.zone).date()

    def clock(self, ts: int) -> str:
        """`ts` for people."""
        return f"{datetime.fromtimestamp(ts // NS, self.zone):%Y-%m-%d %H:%M:%S}.{ts % NS // 1_000_000:03d} {self.zone}"

    def around(self, ts: int) -> tuple[int, int]:
        """The stretch that `ts` lies in: its first moment, and the first one behind it."""
        day = self.day(ts)
        start, end = self._midnight(day), self._midnight(day + timedelta(days=1))
        if not self.seconds:
            return start, end
        step = self.seconds * NS
        start += (ts - start) // step * step
        return start, min(start + step, end)

    def _midnight(self, day: date) -> int:
        """The day's first moment."""
        return round((datetime.combine(day, time(), self.zone) - EPOCH).total_seconds()) * NS

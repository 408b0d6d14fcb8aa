from typing import Any

from numpy.typing import NDArray

from feedhandler.publish._publisher import Publisher
from feedhandler.read._reader import Cursor, Reader

def write(publisher: Publisher, instruments: int, seconds: float, stop_inside: int = 0) -> int:
    """Write self-checking books and events; the rounds done."""

def read_books(reader: Reader, instruments: int, seconds: float) -> tuple[int, int, int]:
    """(whole, torn, without levels)."""

def write_sessions(publisher: Publisher, seconds: float) -> int:
    """New sessions on end: a STALE channel with a wrong book 1, then LIVE with a right one."""

def read_sessions(reader: Reader, seconds: float) -> tuple[int, int, int]:
    """(LIVE and right, LIVE and wrong, not LIVE)."""

def read_events(cursor: Cursor, instruments: int, seconds: float) -> tuple[int, int, int, int]:
    """(whole, torn, lost, out of order or not accounted for)."""

def time_snapshots(reader: Reader, instrument: int, count: int) -> tuple[float, int]:
    """Nanoseconds of one snapshot, and a checksum."""

def echo_words(line: NDArray[Any], count: int) -> None:
    """The far end of time_words."""

def time_words(line: NDArray[Any], out: NDArray[Any]) -> None:
    """Round trips of a bare cache line, in ns."""

def echo_events(cursor: Cursor, line: NDArray[Any], count: int) -> None:
    """The far end of time_events."""

class Answer:
    """How a Python reader answers time_events."""

    def __init__(self, line: NDArray[Any]) -> None: ...
    def __call__(self, number: int) -> None: ...

def time_events(publisher: Publisher, line: NDArray[Any], out: NDArray[Any]) -> None:
    """Round trips of one event, answered by a bare cache line, in ns."""

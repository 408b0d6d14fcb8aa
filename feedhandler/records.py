"""The public records as numpy dtypes, and the codes that stand in them.

All are little-endian and exactly what lies in shared memory; `_records.pxd` declares and documents each field.
Times are int64 nanoseconds since the Unix epoch, prices int64 in units of 10^price_exponent (1e-9 unless the
instrument says otherwise), sizes uint64 in units of 10^size_exponent.
"""

from enum import IntEnum, IntFlag

from feedhandler._records import (
    BOOK,
    CHANNEL,
    EVENT,
    HEADER,
    HISTOGRAM,
    INSTRUMENT,
    LAST_TRADE,
    LEVEL,
    LINE,
    PART,
    RING,
    VOLUME,
)

__all__ = [
    "ALL_INSTRUMENTS",
    "BOOK",
    "CHANNEL",
    "EVENT",
    "HEADER",
    "HISTOGRAM",
    "INSTRUMENT",
    "LAST_TRADE",
    "LEVEL",
    "LINE",
    "NO_LINE",
    "PART",
    "PRICE_NONE",
    "RING",
    "SIZE_REST",
    "VOLUME",
    "Action",
    "Cause",
    "Connection",
    "Flag",
    "Quality",
    "Reason",
    "Side",
    "TimestampKind",
    "Trading",
    "side_stride",
    "slot_stride",
]

ALL_INSTRUMENTS = 0
PRICE_NONE = -(2**63)
SIZE_REST = 2**64 - 1
NO_LINE = 255
"""Event.line of what no line brought: a reset, a gap."""


class Action(IntEnum):
    """What an event does. Only ADD, CANCEL, MODIFY and RESET change a book (Databento's MBO rule)."""

    ADD = ord("A")
    CANCEL = ord("C")
    MODIFY = ord("M")
    FILL = ord("F")
    TRADE = ord("T")
    RESET = ord("R")
    STATUS = ord("S")
    NONE = ord("N")


class Side(IntEnum):
    """Of a trade the aggressor's, of a fill the resting order's."""

    BID = ord("B")
    ASK = ord("A")
    NONE = ord("N")


class Flag(IntFlag):
    """Bits of Event.flags."""

    LAST = 128
    TOB = 64
    SNAPSHOT = 32
    MBP = 16
    BAD_TS = 8
    STALE = 4
    VENUE = 2


class Quality(IntEnum):
    """How far to trust a book; worse is larger."""

    LIVE = 0
    RECOVERING = 1
    STALE = 2
    INIT = 3


class Trading(IntEnum):
    """An instrument's trading status, apart from its book's quality."""

    UNKNOWN = 0
    PRE_OPEN = 1
    TRADING = 2
    QUOTE_ONLY = 3
    PAUSED = 4
    HALTED = 5
    CLOSED = 6


class Reason(IntEnum):
    """Why a book or a channel is not LIVE."""

    NONE = 0
    START = 1
    GAP = 2
    JOINED_LATE = 3
    UNSEQUENCED = 4
    SILENT = 5
    RESTART = 6
    UNKNOWN_ORDER = 7
    OVER_EXECUTION = 8
    DUPLICATE_ORDER = 9
    FULL = 10
    PRICE_RANGE = 11
    CROSSED = 12
    MALFORMED = 13
    WRITER_DIED = 14
    SESSION_ENDED = 15
    STOPPED = 16
    LINE_DOWN = 17
    CATCHING_UP = 18
    CHECKSUM = 19
    SNAPSHOT = 20


class TimestampKind(IntEnum):
    """How ts_recv was taken."""

    NONE = 0
    CLOCK = 1
    KERNEL = 2
    HARDWARE = 3
    FILE = 4


class Connection(IntEnum):
    """Where a line that is a WebSocket stands; NONE: the line is none."""

    NONE = 0
    DISCONNECTED = 1
    CONNECTING = 2
    AUTHENTICATING = 3
    SYNCHRONIZING = 4
    CONNECTED = 5
    STALE = 6
    DEAD = 7


class Cause(IntEnum):
    """Why a connection stands where it does."""

    NONE = 0
    START = 1
    RETRY = 2
    UPGRADED = 3
    SUBSCRIBED = 4
    HEARD = 5
    UNREACHABLE = 6
    TLS = 7
    HANDSHAKE = 8
    REFUSED = 9
    AUTHENTICATION = 10
    RATE_LIMITED = 11
    POLICY = 12
    CLOSED = 13
    RESTARTING = 14
    OVERLOADED = 15
    SERVER_ERROR = 16
    LOST = 17
    PROTOCOL = 18
    TOO_BIG = 19
    HEARTBEAT = 20
    SILENT = 21
    TIMEOUT = 22
    PLANNED = 23
    RESYNC = 24
    STOPPED = 25


def side_stride(depth: int) -> int:
    """Bytes from a book's bids to its asks: `depth` levels, 16 bytes at the end for trades, whole cache lines."""
    return (LEVEL.itemsize * depth + LAST_TRADE.itemsize + 63) // 64 * 64


def slot_stride(depth: int) -> int:
    """Bytes from one book to the next."""
    return BOOK.itemsize + 2 * side_stride(depth)

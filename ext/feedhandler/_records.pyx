"""The shared records as numpy dtypes, derived from the structs of `_records.pxd`, and the named constants."""
import hashlib

import numpy as np

cdef Event _event
cdef Level _level
cdef BookSlot _book
cdef InstrumentRecord _instrument
cdef ChannelRecord _channel
cdef LineRecord _line
cdef Part _part
cdef RingHead _ring
cdef SegmentHeader _header
cdef LastTrade _last_trade
cdef Volume _volume
cdef Histogram _histogram


cdef object _text(object derived):
    """The same layout with arrays of single bytes as fixed-length text."""
    fields = {}
    for name in derived.names:
        kind, offset = derived.fields[name][:2]
        if kind.subdtype is not None and kind.subdtype[0] in (np.dtype("S1"), np.dtype("i1")) and name != "buckets":
            kind = np.dtype(f"S{kind.itemsize}")
        fields[name] = (kind, offset)
    return np.dtype({"names": list(fields), "formats": [f[0] for f in fields.values()],
                     "offsets": [f[1] for f in fields.values()], "itemsize": derived.itemsize})


EVENT = np.asarray(<Event[:1]> &_event).dtype
LEVEL = np.asarray(<Level[:1]> &_level).dtype
BOOK = np.asarray(<BookSlot[:1]> &_book).dtype
LAST_TRADE = np.asarray(<LastTrade[:1]> &_last_trade).dtype
VOLUME = np.asarray(<Volume[:1]> &_volume).dtype
INSTRUMENT = _text(np.asarray(<InstrumentRecord[:1]> &_instrument).dtype)
CHANNEL = _text(np.asarray(<ChannelRecord[:1]> &_channel).dtype)
LINE = _text(np.asarray(<LineRecord[:1]> &_line).dtype)
PART = np.asarray(<Part[:1]> &_part).dtype
RING = np.asarray(<RingHead[:1]> &_ring).dtype
HISTOGRAM = np.asarray(<Histogram[:1]> &_histogram).dtype
HEADER = _text(np.asarray(<SegmentHeader[:1]> &_header).dtype)

RECORDS = {"Event": EVENT, "Level": LEVEL, "BookSlot": BOOK, "LastTrade": LAST_TRADE, "Volume": VOLUME,
           "InstrumentRecord": INSTRUMENT, "ChannelRecord": CHANNEL, "LineRecord": LINE, "Part": PART, "RingHead": RING,
           "Histogram": HISTOGRAM, "SegmentHeader": HEADER}


def _layout():
    """Every record's fields with their offsets and formats, as one text."""
    lines = [f"version {LAYOUT_VERSION}"]
    for record, dtype in RECORDS.items():
        lines.append(f"{record} {dtype.itemsize}")
        lines += [f"  {name} {dtype.fields[name][1]} {dtype.fields[name][0].str} {dtype.fields[name][0].shape}"
                  for name in dtype.names]
    return "\n".join(lines)


LAYOUT_HASH = int.from_bytes(hashlib.sha256(_layout().encode()).digest()[:8], "little")

# The constants of the .pxd by name, for whoever has no C compiler; a test compares the lists.
CONSTANTS = {
    "LAYOUT_VERSION": LAYOUT_VERSION, "ALL_INSTRUMENTS": ALL_INSTRUMENTS, "MESSAGES_MAX": MESSAGES_MAX,
    "MAX_EVENTS_PER_MESSAGE": MAX_EVENTS_PER_MESSAGE, "NO_LINE": NO_LINE, "RETRANSMISSION": RETRANSMISSION,
    "FLAG_LAST": FLAG_LAST, "FLAG_TOB": FLAG_TOB, "FLAG_SNAPSHOT": FLAG_SNAPSHOT, "FLAG_MBP": FLAG_MBP, "FLAG_BAD_TS": FLAG_BAD_TS,
    "FLAG_STALE": FLAG_STALE, "FLAG_VENUE": FLAG_VENUE, "ACTION_ADD": ACTION_ADD, "ACTION_CANCEL": ACTION_CANCEL,
    "ACTION_MODIFY": ACTION_MODIFY, "ACTION_FILL": ACTION_FILL, "ACTION_TRADE": ACTION_TRADE,
    "ACTION_RESET": ACTION_RESET, "ACTION_STATUS": ACTION_STATUS, "ACTION_NONE": ACTION_NONE, "SIDE_BID": SIDE_BID,
    "SIDE_ASK": SIDE_ASK, "SIDE_NONE": SIDE_NONE, "QUALITY_LIVE": QUALITY_LIVE,
    "QUALITY_RECOVERING": QUALITY_RECOVERING, "QUALITY_STALE": QUALITY_STALE, "QUALITY_INIT": QUALITY_INIT,
    "TRADING_UNKNOWN": TRADING_UNKNOWN, "TRADING_PRE_OPEN": TRADING_PRE_OPEN, "TRADING_TRADING": TRADING_TRADING,
    "TRADING_QUOTE_ONLY": TRADING_QUOTE_ONLY, "TRADING_PAUSED": TRADING_PAUSED, "TRADING_HALTED": TRADING_HALTED,
    "TRADING_CLOSED": TRADING_CLOSED, "REASON_NONE": REASON_NONE, "REASON_START": REASON_START,
    "REASON_GAP": REASON_GAP, "REASON_JOINED_LATE": REASON_JOINED_LATE, "REASON_UNSEQUENCED": REASON_UNSEQUENCED,
    "REASON_SILENT": REASON_SILENT, "REASON_RESTART": REASON_RESTART, "REASON_UNKNOWN_ORDER": REASON_UNKNOWN_ORDER,
    "REASON_OVER_EXECUTION": REASON_OVER_EXECUTION, "REASON_DUPLICATE_ORDER": REASON_DUPLICATE_ORDER,
    "REASON_FULL": REASON_FULL, "REASON_PRICE_RANGE": REASON_PRICE_RANGE, "REASON_CROSSED": REASON_CROSSED,
    "REASON_MALFORMED": REASON_MALFORMED, "REASON_WRITER_DIED": REASON_WRITER_DIED,
    "REASON_SESSION_ENDED": REASON_SESSION_ENDED, "REASON_STOPPED": REASON_STOPPED,
    "REASON_LINE_DOWN": REASON_LINE_DOWN, "REASON_CATCHING_UP": REASON_CATCHING_UP,
    "REASON_CHECKSUM": REASON_CHECKSUM, "REASON_SNAPSHOT": REASON_SNAPSHOT,
    "TS_NONE": TS_NONE, "TS_CLOCK": TS_CLOCK, "TS_KERNEL": TS_KERNEL,
    "TS_HARDWARE": TS_HARDWARE, "TS_FILE": TS_FILE, "LINE_DOWN": LINE_DOWN, "LINE_UP": LINE_UP,
    "LINE_SILENT": LINE_SILENT, "LINE_ENDED": LINE_ENDED, "SEGMENT_INIT": SEGMENT_INIT,
    "SEGMENT_RUNNING": SEGMENT_RUNNING, "SEGMENT_STOPPED": SEGMENT_STOPPED, "SEGMENT_REPLACED": SEGMENT_REPLACED,
    "INSTRUMENT_TEST": INSTRUMENT_TEST, "CHANNEL_COUNTERS": CHANNEL_COUNTERS, "LINE_COUNTERS": LINE_COUNTERS,
    "PARTS": PARTS, "HISTOGRAM_BUCKETS": HISTOGRAM_BUCKETS, "PART_DIRECTORY": PART_DIRECTORY,
    "PART_SYMBOLS": PART_SYMBOLS, "PART_BOOKS": PART_BOOKS, "PART_RINGS": PART_RINGS, "PART_SLOTS": PART_SLOTS,
    "PART_CHANNELS": PART_CHANNELS, "PART_LINES": PART_LINES, "PART_HISTOGRAMS": PART_HISTOGRAMS,
    "CONNECTION_NONE": CONNECTION_NONE, "CONNECTION_DISCONNECTED": CONNECTION_DISCONNECTED,
    "CONNECTION_CONNECTING": CONNECTION_CONNECTING, "CONNECTION_AUTHENTICATING": CONNECTION_AUTHENTICATING,
    "CONNECTION_SYNCHRONIZING": CONNECTION_SYNCHRONIZING, "CONNECTION_CONNECTED": CONNECTION_CONNECTED,
    "CONNECTION_STALE": CONNECTION_STALE, "CONNECTION_DEAD": CONNECTION_DEAD, "CAUSE_NONE": CAUSE_NONE,
    "CAUSE_START": CAUSE_START, "CAUSE_RETRY": CAUSE_RETRY, "CAUSE_UPGRADED": CAUSE_UPGRADED,
    "CAUSE_SUBSCRIBED": CAUSE_SUBSCRIBED, "CAUSE_HEARD": CAUSE_HEARD, "CAUSE_UNREACHABLE": CAUSE_UNREACHABLE,
    "CAUSE_TLS": CAUSE_TLS, "CAUSE_HANDSHAKE": CAUSE_HANDSHAKE, "CAUSE_REFUSED": CAUSE_REFUSED,
    "CAUSE_AUTHENTICATION": CAUSE_AUTHENTICATION, "CAUSE_RATE_LIMITED": CAUSE_RATE_LIMITED,
    "CAUSE_POLICY": CAUSE_POLICY, "CAUSE_CLOSED": CAUSE_CLOSED, "CAUSE_RESTARTING": CAUSE_RESTARTING,
    "CAUSE_OVERLOADED": CAUSE_OVERLOADED, "CAUSE_SERVER_ERROR": CAUSE_SERVER_ERROR, "CAUSE_LOST": CAUSE_LOST,
    "CAUSE_PROTOCOL": CAUSE_PROTOCOL, "CAUSE_TOO_BIG": CAUSE_TOO_BIG, "CAUSE_HEARTBEAT": CAUSE_HEARTBEAT,
    "CAUSE_SILENT": CAUSE_SILENT, "CAUSE_TIMEOUT": CAUSE_TIMEOUT, "CAUSE_PLANNED": CAUSE_PLANNED,
    "CAUSE_RESYNC": CAUSE_RESYNC, "CAUSE_STOPPED": CAUSE_STOPPED,
    "HISTOGRAM_WIRE_RECEIVE": HISTOGRAM_WIRE_RECEIVE, "HISTOGRAM_RECEIVE_PUBLISH": HISTOGRAM_RECEIVE_PUBLISH,
    "HISTOGRAM_DECODE": HISTOGRAM_DECODE, "HISTOGRAM_BOOK": HISTOGRAM_BOOK, "HISTOGRAMS": HISTOGRAMS,
}
CONSTANTS.update(PRICE_NONE=PRICE_NONE, SIZE_REST=SIZE_REST, SEGMENT_MAGIC=SEGMENT_MAGIC)

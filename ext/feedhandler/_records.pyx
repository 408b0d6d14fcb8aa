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

"""Follows the imbalance of one book without the GIL: events from the ring, the best levels from the book."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from feedhandler._records cimport FLAG_TOB, QUALITY_LIVE, BookSlot, Event, Level
from feedhandler.read._reader cimport LIFE_RUNNING, SNAPSHOT_WHOLE, Cursor, Reader

cdef enum:
    EVENTS = 256
    DEPTH_MAX = 256


def watch(feed, str symbol, uint64_t idle_polls=1_000_000):
    """Read until nothing came for `idle_polls` polls or the handler ended: (events, books read, mean imbalance, lost).

    Goes on with a handler that was started again by then.
    """
    seen, books, total, lost = 0, 0, 0.0, 0
    start, patience = "oldest", 10  # a handler that has just begun may name the symbol only now
    while True:
        instrument = feed.book(symbol, timeout=patience).instrument
        part = _watch(feed.reader, feed.cursor(start=start), instrument, idle_polls)
        seen, books, total, lost = seen + part[0], books + part[1], total + part[2], lost + part[3]
        if not feed.follow():
            return seen, books, total / books if books else 0.0, lost
        start, patience = 1, 60         # from the new ring's first event, counting what it has lost; it may name us later


cdef _watch(Reader reader, Cursor cursor, uint32_t instrument, uint64_t idle_polls):
    """One segment, as long as its writer runs."""
    cdef Event[EVENTS] events
    cdef Level[DEPTH_MAX] bids
    cdef Level[DEPTH_MAX] asks
    cdef BookSlot head
    cdef uint64_t seen = 0, books = 0, lost = 0, idle = 0
    cdef double total = 0
    cdef int i, n
    cdef bint moved
    with nogil:
        while idle < idle_polls:
            n = cursor.poll(events, EVENTS, &lost)
            if n == 0:
                idle += 1
                if idle % 1024 == 0 and reader.check() != LIFE_RUNNING:
                    break
                continue
            idle = 0
            seen += <uint64_t> n
            moved = False
            for i in range(n):
                moved |= events[i].instrument == instrument and events[i].flags & FLAG_TOB != 0
            if not moved or reader.snapshot(instrument, &head, bids, asks) != SNAPSHOT_WHOLE:
                continue
            if head.quality == QUALITY_LIVE and head.bids > 0 and head.asks > 0:
                books += 1
                total += (<double> bids[0].size - <double> asks[0].size) / (<double> bids[0].size + <double> asks[0].size)
    return seen, books, total, lost

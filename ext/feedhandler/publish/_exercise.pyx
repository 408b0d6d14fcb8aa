"""A writer and readers that check each other, for tests and benchmarks: whatever is written derives from one number.

Book n of a writer holds n in every word; event n holds words mixed from n. A reader that ever sees two numbers in one
record has seen a torn one.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from feedhandler._records cimport QUALITY_INIT, QUALITY_LIVE, QUALITY_STALE, BookSlot, Event, Level
from feedhandler._seqlock cimport (fh_load, fh_load_acquire, fh_pause, fh_seq_begin, fh_seq_end, fh_store32_release,
                                   fh_store_release, fh_store_words)
from feedhandler._shm cimport fh_monotonic
from feedhandler.publish._publisher cimport Publisher
from feedhandler.read._reader cimport SNAPSHOT_WHOLE, Cursor, Reader

cdef enum:
    DEPTH_MAX = 256
    BATCH = 64


cdef inline uint64_t _mixed(uint64_t n) noexcept nogil:
    return (n + 1) * 0x9e3779b97f4a7c15u


cdef void _event(Event *event, uint64_t n, uint32_t instruments) noexcept nogil:
    cdef uint64_t v = _mixed(n)
    event.ts_event = event.ts_recv = event.price = <int64_t> v
    event.order_id = event.size = event.channel_seq = v
    event.instrument = <uint32_t> (n % instruments)
    event.action = event.side = event.flags = event.line = <uint8_t> (v >> 56)


cdef bint _event_whole(const Event *event, uint32_t instruments) noexcept nogil:
    cdef uint64_t v = _mixed(event.seq)
    return (<uint64_t> event.ts_event == v and <uint64_t> event.ts_recv == v and <uint64_t> event.price == v
            and event.order_id == v and event.size == v and event.channel_seq == v
            and event.instrument == event.seq % instruments and event.line == <uint8_t> (v >> 56))


cdef void _write_book(Publisher publisher, uint32_t instrument, uint64_t n, bint stop_inside) noexcept nogil:
    """Write number n into every word of a book; with `stop_inside` half of them, and stay inside for ever."""
    cdef BookSlot head
    cdef Level level
    cdef uint32_t i, depth = publisher.header.depth, stride = publisher.header.side_stride
    cdef uint8_t *slot = publisher.books + instrument * (sizeof(BookSlot) + 2 * <uint64_t> stride)
    memset(&head, 0, sizeof(head))
    head.since = head.ts_event = head.ts_recv = <int64_t> n
    head.channel_seq = head.event_seq = n
    head.epoch = <uint32_t> n
    head.bids = head.asks = <uint16_t> depth
    level.price, level.size, level.orders, level.reserved = <int64_t> n, n, <uint32_t> n, 0
    fh_seq_begin(<uint64_t *> slot)
    fh_store_words(<uint64_t *> slot + 1, <const uint64_t *> &head + 1, sizeof(BookSlot) // 8 - 1)
    for i in range(depth):
        fh_store_words(<uint64_t *> (slot + sizeof(BookSlot)) + 3 * i, <const uint64_t *> &level, 3)
    while stop_inside:
        fh_pause()
    for i in range(depth):
        fh_store_words(<uint64_t *> (slot + sizeof(BookSlot) + stride) + 3 * i, <const uint64_t *> &level, 3)
    fh_seq_end(<uint64_t *> slot)


def write(Publisher publisher not None, uint32_t instruments, double seconds, uint64_t stop_inside=0):
    """Write books 1 to `instruments` - 1 in turn and a batch of events each, for so many seconds; the rounds done, 256 at least.

    In round `stop_inside`, unless it is 0, it stops for ever in the middle of a book.
    """
    cdef Event[BATCH] events
    cdef uint64_t n = 0
    cdef int64_t end = fh_monotonic() + <int64_t> (seconds * 1e9)
    cdef int i
    if instruments < 2 or instruments > publisher.parts[2].count:
        raise ValueError(f"instruments must be 2 to {publisher.parts[2].count}, not {instruments}")
    with nogil:
        while n == 0 or n & 255 or fh_monotonic() < end:
            n += 1
            _write_book(publisher, 1 + <uint32_t> (n % (instruments - 1)), n, n == stop_inside)
            for i in range(1 + <int> (n % BATCH)):
                _event(&events[i], publisher.head + 1 + i, instruments)
            publisher.publish(events, 1 + <int> (n % BATCH))
    return n


def read_books(Reader reader not None, uint32_t instruments, double seconds):
    """Read books 1 to `instruments` - 1 in turn for so many seconds: (whole, torn, without levels)."""
    cdef BookSlot head
    cdef Level[DEPTH_MAX] bids
    cdef Level[DEPTH_MAX] asks
    cdef uint64_t n = 0, whole = 0, torn = 0, without = 0, v
    cdef uint32_t i
    cdef int64_t end = fh_monotonic() + <int64_t> (seconds * 1e9)
    with nogil:
        while n == 0 or n & 255 or fh_monotonic() < end:
            n += 1
            if reader.snapshot(1 + <uint32_t> (n % (instruments - 1)), &head, bids, asks) != SNAPSHOT_WHOLE:
                without += 1
                continue
            v = head.event_seq
            if head.bids == 0 and v == 0:
                whole += 1                          # not written yet
                continue
            for i in range(reader.depth):
                if bids[i].price != <int64_t> v or bids[i].size != v or asks[i].price != <int64_t> v \
                        or asks[i].size != v or bids[i].orders != <uint32_t> v or asks[i].orders != <uint32_t> v:
                    torn += 1
                    break
            else:
                if head.channel_seq == v and head.epoch == <uint32_t> v and head.ts_event == <int64_t> v:
                    whole += 1
                else:
                    torn += 1
    return whole, torn, without


def write_sessions(Publisher publisher not None, double seconds):
    """For so many seconds: the channel STALE, book 1 wrong (odd); the channel INIT, the book anew (even), LIVE."""
    cdef uint64_t n = 0
    cdef int64_t end = fh_monotonic() + <int64_t> (seconds * 1e9)
    cdef uint32_t *word = &publisher.channels[0].quality
    with nogil:
        while n == 0 or n & 255 or fh_monotonic() < end:
            fh_store32_release(word, QUALITY_STALE)
            _write_book(publisher, 1, n + 1, False)
            fh_store32_release(word, QUALITY_INIT)
            _write_book(publisher, 1, n + 2, False)
            fh_store32_release(word, QUALITY_LIVE)
            n += 2
    return n


def read_sessions(Reader reader not None, double seconds):
    """Read book 1 of write_sessions for so many seconds: (LIVE and right, LIVE and wrong, not LIVE)."""
    cdef BookSlot head
    cdef Level[DEPTH_MAX] bids
    cdef Level[DEPTH_MAX] asks
    cdef uint64_t n = 0, right = 0, wrong = 0, unsaid = 0
    cdef int64_t end = fh_monotonic() + <int64_t> (seconds * 1e9)
    with nogil:
        while n == 0 or n & 255 or fh_monotonic() < end:
            n += 1
            reader.snapshot(1, &head, bids, asks)
            if head.quality != QUALITY_LIVE:
                unsaid += 1
            elif head.event_seq & 1:
                wrong += 1
            else:
                right += 1
    return right, wrong, unsaid


def read_events(Cursor cursor not None, uint32_t instruments, double seconds):
    """Read a ring for so many seconds: (whole, torn, lost, out of order or not accounted for)."""
    cdef Event[BATCH] events
    cdef uint64_t n = 0, whole = 0, torn = 0, lost = 0, disorder = 0, expected = cursor.next, missed
    cdef int i, got
    cdef int64_t end = fh_monotonic() + <int64_t> (seconds * 1e9)
    with nogil:
        while n == 0 or n & 255 or fh_monotonic() < end:
            n += 1
            missed = 0
            got = cursor.poll(events, BATCH, &missed)
            lost += missed
            expected += missed
            for i in range(got):
                disorder += events[i].seq != expected + i
                if _event_whole(&events[i], instruments):
                    whole += 1
                else:
                    torn += 1
            expected += <uint64_t> got
    return whole, torn, lost, disorder


def time_snapshots(Reader reader not None, uint32_t instrument, uint64_t count):
    """Nanoseconds that one snapshot takes without the GIL, over `count` of them."""
    cdef BookSlot head
    cdef Level[DEPTH_MAX] bids
    cdef Level[DEPTH_MAX] asks
    cdef uint64_t i, seen = 0
    cdef int64_t begin
    with nogil:
        begin = fh_monotonic()
        for i in range(count):
            reader.snapshot(instrument, &head, bids, asks)
            seen += head.seq
        begin = fh_monotonic() - begin
    return begin / count, seen


# -- hand-over between two cores: `line` is shared memory of 128 bytes, words 0 and 8 are two cache lines ------------------

def echo_words(uint64_t[::1] line not None, uint64_t count):
    """The far end of time_words: answer word 0 in word 8, `count` times."""
    cdef uint64_t i
    with nogil:
        for i in range(1, count + 1):
            while fh_load_acquire(&line[0]) != i:
                fh_pause()
            fh_store_release(&line[8], i)


def time_words(uint64_t[::1] line not None, int64_t[::1] out not None):
    """Round trips of a bare cache line, in ns."""
    cdef uint64_t i
    cdef int64_t begin
    with nogil:
        for i in range(1, <uint64_t> out.shape[0] + 1):
            begin = fh_monotonic()
            fh_store_release(&line[0], i)
            while fh_load_acquire(&line[8]) != i:
                fh_pause()
            out[i - 1] = fh_monotonic() - begin


def echo_events(Cursor cursor not None, uint64_t[::1] line not None, uint64_t count):
    """The far end of time_events: answer each event in word 8, `count` times."""
    cdef Event[BATCH] events
    cdef uint64_t lost = 0, i = 0
    cdef int got
    with nogil:
        while i < count:
            got = cursor.poll(events, BATCH, &lost)
            if got:
                i += <uint64_t> got
                fh_store_release(&line[8], i)
            else:
                fh_pause()


cdef class Answer:
    """Answer(line): how a Python reader answers time_events, in word 8, at the price of one call."""

    cdef uint64_t[::1] line

    def __cinit__(self, uint64_t[::1] line not None):
        self.line = line

    def __call__(self, uint64_t number):
        fh_store_release(&self.line[8], number)


def time_events(Publisher publisher not None, uint64_t[::1] line not None, int64_t[::1] out not None):
    """Round trips in ns: one event published, answered by a bare cache line."""
    cdef Event event
    cdef uint64_t i
    cdef int64_t begin
    memset(&event, 0, sizeof(event))
    with nogil:
        for i in range(1, <uint64_t> out.shape[0] + 1):
            begin = fh_monotonic()
            publisher.publish(&event, 1)
            while fh_load_acquire(&line[8]) != i:
                fh_pause()
            out[i - 1] = fh_monotonic() - begin

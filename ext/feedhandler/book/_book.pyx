"""What the books of both kinds share: the published slots, their quality and trading status, and the door for Python."""
from libc.stdint cimport INT64_MIN
from posix.mman cimport munmap

import numpy as np

from feedhandler import errors, records
from feedhandler._counters cimport CH_CROSSED
from feedhandler._records cimport (ALL_INSTRUMENTS, CHANNEL_COUNTERS, FLAG_LAST, FLAG_STALE, PRICE_NONE, QUALITY_INIT,
                                   QUALITY_LIVE, QUALITY_STALE, REASON_CHECKSUM, REASON_CROSSED, REASON_DUPLICATE_ORDER, REASON_FULL,
                                   REASON_MALFORMED, REASON_NONE, REASON_OVER_EXECUTION, REASON_PRICE_RANGE,
                                   REASON_START, REASON_UNKNOWN_ORDER, TRADING_CLOSED, TRADING_HALTED,
                                   TRADING_PRE_OPEN, TRADING_TRADING, TRADING_UNKNOWN, BookSlot, Event,
                                   InstrumentRecord, LastTrade, Part, Volume)

cdef enum:
    DEPTH_MAX = 64

FAULTS = {"UNKNOWN_ORDER": FAULT_UNKNOWN_ORDER, "OVER_EXECUTION": FAULT_OVER_EXECUTION,
          "DUPLICATE_ORDER": FAULT_DUPLICATE_ORDER, "FULL": FAULT_FULL, "PRICE_RANGE": FAULT_PRICE_RANGE,
          "MALFORMED": FAULT_MALFORMED, "CROSSED": FAULT_CROSSED, "CHECKSUM": FAULT_CHECKSUM}
ALL_FAULTS = FAULT_ALL


cdef uint8_t _reason(uint32_t fault) noexcept nogil:
    if fault == FAULT_UNKNOWN_ORDER:
        return REASON_UNKNOWN_ORDER
    if fault == FAULT_OVER_EXECUTION:
        return REASON_OVER_EXECUTION
    if fault == FAULT_DUPLICATE_ORDER:
        return REASON_DUPLICATE_ORDER
    if fault == FAULT_FULL:
        return REASON_FULL
    if fault == FAULT_PRICE_RANGE:
        return REASON_PRICE_RANGE
    if fault == FAULT_CROSSED:
        return REASON_CROSSED
    if fault == FAULT_CHECKSUM:
        return REASON_CHECKSUM
    return REASON_MALFORMED


cdef class Books:
    """The published books of one shard, in a writable buffer of slots.

    slots        writable buffer, 8-byte aligned: instruments * records.slot_stride(depth) bytes; kept alive
    depth        levels published per side, 1 to 64
    instruments  books, the unused 0 included; default: as many as the buffer holds
    policy       which faults turn a book STALE, bits of FAULTS; default all
    crossed_ms   a book that stays crossed for so long of the exchange's time, while trading, is a fault (CROSSED)
    """
    def __cinit__(self, slots, *, uint32_t depth=10, instruments=None, policy=None,
                  int64_t crossed_ms=1000, **_):
        cdef uint32_t i
        cdef BookSlot *slot
        if not 1 <= depth <= DEPTH_MAX:
            raise errors.ConfigError(f"depth is {depth}: books publish 1 to {DEPTH_MAX} levels a side")
        self.memory = np.frombuffer(slots, dtype=np.uint8)
        if not self.memory.flags.writeable:
            raise errors.ConfigError("the buffer of book slots is read-only: hand over a writable one")
        self.depth = depth
        self.side_stride = records.side_stride(depth)
        self.slot_stride = records.slot_stride(depth)
        room = len(self.memory) // self.slot_stride
        wanted = room if instruments is None else instruments
        if not 1 <= wanted <= min(room, 1 << 30):
            raise errors.ConfigError(f"instruments is {wanted}: {len(self.memory)} bytes of slots hold 1 to {room} books "
                                     f"of depth {depth} ({self.slot_stride} bytes each)")
        self.instruments = wanted
        self.slots = <uint8_t *><size_t>self.memory.ctypes.data
        if <size_t>self.slots % 8:
            raise errors.ConfigError("the buffer of book slots is not 8-byte aligned: hand over page or array memory")
        self.policy = FAULT_ALL if policy is None else policy
        self.own_counters = <uint64_t *>fh_pages(CHANNEL_COUNTERS * sizeof(uint64_t))
        if not 0 <= crossed_ms <= 86_400_000:
            raise errors.ConfigError(f"crossed_ms is {crossed_ms}: expected 0 to 86400000")
        self.crossed_ns = crossed_ms * 1_000_000
        self.crossed_since = <int64_t *>fh_pages(self.instruments * sizeof(int64_t))
        if self.own_counters == NULL or self.crossed_since == NULL:
            raise MemoryError("no memory for the book's counters")
        self.counters = self.own_counters
        for i in range(self.instruments):
            self.crossed_since[i] = INT64_MIN
            slot = self.slot(i)
            fh_slot_open(&slot.seq)
            self.reset_slot(slot, 0)
            slot.epoch = 0
            slot.since = slot.ts_event = slot.ts_recv = 0
            slot.channel_seq = slot.event_seq = 0
            slot.quality = QUALITY_INIT
            slot.reason = REASON_START
            self.show_trading(slot, TRADING_UNKNOWN, TRADING_UNKNOWN)
            fh_slot_close(&slot.seq)

    def __dealloc__(self):
        if self.crossed_since != NULL:
            munmap(self.crossed_since, self.instruments * sizeof(int64_t))
        if self.own_counters != NULL:
            munmap(self.own_counters, CHANNEL_COUNTERS * sizeof(uint64_t))

    cdef void apply(self, Event *events, int count, uint64_t first_event) noexcept nogil:
        """Fill in and apply events, in place; events[0] will stand at `first_event` of the ring.

        A batch holds whole messages. When it returns, the sequence of every slot is even.
        """

    cdef void clear(self, uint32_t first, uint32_t count, int64_t now) noexcept nogil:
        """Empty `count` books from `first` on: epoch + 1, LIVE. An R event does the same; do not do both."""

    cdef void share(self, InstrumentRecord *directory, const Part *entries, uint16_t channel) noexcept:
        """Other channels have books in the same slots: what is said of all books is said of this channel's alone."""
        self.directory = directory
        self.entries = entries
        self.channel = channel

    cdef void mark(self, uint32_t instrument, uint8_t quality, uint8_t reason, int64_t now) noexcept nogil:
        """Set the quality of one book, or of all (ALL_INSTRUMENTS). Levels stay."""
        cdef uint32_t i, first = instrument, end = instrument + 1
        cdef BookSlot *slot
        if instrument == ALL_INSTRUMENTS:
            first, end = 1, self.end()
        elif instrument >= self.instruments:
            return
        for i in range(first, end):
            if instrument == ALL_INSTRUMENTS and not self.ours(i):
                continue
            slot = self.slot(i)
            fh_slot_open(&slot.seq)
            self.judge(slot, quality, reason, now)
            fh_slot_close(&slot.seq)

    cdef void bind(self, uint64_t *counters) noexcept:
        """Count into `counters`, CHANNEL_COUNTERS words, from now on; what has been counted is carried over."""
        cdef int i
        for i in range(CHANNEL_COUNTERS):
            counters[i] += self.counters[i]
            self.own_counters[i] = 0
        self.counters = counters

    # ---- parts of a slot, between fh_slot_open and fh_slot_close

    cdef void reset_slot(self, BookSlot *slot, int64_t now) noexcept nogil:
        cdef uint32_t ask, i
        cdef uint8_t *trades
        for ask in range(2):
            for i in range(self.depth):
                fh_put_level(&self.side(slot, ask)[i], 0, 0, 0)
        trades = <uint8_t *>self.side(slot, 1) - sizeof(LastTrade)
        fh_put64(&(<LastTrade *>trades).price, <uint64_t>PRICE_NONE)
        fh_put64(&(<LastTrade *>trades).size, 0)
        trades += self.side_stride
        fh_put64(&(<Volume *>trades).size, 0)
        fh_put64(&(<Volume *>trades).trades, 0)
        slot.bids = slot.asks = 0
        slot.flags = 0
        slot.epoch += 1
        self.judge(slot, QUALITY_LIVE, REASON_NONE, now)

    cdef void judge(self, BookSlot *slot, uint8_t quality, uint8_t reason, int64_t now) noexcept nogil:
        if slot.quality != quality:
            slot.since = now
        slot.quality = quality
        slot.reason = reason

    cdef void fault(self, BookSlot *slot, Event *event, uint32_t fault) noexcept nogil:
        """The event shows that state was lost. The first reason stays until a reset."""
        self.tally(event, fault)
        if self.policy & fault:
            event.flags |= FLAG_STALE
            if slot.quality != QUALITY_STALE:
                self.judge(slot, QUALITY_STALE, _reason(fault), event.ts_recv)
                if self.by_snapshot:
                    self.lost = event.instrument
                    self.lost_reason = _reason(fault)

    cdef void tally(self, const Event *event, uint32_t fault) noexcept nogil:
        """Count the fault for its instrument, once a message."""
        cdef InstrumentRecord *record
        if self.directory == NULL or not event.flags & FLAG_LAST:
            return
        record = &self.directory[event.instrument]
        if fault == FAULT_UNKNOWN_ORDER:
            fh_put64(&record.unknown_orders, record.unknown_orders + 1)
        elif fault == FAULT_OVER_EXECUTION:
            fh_put64(&record.over_executions, record.over_executions + 1)
        elif fault == FAULT_DUPLICATE_ORDER:
            fh_put64(&record.duplicate_orders, record.duplicate_orders + 1)

    cdef void cross(self, BookSlot *slot, Event *event, bint crossed) noexcept nogil:
        """The best bid reaches the best ask, or not (any more). While trading that may be for a moment; it does not stay."""
        cdef int64_t *since = &self.crossed_since[event.instrument]
        if not slot.flags & BOOK_CROSSED:           # a reset has forgotten it
            since[0] = INT64_MIN
        slot.flags = BOOK_CROSSED if crossed else 0
        if not crossed or slot.trading != TRADING_TRADING:
            since[0] = INT64_MIN
        elif since[0] == INT64_MIN:
            since[0] = event.ts_event
            self.counters[CH_CROSSED] += 1
            if self.directory != NULL:
                fh_put64(&self.directory[event.instrument].crossed, self.directory[event.instrument].crossed + 1)
        elif event.ts_event - since[0] >= self.crossed_ns:
            self.fault(slot, event, FAULT_CROSSED)

    cdef void trade(self, BookSlot *slot, const Event *event) noexcept nogil:
        cdef uint8_t *trades = <uint8_t *>self.side(slot, 1) - sizeof(LastTrade)
        if event.size == 0:                             # a cross that did not take place
            return
        if event.price != PRICE_NONE:
            fh_put64(&(<LastTrade *>trades).price, <uint64_t>event.price)
            fh_put64(&(<LastTrade *>trades).size, event.size)
        trades += self.side_stride
        fh_put64(&(<Volume *>trades).size, (<Volume *>trades).size + event.size)
        fh_put64(&(<Volume *>trades).trades, (<Volume *>trades).trades + 1)

    cdef void status(self, const Event *event, uint64_t position) noexcept nogil:
        """A system event of the whole channel."""
        cdef uint32_t i
        cdef BookSlot *slot
        cdef uint8_t trading = TRADING_CLOSED
        if event.size == TRADING_PRE_OPEN:
            trading = TRADING_HALTED
        elif event.size != TRADING_CLOSED:
            return
        for i in range(1, self.end()):
            slot = self.slot(i)
            if not self.ours(i) or trading == TRADING_HALTED and slot.security != TRADING_UNKNOWN:
                continue
            fh_slot_open(&slot.seq)
            self.show_trading(slot, trading, slot.venue)
            self.stamp(slot, event, position)
            fh_slot_close(&slot.seq)

    cdef void show_trading(self, BookSlot *slot, uint8_t security, uint8_t venue) noexcept nogil:
        """The two statuses of an instrument, and the worse of them as what holds."""
        slot.security = security
        slot.venue = venue
        slot.trading = max(security, venue)

    # ---- the Python door, for tests and tools

    def apply_events(self, events, uint64_t first_event=1):
        """Apply an array of EVENT records in place; the first will stand at `first_event` of the ring."""
        if events.dtype != records.EVENT or not events.flags.c_contiguous or not events.flags.writeable:
            raise ValueError("events: expected a writable, contiguous array of dtype EVENT")
        cdef size_t address = events.ctypes.data
        cdef int count = len(events)
        with nogil:
            self.apply(<Event *>address, count, first_event)

    def clear_books(self, uint32_t first=1, count=None, int64_t now=0):
        """clear() from Python; by default all books."""
        cdef uint32_t room = self.instruments - min(first, self.instruments)
        self.clear(first, room if count is None else min(count, room), now)

    def mark_book(self, uint32_t instrument, uint8_t quality, uint8_t reason=REASON_NONE, int64_t now=0):
        """mark() from Python."""
        self.mark(instrument, quality, reason, now)

    def book(self, uint32_t instrument):
        """(head, bids, asks) of one slot as it stands: a BOOK record and two LEVEL arrays, copies."""
        if instrument >= self.instruments:
            raise IndexError(f"instrument {instrument}: there are {self.instruments} books")
        start = instrument * self.slot_stride
        head = self.memory[start:start + sizeof(BookSlot)].view(records.BOOK)[0].copy()
        start += sizeof(BookSlot)
        bids = self.memory[start:start + 24 * self.depth].view(records.LEVEL)[:head["bids"]].copy()
        start += self.side_stride
        asks = self.memory[start:start + 24 * self.depth].view(records.LEVEL)[:head["asks"]].copy()
        return head, bids, asks

    def trades(self, uint32_t instrument):
        """(last price, last size, volume, trades) of one slot."""
        if instrument >= self.instruments:
            raise IndexError(f"instrument {instrument}: there are {self.instruments} books")
        cdef uint8_t *at = <uint8_t *>self.side(self.slot(instrument), 1) - sizeof(LastTrade)
        cdef Volume *volume = <Volume *>(at + self.side_stride)
        return (<LastTrade *>at).price, (<LastTrade *>at).size, volume.size, volume.trades

    @property
    def counts(self):
        """The counters of the channel, by ChannelCounter; a copy."""
        return np.array(<uint64_t[:CHANNEL_COUNTERS]>self.counters)

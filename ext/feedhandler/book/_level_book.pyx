"""Books of level feeds: an M says what now stands at a price; a slot is written only when LAST comes.

One change of such a feed may be many messages, in many packets. So each book is kept in private, with all its levels,
and the best ones are copied to the slot when the feed says that the book is whole.
"""
cimport cython
from posix.mman cimport munmap

from feedhandler import errors
from feedhandler._counters cimport CH_LEVELS_FULL, CH_UNKNOWN_INSTRUMENT
from feedhandler._records cimport (ACTION_ADD, ACTION_CANCEL, ACTION_MODIFY, ACTION_RESET, ACTION_STATUS, ACTION_TRADE,
                                   ALL_INSTRUMENTS, FLAG_LAST, FLAG_STALE, FLAG_TOB, PRICE_NONE, QUALITY_INIT,
                                   QUALITY_LIVE, QUALITY_STALE, REASON_FULL, REASON_NONE, SIDE_ASK, SIDE_BID, TRADING_CLOSED, TRADING_HALTED,
                                   TRADING_PRE_OPEN, TRADING_TRADING, TRADING_UNKNOWN, BookSlot, Event)
from feedhandler.book._book cimport (FAULT_MALFORMED, fh_level, fh_pages, fh_put64, fh_put_level,
                                     fh_slot_close, fh_slot_open, own_status, venue_status)


@cython.final
cdef class LevelBook(Books):
    """Books of price levels with full int64 prices, to any depth, in bounded memory.

    level_bytes  memory for all levels, 16 bytes each before rounding up; default 4 KiB a book. A book for which there
                 is no room gives up its levels and is STALE (FULL) until a reset.
    """
    def __cinit__(self, slots, *, level_bytes=None, **_):
        cdef uint32_t i
        level_bytes = 4096 * self.instruments if level_bytes is None else level_bytes
        if not 0 <= level_bytes < 1 << 38:
            raise errors.ConfigError(f"level_bytes is {level_bytes}: expected 0 to 2**38")
        self.levels.room = level_bytes // sizeof(fh_wide_level)
        self.levels.arena = <fh_wide_level *>fh_pages((self.levels.room + 1) * sizeof(fh_wide_level))
        self.drafts = <Draft *>fh_pages(self.instruments * sizeof(Draft))
        if not (self.levels.arena and self.drafts):
            raise MemoryError(f"no memory for {level_bytes} bytes of levels")
        for i in range(self.instruments):
            self.drafts[i].last.price = PRICE_NONE

    def __dealloc__(self):
        if self.levels.arena:
            munmap(self.levels.arena, (self.levels.room + 1) * sizeof(fh_wide_level))
        if self.drafts:
            munmap(self.drafts, self.instruments * sizeof(Draft))

    cdef void apply(self, Event *events, int count, uint64_t first_event) noexcept nogil:
        cdef int i
        cdef Event *event
        for i in range(count):
            event = &events[i]
            if event.instrument - 1 >= self.instruments - 1:
                self.outside(event, first_event + i)
                continue
            self.take(event, &self.drafts[event.instrument])
            if event.action == ACTION_MODIFY:
                self.drafts[event.instrument].open = not event.flags & FLAG_LAST
            elif self.drafts[event.instrument].open:
                event.flags &= ~<uint8_t>FLAG_LAST      # a trade amid the updates it makes: the book is not whole yet
            if event.flags & FLAG_LAST:
                self.publish(event.instrument, event, first_event + i)

    cdef void take(self, Event *event, Draft *draft) noexcept nogil:
        cdef uint32_t place, ask = event.side == SIDE_ASK
        if event.action == ACTION_MODIFY:
            if draft.lost:
                return
            if not ask and event.side != SIDE_BID or event.price == PRICE_NONE:
                draft.fault = FAULT_MALFORMED
                return
            place = fh_wide_set(&self.levels, &draft.sides[ask], fh_wide_rank(event.price, ask), event.size)
            if place == FH_WIDE_FULL:
                self.counters[CH_LEVELS_FULL] += 1
                fh_wide_clear(&self.levels, &draft.sides[0])
                fh_wide_clear(&self.levels, &draft.sides[1])
                draft.lost = True
                place = 0
            if place == 0:
                event.flags |= FLAG_TOB
            if place < self.depth:
                draft.changed = True
        elif event.action == ACTION_TRADE:
            if event.size:
                if event.price != PRICE_NONE:
                    draft.last.price = event.price
                    draft.last.size = event.size
                draft.volume.size += event.size
                draft.volume.trades += 1
        elif event.action == ACTION_STATUS:
            draft.security, draft.venue = own_status(event, draft.security), venue_status(event, draft.venue)
        elif event.action == ACTION_RESET:
            event.flags |= FLAG_TOB if draft.sides[0].count or draft.sides[1].count else 0
            fh_slot_open(&self.slot(event.instrument).seq)
            self.empty(event.instrument, self.slot(event.instrument), event.ts_recv)
            fh_slot_close(&self.slot(event.instrument).seq)
        elif event.action == ACTION_ADD or event.action == ACTION_CANCEL:
            draft.fault = FAULT_MALFORMED

    cdef void publish(self, uint32_t instrument, Event *event, uint64_t position) noexcept nogil:
        """The book is whole: write its slot."""
        cdef Draft *draft = &self.drafts[instrument]
        cdef BookSlot *slot = self.slot(instrument)
        cdef fh_wide_side *side
        cdef fh_wide_level *best
        cdef fh_level *out
        cdef uint8_t *trades
        cdef uint32_t ask, i, n
        fh_slot_open(&slot.seq)
        if draft.changed:
            for ask in range(2):
                side = &draft.sides[ask]
                out = self.side(slot, ask)
                n = min(side.count, self.depth)
                for i in range(n):
                    best = &self.levels.arena[side.block + side.count - 1 - i]
                    fh_put_level(&out[i], fh_wide_rank(best.rank, ask), best.size, 0)
                for i in range(n, self.depth):
                    fh_put_level(&out[i], 0, 0, 0)
                (&slot.bids)[ask] = n
            draft.changed = False
        trades = <uint8_t *>self.side(slot, 1) - sizeof(LastTrade)
        fh_put64(&(<LastTrade *>trades).price, <uint64_t>draft.last.price)
        fh_put64(&(<LastTrade *>trades).size, draft.last.size)
        trades += self.side_stride
        fh_put64(&(<Volume *>trades).size, draft.volume.size)
        fh_put64(&(<Volume *>trades).trades, draft.volume.trades)
        self.show_trading(slot, draft.security, draft.venue)
        if draft.lost:
            event.flags |= FLAG_STALE
            if slot.quality != QUALITY_STALE:
                self.judge(slot, QUALITY_STALE, REASON_FULL, event.ts_recv)
        elif draft.fault:
            self.fault(slot, event, draft.fault)
        draft.fault = 0
        if slot.quality == QUALITY_INIT:
            self.judge(slot, QUALITY_LIVE, REASON_NONE, event.ts_recv)
        self.cross(slot, event, self.crosses(draft))
        self.stamp(slot, event, position)
        fh_slot_close(&slot.seq)

    cdef bint crosses(self, Draft *draft) noexcept nogil:
        cdef fh_wide_side *bids = &draft.sides[0]
        cdef fh_wide_side *asks = &draft.sides[1]
        if not bids.count or not asks.count:
            return False
        return (self.levels.arena[bids.block + bids.count - 1].rank
                >= fh_wide_rank(self.levels.arena[asks.block + asks.count - 1].rank, 1))

    cdef void empty(self, uint32_t instrument, BookSlot *slot, int64_t now) noexcept nogil:
        """Both the draft and its slot."""
        cdef Draft *draft = &self.drafts[instrument]
        fh_wide_clear(&self.levels, &draft.sides[0])
        fh_wide_clear(&self.levels, &draft.sides[1])
        draft.last.price = PRICE_NONE
        draft.last.size = draft.volume.size = draft.volume.trades = 0
        draft.open = draft.changed = draft.lost = False
        draft.fault = 0
        self.reset_slot(slot, now)

    cdef void outside(self, Event *event, uint64_t position) noexcept nogil:
        """An event of the whole channel, or of an instrument that has no book."""
        cdef uint32_t i
        cdef BookSlot *slot
        if event.instrument != ALL_INSTRUMENTS:
            self.counters[CH_UNKNOWN_INSTRUMENT] += 1
        elif event.action == ACTION_RESET:
            for i in range(1, self.end()):
                if not self.ours(i):
                    continue
                slot = self.slot(i)
                fh_slot_open(&slot.seq)
                self.empty(i, slot, event.ts_recv)
                self.drafts[i].security = self.drafts[i].venue = TRADING_UNKNOWN
                self.show_trading(slot, TRADING_UNKNOWN, TRADING_UNKNOWN)
                self.stamp(slot, event, position)
                fh_slot_close(&slot.seq)
        elif event.action == ACTION_STATUS:
            for i in range(1, self.end()):
                if not self.ours(i):
                    continue
                if event.size == TRADING_CLOSED:
                    self.drafts[i].security = TRADING_CLOSED
                elif event.size == TRADING_PRE_OPEN and self.drafts[i].security == TRADING_UNKNOWN:
                    self.drafts[i].security = TRADING_HALTED
            self.status(event, position)

    cdef void clear(self, uint32_t first, uint32_t count, int64_t now) noexcept nogil:
        cdef uint32_t i
        if first >= self.instruments:
            return
        for i in range(first, first + min(count, self.instruments - first)):
            fh_slot_open(&self.slot(i).seq)
            self.empty(i, self.slot(i), now)
            fh_slot_close(&self.slot(i).seq)

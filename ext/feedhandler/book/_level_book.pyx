"""Books of level feeds: an M says what now stands at a price; a slot is written only when LAST comes.

One change of such a feed may be many messages, in many packets. So each book is kept in private, with all its levels,
and the best ones are copied to the slot when the feed says that the book is whole. So is a reset: until the LAST of the
snapshot behind it the slot shows the book before.

`by_snapshot`, for venues whose books begin with one: a book is LIVE from the snapshot's LAST on and by nothing else, and
who mends it is told of each that turned STALE by a fault (Books.lost). An N event with MBP carries the venue's checksum of
the book (`order_id`), and the depth to which each side is cut before (`size`).
"""
cimport cython
from libc.string cimport memcpy, memmove
from posix.mman cimport munmap

from feedhandler import errors
from feedhandler._counters cimport CH_CHECKSUM, CH_LEVELS_FULL, CH_UNKNOWN_INSTRUMENT
from feedhandler._records cimport (ACTION_ADD, ACTION_CANCEL, ACTION_MODIFY, ACTION_NONE, ACTION_RESET, ACTION_STATUS, ACTION_TRADE,
                                   ALL_INSTRUMENTS, FLAG_LAST, FLAG_MBP, FLAG_SNAPSHOT, FLAG_STALE, FLAG_TOB, PRICE_NONE, QUALITY_INIT,
                                   QUALITY_LIVE, QUALITY_STALE, REASON_FULL, REASON_NONE, REASON_SNAPSHOT, SIDE_ASK, SIDE_BID, TRADING_CLOSED, TRADING_HALTED,
                                   TRADING_PRE_OPEN, TRADING_TRADING, TRADING_UNKNOWN, BookSlot, Event, InstrumentRecord)
from feedhandler.book._book cimport (FAULT_CHECKSUM, FAULT_MALFORMED, fh_level, fh_pages, fh_put64, fh_put_level,
                                     fh_slot_close, fh_slot_open, own_status, venue_status)

cdef extern from "book_checksum.h" nogil:
    enum:
        FH_CHECKSUM_LEVELS
        FH_CHECKSUM_DIGITS

    void fh_crc32_begin()
    uint32_t fh_crc32(const uint8_t *p, size_t n)
    uint8_t *fh_digits(uint8_t *out, uint64_t number)

fh_crc32_begin()

cdef enum:
    SPREAD = 18                 # powers of ten that fit
    SNAPSHOT_BYTES = 67108864

cdef uint64_t[SPREAD + 1] TENS
for _i in range(SPREAD + 1):
    TENS[_i] = 10 ** _i


@cython.final
cdef class LevelBook(Books):
    """Books of price levels with full int64 prices, to any depth, in bounded memory.

    level_bytes  memory for all levels, 16 bytes each before rounding up; default 4 KiB a book, and by_snapshot 64 MiB
                 more: a snapshot of 5,000 levels a side needs half a MiB. A book for which there
                 is no room gives up its levels and is STALE (FULL) until a reset.
    by_snapshot  a book is LIVE when its snapshot is whole, and when the line stage says so; never of itself
    """
    def __cinit__(self, slots, *, level_bytes=None, bint by_snapshot=False, **_):
        cdef uint32_t i
        self.by_snapshot = by_snapshot
        if level_bytes is None:
            level_bytes = 4096 * self.instruments + (SNAPSHOT_BYTES if by_snapshot else 0)
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
            if event.action == ACTION_MODIFY or event.action == ACTION_RESET:
                self.drafts[event.instrument].open = not event.flags & FLAG_LAST
            elif event.action == ACTION_NONE and event.flags & FLAG_MBP:
                self.drafts[event.instrument].open = False
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
            self.clear_draft(draft)
            draft.begun = draft.changed = True
        elif event.action == ACTION_NONE and event.flags & FLAG_MBP:
            self.cut(draft, event.size)
            if not draft.lost and self.checksum(event.instrument) != event.order_id:
                self.counters[CH_CHECKSUM] += 1
                draft.fault = FAULT_CHECKSUM
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
        cdef uint64_t whole_to
        cdef uint32_t ask, i, n
        fh_slot_open(&slot.seq)
        if draft.begun:
            self.reset_slot(slot, event.ts_recv)
            if self.unproven:
                self.judge(slot, QUALITY_STALE, REASON_SNAPSHOT, event.ts_recv)
            draft.begun = False
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
            draft.faulty = draft.faulty or self.policy & draft.fault != 0
        draft.fault = 0
        if self.by_snapshot and (draft.lost or draft.faulty) and not draft.told:    # STALE already, or not: it needs another
            draft.told = True
            self.lost = instrument
            self.lost_reason = REASON_FULL if draft.lost else slot.reason
        if slot.quality == QUALITY_INIT and not self.by_snapshot:
            self.judge(slot, QUALITY_LIVE, REASON_NONE, event.ts_recv)
        self.cross(slot, event, self.crosses(draft))
        whole_to = slot.channel_seq
        self.stamp(slot, event, position)
        if self.by_snapshot and event.channel_seq == 0:     # a trade has no number of the book's row
            fh_put64(&slot.channel_seq, whole_to)
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
        self.clear_draft(&self.drafts[instrument])
        self.reset_slot(slot, now)

    cdef void clear_draft(self, Draft *draft) noexcept nogil:
        fh_wide_clear(&self.levels, &draft.sides[0])
        fh_wide_clear(&self.levels, &draft.sides[1])
        draft.last.price = PRICE_NONE
        draft.last.size = draft.volume.size = draft.volume.trades = 0
        draft.open = draft.changed = draft.lost = draft.begun = draft.faulty = draft.told = False
        draft.fault = 0

    cdef void mark(self, uint32_t instrument, uint8_t quality, uint8_t reason, int64_t now) noexcept nogil:
        if quality == QUALITY_LIVE and 0 < instrument < self.instruments:
            if self.drafts[instrument].lost or self.drafts[instrument].faulty:
                return
        Books.mark(self, instrument, quality, reason, now)

    cdef bint sound(self, uint32_t instrument) noexcept nogil:
        """The book has begun, is whole, and nothing was found wrong with it."""
        cdef Draft *draft = &self.drafts[instrument]
        return not (draft.open or draft.lost or draft.faulty) and self.slot(instrument).quality == QUALITY_LIVE

    cdef void cut(self, Draft *draft, uint64_t depth) noexcept nogil:
        """Each side to its best `depth` levels."""
        cdef fh_wide_side *side
        cdef uint32_t ask, more
        for ask in range(2):
            side = &draft.sides[ask]
            if side.count <= depth:
                continue
            more = side.count - <uint32_t>depth
            memmove(&self.levels.arena[side.block], &self.levels.arena[side.block + more], depth * sizeof(fh_wide_level))
            side.count = <uint32_t>depth
            draft.changed = draft.changed or depth < self.depth

    cdef uint32_t checksum(self, uint32_t instrument) noexcept nogil:
        """Kraken's, of the draft; see book_checksum.h. The digits are those of the decimals that the directory tells."""
        cdef uint8_t[2 * FH_CHECKSUM_LEVELS * 2 * FH_CHECKSUM_DIGITS] text
        cdef uint8_t *end = text
        cdef const InstrumentRecord *record = &self.directory[instrument] if self.directory != NULL else NULL
        cdef uint64_t price_unit = 1, size_unit = 1
        cdef fh_wide_side *side
        cdef fh_wide_level *level
        cdef uint32_t i, n
        if record != NULL:
            price_unit = TENS[max(0, min(SPREAD, -record.price_exponent - <int>record.price_decimals))]
            size_unit = TENS[max(0, min(SPREAD, -record.size_exponent - <int>record.size_decimals))]
        for n in range(2):
            side = &self.drafts[instrument].sides[1 - n]
            for i in range(min(side.count, <uint32_t>FH_CHECKSUM_LEVELS)):
                level = &self.levels.arena[side.block + side.count - 1 - i]
                end = fh_digits(end, <uint64_t>max(fh_wide_rank(level.rank, 1 - n), <int64_t>0) // price_unit)
                end = fh_digits(end, level.size // size_unit)
        return fh_crc32(text, <size_t>(end - text))

    cdef uint32_t copy_out(self, uint32_t instrument, const Event *like, uint32_t at, Event *out, uint32_t room) noexcept nogil:
        """The book as events, from its `at`th on: R, then M for each level, best first, bids first; LAST on the last of all.

        `like` says times, line and numbers. Gives how many were written, at most `room`: 0 = there are no more.
        """
        cdef Draft *draft = &self.drafts[instrument]
        cdef uint32_t bids = draft.sides[0].count, total = 1 + bids + draft.sides[1].count
        cdef uint32_t n = 0, ask, i
        cdef fh_wide_side *side
        cdef fh_wide_level *level
        while at < total and n < room:
            memcpy(&out[n], like, sizeof(Event))
            out[n].instrument = instrument
            out[n].flags = FLAG_SNAPSHOT
            if at == 0:
                out[n].action = ACTION_RESET
            else:
                ask = at > bids
                side = &draft.sides[ask]
                i = at - 1 - (bids if ask else 0)
                level = &self.levels.arena[side.block + side.count - 1 - i]
                out[n].action = ACTION_MODIFY
                out[n].side = SIDE_ASK if ask else SIDE_BID
                out[n].flags |= FLAG_MBP
                out[n].price = fh_wide_rank(level.rank, ask)
                out[n].size = level.size
            at += 1
            if at == total:
                out[n].flags |= FLAG_LAST
            n += 1
        return n

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

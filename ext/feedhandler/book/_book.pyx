"""Order-by-order books, published in place.

apply() goes over a batch in two passes. The first keeps the orders: it finds, adds and removes them, fills in what the
decoder could not know, and notes what each event does to the price levels. The second does that to the levels, which
lie in the published slots, and ends each slot's write where its event is LAST. The passes are apart because each then
waits for its own cache lines only, and the second knows exactly which lines it will want.

The laws, as plain Python: `feedhandler.book.reference`.
"""
cimport cython
from libc.string cimport memset
from posix.mman cimport munmap

import numpy as np

from feedhandler import errors, records
from feedhandler._counters cimport (CH_CROSSED, CH_DUPLICATE_ORDER, CH_LEVELS_FULL, CH_ORDERS_FULL, CH_OVER_EXECUTION,
                                    CH_PRICE_RANGE, CH_UNKNOWN_INSTRUMENT, CH_UNKNOWN_ORDER, CH_ZERO_SIZE)
from feedhandler._records cimport (ACTION_ADD, ACTION_CANCEL, ACTION_FILL, ACTION_MODIFY, ACTION_RESET, ACTION_STATUS,
                                   ACTION_TRADE, ALL_INSTRUMENTS, CHANNEL_COUNTERS, FLAG_LAST, FLAG_STALE, FLAG_TOB,
                                   PRICE_NONE, QUALITY_INIT, QUALITY_LIVE, QUALITY_STALE, REASON_DUPLICATE_ORDER,
                                   REASON_FULL, REASON_MALFORMED, REASON_NONE, REASON_OVER_EXECUTION,
                                   REASON_PRICE_RANGE, REASON_START, REASON_UNKNOWN_ORDER, SIDE_ASK, SIDE_BID,
                                   SIDE_NONE, SIZE_REST, TRADING_CLOSED, TRADING_HALTED, TRADING_PRE_OPEN,
                                   TRADING_TRADING, TRADING_UNKNOWN, BookSlot, Event, InstrumentRecord, LastTrade, Part, Volume)

cdef extern from *:
    """
    #define FH_LIKELY(x) __builtin_expect(!!(x), 1)
    #define FH_UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define FH_PREFETCH(p) __builtin_prefetch((const void *)(uintptr_t)(p), 1)
    #define FH_MULHI(a, b) ((uint64_t)((unsigned __int128)(a) * (b) >> 64))
    """
    bint likely "FH_LIKELY"(bint x) nogil
    bint unlikely "FH_UNLIKELY"(bint x) nogil
    void prefetch_line "FH_PREFETCH"(size_t p) nogil
    uint64_t mulhi "FH_MULHI"(uint64_t a, uint64_t b) nogil

cdef enum:
    CHUNK = 64                  # events between the two passes
    NO_OWNER = 0xffffffff
    DEPTH_MAX = 64
    BOOK_CROSSED = 1            # BookSlot.flags: the best bid reaches the best ask

FAULTS = {"UNKNOWN_ORDER": FAULT_UNKNOWN_ORDER, "OVER_EXECUTION": FAULT_OVER_EXECUTION,
          "DUPLICATE_ORDER": FAULT_DUPLICATE_ORDER, "FULL": FAULT_FULL, "PRICE_RANGE": FAULT_PRICE_RANGE,
          "MALFORMED": FAULT_MALFORMED}
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
    return REASON_MALFORMED


cdef class Books:
    """The published books of one shard, in a writable buffer of slots.

    slots        writable buffer, 8-byte aligned: instruments * records.slot_stride(depth) bytes; kept alive
    depth        levels published per side, 1 to 64
    instruments  books, the unused 0 included; default: as many as the buffer holds
    policy       which faults turn a book STALE, bits of FAULTS; default all
    """
    def __cinit__(self, slots, *, uint32_t depth=10, instruments=None, policy=None, **_):
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
        if self.own_counters == NULL:
            raise MemoryError("no memory for the book's counters")
        self.counters = self.own_counters
        for i in range(self.instruments):
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
        if self.own_counters != NULL:
            munmap(self.own_counters, CHANNEL_COUNTERS * sizeof(uint64_t))

    cdef void apply(self, Event *events, int count, uint64_t first_event) noexcept nogil:
        """Fill in and apply events, in place; events[0] will stand at `first_event` of the ring.

        A batch holds whole messages. When it returns, the sequence of every slot is even.
        """

    cdef void clear(self, uint32_t first, uint32_t count, int64_t now) noexcept nogil:
        """Empty `count` books from `first` on: epoch + 1, LIVE. An R event does the same; do not do both."""

    cdef void share(self, const InstrumentRecord *directory, const Part *entries, uint16_t channel) noexcept:
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
        if self.policy & fault:
            event.flags |= FLAG_STALE
            if slot.quality != QUALITY_STALE:
                self.judge(slot, QUALITY_STALE, _reason(fault), event.ts_recv)

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


@cython.final
cdef class OrderBook(Books):
    """Order-by-order books. Takes all its memory here.

    orders         live orders at most, of all instruments together
    level_bytes    memory for the levels below the published ones; default 14 bytes an order, 320 a book and
                   1 MiB
    price_quantum  price units of one step of a book's price key: prices are 0 to (2**32 - 1) * price_quantum.
                   ITCH's four decimals in units of 1e-9: 100000
    prefetch       fetch the cache lines of a batch ahead (off: for measuring what it brings)

    Time priority within a level (queue position) has its place beside fh_bucket: two links an order, first and last of
    each level.
    """
    def __cinit__(self, slots, *, orders=1 << 20, level_bytes=None, price_quantum=100_000, prefetch=True, **_):
        cdef uint32_t i
        if not 1 <= orders <= 1 << 31:
            raise errors.ConfigError(f"orders is {orders}: expected 1 to 2**31")
        if not 1 <= price_quantum < 1 << 31:
            raise errors.ConfigError(f"price_quantum is {price_quantum}: expected 1 to 2**31 - 1 price units")
        level_bytes = 14 * orders + 320 * self.instruments + (1 << 20) if level_bytes is None else level_bytes
        if not 0 <= level_bytes < 1 << 38:
            raise errors.ConfigError(f"level_bytes is {level_bytes}: expected 0 to 2**38")
        self.orders.limit = orders
        self.orders.count = fh_orders_buckets(orders)
        self.size_limit = (<uint64_t>1 << 63) // <uint64_t>orders
        self.orders.buckets = <fh_bucket *>fh_pages(<size_t>self.orders.count * sizeof(fh_bucket))
        self.levels.depth = self.depth
        self.levels.places = fh_places(self.depth)
        self.levels.side_bytes = fh_side_bytes(self.depth)
        self.levels.quantum = price_quantum
        self.levels.sides = <uint8_t *>fh_pages(<size_t>2 * self.instruments * self.levels.side_bytes)
        self.levels.arena_bytes = level_bytes + FH_ARENA_UNIT
        self.levels.arena_used = FH_ARENA_UNIT
        self.levels.arena = <uint8_t *>fh_pages(self.levels.arena_bytes)
        self.changes = <Change *>fh_pages(CHUNK * (sizeof(Change) + sizeof(uint32_t)))
        if not (self.orders.buckets and self.levels.sides and self.levels.arena and self.changes):
            raise MemoryError(f"no memory for {orders} orders and {level_bytes} bytes of levels")
        self.homes = <uint32_t *>(self.changes + CHUNK)
        for i in range(2 * self.instruments):
            fh_levels_clear(&self.levels, i)
        fh_levels_choose(&self.levels)
        self.reciprocal = -((-(1 << 63)) // price_quantum)       # rounded up: exact for every whole key, see add()
        self.prefetch = prefetch
        self.replaced = NO_OWNER

    def __dealloc__(self):
        if self.orders.buckets:
            munmap(self.orders.buckets, <size_t>self.orders.count * sizeof(fh_bucket))
        if self.levels.sides:
            munmap(self.levels.sides, <size_t>2 * self.instruments * self.levels.side_bytes)
        if self.levels.arena:
            munmap(self.levels.arena, self.levels.arena_bytes)
        if self.changes:
            munmap(self.changes, CHUNK * (sizeof(Change) + sizeof(uint32_t)))

    @property
    def live_orders(self):
        """Orders that rest in all books together."""
        return self.orders.live

    @property
    def memory_bytes(self):
        """Bytes taken, by what for; `levels_used` is the part of `levels` handed out so far."""
        return {"orders": self.orders.count * sizeof(fh_bucket), "levels": self.levels.arena_bytes,
                "levels_used": self.levels.arena_used, "sides": 2 * self.instruments * self.levels.side_bytes,
                "slots": self.instruments * self.slot_stride}

    cdef void apply(self, Event *events, int count, uint64_t first_event) noexcept nogil:
        cdef int i, n, done = 0
        cdef Event *event
        while done < count:
            n = min(count - done, CHUNK)
            for i in range(n):
                event = &events[done + i]
                self.homes[i] = fh_orders_home(&self.orders, event.order_id)
                if self.prefetch:                       # a hostile instrument: an address that is fetched in vain
                    prefetch_line(<size_t>&self.orders.buckets[self.homes[i]])
                    prefetch_line(<size_t>&self.orders.buckets[self.homes[i]] + 64)
                    prefetch_line(<size_t>self.slots + <size_t>event.instrument * self.slot_stride)
            self.take_orders(events + done, n, count - done)
            if self.prefetch:
                self.fetch_levels(n)
            self.change_levels(events + done, n, first_event + done)
            done += n
        self.finish()
        self.replaced = NO_OWNER
        self.unknown = False

    # ---- first pass: the orders

    cdef void take_orders(self, Event *events, int count, int rest) noexcept nogil:
        """Find, add and remove orders; fill the events; note in `changes` what each does to the levels."""
        cdef int i
        cdef Event *event
        cdef Change *change
        cdef uint64_t named
        for i in range(count):
            event = &events[i]
            change = &self.changes[i]
            change.size = 0
            change.orders = 0
            change.fault = 0
            change.hint = 0
            if unlikely(event.instrument - 1 >= self.instruments - 1):
                if event.instrument >= self.instruments:
                    self.counters[CH_UNKNOWN_INSTRUMENT] += 1
                elif event.action == ACTION_RESET:
                    memset(self.orders.buckets, 0, <size_t>self.orders.count * sizeof(fh_bucket))
                    self.orders.live = 0
                self.replaced = NO_OWNER
            elif event.action == ACTION_CANCEL:
                self.cancel(event, change, self.homes[i])
            elif event.action == ACTION_ADD:
                self.add(event, change, self.homes[i])
                self.replaced = NO_OWNER
            else:
                self.replaced = NO_OWNER
                if event.action == ACTION_FILL:
                    self.fill(event, change, self.homes[i], event.order_id, True)
                elif event.action == ACTION_TRADE:
                    if not event.flags & FLAG_LAST and i + 1 < rest and events[i + 1].action == ACTION_FILL:
                        named = events[i + 1].order_id
                        self.fill(event, change, fh_orders_home(&self.orders, named), named, False)
                elif event.action == ACTION_RESET:
                    fh_orders_forget(&self.orders, event.instrument, 1)
                elif event.action == ACTION_MODIFY:
                    change.fault = FAULT_MALFORMED
            if self.prefetch:
                prefetch_line(<size_t>self.levels.sides + <size_t>change.side * self.levels.side_bytes)
            if event.flags & FLAG_LAST:
                self.replaced = NO_OWNER
                self.unknown = False

    cdef void add(self, Event *event, Change *change, uint32_t home) noexcept nogil:
        cdef uint32_t ask = event.side == SIDE_ASK
        cdef uint64_t quanta
        cdef int outcome
        if not ask and event.side != SIDE_BID:
            if self.replaced == NO_OWNER:
                if not self.unknown:
                    self.counters[CH_UNKNOWN_ORDER] += 1
                self.unknown = True
                change.fault = FAULT_UNKNOWN_ORDER
                return
            ask = self.replaced & 1
            event.side = SIDE_ASK if ask else SIDE_BID
            event.instrument = self.replaced >> 1
        if unlikely(event.size == 0):
            self.counters[CH_ZERO_SIZE] += 1
            return
        # key * quantum * 2 * (2**63 + e) / quantum / 2**64, e < quantum: exactly `key` when the price is a whole key
        quanta = mulhi(<uint64_t>event.price << 1, self.reciprocal)
        if unlikely((quanta > <uint64_t>0xffffffff) | (quanta * self.levels.quantum != <uint64_t>event.price)
                    | (event.size >= self.size_limit)):
            self.counters[CH_PRICE_RANGE] += 1
            change.fault = FAULT_PRICE_RANGE
            return
        change.side = event.instrument * 2 + ask
        outcome = fh_orders_add(&self.orders, event.order_id, home, event.size, <uint32_t>quanta, change.side)
        if unlikely(outcome != FH_ORDER_ADDED):
            if outcome == FH_ORDER_LIVE:
                self.counters[CH_DUPLICATE_ORDER] += 1
                change.fault = FAULT_DUPLICATE_ORDER
            else:
                self.counters[CH_ORDERS_FULL] += 1
                change.fault = FAULT_FULL
            return
        change.key = fh_key(<uint32_t>quanta, ask)
        change.size = event.size
        change.orders = 1

    cdef void cancel(self, Event *event, Change *change, uint32_t home) noexcept nogil:
        cdef uint64_t at = fh_orders_find(&self.orders, event.order_id, home)
        cdef uint32_t place = at & 7, owner
        cdef fh_bucket *bucket
        cdef uint64_t gone
        if unlikely(at == FH_NO_ORDER):
            if not self.unknown:
                self.counters[CH_UNKNOWN_ORDER] += 1
            self.unknown = True
            change.fault = FAULT_UNKNOWN_ORDER
            self.replaced = NO_OWNER
            if event.size == SIZE_REST:
                event.size = 0
            return
        bucket = &self.orders.buckets[at >> 3]
        owner = bucket.owners[place]
        gone = event.size
        if gone >= bucket.sizes[place]:
            if unlikely(gone > bucket.sizes[place] and gone != SIZE_REST):
                self.counters[CH_OVER_EXECUTION] += 1
                change.fault = FAULT_OVER_EXECUTION
            gone = event.size = bucket.sizes[place]
            change.orders = -1
        self.replaced = change.side = owner
        change.key = fh_key(bucket.keys[place], owner & 1)
        change.size = <uint64_t>0 - gone
        event.instrument = owner >> 1
        if event.side == SIDE_NONE:
            event.side = SIDE_ASK if owner & 1 else SIDE_BID
        if event.price == PRICE_NONE:
            event.price = <int64_t>(bucket.keys[place] * self.levels.quantum)
        if change.orders:
            fh_orders_erase(&self.orders, at, home)
        else:
            bucket.sizes[place] -= gone

    cdef void fill(self, Event *event, Change *change, uint32_t home, uint64_t order_id, bint counted) noexcept nogil:
        """Fill an F from its order, or a T from the order that the F behind it names."""
        cdef uint64_t at = fh_orders_find(&self.orders, order_id, home)
        cdef uint32_t place = at & 7, owner
        if unlikely(at == FH_NO_ORDER):
            if counted:
                if not self.unknown:
                    self.counters[CH_UNKNOWN_ORDER] += 1
                self.unknown = True
                change.fault = FAULT_UNKNOWN_ORDER
            return
        owner = self.orders.buckets[at >> 3].owners[place]
        event.instrument = owner >> 1
        if event.side == SIDE_NONE:
            event.side = SIDE_ASK if (owner & 1) == (event.action == ACTION_FILL) else SIDE_BID
        if event.price == PRICE_NONE:
            event.price = <int64_t>(self.orders.buckets[at >> 3].keys[place] * self.levels.quantum)

    # ---- second pass: the levels, in the slots

    cdef void fetch_levels(self, int count) noexcept nogil:
        """Fetch the lines of all levels that the chunk changes: the keys of its sides were fetched in the first pass."""
        cdef int i, n = 0
        cdef int[CHUNK] deep                            # a list, and no branch on which they are: it is hard to foretell
        cdef Change *change
        cdef BookSlot *slot
        cdef uint32_t depth = self.depth
        for i in range(count):                          # those that change nothing hold what an earlier chunk left
            change = &self.changes[i]
            slot = self.slot(change.side >> 1)
            deep[n] = i
            if depth == 10:
                n += fh_levels_fetch(&self.levels, 10, change.side, self.side(slot, change.side & 1), change.key)
            else:
                n += fh_levels_fetch(&self.levels, depth, change.side, self.side(slot, change.side & 1), change.key)
        for i in range(n):
            change = &self.changes[deep[i]]
            change.hint = fh_levels_fetch_deep(&self.levels, depth, change.side, change.key)

    cdef void change_levels(self, Event *events, int count, uint64_t first_event) noexcept nogil:
        cdef int i
        cdef uint32_t place, ask
        cdef Event *event
        cdef Change *change
        cdef BookSlot *slot
        for i in range(count):
            event = &events[i]
            change = &self.changes[i]
            if unlikely(event.instrument - 1 >= self.instruments - 1):
                self.outside(event, first_event + i)
                continue
            slot = self.slot(event.instrument)
            if slot != self.open_slot:
                if unlikely(self.open_slot != NULL):
                    self.finish()
                fh_slot_open(&slot.seq)
                self.open_slot = slot
            self.last = event
            self.last_position = first_event + i
            if change.size:
                ask = change.side & 1
                if self.depth == 10:                    # the compiler then knows the length of every loop
                    place = fh_levels_change(&self.levels, 10, change.side, self.side(slot, ask), &slot.bids + ask,
                                             change.key, change.size, change.orders, change.hint)
                else:
                    place = fh_levels_change(&self.levels, self.depth, change.side, self.side(slot, ask),
                                             &slot.bids + ask, change.key, change.size, change.orders, change.hint)
                event.flags |= FLAG_TOB if place == 0 else 0
                self.tob |= place == 0
                self.bettered |= change.orders > 0
                if unlikely(place == FH_LEVELS_FULL):
                    self.lose(event.instrument, slot)
                    event.flags |= FLAG_TOB | FLAG_STALE
            elif event.action == ACTION_TRADE:
                self.trade(slot, event)
            elif event.action == ACTION_STATUS:
                self.show_trading(slot, own_status(event, slot.security), venue_status(event, slot.venue))
            elif event.action == ACTION_RESET:
                event.flags |= FLAG_TOB if slot.bids or slot.asks else 0
                self.empty(event.instrument, slot, event.ts_recv)
            if unlikely(change.fault):
                self.fault(slot, event, change.fault)
            if event.flags & FLAG_LAST:
                self.finish()

    cdef void outside(self, const Event *event, uint64_t position) noexcept nogil:
        """An event of the whole channel, or of an instrument that has no book."""
        cdef uint32_t i
        cdef BookSlot *slot
        if event.instrument == ALL_INSTRUMENTS and event.action == ACTION_RESET:
            self.finish()
            for i in range(1, self.end()):
                if not self.ours(i):
                    continue
                slot = self.slot(i)
                fh_slot_open(&slot.seq)
                self.empty(i, slot, event.ts_recv)
                self.show_trading(slot, TRADING_UNKNOWN, TRADING_UNKNOWN)
                self.stamp(slot, event, position)
                fh_slot_close(&slot.seq)
        elif event.instrument == ALL_INSTRUMENTS and event.action == ACTION_STATUS:
            self.finish()
            self.status(event, position)
        if event.flags & FLAG_LAST:
            self.finish()

    cdef void finish(self) noexcept nogil:
        """End the write of the open slot, if there is one: its book is whole."""
        cdef BookSlot *slot = self.open_slot
        cdef bint crossed
        if unlikely(slot == NULL):
            return
        if unlikely(slot.quality == QUALITY_INIT):
            self.judge(slot, QUALITY_LIVE, REASON_NONE, self.last.ts_recv)
        if self.tob & (self.bettered | (slot.flags & BOOK_CROSSED)):    # else the other side need not be read
            crossed = (slot.bids and slot.asks and fh_quanta(fh_keys(&self.levels, 2 * self.last.instrument)[0], 0)
                       >= fh_quanta(fh_keys(&self.levels, 2 * self.last.instrument + 1)[0], 1))
            if crossed and not slot.flags & BOOK_CROSSED and slot.trading == TRADING_TRADING:
                self.counters[CH_CROSSED] += 1
            slot.flags = BOOK_CROSSED if crossed else 0
        self.tob = self.bettered = False
        self.stamp(slot, self.last, self.last_position)
        fh_slot_close(&slot.seq)
        self.open_slot = NULL

    cdef void empty(self, uint32_t instrument, BookSlot *slot, int64_t now) noexcept nogil:
        fh_levels_clear(&self.levels, 2 * instrument)
        fh_levels_clear(&self.levels, 2 * instrument + 1)
        self.reset_slot(slot, now)

    cdef void lose(self, uint32_t instrument, BookSlot *slot) noexcept nogil:
        """No room for a level: the book gives up all its levels and is STALE until a reset, whatever the policy."""
        cdef uint32_t ask, i
        self.counters[CH_LEVELS_FULL] += 1
        for ask in range(2):
            fh_levels_clear(&self.levels, 2 * instrument + ask)
            fh_side_of(&self.levels, 2 * instrument + ask).lost = 1
            for i in range(self.depth):
                fh_put_level(&self.side(slot, ask)[i], 0, 0, 0)
        slot.bids = slot.asks = 0
        slot.flags = 0
        if slot.quality != QUALITY_STALE:
            self.judge(slot, QUALITY_STALE, REASON_FULL, self.last.ts_recv)

    cdef void clear(self, uint32_t first, uint32_t count, int64_t now) noexcept nogil:
        cdef uint32_t i
        cdef BookSlot *slot
        if first >= self.instruments:
            return
        count = min(count, self.instruments - first)
        fh_orders_forget(&self.orders, first, count)
        for i in range(first, first + count):
            slot = self.slot(i)
            fh_slot_open(&slot.seq)
            self.empty(i, slot, now)
            fh_slot_close(&slot.seq)

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

from feedhandler import errors, memory
from feedhandler._counters cimport (CH_DUPLICATE_ORDER, CH_LEVELS_FULL, CH_ORDERS_FULL, CH_OVER_EXECUTION,
                                    CH_PRICE_RANGE, CH_UNKNOWN_INSTRUMENT, CH_UNKNOWN_ORDER, CH_ZERO_SIZE)
from feedhandler._hints cimport fetch_to_write, unlikely
from feedhandler._records cimport (ACTION_ADD, ACTION_CANCEL, ACTION_FILL, ACTION_MODIFY, ACTION_RESET, ACTION_STATUS,
                                   ACTION_TRADE, ALL_INSTRUMENTS, FLAG_LAST, FLAG_STALE, FLAG_TOB, PRICE_NONE,
                                   QUALITY_INIT, QUALITY_LIVE, QUALITY_STALE, REASON_FULL, REASON_NONE, SIDE_ASK,
                                   SIDE_BID, SIDE_NONE, SIZE_REST, TRADING_UNKNOWN, BookSlot, Event)
from feedhandler.book._book cimport (BOOK_CROSSED, FAULT_DUPLICATE_ORDER, FAULT_FULL, FAULT_MALFORMED,
                                     FAULT_OVER_EXECUTION, FAULT_PRICE_RANGE, FAULT_UNKNOWN_ORDER, Books, fh_pages, fh_put_level,
                                     fh_slot_close, fh_slot_open, own_status, venue_status)

cdef extern from *:
    """
    #define FH_MULHI(a, b) ((uint64_t)((unsigned __int128)(a) * (b) >> 64))
    """
    uint64_t mulhi "FH_MULHI"(uint64_t a, uint64_t b) nogil

cdef enum:
    CHUNK = FH_CHANGES_MAX      # events between the two passes
    AHEAD = 48                  # events: so far ahead their lines are fetched
    HOMES = 64                  # a power of two above it
    NO_OWNER = 0xffffffff


@cython.final
cdef class OrderBook(Books):
    """Order-by-order books. Takes all its memory here.

    orders         live orders at most, of all instruments together
    level_bytes    memory for the levels below the published ones; default 14 bytes an order, 320 a book and
                   1 MiB
    price_quantum  price units of one step of a book's price key: prices are 0 to (2**32 - 1) * price_quantum.
                   ITCH's four decimals in units of 1e-9: 100000
    prefetch       fetch the cache lines of a batch ahead (off: for measuring what it brings)
    vectors        bits of the widest vectors to use, 128, 256 or 512, as far as the processor and depth 10 allow them;
                   "plain" for C without any, all there is off x86-64

    Time priority within a level (queue position) has its place beside fh_bucket: two links an order, first and last of
    each level.
    """
    def __cinit__(self, slots, *, orders=1 << 20, level_bytes=None, price_quantum=100_000, prefetch=True, vectors=512, **_):
        cdef uint32_t i
        if not 1 <= orders <= 1 << 31:
            raise errors.ConfigError(f"orders is {orders}: expected 1 to 2**31")
        if not 1 <= price_quantum < 1 << 31:
            raise errors.ConfigError(f"price_quantum is {price_quantum}: expected 1 to 2**31 - 1 price units")
        if vectors not in (128, 256, 512, "plain"):
            raise errors.ConfigError(f"vectors is {vectors!r}: expected 128, 256, 512 or 'plain'")
        level_bytes = 14 * orders + 320 * self.instruments + (1 << 20) if level_bytes is None else level_bytes
        if not 0 <= level_bytes < 1 << 38:
            raise errors.ConfigError(f"level_bytes is {level_bytes}: expected 0 to 2**38")
        self.orders.limit = orders
        self.orders.count = fh_orders_buckets(orders)
        self.size_limit = (<uint64_t>1 << 63) // <uint64_t>orders
        memory.require(self.orders.count * sizeof(fh_bucket) + level_bytes,
                       f"books of {orders:,} orders and {self.instruments:,} instruments")
        self.orders.buckets = <fh_bucket *>fh_pages(<size_t>self.orders.count * sizeof(fh_bucket))
        self.levels.depth = self.depth
        self.levels.places = fh_places(self.depth)
        self.levels.side_bytes = fh_side_bytes(self.depth)
        self.levels.quantum = price_quantum
        self.levels.sides = <uint8_t *>fh_pages(<size_t>2 * self.instruments * self.levels.side_bytes)
        self.levels.arena_bytes = level_bytes + FH_ARENA_UNIT
        self.levels.arena_used = FH_ARENA_UNIT
        self.levels.arena = <uint8_t *>fh_pages(self.levels.arena_bytes + FH_ARENA_SPARE)
        self.changes = <fh_change *>fh_pages(CHUNK * sizeof(fh_change) + HOMES * sizeof(uint32_t))
        if not (self.orders.buckets and self.levels.sides and self.levels.arena and self.changes):
            raise MemoryError(f"no memory for {orders} orders and {level_bytes} bytes of levels")
        self.homes = <uint32_t *>(self.changes + CHUNK)
        for i in range(2 * self.instruments):
            fh_levels_clear(&self.levels, i)
        self.width = fh_levels_choose(&self.levels, 0 if vectors == "plain" else vectors)
        self.reciprocal = -((-(1 << 63)) // price_quantum)       # rounded up: exact for every whole key, see add()
        self.prefetch = prefetch
        self.replaced = NO_OWNER
        self.run.slots = self.slots
        self.run.slot_stride = self.slot_stride
        self.run.side_stride = self.side_stride
        self.run.instruments = self.instruments

    def __dealloc__(self):
        if self.orders.buckets:
            munmap(self.orders.buckets, <size_t>self.orders.count * sizeof(fh_bucket))
        if self.levels.sides:
            munmap(self.levels.sides, <size_t>2 * self.instruments * self.levels.side_bytes)
        if self.levels.arena:
            munmap(self.levels.arena, self.levels.arena_bytes + FH_ARENA_SPARE)
        if self.changes:
            munmap(self.changes, CHUNK * sizeof(fh_change) + HOMES * sizeof(uint32_t))

    @property
    def vectors(self):
        """Bits of the widest vectors in use: 128, 256 or 512; or "plain"."""
        return self.width or "plain"

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
        for i in range(min(count, AHEAD)):
            self.fetch_order(&events[i], i)
        while done < count:
            n = min(count - done, CHUNK)
            self.take_orders(events, done, n, count)
            if self.prefetch:
                self.levels.fetch(&self.levels, self.changes, n, self.slots + sizeof(BookSlot), self.slot_stride,
                                  self.side_stride)
            self.change_levels(events + done, n, first_event + done)
            done += n
        self.finish()
        self.replaced = NO_OWNER
        self.unknown = False

    # ---- first pass: the orders

    cdef inline void fetch_order(self, const Event *event, int i) noexcept nogil:
        """Where event i of the batch has its order; the lines it needs are on their way from now on."""
        cdef uint32_t home = fh_orders_home(&self.orders, event.order_id)
        self.homes[i & (HOMES - 1)] = home
        if self.prefetch:                               # a hostile instrument: an address that is fetched in vain
            fetch_to_write(<size_t>&self.orders.buckets[home])
            fetch_to_write(<size_t>&self.orders.buckets[home] + 64)
            fetch_to_write(<size_t>self.slots + <size_t>event.instrument * self.slot_stride)

    cdef void take_orders(self, Event *events, int first, int count, int end) noexcept nogil:
        """Find, add and remove the orders of events[first .. first + count) of `end`; fill the events; note in `changes`
        what each does to the levels."""
        cdef int i
        cdef uint32_t home
        cdef Event *event
        cdef fh_change *change
        cdef uint64_t named
        for i in range(first, first + count):
            if i + AHEAD < end:
                self.fetch_order(&events[i + AHEAD], i + AHEAD)
            event = &events[i]
            change = &self.changes[i - first]
            home = self.homes[i & (HOMES - 1)]
            change.size = 0
            change.orders = 0
            change.fault = 0
            change.hint = FH_NO_HINT
            if unlikely(event.instrument - 1 >= self.instruments - 1):
                if event.instrument >= self.instruments:
                    self.counters[CH_UNKNOWN_INSTRUMENT] += 1
                elif event.action == ACTION_RESET:
                    memset(self.orders.buckets, 0, <size_t>self.orders.count * sizeof(fh_bucket))
                    self.orders.live = 0
                self.replaced = NO_OWNER
            elif event.action == ACTION_CANCEL:
                self.cancel(event, change, home)
            elif event.action == ACTION_ADD:
                self.add(event, change, home)
                self.replaced = NO_OWNER
            else:
                self.replaced = NO_OWNER
                if event.action == ACTION_FILL:
                    self.fill(event, change, home, event.order_id, True)
                elif event.action == ACTION_TRADE:
                    if not event.flags & FLAG_LAST and i + 1 < end and events[i + 1].action == ACTION_FILL:
                        named = events[i + 1].order_id
                        self.fill(event, change, fh_orders_home(&self.orders, named), named, False)
                elif event.action == ACTION_RESET:
                    fh_orders_forget(&self.orders, event.instrument, 1)
                elif event.action == ACTION_MODIFY:
                    change.fault = FAULT_MALFORMED
            if self.prefetch:
                fetch_to_write(<size_t>self.levels.sides + <size_t>change.side * self.levels.side_bytes)
            if event.flags & FLAG_LAST:
                self.replaced = NO_OWNER
                self.unknown = False

    cdef void add(self, Event *event, fh_change *change, uint32_t home) noexcept nogil:
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

    cdef void cancel(self, Event *event, fh_change *change, uint32_t home) noexcept nogil:
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

    cdef void fill(self, Event *event, fh_change *change, uint32_t home, uint64_t order_id, bint counted) noexcept nogil:
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

    cdef void change_levels(self, Event *events, int count, uint64_t first_event) noexcept nogil:
        cdef int i = 0
        cdef Event *event
        while True:
            i = fh_levels_run(&self.run, &self.levels, <fh_event *>events, self.changes, i, count, first_event)
            if i == count:
                return
            event = &events[i]
            if self.run.left == FH_LEFT_ALL:
                self.change_level(event, &self.changes[i], first_event + i)
            elif self.run.left == FH_LEFT_LOSE:
                self.lose(event)
            if event.flags & FLAG_LAST:
                self.finish()
            i += 1

    cdef void change_level(self, Event *event, const fh_change *change, uint64_t position) noexcept nogil:
        """What fh_levels_run() does, for any event, but for the end of the write."""
        cdef uint32_t place, ask
        cdef BookSlot *slot
        if unlikely(event.instrument - 1 >= self.instruments - 1):
            self.outside(event, position)
            return
        slot = self.slot(event.instrument)
        if <fh_slot *>slot != self.run.open:
            if self.run.open != NULL:
                self.finish()
            fh_slot_open(&slot.seq)
            self.run.open = <fh_slot *>slot
        self.run.last = <fh_event *>event
        self.run.last_position = position
        if change.size:
            ask = change.side & 1
            place = self.levels.change(&self.levels, change, self.side(slot, ask), &slot.bids + ask)
            event.flags |= FLAG_TOB if place & ~FH_LEVEL_NEW == 0 else 0
            self.run.bettered |= place == FH_LEVEL_NEW
            if unlikely(place == FH_LEVELS_FULL):
                self.lose(event)
        elif event.action == ACTION_TRADE:
            self.trade(slot, event)
        elif event.action == ACTION_STATUS:
            self.show_trading(slot, own_status(event, slot.security), venue_status(event, slot.venue))
        elif event.action == ACTION_RESET:
            event.flags |= FLAG_TOB if slot.bids or slot.asks else 0
            self.empty(event.instrument, slot, event.ts_recv)
        if unlikely(change.fault):
            self.fault(slot, event, change.fault)

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

    cdef void finish(self) noexcept nogil:
        """End the write of the open slot, if there is one: its book is whole."""
        cdef BookSlot *slot = <BookSlot *>self.run.open
        cdef Event *last = <Event *>self.run.last
        if unlikely(slot == NULL):
            return
        if unlikely(slot.quality == QUALITY_INIT):
            self.judge(slot, QUALITY_LIVE, REASON_NONE, last.ts_recv)
        if unlikely(self.run.bettered | (slot.flags & BOOK_CROSSED)):   # else the other side need not be read
            self.cross(slot, last, fh_slot_crossed(&self.levels, self.run.open, last.instrument))
        self.run.bettered = 0
        self.stamp(slot, last, self.run.last_position)
        fh_slot_close(&slot.seq)
        self.run.open = NULL

    cdef void empty(self, uint32_t instrument, BookSlot *slot, int64_t now) noexcept nogil:
        fh_levels_clear(&self.levels, 2 * instrument)
        fh_levels_clear(&self.levels, 2 * instrument + 1)
        self.reset_slot(slot, now)

    cdef void lose(self, Event *event) noexcept nogil:
        """No room for a level: the book gives up all its levels and is STALE until a reset, whatever the policy."""
        cdef uint32_t ask, i
        cdef BookSlot *slot = self.slot(event.instrument)
        self.counters[CH_LEVELS_FULL] += 1
        for ask in range(2):
            fh_levels_clear(&self.levels, 2 * event.instrument + ask)
            fh_side_of(&self.levels, 2 * event.instrument + ask).lost = 1
            for i in range(self.depth):
                fh_put_level(&self.side(slot, ask)[i], 0, 0, 0)
        slot.bids = slot.asks = 0
        slot.flags = 0
        event.flags |= FLAG_TOB | FLAG_STALE
        if slot.quality != QUALITY_STALE:
            self.judge(slot, QUALITY_STALE, REASON_FULL, event.ts_recv)

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

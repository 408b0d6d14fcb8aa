"""The trading floor of the simulated exchange: its books, its clock of arrivals, and the actions of one kind or other.

An action is drawn from a mix: orders come in clusters around few symbols, most are placed near the touch and live
shortly, the patient ones rest deeper; aggressors sweep the queues of the best price in time priority. Each symbol has a
value that wanders with its trades and draws the prices with it; no order is ever placed at or through the other side's
best, so no book is ever crossed.

Offsets are those of the ITCH 5.0 tables (decode/itch50). Integers only.
"""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from feedhandler._wire cimport fh_put_be16, fh_put_be32, fh_put_be48, fh_put_be64
from feedhandler.simulate._feed cimport BlockSource

cdef enum:                      # what an action of the mix does
    ADD
    DELETE
    REPLACE
    EXECUTE
    REDUCE
    HIDDEN_TRADE
    RARE

# Upper bounds in 1/65536: adds, deletes, replaces, executions (a sweep makes several), reductions, hidden trades.
cdef uint32_t[6] CONTINUOUS = [28900, 56700, 60900, 62900, 64600, 65450]
cdef uint32_t[6] PREOPEN = [59000, 62300, 64200, 64400, 65300, 65500]
cdef const char *MARKET_MAKERS = "NITECDRGVIRTGSCOJPMSMSCOUBSSCDEL"
cdef const char *INTEREST = "BSAN"


cdef class TradingFloor(BlockSource):
    """What an Exchange stands on; made by it alone."""

    @cython.final
    cdef int allocate(self) except -1:
        cdef uint32_t ring = 1024
        self.recent_bits = 10
        while ring < self.target // 4 and ring < 1 << 16:
            ring *= 2
            self.recent_bits += 1
        self.books.recent_mask = ring - 1
        self.books.orders = <FhSimOrder *> calloc(self.capacity, sizeof(FhSimOrder))
        self.books.levels = <FhSimLevel *> calloc(<size_t> self.symbol_count * FH_SIM_TICKS, sizeof(FhSimLevel))
        self.books.symbols = <FhSimSymbol *> calloc(self.symbol_count, sizeof(FhSimSymbol))
        self.books.live[0] = <uint32_t *> calloc(self.capacity, sizeof(uint32_t))
        self.books.live[1] = <uint32_t *> calloc(self.capacity, sizeof(uint32_t))
        self.books.recent = <uint32_t *> calloc(ring, sizeof(uint32_t))
        self.popularity = <Alias *> calloc(self.symbol_count, sizeof(Alias))
        if (self.books.orders == NULL or self.books.levels == NULL or self.books.symbols == NULL
                or self.books.live[0] == NULL or self.books.live[1] == NULL or self.books.recent == NULL
                or self.popularity == NULL):
            raise MemoryError(f"simulate: no memory for {self.symbol_count} symbols and {self.capacity} orders")
        fh_sim_book_init(&self.books, self.capacity)
        return 0

    def __dealloc__(self):
        free(self.books.orders)
        free(self.books.levels)
        free(self.books.symbols)
        free(self.books.live[0])
        free(self.books.live[1])
        free(self.books.recent)
        free(self.popularity)

    # ---- the clock ----

    @cython.final
    cdef void tick_clock(self, int64_t end) noexcept nogil:
        """Time passes: little within a cluster of arrivals, more between clusters; on the whole `phase_end` by `end`."""
        cdef int64_t left
        cdef uint64_t draw = fh_random(&self.random)
        if self.pace_turns == 0:
            left = <int64_t> (self.phase_end - self.produced) if self.phase_end > self.produced else 1
            self.gap = (end - self.clock) // left if end > self.clock else 0
            self.pace_turns = 32
        self.pace_turns -= 1
        if self.heat > 0:
            self.heat -= 1
        elif (draw >> 40 & 8191) == 0:
            self.heat = 64 + <uint32_t> (draw >> 54)        # a shock: hundreds of arrivals in one cluster
        if self.heat > 0 or (draw & 255) < 150:
            self.cluster += 1
            self.clock += self.gap * <int64_t> (draw >> 8 & 1023) >> 14
        else:
            self.cluster = 0
            self.clock += (self.gap * 26 >> 4) * <int64_t> (fh_random_exponential(&self.random) >> 4) >> 12
        self.clock = min(self.clock, end)

    # ---- actions ----

    @cython.final
    cdef void trade(self, bint before_open) noexcept nogil:
        """One action; at least one message, and no more than the day has left."""
        cdef const uint32_t *mix = &PREOPEN[0] if before_open else &CONTINUOUS[0]
        cdef uint64_t draw = fh_random(&self.random)
        cdef uint32_t kind = ADD, point = draw & 0xFFFF, live = self.books.count[0] + self.books.count[1]
        while kind < RARE and point >= mix[kind]:
            kind += 1
        if self.cluster == 0 or (draw >> 16 & 3) == 0:
            self.last_symbol = self.pick_symbol()
        if kind == ADD and live > self.target and (draw >> 18 & 15) == 0:
            kind = DELETE
        elif kind == DELETE and live < self.target and (draw >> 18 & 15) == 0:
            kind = ADD
        if live + 1 >= self.capacity and kind == ADD:
            kind = DELETE
        if live == 0 and DELETE <= kind <= REPLACE:
            kind = ADD
        if kind == DELETE:
            self.delete(self.pick_order())
        elif kind == REPLACE:
            self.replace(self.pick_order())
        elif kind == EXECUTE and self.sweep(self.last_symbol):
            return
        elif kind == REDUCE and live > 0 and self.reduce(self.pick_order()):
            return
        elif kind == HIDDEN_TRADE and self.hidden_trade(self.last_symbol):
            return
        elif kind == RARE:
            self.rare(self.last_symbol)
        elif live + 1 < self.capacity:
            self.add(self.last_symbol, before_open)
        else:
            self.delete(self.pick_order())

    @cython.final
    cdef uint32_t pick_symbol(self) noexcept nogil:
        cdef uint64_t draw = fh_random(&self.random)
        cdef uint32_t i = <uint32_t> ((draw >> 32) * self.symbol_count >> 32)
        return i if (draw & 0xFFFFF) < self.popularity[i].threshold else self.popularity[i].other

    @cython.final
    cdef uint32_t pick_order(self) noexcept nogil:
        """A live order to be cancelled: mostly a young short-lived one, so that lifetimes have a long tail."""
        cdef uint32_t age, i, turn
        cdef uint32_t kind = 1 if fh_random_below(&self.random, 64) < (
            60 if self.books.count[1] * 5 > self.target else 30) else 0
        if self.books.count[kind] == 0:
            kind = 1 - kind
        if kind == 1:
            for turn in range(4):
                age = fh_random_log_uniform(&self.random, self.recent_bits)
                i = self.books.recent[(self.books.recent_count - age) & self.books.recent_mask]
                if self.books.orders[i].shares and self.books.orders[i].kind == 1:
                    return i
        return self.books.live[kind][fh_random_below(&self.random, self.books.count[kind])]

    @cython.final
    cdef uint32_t pick_shares(self) noexcept nogil:
        cdef uint64_t draw = fh_random(&self.random)
        cdef uint32_t kind = draw & 127
        if kind < 68:
            return 100
        if kind < 98:
            return 100 * (1 + (draw >> 8) % 10)
        if kind < 123:
            return 1 + (draw >> 8) % 99
        return 100 * fh_random_log_uniform(&self.random, 8)

    @cython.final
    cdef int32_t pick_tick(self, uint32_t symbol, bint buy, bint fast) noexcept nogil:
        """A price that does not meet the other side: inside the spread, at the best price, or behind it.

        Worked out as for a bid; the ask side is its mirror image.
        """
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        cdef int32_t best = s.bid if buy else FH_SIM_TICKS - 1 - s.ask
        cdef int32_t other = s.ask if buy else FH_SIM_TICKS - 1 - s.bid
        cdef int32_t fair = s.fair if buy else FH_SIM_TICKS - 1 - s.fair
        cdef int32_t limit = min(other - 1, fair + s.spread // 2), tick, room
        if best < 0:
            best = min(limit, fair - s.spread)
        room = min(limit - best, s.spread)
        if not fast:
            tick = best - 3 - <int32_t> fh_random_log_uniform(&self.random, 9)
        elif room > 0 and fh_random_below(&self.random, 16) < (8 if other - best > 2 * s.spread else 2):
            tick = best + 1 + <int32_t> fh_random_below(&self.random, room)
        else:
            tick = best - <int32_t> fh_random_geometric(&self.random) * (1 + s.spread // 4)
        tick = min(tick, limit)
        if tick < 0 or (not buy and tick < 1):
            tick = <int32_t> fh_random_below(&self.random, max(limit, 1)) if limit > 0 else 0
        return tick if buy else FH_SIM_TICKS - 1 - tick

    @cython.final
    cdef void add(self, uint32_t symbol, bint before_open) noexcept nogil:
        cdef uint64_t draw = fh_random(&self.random)
        cdef bint buy = draw & 1, fast = (draw >> 1 & 15) < (4 if before_open else 13), named = (draw >> 5 & 15) == 0
        cdef int32_t tick = self.pick_tick(symbol, buy, fast)
        cdef uint32_t shares = self.pick_shares()
        cdef uint8_t *m
        self.reference += 1 + (draw >> 9 & 3)
        fh_sim_add(&self.books, self.reference, symbol, buy, tick, shares, fast)
        m = self.begin(c"F" if named else c"A", 40 if named else 36, symbol)
        fh_put_be64(m + 11, self.reference)
        m[19] = c"B" if buy else c"S"
        fh_put_be32(m + 20, shares)
        memcpy(m + 24, self.books.symbols[symbol].name, 8)
        fh_put_be32(m + 32, self.price(symbol, tick))
        if named:
            memcpy(m + 36, MARKET_MAKERS + 4 * (draw >> 11 & 7), 4)

    @cython.final
    cdef void delete(self, uint32_t i) noexcept nogil:
        cdef uint8_t *m = self.begin(c"D", 19, self.books.orders[i].symbol)
        fh_put_be64(m + 11, self.books.orders[i].reference)
        fh_sim_remove(&self.books, i)

    @cython.final
    cdef void replace(self, uint32_t i) noexcept nogil:
        cdef FhSimOrder old = self.books.orders[i]
        cdef uint32_t shares = old.shares if fh_random(&self.random) & 3 else self.pick_shares()
        cdef uint8_t *m
        cdef int32_t tick
        fh_sim_remove(&self.books, i)
        tick = self.pick_tick(old.symbol, old.buy, old.kind)
        self.reference += 1 + (fh_random(&self.random) & 3)
        fh_sim_add(&self.books, self.reference, old.symbol, old.buy, tick, shares, old.kind)
        m = self.begin(c"U", 35, old.symbol)
        fh_put_be64(m + 11, old.reference)
        fh_put_be64(m + 19, self.reference)
        fh_put_be32(m + 27, shares)
        fh_put_be32(m + 31, self.price(old.symbol, tick))

    @cython.final
    cdef bint reduce(self, uint32_t i) noexcept nogil:
        cdef FhSimOrder *o = &self.books.orders[i]
        cdef uint32_t shares
        cdef uint8_t *m
        if o.shares < 2:
            return False
        shares = 1 + fh_random_below(&self.random, o.shares - 1)
        o.shares -= shares
        m = self.begin(c"X", 23, o.symbol)
        fh_put_be64(m + 11, o.reference)
        fh_put_be32(m + 19, shares)
        return True

    @cython.final
    cdef bint sweep(self, uint32_t symbol) noexcept nogil:
        """An aggressor takes from the best price, oldest first; its executions carry one time. False: nobody to trade."""
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        cdef uint64_t draw = fh_random(&self.random), most = min(<uint64_t> 8, self.phase_end - self.produced)
        cdef bint bids = s.bid + s.ask > 2 * s.fair if draw & 3 else draw >> 2 & 1
        cdef uint32_t wanted, n = 0
        cdef int32_t tick = s.bid if bids else s.ask
        if s.trading != c"T" or s.bid < 0 or s.ask == FH_SIM_TICKS:
            return False
        wanted = self.pick_shares()
        while n < most and wanted > 0:
            wanted -= self.execute(symbol, bids, wanted, c" ")
            n += 1
            if (s.bid if bids else s.ask) != tick:
                if (draw >> 3 & 3) or s.bid < 0 or s.ask == FH_SIM_TICKS:
                    break
                tick = s.bid if bids else s.ask
        if draw >> 5 & 1:
            s.fair = max(s.low, s.fair - 1) if bids else min(s.high, s.fair + 1)
        return True

    @cython.final
    cdef uint32_t execute(self, uint32_t symbol, bint bid, uint32_t wanted, char cross) noexcept nogil:
        """The oldest order at the best price trades: `E`, sometimes `C` half a cent better, in a cross `C` unprinted."""
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        cdef int32_t tick = s.bid if bid else s.ask
        cdef uint32_t i = fh_sim_level(&self.books, symbol, tick).head
        cdef FhSimOrder *o = &self.books.orders[i]
        cdef uint32_t shares = min(o.shares, wanted)
        cdef bint other_price = cross != c" " or fh_random_below(&self.random, 24) == 0
        cdef uint8_t *m = self.begin(c"C" if other_price else c"E", 36 if other_price else 31, symbol)
        fh_put_be64(m + 11, o.reference)
        fh_put_be32(m + 19, shares)
        fh_put_be64(m + 23, self.next_match(symbol))
        if other_price:
            m[31] = c"Y" if cross == c" " else c"N"
            fh_put_be32(m + 32, self.price(symbol, tick) + (0 if cross != c" " else 50 if not bid else -50))
        o.shares -= shares
        if o.shares == 0:
            fh_sim_remove(&self.books, i)
        return shares

    @cython.final
    cdef bint hidden_trade(self, uint32_t symbol) noexcept nogil:
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        cdef uint8_t *m
        if s.trading != c"T" or s.bid < 0 or s.ask == FH_SIM_TICKS:
            return False
        m = self.begin(c"P", 44, symbol)
        fh_put_be64(m + 11, 0)
        m[19] = c"B"
        fh_put_be32(m + 20, self.pick_shares())
        memcpy(m + 24, s.name, 8)
        fh_put_be32(m + 32, (self.price(symbol, s.bid) + self.price(symbol, s.ask)) // 2)
        fh_put_be64(m + 36, self.next_match(symbol))
        return True

    @cython.final
    cdef void rare(self, uint32_t symbol) noexcept nogil:
        """A broken trade, retail interest, a short sale restriction, a market maker's change of state."""
        cdef uint32_t draw = fh_random_below(&self.random, 8)
        cdef uint64_t match
        cdef uint8_t *m
        if draw == 0 and self.match > FIRST_NUMBER:
            match = self.match - fh_random_below(&self.random, <uint32_t> min(self.match - FIRST_NUMBER, <uint64_t> 64))
            m = self.begin(c"B", 19, self.printed[match & 63])
            fh_put_be64(m + 11, match)
        elif draw < 5:
            m = self.begin(c"N", 20, symbol)
            memcpy(m + 11, self.books.symbols[symbol].name, 8)
            m[19] = INTEREST[fh_random(&self.random) & 3]
        elif draw < 6:
            self.short_sale(symbol, c"1")
        else:
            self.position(symbol)

    # ---- messages ----

    @cython.final
    cdef inline uint8_t *begin(self, char type, uint16_t length, uint32_t symbol) noexcept nogil:
        """The place of a new message whose length and first eleven bytes are written; `symbol` -1 for none."""
        cdef uint8_t *m = self.cursor + 2
        fh_put_be16(self.cursor, length)
        m[0] = type
        fh_put_be16(m + 1, <uint16_t> (symbol + 1))
        fh_put_be16(m + 3, <uint16_t> (self.cluster & 7) * 2)
        fh_put_be48(m + 5, self.clock)
        self.cursor = m + length
        self.counts[type & 127] += 1
        self.produced += 1
        return m

    @cython.final
    cdef inline uint32_t price(self, uint32_t symbol, int32_t tick) noexcept nogil:
        return (self.books.symbols[symbol].base + <uint32_t> tick) * 100

    @cython.final
    cdef inline uint64_t next_match(self, uint32_t symbol) noexcept nogil:
        self.match += 1
        self.printed[self.match & 63] = symbol
        return self.match

    @cython.final
    cdef void short_sale(self, uint32_t symbol, char state) noexcept nogil:
        cdef uint8_t *m = self.begin(c"Y", 20, symbol)
        memcpy(m + 11, self.books.symbols[symbol].name, 8)
        m[19] = state

    @cython.final
    cdef void position(self, uint32_t symbol) noexcept nogil:
        cdef uint64_t draw = fh_random(&self.random)
        cdef uint8_t *m = self.begin(c"L", 26, symbol)
        memcpy(m + 11, MARKET_MAKERS + 4 * (draw & 7), 4)
        memcpy(m + 15, self.books.symbols[symbol].name, 8)
        m[23] = c"Y" if draw >> 3 & 1 else c"N"
        m[24] = c"N"
        m[25] = c"A"

"""A simulated exchange: one ITCH 5.0 day, made message by message into whatever buffer it is given.

The day is a row of phases; a step makes the messages of one action in the present phase, so that a day is the same
however it is cut into buffers. What goes on while there is trading is the floor's (`_trading.pyx`).

Offsets are those of the ITCH 5.0 tables (decode/itch50). Integers only.
"""
cimport cython
from libc.string cimport memcmp, memcpy, memset
from feedhandler._wire cimport fh_put_be32, fh_put_be64
from feedhandler.simulate._trading cimport (
    FIRST_NUMBER, FH_SIM_TICKS, FhSimSymbol, STEP_BYTES, TradingFloor, fh_random, fh_random_below, fh_random_geometric,
    fh_random_seed, fh_sim_above, fh_sim_below, fh_sim_level)

from feedhandler.errors import ConfigError
from feedhandler.simulate.market import DAY_START as _DAY_START
from feedhandler.simulate.market import Market

cdef enum:                      # the phases, in order; those with a place in `times` end there
    START
    DIRECTORY
    STATES
    POSITIONS
    SYSTEM_HOURS
    BEFORE_OPEN
    OPEN_IMBALANCES
    OPEN
    OPEN_CROSSES
    FIRST_HALF_HOUR
    MIDDAY
    LAST_HALF_HOUR
    CLOSE_IMBALANCES
    CLOSE
    CLOSE_CROSSES
    AFTER_HOURS
    END_HOURS
    END_MESSAGES
    FINISHED

cdef enum:                      # kinds of halt, in the order they come
    HALT_IPO
    HALT_NEWS
    HALT_PAUSE
    HALT_OPERATIONAL

cdef const char *DIRECTIONS = "BSNO"
cdef const char *VARIATIONS = "L1234567"
cdef const char *MARKETS = "QGS"


@cython.final
cdef class Exchange(TradingFloor):
    """One day of a simulated exchange. `Exchange(market)` or `Exchange(symbols=..., seed=..., messages=..., ...)`.

    Memory: 16 KiB a symbol, 36 to 48 bytes a live order, whatever the number of messages.
    """

    def __cinit__(self, market=None, **options):
        if market is None:
            market = Market(**options)
        elif options:
            raise ConfigError(f"simulate: give a Market or its options, not both ({', '.join(options)})")
        cdef int i
        self.market = market
        self.symbol_count = market.symbols
        self.target = market.orders()
        self.total = market.messages
        self.capacity = self.target + self.target // 8 + 16 * self.symbol_count + 64
        for i in range(TIMES):
            self.times[i] = market.timetable()[i]
        self.clock = _DAY_START
        self.reference = self.match = FIRST_NUMBER
        self.halts_left = market.halts_wanted()
        fh_random_seed(&self.random, market.seed)
        self.allocate()
        self.list_symbols(market.names())
        self.set_popularity()

    cdef int list_symbols(self, names) except -1:
        cdef FhSimSymbol *s
        cdef uint32_t i, k, cents
        cdef bytes text
        self.names = sorted(names)
        self.index = {name: i for i, name in enumerate(self.names)}
        for i, name in enumerate(self.names):
            s = &self.books.symbols[i]
            memset(s.name, c" ", 8)
            text = name.encode()
            memcpy(s.name, <const char *> text, len(text))
            k = 9 + fh_random_below(&self.random, 7)
            cents = (1 << k) + fh_random_below(&self.random, 1 << k)
            s.base = cents - FH_SIM_TICKS // 2 if cents > FH_SIM_TICKS // 2 else 1
            s.fair = cents - s.base
            s.low = max(s.fair - 480, 96)
            s.high = s.fair + 480
            s.spread = 1 + (cents >> 13) + fh_random_geometric(&self.random) % 8
            s.bid, s.ask = -1, FH_SIM_TICKS
            s.trading = c"T"
        self.ipo = self.symbol_count
        if self.symbol_count >= 50 and self.halts_left > 0:
            self.ipo = self.symbol_count - 2              # the last one is the test symbol
            self.books.symbols[self.ipo].trading = c"H"
        return 0

    cdef int set_popularity(self) except -1:
        """Zipf's law: weight 1/(rank + 10); the known names first, the rest shuffled."""
        cdef uint32_t n = self.symbol_count, i, j, known
        ranked = [self.index[name] for name in self.market.names()]
        known = min(n, 40)
        for i in range(n - 1, known, -1):
            j = known + fh_random_below(&self.random, i - known + 1)
            ranked[i], ranked[j] = ranked[j], ranked[i]
        weights = [0] * n
        for i, place in enumerate(ranked):
            weights[place] = (1 << 32) // (i + 10)
        whole = sum(weights)
        scaled = [(weight * n << 20) // whole for weight in weights]
        small = [i for i in range(n) if scaled[i] < 1 << 20]
        large = [i for i in range(n) if scaled[i] >= 1 << 20]
        while small and large:
            i, j = small.pop(), large[len(large) - 1]
            self.popularity[i].threshold, self.popularity[i].other = scaled[i], j
            scaled[j] -= (1 << 20) - scaled[i]
            if scaled[j] < 1 << 20:
                small.append(large.pop())
        for i in small + large:
            self.popularity[i].threshold, self.popularity[i].other = 1 << 20, i
        return 0

    # ---- for people ----

    def produce(self, uint8_t[::1] buffer not None):
        """Bytes written to `buffer`: whole message blocks (u16 length, message), as many as fit; 0 = the day is over.

        The buffer holds at least 1024 bytes. The blocks of one day are the same for any sizes of buffers.
        """
        cdef Py_ssize_t n
        if buffer.shape[0] < STEP_BYTES:
            raise ConfigError(f"simulate: produce() needs a buffer of at least {STEP_BYTES} bytes, not {buffer.shape[0]}")
        with nogil:
            n = self.fill(&buffer[0], buffer.shape[0])
        return n

    def book(self, str symbol):
        """(bids, asks) as the exchange holds them now, best first: lists of (price in 1/10000, shares, orders)."""
        if symbol not in self.index:
            raise KeyError(f"simulate: no symbol {symbol}; there are {self.names[0]} to {self.names[self.symbol_count - 1]}")
        cdef uint32_t i = self.index[symbol]
        cdef FhSimSymbol *s = &self.books.symbols[i]
        cdef int32_t tick = s.bid
        bids, asks = [], []
        while tick >= 0:
            bids.append(self.level(i, tick))
            tick = fh_sim_below(s, tick)
        tick = s.ask
        while tick < FH_SIM_TICKS:
            asks.append(self.level(i, tick))
            tick = fh_sim_above(s, tick)
        return bids, asks

    cdef tuple level(self, uint32_t symbol, int32_t tick):
        cdef uint32_t order = fh_sim_level(&self.books, symbol, tick).head, orders = 0
        cdef uint64_t shares = 0
        while order:
            orders += 1
            shares += self.books.orders[order].shares
            order = self.books.orders[order].next
        return (self.books.symbols[symbol].base + tick) * 100, shares, orders

    @property
    def symbols(self):
        """Symbols in the order of their stock locates, which begin at 1."""
        return list(self.names)

    @property
    def live_orders(self):
        """Orders that rest in all books now."""
        return self.books.count[0] + self.books.count[1]

    @property
    def messages(self):
        """Messages produced so far."""
        return self.produced

    @property
    def types(self):
        """Messages produced so far, by type."""
        return {chr(i): self.counts[i] for i in range(128) if self.counts[i]}

    @property
    def now(self):
        """Time of the last message, ns since midnight."""
        return self.clock

    @property
    def done(self):
        """The day is over."""
        return self.phase == FINISHED

    # ---- the day ----

    cdef Py_ssize_t fill(self, uint8_t *out, Py_ssize_t capacity) noexcept nogil:
        """Bytes of whole blocks written; 0 when the day is over. `capacity` is at least STEP_BYTES."""
        cdef uint8_t *last = out + capacity - STEP_BYTES
        self.cursor = out
        while self.cursor <= last and self.phase != FINISHED:
            self.step()
        return self.cursor - out

    cdef void enter(self, uint32_t phase) noexcept nogil:
        """Begin a phase: at its time of day if it has one, with its share of the messages that are left."""
        cdef uint64_t left
        self.phase = phase
        self.spin = 0
        self.pace_turns = 0
        if phase == DIRECTORY:
            self.phase_end = self.produced + 4 * self.symbol_count
        elif phase == BEFORE_OPEN:
            self.phase_end = self.produced + self.target + self.target // 6
        elif phase == OPEN_IMBALANCES or phase == CLOSE_IMBALANCES:
            self.clock = max(self.clock, self.times[1 if phase == OPEN_IMBALANCES else 6])
            self.phase_end = self.produced + self.symbol_count
        elif phase == OPEN or phase == CLOSE:
            self.clock = self.times[2 if phase == OPEN else 7]
            self.gap = 0
        elif phase == OPEN_CROSSES or phase == CLOSE_CROSSES:
            self.phase_end = self.produced + 3 * self.symbol_count
        elif phase == FIRST_HALF_HOUR:
            left = self.trading_end() - self.produced
            self.phase_end = self.produced + left // 7
            self.halt_every = left // (self.halts_left + 1)
            self.halt_at = self.produced + self.halt_every // 2
        elif phase == MIDDAY:
            self.phase_end = self.produced + (self.trading_end() - self.produced) * 3 // 4
        elif phase == LAST_HALF_HOUR:
            self.phase_end = self.trading_end()
        elif phase == AFTER_HOURS:
            self.phase_end = self.total - 2
        elif phase == END_HOURS:
            self.clock = self.times[9]
            self.gap = 0

    cdef uint64_t trading_end(self) noexcept nogil:
        """The number of messages at which the last imbalances begin: room for them, the crosses and the after hours."""
        return max(self.produced, self.total - self.total // 40 - 5 * self.symbol_count - 16)

    cdef int64_t phase_time(self) noexcept nogil:
        """When the present part of the day ends."""
        if self.phase <= POSITIONS:
            return self.times[0]
        if self.phase <= OPEN_IMBALANCES:
            return self.times[1 if self.phase <= BEFORE_OPEN else 2]
        if self.phase <= LAST_HALF_HOUR:
            return self.times[3 + (self.phase - OPEN_CROSSES)] if self.phase >= OPEN_CROSSES else self.times[2]
        return self.times[7 if self.phase <= CLOSE else 8 if self.phase == CLOSE_CROSSES else 9]

    cdef void step(self) noexcept nogil:
        if self.phase == BEFORE_OPEN:
            if self.books.count[0] + self.books.count[1] < self.target and (
                    self.produced + 5 * self.symbol_count + 64 < self.trading_end()):
                self.tick_clock(self.phase_time())
                self.trade(True)
            else:
                self.enter(OPEN_IMBALANCES)
        elif FIRST_HALF_HOUR <= self.phase <= LAST_HALF_HOUR:
            if self.produced >= self.phase_end:
                if self.phase == LAST_HALF_HOUR and self.halt_stage > 0:
                    self.halt()                             # nothing stays halted over the close
                else:
                    self.enter(self.phase + 1)
                return
            self.tick_clock(self.phase_time())
            if self.produced >= self.halt_at and (self.halts_left > 0 or self.halt_stage > 0):
                self.halt()
            else:
                self.trade(False)
        elif self.phase == AFTER_HOURS:
            if self.produced >= self.phase_end:
                self.enter(END_HOURS)
                return
            self.tick_clock(self.phase_time())
            self.trade(False)
        else:
            self.ceremony()

    cdef void ceremony(self) noexcept nogil:
        """One step of what surrounds the trading: system events, and the rounds of all symbols."""
        if self.phase == START:
            self.system_event(c"O")
            self.enter(DIRECTORY)
        elif self.phase == SYSTEM_HOURS:
            self.system_event(c"S")
            self.decline_levels()
            self.enter(BEFORE_OPEN)
        elif self.phase == OPEN:
            self.system_event(c"Q")
            self.enter(OPEN_CROSSES)
        elif self.phase == CLOSE:
            self.system_event(c"M")
            self.enter(CLOSE_CROSSES)
        elif self.phase == END_HOURS:
            self.system_event(c"E")
            self.enter(END_MESSAGES)
        elif self.phase == END_MESSAGES:
            self.system_event(c"C")
            self.enter(FINISHED)
        elif self.spin == self.symbol_count:
            if self.phase == DIRECTORY or self.phase == STATES:
                self.phase += 1
                self.spin = 0
            else:
                self.enter(self.phase + 1)
        else:
            self.tick_clock(self.phase_time())
            self.visit(self.spin)
            self.spin += 1

    cdef void visit(self, uint32_t symbol) noexcept nogil:
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        if self.phase == DIRECTORY:
            self.directory(symbol)
        elif self.phase == STATES:
            self.action(symbol, s.trading, b"IPO1" if symbol == self.ipo else b"    ")
            self.short_sale(symbol, c"0")
        elif self.phase == POSITIONS:
            self.position(symbol)
        elif s.trading == c"T":
            if self.phase == OPEN_IMBALANCES or self.phase == CLOSE_IMBALANCES:
                self.imbalance(symbol, c"O" if self.phase == OPEN_IMBALANCES else c"C")
            else:
                self.cross(symbol, c"O" if self.phase == OPEN_CROSSES else c"C")

    # ---- crosses and halts ----

    cdef void cross(self, uint32_t symbol, char kind) noexcept nogil:
        """Resting orders of one best price that took part (unprinted), then the cross itself: at most four messages."""
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        cdef uint64_t draw = fh_random(&self.random), shares = 0
        cdef bint bid = draw & 1
        cdef int32_t tick = s.bid if bid else s.ask
        cdef uint32_t price = 0, turn
        cdef uint8_t *m
        if 0 <= tick < FH_SIM_TICKS and draw >> 1 & 7:
            price = self.price(symbol, tick)
            for turn in range(3):
                if shares < 1000 and (s.bid if bid else s.ask) == tick:
                    shares += self.execute(symbol, bid, 1000, kind)
            shares += self.pick_shares() * (1 + (draw >> 16 & 31))
        m = self.begin(c"Q", 40, symbol)
        fh_put_be64(m + 11, shares)
        memcpy(m + 19, s.name, 8)
        fh_put_be32(m + 27, price)
        fh_put_be64(m + 31, self.next_match(symbol))
        m[39] = kind

    cdef void imbalance(self, uint32_t symbol, char kind) noexcept nogil:
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        cdef uint64_t draw = fh_random(&self.random)
        cdef uint32_t price = self.price(symbol, s.fair), direction = draw & 3
        cdef uint8_t *m = self.begin(c"I", 50, symbol)
        fh_put_be64(m + 11, 100 * (draw >> 8 & 1023))
        fh_put_be64(m + 19, 0 if direction > 1 else 100 * (1 + (draw >> 20 & 255)))
        m[27] = DIRECTIONS[direction]
        memcpy(m + 28, s.name, 8)
        fh_put_be32(m + 36, price)
        fh_put_be32(m + 40, price)
        fh_put_be32(m + 44, price)
        m[48] = kind
        m[49] = VARIATIONS[draw >> 30 & 7]

    cdef void halt(self) noexcept nogil:
        """The next stage of the halt under way, or a new one: halted, quoted only, crossed and traded again."""
        cdef FhSimSymbol *s
        cdef uint64_t pause = max(<uint64_t> 8, self.halt_every // 4)
        if self.halt_stage == 0:
            self.begin_halt()
        elif self.halt_stage == 1:
            s = &self.books.symbols[self.halt_symbol]
            if self.halt_kind != HALT_OPERATIONAL:
                s.trading = c"Q"
                self.action(self.halt_symbol, c"Q", self.halt_reason(True))
                self.imbalance(self.halt_symbol, c"H")
        else:
            s = &self.books.symbols[self.halt_symbol]
            s.trading = c"T"
            if self.halt_kind == HALT_OPERATIONAL:
                self.operational_halt(self.halt_symbol, c"T")
            else:
                self.cross(self.halt_symbol, c"H")
                self.action(self.halt_symbol, c"T", self.halt_reason(True))
        self.halt_stage = (self.halt_stage + 1) % 3
        self.halt_at = self.produced + (pause if self.halt_stage else self.halt_every - min(pause + pause, self.halt_every))

    cdef void begin_halt(self) noexcept nogil:
        cdef FhSimSymbol *s
        self.halts_left -= 1
        if self.ipo < self.symbol_count:
            self.halt_kind, self.halt_symbol = HALT_IPO, self.ipo
            self.ipo = self.symbol_count
            self.ipo_release(self.halt_symbol)
            return
        self.halt_kind = HALT_NEWS if self.halt_kind == HALT_OPERATIONAL else self.halt_kind + 1
        self.halt_symbol = self.pick_symbol()
        s = &self.books.symbols[self.halt_symbol]
        s.trading = c"P" if self.halt_kind == HALT_PAUSE else c"H"
        if self.halt_kind == HALT_OPERATIONAL:
            self.operational_halt(self.halt_symbol, c"H")
        else:
            self.action(self.halt_symbol, s.trading, self.halt_reason(False))
        if self.halt_kind == HALT_PAUSE:
            self.collar(self.halt_symbol)

    cdef const char *halt_reason(self, bint resuming) noexcept nogil:
        if self.halt_kind == HALT_IPO:
            return b"IPOQ"
        if self.halt_kind == HALT_PAUSE:
            return b"LUDP"
        return b"T3  " if resuming else b"T1  "

    # ---- messages ----

    cdef void system_event(self, char code) noexcept nogil:
        self.begin(c"S", 12, <uint32_t> -1)[11] = code

    cdef void directory(self, uint32_t symbol) noexcept nogil:
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        cdef uint8_t *m = self.begin(c"R", 39, symbol)
        memcpy(m + 11, s.name, 8)
        m[19] = MARKETS[fh_random_below(&self.random, 3)]
        m[20] = c"N"
        fh_put_be32(m + 21, 100)
        memcpy(m + 25, b"NCZ PNN1N", 9)
        if memcmp(s.name, b"ZVZZT   ", 8) == 0:
            m[29] = c"T"
        m[31] = c"Y" if symbol == self.ipo else c"N"
        fh_put_be32(m + 34, 0)
        m[38] = c"N"

    cdef void action(self, uint32_t symbol, uint32_t state, const char *reason) noexcept nogil:
        cdef uint8_t *m = self.begin(c"H", 25, symbol)
        memcpy(m + 11, self.books.symbols[symbol].name, 8)
        m[19] = state
        m[20] = c" "
        memcpy(m + 21, reason, 4)

    cdef void operational_halt(self, uint32_t symbol, char halted) noexcept nogil:
        cdef uint8_t *m = self.begin(c"h", 21, symbol)
        memcpy(m + 11, self.books.symbols[symbol].name, 8)
        m[19] = c"Q"
        m[20] = halted

    cdef void decline_levels(self) noexcept nogil:
        """The market-wide circuit breaker's levels: 7, 13 and 20 % under an index of about 5,000."""
        cdef uint8_t *m = self.begin(c"V", 35, <uint32_t> -1)
        cdef uint64_t index = 4900 + fh_random_below(&self.random, 200)
        fh_put_be64(m + 11, index * 93000000)
        fh_put_be64(m + 19, index * 87000000)
        fh_put_be64(m + 27, index * 80000000)

    cdef void collar(self, uint32_t symbol) noexcept nogil:
        cdef FhSimSymbol *s = &self.books.symbols[symbol]
        cdef uint32_t price = self.price(symbol, s.fair)
        cdef uint8_t *m = self.begin(c"J", 35, symbol)
        memcpy(m + 11, s.name, 8)
        fh_put_be32(m + 19, price)
        fh_put_be32(m + 23, price + price // 20)
        fh_put_be32(m + 27, price - price // 20)
        fh_put_be32(m + 31, 0)

    cdef void ipo_release(self, uint32_t symbol) noexcept nogil:
        cdef uint8_t *m = self.begin(c"K", 28, symbol)
        memcpy(m + 11, self.books.symbols[symbol].name, 8)
        fh_put_be32(m + 19, 37800)
        m[23] = c"A"
        fh_put_be32(m + 24, self.price(symbol, self.books.symbols[symbol].fair))

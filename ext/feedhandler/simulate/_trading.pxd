"""The trading floor of the simulated exchange: its books, its clock of arrivals, its actions."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler.simulate._feed cimport BlockSource

cdef extern from "sim_random.h" nogil:
    ctypedef struct FhRandom:
        pass
    void fh_random_seed(FhRandom *r, uint64_t seed)
    uint64_t fh_random(FhRandom *r)
    uint32_t fh_random_below(FhRandom *r, uint32_t n)
    uint32_t fh_random_geometric(FhRandom *r)
    uint32_t fh_random_log_uniform(FhRandom *r, uint32_t bits)
    uint64_t fh_random_exponential(FhRandom *r)

cdef extern from "sim_book.h" nogil:
    enum: FH_SIM_TICKS
    ctypedef struct FhSimOrder:
        uint64_t reference
        uint32_t shares, previous, next, place
        uint16_t symbol, tick
        uint8_t buy, kind
    ctypedef struct FhSimLevel:
        uint32_t head, tail
    ctypedef struct FhSimSymbol:
        int32_t bid, ask, fair, low, high, spread
        uint32_t base, trading
        char name[8]
    ctypedef struct FhSimBook:
        FhSimOrder *orders
        FhSimLevel *levels
        FhSimSymbol *symbols
        uint32_t *live[2]
        uint32_t count[2]
        uint32_t *recent
        uint64_t recent_count
        uint32_t recent_mask
        uint32_t free
    void fh_sim_book_init(FhSimBook *b, uint32_t capacity)
    int32_t fh_sim_below(const FhSimSymbol *s, int32_t tick)
    int32_t fh_sim_above(const FhSimSymbol *s, int32_t tick)
    FhSimLevel *fh_sim_level(const FhSimBook *b, uint32_t symbol, int32_t tick)
    uint32_t fh_sim_add(FhSimBook *b, uint64_t reference, uint32_t symbol, int buy, int32_t tick, uint32_t shares, int kind)
    void fh_sim_remove(FhSimBook *b, uint32_t i)

cdef enum:
    STEP_BYTES = 1024           # no step of the exchange writes more; fill() wants at least this much room
    FIRST_NUMBER = 1000         # order references and match numbers begin behind it

cdef struct Alias:              # Walker's alias method: one draw, one line of memory, any distribution
    uint32_t threshold          # of 2^20
    uint32_t other

cdef class TradingFloor(BlockSource):
    cdef FhSimBook books
    cdef FhRandom random
    cdef Alias *popularity
    cdef uint8_t *cursor                    # where the next message goes, within the buffer of fill()
    cdef int64_t clock                      # ns since midnight
    cdef int64_t gap                        # mean time between messages in the present part of the day
    cdef uint64_t phase_end                 # the number of messages at which the present part should end
    cdef uint64_t counts[128]               # messages by type
    cdef uint64_t produced                  # messages
    cdef uint64_t reference, match          # the last ones given
    cdef uint32_t printed[64]               # symbols of the last matches, which may yet be broken
    cdef uint32_t symbol_count, target, capacity, recent_bits
    cdef uint32_t pace_turns                # until `gap` is reckoned anew
    cdef uint32_t last_symbol, heat, cluster

    cdef int allocate(self) except -1
    cdef void tick_clock(self, int64_t end) noexcept nogil
    cdef void trade(self, bint before_open) noexcept nogil
    cdef uint32_t pick_symbol(self) noexcept nogil
    cdef uint32_t pick_order(self) noexcept nogil
    cdef uint32_t pick_shares(self) noexcept nogil
    cdef int32_t pick_tick(self, uint32_t symbol, bint buy, bint fast) noexcept nogil
    cdef void add(self, uint32_t symbol, bint before_open) noexcept nogil
    cdef void delete(self, uint32_t i) noexcept nogil
    cdef void replace(self, uint32_t i) noexcept nogil
    cdef bint reduce(self, uint32_t i) noexcept nogil
    cdef bint sweep(self, uint32_t symbol) noexcept nogil
    cdef uint32_t execute(self, uint32_t symbol, bint bid, uint32_t wanted, char cross) noexcept nogil
    cdef bint hidden_trade(self, uint32_t symbol) noexcept nogil
    cdef void rare(self, uint32_t symbol) noexcept nogil
    cdef uint8_t *begin(self, char type, uint16_t length, uint32_t symbol) noexcept nogil
    cdef uint32_t price(self, uint32_t symbol, int32_t tick) noexcept nogil
    cdef uint64_t next_match(self, uint32_t symbol) noexcept nogil
    cdef void short_sale(self, uint32_t symbol, char state) noexcept nogil
    cdef void position(self, uint32_t symbol) noexcept nogil

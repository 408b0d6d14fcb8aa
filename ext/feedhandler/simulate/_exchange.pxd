"""A simulated exchange: one ITCH 5.0 day, made message by message into whatever buffer it is given."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from feedhandler.simulate._trading cimport TradingFloor

cdef enum:
    TIMES = 10                  # parts of the day with an end of their own

cdef class Exchange(TradingFloor):
    cdef int64_t times[TIMES]               # ends of the parts of the day
    cdef uint64_t total                     # messages
    cdef uint64_t halt_at, halt_every       # messages
    cdef uint32_t phase, spin               # spin: the symbol whose turn it is
    cdef uint32_t halts_left, halt_stage, halt_kind, halt_symbol, ipo
    cdef object names, index
    cdef readonly object market

    cdef int list_symbols(self, names) except -1
    cdef int set_popularity(self) except -1
    cdef tuple level(self, uint32_t symbol, int32_t tick)
    cdef void enter(self, uint32_t phase) noexcept nogil
    cdef uint64_t trading_end(self) noexcept nogil
    cdef int64_t phase_time(self) noexcept nogil
    cdef void step(self) noexcept nogil
    cdef void ceremony(self) noexcept nogil
    cdef void visit(self, uint32_t symbol) noexcept nogil
    cdef void cross(self, uint32_t symbol, char kind) noexcept nogil
    cdef void imbalance(self, uint32_t symbol, char kind) noexcept nogil
    cdef void halt(self) noexcept nogil
    cdef void begin_halt(self) noexcept nogil
    cdef const char *halt_reason(self, bint resuming) noexcept nogil
    cdef void system_event(self, char code) noexcept nogil
    cdef void directory(self, uint32_t symbol) noexcept nogil
    cdef void action(self, uint32_t symbol, uint32_t state, const char *reason) noexcept nogil
    cdef void operational_halt(self, uint32_t symbol, char halted) noexcept nogil
    cdef void decline_levels(self) noexcept nogil
    cdef void collar(self, uint32_t symbol) noexcept nogil
    cdef void ipo_release(self, uint32_t symbol) noexcept nogil

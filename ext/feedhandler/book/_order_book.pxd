"""Order-by-order books."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport BookSlot, Event
from feedhandler.book._book cimport Books, fh_level

cdef extern from "order_map.h" nogil:
    uint64_t FH_NO_ORDER
    int FH_ORDER_ADDED, FH_ORDER_LIVE, FH_ORDERS_FULL

    ctypedef struct fh_bucket:
        uint64_t ids[5]
        uint32_t state
        uint32_t owners[5]
        uint64_t sizes[5]
        uint32_t keys[5]

    ctypedef struct fh_orders:
        fh_bucket *buckets
        uint32_t count
        uint32_t live
        uint32_t limit

    uint32_t fh_orders_buckets(uint32_t orders)
    uint32_t fh_orders_home(const fh_orders *map, uint64_t id)
    uint64_t fh_orders_find(const fh_orders *map, uint64_t id, uint32_t home)
    int fh_orders_add(fh_orders *map, uint64_t id, uint32_t home, uint64_t size, uint32_t key, uint32_t owner)
    void fh_orders_erase(fh_orders *map, uint64_t at, uint32_t home)
    void fh_orders_forget(fh_orders *map, uint32_t first, uint32_t instruments)

cdef extern from "levels.h" nogil:
    uint32_t FH_NO_LEVEL, FH_LEVELS_FULL, FH_LEVEL_NEW, FH_NO_HINT, FH_ARENA_UNIT, FH_ARENA_SPARE
    enum: FH_CHANGES_MAX

    ctypedef struct fh_side:
        uint16_t near_
        uint8_t lost

    ctypedef struct fh_change:          # what an event does to the levels, between the two passes of OrderBook.apply
        uint64_t size
        int32_t orders
        int32_t key
        uint32_t side
        uint32_t hint
        uint8_t fault                   # 0, or one of FAULT_*

    ctypedef struct fh_levels:
        uint8_t *sides
        uint32_t side_bytes
        uint32_t depth
        uint32_t places
        uint8_t *arena
        uint64_t arena_bytes
        uint64_t arena_used
        uint64_t quantum
        uint32_t (*change)(fh_levels *l, const fh_change *change, fh_level *levels, uint16_t *used) noexcept nogil
        void (*fetch)(const fh_levels *l, fh_change *changes, uint32_t count, const uint8_t *bids, uint64_t slot_stride,
                      uint32_t side_stride) noexcept nogil

    uint32_t fh_places(uint32_t depth)
    uint32_t fh_side_bytes(uint32_t depth)
    fh_side *fh_side_of(const fh_levels *l, uint32_t side)
    int32_t fh_key(uint32_t quanta, uint32_t ask)
    void fh_levels_clear(fh_levels *l, uint32_t side)
    int fh_levels_choose(fh_levels *l, int widest)

cdef extern from "levels_run.h" nogil:
    ctypedef struct fh_event:
        pass

    ctypedef struct fh_slot:
        pass

    ctypedef enum fh_left:
        FH_LEFT_ALL, FH_LEFT_LOSE, FH_LEFT_FINISH

    ctypedef struct fh_run:
        uint8_t *slots
        uint64_t slot_stride
        uint32_t side_stride
        uint32_t instruments
        fh_slot *open
        fh_event *last
        uint64_t last_position
        uint32_t bettered
        fh_left left

    bint fh_slot_crossed(const fh_levels *l, const fh_slot *slot, uint32_t instrument)
    uint32_t fh_levels_run(fh_run *run, fh_levels *l, fh_event *events, const fh_change *changes, uint32_t i, uint32_t end,
                           uint64_t position)

cdef class OrderBook(Books):
    cdef fh_orders orders
    cdef fh_levels levels
    cdef uint64_t reciprocal                # of the quantum: price -> key without a division
    cdef uint64_t size_limit                # sizes at or above it are refused: sums of a level stay below 2**63
    cdef bint prefetch
    cdef int width                          # bits of the widest vectors used; 0 = plain C
    cdef fh_change *changes
    cdef uint32_t *homes
    cdef fh_run run                         # the second pass: the slot that is open, the event that touched it last
    cdef uint32_t replaced                  # owner of the order that the C before, in the same message, named; or none
    cdef bint unknown                       # UNKNOWN_ORDER has been counted for this message

    cdef void fetch_order(self, const Event *event, int i) noexcept nogil
    cdef void take_orders(self, Event *events, int first, int count, int end) noexcept nogil
    cdef void change_levels(self, Event *events, int count, uint64_t first_event) noexcept nogil
    cdef void change_level(self, Event *event, const fh_change *change, uint64_t position) noexcept nogil
    cdef void add(self, Event *event, fh_change *change, uint32_t home) noexcept nogil
    cdef void cancel(self, Event *event, fh_change *change, uint32_t home) noexcept nogil
    cdef void fill(self, Event *event, fh_change *change, uint32_t home, uint64_t order_id, bint counted) noexcept nogil
    cdef void finish(self) noexcept nogil
    cdef void outside(self, const Event *event, uint64_t position) noexcept nogil
    cdef void empty(self, uint32_t instrument, BookSlot *slot, int64_t now) noexcept nogil
    cdef void lose(self, Event *event) noexcept nogil

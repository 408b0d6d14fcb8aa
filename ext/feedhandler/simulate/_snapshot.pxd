"""The state of an ITCH day so far, as a GLIMPSE server would send it."""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler.simulate._store cimport Follower

cdef enum:
    LOCATES = 65536
    SYSTEM_EVENTS = 64
    STATES = 5                  # kinds of messages of which the last one of each instrument counts
    STATE_BYTES = 40            # the longest of them is R, 39 bytes

cdef struct Order:              # 32 bytes; live when `side` is not 0
    uint64_t id
    uint64_t time               # ns since midnight << 16 | tracking number
    uint32_t shares, price
    uint32_t attribution        # four characters as they are on the wire; 0 = none
    uint16_t locate
    uint8_t side
    uint8_t spare

cdef struct State:              # of one instrument
    uint8_t seen[STATES]
    uint8_t stock[8]
    uint8_t last[STATES][STATE_BYTES]

cdef class SnapshotSource(Follower):
    cdef Order *orders                      # open addressing, linear probing, nothing left behind by a removal
    cdef uint64_t slots, live, limit
    cdef State *states                      # by locate
    cdef uint8_t events[SYSTEM_EVENTS][12]
    cdef int event_count
    cdef uint32_t highest                   # locate seen
    cdef uint64_t next                      # number of the message that comes next
    cdef readonly uint64_t unknown          # messages about orders that are not live, or of wrong length
    cdef readonly bint full                 # there were more live orders than `limit`: no snapshot is whole any more

    cdef void message(self, const uint8_t *m, uint32_t length) noexcept nogil
    cdef uint64_t find(self, uint64_t id) noexcept nogil
    cdef void add(self, const Order *order) noexcept nogil
    cdef bint grow(self) noexcept nogil
    cdef void reduce(self, uint64_t id, uint32_t shares) noexcept nogil
    cdef void remove(self, uint64_t at) noexcept nogil
    cdef void replace(self, const uint8_t *m) noexcept nogil
    cdef void remember(self, int kind, const uint8_t *m, uint32_t length) noexcept nogil
    cdef Py_ssize_t state_bytes(self) noexcept nogil
    cdef uint64_t copy_orders(self, Order *out) noexcept nogil
    cdef Py_ssize_t write_states(self, uint8_t *out) noexcept nogil
    cdef Py_ssize_t write_events(self, uint8_t *out) noexcept nogil
    cdef bytes written_orders(self, Order *orders, uint64_t count)

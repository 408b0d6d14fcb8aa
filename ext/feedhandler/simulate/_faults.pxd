"""What a script of faults does to the packets of one line: the same draws for a live sender and for a list of packets."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "sim_random.h" nogil:
    ctypedef struct FhRandom:
        pass
    void fh_random_seed(FhRandom *r, uint64_t seed)
    uint64_t fh_random(FhRandom *r)

cdef enum:
    COPIES_MAX = 66             # that one step() can give: the packet, its double, and all that were held back
    HELD = 64                   # packets that one line holds back at most, to let later ones pass
    OUTAGES = 16
    DRAWS = 11                  # kinds of faults, each with random numbers of its own
    PACKET_MAX = 65507          # bytes of a UDP payload
    WRONG_CHECKSUM_ONLY = 2     # Copy.spoil of a frame whose UDP checksum is wrong; spoil()'s own are odd
    SPOIL_ROOM = 8              # bytes that a spoiled packet may be longer

cdef struct Copy:               # something that arrives
    int64_t due                 # when, ns, on the clock of step()
    uint64_t place              # the packet it is
    uint64_t spoil              # what spoil() takes; 0 = the bytes are as they were sent
    uint32_t length             # bytes of it that arrive

cdef struct Outage:
    int64_t first, length, every
    bint by_packets

cdef struct Burst:
    double begins, ends         # probabilities, each packet
    bint on

cdef class LineFaults:
    cdef FhRandom draws[DRAWS]
    cdef double loss, duplicate, reorder, truncate, corrupt, heartbeat_loss, upstream_loss, wrong_checksum
    cdef Burst burst, upstream_burst
    cdef int64_t delay, jitter, duplicate_late, reorder_late, first, last_due
    cdef int reorder_distance, held_count, outage_count
    cdef Outage outages[OUTAGES]
    cdef Copy held[HELD]
    cdef int left[HELD]                     # packets that have still to pass each
    cdef readonly uint64_t packets, lost, duplicated, reordered, truncated, corrupted, wrong_checksums
    cdef readonly bint frames               # whole frames arrive; else frames with a wrong checksum end in the kernel
    cdef readonly bint little_endian        # IEX-TP; else MoldUDP64
    cdef dict waiting                       # of offer(): the packets held back

    cdef int step(self, int64_t ts, uint64_t place, uint32_t length, bint heartbeat, Copy *out) noexcept nogil
    cdef int flush_held(self, int64_t ts, Copy *out) noexcept nogil
    cdef uint32_t spoil(self, const uint8_t *data, uint32_t length, uint64_t draw, uint8_t *out) noexcept nogil
    cdef bint is_heartbeat(self, const uint8_t *data, uint32_t length) noexcept nogil
    cdef bint chance(self, int kind, double probability) noexcept nogil
    cdef int64_t up_to(self, uint64_t draw, int64_t most) noexcept nogil
    cdef bint in_burst(self, int kind, Burst *burst) noexcept nogil
    cdef bint is_out(self, int64_t since) noexcept nogil
    cdef void release(self, int i, int64_t due, Copy *out) noexcept nogil
    cdef uint32_t load(self, const uint8_t *data, uint32_t at) noexcept nogil
    cdef void store(self, uint8_t *data, uint32_t at, uint16_t value) noexcept nogil
    cdef bint adds_up(self, const uint8_t *data, uint32_t length) noexcept nogil
    cdef list given(self, Copy *copies, int n, uint64_t place)
    cdef object bytes_of(self, Copy *copy, bytes payload)

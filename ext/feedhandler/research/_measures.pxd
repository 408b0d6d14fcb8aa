"""What is measured of the messages of a recording: rates, gaps between packets, delays, leads of one line on another."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport Message, Packet

cdef struct Clock:              # of one type of message
    uint32_t offset             # of its time; 0: it has none
    uint32_t size

cdef struct Copy:               # of a message that came on one line, when the others are still to bring it
    uint64_t seq
    int64_t ts
    uint64_t lines              # that have brought it, as bits
    uint32_t first

cdef class Measures:
    cdef int lines, bins
    cdef readonly bint rates, arrivals, latency, margin
    cdef readonly int64_t origin, step      # of the bins, ns
    cdef readonly uint64_t timeless         # messages without a time to measure from
    cdef object arrays
    cdef uint64_t *messages                 # by line, then bin
    cdef uint64_t *packets
    cdef uint64_t *peaks                    # most messages in one millisecond
    cdef uint64_t *gaps                     # by line, then bucket
    cdef uint64_t *delays                   # by line, sign (0: received after it was sent), then bucket
    cdef uint32_t *delays_over              # by bin, line, sign, bucket
    cdef uint64_t *leads                    # by line, then bucket
    cdef uint32_t *leads_over               # by bin, line, bucket
    cdef uint64_t *alone                    # by line: messages that no other one brought
    cdef uint64_t *last_packet              # by line: its number ...
    cdef int64_t *last_ts                   # ... and time
    cdef int64_t *millisecond
    cdef uint64_t *in_millisecond
    cdef Clock *clocks                      # by table, then type
    cdef uint8_t *big_endian                # by table
    cdef uint8_t *of_the_day                # by table: times count from midnight
    cdef int64_t[::1] midnights
    cdef Copy **copies                      # by channel

    cdef void *array(self, str name, shape, dtype, bint wanted) except? NULL
    # A message of table `table` that packet `number` brought.
    cdef void saw(self, const Packet *packet, const Message *message, uint64_t seq, int table, int channel,
                  uint64_t number) noexcept nogil
    cdef int64_t sent(self, const Message *message, int table, int64_t near) noexcept nogil
    cdef int bin_of(self, int64_t ts) noexcept nogil
    cdef void fold(self) noexcept nogil
    cdef void lead(self, uint64_t seq, int64_t ts, uint32_t line, int channel) noexcept nogil

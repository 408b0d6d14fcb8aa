"""The records of a channel and its lines: the arbiter's own until it is bound to a segment's."""
from libc.stdint cimport int64_t, uint64_t
from feedhandler._counters cimport LN_GAPS, LN_MISSING
from feedhandler._records cimport LINE_UP, ChannelRecord, LineRecord

cdef inline void touch(LineRecord *record, uint64_t first, uint64_t next_seq, int64_t ts_recv) noexcept nogil:
    """The line has shown numbers [first, next_seq): its own holes, its own place."""
    record.last_packet = ts_recv
    record.state = LINE_UP
    if first > record.next_seq and record.next_seq != 0:
        record.counters[LN_GAPS] += 1
        record.counters[LN_MISSING] += first - record.next_seq
    if next_seq > record.next_seq:
        record.next_seq = next_seq

cdef class Records:
    """Records(first_line, lines): memory for them, zeroed; lines keep their numbers within the shard."""
    cdef int first_line, count
    cdef ChannelRecord *channel
    cdef LineRecord *lines                  # [first_line] is the first in use
    cdef uint64_t *leads                    # histograms of the lines

    cdef void carry_over(self, const ChannelRecord *channel, const LineRecord *lines, ChannelRecord *new_channel,
                         LineRecord *new_lines) noexcept

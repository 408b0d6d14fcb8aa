"""Memory for the records of a channel, and their move into a segment."""
cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from feedhandler._records cimport CHANNEL_COUNTERS, LINE_COUNTERS, ChannelRecord, Histogram, LineRecord

cdef extern from "seqlock.h" nogil:
    void fh_store32_release(uint32_t *p, uint32_t v)


@cython.final
cdef class Records:
    def __cinit__(self, int first_line, int count):
        self.first_line, self.count = first_line, count
        self.channel = <ChannelRecord *> calloc(1, sizeof(ChannelRecord))
        self.lines = <LineRecord *> calloc(first_line + count, sizeof(LineRecord))
        self.leads = <uint64_t *> calloc(first_line + count, sizeof(Histogram))
        if self.channel == NULL or self.lines == NULL or self.leads == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.channel)
        free(self.lines)
        free(self.leads)

    cdef void carry_over(self, const ChannelRecord *channel, const LineRecord *lines, ChannelRecord *new_channel,
                         LineRecord *new_lines) noexcept:
        """What stands in the records written to so far, into new ones. Names are left alone, counts are added."""
        cdef int line, i
        cdef const LineRecord *mine
        cdef LineRecord *other
        for i in range(CHANNEL_COUNTERS):
            new_channel.counters[i] += channel.counters[i]
        memcpy(new_channel.session, channel.session, sizeof(channel.session))
        new_channel.epoch = channel.epoch
        new_channel.since = channel.since
        new_channel.next_seq = channel.next_seq
        new_channel.reason = channel.reason
        fh_store32_release(&new_channel.quality, channel.quality)
        for line in range(self.first_line, self.first_line + self.count):
            mine = &lines[line]
            other = &new_lines[line]
            other.state = mine.state
            other.next_seq = mine.next_seq
            other.last_packet = mine.last_packet
            other.last_data = mine.last_data
            for i in range(LINE_COUNTERS):
                other.counters[i] += mine.counters[i]

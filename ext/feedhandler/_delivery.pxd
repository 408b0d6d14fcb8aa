"""The second half of a packet's way: what the arbiter hands out, into events, books and the ring."""
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint32_t
from feedhandler._records cimport FLAG_STALE, QUALITY_LIVE, Run
from feedhandler._stages cimport Stages
from feedhandler.book._book cimport Books
from feedhandler.line._arbiter cimport Arbiter, Piece

cdef class Delivery(Stages):
    cdef inline bint trusted(self, int channel) noexcept nogil:
        """What follows is of a channel and a book that are right, as far as the line stage knows."""
        cdef bint doubtful = (<Arbiter> self.arbiters[channel]).doubtful
        (<Books> self.books[channel]).unproven = doubtful
        return (<Arbiter> self.arbiters[channel]).quality == QUALITY_LIVE and not doubtful

    cdef inline void heard(self, int channel, const Run *run, int32_t done) noexcept nogil:
        """A witness that reads gets the messages that were good."""
        if self.witness is not None and self.witness.reads and done > 0:
            self.witness.read(channel, run, done, (<Arbiter> self.arbiters[channel]).quality)

    cdef inline void stale(self, int count) noexcept nogil:
        """The batch of events is of a book or a channel that is not right."""
        cdef int i
        for i in range(count):
            self.events[i].flags |= FLAG_STALE

    cdef inline int64_t moment(self) noexcept nogil:
        """ts_recv of what no packet brings."""
        return self.last_recv if self.last_recv != INT64_MIN else 0

    cdef void deliver(self, int channel, const Run *run) noexcept nogil
    cdef void deliver_singly(self, int channel, const Run *run, bint live) noexcept nogil
    cdef int deliver_one(self, int channel, const Run *run, int32_t done, bint live, int32_t *taken) noexcept nogil
    cdef void flow(self, int channel, int count) noexcept nogil
    cdef void notice(self, int channel, int what) noexcept nogil
    cdef void notice_one(self, int channel, int what) noexcept nogil
    cdef void stand_by(self, int channel, const Run *run) noexcept nogil
    cdef int change_over(self, int channel) noexcept nogil
    cdef bint load(self, int channel, const Piece *piece) noexcept nogil
    cdef void roll(self, int channel) noexcept nogil
    cdef void begin(self, int channel, int64_t midnight, uint32_t date) noexcept nogil

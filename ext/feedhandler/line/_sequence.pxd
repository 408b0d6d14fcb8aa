"""Frames and sessions of a channel: what each packet is worth, and what comes next. Everything but the fast path."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from feedhandler._records cimport LineRecord, Message, Run
from feedhandler.line._holes cimport Holes
from feedhandler.session._framing cimport Frame

cdef class Sequence(Holes):
    """The third layer of an arbiter; see _arbiter.pxd for what is asked of it from outside."""
    cdef bint offline

    cdef void offer_slowly(self, const Frame *frame, const Message *messages, int64_t ts_recv,
                           uint32_t line) noexcept nogil
    cdef void judge_frame(self) noexcept nogil
    cdef void accept(self) noexcept nogil
    cdef void accept_data(self) noexcept nogil
    cdef void place(self) noexcept nogil
    cdef void place_horizon(self, uint64_t end) noexcept nogil
    cdef void accept_number(self, const Frame *frame, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef void accept_unsequenced(self, const Frame *frame, const Message *messages, int64_t ts_recv,
                                 uint32_t line) noexcept nogil
    cdef void begin(self) noexcept nogil
    cdef void close(self) noexcept nogil
    cdef void cut_slice(self, const Message *messages, int32_t count, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef void settle_slowly(self, int32_t taken) noexcept nogil
    cdef int take_slowly(self, Run *run) noexcept nogil
    cdef void come_after(self, uint64_t first, uint64_t count, LineRecord *record) noexcept nogil
    cdef int64_t offset_of_next(self, const Frame *frame, const Message *messages) noexcept nogil
    cdef bint of_another_run(self, const Frame *frame, const Message *messages) noexcept nogil
    cdef bint begins_anew(self, const Frame *frame) noexcept nogil
    cdef bint restarted(self, const Frame *frame, int64_t ts_recv, uint32_t line) noexcept nogil

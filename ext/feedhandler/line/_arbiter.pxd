"""The contract of the arbiter: of all copies of all lines, each message of a channel once and in order."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from feedhandler._records cimport Message, Run
from feedhandler.line._holes cimport (TAKE_END, TAKE_GAP, TAKE_NOTHING, TAKE_QUALITY, TAKE_RUN, TAKE_SESSION,
                                      TAKE_SNAPSHOT)
from feedhandler.line._sequence cimport Sequence
from feedhandler.session._framing cimport Frame, Framing

cdef struct Piece:              # of a snapshot: whole messages, each behind its length (u16, big-endian)
    const unsigned char *data
    uint64_t number             # the snapshot stands for all below it; 0: there is no piece
    uint32_t length             # of every answer
    bint ends                   # it is the last one

cdef class Arbiter(Sequence):
    """One per channel. Call offer() for each frame, then take() until TAKE_NOTHING; tick() when time passes.

    After tick(), line_down() and finish(), too, take() until TAKE_NOTHING. The frame and its messages must stay as
    they are until then: what is in order, or finds no room to wait, is handed out of the packet itself.

    Where there is recovery, and between packets only: answer() until it is False. After each: take() until TAKE_NOTHING;
    then, when there is a piece of a snapshot, decode it and say loaded(), and take() again; then answered().
    """
    cdef uint32_t splice_epoch              # of the answers that bring the snapshot which is being spliced

    cdef void offer(self, const Frame *frame, const Message *messages, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef int take(self, Run *run) noexcept nogil
    cdef void settle(self, int32_t taken) noexcept nogil
    cdef void finish(self) noexcept nogil

    cdef bint answer(self, Framing framing, Message *messages, Piece *piece) noexcept nogil
    cdef void loaded(self, const Piece *piece, bint whole) noexcept nogil
    cdef void answered(self) noexcept nogil
    cdef void refuse(self) noexcept nogil
    cdef void retransmission(self, const Frame *frame, const Message *messages) noexcept nogil
    cdef void surrender(self) noexcept nogil
    cdef bint begin_snapshot(self, uint32_t epoch, uint64_t number) noexcept nogil
    cdef void end_snapshot(self) noexcept nogil

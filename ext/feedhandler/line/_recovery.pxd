"""What the hot thread wants, and what the control path found: one per channel, two rings between two threads."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._spsc cimport fh_spsc, fh_spsc_waiting

cpdef enum:                     # Ask.kind
    ASK_MISSING = 1             # [first, first + count) is wanted
    ASK_SNAPSHOT = 2            # frozen: a snapshot is wanted
    ASK_OVER = 3                # nothing is wanted any more of this epoch, nor of any before it

cdef struct Asked:              # a record of the ring of asks
    uint64_t session[2]
    uint64_t first
    uint64_t count
    int64_t ts                  # the channel's clock, ns since the Unix epoch
    uint32_t kind
    uint32_t epoch

cdef enum:                      # Answer.kind
    ANSWER_PACKET = 1           # a retransmission, as it came
    ANSWER_FREEZE = 2
    ANSWER_SNAPSHOT = 3         # a piece of a snapshot: whole messages
    ANSWER_GIVE_UP = 4

cdef struct Answer:             # head of a record of the ring of answers; its bytes follow
    uint64_t number             # of a snapshot: the number to go on with
    uint32_t kind
    uint32_t epoch
    uint32_t begins             # first piece of its snapshot
    uint32_t ends               # last piece

cdef class Recovery:
    """Two rings, each of one producer and one consumer; see spsc.h. Nothing here waits, nothing is allocated later."""
    cdef readonly bint snapshots            # a snapshot can be had: freeze rather than give up
    cdef readonly uint64_t gap_limit        # a hole of more numbers is not asked for
    cdef fh_spsc asked                      # hot thread -> control
    cdef fh_spsc answered                   # control -> hot thread
    cdef int frozen_box                     # a mailbox: the arbiter is frozen
    cdef object sending                     # the snapshot on its way: (epoch, number, messages)
    cdef size_t sent                        # bytes of it that are in the ring

    # the hot thread's side
    cdef bint ask(self, int kind, uint32_t epoch, const uint64_t *session, uint64_t first, uint64_t count,
                  int64_t ts) noexcept nogil
    cdef const Answer *look(self, uint32_t *length) noexcept nogil
    cdef void took(self) noexcept nogil
    cdef void say_frozen(self, bint frozen) noexcept nogil

    cdef inline bint waiting(self) noexcept nogil:
        """Has the control path put anything in: one relaxed load."""
        return fh_spsc_waiting(&self.answered)

    cdef bint put(self, int kind, uint32_t epoch, const uint8_t *data, uint32_t length, uint64_t number, bint begins,
                  bint ends) noexcept

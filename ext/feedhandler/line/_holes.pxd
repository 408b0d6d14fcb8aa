"""The numbers of a channel: the window, holes, and what recovery is asked for."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from feedhandler._records cimport LineRecord, Message
from feedhandler.decode._decoder cimport Decoder
from feedhandler.line._past cimport Past
from feedhandler.line._recovery cimport Recovery
from feedhandler.line._sample cimport Sample
from feedhandler.line._wanted cimport Wanted
from feedhandler.line._window cimport Window
from feedhandler.line._word cimport Word
from feedhandler.session._framing cimport Frame

cdef enum:                      # what take() hands out next
    TAKE_NOTHING = 0
    TAKE_RUN = 1                # messages to decode; answer with settle()
    TAKE_SESSION = 2            # a new session, or a certain restart: books are to be cleared. Arbiter.session names it
    TAKE_GAP = 3                # [gap_first, gap_first + gap_count) did not come in time; the channel's word says so already
    TAKE_END = 4                # end of session
    TAKE_QUALITY = 5            # the channel's quality or reason changed otherwise (silence, recovery over)
    TAKE_SNAPSHOT = 6           # a snapshot begins: books are to be cleared; `expected` is the number it goes on with
    TAKE_INSTRUMENT = 7         # of a Splicer: one instrument's book has another quality; `notice` says which
    TAKE_STANDBY = 8            # of a Splicer: messages for the standby book of their line; answer with settle()
    TAKE_SWITCH = 9             # of a Splicer: the book of `notice.instrument` goes on with the standby book of `notice.line`
    TAKE_CONNECTION = 10        # of a Splicer: a line's connection stands elsewhere; `notice` says where

cdef enum:                      # Held.step: what the held frame waits for
    HELD_NOTHING = 0
    HELD_REST = 1               # its messages [first, first + count): for what stands before them
    HELD_FRAME = 2              # to be judged: for a hole that was due when it came
    HELD_SESSION = 3            # it begins a session: for the one before to be closed

cdef struct Held:               # the frame in hand, in the packet's memory
    Frame frame
    const Message *messages
    uint64_t first              # number of messages[0], once the frame is accepted
    int32_t count
    uint32_t line
    int64_t ts_recv
    int step
    bint restart                # of the same session ...
    bint by_offset              # ... told by the stream offset

cdef class Holes(Word):
    """The second layer of an arbiter, over its word."""
    # the fast path's
    cdef uint64_t session[2]
    cdef uint64_t expected                  # the next number to deliver
    cdef int64_t taken_sent                 # highest send time of a packet taken; 0 = none
    cdef int64_t sent_floor                 # packets sent before this belong to the run before the restart
    cdef int64_t left_sent                  # highest send time of a packet that is of that run for certain
    cdef int64_t in_order_sent              # highest send time of a packet that had the expected number
    cdef int64_t next_offset                # where the protocol says it: the stream offset of `expected`; -1 = not known
    cdef int64_t slice_end                  # and behind the slice of the fast path
    cdef int64_t horizon_offset             # and of the horizon, while that is beyond
    cdef int64_t skew_ns
    cdef uint64_t missing_end               # end of the newest gap of this session; 0 = none
    cdef const Message *slice               # what take() hands out next, in order, out of a packet or the window
    cdef int32_t slice_count
    cdef bint slice_waited                  # it comes out of the window
    cdef bint slice_unsequenced
    cdef uint32_t slice_line
    cdef int64_t slice_ts

    # the rest
    cdef uint64_t gap_first, gap_count      # of the last TAKE_GAP
    cdef readonly Window window
    cdef Decoder decoder                    # asked whether a message may wait; None: all may
    cdef int64_t reorder_ns
    cdef uint64_t horizon                   # all numbers below are known to exist
    cdef int64_t horizon_at                 # when the horizon was last raised
    cdef bint hole                          # `expected` is missing, and something beyond it is known
    cdef int64_t hole_since
    cdef bint closing                       # time does not matter any more: holes close at once
    cdef bint pressed                       # the held messages found no room: the hole at `expected` closes at once
    cdef bint session_due, end_due, gap_due, snapshot_due
    cdef uint64_t end_seq
    cdef Past past
    cdef readonly Sample malformed          # for people
    cdef Held held

    # recovery
    cdef readonly Recovery recovery         # None: there is none
    cdef Wanted wanted
    cdef bint recovering                    # numbers are asked for, or a snapshot
    cdef bint broken                        # numbers were given up: no book is right until a session or snapshot
    cdef bint frozen                        # nothing is handed out, everything waits
    cdef bint splicing                      # a snapshot is coming, piece by piece
    cdef LineRecord answers                 # counts of the retransmissions, as of a line of their own

    cdef void pass_held(self, int32_t count) noexcept nogil
    cdef int32_t keep(self) noexcept nogil
    cdef void keep_newest(self) noexcept nogil
    cdef bint good(self, const Message *message, uint64_t number, LineRecord *record) noexcept nogil
    cdef void filled(self, uint64_t first, uint64_t count) noexcept nogil
    cdef bint gap_is_due(self) noexcept nogil
    cdef bint mind_hole(self) noexcept nogil
    cdef bint all_there(self) noexcept nogil
    cdef bint mind_recovery(self) noexcept nogil
    cdef uint64_t hole_end(self) noexcept nogil
    cdef void ask(self, uint64_t to) noexcept nogil
    cdef void tell_gap(self, uint64_t end) noexcept nogil
    cdef void give_up(self) noexcept nogil
    cdef void recover(self) noexcept nogil
    cdef uint32_t gap_reason(self) noexcept nogil
    cdef void freeze(self, bint wanted) noexcept nogil
    cdef void thaw(self) noexcept nogil
    cdef bint present(self) noexcept nogil
    cdef void look_beyond(self, uint64_t number, int64_t ts_recv) noexcept nogil

    cdef inline LineRecord *record_of(self, uint32_t line) noexcept nogil:
        """Where to count what a line has brought; the retransmissions' is behind the last."""
        if line - <uint32_t> self.first_line < <uint32_t> self.lines:
            return &self.line_records[line]
        return &self.answers

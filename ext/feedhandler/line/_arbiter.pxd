"""The contract of the arbiter: of all copies of all lines, each message of a channel once and in order."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport ChannelRecord, LineRecord, Message, Run
from feedhandler.session._framing cimport Frame

cdef enum:                      # what take() hands out next
    TAKE_NOTHING = 0
    TAKE_RUN = 1                # messages to decode; answer with settle()
    TAKE_SESSION = 2            # a new session, or a certain restart: books are to be cleared. Arbiter.session names it
    TAKE_GAP = 3                # [gap_first, gap_first + gap_count) will not come in time; the channel is STALE already
    TAKE_END = 4                # end of session
    TAKE_QUALITY = 5            # the channel's quality or reason changed otherwise (silence, restart suspected)

cdef class Arbiter:
    """One per channel. Call offer() for each frame, then take() until TAKE_NOTHING; tick() when time passes."""
    cdef readonly int first_line, lines     # of the shard's line numbers, those that carry this channel
    cdef uint64_t session[2]
    cdef uint64_t expected                  # the next number to deliver
    cdef uint64_t gap_first, gap_count      # of the last TAKE_GAP
    cdef uint32_t quality, reason
    cdef ChannelRecord *channel             # in the segment, or the arbiter's own until bind()
    cdef LineRecord *line_records           # [first_line] is ours

    cdef void offer(self, const Frame *frame, const Message *messages, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef int take(self, Run *run) noexcept nogil
    cdef void settle(self, int32_t taken) noexcept nogil
    cdef void tick(self, int64_t now) noexcept nogil
    cdef void finish(self) noexcept nogil
    cdef void bind(self, ChannelRecord *channel, LineRecord *lines) noexcept

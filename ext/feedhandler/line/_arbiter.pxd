"""The contract of the arbiter: of all copies of all lines, each message of a channel once and in order."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from feedhandler._records cimport ChannelRecord, LineRecord, Message, Run
from feedhandler.decode._decoder cimport Decoder
from feedhandler.line._past cimport Past
from feedhandler.line._recording cimport Records
from feedhandler.line._suspicion cimport Suspicion
from feedhandler.line._window cimport Window
from feedhandler.session._framing cimport Frame

cdef enum:                      # what take() hands out next
    TAKE_NOTHING = 0
    TAKE_RUN = 1                # messages to decode; answer with settle()
    TAKE_SESSION = 2            # a new session, or a certain restart: books are to be cleared. Arbiter.session names it
    TAKE_GAP = 3                # [gap_first, gap_first + gap_count) will not come in time; the channel is STALE already
    TAKE_END = 4                # end of session
    TAKE_QUALITY = 5            # the channel's quality or reason changed otherwise (silence, restart suspected)

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
    bint restart

cdef class Arbiter:
    """One per channel. Call offer() for each frame, then take() until TAKE_NOTHING; tick() when time passes.

    After tick(), line_down() and finish(), too, take() until TAKE_NOTHING. The frame and its messages must stay as
    they are until then: what is in order, or finds no room to wait, is handed out of the packet itself.
    """
    cdef readonly int first_line, lines     # of the shard's line numbers, those that carry this channel
    cdef uint64_t session[2]
    cdef uint64_t expected                  # the next number to deliver
    cdef uint64_t gap_first, gap_count      # of the last TAKE_GAP
    cdef uint32_t quality, reason
    cdef ChannelRecord *channel             # in the segment, or the arbiter's own until bind()
    cdef LineRecord *line_records           # [first_line] is ours

    # the fast path's
    cdef bint plain                         # nothing waits, is open, due or doubted: numbers decide alone
    cdef int64_t agreed_at                  # ts_recv of the last packet that was not below `expected`
    cdef int64_t taken_sent                 # highest send time of a packet taken; 0 = none
    cdef int64_t sent_floor                 # packets sent before this belong to the run before the restart
    cdef int64_t skew_ns
    cdef uint64_t missing_end               # end of the newest gap of this session; 0 = none
    cdef const Message *slice               # what take() hands out next, in order, out of a packet or the window
    cdef int32_t slice_count
    cdef bint slice_waited                  # it comes out of the window
    cdef bint slice_unsequenced
    cdef uint32_t slice_line
    cdef int64_t slice_ts

    # the rest
    cdef readonly Window window
    cdef Decoder decoder                    # asked whether a message may wait; None: all may
    cdef bint offline
    cdef int64_t reorder_ns, silence_ns
    cdef int64_t clock                      # the latest ts_recv or tick; may step back
    cdef uint64_t horizon                   # all numbers below are known to exist
    cdef int64_t horizon_at                 # when the horizon was last raised
    cdef bint hole                          # `expected` is missing, and something beyond it is known
    cdef int64_t hole_since
    cdef bint closing                       # time does not matter any more: holes close at once
    cdef bint pressed                       # the held messages found no room: the hole at `expected` closes at once
    cdef bint joined                        # some session has begun
    cdef uint32_t sequence_quality          # what the numbers say, silence and suspicion apart
    cdef uint32_t sequence_reason
    cdef bint silent, heard
    cdef bint session_due, quality_due, end_due
    cdef bint ended
    cdef uint64_t end_seq
    cdef Suspicion suspicion                # of a restart
    cdef Past past
    cdef Held held
    cdef uint32_t silent_reason
    cdef Records own                        # written to until bind()

    cdef void offer(self, const Frame *frame, const Message *messages, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef int take(self, Run *run) noexcept nogil
    cdef void settle(self, int32_t taken) noexcept nogil
    cdef void tick(self, int64_t now) noexcept nogil
    cdef void line_down(self, uint32_t line, int64_t now) noexcept nogil
    cdef void finish(self) noexcept nogil
    cdef void bind(self, ChannelRecord *channel, LineRecord *lines) noexcept

    cdef void offer_slowly(self, const Frame *frame, const Message *messages, int64_t ts_recv,
                           uint32_t line) noexcept nogil
    cdef void leave_fast_path(self) noexcept nogil
    cdef void judge_frame(self) noexcept nogil
    cdef void accept(self) noexcept nogil
    cdef void accept_data(self) noexcept nogil
    cdef void place(self) noexcept nogil
    cdef void pass_held(self, int32_t count) noexcept nogil
    cdef void accept_number(self, const Frame *frame, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef void accept_unsequenced(self, const Frame *frame, const Message *messages, int64_t ts_recv,
                                 uint32_t line) noexcept nogil
    cdef void begin(self) noexcept nogil
    cdef void cut_slice(self, const Message *messages, int32_t count, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef int32_t keep(self) noexcept nogil
    cdef void settle_slowly(self, int32_t taken) noexcept nogil
    cdef int take_slowly(self, Run *run) noexcept nogil
    cdef bint gap_is_due(self) noexcept nogil
    cdef void give_up(self) noexcept nogil
    cdef void look_beyond(self, uint64_t number, int64_t ts_recv) noexcept nogil
    cdef void come_after(self, uint64_t first, uint64_t count, LineRecord *record) noexcept nogil
    cdef bint restarted(self, const Frame *frame, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef void fall_silent(self, uint32_t reason) noexcept nogil
    cdef void judge(self, uint32_t quality, uint32_t reason) noexcept nogil
    cdef void publish_quality(self) noexcept nogil

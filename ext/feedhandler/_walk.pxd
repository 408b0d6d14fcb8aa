"""A shard gone through message by message: who walks it stands still wherever he likes, all books as they are there."""
from libc.stdint cimport int32_t, uint64_t
from feedhandler._records cimport Event, Run
from feedhandler.session._framing cimport Frame

cdef enum:                      # Walk.stage
    WALK_POLL = 0
    WALK_PARSE = 1              # at packet `at`
    WALK_DRAIN = 2              # ask the arbiter of channel `drained`; then on to `behind`
    WALK_RUN = 3                # at message `done` of `hand`
    WALK_PASSED = 4             # packet `at` is done
    WALK_TICK = 5               # the timers of channel `round`
    WALK_RELEASE = 6
    WALK_FINISH = 7             # the end of channel `round`
    WALK_ENDED = 8
    WALK_LINES = 9              # streams: connections that began or ended with this poll; channel `round`
    WALK_POLLED = 10            # `polled` is what the poll gave
    WALK_SWITCH = 11            # a book of channel `drained` goes on as another line's

cdef struct Step:               # what took effect last
    const Event *events         # of one message or a part of it, or of the channel as a whole; valid until the next step
    uint64_t first              # number of events[0] in the ring
    int32_t count               # 0: nothing did, but the channel's word is another now
    int32_t channel

cdef class Walk:
    """What a Shard is to whoever walks it instead of letting it turn: for recordings, never for a live feed.

    One message is decoded, applied and published a step, in the order and with the effects of a shard that turns, and
    what waits for the end of the input is handed out there: without finish(). Not while the shard turns.
    """

    cdef int stage, behind, drained
    cdef int at, polled, round  # the packet in hand, packets of this poll or its -errno, the channel whose turn it is
    cdef int32_t done           # messages of `hand` that are delivered
    cdef bint live              # the channel was, when it handed out `hand`
    cdef Run hand
    cdef Frame frame

    # 1: `step` says what took effect; 0: no packet waits; < 0: the receiver's -errno, END_OF_INPUT when all is done.
    cdef int walk(self, Step *step) noexcept nogil

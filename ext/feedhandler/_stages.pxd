"""What a shard is made of, and all of it that no packet passes through. The way of a packet is in _handler.pyx and _delivery.pyx."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from feedhandler._marks cimport Marks
from feedhandler._records cimport Event, Message, Packet
from feedhandler._walk cimport Walk
from feedhandler._witness cimport Witness
from feedhandler.book._level_book cimport LevelBook
from feedhandler.line._splicer cimport Splicer
from feedhandler.publish._publisher cimport Publisher
from feedhandler.receive._receiver cimport RECEIVE_BATCH, Receiver

cdef enum:
    MAX_LINES = 64
    MAX_CHANNELS = 32
    EVENT_BATCH = 192           # events decoded, applied and published together: 12 KiB, so they stay in the L1 cache
    TICK_PACKETS = 1024         # packets between two looks at the channels' timers while there is no idle turn

cdef enum:                      # Stages.waiting
    WAIT_SPIN = 0
    WAIT_ADAPTIVE = 1
    WAIT_BLOCK = 2

cdef class Stages(Walk):
    cdef Receiver receiver
    cdef Publisher publisher
    cdef object kept
    cdef list standing_by
    cdef void *framings[MAX_LINES]
    cdef int channel_of[MAX_LINES]
    cdef void *arbiters[MAX_CHANNELS]
    cdef void *decoders[MAX_CHANNELS]
    cdef void *books[MAX_CHANNELS]
    cdef int64_t *days[MAX_CHANNELS]        # pairs (start ns, yyyymmdd)
    cdef int day_count[MAX_CHANNELS]
    cdef void *answer_framings[MAX_CHANNELS]    # read retransmissions; NULL: the channel has no recovery
    cdef bint recovers                      # some channel has a recovery
    cdef Witness witness                    # None but in a rehearsal, a conversion
    cdef Marks marks                        # None but for book snapshots of a recording
    cdef bint fixed_date[MAX_CHANNELS]      # the first session's date was given: the clock decides only from the second on
    cdef uint32_t connections[MAX_LINES]    # of a line that is a stream out of files: those whose bytes were taken
    cdef bint recorded_streams              # there are such lines
    cdef bint spliced[MAX_CHANNELS]         # the channel's arbiter is a Splicer
    cdef bint splices                       # some channel's is
    cdef void *standbys[MAX_LINES]          # Standby of a line of a channel that has one; NULL: it has none
    cdef uint32_t switched                  # events of the book that changes over, so far
    cdef readonly int line_count, channel_count
    cdef Packet packets[RECEIVE_BATCH]
    cdef int held                           # of them, polled by turns_before() and still to be taken: 1 or none
    cdef Message *messages
    cdef Event events[EVENT_BATCH]
    cdef int stopping
    cdef int waiting
    cdef int64_t spin_ns
    cdef uint32_t sample_every, until_sample
    cdef uint32_t until_tick, until_beat
    cdef readonly uint64_t packets_taken
    cdef int64_t last_recv                  # ts_recv of the last packet: the clock where no other passes
    cdef int64_t last_event[MAX_CHANNELS]   # exchange time of the channel's last event; 0 = none yet

    cdef int first_line_of(self, int channel) except -1
    cdef _set_days(self, int channel, days)
    cdef _splice(self, int channel, Splicer splicer, LevelBook books)

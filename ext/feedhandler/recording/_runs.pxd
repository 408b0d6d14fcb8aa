"""The numbers that passed: runs, holes and gaps of each channel and its lines."""
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from feedhandler._records cimport LineRecord, Message
from feedhandler.recording._missing cimport Hole, Missing
from feedhandler.session._framing cimport Frame

cdef enum:                      # what saw() answers: any of these together; describe() has the words
    SAW_GAP_OPENED = 1          # numbers of a channel are missing for longer than the reorder time
    SAW_GAP_CLOSED = 2          # the last number of such a gap has come
    SAW_SESSION = 4             # a new session began
    SAW_RESTART = 8             # the numbers began anew under the same session id
    SAW_END = 16                # the end of a session was said, for the first time
    SAW_BAD = 32                # lengths or counts do not add up, or another protocol
    SAW_CLOCK = 64              # the clock that stamps the packets was set, back or forward
    SAW_LATE = 128              # of a session, or a run of one, that was left before
    SAW_FULL = 256              # more holes are open than there is room for: the lowest one counts as lost for good

    LINE_HOLES = 256            # ranges missing on a line that are remembered, per run of a session
    CHANNEL_HOLES = 4096
    GAPS_KEPT = 1024            # gaps listed per channel; closed ones make room for new ones
    SESSIONS_KEPT = 256         # the last one stands for all that come later
    NOTABLE = 64                # silences and clock steps listed per line: the largest
    SAID_MAX = 8                # of one packet

cdef struct LineRun:            # a line within a run: a session, or what follows a restart under the same session id
    uint64_t begun              # its lowest number; with `next` 0: it has shown none
    uint64_t next               # its highest number + 1
    int64_t began_at
    uint64_t missing            # numbers between the two that it did not bring
    uint64_t gaps               # of sums only: ranges that they make
    uint64_t forgotten          # ranges for which there was no room: what came of them later counts as duplicates
    uint64_t messages
    uint64_t duplicates         # messages that it had brought before
    uint64_t reordered          # messages that came behind higher numbers of its own
    uint64_t far                # the furthest, in numbers ...
    int64_t far_ns              # ... and in time
    uint64_t won                # messages that no line had brought before
    uint64_t filled             # of these, such as were missed already
    Missing own

cdef struct Run:
    bint used
    bint late                   # joined in the middle: what came before its first number is unknown
    uint64_t session[2]
    uint64_t begun
    uint64_t horizon            # one more than the highest number known to exist
    int64_t began_at
    int64_t horizon_offset      # stream offset of `horizon`; -1 = unknown
    int64_t top_sent            # send time of the packet that showed the highest number; 0 = none
    int64_t sent_floor          # what was sent earlier is of a run before this one
    uint64_t missing
    uint64_t shown              # times that a number was ahead of all that were known
    uint64_t bridged            # numbers that came within the reorder time
    int64_t listed              # its place in the list of sessions
    Missing holes
    LineRun *lines

cdef struct SessionSeen:
    uint64_t session[2]
    uint64_t first
    uint64_t next
    int64_t began_at
    int64_t last_at
    int64_t ended_at            # 0 = its end was not said
    uint64_t missing
    bint restart
    bint ended

cdef struct GapSeen:
    int64_t session             # place in the list of sessions
    uint64_t first
    uint64_t count
    uint64_t missing            # of these, not come so far
    int64_t opened
    int64_t closed
    uint64_t lines[4]           # bits: which lines of the channel brought some of it

cdef struct Notable:            # a silence, or a step of the clock
    int64_t at                  # silence: the packet before it; step: the packet after it
    int64_t by                  # ns
    uint64_t missing            # silence: numbers of the line that were lost over it

cdef struct LineSeen:
    uint32_t channel
    bint unnumbered             # its session has no numbers: a heartbeat is one, and an end is of the connection only
    uint64_t packets
    uint64_t bytes
    uint64_t heartbeats
    uint64_t bad
    uint64_t late               # packets of what was left before, or of before the recording
    uint64_t unsequenced        # messages without numbers
    int64_t first_ts
    int64_t last_ts
    int64_t quiet_ns            # before the last packet
    int64_t last_sent           # the newest send time ...
    int64_t clock_at            # ... and ts_recv of its packet
    uint64_t first_seq
    uint64_t before             # numbers of runs that are over, below its first ...
    uint64_t after              # ... and above its last
    LineRun past                # the sums of runs that are over
    uint64_t silences
    uint64_t steps
    uint64_t steps_back
    int64_t longest             # silence
    int64_t longest_at
    Notable silent[NOTABLE]
    Notable stepped[NOTABLE]

cdef struct ChannelSeen:
    uint32_t first_line
    uint32_t lines
    bint has_send_time
    int current                 # places in `runs` ...
    int previous                # ... of the run before it, whose last packets may still come on a slower line ...
    int candidate               # ... and of what may be a new run under the same session id
    Run runs[3]
    LineRun *saved              # of each line that the candidate has: the present run's, before it
    int64_t silence_ns
    int64_t next_due            # when a hole becomes a gap; INT64_MAX = there is none
    int64_t agreed_at
    uint64_t sessions           # runs, in fact: seen so far
    uint64_t restarts
    uint64_t messages           # of runs that are over: numbers that came
    uint64_t lost               # of runs that are over
    uint64_t holes              # of runs that are over
    uint64_t bridged            # of runs that are over
    uint64_t gaps
    uint64_t gap_numbers        # numbers that were missing when their gap opened
    uint64_t filled             # of these, came later
    uint64_t closed             # gaps of which all came
    uint64_t forgotten          # holes for which there was no room: they count as lost, whatever came later
    uint32_t gap_count
    GapSeen *gap_list
    SessionSeen *session_list

cdef struct Said:
    int flag
    uint32_t channel
    uint32_t line
    uint64_t first
    uint64_t count
    int64_t by
    uint64_t session[2]

cdef struct Placed:             # what one frame did
    uint64_t early              # how far it reached below the first number of the recording
    uint64_t opened             # numbers missing on its line since
    uint64_t ahead              # numbers missing on its channel since
    uint64_t own                # numbers that were missing on its line, and came ...
    int64_t own_since           # ... since when
    uint64_t again              # numbers that its line had brought before
    uint64_t filled             # numbers that were missing on the channel, and came ...
    int64_t filled_since        # ... since when
    uint64_t beyond             # numbers above all that were known

cdef class Runs:
    """One for all channels. Bounded memory, taken at the beginning."""
    cdef readonly int lines
    cdef readonly object channels
    cdef LineSeen *line_table
    cdef ChannelSeen *channel_table
    cdef int channel_count
    cdef LineRecord *records                # for Suspicion: which lines live
    cdef uint64_t *leads                    # a histogram per line
    cdef Message *messages
    cdef void **framings
    cdef void **suspicions
    cdef void **scores
    cdef void **pasts
    cdef list kept                          # the objects behind the pointers
    cdef int64_t reorder_ns
    cdef int64_t skew_ns
    cdef int64_t step_ns
    cdef Said said[SAID_MAX]
    cdef int said_count
    cdef int flags

    cdef void say(self, int flag, uint32_t channel, uint32_t line, uint64_t first, uint64_t count, int64_t by,
                  const uint64_t *session) noexcept nogil
    cdef void place(self, uint32_t channel, Run *run, uint32_t index, uint64_t first, uint64_t end, int64_t ts,
                    Placed *placed) noexcept nogil
    cdef void came(self, uint32_t channel, Run *run, uint32_t index, const Hole *piece, int64_t ts) noexcept nogil
    cdef void no_room(self, uint32_t channel, Run *run) noexcept nogil
    cdef void gaps_due(self, uint32_t channel, int64_t now, bint all) noexcept nogil
    cdef void open_gap(self, uint32_t channel, Run *run, Hole *hole) noexcept nogil
    cdef bint another_run(self, Run *run, const Frame *frame) noexcept nogil
    cdef bint restarted(self, uint32_t channel, Run *run, uint32_t index, const Frame *frame,
                        int64_t ts) noexcept nogil
    cdef void begin(self, uint32_t channel, const Frame *frame, int64_t ts, bint restart) noexcept nogil
    cdef void adopt(self, uint32_t channel, int64_t ts) noexcept nogil
    cdef void announce(self, uint32_t channel, int64_t ts, bint restart) noexcept nogil
    cdef void retire(self, ChannelSeen *seen, Run *run) noexcept nogil
    cdef int passed(self, ChannelSeen *seen, LineSeen *line, int64_t ts) noexcept nogil
    cdef void stepped(self, uint32_t channel, uint32_t line, int64_t ts, int64_t by) noexcept nogil
    cdef void *room(self, size_t count, size_t size) except NULL
    cdef LineRun *line_runs(self, uint32_t lines) except NULL
    cdef prepare(self, int channel, session, options, int64_t silence_ms)

cdef void clear(Run *run, uint32_t lines) noexcept nogil
cdef void settle_session(ChannelSeen *seen, const Run *run) noexcept nogil
cdef uint64_t below(const Run *run, const LineRun *line) noexcept nogil
cdef uint64_t above(const Run *run, const LineRun *line) noexcept nogil
cdef void add(LineRun *sums, const LineRun *line) noexcept nogil
cdef str session_text(const uint64_t *session)

cdef inline int64_t later(int64_t ts, int64_t by) noexcept nogil:
    """ts + by, and no further than times go; by is not negative."""
    return ts + by if ts <= INT64_MAX - by else INT64_MAX

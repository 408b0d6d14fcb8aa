"""The arbiter: of all copies on all lines, each message of a channel once, in order, or reported missing.

Theory of operation
-------------------
*Numbers.* `expected` is the next number to hand out; all below it are settled. `horizon` is one more than the highest
number known to exist: data and heartbeats raise it. While horizon > expected and nothing
at `expected` is at hand, there is a *hole*.

*The fast path.* While `plain` holds (no hole, nothing waiting, due, doubted or silent) a packet is one of two things:
it begins at `expected`, and its messages are handed out of the packet itself, as one slice, without a look at any of
them; or it lies below, and is a duplicate. Everything else goes through offer_slowly(), which clears `plain`;
take_slowly() sets it again once all is as it should be.

*Held.* One frame, or what is left of it, may have to wait until something before it has gone out: for a hole that is
due already when the frame comes (HELD_FRAME: it is judged afterwards), for the end of the session before its own
(HELD_SESSION), for messages of its own session (HELD_REST: place() puts each of them out, or into the window, as room
comes). It stays in the packet's own memory, which is why the packet must stay until TAKE_NOTHING.

*Waiting.* Messages ahead of sequence are copied into the window, by message and not by packet, if the decoder calls
them valid: a malformed copy never takes the place of a good one. A slice handed out never runs into a number that
waits; the copy that came first goes out, the rest of the packet is held meanwhile. When the decoder stops at a
malformed message, settle() says so: what follows it in the packet waits, and another line's copy of it is wanted, as of
any message that is missing.

*Holes and gaps.* A hole is as old as the first packet that showed it; once messages behind it have gone out, the next
hole is as old as the first message that waits behind that one. At `reorder_ns` of age it is a gap: the channel's word
becomes STALE, by a release store, before anything later is handed out; TAKE_GAP; `expected` goes to the next waiting
number, or to the horizon. Time is ts_recv or tick(); finish() ends all waiting. A packet that comes when the hole is
due finds it closed, even if it would have filled it: an idle turn before it would have closed it, too.

*Want of room.* Nothing that was received is lost for an open hole. What the window cannot take (numbers too far apart,
or no room for the bytes) presses: the hole at `expected` is given up before its time (CH_WINDOW_FULL), up to what waits
or to the held messages themselves, whichever is first; what waits goes out; the held ones are tried again. Each turn
hands out at least one message or ends at the held ones, which then go out of the packet: the work is that of the
messages that wait and come, however far apart their numbers.

*Recovery* (the next issue) has its place in give_up(): instead of declaring the gap at once it hands the range to the
control path, quality RECOVERING, and lets the window hold what comes meanwhile. A retransmission is a packet with
numbers like any other: offered as from a line of its own, it closes the hole by the rules above. `missing` remembers
the gaps given up, which a snapshot, or a late copy, can fill.

*Sessions.* A frame of another session is held until the old session is closed: its holes become gaps, what waits goes
out. Then `expected` is 1, TAKE_SESSION, and the held frame is accepted like any other: joined late, it stands ahead of a
hole that begins at 1. Sessions left are remembered, and never come back. Within begin() the channel is INIT; it is
LIVE when something shows that nothing before is missing, and only after the books were cleared (the take() after
TAKE_SESSION).

*Restarts under the same session id.* With send times: a packet below `expected`, sent later than the last one taken by
more than the skew. Without: a line that shows rising numbers below ours for a second, or a heartbeat half a second
after the first low number, while no packet agrees with ours, is suspect, and the channel STALE; when all live lines are
suspect it is a restart, and goes the way of a new session.
"""
cimport cython
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from feedhandler._counters cimport (CH_GAPS, CH_MALFORMED, CH_MESSAGES, CH_MISSING, CH_RESTARTS, CH_SESSIONS,
                                    CH_UNSEQUENCED, CH_WINDOW_FULL, LN_AHEAD, LN_DUPLICATES, LN_GAPS, LN_HEARTBEATS,
                                    LN_LATE, LN_MALFORMED, LN_MESSAGES, LN_MISSING, LN_REFUSED, LN_TOO_LATE, LN_WON)
from feedhandler._records cimport (CHANNEL_COUNTERS, LINE_COUNTERS, LINE_DOWN, LINE_ENDED, LINE_SILENT, LINE_UP,
                                   MESSAGES_MAX, QUALITY_INIT, QUALITY_LIVE, QUALITY_STALE, REASON_GAP,
                                   REASON_JOINED_LATE, REASON_NONE, REASON_RESTART, REASON_SILENT, REASON_START,
                                   REASON_UNSEQUENCED, ChannelRecord, LineRecord, Message, Run)
from feedhandler.decode._decoder cimport Decoder
from feedhandler.line._window cimport WINDOW_FULL, Window
from feedhandler.session._framing cimport (FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, FRAME_LOGIN, FRAME_REJECTED,
                                           FRAME_UNSEQUENCED, Frame)
from feedhandler.session._framing import KINDS as _KINDS

cdef extern from "seqlock.h" nogil:
    void fh_store32_release(uint32_t *p, uint32_t v)

cdef enum:
    AVERAGE_MESSAGE = 128       # bytes of the window for each place, unless told

cdef int64_t RESTART_NS = 1_000_000_000         # low and rising for so long is suspect
cdef int64_t HEARTBEATS_APART_NS = 500_000_000  # so far apart, two low heartbeats are two and not copies of one


cdef inline int64_t since(int64_t now, int64_t then) noexcept nogil:
    """now - then, for any two."""
    return <int64_t> (<uint64_t> now - <uint64_t> then)


cdef inline void touch(LineRecord *record, uint64_t first, uint64_t next_seq, int64_t ts_recv) noexcept nogil:
    """The line has shown numbers [first, next_seq): its own holes, its own place."""
    record.last_packet = ts_recv
    record.state = LINE_UP
    if first > record.next_seq and record.next_seq != 0:
        record.counters[LN_GAPS] += 1
        record.counters[LN_MISSING] += first - record.next_seq
    if next_seq > record.next_seq:
        record.next_seq = next_seq


@cython.final
cdef class Arbiter:
    """Arbiter(lines, ...): one per channel.

    `reorder_us`: age at which a hole is a gap. `silence_ms`: STALE after so long without a packet. `skew_ms`: how much
    later than the last packet taken one below it must have been sent to be a restart. `window_messages`: places of the
    window, a power of two; `window_bytes`: room for them, 0 = 128 bytes each, rounded up to a power of two.
    `offline`: messages without numbers pass in file order, the channel STALE; live they are refused. `decoder`: says
    whether a message may wait; None = all may.
    """

    def __cinit__(self, int lines=1, *, int first_line=0, int64_t reorder_us=1000, int64_t silence_ms=3000,
                  int64_t skew_ms=1000, uint32_t window_messages=8192, uint64_t window_bytes=0, bint offline=False,
                  Decoder decoder=None):
        if lines < 1 or first_line < 0 or first_line + lines > LINES_MAX:
            raise ValueError(f"lines {first_line} to {first_line + lines - 1}: a shard has lines 0 to {LINES_MAX - 1}")
        for name, value in (("reorder_us", reorder_us), ("skew_ms", skew_ms)):
            if value < 0 or value > 86_400_000:
                raise ValueError(f"{name} must be 0 to 86400000, not {value}")
        if silence_ms < 1 or silence_ms > 86_400_000:
            raise ValueError(f"silence_ms must be 1 to 86400000, not {silence_ms}")
        if window_bytes == 0:
            window_bytes = max(AVERAGE_MESSAGE * window_messages, 1 << 18)
        self.window = Window(window_messages, 1 << (<int> (window_bytes - 1)).bit_length())
        self.first_line, self.lines = first_line, lines
        self.reorder_ns = reorder_us * 1000
        self.silence_ns = silence_ms * 1_000_000
        self.skew_ns = skew_ms * 1_000_000
        self.offline = offline
        self.decoder = decoder
        self.own_channel = <ChannelRecord *> calloc(1, sizeof(ChannelRecord))
        self.own_lines = <LineRecord *> calloc(first_line + lines, sizeof(LineRecord))
        if self.own_channel == NULL or self.own_lines == NULL:
            raise MemoryError()
        self.channel = self.own_channel
        self.line_records = self.own_lines
        self.expected = self.horizon = 1
        self.channel.next_seq = 1
        self.quality = self.sequence_quality = self.channel.quality = QUALITY_INIT
        self.reason = self.sequence_reason = self.channel.reason = REASON_START

    def __dealloc__(self):
        free(self.own_channel)
        free(self.own_lines)

    cdef void bind(self, ChannelRecord *channel, LineRecord *lines) noexcept:
        """Write into these records from now on; what was written before is carried over. Names are left alone."""
        cdef int line, i
        cdef LineRecord *mine
        cdef LineRecord *other
        for i in range(CHANNEL_COUNTERS):
            channel.counters[i] += self.channel.counters[i]
        memcpy(channel.session, self.channel.session, sizeof(channel.session))
        channel.epoch = self.channel.epoch
        channel.since = self.channel.since
        channel.next_seq = self.channel.next_seq
        channel.reason = self.reason
        fh_store32_release(&channel.quality, self.quality)
        for line in range(self.first_line, self.first_line + self.lines):
            mine = &self.line_records[line]
            other = &lines[line]
            other.state = mine.state
            other.next_seq = mine.next_seq
            other.last_packet = mine.last_packet
            other.last_data = mine.last_data
            for i in range(LINE_COUNTERS):
                other.counters[i] += mine.counters[i]
        self.channel = channel
        self.line_records = lines

    # -- in order -----------------------------------------------------------------------------------------------------

    cdef void offer(self, const Frame *frame, const Message *messages, int64_t ts_recv, uint32_t line) noexcept nogil:
        """One frame of one line. Then take() until TAKE_NOTHING; both pointers are used until then."""
        cdef uint64_t first = frame.first_seq
        cdef uint64_t count = <uint64_t> frame.count
        cdef LineRecord *record
        if (not self.plain or frame.kind != FRAME_DATA or frame.session[0] != self.session[0]
                or frame.session[1] != self.session[1] or frame.send_time < self.sent_floor
                or line - <uint32_t> self.first_line >= <uint32_t> self.lines):
            self.offer_slowly(frame, messages, ts_recv, line)
            return
        record = &self.line_records[line]
        if first == self.expected:
            self.slice = messages
            self.slice_count = frame.count
            self.slice_line = line
            self.slice_ts = ts_recv
            if frame.send_time > self.taken_sent:
                self.taken_sent = frame.send_time
        elif (first < self.expected and count <= self.expected - first and first >= self.missing_end
              and frame.send_time - self.taken_sent <= self.skew_ns
              and (first + count == self.expected or since(ts_recv, self.agreed_at) <= RESTART_NS)):
            record.counters[LN_DUPLICATES] += count
            if first + count != self.expected:
                touch(record, first, first + count, ts_recv)
                record.last_data = ts_recv
                record.counters[LN_MESSAGES] += count
                return
        else:
            self.offer_slowly(frame, messages, ts_recv, line)
            return
        self.agreed_at = ts_recv
        touch(record, first, first + count, ts_recv)
        record.last_data = ts_recv
        record.counters[LN_MESSAGES] += count

    cdef int take(self, Run *run) noexcept nogil:
        """What comes next: TAKE_RUN fills `run`, to be answered with settle(); the others are told by the fields."""
        if not self.plain:
            return self.take_slowly(run)
        if self.slice_count == 0:
            return TAKE_NOTHING
        run.messages = self.slice
        run.first_seq = self.expected
        run.ts_recv = self.slice_ts
        run.count = self.slice_count
        run.line = self.slice_line
        return TAKE_RUN

    cdef void settle(self, int32_t taken) noexcept nogil:
        """Of the run that take() gave, the decoder took the first `taken`; the one after them, if any, is malformed."""
        if not self.plain or taken != self.slice_count:
            self.settle_slowly(taken)
            return
        self.slice_count = 0
        self.expected += taken
        self.channel.next_seq = self.expected
        self.channel.counters[CH_MESSAGES] += taken
        self.line_records[self.slice_line].counters[LN_WON] += taken

    # -- out of order -------------------------------------------------------------------------------------------------

    cdef void offer_slowly(self, const Frame *frame, const Message *messages, int64_t ts_recv,
                           uint32_t line) noexcept nogil:
        """Is it a number at all, and is a hole due before it: then judge_frame(), now or later."""
        cdef LineRecord *record
        if line - <uint32_t> self.first_line >= <uint32_t> self.lines:
            return
        record = &self.line_records[line]
        self.plain = False
        self.closing = False
        self.clock = ts_recv
        if self.horizon < self.expected:
            self.horizon = self.expected
        if frame.kind == FRAME_UNSEQUENCED:
            self.accept_unsequenced(frame, messages, ts_recv, line)
            return
        if frame.kind == FRAME_REJECTED:
            record.state = LINE_DOWN
            return
        if frame.kind not in (FRAME_DATA, FRAME_HEARTBEAT, FRAME_END, FRAME_LOGIN):
            return
        if frame.first_seq == 0 or frame.first_seq > <uint64_t> INT64_MAX or frame.send_time < 0:
            record.counters[LN_REFUSED] += 1
            return
        self.held.frame = frame[0]
        self.held.messages = messages
        self.held.ts_recv = ts_recv
        self.held.line = line
        if self.gap_is_due():
            self.held.step = HELD_FRAME
        else:
            self.judge_frame()

    cdef void judge_frame(self) noexcept nogil:
        """The held frame: which session, which run of it? Accept it, or hold it on for begin()."""
        cdef const Frame *frame = &self.held.frame
        cdef LineRecord *record = &self.line_records[self.held.line]
        self.held.step = HELD_NOTHING
        self.held.restart = False
        if not self.joined or frame.session[0] != self.session[0] or frame.session[1] != self.session[1]:
            if self.was_left(frame):
                record.counters[LN_LATE] += 1
                return
        elif frame.send_time < self.sent_floor and frame.send_time > 0:
            record.counters[LN_LATE] += 1
            return
        elif self.restarted(frame, self.held.ts_recv, self.held.line):
            self.held.restart = True
        else:
            self.accept()
            return
        self.held.step = HELD_SESSION
        self.closing = True

    cdef bint was_left(self, const Frame *frame) noexcept nogil:
        cdef uint32_t i
        for i in range(min(self.left_count, <uint32_t> LEFT_MAX)):
            if self.left[i][0] == frame.session[0] and self.left[i][1] == frame.session[1]:
                return True
        return False

    cdef void begin(self) noexcept nogil:
        """The held frame begins a session, or the same one anew."""
        cdef int line
        if self.held.restart:
            self.channel.counters[CH_RESTARTS] += 1
            self.sent_floor = self.taken_sent + self.skew_ns if self.taken_sent > 0 else 0
        else:
            if self.joined:
                self.left[self.left_count % LEFT_MAX][0] = self.session[0]
                self.left[self.left_count % LEFT_MAX][1] = self.session[1]
                self.left_count += 1
            self.channel.counters[CH_SESSIONS] += 1
            self.sent_floor = 0
        self.session[0] = self.held.frame.session[0]
        self.session[1] = self.held.frame.session[1]
        memcpy(self.channel.session, self.session, sizeof(self.channel.session))
        self.joined = True
        self.expected = self.horizon = self.channel.next_seq = 1
        self.hole = self.silent = self.suspected = self.low_any = self.ended = self.end_due = False
        self.taken_sent = 0
        self.missing_count = 0
        self.missing_end = 0
        memset(self.low, 0, sizeof(self.low))
        self.window.clear()
        for line in range(self.first_line, self.first_line + self.lines):
            self.line_records[line].next_seq = 0
        self.channel.epoch += 1
        self.judge(QUALITY_INIT, REASON_START)
        self.quality_due = False                # the session's own notice says it
        self.session_due = True
        self.accept()

    cdef void accept(self) noexcept nogil:
        """The held frame is one of the present session."""
        cdef const Frame *frame = &self.held.frame
        cdef int64_t ts_recv = self.held.ts_recv
        cdef uint64_t next_seq = frame.first_seq + <uint64_t> frame.count
        if next_seq >= self.expected:
            self.agreed_at = ts_recv
            self.heard = True
            self.trust()
        if frame.send_time > self.taken_sent and (self.taken_sent == 0
                                                  or (frame.kind == FRAME_DATA and next_seq > self.expected)):
            self.taken_sent = frame.send_time
        if frame.kind == FRAME_DATA:
            self.accept_data()
        else:
            self.accept_number(frame, ts_recv, self.held.line)

    cdef void accept_data(self) noexcept nogil:
        """The line's own counts; then the frame's messages find their places."""
        cdef LineRecord *record = &self.line_records[self.held.line]
        self.held.first = self.held.frame.first_seq
        self.held.count = self.held.frame.count
        touch(record, self.held.first, self.held.first + <uint64_t> self.held.count, self.held.ts_recv)
        record.last_data = self.held.ts_recv
        record.counters[LN_MESSAGES] += self.held.count
        if self.held.first > self.expected:
            record.counters[LN_AHEAD] += self.held.count
        self.place()

    cdef void place(self) noexcept nogil:
        """The held messages: below `expected` they are duplicates, at it the next slice, beyond it the window's.

        Nothing waits at `expected`. What goes nowhere yet stays held: it follows on a slice, or it presses for room.
        """
        cdef uint64_t first = self.held.first
        cdef uint64_t end = first + <uint64_t> self.held.count
        cdef uint64_t cut = end
        cdef LineRecord *record = &self.line_records[self.held.line]
        self.held.step = HELD_NOTHING
        if end <= self.expected:
            self.come_after(first, end - first, record)
            return
        if first > self.expected:
            self.look_beyond(end, self.held.ts_recv)
            self.pass_held(self.keep())
            self.pressed = self.held.step == HELD_REST
            return
        self.come_after(first, self.expected - first, record)
        if end > self.horizon:
            self.horizon = end
            self.horizon_at = self.held.ts_recv
        if self.window.waiting > 0 and self.window.low < end:
            cut = self.window.low
        self.slice = self.held.messages + (self.expected - first)
        self.slice_count = <int32_t> (cut - self.expected)
        self.slice_waited = self.slice_unsequenced = False
        self.slice_line = self.held.line
        self.slice_ts = self.held.ts_recv
        self.pass_held(<int32_t> (cut - first))

    cdef void pass_held(self, int32_t count) noexcept nogil:
        """The first `count` of the held messages have found their places."""
        self.held.messages += count
        self.held.first += <uint64_t> count
        self.held.count -= count
        self.held.step = HELD_REST if self.held.count > 0 else HELD_NOTHING

    cdef void accept_number(self, const Frame *frame, int64_t ts_recv, uint32_t line) noexcept nogil:
        """Heartbeat, end of session, login: the next number that will be sent, and nothing else."""
        cdef LineRecord *record = &self.line_records[line]
        if frame.kind == FRAME_LOGIN:
            record.next_seq = frame.first_seq       # a new connection goes on where it was asked to: no hole of the line
        else:
            record.counters[LN_HEARTBEATS] += 1
        touch(record, frame.first_seq, frame.first_seq, ts_recv)
        if frame.first_seq > self.expected:
            self.look_beyond(frame.first_seq, ts_recv)
        if frame.kind == FRAME_END and frame.first_seq >= self.expected:
            record.state = LINE_ENDED
            if not self.ended:
                self.ended = self.end_due = True
                self.end_seq = frame.first_seq

    cdef void accept_unsequenced(self, const Frame *frame, const Message *messages, int64_t ts_recv,
                                 uint32_t line) noexcept nogil:
        cdef LineRecord *record = &self.line_records[line]
        record.last_packet = ts_recv
        record.state = LINE_UP
        record.counters[LN_MESSAGES] += frame.count
        if not self.offline:
            record.counters[LN_REFUSED] += 1
            return
        record.last_data = ts_recv
        if self.sequence_quality != QUALITY_STALE:
            self.judge(QUALITY_STALE, REASON_UNSEQUENCED)
        self.slice = messages
        self.slice_count = frame.count
        self.slice_waited = False
        self.slice_unsequenced = True
        self.slice_line = line
        self.slice_ts = ts_recv

    cdef int32_t keep(self) noexcept nogil:
        """Let the held messages wait in the window, all above `expected`. How many, until there was no room."""
        cdef const Message *message
        cdef LineRecord *record = &self.line_records[self.held.line]
        cdef uint64_t number = self.held.first
        cdef int32_t i
        for i in range(self.held.count):
            message = &self.held.messages[i]
            if self.window.holds(number):
                record.counters[LN_DUPLICATES] += 1
            elif self.decoder is not None and not self.decoder.valid(message.data, message.len):
                record.counters[LN_MALFORMED] += 1
                self.window.spoil(number)
            elif self.window.put(number, message, self.held.ts_recv, self.held.line, self.expected) == WINDOW_FULL:
                return i
            number += 1
        return self.held.count

    cdef void come_after(self, uint64_t first, uint64_t count, LineRecord *record) noexcept nogil:
        """Numbers below `expected`: duplicates, but for those of a gap that was given up."""
        cdef uint64_t late = 0, low, high
        cdef uint32_t i
        if first < self.missing_end:
            for i in range(min(self.missing_count, <uint32_t> GAPS_MAX)):
                low = max(first, self.missing[i].first)
                high = min(first + count, self.missing[i].first + self.missing[i].count)
                if low < high:
                    late += high - low
        record.counters[LN_DUPLICATES] += count - late
        record.counters[LN_TOO_LATE] += late

    cdef void look_beyond(self, uint64_t number, int64_t ts_recv) noexcept nogil:
        """All numbers below this one exist, and `expected` is not at hand: a hole, if there was none."""
        if number > self.horizon:
            self.horizon = number
            self.horizon_at = ts_recv
        if not self.hole:
            self.hole = True
            self.hole_since = ts_recv

    cdef int take_slowly(self, Run *run) noexcept nogil:
        """take() while something is not as it should be."""
        while True:
            if self.quality_due:
                self.quality_due = False
                return TAKE_QUALITY
            if self.session_due:
                self.session_due = False
                return TAKE_SESSION
            if self.slice_count == 0 and self.window.holds(self.expected):
                self.window.run(self.expected, run)
                self.slice = run.messages
                self.slice_count = run.count
                self.slice_waited = True
                self.slice_unsequenced = False
                self.slice_line = run.line
                self.slice_ts = run.ts_recv
            if self.slice_count > 0:
                if not self.slice_unsequenced and self.sequence_quality == QUALITY_INIT:
                    self.judge(QUALITY_LIVE, REASON_NONE)
                    self.quality_due = False        # begun at 1: what TAKE_SESSION left open is settled
                run.messages = self.slice
                run.first_seq = 0 if self.slice_unsequenced else self.expected
                run.ts_recv = self.slice_ts
                run.count = self.slice_count
                run.line = self.slice_line
                return TAKE_RUN
            if self.held.step == HELD_REST and not self.pressed:
                self.place()
                continue
            if self.gap_is_due():
                self.give_up()
                return TAKE_GAP
            if self.end_due and self.expected >= self.end_seq:
                self.end_due = False
                return TAKE_END
            if self.held.step == HELD_FRAME:
                self.judge_frame()
                continue
            if self.held.step == HELD_SESSION:
                self.held.step = HELD_NOTHING
                self.closing = False
                self.begin()
                continue
            if self.joined and self.horizon == self.expected:
                if self.sequence_quality == QUALITY_INIT:
                    self.judge(QUALITY_LIVE, REASON_NONE)
                    self.quality_due = False
                if self.silent and self.heard:
                    self.silent = False
                    self.publish_quality()
                    if self.quality_due:
                        continue
                self.plain = not (self.silent or self.suspected or self.low_any or self.end_due)
                self.slice_waited = self.slice_unsequenced = False      # the fast path relies on it
            return TAKE_NOTHING

    cdef void settle_slowly(self, int32_t taken) noexcept nogil:
        cdef int32_t left = self.slice_count - taken
        cdef LineRecord *record = &self.line_records[self.slice_line]
        self.slice_count = 0
        self.channel.counters[CH_MESSAGES] += taken
        record.counters[LN_WON] += taken
        if left > 0:
            record.counters[LN_MALFORMED] += 1
        if self.slice_unsequenced:
            self.channel.counters[CH_UNSEQUENCED] += taken
            if left > 0:
                self.channel.counters[CH_MALFORMED] += 1
                self.slice += taken + 1
                self.slice_count = left - 1
            return
        self.expected += taken
        self.channel.next_seq = self.expected
        if self.slice_waited:
            self.window.took(self.expected, taken)
        if left > 0:
            self.plain = False
            self.window.spoil(self.expected)
            if self.slice_waited:
                self.window.remove(self.expected)
                self.hole_since = self.clock
            else:
                self.clock = self.slice_ts
                self.look_beyond(self.expected + left, self.slice_ts)
                if self.held.step != HELD_REST:         # else it follows on the slice, in the same packet
                    self.held.count = 0
                    self.held.ts_recv = self.slice_ts
                    self.held.line = self.slice_line
                self.held.messages = self.slice + taken
                self.held.first = self.expected
                self.held.count += left
                self.pass_held(1)
        elif self.slice_waited:
            self.hole_since = (self.window.times[self.window.low & self.window.mask] if self.window.waiting > 0
                               else self.horizon_at)
        if self.horizon <= self.expected:
            self.horizon = self.expected
            self.hole = False

    # -- gaps ---------------------------------------------------------------------------------------------------------

    cdef bint gap_is_due(self) noexcept nogil:
        if not self.hole:
            return False
        if self.clock < self.hole_since:            # the clock was set back: count from here
            self.hole_since = self.clock
        return self.pressed or self.closing or since(self.clock, self.hole_since) >= self.reorder_ns

    cdef void give_up(self) noexcept nogil:
        """The hole at `expected` is a gap: STALE first, then go on behind it."""
        cdef Missing *gap = &self.missing[self.missing_count % GAPS_MAX]
        cdef uint64_t end = self.window.low if self.window.waiting > 0 else self.horizon
        if self.pressed:
            self.pressed = False
            end = min(end, self.held.first)
            if not self.gap_is_due():
                self.channel.counters[CH_WINDOW_FULL] += 1
        if self.sequence_quality != QUALITY_STALE:
            self.judge(QUALITY_STALE, REASON_JOINED_LATE if self.sequence_quality == QUALITY_INIT else REASON_GAP)
            self.quality_due = False                # the gap's own notice says it
        self.gap_first = gap.first = self.expected
        self.gap_count = gap.count = end - self.expected
        self.missing_count += 1
        self.missing_end = end
        self.channel.counters[CH_GAPS] += 1
        self.channel.counters[CH_MISSING] += self.gap_count
        self.channel.counters[CH_MALFORMED] += self.window.spoilt_in(self.gap_first, self.gap_count)
        self.expected = end
        self.channel.next_seq = end
        self.hole = self.horizon > end

    cdef void finish(self) noexcept nogil:
        """No packet will come any more: every hole is a gap, and what waits goes out. Then take()."""
        self.plain = False
        self.closing = True
        if self.horizon < self.expected:
            self.horizon = self.expected

    # -- restarts, silence --------------------------------------------------------------------------------------------

    cdef bint restarted(self, const Frame *frame, int64_t ts_recv, uint32_t line) noexcept nogil:
        """Does this frame show, with what was seen before, that the numbers begin anew under the same session id?"""
        cdef uint64_t next_seq = frame.first_seq + <uint64_t> frame.count
        cdef LineRecord *record
        cdef int other
        if frame.send_time > 0 and self.taken_sent > 0:
            return frame.first_seq < self.expected and frame.send_time - self.taken_sent > self.skew_ns
        if next_seq >= self.expected or frame.kind == FRAME_LOGIN:
            return False
        if frame.kind == FRAME_DATA and since(ts_recv, self.agreed_at) <= RESTART_NS:
            return False
        self.suspect(frame, next_seq, ts_recv, line)
        if not self.suspected:
            return False
        for other in range(self.first_line, self.first_line + self.lines):
            record = &self.line_records[other]
            if (record.state == LINE_UP and since(ts_recv, record.last_packet) < self.silence_ns
                    and not self.low[other - self.first_line].suspect):
                return False
        return True

    cdef void suspect(self, const Frame *frame, uint64_t next_seq, int64_t ts_recv, uint32_t line) noexcept nogil:
        """A line shows a number below ours: the first such, or one more."""
        cdef Low *low = &self.low[line - self.first_line]
        cdef int64_t age
        self.low_any = True
        if low.next == 0 or next_seq < low.next or ts_recv < low.since:
            low.since = ts_recv
            low.rising = low.suspect = False
        else:
            if next_seq > low.next:
                low.rising = True
            age = since(ts_recv, low.since)
            if (low.rising and age >= RESTART_NS) or (frame.kind != FRAME_DATA and age >= HEARTBEATS_APART_NS):
                low.suspect = True
                self.suspected = True
                self.publish_quality()
        low.next = next_seq

    cdef void trust(self) noexcept nogil:
        """A packet agrees with our numbers: no restart."""
        if self.low_any:
            memset(self.low, 0, sizeof(self.low))
            self.low_any = self.suspected = False
            self.publish_quality()

    cdef void tick(self, int64_t now) noexcept nogil:
        """Time has passed, to `now` ns since the Unix epoch. Then take(), if only for the holes that are due."""
        cdef LineRecord *record
        cdef int line
        cdef bint up = False
        if now == INT64_MIN:
            return
        self.clock = now
        for line in range(self.first_line, self.first_line + self.lines):
            record = &self.line_records[line]
            if record.state == LINE_UP and since(now, record.last_packet) >= self.silence_ns:
                record.state = LINE_SILENT
            up = up or record.state == LINE_UP
        if self.joined and not up and not self.silent and not self.ended:
            self.plain = False
            self.silent = True
            self.heard = False
            if self.horizon < self.expected:
                self.horizon = self.expected
            self.publish_quality()

    cdef void judge(self, uint32_t quality, uint32_t reason) noexcept nogil:
        """What the numbers say of the channel."""
        self.sequence_quality = quality
        self.sequence_reason = reason
        self.publish_quality()

    cdef void publish_quality(self) noexcept nogil:
        """The channel's word: what the numbers say, unless silence or a suspicion is worse."""
        cdef uint32_t quality = self.sequence_quality
        cdef uint32_t reason = self.sequence_reason
        if quality != QUALITY_INIT and (self.suspected or self.silent):
            quality = QUALITY_STALE
            reason = REASON_RESTART if self.suspected else REASON_SILENT
        if quality == self.quality and reason == self.reason:
            return
        self.quality = quality
        self.reason = reason
        self.channel.reason = reason
        self.channel.since = self.clock
        fh_store32_release(&self.channel.quality, quality)      # before anything later is handed out
        self.quality_due = True

    # -- the door for Python ------------------------------------------------------------------------------------------

    def feed(self, bytes session not None, uint64_t first_seq, list messages not None, int64_t ts_recv=0,
             uint32_t line=0, *, str kind="data", int64_t send_time=0):
        """Offer one frame and take all that follows: a list of what take() gave, in order.

        ("session", name), ("run", first_seq, messages, ts_recv, line), ("gap", first, count), ("end", last number),
        ("quality", quality, reason). A run's messages are those that the decoder calls valid, up to the first bad one.
        """
        cdef Frame frame
        cdef Message *out
        cdef int i
        cdef bytes name = session.ljust(16, b"\0")
        if len(name) != 16 or len(messages) > MESSAGES_MAX or kind not in _KINDS:
            raise ValueError(f"a session has at most 16 bytes, a frame {MESSAGES_MAX} messages, and a kind of {_KINDS}")
        memset(&frame, 0, sizeof(Frame))
        memcpy(frame.session, PyBytes_AsString(name), 16)
        frame.first_seq = first_seq
        frame.send_time = send_time
        frame.count = <int> len(messages)
        frame.kind = _KINDS.index(kind)
        out = <Message *> calloc(len(messages) + 1, sizeof(Message))
        if out == NULL:
            raise MemoryError()
        try:
            for i in range(frame.count):
                out[i].data = <const uint8_t *> PyBytes_AsString(messages[i])
                out[i].len = <uint32_t> PyBytes_GET_SIZE(messages[i])
            self.offer(&frame, out, ts_recv, line)
            return self._drain()
        finally:
            free(out)

    def pass_time(self, int64_t now):
        """tick(), and all that take() then gives; as feed()."""
        self.tick(now)
        return self._drain()

    def end_input(self):
        """finish(), and all that take() then gives; as feed()."""
        self.finish()
        return self._drain()

    cdef list _drain(self):
        cdef Run run
        cdef int what, i
        taken = []
        while True:
            what = self.take(&run)
            if what == TAKE_NOTHING:
                return taken
            if what == TAKE_RUN:
                i = 0
                while i < run.count and (self.decoder is None
                                         or self.decoder.valid(run.messages[i].data, run.messages[i].len)):
                    i += 1
                if i > 0:
                    taken.append(("run", run.first_seq, [
                        PyBytes_FromStringAndSize(<const char *> message.data, message.len)
                        for message in run.messages[:i]], run.ts_recv, run.line))
                self.settle(i)
            elif what == TAKE_SESSION:
                taken.append(("session", self.session_name))
            elif what == TAKE_GAP:
                taken.append(("gap", self.gap_first, self.gap_count))
            elif what == TAKE_END:
                taken.append(("end", self.expected - 1))
            else:
                taken.append(("quality", self.quality, self.reason))

    @property
    def session_name(self) -> bytes:
        """The present session's id, without the zeros that pad it to 16 bytes."""
        return PyBytes_FromStringAndSize(<const char *> self.session, 16).rstrip(b"\0")

    @property
    def next_seq(self) -> int:
        """The next number to hand out."""
        return self.expected

    @property
    def state(self) -> tuple:
        """(quality, reason, epoch) of the channel."""
        return self.channel.quality, self.channel.reason, self.channel.epoch

    @property
    def counts(self) -> dict:
        """The channel's counters that the arbiter writes."""
        cdef uint64_t *c = self.channel.counters
        return {"messages": c[CH_MESSAGES], "gaps": c[CH_GAPS], "missing": c[CH_MISSING],
                "malformed": c[CH_MALFORMED], "unsequenced": c[CH_UNSEQUENCED], "sessions": c[CH_SESSIONS],
                "restarts": c[CH_RESTARTS], "window_full": c[CH_WINDOW_FULL]}

    def line_counts(self, int line):
        """The line's counters that the arbiter writes, and its state and next number."""
        cdef LineRecord *record
        cdef uint64_t *c
        if not self.first_line <= line < self.first_line + self.lines:
            raise ValueError(f"this channel has lines {self.first_line} to {self.first_line + self.lines - 1}")
        record = &self.line_records[line]
        c = record.counters
        return {"state": record.state, "next_seq": record.next_seq, "messages": c[LN_MESSAGES], "won": c[LN_WON],
                "duplicates": c[LN_DUPLICATES], "late": c[LN_LATE], "too_late": c[LN_TOO_LATE], "ahead": c[LN_AHEAD],
                "malformed": c[LN_MALFORMED], "heartbeats": c[LN_HEARTBEATS], "gaps": c[LN_GAPS],
                "missing": c[LN_MISSING], "refused": c[LN_REFUSED]}

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
too many bytes) presses: the hole at `expected` is given up before its time (CH_WINDOW_FULL), up to what waits or to the
held messages, whichever comes first; what waits goes out; the held ones are tried again. Each turn hands out a message
or ends at the held ones, which then go out of the packet: bounded work, however far apart the numbers.

*Recovery* (the next issue) has its place in give_up(): the range goes to the control path, quality RECOVERING, and the
window holds what comes meanwhile. A retransmission is a packet with numbers like any other, offered as from a line of
its own. `past` remembers the gaps given up, which a snapshot, or a late copy, can fill.

*Sessions.* A frame of another session is held until the old session is closed: its holes become gaps, what waits goes
out. Then `expected` is 1, TAKE_SESSION, and the held frame is accepted like any other: joined late, it stands ahead of
a hole that begins at 1. Sessions left are remembered, and never come back. Within begin() the channel is INIT; it is
LIVE when something shows that nothing before is missing, and only after the books were cleared (the take() after
TAKE_SESSION).

*Restarts under the same session id.* With send times: a packet below `expected`, sent later than the last one taken by
more than the skew. Without: see _suspicion.pyx. A certain restart goes the way of a new session.
"""
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy
from feedhandler._counters cimport (CH_GAPS, CH_MALFORMED, CH_MESSAGES, CH_MISSING, CH_RESTARTS, CH_SESSIONS,
                                    CH_UNSEQUENCED, CH_WINDOW_FULL, LN_AHEAD, LN_DUPLICATES, LN_HEARTBEATS, LN_LATE,
                                    LN_MALFORMED, LN_MESSAGES, LN_REFUSED, LN_TOO_LATE, LN_WON)
from feedhandler._records cimport (LINE_DOWN, LINE_ENDED, LINE_SILENT, LINE_UP, QUALITY_INIT, QUALITY_LIVE,
                                   QUALITY_STALE, REASON_GAP, REASON_JOINED_LATE, REASON_LINE_DOWN, REASON_NONE,
                                   REASON_RESTART, REASON_SILENT, REASON_START, REASON_UNSEQUENCED, ChannelRecord,
                                   LineRecord, Message, Run)
from feedhandler.decode._decoder cimport Decoder
from feedhandler.line._past cimport Past
from feedhandler.line._recording cimport Records, touch
from feedhandler.line._suspicion cimport LINES_MAX, RESTART_NS, Suspicion, since
from feedhandler.line._window cimport WINDOW_FULL, Window
from feedhandler.session._framing cimport (FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, FRAME_LOGIN, FRAME_REJECTED,
                                           FRAME_UNSEQUENCED, Frame)

cdef extern from "seqlock.h" nogil:
    void fh_store32_release(uint32_t *p, uint32_t v)

cdef enum:
    AVERAGE_MESSAGE = 128       # bytes of the window for each place, unless told


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
        for name, value, least in (("reorder_us", reorder_us, 0), ("skew_ms", skew_ms, 0), ("silence_ms", silence_ms, 1)):
            if not least <= value <= 86_400_000:
                raise ValueError(f"{name} must be {least} to 86400000, not {value}")
        if window_bytes == 0:
            window_bytes = max(AVERAGE_MESSAGE * window_messages, 1 << 18)
        self.window = Window(window_messages, 1 << (<int> (window_bytes - 1)).bit_length())
        self.suspicion = Suspicion()
        self.past = Past()
        self.first_line, self.lines = first_line, lines
        self.reorder_ns = reorder_us * 1000
        self.silence_ns = silence_ms * 1_000_000
        self.skew_ns = skew_ms * 1_000_000
        self.offline = offline
        self.decoder = decoder
        self.own = Records(first_line, lines)
        self.channel = self.own.channel
        self.line_records = self.own.lines
        self.expected = self.horizon = 1
        self.channel.next_seq = 1
        self.quality = self.sequence_quality = self.channel.quality = QUALITY_INIT
        self.reason = self.sequence_reason = self.channel.reason = REASON_START

    cdef void bind(self, ChannelRecord *channel, LineRecord *lines) noexcept:
        """Write into these records from now on; what was written before is carried over. Names are left alone."""
        self.own.carry_over(self.channel, self.line_records, channel, lines)
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
        self.leave_fast_path()
        self.closing = False
        self.clock = ts_recv
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

    cdef void leave_fast_path(self) noexcept nogil:
        self.plain = False
        self.horizon = max(self.horizon, self.expected)

    cdef void judge_frame(self) noexcept nogil:
        """The held frame: which session, which run of it? Accept it, or hold it on for begin()."""
        cdef const Frame *frame = &self.held.frame
        cdef LineRecord *record = &self.line_records[self.held.line]
        self.held.step = HELD_NOTHING
        self.held.restart = False
        if not self.joined or frame.session[0] != self.session[0] or frame.session[1] != self.session[1]:
            if self.past.was_left(frame.session):
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

    cdef void begin(self) noexcept nogil:
        """The held frame begins a session, or the same one anew."""
        cdef int line
        self.held.step = HELD_NOTHING
        self.closing = False
        if self.held.restart:
            self.channel.counters[CH_RESTARTS] += 1
            self.sent_floor = self.taken_sent + self.skew_ns if self.taken_sent > 0 else 0
        else:
            if self.joined:
                self.past.leave(self.session)
            self.channel.counters[CH_SESSIONS] += 1
            self.sent_floor = 0
        self.session[0] = self.held.frame.session[0]
        self.session[1] = self.held.frame.session[1]
        memcpy(self.channel.session, self.session, sizeof(self.channel.session))
        self.joined = True
        self.expected = self.horizon = self.channel.next_seq = 1
        self.hole = self.silent = self.ended = self.end_due = False
        self.taken_sent = 0
        self.missing_end = 0
        self.past.begin()
        self.suspicion.clear()
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
            if self.suspicion.shown:                # no restart
                self.suspicion.clear()
                self.publish_quality()
        if frame.send_time > self.taken_sent and (self.taken_sent == 0
                                                  or (frame.kind == FRAME_DATA and next_seq > self.expected)):
            self.taken_sent = frame.send_time
        if frame.kind == FRAME_DATA:
            if self.ended and next_seq > self.end_seq:
                self.ended = False                  # it goes on all the same: silence is silence again
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
        self.cut_slice(self.held.messages + (self.expected - first), <int32_t> (cut - self.expected),
                       self.held.ts_recv, self.held.line)
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
        record.counters[LN_MESSAGES] += frame.count
        if not self.offline:
            record.counters[LN_REFUSED] += 1
            if not self.joined or frame.session[0] != self.session[0] or frame.session[1] != self.session[1]:
                return                              # no sign of life of the channel
        record.last_packet = ts_recv
        record.state = LINE_UP
        if not self.offline:
            return
        record.last_data = ts_recv
        if self.sequence_quality != QUALITY_STALE:
            self.judge(QUALITY_STALE, REASON_UNSEQUENCED)
        self.cut_slice(messages, frame.count, ts_recv, line)
        self.slice_unsequenced = True

    cdef void cut_slice(self, const Message *messages, int32_t count, int64_t ts_recv, uint32_t line) noexcept nogil:
        """What take() hands out next; out of a packet, and with numbers, unless told otherwise afterwards."""
        self.slice = messages
        self.slice_count = count
        self.slice_waited = self.slice_unsequenced = False
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
        cdef uint64_t late = self.past.given_up_in(first, count) if first < self.missing_end else 0
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
                self.cut_slice(run.messages, run.count, run.ts_recv, run.line)
                self.slice_waited = True
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
                self.plain = not (self.silent or self.suspicion.shown or self.end_due or self.ended)
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
        cdef uint64_t end = self.window.low if self.window.waiting > 0 else self.horizon
        if self.pressed:
            self.pressed = False
            end = min(end, self.held.first)
            if not self.gap_is_due():
                self.channel.counters[CH_WINDOW_FULL] += 1
        if self.sequence_quality != QUALITY_STALE:
            self.judge(QUALITY_STALE, REASON_JOINED_LATE if self.sequence_quality == QUALITY_INIT else REASON_GAP)
            self.quality_due = False                # the gap's own notice says it
        self.gap_first = self.expected
        self.gap_count = end - self.expected
        self.missing_end = end
        self.past.give_up(self.gap_first, self.gap_count)
        self.channel.counters[CH_GAPS] += 1
        self.channel.counters[CH_MISSING] += self.gap_count
        self.channel.counters[CH_MALFORMED] += self.window.spoilt_in(self.gap_first, self.gap_count)
        self.expected = end
        self.channel.next_seq = end
        self.hole = self.horizon > end

    cdef void finish(self) noexcept nogil:
        """No packet will come any more: every hole is a gap, and what waits goes out. Then take()."""
        self.leave_fast_path()
        self.closing = True

    # -- restarts, silence --------------------------------------------------------------------------------------------

    cdef bint restarted(self, const Frame *frame, int64_t ts_recv, uint32_t line) noexcept nogil:
        """Does this frame show, with what was seen before, that the numbers begin anew under the same session id?"""
        cdef uint64_t next_seq = frame.first_seq + <uint64_t> frame.count
        if frame.send_time > 0 and self.taken_sent > 0:
            return frame.first_seq < self.expected and frame.send_time - self.taken_sent > self.skew_ns
        if next_seq >= self.expected or frame.kind == FRAME_LOGIN:
            return False
        if frame.kind == FRAME_DATA and since(ts_recv, self.agreed_at) <= RESTART_NS:
            return False
        self.suspicion.low_number(line - self.first_line, frame.kind, next_seq, ts_recv)
        self.publish_quality()
        return self.suspicion.certain(&self.line_records[self.first_line], self.lines, ts_recv, self.silence_ns)

    cdef void tick(self, int64_t now) noexcept nogil:
        """Time has passed, to `now` ns since the Unix epoch. Then take(), if only for the holes that are due."""
        cdef LineRecord *record
        cdef int line
        cdef bint up = False
        if now == INT64_MIN:
            return
        self.clock = now
        self.agreed_at = min(self.agreed_at, now)           # the clock was set back: count from here
        for line in range(self.first_line, self.first_line + self.lines):
            record = &self.line_records[line]
            record.last_packet = min(record.last_packet, now)
            if record.state == LINE_UP and since(now, record.last_packet) >= self.silence_ns:
                record.state = LINE_SILENT
            up = up or record.state == LINE_UP
        if not up and not self.silent:
            self.fall_silent(REASON_SILENT)

    cdef void line_down(self, uint32_t line, int64_t now) noexcept nogil:
        """The line's connection has ended, by `now`. May be said again and again until it is back. Then take()."""
        cdef int other
        if self.line_records[line].state not in (LINE_UP, LINE_SILENT):
            return
        self.line_records[line].state = LINE_DOWN
        for other in range(self.first_line, self.first_line + self.lines):
            if self.line_records[other].state != LINE_DOWN:
                return
        self.clock = now
        self.fall_silent(REASON_LINE_DOWN)

    cdef void fall_silent(self, uint32_t reason) noexcept nogil:
        """Nothing comes any more: STALE until something is heard, and all before it is there."""
        if not self.joined or self.ended:
            return
        self.leave_fast_path()
        self.silent = True
        self.silent_reason = reason
        self.heard = False
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
        if quality != QUALITY_INIT and (self.suspicion.suspected or self.silent):
            quality = QUALITY_STALE
            reason = REASON_RESTART if self.suspicion.suspected else self.silent_reason
        if quality == self.quality and reason == self.reason:
            return
        self.quality = quality
        self.reason = reason
        self.channel.reason = reason
        self.channel.since = self.clock
        fh_store32_release(&self.channel.quality, quality)      # before anything later is handed out
        self.quality_due = True

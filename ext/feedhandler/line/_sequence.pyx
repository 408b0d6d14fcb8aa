"""Frames and sessions: what each packet is worth, and what comes next. Theory in _arbiter.pyx."""
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t
from feedhandler._counters cimport (CH_MALFORMED, CH_MESSAGES, CH_RESTARTS, CH_SESSIONS, CH_UNSEQUENCED,
                                    CH_WINDOW_FULL, LN_AHEAD, LN_DUPLICATES, LN_HEARTBEATS, LN_LATE, LN_MALFORMED,
                                    LN_MESSAGES, LN_REFUSED, LN_TOO_LATE, LN_WON)
from feedhandler._records cimport (LINE_DOWN, LINE_ENDED, LINE_UP, QUALITY_INIT, QUALITY_LIVE, QUALITY_STALE,
                                   REASON_NONE, REASON_SESSION_ENDED, REASON_START, REASON_UNSEQUENCED, LineRecord,
                                   Message, Run)
from feedhandler.line._holes cimport (HELD_FRAME, HELD_NOTHING, HELD_REST, HELD_SESSION, TAKE_END, TAKE_GAP,
                                      TAKE_NOTHING, TAKE_QUALITY, TAKE_RUN, TAKE_SESSION, TAKE_SNAPSHOT, Holes)
from feedhandler.line._channel_records cimport touch
from feedhandler.line._suspicion cimport RESTART_NS, since
from feedhandler.session._framing cimport (FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, FRAME_LOGIN, FRAME_REJECTED,
                                           FRAME_UNSEQUENCED, Frame)

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* The session that a channel's next number belongs to, for the control thread: it reads name, number, name, and takes
     * them when the name is the same twice and the number is not 0. The fence keeps the 0 before the name, the release
     * store keeps the 1 behind it. */
    static inline void fh_begin_session(char *name, const uint64_t *session, uint64_t *next_seq)
    {
        __atomic_store_n(next_seq, 0, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        memcpy(name, session, 16);
        __atomic_store_n(next_seq, 1, __ATOMIC_RELEASE);
    }
    """
    void fh_begin_session(char *name, const uint64_t *session, uint64_t *next_seq) nogil


cdef class Sequence(Holes):
    def __cinit__(self, int lines=1, *, int64_t skew_ms=1000, bint offline=False, **_):
        if not 0 <= skew_ms <= 86_400_000:
            raise ValueError(f"skew_ms must be 0 to 86400000, not {skew_ms}")
        self.skew_ns = skew_ms * 1_000_000
        self.offline = offline

    # -- frames -------------------------------------------------------------------------------------------------------

    cdef void offer_slowly(self, const Frame *frame, const Message *messages, int64_t ts_recv,
                           uint32_t line) noexcept nogil:
        """Is it a number at all, and may holes be due before it: then judge_frame(), now or later."""
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
        if self.recovering or self.gap_is_due():
            self.held.step = HELD_FRAME
        else:
            self.judge_frame()

    cdef void leave_fast_path(self) noexcept nogil:
        self.plain = False
        if self.horizon <= self.expected:
            self.horizon = self.expected
            self.horizon_offset = self.next_offset
            self.in_order_sent = self.taken_sent

    cdef void judge_frame(self) noexcept nogil:
        """The held frame: which session, which run of it? Accept it, or hold it on for begin()."""
        cdef const Frame *frame = &self.held.frame
        cdef LineRecord *record = &self.line_records[self.held.line]
        self.held.step = HELD_NOTHING
        self.held.restart = self.held.by_offset = False
        if not self.joined or frame.session[0] != self.session[0] or frame.session[1] != self.session[1]:
            if self.past.was_left(frame.session):
                record.counters[LN_LATE] += 1
                return
        elif frame.send_time < self.sent_floor and frame.send_time > 0:
            record.counters[LN_LATE] += 1
            return
        elif self.of_another_run(frame, self.held.messages):
            if frame.send_time < (self.in_order_sent if frame.first_seq <= self.expected else self.taken_sent):
                record.counters[LN_LATE] += 1
                return
            self.held.restart = self.held.by_offset = True
        elif self.restarted(frame, self.held.ts_recv, self.held.line):
            self.held.restart = True
        else:
            self.accept()
            return
        self.held.step = HELD_SESSION
        self.close()

    cdef void close(self) noexcept nogil:
        """Nothing more will come of this session: holes close at once, and recovery of it is over."""
        self.closing = True
        if self.frozen:
            self.thaw()

    cdef void begin(self) noexcept nogil:
        """The held frame begins a session, or the same one anew."""
        cdef int line
        self.held.step = HELD_NOTHING
        self.closing = False
        if self.held.restart:
            self.channel.counters[CH_RESTARTS] += 1
            self.left_sent = self.in_order_sent if self.held.by_offset else self.taken_sent
            self.sent_floor = min(self.taken_sent + self.skew_ns, self.held.frame.send_time) if self.taken_sent > 0 else 0
        else:
            if self.joined:
                self.past.leave(self.session)
            self.channel.counters[CH_SESSIONS] += 1
            self.sent_floor = self.left_sent = 0
        self.session[0] = self.held.frame.session[0]
        self.session[1] = self.held.frame.session[1]
        fh_begin_session(self.channel.session, self.session, &self.channel.next_seq)
        self.joined = True
        self.expected = self.horizon = 1
        self.next_offset = self.horizon_offset = -1
        self.hole = self.silent = self.ended = self.end_due = self.broken = False
        self.taken_sent = self.in_order_sent = 0
        self.missing_end = 0
        self.past.begin()
        self.suspicion.clear()
        self.score.begin()
        self.window.clear()
        for line in range(self.first_line, self.first_line + self.lines):
            self.line_records[line].next_seq = 0
        self.channel.epoch += 1
        self.wanted.begin(self.channel.epoch, self.session, 1)
        self.judge(QUALITY_INIT, REASON_START)
        self.quality_due = False                # the session's own notice says it
        self.session_due = True
        if self.record_of(self.held.line) != &self.answers:
            self.accept()
        else:                                   # a retransmission told; so many there are at least
            self.look_beyond(self.held.frame.first_seq + <uint64_t> self.held.frame.count, self.held.ts_recv)

    cdef void accept(self) noexcept nogil:
        """The held frame is one of the present session."""
        cdef const Frame *frame = &self.held.frame
        cdef int64_t ts_recv = self.held.ts_recv
        cdef uint64_t next_seq = frame.first_seq + <uint64_t> frame.count
        if next_seq >= self.expected:
            self.agreed_at = ts_recv
            self.heard = True
            if (self.suspicion.shown and next_seq >= self.horizon
                    and self.suspicion.refuted(self.held.line - self.first_line, self.lines, frame.kind,
                                               next_seq > self.horizon, ts_recv)):
                self.suspicion.clear()
                self.publish_quality()
        if frame.offset >= 0 and frame.first_seq <= self.expected <= next_seq:
            self.in_order_sent = max(self.in_order_sent, frame.send_time)
            if self.next_offset < 0:
                self.next_offset = self.offset_of_next(frame, self.held.messages)
        if frame.send_time > self.taken_sent and (self.taken_sent == 0
                                                  or (frame.kind == FRAME_DATA and next_seq > self.expected)):
            self.taken_sent = frame.send_time
        if frame.kind == FRAME_DATA:
            if self.ended and next_seq > self.end_seq:
                self.ended = False                  # it goes on all the same: silence is silence again
                if self.sequence_reason == REASON_SESSION_ENDED:
                    self.judge(self.sequence_quality, REASON_NONE)
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
            if frame.first_seq == self.horizon and frame.offset >= 0:
                self.horizon_offset = frame.offset
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

    # -- messages and their places ------------------------------------------------------------------------------------

    cdef void place(self) noexcept nogil:
        """The held messages: below `expected` they are duplicates, at it the next slice, beyond it the window's.

        Nothing waits at `expected`, unless nothing is handed out at all. What goes nowhere yet stays held: it follows on
        a slice, or it presses for room.
        """
        cdef uint64_t first = self.held.first
        cdef uint64_t end = first + <uint64_t> self.held.count
        cdef uint64_t cut = end
        cdef LineRecord *record = self.record_of(self.held.line)
        self.held.step = HELD_NOTHING
        if first < self.expected and record != &self.answers:
            self.score.came_after(first, self.held.ts_recv, self.held.line)
        if end <= self.expected:
            self.come_after(first, end - first, record)
            return
        if first > self.expected or self.frozen:
            if first < self.expected:
                self.come_after(first, self.expected - first, record)
                self.pass_held(<int32_t> (self.expected - first))
            self.look_beyond(end, self.held.ts_recv)
            self.place_horizon(end)
            if not self.frozen:
                self.pass_held(self.keep())
                if self.held.step == HELD_REST:
                    if self.recovery is None or not self.recovery.snapshots or self.closing:
                        self.pressed = True
                        return
                    self.channel.counters[CH_WINDOW_FULL] += 1
                    self.freeze(True)
            if self.frozen:
                self.keep_newest()
            return
        self.come_after(first, self.expected - first, record)
        if first == self.expected and record != &self.answers:
            self.score.won(first, self.held.ts_recv, self.held.line)
        if end > self.horizon:
            self.horizon = end
            self.horizon_at = self.held.ts_recv
            self.horizon_offset = -1
            self.place_horizon(end)
        if self.window.waiting > 0 and self.window.low < end:
            cut = self.window.low
        self.cut_slice(self.held.messages + (self.expected - first), <int32_t> (cut - self.expected),
                       self.held.ts_recv, self.held.line)
        self.pass_held(<int32_t> (cut - first))

    cdef void place_horizon(self, uint64_t end) noexcept nogil:
        """The held messages, up to `end`, have shown the horizon: its stream offset is that of the frame's end."""
        cdef const Frame *frame = &self.held.frame
        if frame.offset >= 0 and self.horizon == end and frame.first_seq + <uint64_t> frame.count == end:
            self.horizon_offset = frame.offset + <int64_t> frame.bytes

    cdef void cut_slice(self, const Message *messages, int32_t count, int64_t ts_recv, uint32_t line) noexcept nogil:
        """What take() hands out next; out of a packet, and with numbers, unless told otherwise afterwards."""
        self.slice = messages
        self.slice_count = count
        self.slice_waited = self.slice_unsequenced = False
        self.slice_line = line
        self.slice_ts = ts_recv

    cdef void come_after(self, uint64_t first, uint64_t count, LineRecord *record) noexcept nogil:
        """Numbers below `expected`: duplicates, but for those of a gap that was given up."""
        cdef uint64_t late = self.past.given_up_in(first, count) if first < self.missing_end else 0
        record.counters[LN_DUPLICATES] += count - late
        record.counters[LN_TOO_LATE] += late

    # -- what comes next ----------------------------------------------------------------------------------------------

    cdef int take_slowly(self, Run *run) noexcept nogil:
        """take() while something is not as it should be."""
        while True:
            if self.quality_due:
                self.quality_due = False
                return TAKE_QUALITY
            if self.session_due:
                self.session_due = False
                return TAKE_SESSION
            if self.snapshot_due:
                self.snapshot_due = False
                return TAKE_SNAPSHOT
            if self.gap_due:
                self.gap_due = False
                return TAKE_GAP
            if self.recovering and self.slice_count == 0 and self.all_there():
                self.recovering = False
                self.wanted.say_over(self.expected, self.clock)
                if not self.broken:
                    self.judge(QUALITY_LIVE, REASON_NONE)
                continue
            if self.slice_count == 0 and not self.frozen and self.window.holds(self.expected):
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
            if self.mind_hole() or (self.recovery is not None and self.mind_recovery()):
                continue
            if self.end_due and self.expected >= self.end_seq and not self.frozen:
                self.end_due = False
                if self.sequence_quality == QUALITY_LIVE:
                    self.judge(QUALITY_LIVE, REASON_SESSION_ENDED)
                    self.quality_due = False
                return TAKE_END
            if self.held.step == HELD_FRAME:
                self.judge_frame()
                continue
            if self.held.step == HELD_SESSION:
                self.begin()
                continue
            if self.joined and self.horizon == self.expected and not self.frozen:
                if self.sequence_quality == QUALITY_INIT:
                    self.judge(QUALITY_LIVE, REASON_NONE)
                    self.quality_due = False
                if self.silent and self.heard:
                    self.silent = False
                    self.publish_quality()
                    if self.quality_due:
                        continue
                self.plain = not (self.silent or self.suspicion.shown or self.end_due or self.ended
                                  or self.recovering or self.resuming)
                self.slice_waited = self.slice_unsequenced = False      # the fast path relies on it
            return TAKE_NOTHING

    cdef void settle_slowly(self, int32_t taken) noexcept nogil:
        cdef int32_t left = self.slice_count - taken
        cdef int32_t i
        cdef LineRecord *record = self.record_of(self.slice_line)
        self.slice_count = 0
        self.channel.counters[CH_MESSAGES] += taken
        record.counters[LN_WON] += taken
        if left > 0:
            record.counters[LN_MALFORMED] += 1
            self.malformed.keep(&self.slice[taken], 0 if self.slice_unsequenced else self.expected + <uint64_t> taken,
                                self.slice_line)
        if self.slice_unsequenced:
            self.channel.counters[CH_UNSEQUENCED] += taken
            if left > 0:
                self.channel.counters[CH_MALFORMED] += 1
                self.slice += taken + 1
                self.slice_count = left - 1
            return
        if not self.slice_waited:
            self.filled(self.expected, taken)
        if self.next_offset >= 0:
            for i in range(taken):
                self.next_offset += 2 + <int64_t> self.slice[i].len
        self.expected += taken
        self.channel.next_seq = self.expected
        if self.slice_waited:
            self.window.took(self.expected, taken)
        if left > 0:
            self.plain = False
            self.window.spoil(self.expected)
            if record == &self.answers:
                self.wanted.spoilt(self.expected, self.clock)
            if self.slice_waited:
                self.window.remove(self.expected)
                self.hole_since = self.clock
            else:
                self.clock = self.slice_ts
                self.look_beyond(self.expected + left, self.slice_ts)
                if self.held.step != HELD_REST:         # else it follows on the slice, in the same packet
                    self.held.count = 0
                    self.held.frame.offset = -1
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
            self.horizon_offset = self.next_offset
            self.hole = False

    # -- restarts -----------------------------------------------------------------------------------------------------

    cdef int64_t offset_of_next(self, const Frame *frame, const Message *messages) noexcept nogil:
        """The stream offset of `expected`, which stands in this frame or directly behind it."""
        cdef int64_t offset = frame.offset
        cdef uint64_t i
        for i in range(self.expected - frame.first_seq):
            offset += 2 + <int64_t> messages[i].len
        return offset

    cdef bint of_another_run(self, const Frame *frame, const Message *messages) noexcept nogil:
        """Does its stream offset say that it does not follow what came before it, whatever its number?

        Told of a packet that has `expected`, or begins there; that begins at the highest number known; and of one beyond,
        when its offset leaves no room for what is between.
        """
        cdef uint64_t first = frame.first_seq
        if frame.offset < 0:
            return False
        if first <= self.expected < first + <uint64_t> frame.count or first == self.expected:
            return self.next_offset >= 0 and self.offset_of_next(frame, messages) != self.next_offset
        if first < self.horizon or self.horizon_offset < 0:
            return False
        if first == self.horizon:
            return frame.offset != self.horizon_offset
        return frame.offset - self.horizon_offset < <int64_t> (2 * (first - self.horizon))

    cdef bint begins_anew(self, const Frame *frame) noexcept nogil:
        """Sent later, by more than the skew, than a packet with numbers above its own, which has gone out or waits."""
        cdef uint64_t end = max(self.expected, self.window.high) if self.window.waiting > 0 else self.expected
        return frame.first_seq < end and self.taken_sent > 0 and frame.send_time - self.taken_sent > self.skew_ns

    cdef bint restarted(self, const Frame *frame, int64_t ts_recv, uint32_t line) noexcept nogil:
        """Does this frame show, with what was seen before, that the numbers begin anew under the same session id?

        Low is what lies below the expected number; of a heartbeat, which says how far its line has come, what lies below
        the highest known, however much of that is missing.
        """
        cdef uint64_t next_seq = frame.first_seq + <uint64_t> frame.count
        if frame.send_time > 0 and self.taken_sent > 0:
            return self.begins_anew(frame)
        if next_seq >= (self.expected if frame.kind == FRAME_DATA else self.horizon) or frame.kind == FRAME_LOGIN:
            return False
        if frame.kind == FRAME_DATA and since(ts_recv, self.agreed_at) <= RESTART_NS:
            return False
        self.suspicion.low_number(line - self.first_line, frame.kind, next_seq, ts_recv)
        self.publish_quality()
        return self.suspicion.certain(&self.line_records[self.first_line], self.lines, ts_recv, self.silence_ns)

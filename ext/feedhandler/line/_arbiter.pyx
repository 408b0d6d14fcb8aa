"""The arbiter: of all copies on all lines, each message of a channel once, in order, or reported missing.

Theory of operation
-------------------
Four layers: the channel's word (_word.pyx), what waits and the holes before it (_holes.pyx), frames and sessions
(_sequence.pyx), and here the fast path and what recovery brings.

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
hole is as old as the first message that waits behind that one. At `reorder_ns` of age it is a gap. Without recovery: the
channel's word becomes STALE, by a release store, before anything later is handed out; TAKE_GAP; `expected` goes to the
next waiting number, or to the horizon. Time is ts_recv or tick(); finish() ends all waiting. A packet that comes when the
hole is due finds it closed, even if it would have filled it: an idle turn before it would have closed it, too.

*Want of room.* Nothing that was received is lost for an open hole. What the window cannot take (numbers too far apart,
too many bytes) presses: the hole at `expected` is given up before its time (CH_WINDOW_FULL), up to what waits or to the
held messages, whichever comes first; what waits goes out; the held ones are tried again. Each turn hands out a message
or ends at the held ones, which then go out of the packet: bounded work, however far apart the numbers.

*Recovery*, where the channel has it. A hole that is due makes the word RECOVERING instead; it and all others known by then
are asked for, and nothing behind `expected` goes out until they are filled. Holes that show later are asked for when
they are as old (mind_recovery). What is asked for is told by one cursor, Wanted.end; a retransmission is cut to that
and placed like a packet of a line of its own, which has no say in the life of lines. A line's own late copy fills a hole
as well. When `expected` reaches Wanted.end nothing is missing: LIVE, ASK_OVER. A retransmission's malformed message is
asked for again, some times. What is given up in spite of all (`broken`) leaves the channel STALE while numbers flow on.

*Frozen.* Where a hole is too large to ask for, or the window full, or no server has a good copy, and a snapshot can be
had, nothing is handed out any more, and everything is kept; when there is no more room the oldest are dropped, for the
snapshot will stand for them. The control path may freeze, too. A snapshot's first piece makes a new epoch: `expected`
becomes its number N, what waits below is dropped, TAKE_SNAPSHOT clears the books. Behind its last piece holes from N on are
asked for like any other, and the channel is LIVE when there are none. A snapshot older than `expected` is refused.

*Sessions.* A frame of another session is held until the old session is closed: its holes become gaps, its recovery is
over, what waits goes out. Then `expected` is 1, TAKE_SESSION, and the held frame is accepted like any other: joined late,
it stands ahead of a hole that begins at 1. Sessions left are remembered, and never come back. Within begin() the channel
is INIT; it is LIVE when something shows that nothing before is missing, and only after the books were cleared (the take()
after TAKE_SESSION).

*Restarts under the same session id.* With send times: a packet below `expected`, or below one that waits, sent later
than the last one taken by more than the skew. With stream offsets: a packet at the expected or the highest number whose
offset is another than what came before ends at; the new run may begin wherever it likes. Without: see _suspicion.pyx. A certain restart goes the way of a new session.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from feedhandler._counters cimport (CH_ANSWERS_REFUSED, CH_MESSAGES, CH_SNAPSHOTS, CH_SPANNED, LN_DUPLICATES,
                                    LN_MESSAGES, LN_REFUSED, LN_WON)
from feedhandler._records cimport MESSAGES_MAX, RETRANSMISSION, LineRecord, Message, Packet, Run
from feedhandler.decode._decoder cimport Decoder
from feedhandler.line._holes cimport HELD_SESSION
from feedhandler.line._channel_records cimport touch
from feedhandler.line._recovery cimport (ANSWER_FREEZE, ANSWER_GIVE_UP, ANSWER_PACKET, ANSWER_SNAPSHOT, Answer,
                                         Recovery)
from feedhandler.line._sequence cimport Sequence
from feedhandler.line._suspicion cimport RESTART_NS, since
from feedhandler.session._framing cimport FRAME_DATA, Frame, Framing


cdef class Arbiter(Sequence):
    """Arbiter(lines, ...): one per channel.

    `reorder_us`: age at which a hole is a gap. `silence_ms`: STALE after so long without a packet. `skew_ms`: how much
    later than the last packet taken one below it must have been sent to be a restart. `window_messages`: places of the
    window, a power of two; `window_bytes`: room for them, 0 = 128 bytes each, rounded up to a power of two.
    `offline`: messages without numbers pass in file order, the channel STALE; live they are refused. `decoder`: says
    whether a message may wait; None = all may. `recovery`: what is missing is asked for there; None = it is given up.
    """

    def __cinit__(self, int lines=1, *, int first_line=0, int64_t reorder_us=1000, int64_t silence_ms=3000,
                  int64_t skew_ms=1000, uint32_t window_messages=8192, uint64_t window_bytes=0, bint offline=False,
                  Decoder decoder=None, Recovery recovery=None, object resyncs=None, uint64_t text_bytes=0):
        """All arguments by name, so that a wrong one is refused; the layers below, and a Splicer above, take theirs of the same."""

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
        if first == self.expected and frame.offset == self.next_offset:
            self.slice = messages
            self.slice_end = frame.offset + <int64_t> frame.bytes
            self.slice_count = frame.count
            self.slice_line = line
            self.slice_ts = ts_recv
            if frame.send_time > self.taken_sent:
                self.taken_sent = frame.send_time
            self.score.won(first, ts_recv, line)
        elif (first < self.expected and count <= self.expected - first and first >= self.missing_end
              and frame.send_time - self.taken_sent <= self.skew_ns
              and (first + count == self.expected or since(ts_recv, self.agreed_at) <= RESTART_NS)):
            record.counters[LN_DUPLICATES] += count
            self.score.came_after(first, ts_recv, line)
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
        self.next_offset = self.slice_end
        self.channel.next_seq = self.expected
        self.channel.counters[CH_MESSAGES] += taken
        self.line_records[self.slice_line].counters[LN_WON] += taken

    cdef void finish(self) noexcept nogil:
        """No packet will come any more: every hole is a gap, and what waits goes out. Then take()."""
        self.leave_fast_path()
        self.close()

    # -- what recovery brings -----------------------------------------------------------------------------------------

    cdef bint answer(self, Framing framing, Message *messages, Piece *piece) noexcept nogil:
        """The oldest answer of the control path, if there is one: False when there is not.

        `framing` reads retransmissions, `messages` has room for MESSAGES_MAX of them. Then take() until TAKE_NOTHING,
        loaded() where `piece` is one, and answered(); the answer's bytes are used until then.
        """
        cdef uint32_t length
        cdef const Answer *answer = self.recovery.look(&length)
        cdef bint timely
        cdef Packet packet
        cdef Frame frame
        piece.number = 0
        if answer == NULL:
            return False
        piece.length = length
        timely = self.joined and (answer.epoch == self.channel.epoch
                                  or (self.splicing and answer.epoch == self.splice_epoch))
        if answer.kind == ANSWER_SNAPSHOT:
            if answer.begins and not (timely and self.begin_snapshot(answer.epoch, answer.number)):
                self.refuse()
            elif self.splicing and answer.epoch == self.splice_epoch and answer.number == self.expected:
                piece.data = <const unsigned char *> (answer + 1)
                piece.number = answer.number
                piece.ends = answer.ends
        elif not timely or self.closing:
            self.refuse()
        elif answer.kind == ANSWER_FREEZE:
            self.leave_fast_path()
            self.freeze(False)
            self.suspicion.settle(self.clock)
        elif answer.kind == ANSWER_GIVE_UP:
            self.surrender()
        elif framing is None or framing.stream or self.splicing:
            self.refuse()
        else:
            packet.data = <const unsigned char *> (answer + 1)
            packet.len = length
            packet.line = RETRANSMISSION
            packet.ts_recv = self.clock
            framing.parse(&packet, &frame, messages, MESSAGES_MAX)
            self.retransmission(&frame, messages)
        return True

    cdef void answered(self) noexcept nogil:
        """The answer that answer() took has been dealt with."""
        self.recovery.took()

    cdef void refuse(self) noexcept nogil:
        self.channel.counters[CH_ANSWERS_REFUSED] += 1
        self.answers.counters[LN_REFUSED] += 1

    cdef void retransmission(self, const Frame *frame, const Message *messages) noexcept nogil:
        """Messages like those of a line, cut to what was asked for."""
        cdef uint64_t first = frame.first_seq
        cdef uint64_t count = <uint64_t> frame.count
        cdef uint64_t before = 0
        if (frame.kind != FRAME_DATA or frame.session[0] != self.session[0] or frame.session[1] != self.session[1]
                or first >= self.wanted.end or not self.recovering
                or 0 < frame.send_time <= self.left_sent):                      # of the run before the restart
            self.refuse()
            return
        if self.of_another_run(frame, messages):
            self.refuse()
            if frame.send_time <= self.in_order_sent:
                return
            self.leave_fast_path()
            self.held.frame = frame[0]
            self.held.line = RETRANSMISSION
            self.held.ts_recv = self.clock
            self.held.restart = self.held.by_offset = True  # which the lines have not shown, nor could
            self.held.step = HELD_SESSION
            self.close()
            return
        if self.begins_anew(frame):                     # of the run behind a restart to come
            self.refuse()
            return
        self.answers.counters[LN_MESSAGES] += count
        if count > self.wanted.end - first:
            self.refuse()                           # of more than was asked for, what was asked for
            count = self.wanted.end - first
        if first < self.expected:
            before = min(count, self.expected - first)
            self.answers.counters[LN_DUPLICATES] += before
        if before == count:
            return
        if self.wanted.bad_now:
            self.wanted.bad += 1
            self.wanted.bad_now = False
        self.leave_fast_path()
        self.held.frame.offset = -1
        self.held.messages = messages + before
        self.held.first = first + before
        self.held.count = <int32_t> (count - before)
        self.held.line = RETRANSMISSION
        self.held.ts_recv = self.clock
        self.place()

    cdef void surrender(self) noexcept nogil:
        """The control path has no rung left: what is missing now is given up, and the channel flows on."""
        self.leave_fast_path()
        self.wanted.surrendered = self.horizon if self.frozen else self.wanted.end
        if self.frozen:
            self.thaw()

    cdef bint begin_snapshot(self, uint32_t epoch, uint64_t number) noexcept nogil:
        """The books begin anew, as they stood before `number`. False: they are further already."""
        if number < self.expected or self.closing:
            if self.frozen:
                self.broken = self.broken or self.splicing
                self.splicing = False
                self.freeze(True)                   # a newer one, please
            return False
        self.leave_fast_path()
        self.freeze(False)
        self.splicing = True
        self.splice_epoch = epoch
        self.channel.counters[CH_SPANNED] += number - self.expected
        self.channel.epoch += 1
        self.expected = self.channel.next_seq = number
        self.next_offset = self.horizon_offset if number == self.horizon else -1
        self.window.drop_below(number)
        if self.suspicion.settling:                 # what came before may be of another run, with other messages
            self.window.drop_older(self.suspicion.settling_at)
            self.horizon = self.window.high if self.window.waiting > 0 else number
            self.horizon_offset = -1
        if self.horizon <= number:
            self.horizon = number
            self.horizon_offset = self.next_offset
        self.hole = self.horizon > number
        self.hole_since = since(self.clock, self.reorder_ns)    # old enough to be due
        self.wanted.begin(self.channel.epoch, self.session, number)
        self.snapshot_due = True
        return True

    cdef void loaded(self, const Piece *piece, bint whole) noexcept nogil:
        """The piece is in the books; not `whole`: a message of it was malformed, and the snapshot is worth nothing."""
        if not whole:
            self.splicing = False                   # still frozen, and the books not to be trusted
            self.broken = True
            self.refuse()
            self.freeze(True)
        elif piece.ends:
            self.end_snapshot()

    cdef void end_snapshot(self) noexcept nogil:
        """The books are whole up to `expected`: go on from there."""
        self.frozen = self.splicing = self.broken = False
        if self.suspicion.settling:
            self.suspicion.clear()                  # whichever run it is: the books are of the one the snapshot is of
        self.publish_quality()
        self.recovery.say_frozen(False)
        self.channel.counters[CH_SNAPSHOTS] += 1
        self.wanted.floor = 0
        self.wanted.say_over(self.expected, self.clock)
        self.ask(self.horizon)                      # of what is missing from here on

"""The turn of the wheel: each packet from receive to publish. With _delivery.pyx, which has the stages from the decoder on,
the only file that knows all of them and their order.

    receiver.poll -> framing.parse -> arbiter.offer/take -> decoder.decode -> books.apply -> publisher.publish

and, where a channel has a recovery, what that brings goes the same way from the arbiter on (take_answers).

Run to completion: a packet is published before the next is touched; there is no queue and no hand-over in between.
The loop holds no GIL, allocates nothing and takes no lock. It reads a clock after one packet in `latency_sample`,
and otherwise only when it is idle; everything else depends on the packets and their `ts_recv` alone, so the same
packets give the same events, whichever receiver brought them.
"""
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint32_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from feedhandler._counters cimport LN_BAD_PACKETS
from feedhandler._delivery cimport Delivery
from feedhandler._flags cimport fh_flag_load, fh_flag_store
from feedhandler._records cimport HISTOGRAM_RECEIVE_PUBLISH, HISTOGRAM_WIRE_RECEIVE, LINE_DOWN, MESSAGES_MAX, Packet, Run
from feedhandler._seqlock cimport fh_pause
from feedhandler._stages cimport TICK_PACKETS, WAIT_ADAPTIVE, WAIT_SPIN
from feedhandler._walk cimport (WALK_DRAIN, WALK_ENDED, WALK_FINISH, WALK_LINES, WALK_PARSE, WALK_PASSED, WALK_POLL,
                                WALK_POLLED, WALK_RELEASE, WALK_RUN, WALK_SWITCH, WALK_TICK, Step)
from feedhandler.line._arbiter cimport TAKE_NOTHING, TAKE_QUALITY, TAKE_RUN, Arbiter, Piece
from feedhandler.line._splicer cimport Splicer
from feedhandler.line._holes cimport TAKE_STANDBY, TAKE_SWITCH
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH
from feedhandler.session._framing cimport FRAME_BAD, FRAME_NONE, Frame, Framing

from feedhandler.errors import ReceiverError

cdef enum:
    BEAT_TURNS = 256
    ANSWER_BYTES = 65536        # of recovery's answers taken in one turn: packets must not wait for a snapshot
    ANSWER_LEAST = 256          # bytes that an answer counts for, however short


cdef inline int64_t _clock(int which) noexcept nogil:
    cdef timespec now
    clock_gettime(which, &now)
    return <int64_t> now.tv_sec * 1000000000 + now.tv_nsec


cdef class Shard(Delivery):
    """One hot thread's share: a receiver, its lines and channels, and the way into one segment (Stages)."""

    # -- one packet ---------------------------------------------------------------------------------------------------

    cdef void take(self, const Packet *packet) noexcept nogil:
        """One packet, from its framing to the ring."""
        cdef Frame frame
        cdef int channel = self.channel_of[packet.line]
        self.last_recv = packet.ts_recv
        while True:
            (<Framing> self.framings[packet.line]).parse(packet, &frame, self.messages, MESSAGES_MAX)
            if frame.kind == FRAME_BAD:
                self.count_bad(packet)
            elif frame.kind != FRAME_NONE:
                (<Arbiter> self.arbiters[channel]).offer(&frame, self.messages, packet.ts_recv, packet.line)
                self.drain(channel)
            if not frame.more:
                return

    cdef void count_bad(self, const Packet *packet) noexcept nogil:
        cdef uint64_t *counters = self.publisher.lines[packet.line].counters
        cdef int channel = self.channel_of[packet.line]
        counters[LN_BAD_PACKETS] += 1
        if self.spliced[channel]:           # no number will show what was in it
            (<Arbiter> self.arbiters[channel]).line_broken(packet.line, packet.ts_recv)
            self.drain(channel)

    cdef void drain(self, int channel) noexcept nogil:
        """All that the arbiter has to hand out."""
        cdef Run run
        cdef int what
        while True:
            what = (<Arbiter> self.arbiters[channel]).take(&run)
            if what == TAKE_RUN:
                self.deliver(channel, &run)
            elif what == TAKE_NOTHING:
                return
            elif what == TAKE_STANDBY:
                self.stand_by(channel, &run)
            elif what == TAKE_SWITCH:
                self.switched = 0
                while self.change_over(channel) > 0:
                    pass
            else:
                self.notice(channel, what)

    # -- what recovery brings -----------------------------------------------------------------------------------------

    cdef void take_answers(self) noexcept nogil:
        """Retransmissions and pieces of snapshots, where there are any: a bounded number of bytes of each channel."""
        cdef Piece piece
        cdef int channel
        cdef int64_t budget
        for channel in range(self.channel_count):
            if self.answer_framings[channel] == NULL or not (<Arbiter> self.arbiters[channel]).recovery.waiting():
                continue
            budget = ANSWER_BYTES
            while budget > 0 and (<Arbiter> self.arbiters[channel]).answer(
                    <Framing> self.answer_framings[channel], self.messages, &piece):
                self.drain(channel)
                if piece.number != 0:
                    (<Arbiter> self.arbiters[channel]).loaded(&piece, self.load(channel, &piece))
                    self.drain(channel)
                budget -= max(<int64_t> piece.length, <int64_t> ANSWER_LEAST)
                (<Arbiter> self.arbiters[channel]).answered()

    # -- the turn -----------------------------------------------------------------------------------------------------

    cdef int turn(self, int most=RECEIVE_BATCH) noexcept nogil:
        """Take the waiting packets from receive to publish. Packets taken, or the receiver's -errno."""
        cdef int i, n, polled
        cdef int sampled = -1
        cdef int64_t received = 0
        if self.recovers:
            self.take_answers()
        n = polled = self.receiver.poll(self.packets, most) if self.held == 0 else self.held
        self.held = 0
        if self.recorded_streams or self.splices:
            self.follow_connections()
        if n <= 0:
            return n
        if self.marks is not None:
            n = self.marks.saw(self.packets, n)
        if self.sample_every:
            if self.until_sample <= <uint32_t> n:
                sampled = <int> self.until_sample - 1
                self.until_sample = self.sample_every
                received = _clock(CLOCK_REALTIME)
            else:
                self.until_sample -= n
        for i in range(n):
            self.take(&self.packets[i])
            if i == sampled:
                self.sample(received, self.packets[i].ts_recv)
            self.until_tick -= 1
            if self.until_tick == 0:
                self.until_tick = TICK_PACKETS
                self.tick(self.last_recv)
        self.packets_taken += n
        self.receiver.release()
        return polled

    cdef void follow_connections(self) noexcept nogil:
        cdef int channel
        self.look_at_connections()
        for channel in range(self.channel_count):
            self.drain(channel)

    cdef void look_at_connections(self) noexcept nogil:
        """Of streams that were recorded, or have no numbers: another connection begins anew, and who has none brings nothing more.

        Then drain. Other live ones are looked at in tick(), and reset by the control path: here no clock passes but with
        packets.
        """
        cdef int line
        for line in range(self.line_count):
            if not (<Framing> self.framings[line]).stream:
                continue
            if not self.recorded_streams and not self.spliced[self.channel_of[line]]:
                continue
            if self.receiver.status[line].connections != self.connections[line]:
                self.connections[line] = self.receiver.status[line].connections
                if self.recorded_streams or (<Splicer> self.arbiters[self.channel_of[line]]).renews(<uint32_t> line):
                    (<Framing> self.framings[line]).reset()
                (<Arbiter> self.arbiters[self.channel_of[line]]).line_begun(line, self.last_recv)
            if self.connections[line] > 0 and self.receiver.status[line].state == LINE_DOWN:
                (<Arbiter> self.arbiters[self.channel_of[line]]).line_down(line, self.last_recv)

    cdef void sample(self, int64_t received, int64_t ts_recv) noexcept nogil:
        cdef int64_t now = _clock(CLOCK_REALTIME)
        self.publisher.record(HISTOGRAM_WIRE_RECEIVE, received - ts_recv)
        self.publisher.record(HISTOGRAM_RECEIVE_PUBLISH, now - received)

    cdef void tick(self, int64_t now) noexcept nogil:
        """Time has passed: holes may have been open for too long, lines may have fallen silent."""
        cdef int channel
        if now == INT64_MIN:
            return
        self.last_recv = now if now > self.last_recv else self.last_recv
        self.look_at_lines(now)
        for channel in range(self.channel_count):
            (<Arbiter> self.arbiters[channel]).tick(now)
            self.drain(channel)

    cdef void look_at_lines(self, int64_t now) noexcept nogil:
        """Tell the arbiters which lines are down."""
        cdef int line
        for line in range(self.line_count):
            if self.receiver.status[line].connections > 0 and self.receiver.status[line].state == LINE_DOWN:
                (<Arbiter> self.arbiters[self.channel_of[line]]).line_down(line, now)

    cdef int loop(self, bint once) noexcept nogil:
        """Turn until stop(), the end of the input, or a failure; -errno of the receiver. `once`: until it is idle."""
        cdef int n, rc
        cdef int64_t now, idle_since = 0
        while not fh_flag_load(&self.stopping):
            n = self.turn()
            if n > 0:
                idle_since = 0
                if self.until_beat == 0:
                    self.until_beat = BEAT_TURNS
                    self.publisher.beat(_clock(CLOCK_MONOTONIC))
                self.until_beat -= 1
                continue
            if n < 0:
                return n
            now = _clock(CLOCK_MONOTONIC)
            self.publisher.beat(now)
            self.tick(self.receiver.now())
            if once:
                return 0
            if self.waiting == WAIT_SPIN:
                fh_pause()
                continue
            if idle_since == 0:
                idle_since = now
            if self.waiting == WAIT_ADAPTIVE and now - idle_since < self.spin_ns:
                fh_pause()
                continue
            rc = self.receiver.wait(1000000)            # at most a millisecond, for the timers' sake
            if rc < 0:
                return rc
        return 0

    # -- the turn, taken apart: message by message ---------------------------------------------------------------------

    cdef int walk(self, Step *step) noexcept nogil:
        """turn() and finish() as a machine that stands still after each message; the stages follow each other as there."""
        cdef int n
        cdef int32_t taken
        while True:
            if self.stage == WALK_RUN:
                n = -1 if self.done == self.hand.count else self.deliver_one(
                    self.drained, &self.hand, self.done, self.live, &taken)
                if n >= 0:
                    self.done += taken
                if n < 0:
                    (<Arbiter> self.arbiters[self.drained]).settle(self.done)
                    self.stage = WALK_DRAIN
                elif n > 0:
                    return self.stepped(step, n)
            elif self.stage == WALK_DRAIN:
                n = (<Arbiter> self.arbiters[self.drained]).take(&self.hand)
                if n == TAKE_RUN:
                    self.done = 0
                    self.live = self.trusted(self.drained)
                    self.stage = WALK_RUN
                elif n == TAKE_NOTHING:
                    self.stage = self.behind
                elif n == TAKE_STANDBY:
                    self.stand_by(self.drained, &self.hand)
                elif n == TAKE_SWITCH:
                    self.switched, self.stage = 0, WALK_SWITCH
                else:
                    self.notice(self.drained, n)
                    return self.stepped(step, n != TAKE_QUALITY)
            elif self.stage == WALK_SWITCH:
                n = self.change_over(self.drained)
                if n > 0:
                    return self.stepped(step, n)
                self.stage = WALK_DRAIN
            elif self.stage == WALK_PARSE:
                self.parse(&self.packets[self.at])
            elif self.stage == WALK_PASSED:
                self.pass_packet()
            elif self.stage == WALK_TICK:
                if self.round == self.channel_count:
                    self.stage = WALK_RELEASE if self.at == self.polled else WALK_PARSE
                else:
                    (<Arbiter> self.arbiters[self.round]).tick(self.last_recv)
                    self.drain_next(WALK_TICK)
            elif self.stage == WALK_RELEASE:
                self.packets_taken += self.polled
                self.receiver.release()
                self.stage = WALK_POLL
            elif self.stage == WALK_POLL:
                n = self.receiver.poll(self.packets, RECEIVE_BATCH) if self.held == 0 else self.held
                self.held, self.polled = 0, n
                self.stage = WALK_POLLED
                if self.recorded_streams or self.splices:
                    self.look_at_connections()
                    self.round, self.stage = 0, WALK_LINES
            elif self.stage == WALK_LINES:
                if self.round == self.channel_count:
                    self.stage = WALK_POLLED
                else:
                    self.drain_next(WALK_LINES)
            elif self.stage == WALK_POLLED:
                n = self.polled
                if n == END_OF_INPUT:
                    self.round = 0
                    self.stage = WALK_FINISH
                elif n <= 0:
                    self.stage = WALK_POLL
                    return n
                else:
                    if self.marks is not None:
                        n = self.marks.saw(self.packets, n)
                    self.at, self.polled, self.stage = 0, n, WALK_PARSE if n > 0 else WALK_RELEASE
            elif self.stage == WALK_FINISH and self.round < self.channel_count:
                (<Arbiter> self.arbiters[self.round]).finish()
                self.drain_next(WALK_FINISH)
            else:
                self.stage = WALK_ENDED
                return END_OF_INPUT

    cdef int stepped(self, Step *step, int count) noexcept nogil:
        step.events, step.count, step.channel = self.events, count, self.drained
        step.first = self.publisher.head + 1 - <uint64_t> count
        return 1

    cdef void parse(self, const Packet *packet) noexcept nogil:
        """The packet in hand, or what follows of it."""
        self.last_recv = packet.ts_recv
        (<Framing> self.framings[packet.line]).parse(packet, &self.frame, self.messages, MESSAGES_MAX)
        self.stage = self.behind = WALK_PARSE if self.frame.more else WALK_PASSED
        if self.frame.kind == FRAME_BAD:
            self.count_bad(packet)
        elif self.frame.kind != FRAME_NONE:
            self.drained = self.channel_of[packet.line]
            (<Arbiter> self.arbiters[self.drained]).offer(&self.frame, self.messages, packet.ts_recv, packet.line)
            self.stage = WALK_DRAIN

    cdef void pass_packet(self) noexcept nogil:
        self.at += 1
        self.until_tick -= 1
        self.stage = WALK_RELEASE if self.at == self.polled else WALK_PARSE
        if self.until_tick == 0:
            self.until_tick = TICK_PACKETS
            self.look_at_lines(self.last_recv)
            self.round, self.stage = 0, WALK_TICK

    cdef void drain_next(self, int behind) noexcept nogil:
        """Drain channel `round`, and come back to `behind` for the next."""
        self.drained, self.round = self.round, self.round + 1
        self.stage, self.behind = WALK_DRAIN, behind

    def run(self):
        """Turn until stop() or the end of the input; the GIL is released throughout.

        Returns True at the end of the input, False after stop(). Raises ReceiverError when the receiver fails.
        """
        cdef int rc
        with nogil:
            rc = self.loop(False)
        return self._ended(rc)

    def turn_once(self):
        """Take what is waiting, without waiting for more. True at the end of the input."""
        cdef int rc
        with nogil:
            rc = self.loop(True)
        return self._ended(rc)

    def turn_many(self, int turns):
        """At most so many turns, without waiting: for a capture. True at the end of the input."""
        cdef int i, rc = 0
        with nogil:
            for i in range(turns):
                rc = self.turn()
                if rc <= 0:
                    break
        return self._ended(rc)

    def turns_before(self, int64_t ts, int turns):
        """Take packets, one by one and so many at most, as far as the first that is not earlier than `ts`: that one is
        taken next. True when it is there, or nothing is (any more)."""
        cdef int i, rc = 0
        with nogil:
            for i in range(turns):
                if self.held == 0:
                    rc = self.receiver.poll(self.packets, 1)
                    if rc <= 0:
                        if self.recorded_streams:
                            self.follow_connections()
                        break
                    self.held = rc
                if self.packets[0].ts_recv >= ts:
                    rc = 0
                    break
                rc = self.turn(1)
        return self._ended(rc) or rc == 0

    def turn_to_cut(self, int turns):
        """At most so many packets, one by one, as far as the marks' next cut. True at the end of the input."""
        cdef int i, rc = 0
        with nogil:
            for i in range(turns):
                rc = self.turn(1)
                if rc <= 0 or self.marks is not None and self.marks.due:
                    break
        return self._ended(rc)

    def turn_to_packet(self, uint64_t packets, int turns):
        """As turn_many(), but no further than until so many packets have been taken in all."""
        cdef int i, rc = 0
        with nogil:
            for i in range(turns):
                if self.packets_taken >= packets:
                    break
                rc = self.turn(<int> min(<uint64_t> RECEIVE_BATCH, packets - self.packets_taken))
                if rc <= 0:
                    break
        return self._ended(rc)

    def step(self):
        """Take one packet, if one is there. True at the end of the input."""
        cdef int rc
        with nogil:
            rc = self.turn(1)
        return self._ended(rc)

    def _ended(self, int rc):
        if rc == END_OF_INPUT:
            return True
        if rc < 0:
            raise ReceiverError(f"the receiver failed with errno {-rc}")
        return False

    def finish(self):
        """The end of a capture: holes still open become gaps, and what waited behind them is handed out."""
        cdef int channel
        for channel in range(self.channel_count):
            (<Arbiter> self.arbiters[channel]).finish()
            self.drain(channel)

    def stop(self):
        """Ask run() to return after the present turn. Safe from any thread and from a signal handler."""
        fh_flag_store(&self.stopping, 1)

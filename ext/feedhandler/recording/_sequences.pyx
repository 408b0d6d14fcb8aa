"""What passed, by its numbers: what each line lost, repeated and swapped, and what no line of a channel brought.

Theory of operation
-------------------
Nothing is decoded and nothing is put in order. A *run* of numbers is a session, or what follows a restart under the same
session id. Of each run the channel, and each of its lines, has its lowest and its highest number and the *holes* between
them: ranges that did not come, in a row of fixed room. A packet ahead of the highest number makes a hole; one below it
cuts out of the holes what it brings, and what was not missing is a duplicate. So whatever the order, the numbers missing
are those of the plain sets; no set is kept.

*Gaps.* A hole of the channel that is as old as the reorder time is a gap: it is listed, told by saw(), and told again when
the last of it has come, by whichever line. What is left is lost for good. The clock is the packets' own; when it goes back
by more than the reorder time, all holes are due.

*Runs.* A channel has the present run, the one before (a slower line may still bring its end), and a *candidate*: packets
that bring nothing, of a line that had brought the same or comes back after a pause, may be a new run under the same
session id, of a protocol that has neither send times nor stream offsets. They are placed there, too; news of the present
run empties it. `Suspicion`, the arbiter's own, says when it is certain; then the candidate is the present run, with all
that it holds, and the old run's lines are again as they were before. With send times and offsets it is certain at once,
by the arbiter's rules.

*Joined late.* Of the first run the lowest number is what came first, or what a slower line brings within a second. Every
later run begins at 1.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from feedhandler._histogram cimport fh_histogram_ceiling
from feedhandler._records cimport LINE_ENDED, LINE_UP, MESSAGES_MAX, Packet
from feedhandler.line._past cimport Past
from feedhandler.line._score cimport HISTOGRAM_WORDS, Score
from feedhandler.line._suspicion cimport Suspicion, since
from feedhandler.recording._missing cimport NOT_DUE, Hole
from feedhandler.recording._runs cimport (GAPS_KEPT, NOTABLE, SESSIONS_KEPT, ChannelSeen, GapSeen, LineRun, LineSeen,
                                          Placed, Run, Runs, SessionSeen, above, add, below, clear, later,
                                          session_text, settle_session)
from feedhandler.session._framing cimport (FRAME_BAD, FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, FRAME_NONE,
                                           FRAME_REJECTED, FRAME_UNSEQUENCED, Frame, Framing)

from feedhandler.recording import report as words

cdef enum:
    HISTOGRAM_COUNT = 0         # words of a histogram: histogram.h
    HISTOGRAM_MAXIMUM = 3
    HISTOGRAM_FIRST = 8
    BUCKETS = 1024


cdef class Sequences(Runs):
    """Sequences([("itch", "moldudp64", ["A", "B"]), ...]): the lines are numbered in this order, from 0.

    `reorder_us`: age at which a hole is a gap. `silence_ms`: a line that says nothing for so long is silent; 0 = three of
    the protocol's heartbeats. `skew_ms`: how much later than the newest packet one below it must have been sent to be a
    restart. `step_ms`: a packet that took so much longer than the one before (by its send time) shows a step of the clock.
    `framing_options`: by a channel's name, what `session.framing` takes beside the session's name.
    Raises ConfigError for a session that is not known, ValueError for a number out of range.
    """

    # -- packets ------------------------------------------------------------------------------------------------------

    cdef int saw(self, const Packet *packet) noexcept nogil:
        """One packet of a line. What it showed: SAW_..., 0 for nothing to speak of."""
        cdef LineSeen *line
        cdef ChannelSeen *seen
        cdef Frame frame
        cdef Placed placed
        cdef int64_t ts = packet.ts_recv
        cdef uint32_t channel
        cdef int silence = -1
        self.flags = self.said_count = 0
        memset(&self.last, 0, sizeof(Placed))
        if packet.line >= <uint32_t> self.lines:
            return 0
        line = &self.line_table[packet.line]
        channel = line.channel
        seen = &self.channel_table[channel]
        if line.packets == 0:
            line.first_ts = ts
        elif ts < line.last_ts:
            self.stepped(channel, packet.line, ts, since(ts, line.last_ts))
        elif since(ts, line.last_ts) > line.longest or since(ts, line.last_ts) >= seen.silence_ns:
            silence = self.passed(seen, line, ts)
        if ts >= seen.next_due:
            self.gaps_due(channel, ts, False)
        line.quiet_ns = since(ts, line.last_ts) if line.packets > 0 else 0
        line.packets += 1
        line.bytes += packet.len
        line.last_ts = ts
        self.records[packet.line].state = LINE_UP
        self.records[packet.line].last_packet = ts
        while True:
            (<Framing> self.framings[packet.line]).parse(packet, &frame, self.messages, MESSAGES_MAX)
            if frame.kind == FRAME_BAD:
                line.bad += 1
                self.say(SAW_BAD, channel, packet.line, 0, 0, 0, NULL)
            elif frame.kind == FRAME_UNSEQUENCED:
                line.unsequenced += <uint64_t> frame.count
            elif line.unnumbered:
                line.heartbeats += frame.kind == FRAME_HEARTBEAT
            elif frame.kind != FRAME_NONE and frame.kind != FRAME_REJECTED:
                memset(&placed, 0, sizeof(Placed))
                self.number(channel, packet.line, &frame, ts, &placed)
                self.last.opened += placed.opened
                self.last.ahead += placed.ahead
                if placed.own > 0:
                    self.last.own += placed.own
                    self.last.own_since = placed.own_since
                self.last.again += placed.again
                if placed.filled > 0:
                    self.last.filled += placed.filled
                    self.last.filled_since = placed.filled_since
                self.last.beyond += placed.beyond
            if not frame.more:
                break
        if silence >= 0:
            line.silent[silence].missing = self.last.opened
        if self.reorder_ns == 0 and ts >= seen.next_due:
            self.gaps_due(channel, ts, False)
        return self.flags

    cdef void pass_over(self, const Packet *packet) noexcept nogil:
        """A packet of a stream from before what is asked about: its framing has to know it, and nothing counts it."""
        cdef Frame frame
        frame.more = packet.line < <uint32_t> self.lines
        while frame.more:
            (<Framing> self.framings[packet.line]).parse(packet, &frame, self.messages, MESSAGES_MAX)

    cdef void connected(self, uint32_t line) noexcept nogil:
        """The line has a new connection: what comes next is its first byte."""
        if line < <uint32_t> self.lines:
            (<Framing> self.framings[line]).reset()

    cdef int tick(self, int64_t now) noexcept nogil:
        """Time has passed without a packet: holes may be gaps by now. As saw()."""
        cdef int channel
        self.flags = self.said_count = 0
        for channel in range(self.channel_count):
            if now >= self.channel_table[channel].next_due:
                self.gaps_due(channel, now, False)
        return self.flags

    cdef void number(self, uint32_t channel, uint32_t line, const Frame *frame, int64_t ts,
                     Placed *placed) noexcept nogil:
        """A frame with a number: which run of which session is it of?"""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef LineSeen *own = &self.line_table[line]
        cdef Run *run = &seen.runs[seen.current]
        cdef Run *before = &seen.runs[seen.previous]
        cdef uint32_t index = line - seen.first_line
        if frame.first_seq == 0 or frame.first_seq > <uint64_t> INT64_MAX or frame.send_time < 0:
            own.bad += 1
            self.say(SAW_BAD, channel, line, 0, 0, 0, NULL)
            return
        if frame.kind == FRAME_HEARTBEAT or frame.kind == FRAME_END:
            own.heartbeats += 1
        if own.first_seq == 0:
            own.first_seq = frame.first_seq
        if frame.send_time > 0:
            if (own.last_sent > 0 and frame.send_time >= own.last_sent and own.packets > 1
                    and since(since(ts, own.clock_at), since(frame.send_time, own.last_sent)) >= self.step_ns):
                self.stepped(channel, line, ts, since(since(ts, own.clock_at), since(frame.send_time, own.last_sent)))
            if frame.send_time >= own.last_sent:
                own.last_sent = frame.send_time
                own.clock_at = ts
        if not run.used:
            self.begin(channel, frame, ts, False)
        elif frame.session[0] != run.session[0] or frame.session[1] != run.session[1]:
            if before.used and frame.session[0] == before.session[0] and frame.session[1] == before.session[1]:
                own.late += 1
                self.say(SAW_LATE, channel, line, frame.first_seq, <uint64_t> frame.count, 0, frame.session)
                self.accept(channel, before, index, frame, ts, placed)
                return
            if (<Past> self.pasts[channel]).was_left(frame.session):
                own.late += 1
                self.say(SAW_LATE, channel, line, frame.first_seq, <uint64_t> frame.count, 0, frame.session)
                return
            self.begin(channel, frame, ts, False)
        elif 0 < frame.send_time < run.sent_floor:
            own.late += 1
            self.say(SAW_LATE, channel, line, frame.first_seq, <uint64_t> frame.count, 0, frame.session)
            if before.used and before.session[0] == run.session[0] and before.session[1] == run.session[1]:
                self.accept(channel, before, index, frame, ts, placed)
            return
        elif self.another_run(run, frame):
            if frame.send_time < run.top_sent:
                own.late += 1
                self.say(SAW_LATE, channel, line, frame.first_seq, <uint64_t> frame.count, 0, frame.session)
                return
            self.begin(channel, frame, ts, True)
        elif frame.send_time > 0 and run.top_sent > 0:
            if frame.first_seq < run.horizon and frame.send_time - run.top_sent > self.skew_ns:
                self.begin(channel, frame, ts, True)
        elif frame.first_seq + <uint64_t> frame.count < run.horizon and self.restarted(channel, run, index, frame, ts):
            self.accept(channel, run, index, frame, ts, placed)
            self.adopt(channel, ts)             # the candidate holds this frame, too
            return
        self.accept(channel, &seen.runs[seen.current], index, frame, ts, placed)

    cdef void accept(self, uint32_t channel, Run *run, uint32_t index, const Frame *frame, int64_t ts,
                     Placed *placed) noexcept nogil:
        """The frame is of this run: what it brings, what it shows."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef LineRun *own = &run.lines[index]
        cdef uint64_t end = frame.first_seq + <uint64_t> frame.count
        cdef uint64_t horizon = run.horizon
        cdef SessionSeen *session = &seen.session_list[run.listed]
        cdef bint current = run == &seen.runs[seen.current]
        cdef bint agrees
        self.place(channel, run, index, frame.first_seq, end, ts, placed)
        if frame.kind == FRAME_DATA:
            self.line_table[seen.first_line + index].late += placed.early > 0
            own.messages += <uint64_t> frame.count
            own.duplicates += placed.again
            own.won += placed.beyond + placed.filled
            own.filled += placed.filled
            if current and seen.lines > 1:
                if frame.first_seq >= horizon:
                    (<Score> self.scores[channel]).won(frame.first_seq, ts, index)
                elif end <= horizon and placed.filled == 0:
                    (<Score> self.scores[channel]).came_after(frame.first_seq, ts, index)
        if end >= horizon:
            run.horizon_offset = frame.offset + <int64_t> frame.bytes if frame.offset >= 0 else -1
            if frame.send_time > run.top_sent:
                run.top_sent = frame.send_time
        session.last_at = ts
        if frame.kind == FRAME_END:
            self.records[seen.first_line + index].state = LINE_ENDED
            if not session.ended:
                session.ended = True
                session.ended_at = ts
                self.say(SAW_END, channel, seen.first_line + index, frame.first_seq - 1, 0, 0, run.session)
        if not current or frame.send_time > 0:
            return
        agrees = end >= horizon or placed.filled > 0
        if agrees:
            seen.agreed_at = ts
            if (<Suspicion> self.suspicions[channel]).shown and end >= horizon:
                if (<Suspicion> self.suspicions[channel]).refuted(index, seen.lines, frame.kind, end > horizon, ts):
                    (<Suspicion> self.suspicions[channel]).clear()
            if end > horizon and not (<Suspicion> self.suspicions[channel]).suspected:
                clear(&seen.runs[seen.candidate], seen.lines)

    # -- for people and the control path ------------------------------------------------------------------------------

    def describe(self) -> str:
        """What the last saw(), feed() or tick() showed, in words, joined by "; ". "" for nothing."""
        cdef int i
        told = []
        for i in range(self.said_count):
            channel, _, names = self.channels[self.said[i].channel]
            first = self.channel_table[self.said[i].channel].first_line
            told.append(words.sentence(self.said[i].flag, channel, names[<uint32_t> (self.said[i].line - first)]
                                       if self.said[i].line >= first else names[0], self.said[i].first,
                                       self.said[i].count, self.said[i].by, session_text(self.said[i].session)))
        return "; ".join(told)

    def feed(self, uint32_t line, int64_t ts, bytes payload not None) -> int:
        """saw() one packet of line number `line`, received at `ts` (ns since the Unix epoch): the flags, 0 for nothing.

        Raises ValueError for a line that there is not.
        """
        cdef Packet packet
        if line >= <uint32_t> self.lines:
            raise ValueError(f"line {line}: there are {self.lines}")
        packet.data = <const uint8_t *> PyBytes_AS_STRING(payload)
        packet.len = <uint32_t> PyBytes_GET_SIZE(payload)
        packet.line = line
        packet.ts_recv = ts
        return self.saw(&packet)

    def begin_connection(self, uint32_t line) -> None:
        """The line, a stream, has a new connection: what comes next is its first byte."""
        if line >= <uint32_t> self.lines:
            raise ValueError(f"line {line}: there are {self.lines}")
        self.connected(line)

    def pass_time(self, int64_t now) -> int:
        """tick(): no packet has come until `now`, ns since the Unix epoch. The flags, 0 for nothing."""
        return self.tick(now)

    def report(self) -> list:
        """What has been seen so far, a ChannelReport for each channel. What is missing now counts as lost for good.

        Not while another thread is in saw().
        """
        return [self.channel_report(channel) for channel in range(self.channel_count)]

    cdef object channel_report(self, int channel):
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef uint64_t messages = seen.messages, lost = seen.lost, holes = seen.holes, bridged = seen.bridged
        cdef uint64_t gaps = seen.gaps, numbers = seen.gap_numbers
        cdef SessionSeen *session
        cdef GapSeen *gap
        cdef Run *run
        cdef Hole *hole
        cdef uint32_t i, j
        name, kind, names = self.channels[channel]
        listed = []
        for i in range(2):
            run = &seen.runs[seen.previous if i == 0 else seen.current]
            if run.used:
                settle_session(seen, run)
                messages += run.horizon - run.begun - run.missing
                lost += run.missing
                holes += run.shown
                bridged += run.bridged
        for i in range(seen.gap_count):
            gap = &seen.gap_list[i]
            listed.append(words.Gap(
                gap.first, gap.count, gap.opened, gap.closed if gap.missing == 0 else None,
                session_text(seen.session_list[gap.session].session), gap.missing,
                tuple(line for j, line in enumerate(names) if gap.lines[j >> 6] >> (j & 63) & 1)))
        for i in range(2):                      # holes that were too young when the input ended
            run = &seen.runs[seen.previous if i == 0 else seen.current]
            for j in range(run.holes.count if run.used else 0):
                hole = &run.holes.holes[j]
                if hole.place == NOT_DUE:
                    gaps += 1
                    numbers += hole.end - hole.first
                    listed.append(words.Gap(hole.first, hole.end - hole.first, hole.since, None,
                                            session_text(run.session), hole.end - hole.first, ()))
        sessions = []
        for i in range(min(seen.sessions, <uint64_t> SESSIONS_KEPT)):
            session = &seen.session_list[i]
            sessions.append(words.Session(
                session_text(session.session), session.first, session.next, session.began_at, session.last_at,
                session.ended_at if session.ended else None, session.missing, bool(session.restart)))
        lines = tuple(self.line_report(channel, i) for i in range(seen.lines))
        times = [(line.first_ts, line.last_ts) for line in lines if line.packets]
        listed.sort(key=lambda gap: (gap.closed is None, gap.opened, gap.first))
        listed = sorted(listed[-GAPS_KEPT:], key=lambda gap: (gap.opened, gap.first))
        return words.ChannelReport(
            name=name, session=kind, lines=lines, sessions=tuple(sessions), session_count=seen.sessions,
            restarts=seen.restarts, messages=messages, first_ts=min((a for a, _ in times), default=None),
            last_ts=max((b for _, b in times), default=None), holes=holes, bridged=bridged, gaps=tuple(listed),
            gap_count=gaps, gap_messages=numbers, filled=seen.filled, closed=seen.closed, lost=lost,
            unlisted=gaps - <uint64_t> len(listed), forgotten=seen.forgotten, reorder_ns=self.reorder_ns, silence_ns=seen.silence_ns)

    cdef object line_report(self, int channel, uint32_t index):
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef LineSeen *line = &self.line_table[seen.first_line + index]
        cdef LineRun sums = line.past
        cdef uint64_t low = line.before, high = line.after
        cdef Run *run
        cdef int i
        for i in range(2):
            run = &seen.runs[seen.previous if i == 0 else seen.current]
            if run.used:
                add(&sums, &run.lines[index])
                low += below(run, &run.lines[index])
                high += above(run, &run.lines[index])
        run = &seen.runs[seen.current]
        numbered = line.first_seq > 0
        next_seq = run.lines[index].next if run.used and run.lines[index].next > 0 else sums.next
        silences = [words.Silence(line.silent[i].at, later(line.silent[i].at, line.silent[i].by), line.silent[i].missing)
                    for i in range(<int> min(line.silences, <uint64_t> NOTABLE))]
        steps = [words.ClockStep(line.stepped[i].at, line.stepped[i].by)
                 for i in range(<int> min(line.steps, <uint64_t> NOTABLE))]
        return words.LineReport(
            name=self.channels[channel][2][index], packets=line.packets, bytes=line.bytes, messages=sums.messages,
            heartbeats=line.heartbeats, unsequenced=line.unsequenced, bad=line.bad, late=line.late,
            first_ts=line.first_ts if line.packets else None, last_ts=line.last_ts if line.packets else None,
            first_seq=line.first_seq if numbered else None, last_seq=next_seq - 1 if next_seq else None,
            gaps=sums.gaps, missing=sums.missing, before=low, after=high, forgotten=sums.forgotten,
            duplicates=sums.duplicates, reordered=sums.reordered, furthest=sums.far, furthest_ns=sums.far_ns,
            won=sums.won, filled=sums.filled, lead=self.lead(<int> (seen.first_line + index)),
            longest_silence=words.Silence(line.longest_at, later(line.longest_at, line.longest), 0) if line.longest else None,
            silences=tuple(sorted(silences, key=lambda silence: silence.start)), silence_count=line.silences,
            clock_steps=tuple(sorted(steps, key=lambda step: step.at)), clock_step_count=line.steps,
            clock_steps_back=line.steps_back)

    cdef object lead(self, int line):
        """By how much the line was first, where it was."""
        cdef uint64_t *histogram = self.leads + <size_t> line * HISTOGRAM_WORDS
        cdef uint64_t count = histogram[HISTOGRAM_COUNT], passed = 0
        cdef uint32_t bucket
        if count == 0:
            return None
        found = {}
        for bucket in range(<uint32_t> BUCKETS):
            passed += histogram[HISTOGRAM_FIRST + bucket]
            for part in (50, 99):
                if part not in found and passed * 100 >= count * part:
                    found[part] = min(fh_histogram_ceiling(bucket), histogram[HISTOGRAM_MAXIMUM])
        return words.Lead(count, found[50], found[99], histogram[HISTOGRAM_MAXIMUM])

"""The numbers that passed: runs, holes and gaps of each channel and its lines. Theory in _sequences.pyx."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from feedhandler._records cimport MESSAGES_MAX, Message
from feedhandler.line._past cimport Past
from feedhandler.line._score cimport HISTOGRAM_WORDS, Score
from feedhandler.line._suspicion cimport LINES_MAX, RESTART_NS, Suspicion, since
from feedhandler.recording._missing cimport (NOT_DUE, NOT_LISTED, Hole, Missing, cut, insert, ranges,
                                             reaching)
from feedhandler.session._framing cimport FRAME_DATA, FRAME_LOGIN, Frame, Framing

from feedhandler.errors import ConfigError
from feedhandler.session import framing as new_framing

cdef enum:
    HEARTBEATS_MISSED = 3       # of them make a silence
    SILENCE_MS = 3000           # where the protocol has no heartbeat
    CHANNELS_MAX = 64

cdef int64_t NEVER = INT64_MAX


cdef class Runs:
    """The room for it, and what each frame does to it."""

    def __cinit__(self, channels, *, int64_t reorder_us=1000, int64_t silence_ms=0, int64_t skew_ms=1000,
                  int64_t step_ms=1000, framing_options=None):
        cdef int i, line = 0
        cdef ChannelSeen *seen
        for name, value, most in (("reorder_us", reorder_us, 3_600_000_000), ("silence_ms", silence_ms, 86_400_000),
                                  ("skew_ms", skew_ms, 86_400_000), ("step_ms", step_ms, 86_400_000)):
            if not 0 <= value <= most:
                raise ValueError(f"{name} must be 0 to {most}, not {value}")
        self.channels = tuple((str(name), str(session), tuple(map(str, names))) for name, session, names in channels)
        self.channel_count = <int> len(self.channels)
        self.lines = sum(len(names) for _, _, names in self.channels)
        self.kept = []
        self.reorder_ns = reorder_us * 1000
        self.skew_ns = skew_ms * 1_000_000
        self.step_ns = step_ms * 1_000_000
        if not 1 <= self.channel_count <= CHANNELS_MAX:
            raise ConfigError(f"expected 1 to {CHANNELS_MAX} channels, found {self.channel_count}")
        for name, _, names in self.channels:
            if not 1 <= len(names) <= LINES_MAX:
                raise ConfigError(f"channel {name}: expected 1 to {LINES_MAX} lines, found {len(names)}")
        self.line_table = <LineSeen *> self.room(self.lines, sizeof(LineSeen))
        self.records = <LineRecord *> self.room(self.lines, sizeof(LineRecord))
        self.leads = <uint64_t *> self.room(self.lines, HISTOGRAM_WORDS * sizeof(uint64_t))
        self.framings = <void **> self.room(self.lines, sizeof(void *))
        self.channel_table = <ChannelSeen *> self.room(self.channel_count, sizeof(ChannelSeen))
        self.suspicions = <void **> self.room(self.channel_count, sizeof(void *))
        self.scores = <void **> self.room(self.channel_count, sizeof(void *))
        self.pasts = <void **> self.room(self.channel_count, sizeof(void *))
        self.messages = <Message *> self.room(MESSAGES_MAX, sizeof(Message))
        for i, (_, session, names) in enumerate(self.channels):
            seen = &self.channel_table[i]
            seen.first_line = line
            seen.lines = <uint32_t> len(names)
            self.prepare(i, session, (framing_options or {}).get(self.channels[i][0], {}), silence_ms)
            line += <int> len(names)

    def __dealloc__(self):
        cdef int i, run
        if self.channel_table != NULL:
            for i in range(self.channel_count):
                for run in range(3):
                    free(self.channel_table[i].runs[run].holes.holes)
                    free_lines(self.channel_table[i].runs[run].lines, self.channel_table[i].lines)
                free_lines(self.channel_table[i].saved, self.channel_table[i].lines)
                free(self.channel_table[i].gap_list)
                free(self.channel_table[i].session_list)
        for memory in (<size_t> self.line_table, <size_t> self.records, <size_t> self.leads, <size_t> self.framings,
                       <size_t> self.channel_table, <size_t> self.suspicions, <size_t> self.scores,
                       <size_t> self.pasts, <size_t> self.messages):
            free(<void *> <size_t> memory)

    def framing(self, int line):
        """The framing of a line."""
        if not 0 <= line < self.lines:
            raise ValueError(f"no line {line}: there are {self.lines}")
        return <Framing> self.framings[line]

    cdef void *room(self, size_t count, size_t size) except NULL:
        cdef void *memory = calloc(count, size)
        if memory == NULL:
            raise MemoryError()
        return memory

    cdef LineRun *line_runs(self, uint32_t lines) except NULL:
        cdef LineRun *made = <LineRun *> self.room(lines, sizeof(LineRun))
        cdef uint32_t line
        for line in range(lines):
            made[line].own.holes = <Hole *> calloc(LINE_HOLES, sizeof(Hole))
            made[line].own.room = LINE_HOLES
        for line in range(lines):
            if made[line].own.holes == NULL:
                free_lines(made, lines)
                raise MemoryError()
        return made

    cdef prepare(self, int channel, session, options, int64_t silence_ms):
        """A channel's framings, rooms and helpers."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef Framing framing
        cdef Suspicion suspicion = Suspicion()
        cdef Past past = Past()
        cdef Score score = Score()
        cdef Run *run
        cdef uint32_t line
        cdef int i
        score.leads = self.leads + <size_t> seen.first_line * HISTOGRAM_WORDS
        self.kept += [suspicion, past, score]
        self.suspicions[channel] = <void *> suspicion
        self.pasts[channel] = <void *> past
        self.scores[channel] = <void *> score
        for line in range(seen.first_line, seen.first_line + seen.lines):
            framing = new_framing(session, **options)
            self.kept.append(framing)
            self.framings[line] = <void *> framing
            self.line_table[line].channel = channel
            self.line_table[line].unnumbered = framing.name == "websocket"
        seen.has_send_time = framing.has_send_time
        seen.silence_ns = (silence_ms or HEARTBEATS_MISSED * framing.heartbeat_ms or SILENCE_MS) * 1_000_000
        seen.next_due = NEVER
        seen.current, seen.previous, seen.candidate = 0, 1, 2
        seen.gap_list = <GapSeen *> self.room(GAPS_KEPT, sizeof(GapSeen))
        seen.session_list = <SessionSeen *> self.room(SESSIONS_KEPT, sizeof(SessionSeen))
        for i in range(3):
            run = &seen.runs[i]
            run.holes.holes = <Hole *> self.room(CHANNEL_HOLES, sizeof(Hole))
            run.holes.room = CHANNEL_HOLES
            run.lines = self.line_runs(seen.lines)
        seen.saved = self.line_runs(seen.lines)

    # -- numbers -------------------------------------------------------------------------------------------------------

    cdef void place(self, uint32_t channel, Run *run, uint32_t index, uint64_t first, uint64_t end, int64_t ts,
                    Placed *placed) noexcept nogil:
        """Numbers [first, end) of a line, maybe none, behind which `end` is the next: into the sets of line and channel."""
        cdef LineRun *own = &run.lines[index]
        cdef Hole piece
        cdef uint64_t low, high
        memset(placed, 0, sizeof(Placed))
        if first < run.begun and not (run.late and end > first and since(ts, run.began_at) <= RESTART_NS):
            placed.early = run.begun - first        # from before the recording: no part of it
            first = run.begun
            end = max(end, first)
        low = first
        # the line's own
        if own.next == 0:
            own.begun = first
            own.began_at = ts
            own.next = end
        elif first >= own.next:
            if first > own.next:
                placed.opened = first - own.next
                insert(&own.own, own.own.count, own.next, first, ts, NOT_DUE)
                own.forgotten += own.own.dropped.end != 0
                own.missing += placed.opened
            own.next = end
        else:
            if first < own.begun:
                high = min(end, own.begun)
                if since(ts, own.began_at) <= RESTART_NS and end > first:
                    if high < own.begun:
                        insert(&own.own, 0, high, own.begun, ts, NOT_DUE)
                        own.forgotten += own.own.dropped.end != 0
                        own.missing += own.begun - high
                    placed.own += high - first
                    placed.own_since = own.began_at
                    own.far = max(own.far, own.next - first)
                    own.far_ns = max(own.far_ns, since(ts, own.began_at))
                    own.begun = first
                else:
                    placed.again += high - first
                low = high
            high = min(end, own.next)
            while low < high and cut(&own.own, low, high, &piece):
                own.forgotten += own.own.dropped.end != 0
                own.missing -= piece.end - piece.first
                placed.own += piece.end - piece.first
                placed.own_since = piece.since
                placed.again += piece.first - low
                own.far = max(own.far, own.next - piece.first)
                own.far_ns = max(own.far_ns, since(ts, piece.since))
                low = piece.end
            if low < high:
                placed.again += high - low
            if end > own.next:
                own.next = end
        own.reordered += placed.own
        # the channel's
        low = first
        if first > run.horizon:
            run.shown += 1
            placed.ahead = first - run.horizon
            run.missing += placed.ahead
            insert(&run.holes, run.holes.count, run.horizon, first, ts, NOT_DUE)
            self.no_room(channel, run)
            self.channel_table[channel].next_due = min(self.channel_table[channel].next_due, later(ts, self.reorder_ns))
        elif first < run.horizon:
            if first < run.begun:
                high = min(end, run.begun)
                if high < run.begun:
                    run.shown += 1
                    run.missing += run.begun - high
                    insert(&run.holes, 0, high, run.begun, ts, NOT_DUE)
                    self.no_room(channel, run)
                    self.channel_table[channel].next_due = min(self.channel_table[channel].next_due,
                                                               later(ts, self.reorder_ns))
                placed.filled += high - first
                placed.filled_since = run.began_at
                run.bridged += high - first
                run.begun = first
                low = high
            high = min(end, run.horizon)
            while low < high and cut(&run.holes, low, high, &piece):
                self.no_room(channel, run)
                run.missing -= piece.end - piece.first
                placed.filled += piece.end - piece.first
                placed.filled_since = piece.since
                self.came(channel, run, index, &piece, ts)
                low = piece.end
        if end > run.horizon:
            placed.beyond = end - max(first, run.horizon)
            run.horizon = end

    # -- gaps ---------------------------------------------------------------------------------------------------------

    cdef void came(self, uint32_t channel, Run *run, uint32_t index, const Hole *piece, int64_t ts) noexcept nogil:
        """A piece of a hole of the channel has come."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef uint64_t count = piece.end - piece.first
        cdef GapSeen *gap
        if piece.place == NOT_DUE:
            run.bridged += count
            return
        seen.filled += count
        if piece.place == NOT_LISTED:
            return
        gap = &seen.gap_list[piece.place]
        gap.missing -= count
        gap.lines[index >> 6] |= <uint64_t> 1 << (index & 63)
        if gap.missing == 0:
            gap.closed = ts
            seen.closed += 1
            self.say(SAW_GAP_CLOSED, channel, seen.first_line + index, gap.first, gap.count, 0,
                     seen.session_list[gap.session].session)

    cdef void no_room(self, uint32_t channel, Run *run) noexcept nogil:
        """The hole that found no room, if there is one, is a gap for good."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef Hole hole = run.holes.dropped
        if hole.end == 0 or run == &seen.runs[seen.candidate]:
            return
        seen.forgotten += 1
        if hole.place == NOT_DUE:
            self.open_gap(channel, run, &hole)
        self.say(SAW_FULL, channel, 0, hole.first, hole.end - hole.first, 0, run.session)

    cdef void gaps_due(self, uint32_t channel, int64_t now, bint all) noexcept nogil:
        """Holes that are as old as the reorder time become gaps; `all`: whatever their age."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef Run *run
        cdef Hole *hole
        cdef uint32_t i
        cdef int which
        seen.next_due = NEVER
        for which in range(2):
            run = &seen.runs[seen.previous if which == 0 else seen.current]
            if not run.used:
                continue
            for i in range(run.holes.count):
                hole = &run.holes.holes[i]
                if hole.place != NOT_DUE:
                    continue
                if all or since(now, hole.since) >= self.reorder_ns:
                    self.open_gap(channel, run, hole)
                else:
                    seen.next_due = min(seen.next_due, later(hole.since, self.reorder_ns))

    cdef void open_gap(self, uint32_t channel, Run *run, Hole *hole) noexcept nogil:
        """The hole is a gap: listed, where there is room, in the place of one that is closed."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef GapSeen *gap
        cdef uint32_t i = seen.gap_count
        seen.gaps += 1
        seen.gap_numbers += hole.end - hole.first
        self.say(SAW_GAP_OPENED, channel, seen.first_line, hole.first, hole.end - hole.first, hole.since, run.session)
        if i == GAPS_KEPT:
            for i in range(GAPS_KEPT + 1):
                if i == GAPS_KEPT or seen.gap_list[i].missing == 0:
                    break
        else:
            seen.gap_count += 1
        if i == GAPS_KEPT:
            hole.place = NOT_LISTED
            return
        hole.place = i
        gap = &seen.gap_list[i]
        memset(gap, 0, sizeof(GapSeen))
        gap.session = run.listed
        gap.first = hole.first
        gap.count = gap.missing = hole.end - hole.first
        gap.opened = hole.since

    # -- runs ---------------------------------------------------------------------------------------------------------

    cdef bint another_run(self, Run *run, const Frame *frame) noexcept nogil:
        """Does its stream offset say that the frame does not follow what came before, whatever its number?"""
        cdef int64_t offset = frame.offset
        cdef uint64_t i
        if offset < 0 or run.horizon_offset < 0:
            return False
        if frame.first_seq > run.horizon:
            return offset - run.horizon_offset < <int64_t> (2 * (frame.first_seq - run.horizon))
        if frame.first_seq + <uint64_t> frame.count < run.horizon:
            return False
        for i in range(run.horizon - frame.first_seq):
            offset += 2 + <int64_t> self.messages[i].len
        return offset != run.horizon_offset

    cdef bint restarted(self, uint32_t channel, Run *run, uint32_t index, const Frame *frame,
                        int64_t ts) noexcept nogil:
        """A frame below the highest number, of a protocol without send times. Do the numbers begin anew, for certain?"""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef Run *candidate = &seen.runs[seen.candidate]
        cdef LineRun *own = &run.lines[index]
        cdef LineRun *new = &candidate.lines[index]
        cdef uint64_t end = frame.first_seq + <uint64_t> frame.count
        cdef bint agreed = since(ts, seen.agreed_at) <= RESTART_NS
        cdef Placed placed
        if frame.kind == FRAME_LOGIN or frame.offset >= 0:
            return False
        if frame.kind == FRAME_DATA and (missing_any(&run.holes, frame.first_seq, end) or (
                agreed and new.next == 0 and own.next > 0 and not known(own, frame.first_seq, end, ts)
                and self.line_table[seen.first_line + index].quiet_ns <= RESTART_NS)):
            return False                        # it brings something; or it is the usual copy of a slower line
        if not candidate.used:
            candidate.used = True
            candidate.session[0] = run.session[0]
            candidate.session[1] = run.session[1]
            candidate.begun = candidate.horizon = frame.first_seq
            candidate.began_at = ts
            candidate.late = True
            candidate.horizon_offset = -1
        if new.next == 0:
            copy(&seen.saved[index], own)
        self.place(channel, candidate, index, frame.first_seq, end, ts, &placed)
        if frame.kind == FRAME_DATA:
            new.messages += <uint64_t> frame.count
            new.duplicates += placed.again
            new.won += placed.beyond + placed.filled
            new.filled += placed.filled
            if agreed:
                return False
        (<Suspicion> self.suspicions[channel]).low_number(index, frame.kind, end, ts)
        return (<Suspicion> self.suspicions[channel]).certain(&self.records[seen.first_line], <int> seen.lines, ts,
                                                              seen.silence_ns)

    cdef void begin(self, uint32_t channel, const Frame *frame, int64_t ts, bint restart) noexcept nogil:
        """The frame is the first of a session, or of a new run of the present one."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef Run *old = &seen.runs[seen.current]
        cdef Run *run = old
        if old.used:
            if not restart:
                (<Past> self.pasts[channel]).leave(old.session)
            self.retire(seen, &seen.runs[seen.previous])
            seen.current, seen.previous = seen.previous, seen.current
            run = &seen.runs[seen.current]
        run.used = True
        run.late = old == run                   # the first of all
        run.session[0] = frame.session[0]
        run.session[1] = frame.session[1]
        run.begun = run.horizon = frame.first_seq if run.late else 1
        run.began_at = ts
        run.horizon_offset = -1
        if restart and old.top_sent > 0:
            run.sent_floor = min(later(old.top_sent, self.skew_ns), frame.send_time)
        self.announce(channel, ts, restart)

    cdef void adopt(self, uint32_t channel, int64_t ts) noexcept nogil:
        """The candidate is the present run, for certain: what its packets repeated of the old one were no duplicates."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef Run *old = &seen.runs[seen.current]
        cdef Run *run = &seen.runs[seen.candidate]
        cdef uint32_t i
        self.retire(seen, &seen.runs[seen.previous])
        seen.current, seen.previous, seen.candidate = seen.candidate, seen.current, seen.previous
        for i in range(seen.lines):
            if run.lines[i].next > 0:
                copy(&old.lines[i], &seen.saved[i])
        if run.begun > 1:
            run.missing += run.begun - 1
            run.shown += 1
            insert(&run.holes, 0, 1, run.begun, run.began_at, NOT_DUE)
            run.begun = 1
        run.late = False
        self.announce(channel, run.began_at, True)
        self.no_room(channel, run)
        seen.next_due = ts

    cdef void announce(self, uint32_t channel, int64_t ts, bint restart) noexcept nogil:
        """The present run has begun: it is listed and told, and there is nothing to suspect any more."""
        cdef ChannelSeen *seen = &self.channel_table[channel]
        cdef Run *run = &seen.runs[seen.current]
        cdef SessionSeen *listed
        run.listed = <int64_t> min(seen.sessions, <uint64_t> (SESSIONS_KEPT - 1))
        listed = &seen.session_list[run.listed]
        memset(listed, 0, sizeof(SessionSeen))
        listed.session[0] = run.session[0]
        listed.session[1] = run.session[1]
        listed.began_at = listed.last_at = ts
        listed.restart = restart
        seen.sessions += 1
        seen.restarts += restart
        seen.agreed_at = ts
        clear(&seen.runs[seen.candidate], seen.lines)
        (<Suspicion> self.suspicions[channel]).clear()
        (<Score> self.scores[channel]).begin()
        self.say(SAW_RESTART if restart else SAW_SESSION, channel, seen.first_line, run.begun, 0, 0, run.session)

    cdef void retire(self, ChannelSeen *seen, Run *run) noexcept nogil:
        """The run is over: its sums go to those of the day."""
        cdef LineRun *line
        cdef LineSeen *own
        cdef uint32_t i
        if run.used:
            settle_session(seen, run)
            seen.messages += run.horizon - run.begun - run.missing
            seen.lost += run.missing
            seen.holes += run.shown
            seen.bridged += run.bridged
            for i in range(seen.lines):
                line = &run.lines[i]
                own = &self.line_table[seen.first_line + i]
                own.before += below(run, line)
                own.after += above(run, line)
                add(&own.past, line)
        clear(run, seen.lines)

    # -- time ---------------------------------------------------------------------------------------------------------

    cdef int passed(self, ChannelSeen *seen, LineSeen *line, int64_t ts) noexcept nogil:
        """The line was quiet for long: its place in the list of silences; -1: none."""
        cdef int64_t by = since(ts, line.last_ts)
        cdef int at
        if by > line.longest:
            line.longest = by
            line.longest_at = line.last_ts
        if by < seen.silence_ns:
            return -1
        at = note(line.silent, line.silences, line.last_ts, by)
        line.silences += 1
        return at

    cdef void stepped(self, uint32_t channel, uint32_t line, int64_t ts, int64_t by) noexcept nogil:
        """The clock that stamps the line's packets was set."""
        cdef LineSeen *own = &self.line_table[line]
        note(own.stepped, own.steps, ts, by)
        own.steps += 1
        own.steps_back += by < 0
        self.say(SAW_CLOCK, channel, line, 0, 0, by, NULL)
        if by < -self.reorder_ns:
            self.gaps_due(channel, ts, True)

    cdef void say(self, int flag, uint32_t channel, uint32_t line, uint64_t first, uint64_t count, int64_t by,
                  const uint64_t *session) noexcept nogil:
        """What this packet showed, for the answer of saw() and the words of describe()."""
        cdef Said *said
        self.flags |= flag
        if self.said_count == SAID_MAX:
            return
        said = &self.said[self.said_count]
        self.said_count += 1
        said.flag = flag
        said.channel = channel
        said.line = line
        said.first = first
        said.count = count
        said.by = by
        said.session[0] = session[0] if session != NULL else 0
        said.session[1] = session[1] if session != NULL else 0


cdef bint missing_any(const Missing *missing, uint64_t first, uint64_t end) noexcept nogil:
    """Is any of [first, end) missing?"""
    cdef uint32_t at = reaching(missing, first)
    return at < missing.count and missing.holes[at].first < end


cdef bint known(const LineRun *own, uint64_t first, uint64_t end, int64_t ts) noexcept nogil:
    """Would the line bring nothing new with [first, end)?"""
    if end > own.next or (first < own.begun and since(ts, own.began_at) <= RESTART_NS):
        return False
    return not missing_any(&own.own, first, end)


cdef void free_lines(LineRun *table, uint32_t lines) noexcept:
    cdef uint32_t line
    if table != NULL:
        for line in range(lines):
            free(table[line].own.holes)
    free(table)


cdef void copy(LineRun *to, const LineRun *what) noexcept nogil:
    cdef Hole *room = to.own.holes
    to[0] = what[0]
    to.own.holes = room
    memcpy(room, what.own.holes, what.own.count * sizeof(Hole))


cdef void clear(Run *run, uint32_t lines) noexcept nogil:
    """As new, but for its rooms."""
    cdef Missing rooms = run.holes
    cdef LineRun *table = run.lines
    cdef uint32_t i
    if not run.used:
        return
    memset(run, 0, sizeof(Run))
    rooms.count = 0
    run.holes = rooms
    run.lines = table
    for i in range(lines):
        rooms = table[i].own
        rooms.count = 0
        memset(&table[i], 0, sizeof(LineRun))
        table[i].own = rooms


cdef void settle_session(ChannelSeen *seen, const Run *run) noexcept nogil:
    cdef SessionSeen *session = &seen.session_list[run.listed]
    session.first = run.begun
    session.next = run.horizon
    session.missing = run.missing


cdef uint64_t below(const Run *run, const LineRun *line) noexcept nogil:
    """Numbers of the run below the line's first."""
    return line.begun - run.begun if line.next > 0 else 0


cdef uint64_t above(const Run *run, const LineRun *line) noexcept nogil:
    """Numbers of the run above the line's last; all of them, if it had none."""
    return run.horizon - line.next if line.next > 0 else run.horizon - run.begun


cdef void add(LineRun *sums, const LineRun *line) noexcept nogil:
    sums.missing += line.missing
    sums.gaps += line.gaps + line.forgotten + ranges(&line.own)
    sums.forgotten += line.forgotten
    sums.messages += line.messages
    sums.duplicates += line.duplicates
    sums.reordered += line.reordered
    sums.far = max(sums.far, line.far)
    sums.far_ns = max(sums.far_ns, line.far_ns)
    sums.won += line.won
    sums.filled += line.filled
    if line.next > 0:
        sums.next = line.next


cdef int note(Notable *list, uint64_t count, int64_t at, int64_t by) noexcept nogil:
    """Keep it among the largest so far, `count` in number: its place, or -1."""
    cdef int place = <int> min(count, <uint64_t> NOTABLE)
    cdef int i
    if place == NOTABLE:
        place = 0
        for i in range(1, NOTABLE):
            if size_of(list[i].by) < size_of(list[place].by):
                place = i
        if size_of(by) <= size_of(list[place].by):
            return -1
    list[place].at = at
    list[place].by = by
    list[place].missing = 0
    return place


cdef inline uint64_t size_of(int64_t by) noexcept nogil:
    return <uint64_t> by if by >= 0 else 0 - <uint64_t> by


cdef str session_text(const uint64_t *session):
    """The name of a session for people: without the blanks around it."""
    return PyBytes_FromStringAndSize(<const char *> session, 16).decode("latin-1").strip("\0 ")

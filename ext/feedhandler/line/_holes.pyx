"""Messages that wait, holes before them, and what becomes of holes: filled, asked for, given up. Theory in _arbiter.pyx."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from feedhandler._counters cimport (CH_GAPS, CH_LOST, CH_MALFORMED, CH_MISSING, CH_RECOVERED, CH_WINDOW_FULL,
                                    LN_DUPLICATES, LN_MALFORMED, LN_TOO_LATE)
from feedhandler._records cimport (QUALITY_INIT, QUALITY_RECOVERING, QUALITY_STALE, REASON_GAP, REASON_JOINED_LATE,
                                   LineRecord, Message)
from feedhandler.decode._decoder cimport Decoder
from feedhandler.line._past cimport Past
from feedhandler.line._recovery cimport Recovery
from feedhandler.line._sample cimport Sample
from feedhandler.line._suspicion cimport since
from feedhandler.line._wanted cimport BAD_ANSWERS, Wanted
from feedhandler.line._window cimport WINDOW_FULL, Window
from feedhandler.line._word cimport Word

cdef enum:
    AVERAGE_MESSAGE = 128       # bytes of the window for each place, unless told


cdef class Holes(Word):
    def __cinit__(self, int lines=1, *, int64_t reorder_us=1000, uint32_t window_messages=8192, uint64_t window_bytes=0,
                  Decoder decoder=None, Recovery recovery=None, **_):
        if not 0 <= reorder_us <= 86_400_000:
            raise ValueError(f"reorder_us must be 0 to 86400000, not {reorder_us}")
        if window_bytes == 0:
            window_bytes = max(AVERAGE_MESSAGE * window_messages, 1 << 18)
        self.window = Window(window_messages, 1 << (<int> (window_bytes - 1)).bit_length())
        self.past = Past()
        self.malformed = Sample()
        self.reorder_ns = reorder_us * 1000
        self.decoder = decoder
        self.recovery = recovery
        self.wanted = Wanted()
        self.wanted.recovery = recovery
        self.expected = self.horizon = 1
        self.next_offset = self.horizon_offset = -1
        self.channel.next_seq = 1
        self.wanted.begin(0, self.session, 1)

    # -- what waits ----------------------------------------------------------------------------------------------------

    cdef void look_beyond(self, uint64_t number, int64_t ts_recv) noexcept nogil:
        """All numbers below this one exist, and `expected` is not at hand: a hole, if there was none."""
        if number > self.horizon:
            self.horizon = number
            self.horizon_at = ts_recv
            self.horizon_offset = -1
        if not self.hole:
            self.hole = True
            self.hole_since = ts_recv

    cdef void pass_held(self, int32_t count) noexcept nogil:
        """The first `count` of the held messages have found their places."""
        self.held.messages += count
        self.held.first += <uint64_t> count
        self.held.count -= count
        self.held.step = HELD_REST if self.held.count > 0 else HELD_NOTHING

    cdef int32_t keep(self) noexcept nogil:
        """Let the held messages wait in the window, all above `expected`. How many, until there was no room."""
        cdef LineRecord *record = self.record_of(self.held.line)
        cdef uint64_t number = self.held.first
        cdef int32_t i
        for i in range(self.held.count):
            if self.good(&self.held.messages[i], number, record):
                if self.window.put(number, &self.held.messages[i], self.held.ts_recv, self.held.line,
                                   self.expected) == WINDOW_FULL:
                    return i
                self.filled(number, 1)
            number += 1
        return self.held.count

    cdef void keep_newest(self) noexcept nogil:
        """While frozen: the held messages wait, and where there is no room the oldest of all are dropped for them."""
        cdef LineRecord *record = self.record_of(self.held.line)
        cdef uint64_t number = self.held.first
        cdef int32_t i
        for i in range(self.held.count):
            if number < self.wanted.floor:
                record.counters[LN_TOO_LATE] += 1
            elif self.good(&self.held.messages[i], number, record):
                while self.window.put(number, &self.held.messages[i], self.held.ts_recv, self.held.line,
                                      max(self.expected, self.wanted.floor)) == WINDOW_FULL:
                    self.wanted.floor = number + 1               # this one, when it is itself the oldest
                    if self.window.waiting > 0 and self.window.low < number:
                        self.wanted.floor = self.window.low + 1
                        self.window.remove(self.window.low)
                        self.channel.counters[CH_MISSING] += self.wanted.went(self.wanted.floor - 1)
                    self.wanted.dropped += 1
                    self.channel.counters[CH_LOST] += 1
                    if self.wanted.floor > number:
                        break
                else:
                    self.filled(number, 1)
            number += 1
        self.pass_held(self.held.count)

    cdef bint good(self, const Message *message, uint64_t number, LineRecord *record) noexcept nogil:
        """May it wait: no other copy does, and it is no malformed one."""
        if self.window.holds(number):
            record.counters[LN_DUPLICATES] += 1
            return False
        if self.decoder is None or self.decoder.valid(message.data, message.len):
            return True
        record.counters[LN_MALFORMED] += 1
        self.malformed.keep(message, number, self.held.line)
        self.window.spoil(number)
        if record == &self.answers:
            self.wanted.spoilt(number, self.clock)
        return False

    cdef void filled(self, uint64_t first, uint64_t count) noexcept nogil:
        """Numbers that were missing are there: were they asked for?"""
        if self.recovering:
            self.channel.counters[CH_RECOVERED] += self.wanted.came(first, count)

    # -- holes, gaps, recovery -----------------------------------------------------------------------------------------

    cdef bint gap_is_due(self) noexcept nogil:
        if not self.hole or self.frozen:
            return False
        if self.clock < self.hole_since:            # the clock was set back: count from here
            self.hole_since = self.clock
        return (self.pressed or self.closing or self.expected < self.wanted.surrendered
                or since(self.clock, self.hole_since) >= self.reorder_ns)

    cdef bint mind_hole(self) noexcept nogil:
        """The hole at `expected`, when it is due: ask for it, or give it up. True: there is something to tell."""
        if not self.gap_is_due():
            return False
        if (self.recovery is None or self.closing or self.pressed or self.expected < self.wanted.surrendered):
            self.give_up()
            return True
        if self.expected >= self.wanted.end:
            self.ask(self.horizon)
            if not self.frozen and self.expected >= self.wanted.end:         # too large
                self.give_up()
                return True
        if self.expected >= self.wanted.told:
            self.tell_gap(self.hole_end())
        return self.gap_due

    cdef bint mind_recovery(self) noexcept nogil:
        """What recovery has to do when nothing can be handed out. True: there is something to tell."""
        if self.recovering and not self.frozen:
            if self.wanted.bad > BAD_ANSWERS:            # no server has a good copy
                self.wanted.bad = 0
                if self.recovery.snapshots:
                    self.freeze(True)
                else:
                    self.wanted.surrendered = self.wanted.end
                return True
            if self.wanted.ripening > self.wanted.end:  # more holes, perhaps: asked for when they are old enough
                self.wanted.ripening_since = min(self.wanted.ripening_since, self.clock)
                if since(self.clock, self.wanted.ripening_since) >= self.reorder_ns:
                    self.ask(self.wanted.ripening)
                    if self.frozen:
                        return True
            if self.horizon > self.wanted.end and self.wanted.ripening <= self.wanted.end:
                self.wanted.ripening = self.horizon
                self.wanted.ripening_since = self.clock
        self.wanted.flush(self.window, self.expected, self.clock)
        return False

    cdef bint all_there(self) noexcept nogil:
        """Nothing that was asked for is missing any more, whether or not it has been handed out."""
        return (not self.frozen and self.expected >= self.wanted.surrendered
                and (self.wanted.open == 0 or self.expected >= self.wanted.end))

    cdef uint64_t hole_end(self) noexcept nogil:
        return self.window.low if self.window.waiting > 0 else self.horizon

    cdef void ask(self, uint64_t to) noexcept nogil:
        """Ask for all that is missing below `to`; where a hole is too large, a snapshot is wanted."""
        self.wanted.ask(self.window, self.expected, to, self.channel.counters)
        if self.wanted.end > self.expected:
            self.recover()
        if self.wanted.end < to and self.recovery.snapshots:
            self.freeze(True)

    cdef void recover(self) noexcept nogil:
        """The channel's word while something is asked for. What was lost before stays lost: then it is STALE."""
        self.recovering = True
        if self.silent and self.heard:
            self.silent = False
        if self.broken:
            self.publish_quality()
        else:
            self.judge(QUALITY_RECOVERING, self.gap_reason())

    cdef uint32_t gap_reason(self) noexcept nogil:
        if self.sequence_quality == QUALITY_INIT or self.sequence_reason == REASON_JOINED_LATE:
            return REASON_JOINED_LATE
        return REASON_GAP

    cdef void tell_gap(self, uint64_t end) noexcept nogil:
        """[expected, end) did not come in time. The channel's word says so already."""
        self.gap_first = self.expected
        self.gap_count = end - self.expected
        self.wanted.told = end
        self.gap_due = True
        self.quality_due = False                    # the gap's own notice says it

    cdef void give_up(self) noexcept nogil:
        """The hole at `expected` is a gap for good: STALE first, then go on behind it."""
        cdef uint64_t end = self.hole_end()
        cdef uint64_t asked, dropped
        if self.pressed:
            self.pressed = False
            end = min(end, self.held.first)
            if not self.gap_is_due():
                self.channel.counters[CH_WINDOW_FULL] += 1
        self.broken = True
        if self.sequence_quality != QUALITY_STALE:
            self.judge(QUALITY_STALE, self.gap_reason())
        self.tell_gap(end)
        self.missing_end = end
        self.past.give_up(self.gap_first, self.gap_count)
        asked = self.wanted.lost(self.gap_first, self.gap_count)
        dropped = min(self.wanted.dropped, self.gap_count)
        self.wanted.dropped -= dropped
        self.channel.counters[CH_GAPS] += asked == 0
        self.channel.counters[CH_MISSING] += self.gap_count - asked
        self.channel.counters[CH_LOST] += self.gap_count - dropped
        self.channel.counters[CH_MALFORMED] += self.window.spoilt_in(self.gap_first, self.gap_count)
        self.expected = end
        self.channel.next_seq = end
        self.next_offset = self.horizon_offset if end == self.horizon else -1
        self.hole = self.horizon > end

    cdef void freeze(self, bint wanted) noexcept nogil:
        """Hand nothing out and keep everything, until a snapshot comes; `wanted`: ask for one."""
        cdef uint64_t end = self.hole_end()
        cdef bint broken = self.broken
        self.frozen = True
        self.broken = False                         # the snapshot will mend that: RECOVERING
        self.recover()
        self.broken = broken
        self.recovery.say_frozen(True)
        if wanted:
            self.wanted.ask_snapshot(self.expected, end - self.expected, self.clock)
            if self.hole and self.expected >= self.wanted.told:
                self.tell_gap(end)

    cdef void thaw(self) noexcept nogil:
        """Hand out again, without a snapshot, or behind one that was not finished."""
        self.frozen = False
        self.wanted.floor = 0
        self.recovery.say_frozen(False)
        self.broken = self.broken or self.splicing
        self.splicing = False
        if self.broken:
            self.judge(QUALITY_STALE, self.gap_reason())

    # -- the end of a recording ----------------------------------------------------------------------------------------

    cdef bint present(self) noexcept nogil:
        """All that the live lines had brought a moment ago is in: is the channel whole to the present?

        It is when a live line has shown a number that agrees, and nothing below is missing; or when its session has ended.
        True from then on: it may be LIVE, and is what the numbers say. See resume().
        """
        if self.resuming and (self.heard or self.ended) and self.horizon <= self.expected and not self.frozen:
            self.catching_up = self.resuming = False
            self.publish_quality()
        return not self.catching_up

    cdef void tick(self, int64_t now) noexcept nogil:
        Word.tick(self, now)
        if self.recovery is not None:
            self.wanted.flush(self.window, self.expected, self.clock)

"""The channel's word, and what changes it besides numbers: silence of all lines, loss of all connections, suspicion.

What the numbers say is one thing (`sequence_quality`); a channel on which nothing comes, or whose numbers may have begun
anew, is STALE whatever they say. The word is stored by release before anything later is handed out, so who has read a
later event finds it.
"""
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t
from feedhandler._records cimport (LINE_DOWN, LINE_SILENT, LINE_UP, QUALITY_INIT, QUALITY_LIVE, QUALITY_RECOVERING, QUALITY_STALE,
                                   REASON_CATCHING_UP, REASON_LINE_DOWN, REASON_RESTART, REASON_SILENT, REASON_START,
                                   ChannelRecord, Histogram, LineRecord)
from feedhandler.line._channel_records cimport Records
from feedhandler.line._score cimport Score
from feedhandler.line._suspicion cimport LINES_MAX, Suspicion, since

cdef extern from "seqlock.h" nogil:
    void fh_store32_release(uint32_t *p, uint32_t v)


cdef class Word:
    def __cinit__(self, int lines=1, *, int first_line=0, int64_t silence_ms=3000, **_):
        if lines < 1 or first_line < 0 or first_line + lines > LINES_MAX:
            raise ValueError(f"lines {first_line} to {first_line + lines - 1}: a shard has lines 0 to {LINES_MAX - 1}")
        if not 1 <= silence_ms <= 86_400_000:
            raise ValueError(f"silence_ms must be 1 to 86400000, not {silence_ms}")
        self.first_line, self.lines = first_line, lines
        self.silence_ns = silence_ms * 1_000_000
        self.suspicion = Suspicion()
        self.listening = INT64_MIN
        self.own = Records(first_line, lines)
        self.channel = self.own.channel
        self.line_records = self.own.lines
        self.score = Score()
        self.score.leads = self.own.leads
        self.quality = self.sequence_quality = self.channel.quality = QUALITY_INIT
        self.reason = self.sequence_reason = self.channel.reason = REASON_START

    cdef void bind(self, ChannelRecord *channel, LineRecord *lines, Histogram *leads) noexcept:
        """Write into these records from now on; what was written before is carried over. Names are left alone.

        `leads`: histograms of the shard's lines, which begin empty.
        """
        self.own.carry_over(self.channel, self.line_records, channel, lines)
        self.channel = channel
        self.line_records = lines
        self.score.leads = <uint64_t *> leads

    cdef void tick(self, int64_t now) noexcept nogil:
        """Time has passed, to `now` ns since the Unix epoch. Then take(), if only for the holes that are due."""
        cdef LineRecord *record
        cdef int line
        cdef bint up = False
        if now == INT64_MIN:
            return
        self.clock = now
        self.agreed_at = min(self.agreed_at, now)           # the clock was set back: count from here
        self.listening = min(self.listening, now)
        for line in range(self.first_line, self.first_line + self.lines):
            record = &self.line_records[line]
            record.last_packet = min(record.last_packet, now)
            if (record.state == LINE_UP
                    and since(now, max(record.last_packet, self.listening)) >= self.silence_ns):
                record.state = LINE_SILENT
            up = up or record.state == LINE_UP
        if not up and not self.silent:
            self.fall_silent(REASON_SILENT)

    def catch_up(self):
        """What comes from now on is a recording: the channel is RECOVERING, CATCHING_UP where it would be LIVE.

        Before the shard runs. It ends with resume() and then present(), which the receiver of the recording says.
        """
        self.catching_up = True
        self.publish_quality()

    def go_live(self, int64_t now):
        """resume(), for tests: then take(), with the next packet."""
        self.resume(now)

    cdef void resume(self, int64_t now) noexcept nogil:
        """The recording is over: what comes next was received live, by lines opened at `now` ns since the Unix epoch."""
        self.leave_fast_path()
        self.resuming = True
        self.heard = False
        self.listening = now

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

    cdef void line_begun(self, uint32_t line, int64_t now) noexcept nogil:
        """What the line brings from now on is of another connection. Then take(). Numbers show what that means: nothing."""

    cdef void line_broken(self, uint32_t line, int64_t now) noexcept nogil:
        """A frame of the line was refused. Then take(). Numbers show what was in it: nothing."""

    cdef void book_lost(self, uint32_t instrument, uint8_t reason, uint32_t line) noexcept nogil:
        """The books found this one to be wrong, or the standby book of a line. Then take(). One word for all: nothing."""

    cdef void leave_fast_path(self) noexcept nogil:
        self.plain = False

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
        """The channel's word: what the numbers say, unless silence or a suspicion is worse, or it is of the past."""
        cdef uint32_t quality = self.sequence_quality
        cdef uint32_t reason = self.sequence_reason
        if quality != QUALITY_INIT and (self.suspicion.suspected or self.silent):
            quality = QUALITY_STALE
            reason = REASON_RESTART if self.suspicion.suspected else self.silent_reason
        if self.catching_up and quality == QUALITY_LIVE:
            quality = QUALITY_RECOVERING
            reason = REASON_CATCHING_UP
        if quality == self.quality and reason == self.reason:
            return
        self.quality = quality
        self.reason = reason
        self.channel.reason = reason
        self.channel.since = self.clock
        fh_store32_release(&self.channel.quality, quality)      # before anything later is handed out
        self.quality_due = True

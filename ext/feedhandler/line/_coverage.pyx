"""What the connections of a JSON channel cover, book by book; what becomes of a book that none covers; what is wished for.

The lower half of a Splicer, whose theory stands in _splicer.pyx.
"""
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from feedhandler._counters cimport CH_GAPS, CH_MISSING, CH_RESYNCS, CH_SWITCHES
from feedhandler._records cimport (LINE_UP, NO_LINE, QUALITY_LIVE, QUALITY_STALE, REASON_CATCHING_UP, REASON_GAP, REASON_LINE_DOWN, REASON_NONE,
                                   REASON_SNAPSHOT, LineRecord)
from feedhandler.decode._text cimport RULE_SNAPSHOT_FIRST, RULE_STAMPS, TextDecoder
from feedhandler.line._arbiter cimport Arbiter
from feedhandler.line._holes cimport TAKE_INSTRUMENT, TAKE_SWITCH
from feedhandler.line._resyncs cimport RESYNC_OVER, RESYNC_SNAPSHOT, RESYNC_SUBSCRIBE, Resyncs
from feedhandler.line._suspicion cimport since
from feedhandler.line._texts cimport Text, Texts
from feedhandler.line._trades cimport Trades
from feedhandler.line._word cimport Word

cdef enum:
    TEXT_BYTES = 16777216       # of texts that wait, where nothing else is said


cdef class Coverage(Arbiter):
    def __cinit__(self, int lines=1, *, int first_line=0, TextDecoder decoder=None, Resyncs resyncs=None,
                  uint64_t text_bytes=0, **_):
        cdef uint32_t i
        if decoder is None or lines < 2:
            raise ValueError("a splicer needs the channel's text decoder, a line of data and the control line")
        self.texts_decoder = decoder
        self.rule = decoder.rule
        self.resyncs = resyncs
        self.instruments = decoder.instruments.capacity
        self.held_texts = Texts(self.instruments, text_bytes if text_bytes else <uint64_t> TEXT_BYTES)
        self.lines = lines - 1
        self.trades = Trades(<uint32_t> self.lines, self.instruments)
        self.control = <uint32_t> (first_line + lines - 1)
        self.spliced = <Spliced *> calloc(self.instruments, sizeof(Spliced))
        self.follows = <Follow *> calloc(<size_t> self.lines * self.instruments, sizeof(Follow))
        if self.spliced == NULL or self.follows == NULL:
            raise MemoryError()
        for i in range(self.instruments):
            self.spliced[i].hole_since = INT64_MIN
            self.spliced[i].line = NO_LINE
        for i in range(LINES_MAX):
            self.begun[i] = INT64_MIN
        self.hole_first = INT64_MAX
        self.seam = INT64_MIN
        self.plain = False

    def __dealloc__(self):
        free(self.spliced)
        free(self.follows)

    # -- lines ---------------------------------------------------------------------------------------------------------

    cdef uint32_t end(self) noexcept nogil:
        """One more than the last instrument that may be in use."""
        return <uint32_t> min(self.texts_decoder.instruments.part.used, <uint64_t> self.instruments)

    cdef void hear(self, uint32_t line, int64_t ts_recv) noexcept nogil:
        cdef LineRecord *record = &self.line_records[line]
        record.last_packet = ts_recv
        record.state = LINE_UP
        self.alive |= <uint64_t> 1 << (line - self.first_line)
        if self.begun[line - self.first_line] == INT64_MIN:
            self.begun[line - self.first_line] = ts_recv
        elif self.joining >> (line - self.first_line) & 1 and ts_recv != self.begun[line - self.first_line]:
            self.joining &= ~(<uint64_t> 1 << (line - self.first_line))
            self.begin_sweep(REASON_LINE_DOWN)
        self.agreed_at = ts_recv
        if not self.joined:
            self.joined = True
            self.judge(QUALITY_LIVE, REASON_NONE)
        self.heard = True
        if self.silent:
            self.silent = False
            self.publish_quality()

    cdef void forget(self, uint32_t line) noexcept nogil:
        """What this line has shown of its books is of a connection that is over."""
        cdef uint32_t i
        for i in range(1, self.end()):
            memset(self.follow(line, i), 0, sizeof(Follow))
        self.trades.lost(line, self.end(), self.clock)

    cdef void lose(self, uint32_t line, uint8_t reason) noexcept nogil:
        self.alive &= ~(<uint64_t> 1 << line)
        self.serving &= ~(<uint64_t> 1 << line)
        self.planned &= ~(<uint64_t> 1 << line)
        self.joining &= ~(<uint64_t> 1 << line)
        self.forget(line)
        self.begin_sweep(reason)

    cdef void resume(self, int64_t now) noexcept nogil:
        cdef uint32_t line, k
        Word.resume(self, now)
        self.seam = self.clock
        if self.resyncs is not None:
            self.resyncs.asleep = False
        self.alive = self.serving = self.planned = self.joining = self.renewed = 0
        for line in range(<uint32_t> self.lines):
            self.begun[line] = INT64_MIN
            self.forget(line)
        for k in range(1, self.end()):
            self.held_texts.clear(k)                # live lines bring them again, or a snapshot is wanted anyway
        self.begin_sweep(REASON_CATCHING_UP)

    cdef void line_down(self, uint32_t line, int64_t now) noexcept nogil:
        if line == self.control:
            return
        Word.line_down(self, line, now)
        if (self.alive | self.serving) >> (line - self.first_line) & 1:
            self.clock = now
            self.lose(line - self.first_line, REASON_LINE_DOWN)

    cdef void line_broken(self, uint32_t line, int64_t now) noexcept nogil:
        if line != self.control and (self.alive | self.serving) >> (line - self.first_line) & 1:
            self.clock = now
            self.lose(line - self.first_line, REASON_LINE_DOWN)

    cdef void line_begun(self, uint32_t line, int64_t now) noexcept nogil:
        cdef uint64_t bit = <uint64_t> 1 << (line - self.first_line)
        if line == self.control:
            return
        self.clock = now if now != INT64_MIN else self.clock
        self.begun[line - self.first_line] = INT64_MIN
        self.forget(line - self.first_line)
        self.alive &= ~bit
        self.joining &= ~bit
        if self.planned & self.serving & bit and self.rule != RULE_SNAPSHOT_FIRST:
            self.joining |= bit                         # nothing is lost: it was subscribed before the other was left
        else:
            self.serving &= ~bit
            self.begin_sweep(REASON_LINE_DOWN)
        self.planned &= ~bit
        self.renewed &= ~bit

    cdef bint seen(self, uint32_t k) noexcept nogil:
        """Some connection has shown a change."""
        cdef uint32_t line
        for line in range(<uint32_t> self.lines):
            if self.follow(line, k).first != 0:
                return True
        return False

    cdef bint proven(self, uint32_t k, uint64_t last) noexcept nogil:
        """Some connection has shown a change that begins no later than behind `last`: nothing can be between."""
        cdef uint32_t line
        cdef uint64_t first
        for line in range(<uint32_t> self.lines):
            first = self.follow(line, k).first
            if first != 0 and first <= last + (self.rule != RULE_STAMPS):
                return True
        return False

    cdef bint covered(self, uint32_t instrument) noexcept nogil:
        """Some connection brings all that follows on this book."""
        cdef uint32_t line
        cdef const Follow *follow
        for line in range(<uint32_t> self.lines):
            follow = self.follow(line, instrument)
            if self.spoilt >> line & 1:
                continue
            if self.joining >> line & 1:
                return True
            if self.rule == RULE_STAMPS:
                if self.joined_at(line, instrument):
                    return True
            elif follow.first != 0 or self.serving >> line & 1:
                return True
        return False

    cdef bint joined_at(self, uint32_t line, uint32_t instrument) noexcept nogil:
        """STAMPS: the book has come, by other means, to where this line's connection begins: it brings all that follows."""
        cdef const Follow *follow = self.follow(line, instrument)
        cdef const Spliced *book = &self.spliced[instrument]
        if follow.first == 0 or follow.first > book.last:
            return False
        return follow.first < book.last or self.has_mark(instrument, follow.mark)

    # -- all books, one after the other --------------------------------------------------------------------------------

    cdef void begin_sweep(self, uint8_t reason) noexcept nogil:
        """Look at every book; those that lost what covers them say `reason`."""
        if self.sweep and self.sweep_reason != REASON_GAP:
            reason = self.sweep_reason
        self.sweep = 1
        self.sweep_reason = reason
        self.hole_first = INT64_MAX
        self.wishes_due = 0

    cdef void go_on_sweeping(self) noexcept nogil:
        cdef uint32_t end = self.end()
        while self.sweep < end:
            self.sweep += 1
            self.tend(self.sweep - 1, self.sweep_reason)
            if self.telling:
                return
        self.sweep = 0
        self.spoilt = 0

    cdef void tend(self, uint32_t instrument, uint8_t reason) noexcept nogil:
        """What is due for one book, at most one notice; one that lost what covers it says `reason`."""
        cdef Spliced *book = &self.spliced[instrument]
        cdef const Text *text
        cdef uint32_t line
        if self.rule == RULE_SNAPSHOT_FIRST:
            if book.state == BOOK_WHOLE and not self.follow(book.line, instrument).whole:
                for line in range(<uint32_t> self.lines):
                    if self.follow(line, instrument).whole:
                        book.line = <uint8_t> line
                        self.channel.counters[CH_SWITCHES] += 1
                        self.notice.instrument = instrument
                        self.notice.line = line + self.first_line
                        self.telling = TAKE_SWITCH
                        break
                else:
                    book.line = NO_LINE
                    self.doubt(instrument, BOOK_BROKEN, reason)
                    for line in range(<uint32_t> self.lines):
                        if self.serving >> line & 1:            # up, and without this book
                            self.wish_subscription(line, instrument, reason)
        elif book.state == BOOK_WHOLE and not self.covered(instrument):
            self.doubt(instrument, BOOK_DOUBTED, reason if reason != REASON_GAP else <uint8_t> REASON_LINE_DOWN)
        elif book.state == BOOK_WHOLE and book.hole_since != INT64_MIN:
            if self.hole_is_due(book.hole_since):
                text = self.held_texts.first(instrument)
                book.gap = text.previous - book.last if text != NULL and self.rule != RULE_STAMPS else 0
                self.channel.counters[CH_GAPS] += 1
                self.channel.counters[CH_MISSING] += book.gap
                self.doubt(instrument, BOOK_DOUBTED, REASON_GAP)
                self.notice.first, self.notice.count = book.last + 1, book.gap
                self.wish(instrument, text.previous if text != NULL and self.rule != RULE_STAMPS else 0)
            else:
                self.hole_first = min(self.hole_first, book.hole_since)
        elif book.state == BOOK_DOUBTED and book.hole_since != INT64_MIN:
            if self.hole_is_due(book.hole_since):       # nothing continued what a live line repeated
                book.hole_since = INT64_MIN
                self.begin_anew(instrument)
                self.wish(instrument, 0)
            else:
                self.hole_first = min(self.hole_first, book.hole_since)
        self.send_wishes(instrument)

    cdef bint hole_is_due(self, int64_t begun) noexcept nogil:
        if begun == INT64_MAX or begun == INT64_MIN:
            return False
        return self.closing or since(self.clock, begun) >= self.reorder_ns

    cdef void tell(self, uint32_t instrument, uint8_t quality, uint8_t reason) noexcept nogil:
        self.notice.instrument = instrument
        self.notice.quality, self.notice.reason = quality, reason
        self.notice.line = NO_LINE
        self.notice.first = self.notice.count = 0
        self.telling = TAKE_INSTRUMENT

    cdef void doubt(self, uint32_t instrument, uint8_t state, uint8_t reason) noexcept nogil:
        """The book is not right any more, or not known to be."""
        cdef Spliced *book = &self.spliced[instrument]
        book.state, book.reason = state, reason
        book.since = self.clock
        book.hole_since = INT64_MIN
        self.tell(instrument, QUALITY_STALE, reason)

    cdef void begin_anew(self, uint32_t instrument) noexcept nogil:
        """The numbers may have begun anew: what is there proves nothing, and what was passed over is missing."""
        cdef uint32_t line
        cdef uint64_t latest = 0
        for line in range(<uint32_t> self.lines):
            latest = max(latest, self.follow(line, instrument).latest)
        self.spliced[instrument].state = BOOK_BROKEN
        self.spliced[instrument].last = 0
        self.held_texts.rows[instrument].dropped = max(self.held_texts.rows[instrument].dropped, latest)

    # -- wishes --------------------------------------------------------------------------------------------------------

    cdef void wish(self, uint32_t instrument, uint64_t number) noexcept nogil:
        """A snapshot is wanted, of `number` or later; once, until it has come, or was of no use."""
        cdef Spliced *book = &self.spliced[instrument]
        if book.wish == WISH_NONE:
            self.channel.counters[CH_RESYNCS] += 1
        elif book.wish == WISH_SENT:
            return
        book.wanted = number
        book.wish = WISH_DUE
        if book.since == 0:
            book.since = self.clock
        self.send_wishes(instrument)

    cdef void wish_subscription(self, uint32_t line, uint32_t instrument, uint8_t reason) noexcept nogil:
        """SNAPSHOT_FIRST: this line is to begin the book anew; once, until its snapshot has come."""
        cdef Follow *follow = self.follow(line, instrument)
        if follow.wish == WISH_NONE:
            self.channel.counters[CH_RESYNCS] += 1
            follow.wish = WISH_DUE
            follow.reason = reason
            self.send_wishes(instrument)

    cdef void subscription_over(self, uint32_t line, uint32_t instrument) noexcept nogil:
        """SNAPSHOT_FIRST: the line's snapshot has come."""
        cdef Follow *follow = self.follow(line, instrument)
        follow.whole = True
        if follow.wish == WISH_SENT and self.resyncs is not None:
            self.resyncs.put(RESYNC_OVER, instrument, line, REASON_NONE, 0, self.clock)
        follow.wish = WISH_NONE

    cdef void send_wishes(self, uint32_t instrument) noexcept nogil:
        cdef Spliced *book = &self.spliced[instrument]
        cdef uint32_t line
        if self.resyncs is None:
            return
        if book.wish == WISH_DUE:
            if self.resyncs.put(RESYNC_SNAPSHOT, instrument, 0, book.reason if book.state != BOOK_NEW else <uint32_t> REASON_SNAPSHOT,
                                book.wanted, book.since):
                book.wish = WISH_SENT
            else:
                self.wishes_due += 1
        if self.rule != RULE_SNAPSHOT_FIRST:
            return
        for line in range(<uint32_t> self.lines):
            if self.follow(line, instrument).wish == WISH_DUE:
                if self.resyncs.put(RESYNC_SUBSCRIBE, instrument, line, self.follow(line, instrument).reason, 0, self.clock):
                    self.follow(line, instrument).wish = WISH_SENT
                else:
                    self.wishes_due += 1

    cdef void over(self, uint32_t instrument) noexcept nogil:
        """Whole again: nothing is wished for any more."""
        cdef Spliced *book = &self.spliced[instrument]
        if book.wish == WISH_SENT and self.resyncs is not None:
            self.resyncs.put(RESYNC_OVER, instrument, 0, REASON_NONE, 0, self.clock)
        book.wish = WISH_NONE
        book.since = 0
        book.gap = 0
        book.reason = REASON_NONE

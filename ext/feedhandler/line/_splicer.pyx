"""The line stage of JSON channels: each book is kept right by itself, by the rule of its venue.

Theory of operation
-------------------
A channel has data lines, one WebSocket connection each, and a last one, the control line, on which our own control path
brings REST answers and the life of connections. Texts come whole; `TextDecoder.look` says of which instrument and which
numbers each is. What passes goes to the decoder one text at a time; one symbol's trouble never touches another's book.

*Ranges* (RULE_RANGES, RULE_CHAIN). A change covers the numbers (previous, last]: of Binance's spot market U - 1 and u, of
futures pu and u. Its totals are absolute, so it may be applied to a book at `last` whenever previous <= book.last < last,
overlapping or not; at or below, it is the other line's copy. Beyond, it waits (_texts.pyx): the other line, or the same
one, may bring what is between. After `reorder_us` that hole is a gap: STALE, and a snapshot is wished for. What fills
the hole later heals it all the same; a snapshot of number L takes the place of all up to L.

*Stamps* (RULE_STAMPS). Numbers rise and do not tell what is missing. A connection brings all there is from its first
change on, `Follow.first`. So its change may be applied only if the book has reached that first one by other means: the
line is then *in step*. Until then its changes wait, and it is a gap when no line in step passes them by. Two changes may bear
one stamp, so each has a mark, the hash of its text: what bears the book's own stamp is a copy only if its mark is known. Of
changes of one stamp that wait from different lines the order is not known: they go no further, which is a gap.
A snapshot has all of its stamp, as the venue's own rule says.

*Snapshot first* (RULE_SNAPSHOT_FIRST). No numbers at all: a connection's snapshot, then its updates. One line feeds the
book; the others feed standby books of their own (_standby.pyx), and when the first is lost the whole book changes over.

*Proof.* A snapshot of REST is right as of its number, but whether changes between it and the first one we saw are missing
it does not say. It is proven when some connection has shown a change that begins at or before the number behind it. Not
proven, it is shown, and STALE, until a change continues it, or repeats what it has in it. (Stamps cannot continue: a first
change behind it shows that it was too old, and the next one is asked for.)

*The end of a recording* (`resume`) ends its connections, and the books stand where it came to: CATCHING_UP, until a live connection
shows a change that continues them (stamps: that they have already). What repeats them may be the past, which both saw, or
numbers begun anew: past the overlap it is the latter, and only a snapshot helps.

*Make before break.* A connection that is replaced as planned is not lost: the life text says PLANNED when the new one has all its
subscriptions confirmed, and the new one then takes the line from the old. Numbered books stay as they are, and go on by their
numbers (stamps: those that the new one's first packet joins; a book without a change there is DOUBTED behind it).

*Loss.* A lost connection takes away what it covered. A book which no connection covers any more is DOUBTED: STALE until a
change of one that is there continues it or a snapshot comes. An unreadable text is a loss for all the books that only its line covers.

All that happens to many books at once is done by a sweep over the instruments, inside take(), one notice at a time.
"""
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._counters cimport (CH_HELD_FULL, CH_MALFORMED, CH_MESSAGES, CH_OUTDATED, CH_RECOVERED, CH_RESYNCS, CH_SNAPSHOTS,
                                    CH_SPANNED, CH_UNKNOWN_INSTRUMENT, LN_AHEAD, LN_DUPLICATES, LN_HEARTBEATS,
                                    LN_MALFORMED, LN_MESSAGES, LN_REFUSED, LN_WON)
from feedhandler._records cimport (CAUSE_PLANNED, CONNECTION_AUTHENTICATING, CONNECTION_CONNECTED, CONNECTION_CONNECTING, CONNECTION_DEAD,
                                   CONNECTION_DISCONNECTED, CONNECTION_SYNCHRONIZING, LINE_UP, NO_LINE, QUALITY_LIVE, REASON_CATCHING_UP,
                                   REASON_GAP, REASON_LINE_DOWN,
                                   REASON_MALFORMED, REASON_NONE, REASON_SNAPSHOT, LineRecord, Message, Run)
from feedhandler.decode._text cimport (RULE_CHAIN, RULE_SNAPSHOT_FIRST, RULE_STAMPS, UPDATE_CHANGE, UPDATE_CONTROL,
                                       UPDATE_LIFE, UPDATE_NUMBERED, UPDATE_PASS, UPDATE_RECONNECT, UPDATE_SNAPSHOT)
from feedhandler.line._coverage cimport (BOOK_BROKEN, BOOK_DOUBTED, BOOK_NEW, BOOK_WHOLE, WISH_DUE, WISH_NONE,
                                         WISH_SENT, Coverage, Follow, SAME, Spliced)
from feedhandler.line._holes cimport TAKE_CONNECTION, TAKE_NOTHING, TAKE_QUALITY, TAKE_RUN, TAKE_STANDBY
from feedhandler.line._resyncs cimport RESYNC_CONNECT
from feedhandler.line._suspicion cimport since
from feedhandler.line._texts cimport TEXT_KEPT, TEXT_KNOWN, Text
from feedhandler.line._word cimport Word
from feedhandler.session._framing cimport FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, FRAME_UNSEQUENCED, Frame

cdef enum:
    OVERLAP_NS = 1_000_000_000  # behind the last recorded packet, a live line may still bring what is recorded


cdef extern from "xxh64.h" nogil:
    uint64_t fh_xxh64(const uint8_t *data, size_t bytes)


cdef class Splicer(Coverage):
    """Splicer(lines, decoder=..., resyncs=None, text_bytes=0, ...): `lines` with the control line, which is the last.

    `reorder_us`: age at which a hole in one instrument's numbers is a gap. `silence_ms`: as of an arbiter. `text_bytes`: room
    for texts that wait, 0 = 16 MiB. `resyncs`: where snapshots and subscriptions are wished for. The decoder must be a
    TextDecoder with a rule.
    """

    # -- the arbiter's calls -------------------------------------------------------------------------------------------

    cdef void offer(self, const Frame *frame, const Message *messages, int64_t ts_recv, uint32_t line) noexcept nogil:
        self.offered_count = 0
        self.offered_ts = ts_recv
        self.offered_line = line - <uint32_t> self.first_line
        self.clock = ts_recv
        if line != self.control:
            if self.offered_line >= <uint32_t> self.lines:
                return
            self.hear(line, ts_recv)
            if frame.kind == FRAME_HEARTBEAT:
                self.line_records[line].counters[LN_HEARTBEATS] += 1
            elif frame.kind == FRAME_END:
                self.lose(self.offered_line, REASON_LINE_DOWN)
        else:
            self.line_records[line].last_packet = ts_recv
            self.line_records[line].state = LINE_UP
        if frame.kind == FRAME_UNSEQUENCED or frame.kind == FRAME_DATA:
            self.offered = messages
            self.offered_at = 0
            self.offered_count = frame.count
            self.line_records[line].last_data = ts_recv
            self.line_records[line].counters[LN_MESSAGES] += <uint64_t> frame.count
        if self.hole_is_due(self.hole_first):
            self.begin_sweep(REASON_GAP)

    cdef int take(self, Run *run) noexcept nogil:
        cdef int what
        while True:
            if self.telling:
                what = self.telling
                self.telling = 0
                return what
            if self.quality_due:
                self.quality_due = False
                return TAKE_QUALITY
            if self.lost_reason:
                self.mind_lost()
            elif self.sweep:
                self.go_on_sweeping()
            elif self.draining:
                if self.drain(run):
                    return TAKE_RUN
            elif self.offered_at < self.offered_count:
                self.offered_at += 1
                what = self.judge_text(&self.offered[self.offered_at - 1], run)
                if what:
                    return what
            else:
                self.offered_count = self.offered_at = 0
                return TAKE_NOTHING

    cdef void settle(self, int32_t taken) noexcept nogil:
        cdef uint32_t instrument = self.head.instrument
        cdef LineRecord *record = &self.line_records[self.given_line]
        cdef Text *text = self.given_text
        self.given_text = NULL
        if taken == 0:
            record.counters[LN_MALFORMED] += 1
            self.channel.counters[CH_MALFORMED] += 1
            self.malformed.keep(self.given, 0, self.given_line)
            if instrument and (self.head.kind == UPDATE_CHANGE or self.head.kind == UPDATE_SNAPSHOT):
                self.spoil(instrument, self.given_line - <uint32_t> self.first_line)
            elif instrument and self.head.kind == UPDATE_PASS:        # the other line's copy may do
                self.trades.broken(self.given_line - <uint32_t> self.first_line, instrument, self.clock)
        elif self.given_standby:
            record.counters[LN_DUPLICATES] += 1
            if self.head.kind == UPDATE_SNAPSHOT:
                self.subscription_over(self.given_line - <uint32_t> self.first_line, instrument)
        else:
            record.counters[LN_WON] += 1
            self.channel.counters[CH_MESSAGES] += 1
            if instrument and self.head.kind == UPDATE_CHANGE:
                self.took_change()
            elif instrument and self.head.kind == UPDATE_SNAPSHOT:
                self.took_snapshot()
            elif instrument and self.head.flags & UPDATE_NUMBERED:
                self.trades.brought(self.given_line - <uint32_t> self.first_line, instrument, self.head.last, self.clock)
        if text != NULL:
            self.held_texts.remove(text)

    cdef void finish(self) noexcept nogil:
        self.closing = True
        self.begin_sweep(REASON_GAP)

    cdef void tick(self, int64_t now) noexcept nogil:
        Word.tick(self, now)
        if self.wishes_due or self.hole_is_due(self.hole_first):
            self.begin_sweep(REASON_GAP)

    def catch_up(self):
        Word.catch_up(self)
        if self.resyncs is not None:
            self.resyncs.asleep = True

    cdef void book_lost(self, uint32_t instrument, uint8_t reason, uint32_t line) noexcept nogil:
        self.lost_instrument, self.lost_reason, self.lost_line = instrument, reason, line

    # -- one text ------------------------------------------------------------------------------------------------------

    cdef int judge_text(self, const Message *message, Run *run) noexcept nogil:
        """What becomes of one text: TAKE_RUN, TAKE_STANDBY, or 0: nothing goes out."""
        if not self.texts_decoder.look(message, &self.head):
            return self.unreadable(message)
        if self.of_control() != (self.head.flags & UPDATE_CONTROL != 0):
            self.offered_record().counters[LN_REFUSED] += 1
            return 0
        if self.head.kind == UPDATE_LIFE:
            self.judge_life()
        elif self.head.kind == UPDATE_RECONNECT and self.resyncs is not None:
            self.resyncs.put(RESYNC_CONNECT, 0, self.offered_line, REASON_NONE, 0, self.clock)
        elif self.head.kind == UPDATE_PASS:
            return self.judge_pass(message, run)
        elif self.head.kind == UPDATE_CHANGE or self.head.kind == UPDATE_SNAPSHOT:
            if self.head.instrument == 0:
                self.channel.counters[CH_UNKNOWN_INSTRUMENT] += 1
                return 0
            if self.rule == RULE_SNAPSHOT_FIRST:
                return self.judge_on_socket(message, run)
            if not self.head.flags & UPDATE_NUMBERED:
                return self.unreadable(message)
            if self.head.kind == UPDATE_SNAPSHOT:
                return self.judge_snapshot(message, run)
            return self.judge_change(message, run)
        return self.hand_out(message, run, self.offered_ts, self.offered_line)

    cdef int unreadable(self, const Message *message) noexcept nogil:
        """Whose it was cannot be told: all that only this line covers may have lost something."""
        cdef uint32_t i
        self.offered_record().counters[LN_MALFORMED] += 1
        self.channel.counters[CH_MALFORMED] += 1
        self.malformed.keep(message, 0, self.offered_line + self.first_line)
        if self.of_control():
            return 0
        self.spoilt |= <uint64_t> 1 << self.offered_line
        self.trades.lost(self.offered_line, self.end(), self.clock)
        for i in range(1, self.end()):
            if self.rule == RULE_SNAPSHOT_FIRST and self.follow(self.offered_line, i).whole:
                self.follow(self.offered_line, i).whole = False
                self.wish_subscription(self.offered_line, i, REASON_MALFORMED)
            elif self.rule == RULE_STAMPS:
                self.follow(self.offered_line, i).first = 0
        self.begin_sweep(REASON_MALFORMED)
        return 0

    cdef int judge_pass(self, const Message *message, Run *run) noexcept nogil:
        """Trades by their number, whichever line is first; without one, from the line that feeds the book, or the first up."""
        cdef Spliced *book = &self.spliced[self.head.instrument]
        cdef uint32_t line
        if self.head.instrument and self.head.flags & UPDATE_NUMBERED:
            if self.trades.known(self.head.instrument, self.head.last, self.clock):
                self.offered_record().counters[LN_DUPLICATES] += 1
                self.trades.brought(self.offered_line, self.head.instrument, self.head.last, self.clock)
                return 0
        elif self.head.instrument and not self.of_control():
            line = book.line
            if line == NO_LINE:
                line = 0
                while not self.alive >> line & 1:
                    line += 1
            if self.offered_line != line or self.offered_ts <= self.seam:
                self.offered_record().counters[LN_DUPLICATES] += 1
                return 0
        return self.hand_out(message, run, self.offered_ts, self.offered_line)

    cdef int judge_change(self, const Message *message, Run *run) noexcept nogil:
        cdef uint32_t k = self.head.instrument
        cdef Spliced *book = &self.spliced[k]
        cdef Follow *follow = self.follow(self.offered_line, k)
        cdef uint64_t last = self.head.last
        cdef LineRecord *record = self.offered_record()
        if self.rule == RULE_STAMPS:
            self.head.previous = fh_xxh64(message.data, message.len)
        elif self.rule != RULE_CHAIN:
            self.head.previous = self.head.first - (self.head.first > 0)
        if self.of_control():
            record.counters[LN_REFUSED] += 1
            return 0
        book.changes = True
        if book.state == BOOK_DOUBTED and book.reason == REASON_LINE_DOWN and last <= book.last and follow.first == 0 \
                and self.rule != RULE_STAMPS and not self.covered(k):
            self.held_texts.clear(k)
            self.begin_anew(k)
        elif book.state == BOOK_DOUBTED and book.reason == REASON_CATCHING_UP and last <= book.last \
                and self.rule != RULE_STAMPS and since(self.offered_ts, self.seam) > OVERLAP_NS:
            self.begin_anew(k)
        if follow.first == 0:
            follow.first = last if self.rule == RULE_STAMPS else self.head.previous + 1
            follow.mark = self.head.previous
        follow.latest = max(follow.latest, last)
        if book.state == BOOK_WHOLE or book.state == BOOK_DOUBTED:
            if last < book.last or (last == book.last and (self.rule != RULE_STAMPS or self.has_mark(k, self.head.previous))):
                record.counters[LN_DUPLICATES] += 1
                if book.state == BOOK_DOUBTED and book.reason == REASON_SNAPSHOT:
                    self.prove(k)                       # it began before the snapshot: all behind that comes here
                elif book.state == BOOK_DOUBTED and book.reason == REASON_CATCHING_UP:
                    self.repeat(k)
                return 0
            if self.rule == RULE_STAMPS:
                if book.state == BOOK_WHOLE and self.joined_at(self.offered_line, k) and self.room_for_mark(k, last):
                    return self.hand_out(message, run, self.offered_ts, self.offered_line)
            elif self.head.previous <= book.last:
                return self.hand_out(message, run, self.offered_ts, self.offered_line)
        return self.keep_text(message)

    cdef void repeat(self, uint32_t k) noexcept nogil:
        """A live connection shows what the recording had: by its time that is so; by numbers what continues it has to come soon."""
        cdef Spliced *book = &self.spliced[k]
        if self.rule == RULE_STAMPS:
            if self.joined_at(self.offered_line, k):
                self.prove(k)
        elif book.hole_since == INT64_MIN:
            book.hole_since = max(self.offered_ts, self.seam + OVERLAP_NS)
            self.hole_first = min(self.hole_first, book.hole_since)

    cdef int keep_text(self, const Message *message) noexcept nogil:
        """It stands behind a hole, or before any book: it waits."""
        cdef uint32_t k = self.head.instrument
        cdef Spliced *book = &self.spliced[k]
        cdef LineRecord *record = self.offered_record()
        cdef uint64_t lost = self.held_texts.lost
        cdef int kept = self.held_texts.keep(k, self.offered_line, self.offered_ts, self.head.previous, self.head.last,
                                       self.rule == RULE_STAMPS, message.data, message.len)
        self.channel.counters[CH_HELD_FULL] += self.held_texts.lost - lost
        if kept == TEXT_KEPT:
            record.counters[LN_AHEAD] += 1
        elif kept == TEXT_KNOWN:
            record.counters[LN_DUPLICATES] += 1
        else:
            self.channel.counters[CH_HELD_FULL] += 1
            self.held_texts.rows[k].dropped = max(self.held_texts.rows[k].dropped, self.head.last)
        if book.state != BOOK_WHOLE:
            self.wish(k, self.head.previous if book.state == BOOK_DOUBTED and self.rule != RULE_STAMPS else 0)
        elif book.hole_since == INT64_MIN:
            book.hole_since = self.offered_ts
            self.hole_first = min(self.hole_first, book.hole_since)
        return 0

    cdef bint room_for_mark(self, uint32_t k, uint64_t last) noexcept nogil:
        """Of so many texts of one stamp copies could not be told from others."""
        return last > self.spliced[k].last or self.spliced[k].marked < SAME

    cdef bint in_step(self, uint32_t k, const Text *text) noexcept nogil:
        """STAMPS: some line that has joined the book's row has brought this text, and nothing before it that waits behind it."""
        cdef const Text *other = self.held_texts.next(text)
        cdef uint64_t last = text.last
        cdef uint32_t line
        if not self.room_for_mark(k, last):
            return False
        while other != NULL and other.last == last:
            if other.line != text.line:
                return False
            other = self.held_texts.next(other)
        for line in range(<uint32_t> self.lines):
            if self.joined_at(line, k) and (self.follow(line, k).latest > last
                                            or (text.lines >> line & 1 and self.follow(line, k).latest == last)):
                return True
        return False

    cdef int judge_snapshot(self, const Message *message, Run *run) noexcept nogil:
        """A whole book with a number: of REST, or on a line that brings nothing else."""
        cdef uint32_t k = self.head.instrument
        cdef Spliced *book = &self.spliced[k]
        cdef uint64_t last = self.head.last, dropped = self.held_texts.rows[k].dropped
        cdef bint alone = not book.changes and not self.of_control()
        cdef const Text *text = self.held_texts.first(k)
        cdef LineRecord *record = self.offered_record()
        if alone:
            self.head.previous = fh_xxh64(message.data, message.len) if self.rule == RULE_STAMPS else 0
            if book.state == BOOK_WHOLE and (last < book.last or (last == book.last and (self.rule != RULE_STAMPS
                                                                                         or self.marked(k)))):
                record.counters[LN_DUPLICATES] += 1
                return 0
            self.given_proves = True
            return self.hand_out(message, run, self.offered_ts, self.offered_line)
        if book.state == BOOK_WHOLE and (book.hole_since == INT64_MIN or last <= book.last):
            self.channel.counters[CH_OUTDATED] += 1
            self.over(k)
            return 0
        while text != NULL and text.last <= last:
            text = self.held_texts.next(text)
        if self.rule != RULE_STAMPS and text != NULL and text.previous > last:
            return self.refuse_snapshot(text.previous)
        if dropped > last:
            return self.refuse_snapshot(dropped)
        if book.state != BOOK_NEW and last < book.last:
            return self.refuse_snapshot(book.last)
        self.given_proves = self.proven(k, last)
        if self.rule == RULE_STAMPS and not self.given_proves and (book.state == BOOK_WHOLE or self.seen(k)):
            return self.refuse_snapshot(0)              # the first change comes behind it: something may be between
        return self.hand_out(message, run, self.offered_ts, self.offered_line)

    cdef int refuse_snapshot(self, uint64_t number) noexcept nogil:
        """It is too old, or nothing says that it is not: another one."""
        cdef Spliced *book = &self.spliced[self.head.instrument]
        self.channel.counters[CH_OUTDATED] += 1
        if book.wish == WISH_SENT:
            book.wish = WISH_DUE
        self.wish(self.head.instrument, number)
        return 0

    cdef int judge_on_socket(self, const Message *message, Run *run) noexcept nogil:
        """SNAPSHOT_FIRST: the line's own snapshot, and its updates behind it."""
        cdef uint32_t k = self.head.instrument
        cdef Spliced *book = &self.spliced[k]
        cdef Follow *follow
        if self.of_control():
            self.offered_record().counters[LN_REFUSED] += 1
            return 0
        follow = self.follow(self.offered_line, k)
        if self.head.kind == UPDATE_SNAPSHOT:
            self.given_proves = True
            if book.state != BOOK_WHOLE or book.line == self.offered_line:
                return self.hand_out(message, run, self.offered_ts, self.offered_line)
        elif not follow.whole:                          # it was there, and is forgotten: nothing else brings it back
            self.channel.counters[CH_OUTDATED] += 1
            self.wish_subscription(self.offered_line, k, book.reason if book.state == BOOK_BROKEN else <uint8_t> REASON_SNAPSHOT)
            return 0
        elif book.state == BOOK_WHOLE and book.line == self.offered_line:
            return self.hand_out(message, run, self.offered_ts, self.offered_line)
        self.hand_out(message, run, self.offered_ts, self.offered_line)
        self.given_standby = True
        return TAKE_STANDBY

    cdef void judge_life(self) noexcept nogil:
        """A connection stands elsewhere: its record, what it covers, and a notice."""
        cdef uint32_t line = self.head.line
        cdef uint8_t state = self.head.connection
        cdef LineRecord *record
        if line >= <uint32_t> self.lines:
            self.line_records[self.control].counters[LN_REFUSED] += 1
            return
        record = &self.line_records[line + self.first_line]
        record.connection_since = self.head.ts_event
        record.connection = state
        record.connection_reason = self.head.reason
        if state == CONNECTION_CONNECTED:
            self.serving |= <uint64_t> 1 << line
            self.planned &= ~(<uint64_t> 1 << line)
        elif state == CONNECTION_SYNCHRONIZING and self.head.reason == CAUSE_PLANNED:
            self.planned |= self.alive & <uint64_t> 1 << line
            self.renewed |= <uint64_t> 1 << line
        elif state in (CONNECTION_DISCONNECTED, CONNECTION_CONNECTING, CONNECTION_AUTHENTICATING, CONNECTION_DEAD):
            if (self.alive | self.serving) >> line & 1 and self.head.ts_event >= self.begun[line]:
                self.lose(line, REASON_LINE_DOWN)       # else it comes late: it is about the connection before
        self.notice.line = line + self.first_line
        self.notice.connection, self.notice.cause = state, self.head.reason
        self.notice.at = self.head.ts_event
        self.telling = TAKE_CONNECTION

    cdef int hand_out(self, const Message *message, Run *run, int64_t ts_recv, uint32_t line) noexcept nogil:
        cdef uint32_t k = self.head.instrument
        self.given = message
        self.given_line = line + self.first_line
        self.given_standby = False
        self.doubtful = k != 0 and self.spliced[k].state != BOOK_WHOLE
        if self.head.kind == UPDATE_SNAPSHOT:
            self.doubtful = not self.given_proves
        run.messages = message
        run.first_seq = 0
        run.ts_recv = ts_recv
        run.count = 1
        run.line = self.given_line
        return TAKE_RUN

    cdef bint marked(self, uint32_t k) noexcept nogil:
        """STAMPS: this whole book, of the stamp of the one that there is, is that one, or was before it."""
        cdef int i
        for i in range(self.spliced[k].marked):
            if self.spliced[k].marks[i] == self.head.previous:
                return True
        return False

    cdef void mark_text(self, uint32_t k) noexcept nogil:
        """STAMPS: the book has this text, of the stamp `head.last`."""
        cdef Spliced *book = &self.spliced[k]
        if self.head.last != book.last:
            book.marked = 0
        book.entire = False
        book.marks[book.marked % SAME] = self.head.previous
        book.marked = min(book.marked + 1, <int> SAME)

    # -- what was handed out has been decoded --------------------------------------------------------------------------

    cdef void took_change(self) noexcept nogil:
        cdef uint32_t k = self.head.instrument
        cdef Spliced *book = &self.spliced[k]
        if self.rule == RULE_SNAPSHOT_FIRST:
            return
        if self.rule == RULE_STAMPS:
            self.mark_text(k)
        book.last = self.head.last
        if book.state == BOOK_DOUBTED and self.proven(k, book.last):    # else it waited, and what brought it is over
            self.channel.counters[CH_RECOVERED] += book.gap
            self.prove(k)
        if self.held_texts.rows[k].first != <uint64_t> -1:
            self.draining = k

    cdef void prove(self, uint32_t k) noexcept nogil:
        """Nothing is missing any more, nor was."""
        self.spliced[k].state = BOOK_WHOLE
        self.spliced[k].hole_since = INT64_MIN
        self.over(k)
        self.tell(k, QUALITY_LIVE, REASON_NONE)

    cdef void took_snapshot(self) noexcept nogil:
        cdef uint32_t k = self.head.instrument, line = self.given_line - <uint32_t> self.first_line
        cdef Spliced *book = &self.spliced[k]
        self.channel.counters[CH_SNAPSHOTS] += 1
        self.channel.counters[CH_SPANNED] += book.gap
        if self.rule == RULE_STAMPS:
            self.mark_text(k)
            book.entire = True
        book.last = self.head.last
        book.hole_since = INT64_MIN
        self.held_texts.rows[k].dropped = 0
        if self.rule == RULE_SNAPSHOT_FIRST:
            book.line = <uint8_t> line
            self.subscription_over(line, k)
        elif line < <uint32_t> self.lines and not book.changes:
            self.follow(line, k).first = self.follow(line, k).latest = book.last
        if self.given_proves:
            book.state = BOOK_WHOLE
            self.over(k)
        else:
            book.state, book.reason = BOOK_DOUBTED, REASON_SNAPSHOT
            book.wish = WISH_NONE
        self.draining = k

    cdef int drain(self, Run *run) noexcept nogil:
        """What waits of one instrument, as far as it goes: TAKE_RUN, or 0: no more of it for now."""
        cdef uint32_t k = self.draining
        cdef Spliced *book = &self.spliced[k]
        cdef Text *text
        cdef bint goes
        while True:
            text = self.held_texts.first(k)
            if text == NULL:
                book.hole_since = INT64_MIN
                break
            if text.last < book.last or (text.last == book.last
                                         and (self.rule != RULE_STAMPS or self.has_mark(k, text.previous))):
                self.channel.counters[CH_OUTDATED] += 1
                self.held_texts.remove(text)
                continue
            goes = self.in_step(k, text) if self.rule == RULE_STAMPS else text.previous <= book.last
            if not goes:
                if book.state == BOOK_WHOLE:
                    book.hole_since = text.ts_recv
                    self.hole_first = min(self.hole_first, book.hole_since)
                else:
                    self.wish(k, text.previous if self.rule != RULE_STAMPS else 0)
                break
            self.waited.data = <const uint8_t *> (text + 1)
            self.waited.len = text.length
            if not self.texts_decoder.look(&self.waited, &self.head):
                self.held_texts.remove(text)
                continue
            if self.rule == RULE_STAMPS:
                self.head.previous = text.previous
            self.given_text = text
            return self.hand_out(&self.waited, run, text.ts_recv, text.line)
        self.draining = 0
        return 0

    # -- what went wrong -----------------------------------------------------------------------------------------------

    cdef void spoil(self, uint32_t k, uint32_t line) noexcept nogil:
        """This line's text of one instrument is malformed: the other line's copy may do, or a snapshot is wanted."""
        cdef Spliced *book = &self.spliced[k]
        cdef bint here = line < <uint32_t> self.lines
        if self.rule == RULE_SNAPSHOT_FIRST:
            self.distrust(k, line, REASON_MALFORMED)
            return
        if self.head.kind == UPDATE_SNAPSHOT:
            if book.wish == WISH_SENT:
                book.wish = WISH_DUE
            if book.state != BOOK_WHOLE:
                self.wish(k, book.wanted)
            return
        if here and self.rule == RULE_STAMPS:
            self.follow(line, k).first = 0
        if here:
            self.spoilt |= <uint64_t> 1 << line
        if book.state == BOOK_WHOLE and not self.covered(k):
            self.doubt(k, BOOK_DOUBTED, REASON_MALFORMED)
            self.wish(k, self.head.last if self.rule != RULE_STAMPS else 0)
        elif book.state == BOOK_WHOLE and self.rule != RULE_STAMPS and book.hole_since == INT64_MIN:
            book.hole_since = self.offered_ts           # its numbers are known to exist: a hole like any other
            self.hole_first = min(self.hole_first, book.hole_since)
        if self.sweep == 0:
            self.spoilt = 0

    cdef void mind_lost(self) noexcept nogil:
        """The books found one to be wrong."""
        cdef uint32_t k = self.lost_instrument, line
        cdef uint8_t reason = self.lost_reason
        cdef Spliced *book = &self.spliced[k]
        self.lost_reason = 0
        if self.rule == RULE_SNAPSHOT_FIRST:
            line = book.line if self.lost_line == NO_LINE else self.lost_line - <uint32_t> self.first_line
            if line >= <uint32_t> self.lines:
                return
            self.distrust(k, line, reason)
        elif book.state == BOOK_WHOLE or book.state == BOOK_DOUBTED:
            self.doubt(k, BOOK_BROKEN, reason)
            self.wish(k, book.last)

    cdef void distrust(self, uint32_t k, uint32_t line, uint8_t reason) noexcept nogil:
        """SNAPSHOT_FIRST: the book that this line brings is wrong until it is subscribed to anew; another line's may do."""
        self.follow(line, k).whole = False
        self.wish_subscription(line, k, reason)
        self.tend(k, reason)

"""The arbiter's door for Python: frames in and what follows from them out, one at a time, and the counts."""
cimport cython
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from feedhandler._counters cimport (CH_ANSWERS_REFUSED, CH_GAPS, CH_LOST, CH_MALFORMED, CH_MESSAGES, CH_MISSING,
                                    CH_RECOVERED, CH_RESTARTS, CH_SESSIONS, CH_SNAPSHOTS, CH_SPANNED, CH_UNSEQUENCED,
                                    CH_WINDOW_FULL, LN_AHEAD, LN_DUPLICATES, LN_GAPS, LN_HEARTBEATS, LN_LATE,
                                    LN_MALFORMED, LN_MESSAGES, LN_MISSING, LN_REFUSED, LN_TOO_LATE, LN_WON)
from feedhandler._records cimport MESSAGES_MAX, RETRANSMISSION, LineRecord, Message, Run
from feedhandler._wire cimport fh_be16
from feedhandler.line._arbiter cimport (TAKE_END, TAKE_GAP, TAKE_NOTHING, TAKE_RUN, TAKE_SESSION, TAKE_SNAPSHOT,
                                        Piece)
from feedhandler.line._arbiter cimport Arbiter as Machine
from feedhandler.line._score cimport HISTOGRAM_WORDS
from feedhandler.session._framing cimport Frame, Framing
from feedhandler.session._framing import KINDS as _KINDS


@cython.final
cdef class Arbiter(Machine):
    """An arbiter that can be fed by hand; everything else as its base, whose arguments it takes.

    `words`: the channel's quality at each item that the last call gave, as it stood when the item was handed out.
    """
    cdef readonly list words

    def feed(self, bytes session not None, uint64_t first_seq, list messages not None, int64_t ts_recv=0,
             uint32_t line=0, *, str kind="data", int64_t send_time=0, int64_t offset=-1):
        """Offer one frame and take all that follows: a list of what take() gave, in order.

        ("session", name), ("run", first_seq, messages, ts_recv, line), ("gap", first, count), ("end", last number),
        ("quality", quality, reason), ("snapshot", number). A run's messages are those that the decoder calls valid, up to the first bad one.
        """
        cdef Frame frame
        cdef Message *out
        cdef int i
        cdef bytes name = session.ljust(16, b"\0")
        if len(name) != 16 or len(messages) > MESSAGES_MAX or kind not in _KINDS:
            raise ValueError(f"a session has at most 16 bytes, a frame {MESSAGES_MAX} messages, and a kind of {_KINDS}")
        memset(&frame, 0, sizeof(Frame))
        memcpy(frame.session, PyBytes_AsString(name), 16)
        frame.first_seq = first_seq
        frame.send_time = send_time
        frame.offset = offset
        frame.count = <int> len(messages)
        frame.kind = _KINDS.index(kind)
        out = <Message *> calloc(len(messages) + 1, sizeof(Message))
        if out == NULL:
            raise MemoryError()
        try:
            for i in range(frame.count):
                out[i].data = <const uint8_t *> PyBytes_AsString(messages[i])
                out[i].len = <uint32_t> PyBytes_GET_SIZE(messages[i])
                frame.bytes += 2 + out[i].len if offset >= 0 else 0
            self.offer(&frame, out, ts_recv, line)
            self.words = []
            return self._drain()
        finally:
            free(out)

    def pass_time(self, int64_t now):
        """tick(), and all that take() then gives; as feed()."""
        self.tick(now)
        self.words = []
        return self._drain()

    def disconnect(self, uint32_t line, int64_t now):
        """line_down(), and all that take() then gives; as feed()."""
        if not self.first_line <= <int> line < self.first_line + self.lines:
            raise ValueError(f"this channel has lines {self.first_line} to {self.first_line + self.lines - 1}")
        self.line_down(line, now)
        self.words = []
        return self._drain()

    def end_input(self):
        """finish(), and all that take() then gives; as feed()."""
        self.finish()
        self.words = []
        return self._drain()

    def take_answers(self, Framing framing=None):
        """Take all that waits in the recovery, and all that take() then gives; as feed().

        `framing` reads the retransmissions. A piece of a snapshot is ("loaded", messages); one with a message that the
        decoder calls malformed is ("spoilt",).
        """
        cdef Piece piece
        cdef const uint8_t *message
        cdef uint32_t at, length
        cdef bint whole
        cdef Message *memory
        if self.recovery is None:
            raise ValueError("this arbiter has no recovery: give it one when it is made")
        memory = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if memory == NULL:
            raise MemoryError()
        taken = []
        self.words = []
        try:
            while self.answer(framing, memory, &piece):
                taken += self._drain()
                if piece.number != 0:
                    messages = []
                    whole = True
                    at = 0
                    while at < piece.length:
                        message = piece.data + at + 2
                        at += 2 + fh_be16(piece.data + at)
                        length = <uint32_t> (piece.data + at - message)
                        messages.append(PyBytes_FromStringAndSize(<const char *> message, length))
                        whole = whole and (self.decoder is None or self.decoder.valid(message, length))
                    taken.append(("loaded", messages) if whole else ("spoilt",))
                    self.words.append(self.channel.quality)
                    self.loaded(&piece, whole)
                    taken += self._drain()
                self.answered()
            return taken
        finally:
            free(memory)

    cdef list _drain(self):
        cdef Run run
        cdef int what, i
        taken = []
        while True:
            what = self.take(&run)
            if what == TAKE_NOTHING:
                return taken
            quality = self.channel.quality
            if what == TAKE_RUN:
                i = 0
                while i < run.count and (self.decoder is None
                                         or self.decoder.valid(run.messages[i].data, run.messages[i].len)):
                    i += 1
                if i > 0:
                    self.words.append(quality)
                    taken.append(("run", run.first_seq, [
                        PyBytes_FromStringAndSize(<const char *> message.data, message.len)
                        for message in run.messages[:i]], run.ts_recv, run.line))
                self.settle(i)
                continue
            self.words.append(quality)
            if what == TAKE_SESSION:
                taken.append(("session", self.session_name))
            elif what == TAKE_GAP:
                taken.append(("gap", self.gap_first, self.gap_count))
            elif what == TAKE_SNAPSHOT:
                taken.append(("snapshot", self.expected))
            elif what == TAKE_END:
                taken.append(("end", self.expected - 1))
            else:
                taken.append(("quality", self.quality, self.reason))

    @property
    def session_name(self) -> bytes:
        """The present session's id, without the zeros that pad it to 16 bytes."""
        return PyBytes_FromStringAndSize(<const char *> self.session, 16).rstrip(b"\0")

    @property
    def next_seq(self) -> int:
        """The next number to hand out."""
        return self.expected

    @property
    def state(self) -> tuple:
        """(quality, reason, epoch) of the channel."""
        return self.channel.quality, self.channel.reason, self.channel.epoch

    @property
    def counts(self) -> dict:
        """The channel's counters that the arbiter writes."""
        cdef uint64_t *c = self.channel.counters
        return {"messages": c[CH_MESSAGES], "gaps": c[CH_GAPS], "missing": c[CH_MISSING],
                "malformed": c[CH_MALFORMED], "unsequenced": c[CH_UNSEQUENCED], "sessions": c[CH_SESSIONS],
                "restarts": c[CH_RESTARTS], "window_full": c[CH_WINDOW_FULL], "recovered": c[CH_RECOVERED],
                "lost": c[CH_LOST], "snapshots": c[CH_SNAPSHOTS], "spanned": c[CH_SPANNED],
                "answers_refused": c[CH_ANSWERS_REFUSED]}

    def leads(self, int line):
        """By how many ns the line's winning copies were before the next ones: (count, sum, least, most)."""
        cdef uint64_t *words
        if not self.first_line <= line < self.first_line + self.lines:
            raise ValueError(f"this channel has lines {self.first_line} to {self.first_line + self.lines - 1}")
        words = self.score.leads + line * HISTOGRAM_WORDS
        return words[0], words[1], words[2], words[3]

    def line_counts(self, int line):
        """The line's counters that the arbiter writes, and its state and next number.

        Retransmissions count as a line of their own, RETRANSMISSION.
        """
        cdef LineRecord *record
        cdef uint64_t *c
        if line != RETRANSMISSION and not self.first_line <= line < self.first_line + self.lines:
            raise ValueError(f"this channel has lines {self.first_line} to {self.first_line + self.lines - 1}")
        record = self.record_of(line)
        c = record.counters
        return {"state": record.state, "next_seq": record.next_seq, "messages": c[LN_MESSAGES], "won": c[LN_WON],
                "duplicates": c[LN_DUPLICATES], "late": c[LN_LATE], "too_late": c[LN_TOO_LATE], "ahead": c[LN_AHEAD],
                "malformed": c[LN_MALFORMED], "heartbeats": c[LN_HEARTBEATS], "gaps": c[LN_GAPS],
                "missing": c[LN_MISSING], "refused": c[LN_REFUSED]}

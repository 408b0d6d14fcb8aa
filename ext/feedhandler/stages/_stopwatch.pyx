"""One line's way from its connection to its books, as a shard goes it, with a clock read between the stages.

    poll ─TLS─► parse ─WebSocket─► offer, take ─line─► decode ─JSON─► apply, publish ─book─►

What a poll, a parse or an offer does for several texts at once is divided among them. A text is decoded and applied by
itself, where a shard may take several together: so these two are what a text costs, and a little more than in a shard.
The clock is CLOCK_MONOTONIC; what it costs itself, tick(), is in each figure once.
"""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from feedhandler._records cimport MESSAGES_MAX, QUALITY_LIVE, FLAG_STALE, Event, Message, Packet, Run
from feedhandler.book._book cimport Books
from feedhandler.decode._decoder cimport Decoder
from feedhandler.line._arbiter cimport TAKE_NOTHING, TAKE_RUN, Arbiter
from feedhandler.publish._publisher cimport Publisher
from feedhandler.receive._receiver cimport RECEIVE_BATCH, Receiver
from feedhandler.session._framing cimport FRAME_BAD, FRAME_NONE, Frame, Framing

cdef enum:
    EVENTS = 1024               # of one call of decode()
    STAGES = 5
    TLS = 0
    WEBSOCKET = 1
    LINE = 2
    JSON = 3
    BOOK = 4


@cython.final
cdef class Stopwatch:
    """Stopwatch(receiver, line, framing, arbiter, decoder, books, publisher): parts of a handler that does not run."""
    cdef Receiver receiver
    cdef Framing framing
    cdef Arbiter arbiter
    cdef Decoder decoder
    cdef Books books
    cdef Publisher publisher
    cdef uint32_t line
    cdef Message *messages
    cdef Event *events
    cdef uint32_t[:, ::1] rows
    cdef readonly int64_t texts             # that the last measure() took
    cdef readonly int64_t others            # what else happened meanwhile: other lines' packets, words of the arbiter
    cdef readonly int64_t reads             # runs of bytes
    cdef readonly int64_t made              # events

    def __cinit__(self, Receiver receiver not None, uint32_t line, Framing framing not None, Arbiter arbiter not None,
                  Decoder decoder not None, Books books not None, Publisher publisher not None):
        self.receiver, self.framing, self.arbiter = receiver, framing, arbiter
        self.decoder, self.books, self.publisher = decoder, books, publisher
        self.line = line
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        self.events = <Event *> calloc(EVENTS, sizeof(Event))
        if self.messages == NULL or self.events == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.messages)
        free(self.events)

    def measure(self, uint32_t[:, ::1] rows not None, int64_t patience_ns):
        """Take texts until all rows are filled: ns of each stage (TLS, WebSocket, line, JSON, book) of each text.

        A sentence when it ended before: nothing came for `patience_ns`, the connection ended, or a text was bad.
        """
        if rows.shape[1] != STAGES or rows.shape[0] == 0:
            raise ValueError(f"rows of {STAGES} figures, not of {rows.shape[1]}")
        cdef int why
        self.rows = rows
        self.texts = self.others = self.reads = self.made = 0
        with nogil:
            why = self.run(patience_ns)
        self.rows = None
        return ("", "the connection ended", "nothing came for so long", "a frame breaks the protocol",
                "a text is malformed")[why]

    cdef int run(self, int64_t patience_ns) noexcept nogil:
        cdef Packet packets[RECEIVE_BATCH]
        cdef int64_t before, after, since = _now(), first
        cdef int n, i, why = 0
        while self.texts < self.rows.shape[0]:
            before = _now()
            n = self.receiver.poll(packets, RECEIVE_BATCH)
            after = _now()
            if n < 0:
                return 1
            if n == 0:
                if after - since > patience_ns:
                    return 2
                continue
            since = after
            first = self.texts
            for i in range(n):
                if packets[i].line != self.line:
                    self.others += 1
                    continue
                self.reads += 1
                why = self.packet(&packets[i])
                if why:
                    return why
            self.share(TLS, first, after - before)
            self.receiver.release()
        return 0

    cdef void share(self, int stage, int64_t first, int64_t spent) noexcept nogil:
        """What was spent on all texts from `first` on, divided among them."""
        cdef int64_t last = min(self.texts, <int64_t> self.rows.shape[0]), row
        if self.texts > first:
            for row in range(first, last):
                self.rows[row, stage] = <uint32_t> (spent / (self.texts - first))

    cdef int packet(self, const Packet *packet) noexcept nogil:
        cdef Frame frame
        cdef Run run
        cdef int64_t before, parsed, now, joined, first
        cdef int what, why
        while True:
            before = _now()
            self.framing.parse(packet, &frame, self.messages, MESSAGES_MAX)
            parsed = now = _now()
            if frame.kind == FRAME_BAD:
                return 3
            first = self.texts
            joined = 0
            if frame.kind != FRAME_NONE:
                self.arbiter.offer(&frame, self.messages, packet.ts_recv, packet.line)
                while True:
                    what = self.arbiter.take(&run)
                    joined += _now() - now
                    if what == TAKE_NOTHING:
                        break
                    if what == TAKE_RUN:
                        why = self.deliver(&run)
                        if why:
                            return why
                    else:
                        self.others += 1
                    now = _now()
                self.share(WEBSOCKET, first, parsed - before)
                self.share(LINE, first, joined)
            if not frame.more:
                return 0

    cdef int deliver(self, const Run *run) noexcept nogil:
        """A run of texts, one by one."""
        cdef Run one = run[0]
        cdef int32_t i, k, taken
        cdef int count
        cdef int64_t before, decoded, now, json, book
        cdef bint live = self.arbiter.quality == QUALITY_LIVE
        one.count = 1
        for i in range(run.count):
            one.messages = run.messages + i
            json = book = 0
            taken = 0
            before = _now()
            while taken == 0:
                count = self.decoder.decode(&one, 0, self.events, EVENTS, &taken)
                decoded = _now()
                json += decoded - before
                before = decoded
                if count == 0:
                    if taken == 0:
                        return 4
                    continue
                if not live:
                    for k in range(count):
                        self.events[k].flags |= FLAG_STALE
                self.books.apply(self.events, count, self.publisher.head + 1)
                self.publisher.publish(self.events, count)
                self.made += count
                now = _now()
                book += now - before
                before = now
            if self.texts < self.rows.shape[0]:
                self.rows[self.texts, JSON] = <uint32_t> json
                self.rows[self.texts, BOOK] = <uint32_t> book
            self.texts += 1
        self.arbiter.settle(run.count)
        return 0


def tick(int reads=10000) -> float:
    """What one read of the clock costs, ns."""
    cdef int i
    cdef int64_t begin = _now()
    for i in range(reads):
        _now()
    return (_now() - begin) / <double> (reads + 1)


cdef inline int64_t _now() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t> now.tv_sec * 1000000000 + now.tv_nsec

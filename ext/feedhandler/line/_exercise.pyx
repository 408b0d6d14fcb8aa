"""Packets of many lines through an arbiter and nothing else, timed: for benchmarks."""
from cpython.bytes cimport PyBytes_AsString, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from feedhandler._records cimport MESSAGES_MAX, Message, Run
from feedhandler.line._arbiter cimport TAKE_NOTHING, TAKE_RUN, Arbiter, Piece
from feedhandler.session._framing cimport FRAME_DATA, Frame, Framing, begin

cdef extern from "floor.h" nogil:
    uint64_t fh_cpu_ns()


cdef class Exercise:
    """Exercise(lines, firsts, times, session, messages): packets in order of arrival, one place each in three arrays.

    Each packet has the same messages (at most MESSAGES_MAX of them); `session` is its id, at most 16 bytes. Neither
    framing nor decoding is part of it: messages are taken as good, where the arbiter does not look for itself.
    """
    cdef const uint32_t[::1] lines
    cdef const uint64_t[::1] firsts
    cdef const int64_t[::1] times
    cdef Frame frame
    cdef Message *messages
    cdef Message *answers
    cdef list kept
    cdef readonly Py_ssize_t place          # of the next packet
    cdef readonly uint64_t delivered
    cdef readonly uint64_t nanoseconds      # of CPU time, over all play()

    def __cinit__(self, lines, firsts, times, bytes session not None, list messages not None):
        self.lines, self.firsts, self.times = lines, firsts, times
        if not len(lines) == len(firsts) == len(times):
            raise ValueError("lines, firsts and times must be of one length: one place for each packet")
        if len(session) > 16 or not 1 <= len(messages) <= MESSAGES_MAX:
            raise ValueError(f"a session has at most 16 bytes, a packet 1 to {MESSAGES_MAX} messages")
        self.kept = messages
        self.messages = <Message *> calloc(len(messages), sizeof(Message))
        self.answers = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if self.messages == NULL or self.answers == NULL:
            raise MemoryError()
        for i, message in enumerate(messages):
            self.messages[i].data = <const uint8_t *> PyBytes_AsString(message)
            self.messages[i].len = <uint32_t> PyBytes_GET_SIZE(message)
        memset(&self.frame, 0, sizeof(Frame))
        begin(&self.frame, FRAME_DATA)
        memcpy(self.frame.session, PyBytes_AsString(session), len(session))
        self.frame.count = <int> len(messages)

    def __dealloc__(self):
        free(self.messages)
        free(self.answers)

    def play(self, Arbiter arbiter not None, Py_ssize_t packets):
        """Offer the next so many packets and take all that follows. False when there are no more."""
        cdef Py_ssize_t end = min(self.place + packets, self.lines.shape[0])
        cdef uint64_t begin
        with nogil:
            begin = fh_cpu_ns()
            while self.place < end:
                self.frame.first_seq = self.firsts[self.place]
                arbiter.offer(&self.frame, self.messages, self.times[self.place], self.lines[self.place])
                self.drain(arbiter)
                self.place += 1
            self.nanoseconds += fh_cpu_ns() - begin
        return self.place < self.lines.shape[0]

    def answer(self, Arbiter arbiter not None, Framing framing not None):
        """Take what recovery has brought."""
        cdef Piece piece
        cdef uint64_t begin
        with nogil:
            begin = fh_cpu_ns()
            while arbiter.answer(framing, self.answers, &piece):
                self.drain(arbiter)
                arbiter.answered()
            self.nanoseconds += fh_cpu_ns() - begin

    cdef void drain(self, Arbiter arbiter) noexcept nogil:
        cdef Run run
        cdef int what
        while True:
            what = arbiter.take(&run)
            if what == TAKE_NOTHING:
                return
            if what == TAKE_RUN:
                self.delivered += <uint64_t> run.count
                arbiter.settle(run.count)


def bare_loop(const uint64_t[::1] firsts not None, uint64_t count):
    """CPU ns to look at each packet's number and take it or leave it; and the messages taken: what cannot be saved."""
    cdef uint64_t expected = 1, begin, end
    cdef Py_ssize_t i
    with nogil:
        begin = fh_cpu_ns()
        for i in range(firsts.shape[0]):
            if firsts[i] == expected:
                expected += count
        end = fh_cpu_ns()
    return expected - 1, end - begin

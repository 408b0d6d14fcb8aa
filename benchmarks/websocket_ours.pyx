# cython: language_level=3
"""A handler of frames in Cython on our receiver and framing: what the hot thread does with a WebSocket, up to its texts.

Built when the benchmark runs, against the headers that the package gives to anybody (`feedhandler.get_include()`).
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from feedhandler._records cimport MESSAGES_MAX, Message, Packet
from feedhandler.receive._receiver cimport Receiver
from feedhandler.session._framing cimport FRAME_BAD, FRAME_UNSEQUENCED, Frame, Framing

cdef enum:
    BATCH = 64


@cython.final
cdef class Client:
    """Client(receiver, framing): take() runs until so many texts have come, and adds up what a handler would look at."""
    cdef Receiver receiver
    cdef Framing framing
    cdef Message[MESSAGES_MAX] texts
    cdef public long long messages, bytes, firsts, reads

    def __init__(self, Receiver receiver not None, Framing framing not None):
        self.receiver = receiver
        self.framing = framing

    cdef inline int parse(self, const Packet *packet, Frame *frame) noexcept nogil:
        """How many texts come next in a packet; -1: a violation. `frame.more`: there is more in it."""
        self.framing.parse(packet, frame, self.texts, MESSAGES_MAX)
        if frame.kind != FRAME_UNSEQUENCED:
            return -1 if frame.kind == FRAME_BAD else 0
        self.messages += frame.count
        return frame.count

    def take(self, long long enough):
        """Poll until `enough` texts have come in all; False: the connection ended or broke."""
        cdef bint whole
        with nogil:
            whole = self.run(enough)
        return whole

    cdef bint run(self, long long enough) noexcept nogil:
        cdef Packet[BATCH] packets
        cdef Frame frame
        cdef int n, i, k, texts
        while self.messages < enough:
            n = self.receiver.poll(packets, BATCH)
            if n < 0:
                return False
            if n == 0:
                self.receiver.wait(100_000_000)
            for i in range(n):
                self.reads += 1
                frame.more = True
                while frame.more:
                    texts = self.parse(&packets[i], &frame)
                    if texts < 0:
                        return False
                    for k in range(texts):
                        self.bytes += self.texts[k].len
                        self.firsts += self.texts[k].data[0]
            self.receiver.release()
        return True

    def call(self, long long enough, handler):
        """take() with a Python function that is called with the bytes of each text."""
        cdef Packet[BATCH] packets
        cdef Frame frame
        cdef int n, i, k, texts
        while self.messages < enough:
            with nogil:
                n = self.receiver.poll(packets, BATCH)
                if n == 0:
                    self.receiver.wait(100_000_000)
            if n < 0:
                return False
            for i in range(n):
                self.reads += 1
                frame.more = True
                while frame.more:
                    texts = self.parse(&packets[i], &frame)
                    if texts < 0:
                        return False
                    for k in range(texts):
                        handler((<const char *> self.texts[k].data)[:self.texts[k].len])
            self.receiver.release()
        return True


def parse(Framing framing not None, const uint8_t[::1] run not None, int rounds):
    """The parser alone, over and over the same run of whole frames in memory: (texts, bytes of them)."""
    cdef Packet packet
    cdef Frame frame
    cdef Message[MESSAGES_MAX] texts
    cdef long long messages = 0, size = 0
    cdef int i, k
    memset(&packet, 0, sizeof(packet))
    packet.data = &run[0]
    packet.len = <uint32_t> run.shape[0]
    with nogil:
        for i in range(rounds):
            while True:
                framing.parse(&packet, &frame, texts, MESSAGES_MAX)
                if frame.kind == FRAME_BAD:
                    break
                for k in range(frame.count):
                    size += texts[k].len
                messages += frame.count
                if not frame.more:
                    break
    return messages, size

"""One WebSocket's messages for Python: batches of views, straight from the receiver's and the framing's memory."""
from cpython.buffer cimport PyBuffer_FillInfo, Py_buffer
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from feedhandler._records cimport LINE_DOWN, Message, Packet
from feedhandler.receive._stream cimport StreamReceiver
from feedhandler.session._framing cimport FRAME_BAD, FRAME_END, FRAME_UNSEQUENCED, Frame
from feedhandler.session._websocket cimport WebSocketFraming

cdef enum:
    BATCH = 1024                # messages of one batch
    TEXT = 1


cdef class Payload:
    """The bytes of one message, for a memoryview: read-only, where they lie."""
    cdef const uint8_t *data
    cdef Py_ssize_t length
    cdef object owner

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *> self.data, self.length, True, flags)


cdef class Reader:
    """Takes the messages of line 0 of a receiver, by the caller's own thread.

    A batch's views are valid until the next take(); then their bytes are others', though never unmapped while a view lives.
    """
    cdef StreamReceiver receiver
    cdef WebSocketFraming framing
    cdef Packet packet
    cdef Frame frame
    cdef Message *messages
    cdef bint held                      # a packet of which the framing has not taken all
    cdef readonly bint ended            # the server's close has come, or the connection is down
    cdef readonly bint broken           # the server broke a rule
    cdef readonly list binary           # of the last batch: whether each message is binary

    def __cinit__(self, StreamReceiver receiver not None, WebSocketFraming framing not None):
        self.receiver, self.framing = receiver, framing
        self.binary = []
        self.messages = <Message *> malloc(BATCH * sizeof(Message))
        if self.messages == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.messages)

    @property
    def pending(self):
        """More of what has been received waits behind the last batch."""
        return bool(self.held)

    def take(self):
        """The next batch, a list of memoryviews; empty when nothing is there now. Never waits."""
        cdef int n
        while not self.ended and not self.broken:
            if not self.held:
                with nogil:
                    self.receiver.release()
                    n = self.receiver.poll(&self.packet, 1)
                if n <= 0:
                    self.ended = self.receiver.status[0].connections > 0 and self.receiver.status[0].state == LINE_DOWN
                    return []
            self.framing.parse(&self.packet, &self.frame, self.messages, BATCH)
            self.held = self.frame.more
            if self.frame.kind == FRAME_END:
                self.ended = True
            elif self.frame.kind == FRAME_BAD:
                self.broken = True
            elif self.frame.kind == FRAME_UNSEQUENCED:
                return self.batch()
            self.receiver.flush(0)
        self.receiver.flush(0)
        return []

    def flush(self):
        """Pass on what is to be sent, as far as the socket has room."""
        self.receiver.flush(0)

    cdef list batch(self):
        cdef int i
        cdef Payload payload
        views, binary = [], []
        for i in range(self.frame.count):
            payload = Payload.__new__(Payload)
            payload.data = self.messages[i].data
            payload.length = self.messages[i].len
            payload.owner = self
            views.append(memoryview(payload))
            binary.append(self.messages[i].reserved != TEXT)
        self.binary = binary
        return views

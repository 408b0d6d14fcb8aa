"""WebSocket, what the server sends: RFC 6455 and RFC 7692; shared/protocols/websocket.md. The machine is websocket.h.

A text or binary message is one Message (its `reserved` is the opcode), without a number. Pings are answered by way of
`replies`, and so is the server's close. The bytes of a connection may begin with its HTTP response head: so it is in a
recording, and so the live hand-over gives it, that both go one way.
"""
import os

cimport cython
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from feedhandler._records cimport Message, Packet
from feedhandler.session._framing cimport (FRAME_BAD, FRAME_END, FRAME_HEARTBEAT, FRAME_NONE, FRAME_UNSEQUENCED, Frame,
                                           Framing, begin)
from feedhandler.session._outbox cimport Outbox, fh_outbox_clear

cdef enum:
    LARGEST = 1 << 30

CAUSES = (
    "",
    "a reserved bit is set without an extension that defines it (RFC 6455 5.2)",
    "the opcode is reserved (RFC 6455 5.2)",
    "the server masks a frame (RFC 6455 5.1)",
    "a length is not in its shortest form (RFC 6455 5.2)",
    "a length has its highest bit set (RFC 6455 5.2)",
    "a control frame is longer than 125 bytes (RFC 6455 5.5)",
    "a control frame is fragmented (RFC 6455 5.5)",
    "a continuation without a beginning (RFC 6455 5.4)",
    "a message begins within another (RFC 6455 5.4)",
    "a message is longer than max_message_bytes (RFC 6455 10.4)",
    "a text is not UTF-8 (RFC 6455 8.1)",
    "a close of one byte (RFC 6455 5.5.1)",
    "a close code that may not be sent (RFC 6455 7.4)",
    "the reason of a close is not UTF-8 (RFC 6455 5.5.1)",
    "compressed data is damaged (RFC 7692 7.2.2)",
    "compressed data ends within a block (RFC 7692 7.2.2)",
    "a message inflates to more than max_ratio times its bytes (RFC 7692 8)",
    "the response head is not HTTP/1.1 101, or too long (RFC 6455 4.1)",
    "the response head names an extension or parameter that is not known, or repeats one (RFC 7692 7.1)",
)
assert len(CAUSES) == FH_WS_CAUSES


@cython.final
cdef class WebSocketFraming(Framing):
    """Server frames of one WebSocket connection, from its response head, or from its first frame, on."""

    def __cinit__(self, uint32_t max_message_bytes=4 << 20, uint32_t max_ratio=256):
        cdef bytes seed = os.urandom(32)
        if not 1 <= max_message_bytes <= LARGEST:
            raise ValueError(f"max_message_bytes must be 1 to {LARGEST}, not {max_message_bytes}")
        if max_ratio < 1:
            raise ValueError(f"max_ratio must be at least 1, not {max_ratio}")
        self.name = "websocket"
        self.stream = True
        self.ws.largest = max_message_bytes
        self.ws.ratio = max_ratio
        self.ws.size = fh_ws_memory_bytes(max_message_bytes)
        self.ws.memory = <uint8_t *> malloc(self.ws.size)       # of which the system gives what is written to, no more
        self.ws.inflate.arena = <uint8_t *> calloc(1, FH_INFLATE_ARENA)
        if self.ws.memory == NULL or self.ws.inflate.arena == NULL:
            raise MemoryError()
        fh_masks_seed(&self.ws.answers.masks, <const uint8_t *> PyBytes_AsString(seed))
        fh_ws_reset(&self.ws)

    def __dealloc__(self):
        free(self.ws.memory)
        free(self.ws.inflate.arena)

    cdef void parse(self, const Packet *packet, Frame *frame, Message *out, int capacity) noexcept nogil:
        cdef const uint8_t *payload = NULL
        cdef uint32_t length = 0
        cdef int count = 0, what = self.held
        begin(frame, FRAME_NONE)
        frame.first_seq = 0
        frame.session[0] = frame.session[1] = 0
        if what != 0:                           # the messages before it went out with the last call
            self.held = 0
        else:
            fh_ws_begin(&self.ws)
            while count < capacity:
                what = fh_ws_next(&self.ws, packet.data, packet.len, &payload, &length)
                if what != FH_WS_MESSAGE:
                    break
                out[count].data = payload
                out[count].len = length
                out[count].reserved = self.ws.opcode
                count += 1
        if what == FH_WS_BROKEN and not self.broken:
            self.broken = True
            self.violations[self.ws.cause] += 1
        frame.more = what != 0 and (count > 0 or what != FH_WS_BROKEN)
        self.pending = packet.len - self.ws.position if frame.more else 0
        if count > 0:
            frame.kind = FRAME_UNSEQUENCED
            frame.count = count
            if what != FH_WS_MESSAGE and what != FH_WS_NO_ROOM:
                self.held = what
        elif what == FH_WS_PINGED or what == FH_WS_PONGED:
            frame.kind = FRAME_HEARTBEAT
            frame.detail = FH_WS_PING if what == FH_WS_PINGED else FH_WS_PONG
        elif what == FH_WS_CLOSED:
            frame.kind = FRAME_END
            frame.detail = <int> self.ws.close_code
        elif what == FH_WS_BROKEN:
            frame.kind = FRAME_BAD
            frame.detail = <int> fh_ws_close_code_of(self.ws.cause)

    cdef void reset(self) noexcept nogil:
        fh_ws_reset(&self.ws)
        self.held = 0
        self.broken = False
        self.pending = 0
        if self.ws.answers.outbox != NULL:
            fh_outbox_clear(self.ws.answers.outbox)

    def answer_with(self, Outbox outbox):
        """Put pongs and closes into this box from now on; None: answer nobody. Not while the line is polled."""
        self.box = outbox
        self.ws.answers.outbox = NULL if outbox is None else &outbox.box

    @property
    def replies(self):
        """The box that pongs and closes go into, for `StreamReceiver.answer_with`; made when it is first asked for. Until
        then nobody is answered: so it is with lines that are recorded or replayed."""
        if self.box is None:
            self.answer_with(Outbox())
        return self.box

    def closing(self):
        """The control path sends a close of its own on this connection: no answer may follow it."""
        fh_ws_closing(&self.ws.answers, 1)

    def negotiated(self, *, bint server_no_context_takeover=False):
        """Messages may be compressed from here on (permessage-deflate): for connections whose bytes begin with frames.

        Where they begin with the response head it is not needed: the framing reads that. Windows of any size are
        inflated. Raises ValueError when frames have come.
        """
        if self.ws.where != FH_WS_START:
            raise ValueError("compression is agreed on before the first frame: call begin_connection() first")
        if not fh_inflate_on(&self.ws.inflate, server_no_context_takeover):
            raise MemoryError("zlib takes more memory than was set aside for it")

    def read(self, const uint8_t[::1] data not None):
        """What one run of bytes holds, for tests and tools: a list of (opcode, payload) of whole messages and control frames.

        A violation ends it, and is told by `violation` and `failed`.
        """
        cdef Packet packet
        cdef Frame frame
        cdef Message messages[64]
        cdef int i
        packet.data = &data[0] if data.shape[0] else NULL
        packet.len = <uint32_t> data.shape[0]
        packet.ts_recv = 0
        packet.line = 0
        found = []
        frame.more = 1
        while frame.more:
            self.parse(&packet, &frame, messages, 64)
            for i in range(frame.count):
                found.append((messages[i].reserved, PyBytes_FromStringAndSize(<const char *> messages[i].data, messages[i].len)))
            if frame.kind == FRAME_HEARTBEAT or frame.kind == FRAME_END:
                found.append((FH_WS_CLOSE if frame.kind == FRAME_END else frame.detail,
                              PyBytes_FromStringAndSize(<const char *> self.ws.control, self.ws.control_have)))
        return found

    @property
    def failed(self):
        """The close code that a violation of this connection has; 0: there was none."""
        return fh_ws_close_code_of(self.ws.cause) if self.broken else 0

    @property
    def violation(self):
        """Why this connection is broken: a sentence with its section; "" while it is not."""
        return CAUSES[self.ws.cause] if self.broken else ""

    @property
    def close_code(self):
        """The code of the server's close, 1005 where it gave none; 0 before."""
        return self.ws.close_code

    @property
    def close_reason(self):
        """The reason in the server's close; "" where it gave none, and before."""
        if self.ws.close_code == 0 or self.ws.control_have <= 2:
            return ""
        return PyBytes_FromStringAndSize(<const char *> self.ws.control + 2, self.ws.control_have - 2).decode()

    @property
    def deflate(self):
        """Whether messages of this connection may come compressed."""
        return self.ws.inflate.on != 0

    @property
    def counts(self):
        """Of all connections so far: a dict of frames, fragments (frames of messages in several), pings, pongs, inflated
        (messages), copied (messages that are no views), answers (pongs and closes of ours), dropped (pongs that found no
        room in the outbox), and of violations by sentence."""
        found = {CAUSES[i]: self.violations[i] for i in range(FH_WS_CAUSES) if self.violations[i]}
        return {"frames": self.ws.frames, "fragments": self.ws.fragments, "pings": self.ws.pings, "pongs": self.ws.pongs,
                "inflated": self.ws.inflated, "copied": self.ws.copied, "violations": found,
                "answers": self.ws.answers.pongs + self.ws.answers.closes, "dropped": self.ws.answers.dropped}


def client_frame(int first, const uint8_t[::1] payload not None, bytes mask):
    """One frame as bytes: `first` is its first byte (FIN, RSV1-3, opcode), `mask` four random bytes, or None for a server's.

    Raises ValueError for another mask or a first byte that is none.
    """
    cdef uint32_t key = 0
    cdef uint64_t n = <uint64_t> payload.shape[0]
    if not 0 <= first <= 255:
        raise ValueError(f"the first byte must be 0 to 255, not {first}")
    if mask is not None:
        if len(mask) != 4:
            raise ValueError(f"a mask has 4 bytes, not {len(mask)}")
        memcpy(&key, <const char *> mask, 4)
    made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> fh_ws_frame_bytes(n, mask is not None))
    fh_ws_frame(<uint8_t *> PyBytes_AsString(made), <uint8_t> first, &payload[0] if n else NULL, n, mask is not None, key)
    return made


def extensions(str value not None):
    """What a response's Sec-WebSocket-Extensions agrees to, read as the framing reads it.

    None, or a dict of server_no_context_takeover, client_no_context_takeover, server_max_window_bits,
    client_max_window_bits. Raises ValueError for an extension or parameter that is not known, has no such value, or
    stands twice (RFC 7692 7.1).
    """
    cdef fh_ws_agreed agreed
    cdef bytes text = value.encode("latin-1", "replace")
    cdef const uint8_t *p = <const uint8_t *> PyBytes_AsString(text)
    memset(&agreed, 0, sizeof(agreed))
    if not fh_ws_extensions(p, p + PyBytes_GET_SIZE(text), &agreed):
        raise ValueError(f"Sec-WebSocket-Extensions: {value!r}: only permessage-deflate with its own parameters, each once, "
                         "was offered")
    if not agreed.deflate:
        return None
    return {"server_no_context_takeover": bool(agreed.server_alone),
            "client_no_context_takeover": bool(agreed.client_alone),
            "server_max_window_bits": agreed.server_bits, "client_max_window_bits": agreed.client_bits}

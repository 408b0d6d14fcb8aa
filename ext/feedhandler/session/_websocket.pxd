"""websocket.h for Cython, and the framing of one WebSocket connection, the client's side."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from feedhandler.session._framing cimport Frame, Framing
from feedhandler.session._outbox cimport Outbox, fh_outbox

cdef extern from "websocket.h" nogil:
    enum:
        FH_WS_TEXT
        FH_WS_BINARY
        FH_WS_CLOSE
        FH_WS_PING
        FH_WS_PONG
        FH_WS_MESSAGE
        FH_WS_PINGED
        FH_WS_PONGED
        FH_WS_CLOSED
        FH_WS_NO_ROOM
        FH_WS_BROKEN
        FH_WS_START
        FH_WS_IN_HEAD
        FH_WS_HEADER
        FH_WS_PAYLOAD
        FH_WS_END
        FH_WS_FAILED
        FH_WS_CAUSES
        FH_WS_HEAD_MAX
        FH_WS_HEADER_MAX
        FH_WS_CONTROL_MAX
        FH_INFLATE_ARENA
        FH_INFLATE_WINDOW

    struct fh_masks:
        pass

    struct fh_ws_answers:
        fh_outbox *outbox
        uint64_t pongs
        uint64_t closes
        uint64_t dropped
        fh_masks masks

    struct fh_ws_agreed:
        uint8_t deflate
        uint8_t server_alone
        uint8_t client_alone
        uint8_t server_bits
        uint8_t client_bits

    struct fh_ws_head:
        uint32_t have
        uint32_t state
        fh_ws_agreed agreed

    struct fh_inflate:
        uint8_t *arena
        uint32_t on
        uint32_t alone

    struct fh_utf8:
        uint8_t need
        uint8_t low
        uint8_t high

    struct fh_ws:
        uint8_t where
        uint8_t opcode
        uint8_t fin
        uint8_t message
        uint8_t compressed
        uint8_t cause
        uint8_t header_have
        uint8_t control_have
        uint8_t *memory
        uint8_t *header
        uint8_t *control
        uint64_t size
        uint64_t left
        uint64_t wire
        uint32_t position
        uint32_t largest
        uint32_t ratio
        uint32_t limit
        uint32_t start
        uint32_t have
        uint32_t close_code
        fh_ws_answers answers
        fh_utf8 utf8
        fh_inflate inflate
        fh_ws_head head
        uint64_t frames
        uint64_t fragments
        uint64_t pings
        uint64_t pongs
        uint64_t inflated
        uint64_t copied

    uint64_t fh_ws_memory_bytes(uint32_t largest)
    void fh_ws_reset(fh_ws *w)
    void fh_ws_begin(fh_ws *w)
    int fh_ws_first_two(const fh_ws *w, const uint8_t *h)
    uint32_t fh_ws_header_bytes(const uint8_t *h)
    int fh_ws_next(fh_ws *w, const uint8_t *data, uint32_t len, const uint8_t **payload, uint32_t *length)
    uint32_t fh_ws_close_code_of(int cause)
    int fh_ws_close_code_valid(uint32_t code)
    void fh_ws_closing(fh_ws_answers *a, uint32_t closing)
    void fh_masks_seed(fh_masks *m, const uint8_t *seed32)
    uint64_t fh_ws_frame_bytes(uint64_t n, int masked)
    uint64_t fh_ws_frame(uint8_t *to, uint8_t first, const uint8_t *payload, uint64_t n, int masked, uint32_t mask)
    int fh_inflate_on(fh_inflate *f, int alone)
    uint32_t fh_inflate_window(fh_inflate *f, uint8_t *to)
    int fh_inflate_resume(fh_inflate *f, int alone, const uint8_t *window, uint32_t length)
    int fh_ws_extensions(const uint8_t *p, const uint8_t *end, fh_ws_agreed *agreed)


cdef class WebSocketFraming(Framing):
    cdef fh_ws ws
    cdef Outbox box                         # where answers go; None: recorded or replayed, nobody is to be answered
    cdef readonly uint32_t pending          # bytes of the present run behind what was handed out: more is waiting
    cdef int held                           # what came behind the messages that the last call handed out; 0: nothing
    cdef bint broken                        # frames cannot be told apart any more; until reset()
    cdef uint64_t violations[FH_WS_CAUSES]

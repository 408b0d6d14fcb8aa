"""The hot thread asks, the control path answers: one Recovery per channel, two rings, no lock, no wait.

Asks go one way: ranges of numbers that are missing, the wish for a snapshot, and word that nothing is wanted any more. The
answers come the other way: retransmissions as they came off the wire, a snapshot in pieces, "freeze", "give up". Every ask
and every answer names the channel's epoch; an answer to an epoch that is over is dropped by the arbiter, which alone
decides what becomes of an answer. When a ring is full its producer tries again later: the hot thread at its next packet or
tick, the control path when its call has returned False.
"""
from collections import namedtuple

cimport cython
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from feedhandler._flags cimport fh_mailbox_look, fh_mailbox_put
from feedhandler._spsc cimport fh_spsc_begin, fh_spsc_end, fh_spsc_look, fh_spsc_put, fh_spsc_room, fh_spsc_took
from feedhandler._wire cimport fh_be16

cdef enum:
    PIECE_BYTES = 65536         # of a snapshot, taken in one turn; a longer message goes alone
    PACKET_BYTES = 65535        # of the largest datagram
    HEADER_BYTES = 16           # of a record; see spsc.h

Ask = namedtuple("Ask", ("kind", "epoch", "session", "first", "count", "ts"))


@cython.final
cdef class Recovery:
    """Recovery(...): what one channel's arbiter and its control path have between them.

    `asks`: how many may wait; `answer_bytes`: room for answers, both rounded up to a power of two. `snapshot`: a snapshot
    can be had, so the arbiter freezes where it would have to give up. `gap_limit`: a hole of more messages than this is
    not asked for. Each side belongs to one thread: asks() to snapshot() below are the control path's.
    """

    def __cinit__(self, *, int asks=1024, int64_t answer_bytes=8 << 20, bint snapshot=False,
                  int64_t gap_limit=100_000):
        if not 1 <= asks <= 1 << 20:
            raise ValueError(f"asks must be 1 to {1 << 20}, not {asks}")
        if not 1 << 18 <= answer_bytes <= 1 << 32:
            raise ValueError(f"answer_bytes must be {1 << 18} to {1 << 32}, not {answer_bytes}")
        if gap_limit < 1:
            raise ValueError(f"gap_limit must be at least 1, not {gap_limit}")
        self.snapshots = snapshot
        self.gap_limit = <uint64_t> gap_limit
        if not fh_spsc_begin(&self.asked, asks * (HEADER_BYTES + sizeof(Asked))):
            raise MemoryError()
        if not fh_spsc_begin(&self.answered, <uint64_t> answer_bytes):
            raise MemoryError()

    def __dealloc__(self):
        fh_spsc_end(&self.asked)
        fh_spsc_end(&self.answered)

    # -- the hot thread's side ----------------------------------------------------------------------------------------

    cdef bint ask(self, int kind, uint32_t epoch, const uint64_t *session, uint64_t first, uint64_t count,
                  int64_t ts) noexcept nogil:
        """Put one ask in; False: no room now."""
        cdef Asked *asked = <Asked *> fh_spsc_room(&self.asked, sizeof(Asked))
        if asked == NULL:
            return False
        asked.session[0] = session[0]
        asked.session[1] = session[1]
        asked.first = first
        asked.count = count
        asked.ts = ts
        asked.kind = <uint32_t> kind
        asked.epoch = epoch
        fh_spsc_put(&self.asked)
        return True

    cdef const Answer *look(self, uint32_t *length) noexcept nogil:
        """The oldest answer and the number of bytes behind its head, until took(); NULL: there is none."""
        cdef const uint8_t *record = fh_spsc_look(&self.answered, length)
        if record != NULL:
            length[0] -= sizeof(Answer)
        return <const Answer *> record

    cdef void took(self) noexcept nogil:
        fh_spsc_took(&self.answered)

    cdef void say_frozen(self, bint frozen) noexcept nogil:
        fh_mailbox_put(&self.frozen_box, frozen)

    # -- the control path's side --------------------------------------------------------------------------------------

    def asks(self):
        """All asks that wait, oldest first, as a list of Ask; they are taken."""
        cdef const Asked *asked
        cdef uint32_t length
        taken = []
        while True:
            asked = <const Asked *> fh_spsc_look(&self.asked, &length)
            if asked == NULL:
                return taken
            session = PyBytes_FromStringAndSize(<const char *> &asked.session[0], 16)
            taken.append(Ask(asked.kind, asked.epoch, session, asked.first, asked.count, asked.ts))
            fh_spsc_took(&self.asked)

    def packet(self, uint32_t epoch, bytes data not None):
        """Hand over a retransmission, as it came. False: no room now, offer it again later."""
        if PyBytes_GET_SIZE(data) > PACKET_BYTES:
            raise ValueError(f"a packet has at most {PACKET_BYTES} bytes, not {PyBytes_GET_SIZE(data)}")
        return self.put(ANSWER_PACKET, epoch, <const uint8_t *> PyBytes_AsString(data),
                        <uint32_t> PyBytes_GET_SIZE(data), 0, False, False)

    def freeze(self, uint32_t epoch):
        """From now on hand nothing out and keep everything: a snapshot is being fetched. False: no room now."""
        return self.put(ANSWER_FREEZE, epoch, NULL, 0, 0, False, False)

    def frozen(self):
        """Is the arbiter frozen: by freeze(), or of itself."""
        return fh_mailbox_look(&self.frozen_box) != 0

    def give_up(self, uint32_t epoch):
        """No rung is left: the channel goes STALE and flows on. False: no room now."""
        return self.put(ANSWER_GIVE_UP, epoch, NULL, 0, 0, False, False)

    def snapshot(self, uint32_t epoch, uint64_t number, bytes messages not None):
        """Hand over a whole snapshot: messages, each behind its length (u16, big-endian); `number` is the next live one.

        False: it is not all in the ring yet; call again with the same arguments. ValueError when the lengths do not add
        up, or for a number that cannot be.
        """
        cdef const uint8_t *data = <const uint8_t *> PyBytes_AsString(messages)
        cdef size_t total = <size_t> PyBytes_GET_SIZE(messages)
        cdef size_t end
        if not 1 <= number < <uint64_t> 1 << 63:
            raise ValueError(f"a snapshot's number must be 1 to {(1 << 63) - 1}, not {number}")
        if (self.sending is None or self.sending[:2] != (epoch, number)
                or (self.sending[2] is not messages and self.sending[2] != messages)):
            if piece_end(data, 0, total, total) != total:
                raise ValueError("the snapshot's messages do not add up to its bytes: hand over whole messages, each "
                                 "behind its length as two bytes, the high one first")
            self.sending = (epoch, number, messages)
            self.sent = 0
        while True:
            end = piece_end(data, self.sent, total, PIECE_BYTES)
            if not self.put(ANSWER_SNAPSHOT, epoch, data + self.sent, <uint32_t> (end - self.sent), number,
                            self.sent == 0, end == total):
                return False
            self.sent = end
            if end == total:
                self.sending = None
                return True

    cdef bint put(self, int kind, uint32_t epoch, const uint8_t *data, uint32_t length, uint64_t number, bint begins,
                  bint ends) noexcept:
        cdef uint8_t *record = fh_spsc_room(&self.answered, <uint32_t> sizeof(Answer) + length)
        cdef Answer *answer = <Answer *> record
        if record == NULL:
            return False
        answer.number = number
        answer.kind = <uint32_t> kind
        answer.epoch = epoch
        answer.begins = begins
        answer.ends = ends
        if length > 0:
            memcpy(record + sizeof(Answer), data, length)
        fh_spsc_put(&self.answered)
        return True

    # -- the hot thread's side for tests ------------------------------------------------------------------------------

    def tell(self, int kind, uint32_t epoch, bytes session not None, uint64_t first=0, uint64_t count=0, int64_t ts=0):
        """Ask as an arbiter does. False: no room now."""
        cdef uint64_t name[2]
        padded = session.ljust(16, b"\0")
        if len(padded) != 16:
            raise ValueError(f"a session has at most 16 bytes, not {len(padded)}")
        memcpy(name, PyBytes_AsString(padded), 16)
        return self.ask(kind, epoch, name, first, count, ts)

    def answers(self):
        """All answers that wait; they are taken. A list of (kind, epoch, number, bytes, begins, ends).

        Kinds are "packet", "freeze", "snapshot" and "give_up"; the last three fields are those of a snapshot's piece.
        """
        cdef const Answer *answer
        cdef uint32_t length
        taken = []
        while True:
            answer = self.look(&length)
            if answer == NULL:
                return taken
            data = PyBytes_FromStringAndSize(<const char *> answer + sizeof(Answer), length)
            taken.append((_KINDS[answer.kind], answer.epoch, answer.number, data, bool(answer.begins),
                          bool(answer.ends)))
            self.took()


_KINDS = {ANSWER_PACKET: "packet", ANSWER_FREEZE: "freeze", ANSWER_SNAPSHOT: "snapshot", ANSWER_GIVE_UP: "give_up"}


cdef size_t piece_end(const uint8_t *data, size_t start, size_t total, size_t most) noexcept nogil:
    """Where a piece ends that begins at `start`: whole messages, `most` bytes of them or one; short of a broken one."""
    cdef size_t at = start, size
    while total - at >= 2:
        size = 2 + <size_t> fh_be16(data + at)
        if size > total - at or (at > start and at + size - start > most):
            break
        at += size
    return at

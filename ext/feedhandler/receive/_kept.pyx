"""Live packets that are kept while a recording is played: one thread empties the live receiver into a ring of memory
(spsc.h), until another one, which plays the recording, takes ring and receiver over.

*The ring's two ends.* At first the keeping thread has both: when there is no more room it drops the oldest packets, which the
recording is the likeliest to have, and notes from where on it still has their line (`Need`). The playing thread claims the
far end; once that is granted the keeping thread only puts packets in, and drops the newest when there is no room. A claim may
be withdrawn: then the playing thread keeps off until the withdrawal has been seen.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap

from feedhandler._flags cimport fh_mailbox_look, fh_mailbox_put
from feedhandler._records cimport MESSAGES_MAX, Message, Packet
from feedhandler._spsc cimport (fh_spsc_look, fh_spsc_peek, fh_spsc_put, fh_spsc_room, fh_spsc_tail, fh_spsc_took,
                                fh_spsc_took_to)
from feedhandler.receive._receiver cimport RECEIVE_BATCH, Receiver
from feedhandler.session._framing cimport FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, Frame, Framing

cdef enum:
    WAIT_NS = 1_000_000         # for packets, between two looks at what the playing thread wants
    MEMORY_LEAST = 1 << 20

cdef struct Kept:               # head of a record of the ring; the payload follows
    int64_t ts_recv
    uint32_t line
    uint32_t reserved


@cython.final
cdef class KeptPackets:
    """KeptPackets(framings, memory): `framings` of the lines, of its own; `memory`: bytes, rounded up to a power of two.

    The memory is taken as it is needed.
    """

    def __cinit__(self, list framings not None, uint64_t memory):
        cdef int i
        cdef void *at
        cdef Framing framing
        if not MEMORY_LEAST <= memory <= 1 << 40:
            raise ValueError(f"memory must be {MEMORY_LEAST} to {1 << 40} bytes, not {memory}")
        self.parts = list(framings)
        self.framings = <void **> calloc(len(framings), sizeof(void *))
        self.needs = <Need *> calloc(len(framings), sizeof(Need))
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if self.framings == NULL or self.needs == NULL or self.messages == NULL:
            raise MemoryError()
        for i, framing in enumerate(framings):
            self.framings[i] = <void *> framing
        memory = <uint64_t> 1 << (<int> (memory - 1).bit_length())
        at = mmap(NULL, memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if at == MAP_FAILED:
            raise MemoryError(f"{memory:,} bytes to keep live packets in cannot be had")
        self.ring.bytes = <uint8_t *> at
        self.ring.size = memory

    def __dealloc__(self):
        self.forget()
        free(self.framings)
        free(self.needs)
        free(self.messages)

    cdef void forget(self) noexcept:
        """Give the memory back; neither thread uses it any more."""
        if self.ring.bytes != NULL:
            munmap(self.ring.bytes, self.ring.size)
            self.ring.bytes = NULL

    # -- the keeping thread -------------------------------------------------------------------------------------------

    cdef bint keep_all(self, Receiver live, bint streaming) noexcept nogil:
        """Keep what `live` brings until it is wanted itself: True; or until leave(). `streaming`: it has nothing yet."""
        cdef Packet packets[RECEIVE_BATCH]
        cdef int i, n
        while not fh_mailbox_look(&self.left):
            if fh_mailbox_look(&self.granted) != fh_mailbox_look(&self.claimed):
                fh_mailbox_put(&self.granted, not fh_mailbox_look(&self.granted))
            if fh_mailbox_look(&self.wanted):
                return True
            if streaming or self.failed:
                doze(WAIT_NS)
                continue
            n = live.poll(packets, RECEIVE_BATCH)
            if n > 0:
                for i in range(n):
                    self.keep(&packets[i])
                live.release()
            elif n == 0:
                live.wait(WAIT_NS)
            else:
                self.failed = n                     # told when all before it was played
        return False

    cdef void keep(self, const Packet *packet) noexcept nogil:
        cdef uint32_t length = <uint32_t> sizeof(Kept) + packet.len
        cdef uint8_t *room = fh_spsc_room(&self.ring, length)
        cdef Kept *head
        while room == NULL:
            if fh_mailbox_look(&self.granted) or not self.drop_oldest():
                self.refused += 1
                return
            room = fh_spsc_room(&self.ring, length)
        head = <Kept *> room
        head.ts_recv = packet.ts_recv
        head.line = packet.line
        memcpy(room + sizeof(Kept), packet.data, packet.len)
        if not self.needs[packet.line].known:
            self.note(packet, False)
        fh_spsc_put(&self.ring)
        self.kept += 1

    cdef bint drop_oldest(self) noexcept nogil:
        cdef Packet packet
        cdef uint32_t length
        cdef const uint8_t *record = fh_spsc_look(&self.ring, &length)
        if record == NULL:
            return False
        unpack(record, length, &packet)
        self.note(&packet, True)
        fh_spsc_took(&self.ring)
        self.dropped += 1
        return True

    cdef void note(self, const Packet *packet, bint dropped) noexcept nogil:
        """From where on the memory has the packet's line: from this one, or from what follows it."""
        cdef Frame frame
        cdef Need *need = &self.needs[packet.line]
        (<Framing> self.framings[packet.line]).parse(packet, &frame, self.messages, MESSAGES_MAX)
        if frame.kind not in (FRAME_DATA, FRAME_HEARTBEAT, FRAME_END) or frame.first_seq == 0:
            return
        need.session[0] = frame.session[0]
        need.session[1] = frame.session[1]
        need.number = frame.first_seq + (<uint64_t> frame.count if dropped else 0)
        fh_mailbox_put(&need.known, 1)

    # -- the playing thread -------------------------------------------------------------------------------------------

    cdef bint claim(self) noexcept nogil:
        """Is the ring's far end ours? Ask again until it is."""
        if not self.claimed:
            if not fh_mailbox_look(&self.granted):  # else an earlier claim is still in effect, which was withdrawn
                fh_mailbox_put(&self.claimed, 1)
            return False
        if not fh_mailbox_look(&self.granted):
            return False
        self.at = fh_spsc_tail(&self.ring)
        return True

    cdef void unclaim(self) noexcept nogil:
        """It may be the keeping thread's again; before the first take()."""
        if self.claimed:
            fh_mailbox_put(&self.claimed, 0)

    cdef bint take(self, Packet *packet) noexcept nogil:
        """The next packet, which stays until took(); False: there is none just now."""
        cdef uint32_t length
        cdef const uint8_t *record = fh_spsc_peek(&self.ring, &self.at, &length)
        if record == NULL:
            return False
        unpack(record, length, packet)
        return True

    cdef void took(self) noexcept nogil:
        """The packets given so far are done with."""
        fh_spsc_took_to(&self.ring, self.at)


cdef inline void unpack(const uint8_t *record, uint32_t length, Packet *packet) noexcept nogil:
    cdef const Kept *head = <const Kept *> record
    packet.data = record + sizeof(Kept)
    packet.len = length - <uint32_t> sizeof(Kept)
    packet.ts_recv = head.ts_recv
    packet.line = head.line

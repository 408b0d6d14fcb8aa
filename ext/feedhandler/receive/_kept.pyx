"""Live packets that are kept while a recording is played: one thread empties the live receiver into a ring of memory
(spsc.h), until another one, which plays the recording, takes ring and receiver over.

*The ring's two ends.* At first the keeping thread has both: when there is no more room it drops the oldest packets, which the
recording is the likeliest to have, and notes from where on it still has their line (`Need`). The playing thread claims the
far end; once that is granted the keeping thread only puts packets in, and drops the newest when there is no room. A claim may
be withdrawn: then the playing thread keeps off until the withdrawal has been seen.

*Streams* may lose nothing: where there is no room, they wait, and TCP with them. Between their packets stand the changes of their
connections, so that who plays them sees what the live receiver's status said. The keeping thread parses what it keeps, so that
pings are answered and a violation ends the connection, with the framings that go on live: they have then seen all of it.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.time cimport CLOCK_REALTIME
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

cdef struct Kept:               # head of a record of the ring; a packet's payload, or a Change, follows
    int64_t ts_recv
    uint32_t line
    uint32_t what               # KEPT_PACKET, KEPT_CHANGE


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
        self.changes = <Change *> calloc(len(framings), sizeof(Change))
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if self.framings == NULL or self.needs == NULL or self.changes == NULL or self.messages == NULL:
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
        free(self.changes)
        free(self.messages)

    cdef void forget(self) noexcept:
        """Give the memory back; neither thread uses it any more."""
        if self.ring.bytes != NULL:
            munmap(self.ring.bytes, self.ring.size)
            self.ring.bytes = NULL

    # -- the keeping thread -------------------------------------------------------------------------------------------

    cdef bint keep_all(self, Receiver live, int how) noexcept nogil:
        """Keep what `live` brings until it is wanted itself: True; or until leave(). `how`: KEEP_..."""
        cdef Packet packets[RECEIVE_BATCH]
        cdef int i, n
        while not fh_mailbox_look(&self.left):
            self.grant()
            if fh_mailbox_look(&self.wanted):
                return True
            if how == KEEP_NOTHING or self.failed:
                doze(WAIT_NS)
                continue
            n = live.poll(packets, RECEIVE_BATCH)
            if how == KEEP_STREAMS:
                self.keep_changes(live)
            if n > 0:
                for i in range(n):
                    if how == KEEP_STREAMS:
                        self.keep_run(&packets[i])
                    else:
                        self.keep(&packets[i])
                live.release()
            elif n == 0:
                live.wait(WAIT_NS)
            else:
                self.failed = n                     # told when all before it was played
        return False

    cdef void grant(self) noexcept nogil:
        """The ring's far end is the playing thread's, or ours again, as it says."""
        if fh_mailbox_look(&self.granted) != fh_mailbox_look(&self.claimed):
            fh_mailbox_put(&self.granted, not fh_mailbox_look(&self.granted))

    cdef void keep_changes(self, Receiver live) noexcept nogil:
        """What has become of the connections: before the packets of the poll that showed it."""
        cdef uint32_t line
        cdef Change *change
        cdef Kept *head
        for line in range(<uint32_t> live.lines):
            change = &self.changes[line]
            if change.connections == live.status[line].connections and change.state == live.status[line].state:
                continue
            if change.connections != live.status[line].connections:
                fh_mailbox_put(&self.needs[line].known, 0)
            change.line = line
            change.connections, change.state = live.status[line].connections, live.status[line].state
            head = <Kept *> self.wait_for_room(<uint32_t> (sizeof(Kept) + sizeof(Change)))
            if head == NULL:
                return
            head.ts_recv = clock(CLOCK_REALTIME)
            head.line = line
            head.what = KEPT_CHANGE
            memcpy(head + 1, change, sizeof(Change))
            fh_spsc_put(&self.ring)

    cdef void keep_run(self, const Packet *packet) noexcept nogil:
        """A run of a stream's bytes, and what its framing answers."""
        cdef Frame frame
        cdef Kept *head = <Kept *> self.wait_for_room(<uint32_t> sizeof(Kept) + packet.len)
        cdef Need *need = &self.needs[packet.line]
        if head == NULL:
            return
        head.ts_recv = packet.ts_recv
        head.line = packet.line
        head.what = KEPT_PACKET
        memcpy(head + 1, packet.data, packet.len)
        fh_spsc_put(&self.ring)
        self.kept += 1
        if not need.known:
            need.since = packet.ts_recv
            fh_mailbox_put(&need.known, 1)
        frame.more = 1
        while frame.more:
            (<Framing> self.framings[packet.line]).parse(packet, &frame, self.messages, MESSAGES_MAX)

    cdef uint8_t *wait_for_room(self, uint32_t length) noexcept nogil:
        """Room for a record, once there is some; NULL: leave() was called."""
        cdef uint8_t *room = fh_spsc_room(&self.ring, length)
        while room == NULL and not fh_mailbox_look(&self.left):
            self.grant()
            doze(WAIT_NS)
            room = fh_spsc_room(&self.ring, length)
        return room

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
        head.what = KEPT_PACKET
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

    cdef int take(self, Packet *packet, Change *change) noexcept nogil:
        """The next packet, which stays until took(), or the next change; KEPT_NONE: there is nothing just now."""
        cdef uint32_t length
        cdef const uint8_t *record
        self.before = self.at
        record = fh_spsc_peek(&self.ring, &self.at, &length)
        if record == NULL:
            return KEPT_NONE
        if (<const Kept *> record).what == KEPT_CHANGE:
            memcpy(change, record + sizeof(Kept), sizeof(Change))
            return KEPT_CHANGE
        unpack(record, length, packet)
        return KEPT_PACKET

    cdef void give_back(self) noexcept nogil:
        """The next take() gives the last one's again."""
        self.at = self.before

    cdef void took(self) noexcept nogil:
        """The packets given so far are done with."""
        fh_spsc_took_to(&self.ring, self.at)


cdef inline void unpack(const uint8_t *record, uint32_t length, Packet *packet) noexcept nogil:
    cdef const Kept *head = <const Kept *> record
    packet.data = record + sizeof(Kept)
    packet.len = length - <uint32_t> sizeof(Kept)
    packet.ts_recv = head.ts_recv
    packet.line = head.line

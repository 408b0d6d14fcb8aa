"""A recording read ahead by a thread of its own, so that no page fault and no unpacking falls into a sender's time.

Packets are copied once, in order, into a ring in memory (`spsc.h`), and handed out of it in place. The reading thread
sleeps while the ring is full; the sending one never waits: where nothing is ready it is told so.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport nanosleep, timespec

from feedhandler._counters cimport LN_BYTES, LN_PACKETS
from feedhandler._flags cimport fh_flag_load, fh_flag_store, fh_mailbox_look, fh_mailbox_put
from feedhandler._records cimport LINE_DOWN, LINE_UP, Packet
from feedhandler._spsc cimport fh_spsc, fh_spsc_free, fh_spsc_peek, fh_spsc_put, fh_spsc_room, fh_spsc_took_to
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH, Receiver

cdef enum:
    FULL_NS = 1000000           # the reader's sleep while there is no room, until a quarter of the ring is free: woken for
                                # every packet it would take the sender's CPU again and again
    LINES = 256
    NOT_WANTED = 255            # in the table of lines

cdef struct Head:               # of a packet in the ring
    int64_t ts_recv
    uint32_t length, line
    uint32_t connections        # LineStatus.connections when it was read
    uint32_t down               # no packet: the stream's line is down from here on


@cython.final
cdef class Ahead(Receiver):
    """Ahead(lines): read() and end() on the reading thread, everything else on the one that takes the packets.

    `room`: bytes of the ring, a power of two.
    """
    cdef fh_spsc *ring
    cdef uint64_t at                        # of what was handed out and is not released yet: its end
    cdef int over, stopping
    cdef uint8_t told[LINES]                # of each line, on the reading thread: it was said to be down
    cdef readonly uint64_t packets          # read so far
    cdef readonly int64_t first_ts, last_ts # of the packets read, as they are handed out

    def __cinit__(self, int lines=1, *, uint64_t room=1 << 24):
        if room & (room - 1) or room < 1 << 18:
            raise ValueError(f"room must be a power of two, 262144 or more, not {room}")
        self.ring = <fh_spsc *> calloc(1, sizeof(fh_spsc))
        if self.ring != NULL:
            self.ring.bytes = <uint8_t *> malloc(room)
        if self.ring == NULL or self.ring.bytes == NULL:
            raise MemoryError("replay: no memory to read ahead")
        self.ring.size = room
        memset(self.ring.bytes, 0, room)                    # every page is there

    def __dealloc__(self):
        if self.ring != NULL:
            free(self.ring.bytes)
        free(self.ring)

    def read(self, Receiver source not None, lines, int64_t shift=0):
        """All packets of `source` into the ring, their times moved by `shift` ns; waits for room.

        `lines`: which of ours each line of the source is, None for one that is left out. Ends early after stop().
        """
        cdef uint8_t table[LINES]
        cdef int i, n
        if len(lines) != source.lines:
            raise ValueError(f"a place for each of the source's {source.lines} lines, not {len(lines)}")
        memset(table, NOT_WANTED, LINES)
        for i, line in enumerate(lines):
            if line is not None:
                table[i] = self.check(line)
        with nogil:
            n = self.copy(source, table, shift)
        if n < 0 and n != END_OF_INPUT:
            raise OSError(-n, "poll() failed")

    def join(self, Receiver source not None, lines):
        """The source, of which something has gone by, will be read from here on: its streams stand as they stand.

        `lines` as of read(). Before anything is read or taken.
        """
        cdef int i
        for i, line in enumerate(lines):
            if line is not None:
                self.status[self.check(line)] = source.status[i]

    def end(self):
        """Nothing more will come."""
        fh_mailbox_put(&self.over, 1)

    def stop(self):
        """Have read() end. From any thread."""
        fh_flag_store(&self.stopping, 1)

    @property
    def stopped(self):
        """Whether stop() was called."""
        return fh_flag_load(&self.stopping) != 0

    cdef int copy(self, Receiver source, const uint8_t *table, int64_t shift) noexcept nogil:
        cdef Packet packets[RECEIVE_BATCH]
        cdef int i, n
        cdef uint8_t line
        while not fh_flag_load(&self.stopping):
            n = source.poll(packets, RECEIVE_BATCH)
            if not self.put_downs(source, table):
                return 0
            if n < 0:
                return n
            if n == 0:                                      # a file that grows
                source.wait(FULL_NS)
                continue
            for i in range(n):
                line = table[packets[i].line]
                if line != NOT_WANTED and not self.put(
                        &packets[i], line, source.status[packets[i].line].connections, shift, False):
                    return 0
            source.release()
        return 0

    cdef bint put_downs(self, Receiver source, const uint8_t *table) noexcept nogil:
        """Between two polls: the streams that have ended since the last, or are broken. False: as of put()."""
        cdef Packet nothing
        cdef int i
        cdef bint down
        nothing.data, nothing.len, nothing.line, nothing.ts_recv = NULL, 0, 0, 0
        for i in range(source.lines):
            if table[i] == NOT_WANTED or source.status[i].connections == 0:
                continue
            down = source.status[i].state == LINE_DOWN
            if down and not self.told[table[i]] and not self.put(
                    &nothing, table[i], source.status[i].connections, 0, True):
                return False
            self.told[table[i]] = down
        return True

    cdef bint put(self, const Packet *packet, uint32_t line, uint32_t connections, int64_t shift, bint down) noexcept nogil:
        """One packet, when there is room; False: nobody wants it any more."""
        cdef timespec pause
        cdef Head *head
        cdef uint8_t *room = fh_spsc_room(self.ring, sizeof(Head) + packet.len)
        while room == NULL:
            pause.tv_sec, pause.tv_nsec = 0, FULL_NS
            while True:
                if fh_flag_load(&self.stopping):
                    return False
                nanosleep(&pause, NULL)
                if fh_spsc_free(self.ring) >= self.ring.size // 4:
                    break
                pause.tv_nsec = min(pause.tv_nsec * 2, <int64_t> 16 * FULL_NS)
            room = fh_spsc_room(self.ring, sizeof(Head) + packet.len)
        head = <Head *> room
        head.ts_recv, head.length, head.line = packet.ts_recv + shift, packet.len, line
        head.connections, head.down = connections, down
        if packet.len > 0:
            memcpy(room + sizeof(Head), packet.data, packet.len)
        fh_spsc_put(self.ring)
        if down:
            return True
        if self.packets == 0:
            self.first_ts = head.ts_recv
        self.last_ts = head.ts_recv
        self.packets += 1
        return True

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef const uint8_t *record
        cdef const Head *head
        cdef uint64_t *own
        cdef uint64_t before = self.at
        cdef uint32_t length
        cdef int n = 0
        cdef bint over = fh_mailbox_look(&self.over)           # before the ring: what was put before the end is found
        while n < capacity:
            record = fh_spsc_peek(self.ring, &self.at, &length)
            if record == NULL:
                break
            head = <const Head *> record
            if head.down or head.connections != self.status[head.line].connections:
                if n > 0:                                   # packets before it are of the connection before
                    self.at = before
                    break
                self.status[head.line].connections = head.connections
                if head.down:
                    self.status[head.line].state = LINE_DOWN
                    return 0                                # to be seen before what comes next
            if head.connections > 0:
                self.status[head.line].state = LINE_UP
            out[n].data = record + sizeof(Head)
            out[n].len, out[n].line, out[n].ts_recv = head.length, head.line, head.ts_recv
            own = self.counters + head.line * self.counter_stride
            own[LN_PACKETS] += 1
            own[LN_BYTES] += head.length
            n += 1
            before = self.at
        if n == 0 and capacity > 0 and over:
            self.ended = True
            return END_OF_INPUT
        return n

    cdef void release(self) noexcept nogil:
        fh_spsc_took_to(self.ring, self.at)

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        cdef timespec pause
        pause.tv_sec, pause.tv_nsec = 0, min(timeout_ns, <int64_t> 100000)
        nanosleep(&pause, NULL)
        return 1

"""The recorder's hot thread: poll, copy into the ring, release. It never waits for whoever writes.

What finds no room in the ring is counted, by line, and the line's next record says how many packets and bytes are missing
before it: the place of a loss is known, not its number alone. Nothing of a stream is lost so: while the ring has no room
for what one poll may bring, streams are not read, and their servers wait as TCP has it.
"""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from feedhandler._flags cimport fh_flag_load, fh_flag_store, fh_mailbox_look, fh_mailbox_put
from feedhandler._records cimport LINE_UP, Packet
from feedhandler._seqlock cimport fh_load, fh_pause, fh_store
from feedhandler._spsc cimport fh_spsc_begin, fh_spsc_end, fh_spsc_look, fh_spsc_put, fh_spsc_room, fh_spsc_took
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH, Receiver
from feedhandler.receive._stream cimport StreamReceiver
from feedhandler.receive._wait cimport fh_realtime_ns

from os import strerror

from feedhandler.errors import ReceiverError

cdef enum:
    WAIT_SPIN = 0
    WAIT_ADAPTIVE = 1
    WAIT_BLOCK = 2
    RECORD_BYTES = 128          # of a record of the ring, beside its bytes
    SLEEP_NS = 1000000          # an idle thread looks whether it is to stop so often

_WAITING = {"spin": WAIT_SPIN, "adaptive": WAIT_ADAPTIVE, "block": WAIT_BLOCK}


cdef inline int64_t _monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t> now.tv_sec * 1000000000 + now.tv_nsec


@cython.final
cdef class Intake:
    """Intake(receiver, *, buffer_bytes, wait, spin_us): what `receiver` gives, in a ring of `buffer_bytes` (2**n)."""

    def __cinit__(self, Receiver receiver not None, *, int64_t buffer_bytes=1 << 26, str wait="adaptive",
                  int spin_us=50):
        if buffer_bytes < 1 << 20 or buffer_bytes & (buffer_bytes - 1):
            raise ValueError(f"buffer_bytes must be a power of two of at least {1 << 20}, not {buffer_bytes}")
        if receiver.lines > INTAKE_LINES:
            raise ValueError(f"at most {INTAKE_LINES} lines can be recorded by one thread, not {receiver.lines}")
        self.receiver = receiver
        if isinstance(receiver, StreamReceiver):
            self.streams = True
            self.at_once = receiver.lines * (<int64_t> (<StreamReceiver> receiver).buffer_bytes + RECORD_BYTES)
            if 2 * self.at_once > buffer_bytes:
                raise ValueError(f"buffer_bytes must be {2 * self.at_once} at least for {receiver.lines} streams")
        self.waiting = _WAITING[wait]
        self.spin_ns = spin_us * 1000
        if not fh_spsc_begin(&self.ring, <uint64_t> buffer_bytes):
            raise MemoryError(f"no memory for {buffer_bytes} bytes that may wait for the disk ([record] buffer_bytes)")

    def __dealloc__(self):
        fh_spsc_end(&self.ring)

    def run(self):
        """Take what comes until stop() or the end of the input, without the GIL. True at the end of the input.

        Raises ReceiverError when the receiver fails. Afterwards over() is true once the ring is empty.
        """
        cdef int rc
        try:
            with nogil:
                rc = self.loop()
        finally:
            fh_mailbox_put(&self.done, 1)
        if rc < 0 and rc != END_OF_INPUT:
            raise ReceiverError(f"receiving failed: {strerror(-rc)}")
        return rc == END_OF_INPUT

    def stop(self):
        """Let run() return."""
        fh_flag_store(&self.stopping, 1)

    @property
    def held_ns(self):
        """For how long streams were not read, because what had come before found no room."""
        return fh_load(&self.held)

    def counts(self, int line):
        """(packets, bytes, lost packets, lost bytes) of a line so far; the lost ones are among the others."""
        self.receiver.check(line)
        return (fh_load(&self.packets[line]), fh_load(&self.bytes[line]), fh_load(&self.lost[line]),
                fh_load(&self.lost_bytes[line]))

    cdef int loop(self) noexcept nogil:
        cdef Packet packets[RECEIVE_BATCH]
        cdef int64_t idle_since = 0, now
        cdef int i, n, rc
        cdef uint32_t line
        while not fh_flag_load(&self.stopping):
            if self.streams and fh_spsc_room(&self.ring, <uint32_t> self.at_once) == NULL:
                self.hold()
                continue
            n = self.receiver.poll(packets, RECEIVE_BATCH)
            if n > 0:
                for i in range(n):
                    line = packets[i].line
                    fh_store(&self.packets[line], self.packets[line] + 1)
                    fh_store(&self.bytes[line], self.bytes[line] + packets[i].len)
                    if self.receiver.status[line].connections != self.connection[line]:
                        self.connection[line] = self.receiver.status[line].connections
                        self.up[line] = True
                    if not self.put(line, TAKEN_PACKET, packets[i].ts_recv, packets[i].data, packets[i].len, 0):
                        fh_store(&self.lost[line], self.lost[line] + 1)
                        fh_store(&self.lost_bytes[line], self.lost_bytes[line] + packets[i].len)
                self.receiver.release()
            if self.streams:
                self.watch_ends()
            if n > 0:
                idle_since = 0
                continue
            if n < 0:
                return n
            if self.waiting == WAIT_SPIN:
                fh_pause()
                continue
            if self.waiting == WAIT_ADAPTIVE:
                now = _monotonic()
                if idle_since == 0:
                    idle_since = now
                if now - idle_since < self.spin_ns:
                    fh_pause()
                    continue
            rc = self.receiver.wait(SLEEP_NS)
            if rc < 0:
                return rc
        return 0

    cdef void hold(self) noexcept nogil:
        """Streams wait for the disk."""
        cdef timespec pause
        cdef int64_t began = _monotonic()
        pause.tv_sec = 0
        pause.tv_nsec = SLEEP_NS
        nanosleep(&pause, NULL)
        fh_store(&self.held, self.held + <uint64_t> (_monotonic() - began))

    cdef bint put(self, uint32_t line, int kind, int64_t ts, const uint8_t *data, uint32_t length,
                  int32_t error) noexcept nogil:
        """A record into the ring; False: there is no room for it."""
        cdef Taken *taken = <Taken *> fh_spsc_room(&self.ring, <uint32_t> sizeof(Taken) + length)
        if taken == NULL:
            return False
        taken.ts_recv = ts
        taken.lost = <uint32_t> (self.lost[line] - self.lost_said[line])
        taken.lost_bytes = self.lost_bytes[line] - self.lost_bytes_said[line]
        self.lost_said[line] = self.lost[line]
        self.lost_bytes_said[line] = self.lost_bytes[line]
        taken.line = line
        taken.connection = self.connection[line]
        taken.error = error
        taken.kind = kind
        taken.ts_kind = self.receiver.status[line].ts_kind
        if length:
            memcpy(<uint8_t *> (taken + 1), data, length)
        fh_spsc_put(&self.ring)
        return True

    cdef void watch_ends(self) noexcept nogil:
        """Of streams: the ends of connections; one that finds no room is put at a later turn."""
        cdef int line
        for line in range(self.receiver.lines):
            if self.up[line] and self.receiver.status[line].state != LINE_UP:
                self.up[line] = not self.put(line, TAKEN_END, fh_realtime_ns(), NULL, 0,
                                             self.receiver.status[line].error)

    # -- the writer's side --------------------------------------------------------------------------------------------

    cdef const Taken *look(self, uint32_t *length) noexcept nogil:
        """The oldest record, and the bytes behind its head, until took(); NULL: there is none."""
        cdef const uint8_t *record = fh_spsc_look(&self.ring, length)
        if record != NULL:
            length[0] -= sizeof(Taken)
        return <const Taken *> record

    cdef void took(self) noexcept nogil:
        fh_spsc_took(&self.ring)

    cdef bint over(self) noexcept nogil:
        """Nothing more will be put. Asked before look(): what was put before is then there to be seen."""
        return fh_mailbox_look(&self.done)

"""Where the messages of a sender come from, and when each of them is due."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy
from posix.time cimport nanosleep, timespec

from feedhandler._records cimport MESSAGES_MAX, Packet
from feedhandler._wire cimport fh_be16, fh_be48, fh_put_be16
from feedhandler.receive._receiver cimport Receiver
from feedhandler.session._framing cimport FRAME_DATA, FRAME_UNSEQUENCED, Frame, Framing
from feedhandler.simulate._schedule cimport Schedule

from feedhandler.errors import ConfigError

cdef enum:
    TIME_OFFSET = 5             # of the six bytes of time in every ITCH message
    TIME_END = 11
    STAMP = 8                   # bytes of a block's time
    STARVED_NS = 100000         # between two looks at a source that has nothing ready


cdef class BlockSource:
    cdef Py_ssize_t fill(self, uint8_t *out, Py_ssize_t capacity) noexcept nogil:
        """Bytes of whole blocks written, 0 at the end. `capacity` is at least FEED_BYTES / 2."""
        return 0

    @property
    def error(self):
        """The CaptureError that ended the source before its time, or None."""
        return None


cdef class ReceiverBlocks(BlockSource):
    """The messages of a file that `receive.capture.receiver` opened, for a sender.

    `framing` cuts a capture's packets into messages, of which each sequence number is taken once, whichever line has it
    first; what the capture lacks is counted in `missing`. Without it the receiver reads a BinaryFILE. `timed`: each
    message bears the time of the packet that it came in.
    """

    def __cinit__(self, Receiver receiver not None, Framing framing=None, *, bint timed=False):
        if timed and framing is None:
            raise ConfigError("simulate: the messages of a BinaryFILE have no packets whose times they could bear")
        self.timed = timed
        self.receiver = receiver
        self.framing = framing
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if self.messages == NULL:
            raise MemoryError("simulate: no memory for the messages of a packet")

    def __dealloc__(self):
        free(self.messages)

    cdef Py_ssize_t fill(self, uint8_t *out, Py_ssize_t capacity) noexcept nogil:
        cdef uint8_t *start = out
        cdef uint8_t *end = out + capacity
        cdef const Packet *packet
        cdef timespec pause
        pause.tv_sec, pause.tv_nsec = 0, STARVED_NS
        while True:
            while self.at < self.count:
                packet = &self.packets[self.at]
                if end - out < self.needs(packet):
                    return out - start
                if self.framing is None:
                    memcpy(out, packet.data, packet.len)
                    out += packet.len
                else:
                    out += self.unwrap(packet, out)
                self.at += 1
            self.receiver.release()
            self.at = 0
            if out > start:
                self.count = 0
                return out - start
            self.count = self.receiver.poll(self.packets, 64)
            while self.count == 0:                          # read ahead by another thread, which is not so far yet
                nanosleep(&pause, NULL)
                self.count = self.receiver.poll(self.packets, 64)
            if self.count < 0:
                self.count = 0
                return 0

    cdef Py_ssize_t needs(self, const Packet *packet) noexcept nogil:
        """Bytes that a packet's blocks take at most."""
        return <Py_ssize_t> packet.len + (STAMP * (<Py_ssize_t> packet.len // 3 + 1) if self.timed else 0)

    cdef Py_ssize_t unwrap(self, const Packet *packet, uint8_t *out) noexcept nogil:
        """The messages of one packet that have not been there yet, as blocks: never more bytes than the packet has."""
        cdef Frame frame
        cdef Py_ssize_t size = 0
        cdef uint64_t number
        cdef int i
        self.framing.parse(packet, &frame, self.messages, MESSAGES_MAX)
        if frame.kind != FRAME_DATA and frame.kind != FRAME_UNSEQUENCED:
            return 0
        if frame.session[0] != self.session[0] or frame.session[1] != self.session[1]:
            self.session[0], self.session[1] = frame.session[0], frame.session[1]
            self.expected = 0
        for i in range(frame.count):
            if frame.kind == FRAME_DATA:
                number = frame.first_seq + <uint64_t> i
                if number < self.expected:
                    self.duplicates += 1
                    continue
                if self.expected > 0:
                    self.missing += number - self.expected
                self.expected = number + 1
            if self.messages[i].len > 0:
                if self.timed:
                    memcpy(out + size, &packet.ts_recv, STAMP)
                    size += STAMP
                fh_put_be16(out + size, <uint16_t> self.messages[i].len)
                memcpy(out + size + 2, self.messages[i].data, self.messages[i].len)
                size += 2 + self.messages[i].len
        return size

    @property
    def error(self):
        return getattr(self.receiver, "error", None)


cdef class Feed:
    """A source of messages and their schedule, which counts from one fixed start: lateness is not forgiven.

    `rate`: so many messages a second. `speed`: by the messages' times, so many times as fast as they say: those that the
    source tells, else the messages' own (ITCH) ones.
    Neither: every message is due at once.
    """

    def __cinit__(self, BlockSource source not None, *, rate=None, speed=None):
        if rate is not None and speed is not None:
            raise ConfigError("simulate: give rate (messages per second) or speed (times as fast as recorded), not both")
        if rate is not None and not 0 < rate <= 1e9:
            raise ConfigError(f"simulate: rate must be over 0 and at most 1e9 messages per second, not {rate}")
        if speed is not None and not 0 < speed <= 1e6:
            raise ConfigError(f"simulate: speed must be over 0 and at most 1e6 times, not {speed}")
        self.source = source
        self.interval = 1e9 / rate if rate is not None else 0
        self.speed = speed if speed is not None else 0
        self.first_time = -1
        self.kept = Schedule(speed=speed, rate=rate)
        self.buffer = <uint8_t *> malloc(FEED_BYTES)
        if self.buffer == NULL:
            raise MemoryError("simulate: no memory for messages")

    def __dealloc__(self):
        free(self.buffer)

    cdef void begin(self, int64_t now) noexcept nogil:
        """The start instant."""
        self.start = now

    cdef const uint8_t *peek(self, uint32_t *length) noexcept nogil:
        """The next block and the length of its message; NULL when there is none. Valid until the next call."""
        cdef const uint8_t *block
        cdef Py_ssize_t stamp = STAMP if self.source.timed else 0
        if self.exhausted:
            return NULL
        if self.at == self.end:
            self.at = 0
            self.end = self.source.fill(self.buffer, FEED_BYTES)
        block = self.buffer + self.at + stamp
        if (self.end - self.at < stamp + 2 or fh_be16(block) == 0
                or self.end - self.at - stamp - 2 < <Py_ssize_t> fh_be16(block)):
            self.exhausted = True                           # the end, or its mark
            return NULL
        if stamp > 0:
            memcpy(&self.time, block - stamp, STAMP)
        length[0] = fh_be16(block)
        return block

    cdef int64_t due(self) noexcept nogil:
        """When the next message is due, on the clock of begin(); NEVER when there is none."""
        cdef uint32_t length
        cdef const uint8_t *block = self.peek(&length)
        cdef int64_t time
        if block == NULL:
            return NEVER
        if self.speed > 0 and (self.source.timed or length >= TIME_END):
            time = self.time if self.source.timed else <int64_t> fh_be48(block + 2 + TIME_OFFSET)
            if self.first_time < 0:
                self.first_time = time
            return self.start + <int64_t> (<double> (time - self.first_time) / self.speed)
        return self.start + <int64_t> (<double> self.taken * self.interval)

    cdef void advance(self) noexcept nogil:
        self.at += STAMP if self.source.timed else 0
        self.at += 2 + fh_be16(self.buffer + self.at)
        self.taken += 1

    cdef uint32_t pack(self, int64_t now, uint8_t *out, uint32_t capacity, uint32_t *messages) noexcept nogil:
        """Bytes of whole blocks that are due and fit; `messages` is set to their number, at most 65,534."""
        cdef uint32_t size = 0, length, count = 0
        cdef const uint8_t *block
        while count < 0xFFFE and self.due() <= now:
            block = self.peek(&length)
            if size + 2 + length > capacity:
                break
            memcpy(out + size, block, 2 + length)
            size += 2 + length
            count += 1
            self.advance()
        messages[0] = count
        return size

    def take(self, uint8_t[::1] buffer not None, int64_t now):
        """(bytes, messages) of the whole blocks that are due at `now` and fit into `buffer`, put there.

        Bytes 0: nothing is due, or `ended`, or `buffer` is too small.
        """
        cdef uint32_t messages = 0, size
        with nogil:
            size = self.pack(now, &buffer[0], <uint32_t> buffer.shape[0], &messages)
        return size, messages

    def take_sequenced(self, uint8_t[::1] buffer not None, int64_t now):
        """As take(), each message as a SoupBinTCP Sequenced Data packet: u16 length, `S`, message."""
        cdef uint32_t length, size = 0, room = <uint32_t> buffer.shape[0], messages = 0
        cdef uint8_t *out = &buffer[0]
        cdef const uint8_t *block
        cdef int64_t due
        with nogil:
            while True:
                due = self.due()
                if due > now:
                    break
                block = self.peek(&length)
                if size + 3 + length > room or length == 0xFFFF:
                    break
                fh_put_be16(out + size, <uint16_t> (length + 1))
                out[size + 2] = c"S"
                memcpy(out + size + 3, block + 2, length)
                size += 3 + length
                messages += 1
                self.advance()
                self.kept.sent(due, now)
        return size, messages

    def start_at(self, int64_t now):
        """Set the start instant of the schedule."""
        self.begin(now)

    def next_due(self):
        """When the next message is due, on the clock of take(); None at the end."""
        cdef int64_t due
        with nogil:
            due = self.due()
        return None if due == NEVER else due

    @property
    def ended(self):
        """There is nothing more to come."""
        return self.exhausted

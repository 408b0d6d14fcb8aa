"""What all decoders share: memory, counters, the way from a feed's names to instruments, and the door for Python."""
import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from feedhandler._counters cimport (CH_INSTRUMENTS_FULL, CH_LONGER, CH_UNKNOWN_INSTRUMENT, CH_UNKNOWN_TYPE,
                                    CHANNEL_COUNTERS_USED)
from feedhandler._records cimport CHANNEL_COUNTERS, INSTRUMENT_TEST, MAX_EVENTS_PER_MESSAGE, Message
from feedhandler._symbols cimport fh_name_slot
from feedhandler._wire cimport fh_be16, fh_le16
from feedhandler._records import EVENT as _EVENT

cdef extern from *:
    void fh_prefetch "__builtin_prefetch" (const void *address) noexcept nogil

cdef enum:
    IDS = 65536
    AHEAD = 1024                # bytes that decode_file() asks the memory for in advance
    PACKET = 24                 # messages that decode_file() hands over at a time, about what a datagram holds

_WORDS = ("seq", "ts_event", "ts_recv", "order_id", "price", "size", "channel_seq", "instrument")
assert [_EVENT.fields[name][1] for name in _WORDS] == list(range(0, 64, 8)), "put() no longer fits struct Event"
assert [_EVENT.fields[name][1] for name in ("action", "side", "flags", "line")] == [60, 61, 62, 63]


cdef class Decoder:
    """Decoder(instruments, channel, venue): rendered subclasses only; `feedhandler.decode.decoder()` makes them."""

    def __cinit__(self, Instruments instruments not None, int channel=0, str venue not None="", *args):
        cdef bytes name = venue.encode("ascii")
        cdef uint32_t places
        if len(name) > 8:
            raise ValueError(f"a venue has at most 8 characters: {venue!r}")
        if not 0 <= channel < 65536:
            raise ValueError(f"channel must be 0 to 65535, not {channel}")
        self.instruments = instruments
        self.channel = <uint16_t> channel
        memset(self.venue, 0, 8)
        memcpy(self.venue, <const char *> name, <size_t> len(name))
        places = 1 << (<int> (2 * instruments.capacity - 1)).bit_length()
        self.names_mask = places - 1
        self.by_id = <uint32_t *> calloc(IDS, sizeof(uint32_t))
        self.names = <uint64_t *> calloc(places, 2 * sizeof(uint64_t))
        self.types = <uint64_t *> calloc(256, sizeof(uint64_t))
        self.own_counters = <uint64_t *> calloc(CHANNEL_COUNTERS, sizeof(uint64_t))
        if self.by_id == NULL or self.names == NULL or self.types == NULL or self.own_counters == NULL:
            raise MemoryError()
        self.counters = self.own_counters

    def __dealloc__(self):
        free(self.by_id)
        free(self.names)
        free(self.types)
        free(self.own_counters)

    cdef int decode(self, const Run *run, int32_t first, Event *out, int capacity, int32_t *taken) noexcept nogil:
        taken[0] = 0
        return 0

    cdef bint valid(self, const uint8_t *data, uint32_t len) noexcept nogil:
        """Whether decode() would take this message; nothing is changed or counted."""
        return False

    cdef void begin(self, int64_t midnight, uint32_t session_date) noexcept nogil:
        """A new session or day: the feed's names are forgotten, times count from this midnight (0 = unknown)."""
        self.midnight = midnight
        self.session_date = session_date
        memset(self.by_id, 0, IDS * sizeof(uint32_t))
        memset(self.names, 0, (<size_t> self.names_mask + 1) * 2 * sizeof(uint64_t))
        self.names_used = 0

    cdef void bind(self, uint64_t *counters) noexcept:
        """Count into the segment's channel record from now on; what was counted before is carried over."""
        cdef int i
        for i in range(CHANNEL_COUNTERS):
            counters[i] += self.counters[i]
        self.counters = counters

    cdef uint32_t name(self, uint32_t feed_id, const uint8_t *symbol, uint32_t length) noexcept nogil:
        cdef uint64_t full = self.instruments.full
        cdef uint32_t index = self.instruments.define(<const char *> symbol, length, self.venue, self.channel)
        cdef InstrumentRecord *record
        if index == 0:
            self.counters[CH_INSTRUMENTS_FULL] += self.instruments.full - full
            return 0
        record = &self.instruments.records[index]
        if record.channel != self.channel:      # another channel keeps this book: two writers would spoil it
            return 0
        record.feed_id = feed_id
        record.session_date = self.session_date
        record.price_decimals = self.price_decimals
        record.size_decimals = self.size_decimals
        if feed_id != 0:
            self.by_id[feed_id] = index
        elif length == 8:
            self.remember(symbol, index)
        return index

    cdef void remember(self, const uint8_t *symbol, uint32_t index) noexcept nogil:
        """Find this spelling of the symbol at once from now on, unless half of the table is in use."""
        cdef uint64_t as_sent
        cdef uint32_t at
        memcpy(&as_sent, symbol, 8)
        at = fh_name_slot(as_sent, self.names_mask)
        if self.names_used > self.names_mask // 2:
            return
        while self.names[2 * at + 1] != 0:
            if self.names[2 * at] == as_sent:
                return
            at = (at + 1) & self.names_mask
        self.names[2 * at] = as_sent
        self.names[2 * at + 1] = index
        self.names_used += 1

    cdef void enter(self, uint32_t feed_id, const uint8_t *symbol, uint32_t length, uint64_t lot, bint test) noexcept nogil:
        cdef uint32_t index = self.name(feed_id, symbol, length)
        cdef InstrumentRecord *record
        if index == 0:
            self.counters[CH_UNKNOWN_INSTRUMENT] += 1
            return
        record = &self.instruments.records[index]
        record.lot = lot
        record.flags = (record.flags & ~<uint32_t> INSTRUMENT_TEST) | (<uint32_t> INSTRUMENT_TEST if test else 0)

    # The door for Python: tests, tools and measurements. The handler does not come this way.

    def start(self, int64_t midnight=0, uint32_t session_date=0):
        """A new session: times count from `midnight` (ns since the Unix epoch, 0 = unknown), ids are forgotten."""
        self.begin(midnight, session_date)

    def accepts(self, const uint8_t[::1] message not None):
        """Whether this message is well-formed; nothing is changed or counted."""
        if message.shape[0] == 0:
            return self.valid(NULL, 0)
        return self.valid(&message[0], <uint32_t> message.shape[0])

    def decode_bytes(self, messages, uint64_t first_seq=1, int64_t ts_recv=0, uint32_t line=0, capacity=None):
        """The events of a list of messages up to the first that is malformed, dtype EVENT; `taken` says how many.

        `first_seq` is the number of the first message, 0 for unsequenced. `capacity` is how many events one call of
        decode() may make at most;
        None = as many as messages of tables can have.
        """
        cdef list wires = [bytes(m) for m in messages]
        cdef Py_ssize_t count = len(wires), i
        cdef Event[::1] events
        cdef Run run
        cdef int32_t taken = 0, done = 0
        cdef int made = 1
        self.taken = 0
        if capacity is None:
            capacity = max(1, count) * MAX_EVENTS_PER_MESSAGE
        if capacity < MAX_EVENTS_PER_MESSAGE:
            raise ValueError(f"capacity must be at least {MAX_EVENTS_PER_MESSAGE}, not {capacity}")
        made_array = np.zeros(capacity, _EVENT)
        if count == 0:
            return made_array[:0]
        block_memory = bytearray(count * <Py_ssize_t> sizeof(Message))
        cdef Message *block = <Message *> <char *> block_memory
        for i in range(count):
            block[i].data = <const uint8_t *> <const char *> wires[i]
            block[i].len = <uint32_t> len(wires[i])
        run.messages = block
        run.first_seq = first_seq
        run.ts_recv = ts_recv
        run.count = <int32_t> count
        run.line = line
        events = made_array
        parts = []
        while done < run.count and (taken > 0 or made > 0):
            made = self.decode(&run, done, &events[0], <int> events.shape[0], &taken)
            parts.append(made_array[:made].copy())
            done += taken
        self.taken = done
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def decode_file(self, buffer, bint big_endian=True):
        """Decode length-prefixed messages in memory into a reused batch: (messages, events, malformed ones left out).

        The walk ends at a length of 0 (the end of a BinaryFILE) or where a message would pass the end of the buffer.
        """
        cdef Py_buffer view
        cdef Message blocks[PACKET]
        cdef Event events[PACKET * MAX_EVENTS_PER_MESSAGE]
        cdef const uint8_t *at
        cdef const uint8_t *end
        cdef Run run
        cdef int32_t first, taken, count
        cdef int events_made
        cdef uint32_t length = 0
        cdef uint64_t messages = 0, made = 0, malformed = 0
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        with nogil:
            at = <const uint8_t *> view.buf
            end = at + view.len
            run.messages = blocks
            run.first_seq = 1
            run.ts_recv = 0
            run.line = 0
            while True:
                count = 0
                while count < PACKET and end - at >= 2:
                    fh_prefetch(at + AHEAD)         # may point past the end: a prefetch never faults
                    length = fh_be16(at) if big_endian else fh_le16(at)
                    if length == 0 or end - at - 2 < <Py_ssize_t> length:
                        end = at
                        break
                    blocks[count].data = at + 2
                    blocks[count].len = length
                    count += 1
                    at += 2 + length
                if count == 0:
                    break
                run.count = count
                first = 0
                while first < count:
                    events_made = self.decode(&run, first, events, PACKET * MAX_EVENTS_PER_MESSAGE, &taken)
                    made += <uint64_t> events_made
                    first += taken
                    if events_made == 0 and taken == 0:
                        malformed += 1
                        first += 1
                messages += <uint64_t> count
                run.first_seq += <uint64_t> count
        PyBuffer_Release(&view)
        return messages, made, malformed

    @property
    def counts(self):
        """Messages taken so far by type: {type byte as a character: messages}; a message without bytes is "\\0"."""
        return {chr(i): self.types[i] for i in range(256) if self.types[i]}

    @property
    def longer(self):
        """Messages longer than their table; the known prefix was used."""
        return self.counters[CH_LONGER]

    @property
    def unknown_type(self):
        """Messages of types that the table does not know, skipped."""
        return self.counters[CH_UNKNOWN_TYPE]

    @property
    def unknown_instrument(self):
        """Messages whose instrument has no directory entry; their events bear instrument 0."""
        return self.counters[CH_UNKNOWN_INSTRUMENT]

    @property
    def instruments_full(self):
        """Definitions refused for want of room in the directory."""
        return self.counters[CH_INSTRUMENTS_FULL]

"""The messages of a session, kept for those who ask for them again.

Memory is bounded and taken as it is first used: what is older than the rings hold is forgotten, as a real server does.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from feedhandler._wire cimport fh_be16

from feedhandler.errors import ConfigError

cdef enum:
    MEAN_BYTES = 64             # of a message with its length, unless the caller says how many bytes there should be
    BYTES_MIN = 1 << 17         # the longest message must fit


cdef class Tap:
    cdef void take(self, const uint8_t *blocks, Py_ssize_t size) noexcept nogil:
        """`blocks`: whole messages, u16 big-endian length before each."""
        pass

    def append(self, const uint8_t[::1] blocks not None):
        """Take whole messages, u16 big-endian length before each. Raises ValueError when they do not add up."""
        cdef Py_ssize_t at = 0, size = blocks.shape[0]
        if size == 0:
            return
        while at + 2 <= size:
            at += 2 + fh_be16(&blocks[at])
        if at != size:
            raise ValueError("blocks: the last message is not whole")
        with nogil:
            self.take(&blocks[0], size)


cdef class Follower(Tap):
    def __cinit__(self, *_, **__):
        pthread_mutex_init(&self.lock, NULL)

    def __dealloc__(self):
        pthread_mutex_destroy(&self.lock)

    cdef void take(self, const uint8_t *blocks, Py_ssize_t size) noexcept nogil:
        cdef Py_ssize_t at = 0
        cdef uint32_t length
        pthread_mutex_lock(&self.lock)
        while at + 2 <= size:
            length = 2 + <uint32_t> fh_be16(blocks + at)
            self.put(blocks + at, length)
            at += length
        pthread_mutex_unlock(&self.lock)

    cdef void put(self, const uint8_t *block, uint32_t size) noexcept nogil:
        """The next message, behind its length; `size` counts both."""
        pass


cdef class MessageStore(Follower):
    """The newest `messages` messages, or fewer when they take more than `size` bytes; the first is number `first`."""

    def __cinit__(self, uint64_t messages=1 << 20, uint64_t size=0, *, uint64_t first=1):
        if not 1 <= messages <= 1 << 33 or size > <uint64_t> 1 << 40 or first < 1:
            raise ConfigError(f"simulate: a store keeps 1 to 2^33 messages, from number 1 on, not {messages} from {first}")
        self.slots = power_of_two(messages + 1)
        self.room = power_of_two(max(size if size > 0 else messages * MEAN_BYTES, BYTES_MIN))
        self.places = <uint64_t *> calloc(self.slots, sizeof(uint64_t))     # only what is used becomes memory
        self.data = <uint8_t *> calloc(self.room, 1)
        self.oldest = self.next = first
        if self.places == NULL or self.data == NULL:
            raise MemoryError(f"simulate: no memory for a store of {messages} messages")

    def __dealloc__(self):
        free(self.places)
        free(self.data)

    cdef void put(self, const uint8_t *block, uint32_t size) noexcept nogil:
        cdef uint64_t at = self.end & (self.room - 1), first = min(<uint64_t> size, self.room - at)
        while self.oldest < self.next and (self.next - self.oldest >= self.slots - 1
                                           or self.end + size - self.place_of(self.oldest) > self.room):
            self.oldest += 1
        self.places[self.next & (self.slots - 1)] = self.end
        memcpy(self.data + at, block, first)
        memcpy(self.data, block + first, size - first)
        self.next += 1
        self.end += size

    cdef inline uint64_t place_of(self, uint64_t number) noexcept nogil:
        return self.end if number == self.next else self.places[number & (self.slots - 1)]

    cdef void copy(self, uint64_t place, uint64_t size, uint8_t *out) noexcept nogil:
        cdef uint64_t at = place & (self.room - 1), first = min(size, self.room - at)
        memcpy(out, self.data + at, first)
        memcpy(out + first, self.data, size - first)

    cdef uint64_t fitting(self, uint64_t number, uint64_t count, uint64_t room) noexcept nogil:
        """Messages from `number` on, at most `count`, that fit into `room` bytes."""
        cdef uint64_t n = 0, start
        if number < self.oldest or number >= self.next:
            return 0
        start = self.place_of(number)
        while n < count and number + n < self.next and self.place_of(number + n + 1) - start <= room:
            n += 1
        return n

    def pack(self, uint64_t number, uint64_t count, uint64_t room):
        """(messages, n): the n messages from `number` on that are kept, at most `count` and `room` bytes, as blocks."""
        cdef bytearray out = bytearray(min(room, self.room))
        cdef uint8_t *at = out
        cdef uint64_t n, size = 0
        with nogil:
            pthread_mutex_lock(&self.lock)
            n = self.fitting(number, count, min(room, self.room))
            if n > 0:
                size = self.place_of(number + n) - self.place_of(number)
                self.copy(self.place_of(number), size, at)
            pthread_mutex_unlock(&self.lock)
        return bytes(out[:size]), n

    @property
    def first(self):
        """Number of the oldest message that is kept; `last` + 1 when there is none."""
        pthread_mutex_lock(&self.lock)
        cdef uint64_t number = self.oldest
        pthread_mutex_unlock(&self.lock)
        return number

    @property
    def last(self):
        """Number of the newest message; one below the first number when there is none."""
        pthread_mutex_lock(&self.lock)
        cdef uint64_t number = self.next - 1
        pthread_mutex_unlock(&self.lock)
        return number


cdef uint64_t power_of_two(uint64_t at_least) noexcept:
    cdef uint64_t size = 1
    while size < at_least:
        size <<= 1
    return size

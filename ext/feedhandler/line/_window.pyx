"""The reorder window: places by number, bytes in a log. Theory in the .pxd."""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.mman cimport munmap
from feedhandler._records cimport Message, Run

cdef extern from "pages.h" nogil:
    void *fh_pages(size_t bytes)

cdef enum:
    ALIGNMENT = 16              # of a record in the log; its header fits wherever one ends

cdef struct Record:             # in the log, before the message's bytes
    uint64_t number             # 0 = filler up to the end of the log
    uint64_t size               # bytes, this header included


@cython.final
cdef class Window:
    def __cinit__(self, uint32_t capacity=8192, uint64_t log_bytes=1 << 20):
        if capacity < 2 or capacity & (capacity - 1):
            raise ValueError(f"a window needs a power of two of places, not {capacity}")
        if log_bytes < 64 or log_bytes & (log_bytes - 1):
            raise ValueError(f"a window's log needs a power of two of bytes, at least 64, not {log_bytes}")
        self.capacity = capacity
        self.mask = capacity - 1
        self.log_bytes = log_bytes
        self.memory_bytes = log_bytes + capacity * (sizeof(Message) + 3 * sizeof(uint64_t) + 1)
        self.log = <uint8_t *> fh_pages(self.memory_bytes)
        if self.log == NULL:
            raise MemoryError()
        self.messages = <Message *> (self.log + log_bytes)
        self.numbers = <uint64_t *> (self.messages + capacity)
        self.spoilt = self.numbers + capacity
        self.times = <int64_t *> (self.spoilt + capacity)
        self.brought = <uint8_t *> (self.times + capacity)

    def __dealloc__(self):
        if self.log != NULL:
            munmap(self.log, self.memory_bytes)

    cdef bint holds(self, uint64_t number) noexcept nogil:
        """A message of this number waits. `number` is at least the expected one."""
        return self.waiting > 0 and self.numbers[number & self.mask] == number

    cdef int put(self, uint64_t number, const Message *message, int64_t ts_recv, uint32_t line,
                 uint64_t expected) noexcept nogil:
        """Copy a message in; WINDOW_STORED, WINDOW_HELD or WINDOW_FULL. `number` is at least `expected`."""
        cdef uint64_t place = number & self.mask
        cdef uint8_t *bytes
        if self.waiting > 0:
            if self.numbers[place] == number:
                return WINDOW_HELD
            if number - self.low >= self.capacity and (number > self.low or self.high - number > self.capacity):
                return WINDOW_FULL
        bytes = self.room(number, message.len, expected)
        if bytes == NULL:
            return WINDOW_FULL
        if message.len > 0:
            memcpy(bytes, message.data, message.len)
        self.messages[place].data = bytes
        self.messages[place].len = message.len
        self.numbers[place] = number
        self.times[place] = ts_recv
        self.brought[place] = <uint8_t> line
        if self.waiting == 0:
            self.low = number
            self.high = number + 1
        elif number < self.low:
            self.low = number
        elif number >= self.high:
            self.high = number + 1
        self.waiting += 1
        self.touched = True
        return WINDOW_STORED

    cdef uint8_t *room(self, uint64_t number, uint32_t length, uint64_t expected) noexcept nogil:
        """Memory for a message at the head of the log, or NULL."""
        cdef uint64_t size = (sizeof(Record) + <uint64_t> length + ALIGNMENT - 1) & ~<uint64_t> (ALIGNMENT - 1)
        cdef uint64_t to_end
        cdef Record *record
        if self.waiting == 0:
            self.tail = self.head
        while self.tail != self.head:
            record = <Record *> (self.log + (self.tail & (self.log_bytes - 1)))
            if record.number >= expected:
                break
            self.tail += record.size
        to_end = self.log_bytes - (self.head & (self.log_bytes - 1))
        if size > to_end:
            if to_end + size > self.log_bytes - (self.head - self.tail):
                return NULL
            record = <Record *> (self.log + (self.head & (self.log_bytes - 1)))
            record.number = 0
            record.size = to_end
            self.head += to_end
        elif size > self.log_bytes - (self.head - self.tail):
            return NULL
        record = <Record *> (self.log + (self.head & (self.log_bytes - 1)))
        record.number = number
        record.size = size
        self.head += size
        return <uint8_t *> record + sizeof(Record)

    cdef void run(self, uint64_t number, Run *run) noexcept nogil:
        """The messages that wait from `number` on, as far as one packet brought them. holds(number) is true."""
        cdef uint64_t place = number & self.mask
        cdef uint64_t i = place
        run.messages = &self.messages[place]
        run.first_seq = number
        run.ts_recv = self.times[place]
        run.line = self.brought[place]
        while (i < self.capacity and self.numbers[i] == number and self.brought[i] == run.line
               and self.times[i] == run.ts_recv and number < self.high):
            i += 1
            number += 1
        run.count = <int> (i - place)

    cdef void took(self, uint64_t expected, uint32_t count) noexcept nogil:
        """`count` messages directly below `expected` have been handed out."""
        self.waiting -= count
        if self.waiting > 0:
            self.find_low(expected)

    cdef void remove(self, uint64_t number) noexcept nogil:
        """The message that waits at `number` is not wanted after all."""
        self.numbers[number & self.mask] = 0
        self.waiting -= 1
        if self.waiting > 0:
            self.find_low(number + 1)

    cdef void find_low(self, uint64_t start) noexcept nogil:
        """The lowest waiting number from `start` on; something waits, so this ends below `high`."""
        while start < self.high and self.numbers[start & self.mask] != start:
            start += 1
        self.low = start

    cdef uint64_t next_waiting(self, uint64_t number, uint64_t end) noexcept nogil:
        """The lowest waiting number from `number` on, at least the expected one; `end` when none waits before it."""
        if self.waiting == 0:
            return end
        number = max(number, self.low)
        while number < self.high and number < end and self.numbers[number & self.mask] != number:
            number += 1
        return number if number < self.high and number < end else end

    cdef void drop_below(self, uint64_t number) noexcept nogil:
        """What waits below `number` is not wanted any more."""
        cdef uint64_t at
        if self.waiting == 0 or number <= self.low:
            return
        for at in range(self.low, min(number, self.high)):
            if self.numbers[at & self.mask] == at:
                self.numbers[at & self.mask] = 0
                self.waiting -= 1
        if self.waiting > 0:
            self.find_low(number)

    cdef void drop_older(self, int64_t ts_recv) noexcept nogil:
        """What came before `ts_recv` is not wanted any more."""
        cdef uint64_t at, top = 0
        if self.waiting == 0:
            return
        for at in range(self.low, self.high):
            if self.numbers[at & self.mask] != at:
                continue
            if self.times[at & self.mask] < ts_recv:
                self.numbers[at & self.mask] = 0
                self.waiting -= 1
            else:
                top = at + 1
        if self.waiting > 0:
            self.high = top
            self.find_low(self.low)

    cdef void spoil(self, uint64_t number) noexcept nogil:
        self.spoilt[number & self.mask] = number
        self.spoilt_any = True

    cdef uint64_t spoilt_in(self, uint64_t first, uint64_t count) noexcept nogil:
        """Numbers of the range of which a malformed copy was seen; never more work than the window has places."""
        cdef uint64_t i, n = 0
        if self.spoilt_any and count < self.capacity:
            for i in range(count):
                n += self.spoilt[(first + i) & self.mask] == first + i
        elif self.spoilt_any:
            for i in range(self.capacity):
                if self.spoilt[i] >= first and self.spoilt[i] - first < count:
                    n += 1
        return n

    cdef void clear(self) noexcept nogil:
        """Forget everything: the numbers start anew."""
        self.waiting = 0
        self.head = self.tail = 0
        if self.touched:
            memset(self.numbers, 0, self.capacity * sizeof(uint64_t))
            self.touched = False
        if self.spoilt_any:
            memset(self.spoilt, 0, self.capacity * sizeof(uint64_t))
            self.spoilt_any = False

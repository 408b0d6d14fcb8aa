"""Counts over time and in buckets, in bounded memory: when the bins do not reach, each two become one.

Buckets are those of histogram.h, at most 1/32 of their value wide. Nothing is kept of single messages but, of the last
COPIES of a channel, when and where they were first.
"""
import numpy as np

cimport cython
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from feedhandler._histogram cimport fh_histogram_bucket
from feedhandler._records cimport HISTOGRAM_BUCKETS, Message, Packet

cdef enum:
    CHANNELS = 64
    TABLES = 16
    COPIES = 131072             # messages of a channel that may be between two copies of one
    STEP_NS = 1000000           # of a bin, at first

cdef int64_t FORGOTTEN = 60_000_000_000     # ns: later than that, an equal number is of another session
cdef int64_t NO_TIME = INT64_MIN


@cython.final
cdef class Measures:
    """Measures(lines, midnights, bins=512, rates=False, arrivals=False, latency=False, margin=False)

    `midnights`: the beginnings of the exchange's days, ns since the Unix epoch, ascending, for feeds that send times of
    day. The results are arrays; the first `used` of `bins` bins, of `step` ns each from `origin` on, are in use:

    | name | shape | what |
    | --- | --- | --- |
    | `messages`, `packets` | (lines, bins) | counts over time |
    | `peaks` | (lines, bins) | most messages within one millisecond |
    | `gaps` | (lines, 1024) | time between two packets of a line, in buckets |
    | `delays` | (lines, 2, 1024) | time of receipt - time of the message; [1]: the other way round |
    | `delays_over` | (bins, lines, 2, 1024) | the same over time |
    | `leads` | (lines, 1024) | how much earlier a line was than the next one, where it was first |
    | `leads_over` | (bins, lines, 1024) | the same over time |
    | `alone` | (lines,) | messages that only this line brought |
    """

    def __cinit__(self, int lines, const int64_t[::1] midnights not None, *, int bins=512, bint rates=False,
                  bint arrivals=False, bint latency=False, bint margin=False):
        if not 1 <= lines <= 64 or not 2 <= bins <= 4096 or bins % 2:
            raise ValueError(f"1 to 64 lines, an even number of 2 to 4096 bins: not {lines}, {bins}")
        self.lines, self.bins = lines, bins
        self.rates, self.arrivals, self.latency, self.margin = rates, arrivals, latency, margin
        self.arrays = {}
        self.messages = <uint64_t *> self.array("messages", (lines, bins), np.uint64, True)
        self.packets = <uint64_t *> self.array("packets", (lines, bins), np.uint64, True)
        self.peaks = <uint64_t *> self.array("peaks", (lines, bins), np.uint64, True)
        self.gaps = <uint64_t *> self.array("gaps", (lines, HISTOGRAM_BUCKETS), np.uint64, arrivals)
        self.delays = <uint64_t *> self.array("delays", (lines, 2, HISTOGRAM_BUCKETS), np.uint64, latency)
        self.delays_over = <uint32_t *> self.array(
            "delays_over", (bins, lines, 2, HISTOGRAM_BUCKETS), np.uint32, latency)
        self.leads = <uint64_t *> self.array("leads", (lines, HISTOGRAM_BUCKETS), np.uint64, margin)
        self.leads_over = <uint32_t *> self.array("leads_over", (bins, lines, HISTOGRAM_BUCKETS), np.uint32, margin)
        self.alone = <uint64_t *> self.array("alone", (lines,), np.uint64, True)
        self.last_packet = <uint64_t *> self.array("_packet", (lines,), np.uint64, True)
        self.last_ts = <int64_t *> self.array("_ts", (lines,), np.int64, True)
        self.millisecond = <int64_t *> self.array("_millisecond", (lines,), np.int64, True)
        self.in_millisecond = <uint64_t *> self.array("_in_millisecond", (lines,), np.uint64, True)
        self.big_endian = <uint8_t *> self.array("_big", (TABLES,), np.uint8, True)
        self.of_the_day = <uint8_t *> self.array("_day", (TABLES,), np.uint8, True)
        self.midnights = np.array(midnights, np.int64)
        self.arrays["_ts"][:] = NO_TIME
        self.origin, self.step = NO_TIME, STEP_NS
        self.clocks = <Clock *> calloc(TABLES * 256, sizeof(Clock))
        self.copies = <Copy **> calloc(CHANNELS, sizeof(Copy *))
        if self.clocks == NULL or self.copies == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef int i
        free(self.clocks)
        if self.copies != NULL:
            for i in range(CHANNELS):
                free(self.copies[i])
            free(self.copies)

    cdef void *array(self, str name, shape, dtype, bint wanted) except? NULL:
        cdef size_t address
        if not wanted:
            return NULL
        array = self.arrays[name] = np.zeros(shape, dtype)
        address = array.ctypes.data
        return <void *> address

    def describe(self, int table, int kind, uint32_t offset, uint32_t size, bint big_endian, bint of_the_day):
        """Where a type of message has its time: ns since midnight, or since the Unix epoch."""
        if not 0 <= table < TABLES or not 0 <= kind < 256 or not 1 <= size <= 8:
            raise ValueError(f"no table {table}, no type {kind}, or no time of {size} bytes")
        self.clocks[table * 256 + kind].offset = offset
        self.clocks[table * 256 + kind].size = size
        self.big_endian[table], self.of_the_day[table] = big_endian, of_the_day

    def open_channel(self, int channel):
        """Room for the copies of a channel's messages."""
        if not 0 <= channel < CHANNELS:
            raise ValueError(f"at most {CHANNELS} channels")
        if self.margin and self.copies[channel] == NULL:
            self.copies[channel] = <Copy *> calloc(COPIES, sizeof(Copy))
            if self.copies[channel] == NULL:
                raise MemoryError()

    def __getitem__(self, str name not None):
        """One of the arrays."""
        return self.arrays[name]

    @property
    def used(self):
        """Bins in use."""
        filled = np.flatnonzero(self.arrays["messages"].any(axis=0))
        return int(filled.max()) + 1 if len(filled) else 0

    # -- one message ---------------------------------------------------------------------------------------------------

    cdef void saw(self, const Packet *packet, const Message *message, uint64_t seq, int table, int channel,
                  uint64_t number) noexcept nogil:
        cdef uint32_t line = packet.line
        cdef int64_t sent = NO_TIME, ts = packet.ts_recv, delay
        cdef int at, late
        cdef uint32_t bucket
        if ts == 0 or self.latency:
            sent = self.sent(message, table, ts)
        if ts == 0:
            ts = sent                       # a file of messages: the exchange's time is the only one
        if ts == NO_TIME:
            self.timeless += 1
            return
        at = self.bin_of(ts)
        self.messages[line * self.bins + at] += 1
        if ts // 1000000 != self.millisecond[line]:
            self.millisecond[line] = ts // 1000000
            self.in_millisecond[line] = 0
        self.in_millisecond[line] += 1
        if self.in_millisecond[line] > self.peaks[line * self.bins + at]:
            self.peaks[line * self.bins + at] = self.in_millisecond[line]
        if number != self.last_packet[line]:
            self.packets[line * self.bins + at] += 1
            if self.arrivals and self.last_ts[line] != NO_TIME and ts >= self.last_ts[line]:
                self.gaps[line * HISTOGRAM_BUCKETS + fh_histogram_bucket(ts - self.last_ts[line])] += 1
            self.last_packet[line] = number
            self.last_ts[line] = ts
        if self.latency and packet.ts_recv != 0:
            if sent == NO_TIME:
                self.timeless += 1
            else:
                delay = packet.ts_recv - sent
                late = delay < 0
                bucket = fh_histogram_bucket(-delay if late else delay)
                self.delays[(line * 2 + late) * HISTOGRAM_BUCKETS + bucket] += 1
                self.delays_over[((at * self.lines + line) * 2 + late) * HISTOGRAM_BUCKETS + bucket] += 1
        if self.margin and seq != 0:
            self.lead(seq, ts, line, channel)

    cdef int64_t sent(self, const Message *message, int table, int64_t near) noexcept nogil:
        """The message's own time, ns since the Unix epoch (of a file without times: since midnight)."""
        cdef const Clock *clock
        cdef uint64_t value = 0
        cdef uint32_t i
        cdef Py_ssize_t day
        if message.len == 0:
            return NO_TIME
        clock = &self.clocks[table * 256 + message.data[0]]
        if clock.offset == 0 or clock.offset + clock.size > message.len:
            return NO_TIME
        for i in range(clock.size):
            value = value << 8 | message.data[clock.offset + (i if self.big_endian[table] else clock.size - 1 - i)]
        if value >> 62:
            return NO_TIME
        if not self.of_the_day[table] or near == 0:
            return <int64_t> value
        for day in range(self.midnights.shape[0] - 1, -1, -1):
            if self.midnights[day] <= near:
                return self.midnights[day] + <int64_t> value
        return NO_TIME

    cdef int bin_of(self, int64_t ts) noexcept nogil:
        if self.origin == NO_TIME:
            self.origin = ts - ts % STEP_NS
        while ts >= self.origin + self.step * self.bins:
            self.fold()
        return <int> ((ts - self.origin) // self.step) if ts > self.origin else 0

    cdef void fold(self) noexcept nogil:
        """Bins of twice the length: each two become one."""
        cdef int line, i, half = self.bins // 2
        cdef size_t k, row
        for line in range(self.lines):
            for i in range(half):
                k, row = line * self.bins + i, line * self.bins + 2 * i
                self.messages[k] = self.messages[row] + self.messages[row + 1]
                self.packets[k] = self.packets[row] + self.packets[row + 1]
                self.peaks[k] = max(self.peaks[row], self.peaks[row + 1])
            for i in range(half, self.bins):
                self.messages[line * self.bins + i] = self.packets[line * self.bins + i] = 0
                self.peaks[line * self.bins + i] = 0
        row = <size_t> self.lines * 2 * HISTOGRAM_BUCKETS
        if self.latency:
            for i in range(half):
                for k in range(row):
                    self.delays_over[i * row + k] = self.delays_over[2 * i * row + k] + self.delays_over[(2 * i + 1) * row + k]
            for k in range(half * row, self.bins * row):
                self.delays_over[k] = 0
        row = <size_t> self.lines * HISTOGRAM_BUCKETS
        if self.margin:
            for i in range(half):
                for k in range(row):
                    self.leads_over[i * row + k] = self.leads_over[2 * i * row + k] + self.leads_over[(2 * i + 1) * row + k]
            for k in range(half * row, self.bins * row):
                self.leads_over[k] = 0
        self.step *= 2

    cdef void lead(self, uint64_t seq, int64_t ts, uint32_t line, int channel) noexcept nogil:
        """The first copy of a message waits here for the second, which says by how much it was the first.

        First by the times of receipt: what stood in two sockets at once was read, and lies in the file, in any order.
        """
        cdef Copy *copy = &self.copies[channel][seq % COPIES]
        cdef uint32_t bucket, first
        cdef int64_t before
        cdef bint known = copy.seq == seq and ts - copy.ts < FORGOTTEN and copy.ts - ts < FORGOTTEN
        if not known:
            if copy.lines != 0 and copy.lines & (copy.lines - 1) == 0:
                self.alone[copy.first] += 1
            copy.seq, copy.ts, copy.lines, copy.first = seq, ts, <uint64_t> 1 << line, line
        elif copy.lines == <uint64_t> 1 << copy.first and line != copy.first:
            first = copy.first if copy.ts <= ts else line
            before = min(copy.ts, ts)
            bucket = fh_histogram_bucket(max(copy.ts, ts) - before)
            self.leads[first * HISTOGRAM_BUCKETS + bucket] += 1
            self.leads_over[(self.bin_of(before) * self.lines + first) * HISTOGRAM_BUCKETS + bucket] += 1
            copy.lines |= <uint64_t> 1 << line

    def finish(self):
        """All has been seen: what still waits for its second copy came alone."""
        cdef int channel, i
        cdef const Copy *copy
        for channel in range(CHANNELS):
            for i in range(COPIES if self.copies[channel] != NULL else 0):
                copy = &self.copies[channel][i]
                if copy.lines != 0 and copy.lines & (copy.lines - 1) == 0:
                    self.alone[copy.first] += 1

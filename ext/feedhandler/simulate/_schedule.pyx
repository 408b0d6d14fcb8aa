"""When each packet of a sender is due, and how far from that it was sent.

Every due time is counted from one fixed instant on CLOCK_MONOTONIC: a packet that leaves late makes no later one late,
and nothing adds up over a day. The errors are kept packet by packet in a histogram of 1/32 relative precision.
"""
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from feedhandler._histogram cimport fh_histogram_add, fh_histogram_ceiling

from feedhandler.errors import ConfigError

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t fh_allowed(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
    static inline void fh_allow(uint64_t *word, uint64_t more) { __atomic_fetch_add(word, more, __ATOMIC_RELAXED); }
    """
    uint64_t fh_allowed(const uint64_t *word) noexcept nogil
    void fh_allow(uint64_t *word, uint64_t more) noexcept nogil

cdef enum:
    LEAD_NS = 1000000           # from the first packet's arrival to its due time: room for what is cold
    COUNT = 0                   # of histogram.h: its words, where the buckets begin, and the last of them
    SUM = 1
    MAXIMUM = 3
    FIRST = 8
    LAST = 1023


@cython.final
cdef class Schedule:
    """One run's. `speed`: times the pace of the packets' own times; `rate`: packets a second; `steps`: one for each
    allow(); none of them: everything is due at once. Raises ConfigError for two of them, or figures out of range."""

    def __cinit__(self, *, speed=None, rate=None, bint steps=False):
        if (speed is not None) + (rate is not None) + steps > 1:
            raise ConfigError("replay: give one of speed (times as fast as recorded), rate (packets per second), steps")
        if speed is not None and not 0 < speed <= 1e6:
            raise ConfigError(f"replay: speed must be over 0 and at most 1e6 times, not {speed}")
        if rate is not None and not 0 < rate <= 1e9:
            raise ConfigError(f"replay: rate must be over 0 and at most 1e9 packets per second, not {rate}")
        self.speed = speed if speed is not None else 0
        self.interval = 1e9 / rate if rate is not None else 0
        self.steps = steps

    @property
    def paced(self):
        """Whether packets are due at times: then there are errors to tell."""
        return self.speed > 0 or self.interval > 0

    def allow(self, uint64_t packets=1):
        """Let so many more packets go, of a schedule by steps. From any thread."""
        fh_allow(&self.allowed, packets)

    cdef int64_t due(self, int64_t time, int64_t now) noexcept nogil:
        """When the next packet is due whose own time is `time`, on CLOCK_MONOTONIC; NOT_NOW = nobody knows.

        One whose time lies before its predecessor's (a clock that was set back) is due with that.
        """
        if self.start == 0:
            self.start = now + (LEAD_NS if self.speed > 0 or self.interval > 0 else 0)
        if self.speed > 0:
            if not self.has_time:
                self.first_time, self.has_time = time, True
            self.floor = max(self.floor, self.start + <int64_t> (<double> (time - self.first_time) / self.speed))
            return self.floor
        if self.steps and self.taken >= fh_allowed(&self.allowed):
            return NOT_NOW
        return self.start + <int64_t> (<double> self.taken * self.interval)

    cdef void take(self) noexcept nogil:
        """The packet that due() was asked for is on its way."""
        self.taken += 1

    cdef void sent(self, int64_t due, int64_t at) noexcept nogil:
        """A packet that was due at `due` has left at `at`."""
        if self.sends == 0:
            self.first_due, self.first_sent = due, at
        self.last_due, self.last_sent = due, at
        self.sends += 1
        fh_histogram_add(self.errors, <uint64_t> (at - due if at > due else due - at))

    def error_ns(self, double share):
        """The error that `share` (0 to 1) of the packets kept, ns; the largest of its bucket, and never above the most."""
        cdef uint64_t left, count = self.errors[COUNT]
        cdef uint32_t bucket
        if count == 0:
            return 0
        left = <uint64_t> (share * <double> count)
        if <double> left < share * <double> count or left == 0:
            left += 1
        for bucket in range(LAST + 1):
            if self.errors[FIRST + bucket] >= left:
                return min(<int64_t> fh_histogram_ceiling(bucket), <int64_t> self.errors[MAXIMUM]) if bucket < LAST else (
                    <int64_t> self.errors[MAXIMUM])
            left -= self.errors[FIRST + bucket]
        return <int64_t> self.errors[MAXIMUM]

    @property
    def figures(self):
        """sends; largest and mean error, ns; the spans from first to last packet as due and as sent, ns."""
        return {"sends": self.sends, "max_ns": self.errors[MAXIMUM],
                "mean_ns": self.errors[SUM] / self.errors[COUNT] if self.errors[COUNT] else 0.0,
                "due_ns": self.last_due - self.first_due, "sent_ns": self.last_sent - self.first_sent}

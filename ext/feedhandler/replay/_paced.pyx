"""A receiver whose packets come when a schedule says: a recording into a handler at the pace of the day.

The packets keep the times at which they were recorded, and there is no clock but theirs: a handler makes the same events,
byte for byte, at whatever pace they come.
"""
cimport cython
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from feedhandler._counters cimport LN_BYTES, LN_PACKETS
from feedhandler._records cimport Packet
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH, LineStatus, Receiver
from feedhandler.simulate._schedule cimport NOT_NOW, Schedule

cdef extern from "<time.h>" nogil:
    int clock_nanosleep(int clock, int flags, const timespec *request, timespec *remain)
    int TIMER_ABSTIME

cdef enum:
    SPIN_NS = 60000             # shorter waits are not worth a sleep
    WAKE_NS = 30000             # a longer one ends so long before
    LOOK_NS = 100000            # until the next look at a source that has nothing ready


cdef inline int64_t clock() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t> t.tv_sec * 1000000000 + t.tv_nsec


@cython.final
cdef class Paced(Receiver):
    """Paced(source.lines, source, schedule): the packets of `source`, each not before it is due; the error of each is in `schedule`."""
    cdef Receiver source
    cdef Schedule schedule
    cdef Packet packets[RECEIVE_BATCH]
    cdef int at, count
    cdef readonly bint spin

    def __cinit__(self, int lines, Receiver source not None, Schedule schedule not None, *, bint spin=False):
        if lines != source.lines:
            raise ValueError(f"as many lines as the source's {source.lines}, not {lines}")
        self.source = source
        self.schedule = schedule
        self.spin = spin

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int64_t due, now = clock()
        cdef int64_t place
        cdef int n = 0, got
        if self.at == self.count:
            self.at = self.count = 0
            got = self.source.poll(self.packets, RECEIVE_BATCH)
            memcpy(self.status, self.source.status, self.lines * sizeof(LineStatus))
            if got < 0:
                self.ended = got == END_OF_INPUT
                return got
            self.count = got
        while n < capacity and self.at < self.count:
            due = self.schedule.due(self.packets[self.at].ts_recv, now)
            if due > now:
                break
            out[n] = self.packets[self.at]
            place = out[n].line * self.counter_stride
            self.counters[place + LN_PACKETS] += 1
            self.counters[place + LN_BYTES] += out[n].len
            self.schedule.take()
            self.schedule.sent(due, now)
            self.at += 1
            n += 1
        return n

    cdef void release(self) noexcept nogil:
        if self.at == self.count and self.count > 0:        # the last of what the source lent
            self.source.release()

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        cdef timespec t
        cdef int64_t due, until, now = clock()
        if self.at == self.count:
            return self.source.wait(timeout_ns)
        due = self.schedule.due(self.packets[self.at].ts_recv, now)
        if due <= now:
            return 1
        until = min(due, now + timeout_ns)
        if due == NOT_NOW:
            until = now + min(timeout_ns, <int64_t> LOOK_NS)
        elif self.spin or until - now < SPIN_NS:
            return 1
        else:
            until -= WAKE_NS
        t.tv_sec = until // 1000000000
        t.tv_nsec = until % 1000000000
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)
        return 1 if due <= clock() else 0

    def close(self):
        """Close the source, too."""
        self.source.close()
        self.unbind()

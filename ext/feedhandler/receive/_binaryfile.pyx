"""A receiver that reads Nasdaq BinaryFILE."""
from libc.stdint cimport uint32_t, uint64_t
from feedhandler._counters cimport LN_BYTES, LN_PACKETS
from feedhandler._hints cimport fetch_to_read
from feedhandler._records cimport LINE_UP, TS_NONE, Packet
from feedhandler._wire cimport fh_be16
from feedhandler.receive._file cimport DAMAGE_BEHIND, DAMAGE_CUT, FileReceiver

cdef enum:
    RUN_MAX = 1 << 14           # bytes of BinaryFILE in one packet, and at once: they are still in the L1 cache when decoded
    FETCH_AHEAD = 1024          # bytes of BinaryFILE: the processor's own prefetching is late for messages so short


cdef class BinaryFile(FileReceiver):
    """Whole messages of a Nasdaq BinaryFILE, each behind its u16 big-endian length, as runs of at most 16 KiB.

    A run ends where a message ends (one that is longer than a run stands alone), so the framing never has to wait for
    the rest of one. The format records no time: ts_recv is 0 and the line's ts_kind is TS_NONE.
    """

    def __cinit__(self, int lines, source, str path, int line=0):
        self.line = self.check(line)
        self.status[line].state = LINE_UP
        self.status[line].ts_kind = TS_NONE

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef uint64_t start, stop, following, messages
        cdef bint marked = False
        cdef uint64_t *own = self.counters + self.line * self.counter_stride
        if self.marked and capacity > 0:
            self.look_behind()
        while capacity > 0 and not self.ended:
            start = stop = self.pos
            messages = 0
            while self.end - stop >= 2:
                following = stop + 2 + fh_be16(self.base + stop)
                fetch_to_read(<size_t> self.base + stop + FETCH_AHEAD)
                if following > self.end or following - start > RUN_MAX and messages > 0:
                    break
                messages += 1
                marked = following - stop == 2
                stop = following
                if marked or stop - start >= RUN_MAX:
                    break
            if messages == 0:
                if self.more():
                    continue
                if self.growing and self.failure is None:
                    return 0
                if self.failure is None and self.pos != self.end:
                    self.damaged(DAMAGE_CUT, self.end - self.pos)
                break
            self.marked = marked
            self.messages += messages
            own[LN_PACKETS] += 1
            own[LN_BYTES] += stop - start
            out[0].data = self.base + start
            out[0].ts_recv = 0
            out[0].len = <uint32_t> (stop - start)
            out[0].line = self.line
            self.pos = stop
            return 1
        return self.finish() if capacity > 0 else 0

    cdef void look_behind(self) noexcept nogil:         # of the mark of the end: nothing but padding may lie there
        while not self.ended:
            while self.pos < self.end and self.base[self.pos] == 0:
                self.pos += 1
            if self.pos < self.end:
                self.damaged(DAMAGE_BEHIND, 0)
            elif self.more():
                continue
            elif self.growing and self.failure is None:
                return
            self.finish()

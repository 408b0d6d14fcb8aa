"""Suspicion of a restart under the same session id, where no send times tell.

A line that shows rising numbers below ours for a second, or a heartbeat half a second after the first low number, while
no packet agrees with ours, is suspect, and the channel STALE; when all lines that live are suspect it is a restart.
A channel that stays suspected is settled by a snapshot that was begun afterwards; the ladder fetches one.
"""
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from feedhandler._records cimport LINE_UP, LineRecord
from feedhandler.session._framing cimport FRAME_DATA


@cython.final
cdef class Suspicion:
    cdef void low_number(self, uint32_t line, int kind, uint64_t next_seq, int64_t ts_recv) noexcept nogil:
        """A line shows a number below ours: the first such, or one more."""
        cdef Low *low = &self.low[line]
        cdef int64_t age
        cdef int other
        self.shown = True
        low.agrees = low.witness = False
        for other in range(LINES_MAX):
            if self.low[other].agrees and since(ts_recv, self.low[other].agreed) >= APART_NS:
                self.low[other].witness = True
        if low.next == 0 or next_seq < low.next or ts_recv < low.since:
            low.since = ts_recv
            low.rising = low.suspect = False
        else:
            if next_seq > low.next:
                low.rising = True
            age = since(ts_recv, low.since)
            if (low.rising and age >= RESTART_NS) or (kind != FRAME_DATA and age >= APART_NS):
                low.suspect = self.suspected = True
        low.next = next_seq

    cdef bint certain(self, const LineRecord *records, int lines, int64_t ts_recv, int64_t silence_ns) noexcept nogil:
        """All lines that live are suspect."""
        cdef int line
        if not self.suspected:
            return False
        for line in range(lines):
            if (records[line].state == LINE_UP and since(ts_recv, records[line].last_packet) < silence_ns
                    and not self.low[line].suspect):
                return False
        return True

    cdef bint refuted(self, uint32_t line, uint32_t lines, int kind, bint news, int64_t ts_recv) noexcept nogil:
        """A packet agrees with our numbers; `news`: it goes beyond them. Is that proof that there was no restart?

        Once the channel is STALE for it, only data of a witness is: of a line that has shown no low number, and whose
        numbers were ours while those of others were still low. Heartbeats and answers to requests may be of the run before,
        and a new run's own numbers reach the old ones in the end, on a line that slept until then, too: then the books would
        be a mixture of both. Without such proof the channel stays STALE until the restart is certain, a snapshot that was
        begun since is taken, or a new session begins.
        """
        cdef Low *low
        if not self.suspected:
            return True
        if line >= lines or self.low[line].next != 0:
            return False
        low = &self.low[line]
        if not low.agrees:
            low.agrees = True
            low.agreed = ts_recv
        return kind == FRAME_DATA and news and low.witness

    cdef void settle(self, int64_t now) noexcept nogil:
        """A snapshot is begun from now on: it will be of the run that there is."""
        if self.suspected:
            self.settling = True
            self.settling_at = now

    cdef void clear(self) noexcept nogil:
        """There was no restart, or the numbers begin anew."""
        if self.shown:
            memset(self.low, 0, sizeof(self.low))
            self.shown = self.suspected = self.settling = False

"""Which missing numbers recovery is asked for: a handful of cursors over the window.

All that is missing between the expected number and `end` is asked for: the window says what is missing, so no list of
holes is kept, and a hole that another line fills is simply not there any more. Asks go into the ring in the order of
their numbers; when it is full, `sent` stays behind and the rest follows at the next packet or tick. What the arbiter
decides depends on `end`, never on the ring.
"""
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from feedhandler._counters cimport CH_GAPS, CH_MISSING
from feedhandler.line._recovery cimport ASK_MISSING, ASK_OVER, ASK_SNAPSHOT, Asked
from feedhandler.line._window cimport Window


@cython.final
cdef class Wanted:
    cdef void begin(self, uint32_t epoch, const uint64_t *session, uint64_t number) noexcept nogil:
        """Numbers of a new epoch, from `number` on: nothing is wanted yet. Word of the old one's end may still wait."""
        self.end = self.sent = self.told = number
        self.open = self.surrendered = self.blocked = self.ripening = self.floor = self.dropped = 0
        self.bad = 0
        self.bad_now = False
        self.epoch = epoch
        self.session[0] = session[0]
        self.session[1] = session[1]
        self.snapshot.kind = 0

    cdef void ask(self, Window window, uint64_t expected, uint64_t to, uint64_t *counters) noexcept nogil:
        """Ask for all that is missing from `expected` to `to`; `end` stays at the first hole that is too large."""
        cdef uint64_t at = max(self.end, expected), end
        if at == self.blocked and at > expected:
            return
        while at < to:
            if window.holds(at):
                at += 1
                continue
            end = window.next_waiting(at, to)
            if self.too_large(end - at):
                self.blocked = at
                break
            counters[CH_GAPS] += 1
            counters[CH_MISSING] += end - at
            self.open += end - at
            at = end
        self.end = at
        self.sent = max(self.sent, expected)

    cdef bint too_large(self, uint64_t count) noexcept nogil:
        return count > self.recovery.gap_limit

    cdef uint64_t came(self, uint64_t first, uint64_t count) noexcept nogil:
        """Numbers that were missing are there. How many of them had been asked for."""
        if first >= self.end or count == 0:
            return 0
        count = min(count, self.end - first)
        self.open -= count
        self.bad = 0
        return count

    cdef bint went(self, uint64_t number) noexcept nogil:
        """One that was there was dropped: if others around it were asked for, it is missing as they are."""
        if number >= self.end:
            return False
        self.open += 1
        return True

    cdef uint64_t lost(self, uint64_t first, uint64_t count) noexcept nogil:
        """Missing numbers are given up. How many of them had been asked for."""
        if first >= self.end:
            return 0
        count = min(count, self.end - first)
        self.open -= count
        return count

    cdef void spoilt(self, uint64_t number, int64_t ts) noexcept nogil:
        """A retransmission's copy of `number` is malformed: once more, please."""
        cdef Asked again
        self.bad_now = True
        memset(&again, 0, sizeof(Asked))
        again.kind = ASK_MISSING
        again.first = number
        again.count = 1
        again.ts = ts
        if not self.put(&again):
            self.sent = min(self.sent, number)

    cdef void ask_snapshot(self, uint64_t first, uint64_t count, int64_t ts) noexcept nogil:
        self.snapshot.kind = ASK_SNAPSHOT
        self.snapshot.first = first
        self.snapshot.count = count
        self.snapshot.ts = ts

    cdef void say_over(self, uint64_t next_seq, int64_t ts) noexcept nogil:
        """Nothing is wanted any more: what waits to be asked is not asked."""
        self.sent = self.end
        self.snapshot.kind = 0
        self.over.kind = ASK_OVER
        self.over.epoch = self.epoch
        self.over.session[0] = self.session[0]
        self.over.session[1] = self.session[1]
        self.over.first = next_seq
        self.over.count = 0
        self.over.ts = ts

    cdef void flush(self, Window window, uint64_t expected, int64_t ts) noexcept nogil:
        """Bring what waits into the ring, as far as there is room."""
        cdef Asked asked
        if self.over.kind != 0:
            if not self.recovery.ask(ASK_OVER, self.over.epoch, self.over.session, self.over.first, 0, self.over.ts):
                return
            self.over.kind = 0
        memset(&asked, 0, sizeof(Asked))
        asked.kind = ASK_MISSING
        asked.ts = ts
        self.sent = max(self.sent, min(expected, self.end))
        while self.sent < self.end:
            if window.holds(self.sent):
                self.sent += 1
                continue
            asked.first = self.sent
            asked.count = window.next_waiting(self.sent, self.end) - self.sent
            if not self.put(&asked):
                return
            self.sent += asked.count
        if self.snapshot.kind != 0 and self.put(&self.snapshot):
            self.snapshot.kind = 0

    cdef bint put(self, Asked *asked) noexcept nogil:
        """One ask of the present epoch; False: no room."""
        return self.recovery.ask(asked.kind, self.epoch, self.session, asked.first, asked.count, asked.ts)

"""A line of the live sender that a script of faults has in its hands.

The sender offers each packet as it is made; what comes of it waits in a heap until it is due. Only places in the
sender's ring are kept, not bytes: `oldest()` says from where on the ring must stay as it is.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from feedhandler.simulate._faults cimport COPIES_MAX, Copy, LineFaults


@cython.final
cdef class FaultyLine:
    """`faults` decides; this keeps the time."""

    def __cinit__(self, LineFaults faults not None):
        self.faults = faults

    cdef bint has_room(self) noexcept nogil:
        """Whether another packet can be offered, whatever becomes of it."""
        return self.count + COPIES_MAX <= PENDING

    cdef void offer(self, int64_t ts, uint64_t place, const uint8_t *data, uint32_t length) noexcept nogil:
        cdef Copy copies[COPIES_MAX]
        cdef bint heartbeat = self.faults.is_heartbeat(data, length)
        self.push_copies(copies, self.faults.step(ts, place, length, heartbeat, copies))

    cdef void finish(self, int64_t ts) noexcept nogil:
        """No more packets: those that were held back come now."""
        cdef Copy copies[COPIES_MAX]
        if not self.finished:
            self.finished = True
            self.push_copies(copies, self.faults.flush_held(ts, copies))

    cdef void push_copies(self, const Copy *copies, int n) noexcept nogil:
        cdef Pending pending
        cdef int i
        for i in range(n):
            pending.copy, pending.order = copies[i], self.made
            self.made += 1
            self.push(&pending)

    cdef inline bint before(self, const Pending *a, const Pending *b) noexcept nogil:
        return a.copy.due < b.copy.due or (a.copy.due == b.copy.due and a.order < b.order)

    cdef void push(self, const Pending *pending) noexcept nogil:
        """The caller has asked has_room()."""
        cdef int at = self.count, above
        while at > 0:
            above = (at - 1) // 2
            if not self.before(pending, &self.heap[above]):
                break
            self.heap[at] = self.heap[above]
            at = above
        self.heap[at] = pending[0]
        self.count += 1

    cdef Pending pop(self) noexcept nogil:
        """The copy that is due first; there must be one."""
        cdef Pending first = self.heap[0], last
        cdef int at = 0, below = 1
        self.count -= 1
        last = self.heap[self.count]
        while below < self.count:
            if below + 1 < self.count and self.before(&self.heap[below + 1], &self.heap[below]):
                below += 1
            if not self.before(&self.heap[below], &last):
                break
            self.heap[at] = self.heap[below]
            at, below = below, 2 * below + 1
        self.heap[at] = last
        return first

    cdef uint64_t oldest(self) noexcept nogil:
        """The lowest place that is still wanted; NO_PLACE when there is none."""
        cdef uint64_t place = NO_PLACE
        cdef int i
        for i in range(self.count):
            place = min(place, self.heap[i].copy.place)
        for i in range(self.faults.held_count):
            place = min(place, self.faults.held[i].place)
        return place

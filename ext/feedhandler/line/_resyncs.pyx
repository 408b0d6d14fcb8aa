"""What the hot thread asks of the control path for one instrument's sake. The hot thread makes no system call: look often.

A wish stands until its book is whole (OVER) or the wish is made again, with a new `number`: what came was of no use. When
the ring is full the hot thread tries again at its next tick.
"""
from collections import namedtuple

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._spsc cimport fh_spsc_begin, fh_spsc_end, fh_spsc_look, fh_spsc_put, fh_spsc_room, fh_spsc_took

cdef enum:
    HEADER_BYTES = 16           # of a record; see spsc.h

Resync = namedtuple("Resync", ("kind", "instrument", "line", "reason", "number", "since"))


@cython.final
cdef class Resyncs:
    """Resyncs(wishes=4096): room for so many wishes, rounded up to a power of two. take() is the control path's."""

    def __cinit__(self, int wishes=4096):
        if not 1 <= wishes <= 1 << 20:
            raise ValueError(f"wishes must be 1 to {1 << 20}, not {wishes}")
        if not fh_spsc_begin(&self.wishes, wishes * (HEADER_BYTES + sizeof(Wish))):
            raise MemoryError()

    def __dealloc__(self):
        fh_spsc_end(&self.wishes)

    cdef bint put(self, uint32_t kind, uint32_t instrument, uint32_t line, uint32_t reason, uint64_t number,
                  int64_t since) noexcept nogil:
        """Put one wish in; False: no room now, or the channel's recording is played."""
        cdef Wish *wish = <Wish *> fh_spsc_room(&self.wishes, sizeof(Wish)) if not self.asleep else NULL
        if wish == NULL:
            return False
        wish.kind, wish.instrument, wish.line, wish.reason = kind, instrument, line, reason
        wish.number, wish.since = number, since
        fh_spsc_put(&self.wishes)
        return True

    def take(self):
        """All wishes that wait, oldest first, as a list of Resync."""
        cdef const Wish *wish
        cdef uint32_t length
        taken = []
        while True:
            wish = <const Wish *> fh_spsc_look(&self.wishes, &length)
            if wish == NULL:
                return taken
            taken.append(Resync(wish.kind, wish.instrument, wish.line, wish.reason, wish.number, wish.since))
            fh_spsc_took(&self.wishes)

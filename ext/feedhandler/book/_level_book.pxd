"""Books of level feeds."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport BookSlot, Event, LastTrade, Volume
from feedhandler.book._book cimport Books

cdef extern from "levels_wide.h" nogil:
    uint32_t FH_WIDE_NONE, FH_WIDE_FULL

    ctypedef struct fh_wide_level:
        int64_t rank
        uint64_t size

    ctypedef struct fh_wide_side:
        uint64_t block
        uint32_t count
        uint32_t cap

    ctypedef struct fh_wide:
        fh_wide_level *arena
        uint64_t room
        uint64_t used

    int64_t fh_wide_rank(int64_t price, uint32_t ask)
    void fh_wide_clear(fh_wide *w, fh_wide_side *s)
    uint32_t fh_wide_set(fh_wide *w, fh_wide_side *s, int64_t rank, uint64_t size)

cdef struct Draft:              # one book as it will be published at its next LAST
    fh_wide_side sides[2]       # bids, asks
    LastTrade last
    Volume volume
    uint8_t security            # trading status, as in BookSlot
    uint8_t venue
    bint open                   # the last update was not LAST: what stands here never stood at the exchange
    bint changed                # levels differ from the slot's
    bint lost                   # there was no room: levels are not kept until a reset
    bint begun                  # a reset came that is not in the slot yet
    bint faulty                 # a fault turned it STALE: until a reset it is not LIVE, whoever says so
    bint told                   # `lost` or `faulty`, and who mends it has been told
    uint32_t fault              # the first since the last LAST

cdef class LevelBook(Books):
    cdef fh_wide levels
    cdef Draft *drafts

    cdef void take(self, Event *event, Draft *draft) noexcept nogil
    cdef void publish(self, uint32_t instrument, Event *event, uint64_t position) noexcept nogil
    cdef void empty(self, uint32_t instrument, BookSlot *slot, int64_t now) noexcept nogil
    cdef void clear_draft(self, Draft *draft) noexcept nogil
    cdef void outside(self, Event *event, uint64_t position) noexcept nogil
    cdef bint crosses(self, Draft *draft) noexcept nogil
    cdef void cut(self, Draft *draft, uint64_t depth) noexcept nogil
    cdef uint32_t checksum(self, uint32_t instrument) noexcept nogil
    cdef uint32_t copy_out(self, uint32_t instrument, const Event *like, uint32_t at, Event *out, uint32_t room) noexcept nogil
    cdef bint sound(self, uint32_t instrument) noexcept nogil

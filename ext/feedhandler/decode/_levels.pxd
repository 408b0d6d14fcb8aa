"""Texts of price levels: what the venues' decoders share above `_text`, where the arrays of levels are concerned.

A text says who it is before its levels, or not: head() stops before the first levels that can be read at once, and notes
where those stand that came too early. body() then is book(), which reads all of them straight into events.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport Event, Run
from feedhandler.decode._json cimport fh_json, fh_json_fail
from feedhandler.decode._text cimport TextDecoder

cdef enum:                      # LevelDecoder.seen: keys met; other bits are the venue's
    SEEN_BIDS = 1 << 0
    SEEN_ASKS = 1 << 1
    SEEN_CHANGES = 1 << 2       # levels that say of which side they are
    SIDES = SEEN_BIDS | SEEN_ASKS

cdef enum:                      # LevelDecoder.noted
    BIDS = 0
    ASKS = 1
    CHANGES = 2
    ARRAYS = 3

cdef class LevelDecoder(TextDecoder):
    """A venue's decoder is these methods, beside those of TextDecoder:

      members()  reads on to the next levels that can be read at once (`side` says which), or to the end of the text
                 (`side` 0). False = malformed.
      levels()   one array of levels, at `c`, into out[made]…; the number of events then, or -1 as body() has it.
      whole()    the text was read to its end, and is what head() took it for.
    """
    cdef uint32_t seen                  # SEEN bits of the keys met
    cdef uint32_t side                  # the cursor stands before the levels of this bit; 0 = the text was read to its end
    cdef fh_json noted[ARRAYS]          # where levels stand that came too early: by their bits
    cdef bint members(self) noexcept nogil
    cdef bint whole(self) noexcept nogil
    cdef int64_t levels(self, const Run *run, uint32_t side, fh_json *c, Event *out, uint32_t room, int64_t made) noexcept nogil
    # The events of a book's text, which must have the levels of all `wanted`: a snapshot's behind an R.
    cdef int64_t book(self, const Run *run, uint32_t wanted, Event *out, uint32_t room) noexcept nogil
    # In head(): this text is a trade of that number; the same trade on another line has it, too.
    cdef void numbered_trade(self, uint64_t number) noexcept nogil
    # One trade, its price and size being at these places; 1, or -1 = malformed.
    cdef int64_t sale(self, const Run *run, uint8_t side, uint64_t number, fh_json *price, fh_json *size, Event *out) noexcept nogil
    # One event without price and size.
    cdef void mark(self, const Run *run, uint8_t action, uint8_t flags, Event *out) noexcept nogil

cdef inline bint once(LevelDecoder self, uint32_t bit) noexcept nogil:
    """A key that counts may be met once: of two, nobody knows which is meant."""
    if self.seen & bit:
        return fh_json_fail(&self.cursor)
    self.seen |= bit
    return True

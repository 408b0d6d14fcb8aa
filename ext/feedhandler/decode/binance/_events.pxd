"""Binance's texts, of the spot market and of USD-M futures alike; the two decoders differ in how they are numbered."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport Event, Run
from feedhandler.decode._json cimport fh_json, fh_text
from feedhandler.decode._text cimport TextDecoder

cdef class BinanceDecoder(TextDecoder):
    cdef bint futures                   # texts have `pu` and `T`
    cdef uint32_t seen                  # SEEN bits of the keys met
    cdef uint32_t complete              # of these, what must have been met before the levels are read at once
    cdef uint32_t side                  # the cursor stands before the levels of this side: its bit; 0 = the text was read to its end
    cdef uint8_t kind                   # the event's type character; 0 = `e` was not met
    cdef bint inside                    # in the object that a combined stream wraps
    cdef uint64_t event_ms, transaction_ms, trade_id
    cdef fh_text name
    cdef fh_json bids, asks, price, quantity, maker         # where the values stand
    cdef int64_t levels(self, const Run *run, uint32_t side, fh_json *c, Event *out, uint32_t room, int64_t made) noexcept nogil
    cdef int64_t depth(self, const Run *run, Event *out, uint32_t room) noexcept nogil
    cdef int64_t trade(self, const Run *run, Event *out) noexcept nogil

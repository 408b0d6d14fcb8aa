"""Binance's texts, of the spot market and of USD-M futures alike; the two decoders differ in how they are numbered."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from feedhandler.decode._json cimport fh_json, fh_text
from feedhandler.decode._levels cimport LevelDecoder

cdef class BinanceDecoder(LevelDecoder):
    cdef bint futures                   # texts have `pu` and `T`
    cdef uint32_t complete              # of the keys, what must have been met before the levels are read at once
    cdef uint8_t kind                   # the event's type character; 0 = `e` was not met
    cdef bint inside                    # in the object that a combined stream wraps
    cdef bint usual                     # a depth update in the venue's own order of keys, so far
    cdef uint64_t event_ms, transaction_ms, trade_id
    cdef fh_text name
    cdef fh_json price, quantity, maker # where the values stand

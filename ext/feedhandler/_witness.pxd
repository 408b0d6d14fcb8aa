"""Who sees every message of a shard as it takes effect: rehearsals, conversions, tests; never for a live feed."""
from libc.stdint cimport int32_t, uint32_t
from feedhandler._records cimport Event, Run
from feedhandler.book._book cimport Books

cdef class Witness:
    """Set by Shard.watch(). While it is set, each message is decoded, applied and published alone, unless `batches`."""
    cdef bint batches           # whole batches instead, at full speed: the books are as they are after all of them
    cdef bint reads             # read() is called, too

    # After a message's events are in books and ring (a long one's: a part of them at a time, only the last with LAST), and
    # after each event of the channel as a whole. `books` are the channel's as they now stand, `channel_quality` is the
    # channel's word; the events are valid until it returns.
    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil
    # After saw(): the messages themselves, of which the first `count` were good. Valid until it returns.
    cdef void read(self, int channel, const Run *run, int32_t count, uint32_t channel_quality) noexcept nogil

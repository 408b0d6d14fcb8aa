"""Who sees every message of a shard as it takes effect: for rehearsals and tests, never for a live feed."""
from libc.stdint cimport uint32_t
from feedhandler._records cimport Event
from feedhandler.book._book cimport Books

cdef class Witness:
    """Set by Shard.watch(). While it is set, each message is decoded, applied and published alone."""

    # After a message's events are in books and ring, and after each event of the channel as a whole. `books` are the
    # channel's as they now stand, `channel_quality` is the channel's word; the events are valid until it returns.
    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil

"""Hot standby of feeds without numbers: whole books of a second line, ready to be taken over, never mixed with the first's.

A line that does not feed the published books has its texts decoded all the same, into a LevelBook of its own in private
memory. When the first line is lost the shard sends this book out, as R and a snapshot, and goes on with this line.
"""
import numpy as np

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset
from feedhandler._records cimport PRICE_NONE, SIDE_NONE, BookSlot, Event
from feedhandler.book._level_book cimport LevelBook

from feedhandler import records

cdef enum:
    SHOWN = 1                   # levels a side in its slots, which nobody reads


@cython.final
cdef class Standby:
    """Standby(like): books as many and as roomy as `like`'s, the channel's published ones, all empty."""

    def __cinit__(self, LevelBook like not None):
        slots = np.zeros(like.instruments * records.slot_stride(SHOWN), np.uint8)
        self.books = LevelBook(slots, depth=SHOWN, instruments=like.instruments,
                               level_bytes=like.levels.room * 16, policy=like.policy, by_snapshot=True)
        self.books.directory = like.directory
        self.books.entries = like.entries
        self.books.channel = like.channel

    cdef int emit(self, uint32_t instrument, uint32_t at, uint32_t line, int64_t ts_recv, Event *out, int room) noexcept nogil:
        """The book of an instrument as events, from its `at`th on, at most `room`; 0 = there are no more.

        Each bears the exchange's time and number of the last update in it, and `ts_recv`: when it took over.
        """
        cdef Event like
        cdef BookSlot *slot = self.books.slot(instrument)
        memset(&like, 0, sizeof(Event))
        like.ts_event, like.ts_recv, like.channel_seq = slot.ts_event, ts_recv, slot.channel_seq
        like.price = PRICE_NONE
        like.side = SIDE_NONE
        like.line = <uint8_t> line
        return <int> self.books.copy_out(instrument, &like, at, out, <uint32_t> room)

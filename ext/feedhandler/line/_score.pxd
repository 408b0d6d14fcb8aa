"""The score of a channel's lines: by how many ns the copy that won was before the next one."""
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from feedhandler._histogram cimport fh_histogram_add
from feedhandler._records cimport HISTOGRAM_BUCKETS
from feedhandler.line._suspicion cimport LINES_MAX, since

cdef enum:
    WINNERS = 1024              # packets remembered: the other line's copy comes before so many others have won
    HISTOGRAM_WORDS = HISTOGRAM_BUCKETS + 8
    SECONDED = 0xFFFFFFFF       # Winner.line, once its next copy has come

cdef struct Winner:
    uint64_t first              # number of the packet's first message
    int64_t ts_recv
    uint32_t line

cdef class Score:
    """One per channel. Packets that won stand in a ring in the order of their numbers, and each line follows behind.

    Both functions cost a few instructions a packet: a line brings its copies in the order of numbers, too, so its place in
    the ring is the next one. Packets that another line cut differently, or brought out of order, are not compared.
    """
    cdef uint64_t *leads                    # histograms of the shard's lines
    cdef uint64_t count                     # packets that have won
    cdef uint64_t place[LINES_MAX]          # of each line in the ring
    cdef Winner winners[WINNERS]

    cdef void begin(self) noexcept nogil

    @cython.final
    cdef inline void won(self, uint64_t first, int64_t ts_recv, uint32_t line) noexcept nogil:
        """The packet is the first copy of its messages."""
        cdef Winner *winner = &self.winners[self.count & (WINNERS - 1)]
        winner.first = first
        winner.ts_recv = ts_recv
        winner.line = line
        self.count += 1

    @cython.final
    cdef inline void came_after(self, uint64_t first, int64_t ts_recv, uint32_t line) noexcept nogil:
        """A later copy. Where its time stamp says that it was there before the one that won, the lead is its own."""
        cdef uint64_t place = self.place[line]
        cdef Winner *winner
        cdef int64_t lead
        if self.count - place > WINNERS:
            place = self.count - WINNERS
        while place < self.count and self.winners[place & (WINNERS - 1)].first < first:
            place += 1
        winner = &self.winners[place & (WINNERS - 1)]
        if place < self.count and winner.first == first:
            place += 1
            if winner.line != line and winner.line != SECONDED:
                lead = since(ts_recv, winner.ts_recv)
                fh_histogram_add(self.leads + <size_t> (winner.line if lead >= 0 else line) * HISTOGRAM_WORDS,
                                 <uint64_t> lead if lead >= 0 else 0 - <uint64_t> lead)
                winner.line = SECONDED
        self.place[line] = place

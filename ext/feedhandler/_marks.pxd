"""Where in a recording a shard is: for book snapshots. Set by Shard.mark(), never for a live feed."""
from libc.stdint cimport int64_t, uint64_t
from feedhandler._records cimport Packet

cdef enum:
    MARKED_LINES = 64

cdef class Marks:
    """Looks at each batch of packets before the shard does; may take some out of it.

    A *cut* is a grid point of time and the packets at or behind it that had gone before the snapshot: lines' packets come
    a little out of order, so both are needed to say which packets a snapshot has seen.
    """
    cdef readonly int64_t step              # ns from one grid point to the next
    cdef readonly int64_t slack             # ns behind a grid point: by then what came before it has gone
    cdef readonly int64_t begin             # the grid point passed last; INT64_MIN = none yet
    cdef readonly int64_t latest            # latest ts_recv so far; INT64_MIN = none yet
    cdef readonly int64_t earliest          # since the last cut, of packets before `begin`; INT64_MAX = none
    cdef uint64_t packets[MARKED_LINES]     # of each line, at or behind `begin`
    cdef uint64_t bytes[MARKED_LINES]
    cdef uint64_t skips[MARKED_LINES]       # packets of each line, from `begin` on, that are still to be left out
    cdef uint64_t skipping                  # of all lines
    cdef int64_t skip_until                 # none of them is later
    cdef readonly bint due                  # a cut is to be made, before the next packet
    cdef bint made                          # the cut of `begin` has been made

    cdef int saw(self, Packet *packets, int count) noexcept nogil
    cdef void pass_grid(self, int64_t ts) noexcept nogil

"""All packets of a recording's files in the order of their times."""
from libc.stdint cimport int64_t, uint64_t
from feedhandler._records cimport Packet
from feedhandler.receive._file cimport FileReceiver
from feedhandler.receive._receiver cimport RECEIVE_BATCH, Receiver

cdef struct Lane:               # a chain of files of which one is open
    void *file                  # FileReceiver; NULL: the next one is not there yet
    void *chain
    int order                   # among lanes: of packets with the same time the lower one's go first
    int first, count            # of `packets`: those that wait
    bint lent                   # the file's poll() gave some that it has not been told to release
    bint idle                   # nothing more there yet
    int64_t idle_since          # monotonic ns
    int64_t looked              # monotonic ns: when the end of its growing file was looked at last
    Packet packets[RECEIVE_BATCH]

cdef class Merged(Receiver):
    cdef Lane **lanes                       # ascending by order
    cdef int lane_count, lane_room
    cdef list waiting                       # chains not begun, the next one last
    cdef dict kept                          # what the lanes point to: lane's address -> [chain, file]
    cdef int64_t due                        # time of the first packet of the chain that is next; INT64_MAX: none
    cdef int due_order
    cdef readonly list errors
    cdef readonly list holes                # of streams: (line, ts, place in the stream, bytes)
    cdef uint64_t passed                    # bytes of files that have been read
    cdef readonly bint following

    cdef int alone(self, Packet *out, int capacity) noexcept nogil
    cdef bint refill(self, Lane *lane) noexcept nogil
    cdef int fill(self, Lane *lane, Packet *out, int capacity) noexcept nogil
    cdef int earliest(self, int64_t *limit, bint *ties) noexcept nogil
    cdef void remove(self, int place) noexcept nogil
    cdef void adopt(self, FileReceiver file) noexcept nogil
    cdef void connect(self, Lane *lane) noexcept nogil
    cdef int finish(self) noexcept nogil
    cdef announce(self)
    cdef begin(self)
    cdef int advance(self, size_t address) noexcept
    cdef void look(self, size_t address) noexcept

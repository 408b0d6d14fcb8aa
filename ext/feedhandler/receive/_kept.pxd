"""Live packets that are kept while a recording is played, by one thread for one other."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from posix.time cimport clock_gettime, nanosleep, timespec
from feedhandler._records cimport Message, Packet
from feedhandler._spsc cimport fh_spsc
from feedhandler.receive._receiver cimport Receiver

cdef enum:                      # keep_all(): what the live lines are
    KEEP_DATAGRAMS = 0
    KEEP_NOTHING = 1            # streams, and nobody connects them before the recording is over
    KEEP_STREAMS = 2

cdef enum:                      # take()
    KEPT_NONE = 0
    KEPT_PACKET = 1
    KEPT_CHANGE = 2             # of a stream: another connection, or it has ended

cdef struct Need:               # of a live line: from where on the memory has it whole
    uint64_t session[2]
    uint64_t number
    int64_t since               # of a stream: when its present connection brought the first bytes, ns since the Unix epoch
    int known                   # a mailbox

cdef struct Change:             # of a stream's line; it holds for the packets behind it
    uint32_t line
    uint32_t connections        # LineStatus.connections of the live receiver
    uint32_t state              # LINE_...

cdef class KeptPackets:
    """Who keeps: keep_all(). Who plays: claim() until it is True, then take() and took(); unclaim() to think again."""
    cdef fh_spsc ring
    cdef list parts                         # framings, kept alive
    cdef void **framings                    # of each line: the keeping thread's own; of streams those that go on live
    cdef Change *changes                    # of each line, as it stands; the keeping thread's
    cdef Message *messages
    cdef Need *needs                        # of each line; the keeping thread's, stored last `known`
    cdef int claimed, granted               # mailboxes: the ring's far end is the playing thread's
    cdef int wanted                         # a mailbox: so is the receiver
    cdef int left                           # a mailbox: leave() was called
    cdef uint64_t at, before                # the playing thread's: behind the last record given, and before it
    cdef int failed                         # poll()'s of the receiver, once it has failed

    # counts of the keeping thread, read by any
    cdef readonly uint64_t kept             # packets put into the memory
    cdef readonly uint64_t dropped          # of these, for want of room: the oldest
    cdef readonly uint64_t refused          # and packets that found none: the newest

    cdef bint keep_all(self, Receiver live, int how) noexcept nogil
    cdef void keep(self, const Packet *packet) noexcept nogil
    cdef void keep_run(self, const Packet *packet) noexcept nogil
    cdef void keep_changes(self, Receiver live) noexcept nogil
    cdef uint8_t *wait_for_room(self, uint32_t length) noexcept nogil
    cdef void grant(self) noexcept nogil
    cdef bint drop_oldest(self) noexcept nogil
    cdef void note(self, const Packet *packet, bint dropped) noexcept nogil
    cdef bint claim(self) noexcept nogil
    cdef void unclaim(self) noexcept nogil
    cdef int take(self, Packet *packet, Change *change) noexcept nogil
    cdef void give_back(self) noexcept nogil
    cdef void took(self) noexcept nogil
    cdef void forget(self) noexcept

cdef inline int64_t clock(int which) noexcept nogil:
    cdef timespec now
    clock_gettime(which, &now)
    return <int64_t> now.tv_sec * 1_000_000_000 + now.tv_nsec

cdef inline void doze(int64_t nanoseconds) noexcept nogil:
    cdef timespec pause
    pause.tv_sec = 0
    pause.tv_nsec = min(nanoseconds, <int64_t> 999_999_999)
    nanosleep(&pause, NULL)

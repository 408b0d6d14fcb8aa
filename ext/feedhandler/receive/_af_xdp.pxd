"""The receiver of AF_XDP sockets: frames from the driver's queues, past the kernel's network stack."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport Packet
from feedhandler.receive._frame cimport fh_frame, fh_steer
from feedhandler.receive._receiver cimport Receiver
from feedhandler.receive._sockets cimport SocketReceiver
from feedhandler.receive._wait cimport pollfd

cdef extern from "xsk.h" nogil:
    enum:
        FH_XDP_COPY
        FH_XDP_ZEROCOPY
        FH_XDP_USE_NEED_WAKEUP
        FH_XDP_HEADROOM
        FH_XSK_NOTE_MARK
    cdef struct fh_xsk_note:
        uint64_t time
        uint32_t line
        uint16_t ip
        uint16_t mark
    cdef struct fh_xsk_desc:
        uint64_t address
        uint32_t len
    cdef struct fh_xsk:
        const fh_xsk_desc *received
        uint8_t *memory
        uint32_t mask
        uint32_t next
        uint32_t seen
        uint32_t fetched
        int fd
        int zero_copy
        uint64_t drops
    int64_t fh_xsk_stamp(const fh_xsk_note *note)
    uint8_t *fh_xsk_frame(uint8_t *memory, const fh_xsk_desc *desc)
    uint32_t fh_xsk_waiting(fh_xsk *x)
    void fh_xsk_give(fh_xsk *x)
    int fh_xsk_sleeps(const fh_xsk *x)
    void fh_xsk_wake(const fh_xsk *x)
    int64_t fh_epoch_of_monotonic(int64_t known)
    int fh_xsk_open(fh_xsk *x)
    int fh_xsk_register(fh_xsk *x, void *memory, uint64_t size, uint32_t chunk, uint32_t headroom, int anywhere)
    int fh_xsk_rings(fh_xsk *x, uint32_t ring, uint32_t chunk)
    int fh_xsk_bind(fh_xsk *x, uint32_t interface, uint32_t queue, uint16_t flags)
    int fh_xsk_dropped(const fh_xsk *x, uint64_t *out)
    int fh_xsk_error(const fh_xsk *x)
    void fh_xsk_close(fh_xsk *x)

cdef class Memory:
    """Where frames are put; it goes when nobody has a view of it any more."""
    cdef uint8_t *base
    cdef readonly size_t size
    cdef readonly str pages                 # "huge", "transparent"
    cdef void *mapped
    cdef size_t mapped_bytes

cdef class Queue:
    """One AF_XDP socket: a receive queue of an interface."""
    cdef fh_xsk xsk
    cdef readonly Memory memory

cdef struct Source:                         # a queue as poll() sees it
    fh_xsk *xsk
    const fh_steer *steering
    int first_line                          # of its interface: what cannot be said of a line is counted there
    int interface
    bint hardware                           # its notes have the NIC's time before them

cdef class AfXdpReceiver(Receiver):
    cdef public int64_t spin_ns             # wait() spins so long before it sleeps
    cdef readonly int queues
    cdef Source *sources
    cdef int *interface_of                  # each line's
    cdef pollfd *pollfds                    # of the queues, then of the join sockets
    cdef SocketReceiver joined
    cdef bint check_udp_checksum, joined_lent, look_due, closed
    cdef int next_queue, idle_polls
    cdef int64_t offset                     # CLOCK_REALTIME - CLOCK_MONOTONIC
    cdef int64_t clock                      # CLOCK_MONOTONIC of this poll(); 0 = not read yet
    cdef int64_t looked_at, measured_at, counted_at     # CLOCK_MONOTONIC
    cdef object kept, attached, memories, lent
    cdef str mode

    cdef int take(self, Source *source, Packet *out, uint32_t count) noexcept nogil
    cdef int take_unnoted(self, Source *source, const uint8_t *data, uint32_t size, Packet *out) noexcept nogil
    cdef void count(self, uint32_t line, uint64_t packets, uint64_t size, bint hardware) noexcept nogil
    cdef int64_t stamp(self, int64_t stamp, int64_t ts, uint32_t line) noexcept nogil
    cdef int look_around(self, Packet *out, int capacity) noexcept nogil
    cdef void count_drops(self) noexcept nogil
    cdef void forget_views(self)

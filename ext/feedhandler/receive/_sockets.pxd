"""The receiver of UDP sockets: recvmmsg into memory taken beforehand."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler.receive._receiver cimport Receiver
from feedhandler.receive._wait cimport pollfd

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr

cdef extern from "<sys/socket.h>" nogil:
    cdef struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

cdef struct UdpLine:
    int fd                      # -1 = closed
    uint32_t source             # IPv4 in network byte order; 0 = any
    uint32_t drops              # the kernel's count when last seen
    uint32_t used               # slots to give back to recvmmsg
    mmsghdr *messages           # `slots` of them

cdef class SocketReceiver(Receiver):
    """One UDP socket per line, all polled in turn."""
    cdef readonly int slots, slot_bytes
    cdef public int64_t spin_ns             # wait() spins so long before it sleeps
    cdef UdpLine *table
    cdef pollfd *pollfds
    cdef uint8_t *memory
    cdef int next_line                      # whose turn it is first
    cdef object sockets

    cdef int read_line(self, int line, int want) noexcept nogil

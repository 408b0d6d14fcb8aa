"""Waiting on file descriptors, and the clocks; for the receivers that have sockets."""
from libc.stdint cimport int64_t, uint32_t

cdef extern from "<poll.h>" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    enum:
        POLLIN
        POLLOUT

cdef extern from "datagram_control.h" nogil:
    int64_t fh_realtime_ns()
    int64_t fh_monotonic_ns()

cdef int wait_readable(pollfd *fds, int count, int64_t timeout_ns, int64_t spin_ns) noexcept nogil

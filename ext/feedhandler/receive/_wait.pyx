"""Waiting on file descriptors: spin for a while, then sleep."""
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec

cdef extern from "<poll.h>" nogil:
    int ppoll(pollfd *fds, unsigned long count, const timespec *timeout, const void *mask)


cdef int wait_readable(pollfd *fds, int count, int64_t timeout_ns, int64_t spin_ns) noexcept nogil:
    """1 when one may be read, 0 when the time is up (or a signal came), else -errno.

    For the first `spin_ns` the question is asked again and again without sleeping: a packet that comes then does not
    pay for waking the thread.
    """
    cdef timespec pause
    cdef int64_t begin, left = timeout_ns
    cdef int rc
    if spin_ns > 0:
        begin = fh_monotonic_ns()
        pause.tv_sec = 0
        pause.tv_nsec = 0
        while True:
            rc = ppoll(fds, count, &pause, NULL)
            if rc != 0:
                break
            left = timeout_ns - (fh_monotonic_ns() - begin)
            if left <= 0:
                return 0
            if timeout_ns - left >= spin_ns:
                break
        if rc > 0:
            return 1
    if left < 0:
        left = 0
    pause.tv_sec = left // 1000000000
    pause.tv_nsec = left % 1000000000
    rc = ppoll(fds, count, &pause, NULL)
    if rc > 0:
        return 1
    if rc < 0 and errno != EINTR:
        return -errno
    return 0

"""What a receiver costs its thread: spins on poll(), looks at every packet, and counts; for benchmarks.

Nothing of the handler is here but the receiver. `Recvmsg` is the peer: one recvmsg a packet, as most programs do it.
"""
cimport cython
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from feedhandler._records cimport Packet
from feedhandler._wire cimport fh_be64, fh_le64
from feedhandler.receive._receiver cimport RECEIVE_BATCH, Receiver
from feedhandler.receive._wait cimport fh_monotonic_ns, fh_realtime_ns

cdef extern from "<sys/socket.h>" nogil:
    ctypedef long ssize_t
    ssize_t recvmsg(int fd, msghdr *message, int flags)
    enum:
        MSG_DONTWAIT
    cdef struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len

cdef enum:
    SLOT_BYTES = 2048
    SEQUENCE = 10               # where MoldUDP64 has its number
    PATIENCE_NS = 200000000     # after the last packet; real-time threads are paused for up to 50 ms in a second


@cython.final
cdef class Recvmsg(Receiver):
    """One packet a poll(), by recvmsg on a socket that is bound and joined; no times, nothing checked."""

    cdef object socket
    cdef int fd
    cdef msghdr message
    cdef iovec vector
    cdef uint8_t memory[SLOT_BYTES]

    def __cinit__(self, int lines, socket):
        self.socket = socket
        self.fd = socket.fileno()
        self.vector.iov_base = self.memory
        self.vector.iov_len = SLOT_BYTES
        self.message.msg_iov = &self.vector
        self.message.msg_iovlen = 1

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef ssize_t size = recvmsg(self.fd, &self.message, MSG_DONTWAIT)
        if size < 0:
            return 0 if errno == EAGAIN or errno == EINTR else -errno
        out[0].data = self.memory
        out[0].len = <unsigned int> size
        out[0].line = 0
        out[0].ts_recv = 0
        return 1

    cdef int64_t now(self) noexcept nogil:
        return fh_realtime_ns()

    def close(self):
        """Close the socket."""
        self.unbind()
        self.socket.close()


def gauge(Receiver receiver not None, int64_t packets, double seconds, int64_t[::1] ages=None, int stamp_at=0):
    """Spin on the receiver until it has given `packets`, or `seconds` are over, or nothing came for 200 ms.

    Every packet's MoldUDP64 number is read and compared with the one before. Gives what came: packets, bytes, gaps,
    polls that gave something, ns from the first of these to the last (`wall_ns`), and within them alone (`busy_ns`).
    `ages`, if given, takes for each packet the ns between the time in its payload at `stamp_at` (u64, little-endian,
    CLOCK_MONOTONIC) and the end of the poll that gave it. Raises OSError when the receiver fails.
    """
    cdef Packet batch[RECEIVE_BATCH]
    cdef int i, n = 0
    cdef int64_t count = 0, size = 0, gaps = 0, polls = 0, busy = 0, first = 0, last = 0
    cdef int64_t begin = fh_monotonic_ns(), before = begin, after, got
    cdef int64_t limit = begin + <int64_t> (seconds * 1e9)
    cdef int64_t room = 0 if ages is None else ages.shape[0]
    cdef int64_t *kept = NULL if room == 0 else &ages[0]
    cdef uint64_t expected = 0, number
    with nogil:
        while count < packets:
            n = receiver.poll(batch, RECEIVE_BATCH)
            if n <= 0:
                if n < 0:
                    break
                before = fh_monotonic_ns()
                if before > limit or (count > 0 and before > last + PATIENCE_NS):
                    break
                continue
            got = fh_monotonic_ns() if kept != NULL else 0
            for i in range(n):
                if batch[i].len >= SEQUENCE + 8:
                    number = fh_be64(batch[i].data + SEQUENCE)
                    gaps += number != expected and expected != 0
                    expected = number + 1
                size += batch[i].len
                if count + i < room:
                    kept[count + i] = got - <int64_t> fh_le64(batch[i].data + stamp_at)
            receiver.release()
            after = fh_monotonic_ns()
            if count == 0:
                first = after
            count += n
            polls += 1
            busy += after - before
            before = last = after
    if n < 0:
        raise OSError(-n, "poll() failed")
    return {"packets": count, "bytes": size, "gaps": gaps, "polls": polls, "wall_ns": last - first, "busy_ns": busy}

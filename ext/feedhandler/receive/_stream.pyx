"""The receiver of TCP streams: runs of bytes, as they come.

The control thread connects and logs in; then it hands the descriptor over through the line's mailbox, one word that it
may fill when it is empty and that only the polling thread empties. Bytes that the login read too far come first. A
poll() gives at most one run of a line, and takes over a new connection only before that: all bytes of a run are of the
connection that `LineStatus.connections` counts. A connection that ends leaves its line down, the reason in
`LineStatus.error`, and nothing else happens until the next one comes.

The polling thread works on a duplicate of the descriptor; the control thread keeps its own, to write, and to end the
connection with shutdown().
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy
from posix.unistd cimport close, dup, read, write
from feedhandler._counters cimport LN_BYTES, LN_PACKETS, LN_RECONNECTS
from feedhandler._flags cimport fh_mailbox_look, fh_mailbox_put
from feedhandler._records cimport LINE_DOWN, LINE_ENDED, LINE_UP, TS_CLOCK, Packet
from feedhandler.receive._receiver cimport END_OF_INPUT
from feedhandler.receive._wait cimport POLLIN, fh_realtime_ns, pollfd, wait_readable

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buffer, size_t length, int flags)
    int setsockopt(int fd, int level, int name, const void *value, unsigned int length)
    int getsockopt(int fd, int level, int name, void *value, unsigned int *length)
    enum:
        MSG_DONTWAIT
        SOL_SOCKET
        SO_RCVBUF

cdef extern from "<netinet/in.h>" nogil:
    enum:
        IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_QUICKACK

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    enum:
        EFD_NONBLOCK
        EFD_CLOEXEC


cdef class StreamReceiver(Receiver):
    """Made by `stream.receiver`. All lines are down until a connection is handed over with connect().

    `buffer_bytes`: the most that one run holds. `quickack`: acknowledge at once, said again after each receive, since
    the kernel forgets it.
    """

    def __cinit__(self, int lines, int buffer_bytes=262144, bint quickack=True, int64_t spin_ns=0):
        cdef int line
        self.bell = -1
        if not 1024 <= buffer_bytes <= 1 << 26:
            raise ValueError(f"buffer_bytes must be 1024 to {1 << 26}, not {buffer_bytes}")
        self.buffer_bytes = buffer_bytes
        self.quickack = quickack
        self.spin_ns = spin_ns
        self.table = <Connection *> calloc(lines, sizeof(Connection))
        self.pollfds = <pollfd *> calloc(lines + 1, sizeof(pollfd))
        self.memory = <uint8_t *> malloc(<size_t> lines * 2 * buffer_bytes)
        if self.table == NULL or self.pollfds == NULL or self.memory == NULL:
            raise MemoryError()
        for line in range(lines):
            self.table[line].fd = self.pollfds[line].fd = -1
            self.pollfds[line].events = POLLIN
            self.table[line].buffer = self.memory + <size_t> line * 2 * buffer_bytes
            self.table[line].first = self.table[line].buffer + buffer_bytes
            self.status[line].state = LINE_DOWN
            self.status[line].ts_kind = TS_CLOCK
        self.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.bell < 0:
            raise OSError(errno, "cannot make an eventfd")
        self.pollfds[lines].fd = self.bell
        self.pollfds[lines].events = POLLIN

    def __dealloc__(self):
        if self.table != NULL:
            self.close_all()
        if self.bell >= 0:
            close(self.bell)
        free(self.table)
        free(self.pollfds)
        free(self.memory)

    cdef void close_all(self) noexcept:
        cdef int line, box
        for line in range(self.lines):
            box = fh_mailbox_look(&self.table[line].mailbox)
            if box > 0:
                close(box - 1)
            fh_mailbox_put(&self.table[line].mailbox, MAILBOX_EMPTY)
            self.down(line, 0)

    def close(self):
        """Close our duplicates of the descriptors. Not while another thread polls."""
        self.unbind()
        self.close_all()
        fh_mailbox_put(&self.finishing, 1)

    def connect(self, int line, int fd, bytes leftover=b""):
        """Hand a connected socket's descriptor to the polling thread; `leftover` are bytes already read from it.

        False when the connection handed over before is not taken yet: try again. The caller keeps `fd`. Takes the
        place of a connection that is still open.
        """
        cdef Connection *own = &self.table[self.check(line)]
        cdef int copy, granted = 0
        cdef unsigned int size = sizeof(granted)
        if len(leftover) > self.buffer_bytes:
            raise ValueError(f"leftover is at most {self.buffer_bytes} bytes, not {len(leftover)}")
        if fh_mailbox_look(&own.mailbox) != MAILBOX_EMPTY:
            return False
        copy = dup(fd)
        if copy < 0:
            raise OSError(errno, f"line {line}: cannot duplicate descriptor {fd}")
        memcpy(own.first, <const uint8_t *> leftover, len(leftover))
        own.leftover = len(leftover)
        getsockopt(copy, SOL_SOCKET, SO_RCVBUF, &granted, &size)
        own.receive_buffer = granted // 2
        fh_mailbox_put(&own.mailbox, copy + 1)
        self.ring()
        return True

    def finish(self):
        """No connection will come any more: when all lines are down, poll() says END_OF_INPUT."""
        fh_mailbox_put(&self.finishing, 1)
        self.ring()

    cdef void ring(self) noexcept:
        cdef uint64_t one = 1
        write(self.bell, &one, sizeof(one))     # fails only when it rings already

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int k, line, box, n = 0, alive = 0, first = self.next_line, one = 1
        cdef ssize_t got
        cdef Connection *own
        cdef uint64_t *counters
        for k in range(self.lines):
            if n == capacity:
                return n
            line = first + k
            if line >= self.lines:
                line -= self.lines
            own = &self.table[line]
            got = 0
            box = fh_mailbox_look(&own.mailbox)
            if box > 0:
                got = self.take_over(line, box)
                out[n].data = own.first
            if got == 0 and own.fd >= 0:
                got = recv(own.fd, own.buffer, self.buffer_bytes, MSG_DONTWAIT)
                if got <= 0:
                    if got == 0:
                        self.down(line, 0)
                    elif errno != EAGAIN and errno != EINTR:
                        self.down(line, errno)
                    else:
                        alive += 1
                    continue
                if self.quickack:
                    setsockopt(own.fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one))
                out[n].data = own.buffer
            if got == 0:
                continue
            alive += 1
            self.next_line = line + 1 if line + 1 < self.lines else 0
            counters = self.counters + line * self.counter_stride
            counters[LN_PACKETS] += 1
            counters[LN_BYTES] += got
            out[n].ts_recv = fh_realtime_ns()
            out[n].len = <unsigned int> got
            out[n].line = line
            n += 1
        if n == 0 and alive == 0 and capacity > 0 and fh_mailbox_look(&self.finishing):
            self.ended = True
            for line in range(self.lines):
                self.status[line].state = LINE_ENDED
            return END_OF_INPUT
        return n

    cdef int take_over(self, int line, int box) noexcept nogil:
        """Make the connection in the mailbox the line's own; the bytes that were read too far."""
        cdef Connection *own = &self.table[line]
        if own.fd >= 0:
            close(own.fd)
        own.fd = box - 1
        self.pollfds[line].fd = own.fd
        if self.status[line].connections > 0:
            self.counters[line * self.counter_stride + LN_RECONNECTS] += 1
        self.status[line].connections += 1
        self.status[line].receive_buffer = own.receive_buffer
        self.status[line].error = 0
        fh_mailbox_put(<int *> &self.status[line].state, LINE_UP)
        if own.leftover:
            self.lent = True
            fh_mailbox_put(&own.mailbox, MAILBOX_LENT)
        else:
            fh_mailbox_put(&own.mailbox, MAILBOX_EMPTY)
        return own.leftover

    cdef void release(self) noexcept nogil:
        cdef int line
        if not self.lent:
            return
        self.lent = False
        for line in range(self.lines):
            if self.table[line].mailbox == MAILBOX_LENT:
                fh_mailbox_put(&self.table[line].mailbox, MAILBOX_EMPTY)

    cdef void down(self, int line, int error) noexcept nogil:
        cdef Connection *own = &self.table[line]
        if own.fd >= 0:
            close(own.fd)
        own.fd = self.pollfds[line].fd = -1
        self.status[line].error = error
        fh_mailbox_put(<int *> &self.status[line].state, LINE_DOWN)

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        cdef uint64_t rung
        cdef int rc = wait_readable(self.pollfds, self.lines + 1, timeout_ns, self.spin_ns)
        if rc > 0 and self.pollfds[self.lines].revents & POLLIN:
            read(self.bell, &rung, sizeof(rung))
        return rc

    cdef int64_t now(self) noexcept nogil:
        return fh_realtime_ns()

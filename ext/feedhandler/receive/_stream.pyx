"""The receiver of TCP streams: runs of bytes, as they come.

The control thread connects and logs in; then it hands the descriptor over through the line's mailbox, one word that it
may fill when it is empty and that only the polling thread empties. Bytes that the login read too far come first. A
poll() gives at most one run of a line, and takes over a new connection only before that: all bytes of a run are of the
connection that `LineStatus.connections` counts. One that takes the place of a connection that is still open is taken over
when nothing of that one waits any more. A connection that ends leaves its line down, the reason in
`LineStatus.error`, and nothing else happens until the next one comes.

The polling thread works on a duplicate of the descriptor; the control thread keeps its own, to write, and to end the
connection with shutdown(). Over TLS only one thread may read and write, which is the polling thread from the hand-over on.

What is sent through the receiver, plain or TLS, comes from two sides: send() by the control thread, through a ring, and
the answers that a framing puts into its Outbox while it parses. poll() passes both on before it receives, whole frame after
whole frame, and never waits for a full socket. A send() belongs to the connection handed over last before it: when that is
over, it is dropped and counted (`unsent`).
"""
cimport cython
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy
from posix.unistd cimport close, dup, read, write
from feedhandler._counters cimport LN_BYTES, LN_PACKETS, LN_RECONNECTS
from feedhandler._flags cimport fh_mailbox_look, fh_mailbox_put
from feedhandler._records cimport LINE_DOWN, LINE_ENDED, LINE_UP, TS_CLOCK, Packet
from feedhandler._spsc cimport fh_spsc_look, fh_spsc_put, fh_spsc_room, fh_spsc_took, fh_spsc_waiting
from feedhandler.receive._receiver cimport END_OF_INPUT
from feedhandler.receive._tls cimport Tls, tls_goodbye, tls_receive, tls_send
from feedhandler.receive._wait cimport POLLIN, POLLOUT, fh_realtime_ns, pollfd, wait_readable
from feedhandler.session._outbox cimport Outbox, fh_outbox_clear, fh_outbox_sent, fh_outbox_waiting

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buffer, size_t length, int flags)
    ssize_t send "send"(int fd, const void *buffer, size_t length, int flags)
    int setsockopt(int fd, int level, int name, const void *value, unsigned int length)
    int getsockopt(int fd, int level, int name, void *value, unsigned int *length)
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
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


cdef inline void acknowledge(Connection *own, int64_t now) noexcept nogil:
    """Ask for acknowledgements at once, and send the one that waits; a busy connection has the kernel's own in time."""
    cdef int one = 1
    if 0 <= now - own.acknowledged < QUICKACK_NS:
        return
    own.acknowledged = now
    setsockopt(own.fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one))


@cython.no_gc_clear                     # __dealloc__ still works with what `owners` keeps alive
cdef class StreamReceiver(Receiver):
    """Made by `stream.receiver`. All lines are down until a connection is handed over with connect().

    `buffer_bytes`: the most that one run holds. `quickack`: acknowledge at once, said again with what is received, since
    the kernel forgets it, but not more than once in a millisecond: each costs a system call and a packet.
    """

    def __cinit__(self, int lines, int buffer_bytes=131072, bint quickack=True, int64_t spin_ns=0):
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
        self.owners = [[None, None, None] for line in range(lines)]
        for line in range(lines):
            self.table[line].fd = self.pollfds[line].fd = -1
            self.pollfds[line].events = POLLIN
            self.table[line].ring.size = SEND_RING_BYTES
            self.table[line].ring.bytes = <uint8_t *> malloc(SEND_RING_BYTES)
            if self.table[line].ring.bytes == NULL:
                raise MemoryError()
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
        cdef int line
        if self.table != NULL:
            self.close_all()
            for line in range(self.lines):
                free(self.table[line].ring.bytes)
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

    def connect(self, int line, int fd, bytes leftover=b"", Tls tls=None):
        """Hand a connected socket's descriptor to the polling thread; `leftover` are plain bytes already read from it.

        `tls`: the connection's, after its handshake; from now on the polling thread's alone. False when the connection
        handed over before is not taken yet: try again. The caller keeps `fd`. Takes the place of a connection that is
        still open, behind what has come of it by then.
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
        if tls is not None:
            try:
                tls.hand_over(copy)
            except BaseException:
                close(copy)
                raise
        # the mailbox is empty, so the connection before has been taken, and the one before that is out of use
        self.owners[line][:2] = self.owners[line][1], tls
        own.next_tls = NULL if tls is None else &tls.state
        memcpy(own.first, <const uint8_t *> leftover, len(leftover))
        own.leftover = len(leftover)
        getsockopt(copy, SOL_SOCKET, SO_RCVBUF, &granted, &size)
        own.receive_buffer = granted // 2
        own.offered += 1
        fh_mailbox_put(&own.mailbox, copy + 1)
        self.ring()
        return True

    def send(self, int line, bytes data not None):
        """Have whole frames sent on the connection handed over last, by the polling thread; False: no room now, try again.

        At most 65,536 bytes. What waits when the connection ends is dropped and counted in `unsent`.
        """
        cdef Connection *own = &self.table[self.check(line)]
        cdef uint8_t *room
        if not 1 <= len(data) <= SEND_BYTES_MAX:
            raise ValueError(f"send() takes 1 to {SEND_BYTES_MAX} bytes, not {len(data)}")
        if own.offered == 0:
            raise ValueError(f"line {line} has had no connection: connect() comes first")
        room = fh_spsc_room(&own.ring, <uint32_t> (sizeof(uint32_t) + len(data)))
        if room == NULL:
            return False
        (<uint32_t *> room)[0] = own.offered
        memcpy(room + sizeof(uint32_t), <const uint8_t *> data, len(data))
        fh_spsc_put(&own.ring)
        self.ring()
        return True

    def answer_with(self, int line, Outbox outbox):
        """Send what the line's framing puts into `outbox`; None: nothing. Not while another thread polls."""
        self.table[self.check(line)].outbox = NULL if outbox is None else &outbox.box
        self.owners[line][2] = outbox

    def finish(self):
        """No connection will come any more: when all lines are down, poll() says END_OF_INPUT."""
        fh_mailbox_put(&self.finishing, 1)
        self.ring()

    cdef void ring(self) noexcept:
        cdef uint64_t one = 1
        write(self.bell, &one, sizeof(one))     # fails only when it rings already

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int k, line, box, error, n = 0, alive = 0, first = self.next_line
        cdef int64_t got
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
            if box > 0 and own.fd >= 0:             # all that has come of the one before goes first
                got = self.receive(line, &error)
                if got < 0:
                    self.down(line, error)
                    alive += 1                      # the next poll() takes the new one
                    continue
                out[n].data = own.buffer
            if box > 0 and got == 0:
                got = self.take_over(line, box)
                out[n].data = own.first
            self.flush(line)
            if got == 0 and own.drained:            # no call just to hear EAGAIN
                own.drained = False
                alive += 1
                continue
            if got == 0 and own.fd >= 0:
                got = self.receive(line, &error)
                if got < 0:
                    self.down(line, error)
                    continue
                if got == 0:
                    alive += 1
                    continue
                out[n].data = own.buffer
            if got == 0:
                continue
            alive += 1
            self.next_line = line + 1 if line + 1 < self.lines else 0
            counters = self.counters + line * self.counter_stride
            counters[LN_PACKETS] += 1
            counters[LN_BYTES] += got
            out[n].ts_recv = fh_realtime_ns()
            if self.quickack:
                acknowledge(own, out[n].ts_recv)
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
        self.hang_up(own)
        own.fd = box - 1
        own.tls = own.next_tls
        if own.outbox != NULL:
            fh_outbox_clear(own.outbox)
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

    cdef int64_t receive(self, int line, int *error) noexcept nogil:
        """A run of plain bytes in the line's buffer: how many; 0: none now; -1: the connection is over, by `error`."""
        cdef Connection *own = &self.table[line]
        cdef int64_t got
        if own.tls != NULL:
            got = tls_receive(own.tls, own.buffer, self.buffer_bytes)
            own.drained = own.tls.drained and not own.tls.more
            error[0] = own.tls.error
            return got
        got = recv(own.fd, own.buffer, self.buffer_bytes, MSG_DONTWAIT)
        own.drained = 0 < got < self.buffer_bytes
        if got > 0:
            return got
        if got < 0 and (errno == EAGAIN or errno == EINTR):
            return 0
        error[0] = errno if got < 0 else 0
        return -1

    cdef int64_t put(self, int line, const uint8_t *data, uint32_t length) noexcept nogil:
        """Bytes that the kernel took; 0: none now. What ends a connection is left for receive() to find."""
        cdef Connection *own = &self.table[line]
        cdef int64_t done
        if own.tls != NULL:
            done = tls_send(own.tls, data, length)
        else:
            done = send(own.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
            if done < 0 and (errno == EAGAIN or errno == EINTR):
                done = 0
        own.blocked = done == 0
        return done if done > 0 else 0

    cdef void flush(self, int line) noexcept nogil:
        """Pass on the framing's answers and the control thread's frames, as far as the socket has room."""
        cdef Connection *own = &self.table[line]
        cdef const uint8_t *record
        cdef uint32_t length = 0, done, connections = self.status[line].connections
        cdef int ahead
        if own.fd >= 0 and own.outbox != NULL and fh_outbox_waiting(own.outbox) and not own.begun:
            done = <uint32_t> self.put(line, own.outbox.bytes + own.outbox.begin, fh_outbox_waiting(own.outbox))
            fh_outbox_sent(own.outbox, done)
        while fh_spsc_waiting(&own.ring) and (own.begun or own.outbox == NULL or not fh_outbox_waiting(own.outbox)
                                              or own.fd < 0):
            record = fh_spsc_look(&own.ring, &length)
            if record == NULL:
                break
            ahead = <int> ((<const uint32_t *> record)[0] - connections)
            if ahead > 0:
                break                           # of a connection that is not taken over yet
            if ahead < 0 or own.fd < 0:
                self.unsent += 1
                fh_spsc_took(&own.ring)
                continue
            own.begun = True
            length -= sizeof(uint32_t)
            done = <uint32_t> self.put(line, record + sizeof(uint32_t) + own.sent, length - own.sent)
            own.sent += done
            if own.sent < length:
                if done == 0:
                    break
                continue
            own.sent = 0
            own.begun = False
            fh_spsc_took(&own.ring)
        self.pollfds[line].events = POLLIN | POLLOUT if own.blocked else POLLIN

    cdef void release(self) noexcept nogil:
        cdef int line
        if not self.lent:
            return
        self.lent = False
        for line in range(self.lines):
            if self.table[line].mailbox == MAILBOX_LENT:
                fh_mailbox_put(&self.table[line].mailbox, MAILBOX_EMPTY)

    cdef void hang_up(self, Connection *own) noexcept nogil:
        """The connection, if there is one, is over, and what was being sent on it."""
        if own.fd >= 0:
            if own.tls != NULL:
                tls_goodbye(own.tls)
            close(own.fd)
        own.fd = -1
        own.tls = NULL
        own.sent = 0
        own.begun = own.blocked = own.drained = False

    cdef void down(self, int line, int error) noexcept nogil:
        self.hang_up(&self.table[line])
        self.pollfds[line].fd = -1
        self.status[line].error = error
        fh_mailbox_put(<int *> &self.status[line].state, LINE_DOWN)

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        cdef uint64_t rung
        cdef int rc, line
        cdef Connection *own
        for line in range(self.lines):
            own = &self.table[line]
            if own.fd >= 0 and ((own.tls != NULL and own.tls.more)
                                or (own.outbox != NULL and fh_outbox_waiting(own.outbox) and not own.blocked)):
                return 1
        rc = wait_readable(self.pollfds, self.lines + 1, timeout_ns, self.spin_ns)
        if rc > 0 and self.pollfds[self.lines].revents & POLLIN:
            read(self.bell, &rung, sizeof(rung))
        return rc

    cdef int64_t now(self) noexcept nogil:
        return fh_realtime_ns()

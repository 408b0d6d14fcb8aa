"""The receiver of UDP sockets: recvmmsg into memory taken beforehand.

One poll() asks each line's socket once, beginning with another line each time, so that a flood on one does not keep the
others waiting for longer than a batch. A datagram stays in its slot until release().

ts_recv is the NIC's stamp where there is one that can be believed, else the kernel's, else the clock's as read after
the receive. A hardware stamp further than a second from the kernel's comes from a clock nobody has set to UTC (a PHC
on TAI, or counting from boot): it is not used, and the line's ts_kind says so.
"""
from libc.errno cimport EAGAIN, EBADF, EINTR, ENOTSOCK, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from feedhandler._counters cimport LN_BYTES, LN_FOREIGN, LN_KERNEL_DROPS, LN_PACKETS, LN_TRUNCATED
from feedhandler._records cimport LINE_DOWN, LINE_UP, TS_CLOCK, TS_HARDWARE, TS_KERNEL, Packet
from feedhandler.receive._receiver cimport END_OF_INPUT, LineStatus, Receiver
from feedhandler.receive._wait cimport POLLIN, fh_realtime_ns, pollfd, wait_readable

cdef extern from "<sys/socket.h>" nogil:
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout)
    enum:
        MSG_DONTWAIT
        MSG_TRUNC

cdef extern from "datagram_control.h" nogil:
    enum:
        FH_CONTROL_BYTES
    cdef struct fh_control:
        int64_t software
        int64_t hardware
        uint32_t drops
        uint32_t has_drops
    void fh_read_control(msghdr *message, fh_control *out)

cdef enum:
    BELIEVED_NS = 1000000000                # how far hardware and kernel time may lie apart
    SO_MEMINFO = 55                         # of the socket: nine words, of which the last counts drops


cdef class SocketReceiver(Receiver):
    """Made by `sockets.receiver`.

    `sockets`: one bound, joined socket object per line; the receiver keeps and closes them. `sources`: per line the
    IPv4 address (4 bytes) whose packets it takes, or b"" for any; others' are counted as foreign. `slots` datagrams of
    at most `slot_bytes` per line and poll; longer ones are counted as truncated and refused.
    """

    def __cinit__(self, int lines, sockets, sources, int slots=64, int slot_bytes=9216, int64_t spin_ns=0):
        cdef int line, slot
        cdef uint8_t *cursor
        cdef mmsghdr *message
        cdef iovec *vector
        cdef bytes source
        cdef size_t each
        if len(sockets) != lines or len(sources) != lines:
            raise ValueError(f"{lines} lines need as many sockets and sources")
        if not 1 <= slots <= 1024:
            raise ValueError(f"slots must be 1 to 1024, not {slots}")
        if not 64 <= slot_bytes <= 65536:
            raise ValueError(f"slot_bytes must be 64 to 65536, not {slot_bytes}")
        slot_bytes = (slot_bytes + 63) & ~63
        self.slots = slots
        self.slot_bytes = slot_bytes
        self.spin_ns = spin_ns
        self.sockets = list(sockets)
        each = sizeof(mmsghdr) + sizeof(iovec) + sizeof(sockaddr_in) + FH_CONTROL_BYTES
        self.table = <UdpLine *> calloc(lines, sizeof(UdpLine))
        self.pollfds = <pollfd *> calloc(lines, sizeof(pollfd))
        self.memory = <uint8_t *> calloc(<size_t> lines * slots, slot_bytes + (each + 63) // 64 * 64)
        if self.table == NULL or self.pollfds == NULL or self.memory == NULL:
            raise MemoryError()
        cursor = self.memory + <size_t> lines * slots * slot_bytes
        for line in range(lines):
            self.table[line].messages = <mmsghdr *> cursor
            cursor += slots * sizeof(mmsghdr)
        for line in range(lines):
            self.table[line].fd = self.sockets[line].fileno()
            self.pollfds[line].fd = self.table[line].fd
            self.pollfds[line].events = POLLIN
            self.status[line].state = LINE_UP
            self.status[line].receive_buffer = self.sockets[line].getsockopt(1, 8) // 2      # SO_RCVBUF: doubled
            source = sources[line]
            if source:
                if len(source) != 4:
                    raise ValueError("a source is the 4 bytes of an IPv4 address")
                memcpy(&self.table[line].source, <const uint8_t *> source, 4)
            for slot in range(slots):
                message = &self.table[line].messages[slot]
                vector = <iovec *> cursor
                cursor += sizeof(iovec)
                vector.iov_base = self.memory + (<size_t> line * slots + slot) * slot_bytes
                vector.iov_len = slot_bytes
                message.msg_hdr.msg_iov = vector
                message.msg_hdr.msg_iovlen = 1
                message.msg_hdr.msg_control = cursor
                message.msg_hdr.msg_controllen = FH_CONTROL_BYTES
                cursor += FH_CONTROL_BYTES
                if self.table[line].source:
                    message.msg_hdr.msg_name = cursor
                    message.msg_hdr.msg_namelen = sizeof(sockaddr_in)
                cursor += sizeof(sockaddr_in)

    def __dealloc__(self):
        free(self.table)
        free(self.pollfds)
        free(self.memory)

    def counts(self, int line):
        """As of every receiver; kernel_drops up to now, though the kernel tells the polling thread with a packet only."""
        cdef uint32_t seen
        self.check(line)
        seen = self.table[line].drops
        found = Receiver.counts(self, line)
        if self.table[line].fd >= 0:
            now = int.from_bytes(self.sockets[line].getsockopt(1, SO_MEMINFO, 36)[32:36], "little")     # SK_MEMINFO_DROPS
            if self.table[line].drops == seen:              # nobody has counted them meanwhile
                found["kernel_drops"] += (now - seen) & 0xFFFFFFFF
        return found

    def close(self):
        """Leave the groups and close the sockets."""
        cdef int line
        self.unbind()
        for line in range(self.lines):
            self.table[line].fd = self.pollfds[line].fd = -1
            self.status[line].state = LINE_DOWN
        for each in self.sockets:
            each.close()

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int i, k, line, got, n = 0, first = self.next_line, open_lines = 0
        cdef int64_t clock
        cdef UdpLine *own
        cdef LineStatus *status
        cdef uint64_t *counters
        cdef mmsghdr *message
        cdef fh_control control
        cdef uint32_t missed
        for k in range(self.lines):
            if n == capacity:
                break
            line = first + k
            if line >= self.lines:
                line -= self.lines
            own = &self.table[line]
            if own.fd < 0:
                continue
            open_lines += 1
            got = self.read_line(line, capacity - n)
            if got <= 0:
                continue
            self.next_line = line + 1 if line + 1 < self.lines else 0
            clock = 0
            status = &self.status[line]
            counters = self.counters + line * self.counter_stride
            for i in range(got):
                message = &own.messages[i]
                fh_read_control(&message.msg_hdr, &control)
                if control.has_drops and control.drops != own.drops:
                    missed = control.drops - own.drops
                    own.drops = control.drops           # first: counts() may find some too few so, never too many
                    counters[LN_KERNEL_DROPS] += missed
                if own.source and (<sockaddr_in *> message.msg_hdr.msg_name).sin_addr.s_addr != own.source:
                    counters[LN_FOREIGN] += 1
                    continue
                if message.msg_hdr.msg_flags & MSG_TRUNC:
                    counters[LN_TRUNCATED] += 1
                    continue
                if control.software == 0 and clock == 0:    # once for all that this call brought
                    clock = fh_realtime_ns()
                if control.hardware != 0 and believed(control.hardware,
                                                      control.software if control.software != 0 else clock):
                    out[n].ts_recv = control.hardware
                    status.ts_kind = TS_HARDWARE
                elif control.software != 0:
                    out[n].ts_recv = control.software
                    status.ts_kind = TS_KERNEL
                else:
                    out[n].ts_recv = clock
                    status.ts_kind = TS_CLOCK
                counters[LN_PACKETS] += 1
                counters[LN_BYTES] += message.msg_len
                out[n].data = <const uint8_t *> message.msg_hdr.msg_iov.iov_base
                out[n].len = message.msg_len
                out[n].line = line
                n += 1
        if open_lines == 0:
            self.ended = True
            return END_OF_INPUT
        return n

    cdef int read_line(self, int line, int want) noexcept nogil:
        """Datagrams received into the line's first slots; 0 when none, or when the socket had an error to tell."""
        cdef UdpLine *own = &self.table[line]
        cdef uint32_t i
        cdef int got
        for i in range(own.used):           # recvmmsg has written over what it was offered
            own.messages[i].msg_hdr.msg_controllen = FH_CONTROL_BYTES
            if own.source:
                own.messages[i].msg_hdr.msg_namelen = sizeof(sockaddr_in)
        own.used = 0
        got = recvmmsg(own.fd, own.messages, min(want, self.slots), MSG_DONTWAIT, NULL)
        if got > 0:
            own.used = got
            if self.status[line].state != LINE_UP:
                self.status[line].error = 0
                self.status[line].state = LINE_UP
            return got
        if got < 0 and errno != EAGAIN and errno != EINTR:
            self.status[line].error = errno
            self.status[line].state = LINE_DOWN
            if errno == EBADF or errno == ENOTSOCK:
                own.fd = self.pollfds[line].fd = -1
        return 0

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        return wait_readable(self.pollfds, self.lines, timeout_ns, self.spin_ns)

    cdef int64_t now(self) noexcept nogil:
        return fh_realtime_ns()


cdef inline bint believed(int64_t hardware, int64_t reference) noexcept nogil:
    return -BELIEVED_NS < hardware - reference < BELIEVED_NS

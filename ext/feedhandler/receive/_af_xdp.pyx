"""The receiver of AF_XDP sockets: frames from the driver's queues, past the kernel's network stack.

poll() reads descriptors from the receive ring of each queue, beginning with another queue each time, checks the headers
and hands on the payloads where they lie; release() gives the chunks back. Neither makes a system call. Once a
millisecond poll() looks around: the join sockets (fragments, IP options, queues without a socket of ours) are drained into
the same lines, the clocks compared, drops counted.

The XDP program has left time, line and place of the IP header before each frame. That note is wiped when it has been read,
so that the note of an earlier frame is never taken for one of a driver that leaves none; there the headers are read whole,
and the time is the clock's.
"""
cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport ENETDOWN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
import os
from feedhandler._counters cimport LN_BAD_FRAMES, LN_BYTES, LN_FOREIGN, LN_KERNEL_DROPS, LN_PACKETS
from feedhandler._records cimport LINE_DOWN, LINE_UP, TS_CLOCK, TS_HARDWARE, TS_KERNEL, Packet
from feedhandler._seqlock cimport fh_pause
from feedhandler.receive._frame cimport (FH_FRAME_OK, FH_STEER_NONE, Steering, fh_frame, fh_frame_ip, fh_frame_known_ip,
                                         fh_frame_udp, fh_steer_blame, fh_steer_line)
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH
from feedhandler.receive._wait cimport POLLIN, fh_monotonic_ns, fh_realtime_ns, wait_readable

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)
    void *MAP_FAILED
    enum:
        PROT_READ
        PROT_WRITE
        MAP_PRIVATE
        MAP_ANONYMOUS
        MAP_HUGETLB
        MADV_HUGEPAGE
        MADV_DONTFORK

cdef extern from "hints.h" nogil:
    void FH_FETCH_TO_WRITE(const void *p)
    void FH_FETCH_TO_READ(const void *p)
    bint FH_UNLIKELY(bint condition)

cdef enum:
    HUGE_PAGE = 2097152
    MAP_HUGE_2MB = 21 << 26                 # of this size, whatever the machine's default is
    HEADERS = 42                            # Ethernet, IP and UDP: how far the payload is from the frame's start
    FETCH_AHEAD = 6                         # frames
    IDLE_POLLS = 256                        # so many without a packet, and the clock is read
    LOOK_AROUND_NS = 1000000
    MEASURE_NS = 10000000                   # the clocks are compared so often
    COUNT_NS = 50000000                     # drops are counted so often
    FARTHEST_IP = 22                        # behind two tags
    BELIEVED_NS = 1000000000                # how far the NIC's and the kernel's time may lie apart

COPY = FH_XDP_COPY
ZERO_COPY = FH_XDP_ZEROCOPY
HEADROOM = FH_XDP_HEADROOM


cdef int refuse(int rc) except -1:
    if rc < 0:
        raise OSError(-rc, os.strerror(-rc))
    return 0


cdef class Memory:
    """Memory of at least so many bytes for frames, on huge pages where `huge` and some are reserved, else on such as the
    kernel makes large by itself. Its buffer is read-only. `pages` says which it became."""

    def __cinit__(self, size_t size, bint huge=True):
        cdef size_t rounded = (size + HUGE_PAGE - 1) // HUGE_PAGE * HUGE_PAGE
        cdef size_t whole = rounded + HUGE_PAGE
        self.size = size
        if huge:
            self.mapped = mmap(NULL, rounded, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0)
            if self.mapped != MAP_FAILED:
                self.mapped_bytes = rounded
                self.base = <uint8_t *> self.mapped
                self.pages = "huge"
                madvise(self.base, rounded, MADV_DONTFORK)
                return
        self.mapped = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if self.mapped == MAP_FAILED:
            self.mapped = NULL
            raise MemoryError(f"no {whole} bytes for frames")
        self.mapped_bytes = whole
        self.base = <uint8_t *> ((<size_t> self.mapped + HUGE_PAGE - 1) // HUGE_PAGE * HUGE_PAGE)
        self.pages = "transparent" if madvise(self.base, rounded, MADV_HUGEPAGE) == 0 else "ordinary"
        madvise(self.base, rounded, MADV_DONTFORK)      # the kernel writes into these very pages: no copy on write

    def __dealloc__(self):
        if self.mapped != NULL:
            munmap(self.mapped, self.mapped_bytes)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.base, <Py_ssize_t> self.size, 1, flags)


cdef class Queue:
    """One AF_XDP socket, set up in steps: open, register, rings, bind. Each raises OSError with the kernel's errno."""

    def __cinit__(self):
        memset(&self.xsk, 0, sizeof(fh_xsk))
        self.xsk.fd = -1

    def __dealloc__(self):
        fh_xsk_close(&self.xsk)

    def open(self):
        """Make the socket."""
        fh_xsk_close(&self.xsk)
        refuse(fh_xsk_open(&self.xsk))

    def register(self, Memory memory not None, uint32_t chunk, uint32_t headroom, bint anywhere):
        """Frames go into chunks of this memory, so many bytes behind HEADROOM. `anywhere`: chunks may begin anywhere."""
        refuse(fh_xsk_register(&self.xsk, memory.base, memory.size // chunk * chunk, chunk, headroom, anywhere))
        self.memory = memory

    def rings(self, uint32_t ring, uint32_t chunk):
        """Map the rings, of `ring` places (a power of two) each, and give all chunks to the kernel."""
        if self.memory is None or ring == 0 or ring & (ring - 1) or <size_t> ring * chunk > self.memory.size:
            raise ValueError("rings are a power of two, and each place has a chunk of the memory registered before")
        refuse(fh_xsk_rings(&self.xsk, ring, chunk))

    def bind(self, uint32_t interface, uint32_t queue, bint zero_copy):
        """Take the queue of the interface of this number, without copying or with."""
        self.xsk.zero_copy = zero_copy
        refuse(fh_xsk_bind(&self.xsk, interface, queue,
                           FH_XDP_USE_NEED_WAKEUP | (FH_XDP_ZEROCOPY if zero_copy else FH_XDP_COPY)))

    def fileno(self):
        """The socket's file descriptor; -1 = closed."""
        return self.xsk.fd

    def close(self):
        """Unmap the rings, close the socket. Harmless when done twice. The memory stays while anybody has it."""
        fh_xsk_close(&self.xsk)


@cython.final
cdef class AfXdpReceiver(Receiver):
    """Made by `af_xdp.receiver`.

    `queues`: bound sockets, each with the place of its interface in `tables`, which say whose a frame is that came without
    a note. `interfaces`: each line's interface, by the same places. `joined` holds the join sockets of all lines.
    `attached`: what is closed first of all, before the queues, at close(). `hardware`: the interfaces whose
    program asks the NIC for the time.
    """

    def __cinit__(self, int lines, queues, tables, interfaces, SocketReceiver joined not None, attached, str mode,
                  bint check_udp_checksum=False, hardware=()):
        cdef int i, line
        cdef Queue queue
        if joined.lines != lines or len(interfaces) != lines or not queues:
            raise ValueError(f"{lines} lines need as many join sockets and interfaces, and at least one queue")
        self.queues = len(queues)
        self.kept = [each for each, _ in queues]
        self.memories = [(each.memory, memoryview(each.memory)) for each in self.kept]
        self.lent = []
        self.attached = (list(attached), list(tables))
        self.joined = joined
        self.mode = mode
        self.check_udp_checksum = check_udp_checksum
        self.sources = <Source *> calloc(self.queues, sizeof(Source))
        self.interface_of = <int *> calloc(lines, sizeof(int))
        self.pollfds = <pollfd *> calloc(self.queues + lines, sizeof(pollfd))
        if self.sources == NULL or self.interface_of == NULL or self.pollfds == NULL:
            raise MemoryError()
        for i in range(self.queues):
            queue = self.kept[i]
            self.sources[i].xsk = &queue.xsk
            self.sources[i].interface = queues[i][1]
            self.sources[i].steering = &(<Steering?> tables[queues[i][1]]).table
            self.sources[i].hardware = queues[i][1] in hardware
            self.sources[i].first_line = list(interfaces).index(queues[i][1])
            self.pollfds[i].fd = queue.xsk.fd
            self.pollfds[i].events = POLLIN
        for line in range(lines):
            self.interface_of[line] = interfaces[line]
            self.pollfds[self.queues + line] = joined.pollfds[line]
            self.status[line] = joined.status[line]
        joined.counters = self.counters     # for good: both count into the same words
        joined.counter_stride = self.counter_stride
        self.offset = fh_epoch_of_monotonic(0)
        self.measured_at = self.counted_at = fh_monotonic_ns()

    def __dealloc__(self):
        free(self.sources)
        free(self.interface_of)
        free(self.pollfds)

    def describe(self):
        """How frames come: "native zero-copy", "native copy", "generic"."""
        return self.mode

    def close(self):
        """Take the program off, leave the groups, give queues and memory back. Payloads handed out stay readable."""
        cdef int line
        self.unbind()
        self.joined.close()
        if not self.closed:
            self.count_drops()
        self.closed = True
        for line in range(self.lines):
            self.status[line].state = LINE_DOWN
        for each in self.attached[0]:
            each.close()
        for queue in self.kept:
            queue.close()

    cdef void bind(self, uint64_t *counters, int stride_words, object owner=None) noexcept:
        Receiver.bind(self, counters, stride_words, owner)
        self.joined.counters = self.counters
        self.joined.counter_stride = self.counter_stride

    cdef void unbind(self) noexcept:
        Receiver.unbind(self)
        self.joined.counters = self.counters
        self.joined.counter_stride = self.counter_stride

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int k, at, n = 0
        cdef uint32_t waiting
        cdef Source *source
        if FH_UNLIKELY(self.closed):
            self.ended = True
            return END_OF_INPUT
        if FH_UNLIKELY(self.look_due or self.idle_polls >= IDLE_POLLS):
            n = self.look_around(out, capacity)
        at = self.next_queue
        for k in range(self.queues):
            source = &self.sources[at]
            at = at + 1 if at + 1 < self.queues else 0
            waiting = fh_xsk_waiting(source.xsk)
            if waiting == 0:
                if source.xsk.zero_copy and fh_xsk_sleeps(source.xsk):
                    fh_xsk_wake(source.xsk)
                continue
            if n == capacity:
                break
            n += self.take(source, out + n, min(waiting, <uint32_t> (capacity - n)))
            self.next_queue = at
        if n == 0:
            self.idle_polls += 1
            self.release()                  # what was refused goes back at once
        return n

    cdef void release(self) noexcept nogil:
        cdef int i
        if FH_UNLIKELY(self.closed):        # the rings are gone
            return
        for i in range(self.queues):
            fh_xsk_give(self.sources[i].xsk)
            if self.sources[i].xsk.zero_copy and fh_xsk_sleeps(self.sources[i].xsk):
                fh_xsk_wake(self.sources[i].xsk)
        if self.joined_lent:
            self.joined_lent = False
            self.joined.release()

    cdef int take(self, Source *source, Packet *out, uint32_t count) noexcept nogil:
        """Look at the next `count` frames; how many of them are packets."""
        cdef fh_xsk *xsk = source.xsk
        cdef const fh_xsk_desc *received = xsk.received
        cdef const fh_xsk_desc *desc
        cdef const uint8_t *ip
        cdef uint8_t *data
        cdef uint8_t *memory = xsk.memory
        cdef fh_xsk_note *note
        cdef fh_frame frame
        cdef uint32_t at = xsk.next, end = at + count, mask = xsk.mask, seen = xsk.seen, fetched = xsk.fetched
        cdef uint32_t line, lines = self.lines, current = 0
        cdef uint64_t packets = 0, size = 0
        cdef Packet *packet = out
        cdef bint check_udp_checksum = self.check_udp_checksum, hardware = source.hardware
        cdef int64_t ts = 0, offset = self.offset
        cdef int verdict
        self.clock = 0
        if <int32_t> (fetched - at) < 0:
            fetched = at
        while at != end:
            while fetched != seen and fetched - at < FETCH_AHEAD:
                data = fh_xsk_frame(memory, &received[fetched & mask])
                FH_FETCH_TO_WRITE(data - sizeof(fh_xsk_note))
                FH_FETCH_TO_READ(data + HEADERS)
                fetched += 1
            desc = &received[at & mask]
            at += 1
            data = fh_xsk_frame(memory, desc)
            note = <fh_xsk_note *> (data - sizeof(fh_xsk_note))
            line = note.line
            if FH_UNLIKELY(note.mark != FH_XSK_NOTE_MARK or line >= lines or note.ip > FARTHEST_IP):
                packet += self.take_unnoted(source, data, desc.len, packet)
                continue
            note.mark = 0
            ip = data + note.ip
            if FH_UNLIKELY(check_udp_checksum):
                verdict = fh_frame_ip(ip, desc.len - note.ip, True, &frame)
            else:
                verdict = fh_frame_known_ip(ip, desc.len - note.ip, &frame)
            if FH_UNLIKELY(verdict != FH_FRAME_OK):
                self.counters[line * self.counter_stride + LN_BAD_FRAMES] += 1
                continue
            ts = <int64_t> note.time + offset
            if FH_UNLIKELY(line != current):
                self.count(current, packets, size, hardware)
                current = line
                packets = size = 0
            packets += 1
            size += frame.len
            packet.data = frame.payload
            packet.ts_recv = ts
            packet.len = frame.len
            packet.line = line
            if FH_UNLIKELY(hardware):
                packet.ts_recv = self.stamp(fh_xsk_stamp(note), ts, line)
            packet += 1
        self.count(current, packets, size, hardware)
        xsk.next = at
        xsk.fetched = fetched
        if ts - offset - self.looked_at >= LOOK_AROUND_NS:
            self.look_due = True
        return <int> (packet - out)

    cdef void count(self, uint32_t line, uint64_t packets, uint64_t size, bint hardware) noexcept nogil:
        """A run of packets of one line."""
        cdef uint64_t *counters = self.counters + line * self.counter_stride
        if packets:
            counters[LN_PACKETS] += packets
            counters[LN_BYTES] += size
            if not hardware:                # else it is told of each packet
                self.status[line].ts_kind = TS_KERNEL

    cdef int64_t stamp(self, int64_t stamp, int64_t ts, uint32_t line) noexcept nogil:
        """The NIC's time of a frame, unless it has none, or one that nobody has set to UTC; then `ts`, the kernel's."""
        if stamp != 0 and -BELIEVED_NS < stamp - ts < BELIEVED_NS:
            self.status[line].ts_kind = TS_HARDWARE
            return stamp
        self.status[line].ts_kind = TS_KERNEL
        return ts

    cdef int take_unnoted(self, Source *source, const uint8_t *data, uint32_t size, Packet *out) noexcept nogil:
        """A frame that came without a note: 1 and the packet, or 0 where it is refused, and counted."""
        cdef fh_frame frame
        cdef int line, verdict = fh_frame_udp(data, size, self.check_udp_checksum, &frame)
        cdef uint64_t *counters
        line = fh_steer_line(source.steering, &frame) if verdict == FH_FRAME_OK else FH_STEER_NONE
        if line == FH_STEER_NONE:
            line = fh_steer_blame(source.steering, &frame)
            counters = self.counters + (source.first_line if line == FH_STEER_NONE else line) * self.counter_stride
            counters[LN_FOREIGN if verdict == FH_FRAME_OK else LN_BAD_FRAMES] += 1
            return 0
        if self.clock == 0:                 # once for all that this poll finds
            self.clock = fh_monotonic_ns()
            if self.clock - self.looked_at >= LOOK_AROUND_NS:
                self.look_due = True
        counters = self.counters + line * self.counter_stride
        counters[LN_PACKETS] += 1
        counters[LN_BYTES] += frame.len
        self.status[line].ts_kind = TS_CLOCK
        out.data = frame.payload
        out.ts_recv = self.clock + self.offset
        out.len = frame.len
        out.line = line
        return 1

    cdef int look_around(self, Packet *out, int capacity) noexcept nogil:
        """What is not done for each packet: join sockets (into `out`, at most half of it), clocks, drops."""
        cdef int64_t now = fh_monotonic_ns()
        cdef int i, n = 0
        self.idle_polls = 0
        if not self.look_due and now - self.looked_at < LOOK_AROUND_NS:
            return 0
        self.look_due = False
        self.looked_at = now
        if now - self.measured_at >= MEASURE_NS:
            self.measured_at = now
            self.offset = fh_epoch_of_monotonic(self.offset)
        if now - self.counted_at >= COUNT_NS:
            self.counted_at = now
            self.count_drops()
        if self.joined.wait(0) > 0:
            n = max(0, self.joined.poll(out, (capacity + 1) // 2))
            for i in range(n):
                self.status[out[i].line].ts_kind = self.joined.status[out[i].line].ts_kind
            if n > 0:
                self.joined_lent = True
                self.look_due = True        # there may be more
        return n

    cdef void count_drops(self) noexcept nogil:
        """Count what the kernel had no room for, on the first line of the interface; take note of a dead socket."""
        cdef uint64_t dropped = 0
        cdef int i, line, error
        cdef Source *source
        for i in range(self.queues):
            source = &self.sources[i]
            if source.xsk.fd < 0:
                continue
            if fh_xsk_dropped(source.xsk, &dropped) == 0 and dropped != source.xsk.drops:
                self.counters[source.first_line * self.counter_stride + LN_KERNEL_DROPS] += dropped - source.xsk.drops
                source.xsk.drops = dropped
            error = fh_xsk_error(source.xsk)
            if error == ENETDOWN:           # the interface is gone for good, and with it the program
                self.pollfds[i].fd = -1
                for line in range(self.lines):
                    if self.interface_of[line] == source.interface:
                        self.status[line].state = LINE_DOWN
                        self.status[line].error = error

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        cdef int64_t begin, left = timeout_ns
        cdef int i, rc
        if self.closed:
            return 0
        if self.spin_ns > 0:
            begin = fh_monotonic_ns()
            while left > 0 and timeout_ns - left < self.spin_ns:
                for i in range(self.queues):
                    if fh_xsk_waiting(self.sources[i].xsk) != 0:
                        return 1
                fh_pause()
                left = timeout_ns - (fh_monotonic_ns() - begin)
        rc = wait_readable(self.pollfds, self.queues + self.lines, left, 0)
        self.idle_polls = IDLE_POLLS
        if rc > 0:
            for i in range(self.queues):
                if self.pollfds[i].revents & ~POLLIN:
                    self.counted_at = 0
                    self.look_due = True
            for i in range(self.queues, self.queues + self.lines):
                if self.pollfds[i].revents:
                    self.look_due = True
        return rc

    cdef int64_t now(self) noexcept nogil:
        return fh_realtime_ns()

    cdef void forget_views(self):
        for view in self.lent:
            try:
                view.release()
            except BufferError:             # an array was made of it: it is the caller's to know that time is up
                pass
        self.lent = []

    def batch(self, int limit=RECEIVE_BATCH):
        """What waits now, as (line, ts_recv, memoryview of the payload), at most `limit` (64).

        The views are of the memory that the driver writes to: they are released at the next batch(), and so is what
        they showed. Copy what is to stay, with bytes().
        """
        cdef Packet packets[RECEIVE_BATCH]
        cdef int i, n
        cdef Memory memory
        cdef Py_ssize_t at
        if not 1 <= limit <= RECEIVE_BATCH:
            raise ValueError(f"limit must be 1 to {RECEIVE_BATCH}, not {limit}")
        if self.lent:
            self.forget_views()
            self.release()
        with nogil:
            n = self.poll(packets, limit)
        taken = []
        for i in range(n):
            for memory, whole in self.memories:
                if memory.base <= packets[i].data and packets[i].data + packets[i].len <= memory.base + memory.size:
                    at = packets[i].data - memory.base
                    view = whole[at:at + <Py_ssize_t> packets[i].len]
                    break
            else:                           # of a join socket, whose memory goes when it is closed
                view = memoryview(PyBytes_FromStringAndSize(<const char *> packets[i].data, packets[i].len))
            self.lent.append(view)
            taken.append((packets[i].line, packets[i].ts_recv, view))
        return taken

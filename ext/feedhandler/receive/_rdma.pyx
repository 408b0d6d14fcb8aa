"""The receiver of RDMA devices: datagrams of RoCE, or whole frames, taken from the device's own memory ring.

The device writes each packet into the next slot that was posted to it and says so in the completion queue; both are in
memory that it shares with this process. poll() reads the queue, hands out the slots, and release() makes them owed:
they are posted again in batches, so that the device's doorbell is rung once for many. A packet that finds no posted slot is
dropped by the device, in silence: the ring is all the patience there is.

The queue is read through libibverbs' own pointers, taken out of pyverbs' objects after `pointers()` has made sure that
they are what they are thought to be. Where it cannot, the same slots go through pyverbs, slower: `Loop` of
feedhandler.receive.rdma.loop. All else is the same code.

ts_recv is the NIC's time where the queue gives one that lies within a second of the clock, else the clock, read once
for each batch.
"""
from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from feedhandler._counters cimport LN_BAD_FRAMES, LN_BYTES, LN_FOREIGN, LN_KERNEL_DROPS, LN_PACKETS, LN_TRUNCATED
from feedhandler._records cimport LINE_DOWN, LINE_UP, TS_CLOCK, TS_HARDWARE, Packet
from feedhandler.receive._frame cimport (FH_FRAME_OK, FH_FRAME_OTHER, FH_STEER_NONE, Steering, fh_frame, fh_frame_udp,
                                         fh_steer_blame, fh_steer_line)
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH
from feedhandler.receive._sockets cimport SocketReceiver
from feedhandler.receive._verbs cimport (FH_GRH_BYTES, FH_WC_GRH, FH_WC_LOC_LEN_ERR, FH_WC_SUCCESS, FH_WC_WR_FLUSH_ERR,
                                         fh_ack_events, fh_channel, fh_cq, fh_cq_ex, fh_get_event, fh_grh, fh_grh_ipv4,
                                         fh_poll_attr, fh_qp, fh_recv_wr, fh_sge, fh_wc)
from feedhandler.receive._wait cimport POLLIN, fh_realtime_ns, pollfd, wait_readable

cdef extern from *:
    """
    /* What every class of pyverbs begins with, in each release of rdma-core from 44 to 64: the object's head, its weak
       references, its logger, its method table; then the verbs pointer that it wraps. */
    struct fh_pyverbs { PyObject_HEAD PyObject *weak; PyObject *logger; void *methods; void *verbs; };
    #define FH_VERBS_OF(object) (((struct fh_pyverbs *)(object))->verbs)
    """
    void *FH_VERBS_OF(object o)

cdef enum:
    REPOST = 32                             # slots posted at once
    BELIEVED_NS = 1000000000                # how far the NIC's time and the clock may lie apart
    JOINED_NS = 1000000                     # idle, the join sockets are asked this often ...
    JOINED_PACKETS = 4096                   # ... and busy, after so many packets


class Pointers:
    """Addresses of the C structures behind pyverbs' objects. Valid as long as those are open."""

    __slots__ = ("ack_events", "channel", "cq", "get_event", "qp")

    def __init__(self, cq, qp, channel, get_event, ack_events):
        self.cq, self.qp, self.channel, self.get_event, self.ack_events = cq, qp, channel, get_event, ack_events


def pointers(kinds, cq, qp, channel, get_event, ack_events, *, wakes=True):
    """The Pointers of a queue pair, its completion queue and channel; ValueError says what is not as expected.

    `kinds`: the classes that pyverbs has for the three, each with its size in memory. `get_event`, `ack_events`: the
    addresses of libibverbs' functions. `wakes`: the completion queue belongs to the channel. Each thing is looked at
    only after what it is reached by was found sound.
    """
    cdef fh_cq *c
    cdef fh_qp *q
    cdef fh_channel *h
    for value, (kind, size) in zip((cq, qp, channel), kinds, strict=True):
        if type(value) is not kind:
            raise ValueError(f"expected pyverbs' {kind.__name__}, found {type(value).__name__}")
        if kind.__basicsize__ != size:
            raise ValueError(f"pyverbs' {kind.__name__} has {kind.__basicsize__} bytes, not {size}")
    c, q, h = <fh_cq *> FH_VERBS_OF(cq), <fh_qp *> FH_VERBS_OF(qp), <fh_channel *> FH_VERBS_OF(channel)
    if c == NULL or q == NULL or h == NULL:
        raise ValueError("a closed object")
    if q.recv_cq != c:
        raise ValueError("the queue pair's completion queue is another one")
    if q.context != c.context or h.context != c.context or c.channel != (h if wakes else NULL):
        raise ValueError("queue pair, completion queue and channel disagree on their device")
    if q.qp_num != <uint32_t> qp.qp_num:
        raise ValueError(f"queue pair {qp.qp_num} has the number {q.qp_num}")
    if hasattr(cq, "cqe") and c.cqe != <int> cq.cqe:
        raise ValueError(f"a completion queue of {cq.cqe} entries has {c.cqe}")
    return Pointers(<uintptr_t> c, <uintptr_t> q, <uintptr_t> h, get_event, ack_events)


def channel_fd(channel, size):
    """The descriptor of a pyverbs CompChannel: its own word where it has one, else out of the structure behind it."""
    cdef fh_channel *h
    if hasattr(channel, "fd"):
        return channel.fd
    if type(channel).__basicsize__ != size or FH_VERBS_OF(channel) == NULL:
        raise ValueError(f"pyverbs' CompChannel has {type(channel).__basicsize__} bytes, not {size}")
    h = <fh_channel *> FH_VERBS_OF(channel)
    return h.fd


def queue_pair_address(kind, size, qp):
    """The address of the structure behind a pyverbs QP; ValueError says what is not as expected."""
    cdef fh_qp *q
    if type(qp) is not kind or kind.__basicsize__ != size:
        raise ValueError(f"pyverbs' {type(qp).__name__} has {type(qp).__basicsize__} bytes, not {size}")
    q = <fh_qp *> FH_VERBS_OF(qp)
    if q == NULL or q.qp_num != <uint32_t> qp.qp_num:
        raise ValueError("pyverbs' QP is not where it was")
    return <uintptr_t> q


def parse_grh(bytes header):
    """(source, group) of the 40 bytes before a datagram, 4 bytes each; None when they hold no IPv4 addresses."""
    cdef fh_grh found
    if len(header) != FH_GRH_BYTES:
        raise ValueError(f"a routing header has {FH_GRH_BYTES} bytes, not {len(header)}")
    if not fh_grh_ipv4(<const uint8_t *> PyBytes_AS_STRING(header), &found):
        return None
    return PyBytes_FromStringAndSize(<const char *> &found.source, 4), PyBytes_FromStringAndSize(
        <const char *> &found.group, 4)


cdef int errno_of(error) except? -1:
    """Of what pyverbs raised."""
    code = getattr(error, "error_code", 0)
    return code if code > 0 else EIO


cdef class RdmaReceiver(Receiver):
    """Made by `rdma.receiver`.

    `places`: the opened ports (`rdma.port.OpenPort`, or anything with its attributes), which the receiver keeps and
    closes. `joined`: the ordinary sockets of all lines, kept and closed as well. `raw`: the slots hold frames, and the
    sockets' packets are handed on too. `mode`: what describe() says.
    """

    def __cinit__(self, int lines, places, SocketReceiver joined not None, *, bint raw=False, mode=""):
        cdef int number
        cdef Port *port
        cdef uint8_t[::1] memory
        self.ports = len(places)
        self.raw, self.joined, self.mode = raw, joined, mode
        self.joined_lines = lines if raw else 0
        if self.ports < 1:
            raise ValueError("an RDMA receiver needs a port")
        if joined.lines != lines:
            raise ValueError(f"{lines} lines need as many join sockets, not {joined.lines}")
        self.places = list(places)
        self.loops = [place.loop for place in self.places]
        self.table = <Port *> calloc(self.ports, sizeof(Port))
        self.pollfds = <pollfd *> calloc(self.ports + self.joined_lines, sizeof(pollfd))
        if self.table == NULL or self.pollfds == NULL:
            raise MemoryError()
        for number in range(self.ports):
            place, port = self.places[number], &self.table[number]
            memory = place.memory
            port.slots, port.slot_bytes, port.lkey = place.slots, place.slot_bytes, place.lkey
            if port.slots < 1 or port.slot_bytes < 64 or memory.shape[0] // port.slot_bytes < port.slots:
                raise ValueError(f"{port.slots} slots of {port.slot_bytes} bytes do not fit into {memory.shape[0]}")
            for line in place.lines:
                if not 0 <= line < min(lines, 64):
                    raise ValueError(f"there is no line {line}")
                port.lines |= <uint64_t> 1 << <int> line
            port.memory, port.first_line, port.fd = &memory[0], place.lines[0], place.fd
            port.extended, port.stamps = place.extended, place.stamps
            port.steer = &(<Steering?> place.steering).table
            port.batch = max(1, min(<uint32_t> REPOST, port.slots // 4))
            port.owed = <uint32_t *> calloc(port.slots, sizeof(uint32_t))
            if port.owed == NULL:
                raise MemoryError()
            if self.loops[number] is None:
                port.cq = <fh_cq *> <uintptr_t> place.pointers.cq
                port.qp = <fh_qp *> <uintptr_t> place.pointers.qp
                port.get_event = <fh_get_event> <uintptr_t> place.pointers.get_event
                port.ack_events = <fh_ack_events> <uintptr_t> place.pointers.ack_events
            for slot in range(port.slots):
                port.owed[slot] = slot
            port.owed_count = port.slots
            self.pollfds[number].fd = port.fd
            self.pollfds[number].events = POLLIN
        for number in range(self.joined_lines):
            self.pollfds[self.ports + number] = joined.pollfds[number]
        for number in range(lines):
            self.status[number].state = LINE_UP
        self.share_counters()
        for number in range(self.ports):
            self.post(number)

    def __dealloc__(self):
        cdef int number
        if self.table != NULL:
            for number in range(self.ports):
                free(self.table[number].owed)
        free(self.table)
        free(self.pollfds)

    def close(self):
        """Leave the groups and close the devices. Raises what a device said to that, after all were closed."""
        cdef int line
        if self.closed:
            return
        self.unbind()
        self.closed = True
        for line in range(self.lines):
            self.status[line].state = LINE_DOWN
        first = None
        for each in [*self.places, self.joined]:
            try:
                each.close()
            except Exception as error:
                first = first or error
        if first is not None:
            raise first

    def describe(self):
        """The mode, and which loop turns where it is not the compiled one."""
        return f"{self.mode} pyverbs" if any(loop is not None for loop in self.loops) else self.mode

    def line_status(self, int line):
        """As of every receiver. Also the moment at which the devices' own count of drops is read: never by poll()."""
        self.count_drops()
        return super().line_status(line)

    def counts(self, int line):
        """As of every receiver, with the devices' own count of drops up to date."""
        self.count_drops()
        return super().counts(line)

    def count_drops(self):
        """Packets for which the devices had no posted slot, where they count them: on the port's first line."""
        cdef int number
        cdef uint64_t drops
        cdef Port *port
        if self.closed:
            return
        for number in range(self.ports):
            port, told = &self.table[number], self.places[number].drops()
            if told is not None:
                drops = told                                # the join sockets' are in the same word
                self.counters[port.first_line * self.counter_stride + LN_KERNEL_DROPS] += drops - port.drops
                port.drops = drops

    # ---- counters are shared with the join sockets: the same thread counts both ----

    cdef void share_counters(self) noexcept:
        if self.raw:
            self.joined.counters = self.counters
            self.joined.counter_stride = self.counter_stride

    cdef void bind(self, uint64_t *counters, int stride_words, object owner=None) noexcept:
        Receiver.bind(self, counters, stride_words, owner)
        self.share_counters()

    cdef void unbind(self) noexcept:
        Receiver.unbind(self)
        self.share_counters()

    # ---- packets ----

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int k, number, got, n = 0, failed = 0, first = self.next_port
        if self.closed:
            self.ended = True
            return END_OF_INPUT
        if self.joined_lines > 0 and self.since_joined >= JOINED_PACKETS:
            n = self.take_joined(out, capacity)
            if n > 0:
                return n
        for k in range(self.ports):
            number = first + k
            if number >= self.ports:
                number -= self.ports
            if self.table[number].failed:
                failed += 1
                continue
            if n == capacity:
                break
            got = self.take(number, out + n, capacity - n)
            if got > 0:
                n += got
                self.next_port = number + 1 if number + 1 < self.ports else 0
        self.since_joined += n
        if n == 0 and failed == self.ports:
            return -EIO
        if n == 0:
            self.release()                                  # what was refused: nobody else would
            if self.joined_lines > 0 and fh_realtime_ns() - self.joined_at >= JOINED_NS:
                return self.take_joined(out, capacity)
        return n

    cdef void release(self) noexcept nogil:
        cdef int number
        if self.closed:                                     # the queues are gone
            return
        if self.lent:
            self.lent = False
            self.joined.release()
        for number in range(self.ports):
            if self.table[number].owed_count >= self.table[number].batch:
                self.post(number)

    cdef int take(self, int number, Packet *out, int capacity) noexcept nogil:
        """Packets of one port, which stay in their slots; what is refused is owed at once."""
        cdef Port *port = &self.table[number]
        cdef Done done[RECEIVE_BATCH]
        cdef Done *found = done
        cdef int64_t clock
        cdef int i, got, n = 0
        if port.waiting_count > 0:
            found = port.waiting + port.waiting_at
            got = min(capacity, port.waiting_count)
            port.waiting_at += got
            port.waiting_count -= got
        else:
            got = self.fetch(number, done, min(capacity, <int> RECEIVE_BATCH))
        if got < 0:
            self.fail(number, -got)
            return 0
        if got == 0:
            if port.owed_count > 0:                         # nothing else to do
                self.post(number)
            return 0
        clock = fh_realtime_ns()
        for i in range(got):
            if found[i].slot >= port.slots:                 # not ours: nothing that could be given back
                self.counters[port.first_line * self.counter_stride + LN_BAD_FRAMES] += 1
                continue
            if self.accept(port, &found[i], clock, &out[n]):
                n += 1
            if port.owed_count < port.slots:                # a slot told of twice was never ours to owe
                port.owed[port.owed_count] = <uint32_t> found[i].slot
                port.owed_count += 1
            if found[i].status == FH_WC_WR_FLUSH_ERR:
                self.fail(number, EIO)
        return n

    cdef bint accept(self, Port *port, const Done *done, int64_t clock, Packet *out) noexcept nogil:
        """Fill `out` with what a slot holds for one of our lines; else count why not."""
        cdef const uint8_t *slot = port.memory + done.slot * port.slot_bytes
        cdef uint64_t *counters = self.counters + port.first_line * self.counter_stride
        cdef fh_frame frame
        cdef fh_grh grh
        cdef int verdict = FH_FRAME_OK, line
        if done.status != FH_WC_SUCCESS:
            counters[LN_TRUNCATED if done.status == FH_WC_LOC_LEN_ERR else LN_BAD_FRAMES] += 1
            return False
        if done.len > port.slot_bytes:
            counters[LN_BAD_FRAMES] += 1
            return False
        if self.raw:
            verdict = fh_frame_udp(slot, done.len, False, &frame)
        else:
            if done.len < FH_GRH_BYTES or not done.flags & FH_WC_GRH or not fh_grh_ipv4(slot, &grh):
                counters[LN_BAD_FRAMES] += 1
                return False
            frame.source, frame.group, frame.port, frame.vlan = grh.source, grh.group, 0, 0
            frame.payload, frame.len = slot + FH_GRH_BYTES, done.len - FH_GRH_BYTES
        line = fh_steer_line(port.steer, &frame) if verdict == FH_FRAME_OK else FH_STEER_NONE
        if line == FH_STEER_NONE:
            line = fh_steer_blame(port.steer, &frame)
            if line != FH_STEER_NONE:
                counters = self.counters + line * self.counter_stride
            counters[LN_FOREIGN if verdict == FH_FRAME_OK or verdict == FH_FRAME_OTHER else LN_BAD_FRAMES] += 1
            return False
        counters = self.counters + line * self.counter_stride
        counters[LN_PACKETS] += 1
        counters[LN_BYTES] += frame.len
        out.data, out.len, out.line = frame.payload, frame.len, line
        if done.hardware != 0 and -BELIEVED_NS < done.hardware - clock < BELIEVED_NS:
            out.ts_recv = done.hardware
            self.status[line].ts_kind = TS_HARDWARE
        else:
            out.ts_recv = clock
            self.status[line].ts_kind = TS_CLOCK
        return True

    cdef int take_joined(self, Packet *out, int capacity) noexcept nogil:
        """What the kernel got all the same: fragments, and what was not steered."""
        cdef int n = self.joined.poll(out, capacity)
        self.joined_at = fh_realtime_ns()
        self.since_joined = 0
        if n <= 0:
            return 0
        self.lent = True
        return n

    cdef void fail(self, int number, int error) noexcept nogil:
        """The port gives nothing any more: its lines are down."""
        cdef int line
        self.table[number].failed = True
        for line in range(self.lines):
            if self.table[number].lines >> line & 1:
                self.status[line].state = LINE_DOWN
                self.status[line].error = error

    # ---- the device ----

    cdef int fetch(self, int number, Done *out, int want) noexcept nogil:
        """Completions written, at most `want` and RECEIVE_BATCH; or -errno."""
        cdef Port *port = &self.table[number]
        cdef fh_wc done[RECEIVE_BATCH]
        cdef int i, n
        if port.cq == NULL:
            return self.fetch_pyverbs(number, out, want)
        if port.extended:
            return self.fetch_extended(port, out, want)
        n = port.cq.context.poll_cq(port.cq, want, done)
        if n < 0:
            return -EIO
        for i in range(n):
            out[i].slot, out[i].status = done[i].wr_id, done[i].status
            out[i].len, out[i].flags, out[i].hardware = done[i].byte_len, done[i].wc_flags, 0
        return n

    cdef int fetch_extended(self, Port *port, Done *out, int want) noexcept nogil:
        cdef fh_cq_ex *cq = <fh_cq_ex *> port.cq
        cdef fh_poll_attr attr
        cdef int n = 0
        attr.comp_mask = 0
        if cq.start_poll(cq, &attr) != 0:                   # ENOENT: nothing is there
            return 0
        while True:
            out[n].slot, out[n].status, out[n].hardware = cq.wr_id, cq.status, 0
            out[n].len = out[n].flags = 0
            if cq.status == FH_WC_SUCCESS:                  # the rest means nothing otherwise
                out[n].len, out[n].flags = cq.read_byte_len(cq), cq.read_wc_flags(cq)
                if port.stamps:
                    out[n].hardware = <int64_t> cq.read_completion_wallclock_ns(cq)
            n += 1
            if n == want or cq.next_poll(cq) != 0:
                break
        cq.end_poll(cq)
        return n

    cdef int fetch_pyverbs(self, int number, Done *out, int want) noexcept with gil:
        cdef int n = 0
        try:
            for slot, status, length, flags in self.loops[number].poll(want):
                out[n].slot, out[n].status, out[n].len, out[n].flags, out[n].hardware = slot, status, length, flags, 0
                n += 1
            return n
        except Exception as error:
            return -errno_of(error)

    cdef void post(self, int number) noexcept nogil:
        """Give the owed slots to the device. None is lent out: called before poll() hands out, or by release()."""
        cdef Port *port = &self.table[number]
        cdef fh_recv_wr requests[RECEIVE_BATCH]
        cdef fh_recv_wr *bad
        cdef fh_sge places[RECEIVE_BATCH]
        cdef uint32_t i, n, slot
        cdef int rc
        if port.failed:
            return
        if port.cq == NULL:
            rc = self.post_pyverbs(number)
            if rc != 0:
                self.fail(number, rc)
            return
        while port.owed_count > 0:
            n = min(port.owed_count, <uint32_t> RECEIVE_BATCH)
            for i in range(n):
                slot = port.owed[port.owed_count - n + i]
                places[i].addr = <uint64_t> <uintptr_t> (port.memory + <size_t> slot * port.slot_bytes)
                places[i].length, places[i].lkey = port.slot_bytes, port.lkey
                requests[i].wr_id, requests[i].sg_list, requests[i].num_sge = slot, &places[i], 1
                requests[i].next = &requests[i + 1] if i + 1 < n else NULL
            rc = port.cq.context.post_recv(port.qp, requests, &bad)
            if rc != 0:
                self.fail(number, rc)
                return
            port.owed_count -= n

    cdef int post_pyverbs(self, int number) noexcept with gil:
        cdef Port *port = &self.table[number]
        cdef uint32_t i
        try:
            self.loops[number].post([port.owed[i] for i in range(port.owed_count)])
            port.owed_count = 0
            return 0
        except Exception as error:
            return errno_of(error)

    # ---- sleeping ----

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        """Arms the completion channels and looks once more before it sleeps: what came meanwhile wakes nobody."""
        cdef int number, got, rc
        cdef bint something = False
        cdef Port *port
        if self.closed:
            return 0
        for number in range(self.ports):
            port = &self.table[number]
            if port.failed:
                continue
            if port.waiting_count > 0:
                return 1
            if not port.armed and port.fd >= 0:
                rc = self.arm(number)
                if rc != 0:
                    return -rc
                port.armed = True
            got = self.fetch(number, port.waiting, RECEIVE_BATCH)
            if got < 0:
                self.fail(number, -got)
                return 1                                    # poll() tells
            port.waiting_at, port.waiting_count = 0, got
            something = something or got > 0
            if got == 0 and port.owed_count > 0:
                self.post(number)
        if something:
            return 1
        rc = wait_readable(self.pollfds, self.ports + self.joined_lines, timeout_ns, 0)
        if rc > 0:
            for number in range(self.ports):
                if self.pollfds[number].revents & POLLIN:
                    self.wake(number)
            self.joined_at = 0                              # the join sockets are asked at once, should it be they
        return rc

    cdef int arm(self, int number) noexcept nogil:
        cdef Port *port = &self.table[number]
        if port.cq == NULL:
            return self.arm_pyverbs(number)
        return port.cq.context.req_notify_cq(port.cq, 0)

    cdef void wake(self, int number) noexcept nogil:
        """Take the event off the channel, so that it can sleep again. The descriptor was readable."""
        cdef Port *port = &self.table[number]
        cdef fh_cq *cq
        cdef void *context
        port.armed = False
        if port.cq == NULL:
            self.wake_pyverbs(number)
        elif port.get_event(port.cq.channel, &cq, &context) == 0:
            port.ack_events(cq, 1)

    cdef int arm_pyverbs(self, int number) noexcept with gil:
        try:
            self.loops[number].arm()
            return 0
        except Exception as error:
            return errno_of(error)

    cdef int wake_pyverbs(self, int number) noexcept with gil:
        try:
            self.loops[number].wake()
            return 0
        except Exception as error:
            return errno_of(error)

    cdef int64_t now(self) noexcept nogil:
        return fh_realtime_ns()

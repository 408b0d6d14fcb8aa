"""A receiver that reads packet captures: pcap and pcapng."""
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from cpython.bytes cimport PyBytes_FromStringAndSize
from feedhandler._counters cimport LN_BYTES, LN_FOREIGN, LN_PACKETS, LN_TRUNCATED
from feedhandler._records cimport LINE_UP, TS_FILE, Packet
from feedhandler._wire cimport fh_le64, fh_put_le64
from feedhandler.receive._datagram cimport (
    FOUND_BUSY, FOUND_FRAGMENT, FOUND_MALFORMED, FOUND_OTHER, FOUND_TCP, FOUND_TRUNCATED, FOUND_UDP, Address, Datagram)
from feedhandler.receive._file cimport DAMAGE_CUT, DAMAGED
from feedhandler.receive._reassembly cimport SEGMENT_NOT_NOW, SEGMENT_RUN, Reassembly
from feedhandler.receive._record_file cimport NEED_MORE, NO_MATCH, NOT_WANTED, NOTHING, RecordFile

cdef enum:                      # what next_udp() gives beside the FOUND_ numbers
    IDLE = -4                   # the end of a file that still grows
    FOUND_RUN = 100             # bytes of a stream

cdef enum:
    SLACK_NS = 1000000000       # a packet so far behind the window's end ends the file: lines' times may cross by less
    PAYLOADS = 8                # of each destination kept by tally(), ...
    PAYLOAD_KEPT = 65536        # ... of so many bytes, ...
    DESTINATIONS_MANY = 4096    # ... for so many destinations; of the others one, cut short
    PAYLOAD_CUT = 2048

cdef class PacketFile(RecordFile):
    """UDP payloads of a pcap or pcapng file. Made by `capture.receiver`.

    `lines`: how many; `destinations`: for each that is wanted (address of 16 bytes, port, source of 16 bytes or zeros,
    number of its line, or NOT_WANTED). `interfaces`, for a pcapng of which interfaces are lines: called with name,
    description and comment of each interface, gives the number of its line, NOT_WANTED, or NO_MATCH where the
    destination of each packet tells. `reassembly` has the lines that are streams, whose destinations are their servers';
    it may have seen other files before. Packets before `since` and from `until` on are passed over (ns since the epoch).
    """

    def __cinit__(self, int lines, source, str path, destinations, interfaces=None, *, int64_t since=INT64_MIN,
                  int64_t until=INT64_MAX, Reassembly reassembly=None):
        cdef int i
        self.destinations = len(destinations)
        self.line_table = <Line *> calloc(max(1, self.destinations), sizeof(Line))
        if self.line_table == NULL:
            raise MemoryError()
        for i, (address, port, only, line) in enumerate(destinations):
            self.line_table[i].target = address_of(address)
            self.line_table[i].source = address_of(only)
            self.line_table[i].port = port
            if not NOT_WANTED <= line < lines or line == NO_MATCH:
                raise ValueError(f"there are {lines} lines, no number {line}")
            self.line_table[i].line = line
            self.line_table[i].stream = reassembly is not None and reassembly.takes(line)
        if reassembly is not None and reassembly.lines != lines:
            raise ValueError(f"there are {lines} lines, those of the reassembly are {reassembly.lines}")
        self.reassembly = reassembly
        self.numbering = interfaces
        self.since = since
        self.until = until
        self.over = until if until > INT64_MAX - SLACK_NS else until + SLACK_NS
        for i in range(lines):
            self.status[i].state = LINE_UP
            self.status[i].ts_kind = TS_FILE
        self.open_file()

    def __dealloc__(self):
        free(self.line_table)

    @property
    def statistics(self):
        """What the packets of the file were, by name; `udp` counts whole datagrams, ours and others'."""
        return {"records": self.records, "udp": self.found[FOUND_UDP], "fragments": self.found[FOUND_FRAGMENT],
                "tcp": self.found[FOUND_TCP], "other": self.found[FOUND_OTHER],
                "truncated": self.found[FOUND_TRUNCATED], "malformed": self.found[FOUND_MALFORMED],
                "foreign": self.foreign, "reassembled": self.dissector.reassembled,
                "abandoned": self.dissector.abandoned + self.dissector.incomplete}

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef Datagram datagram
        cdef int64_t ts = 0
        cdef int n = 0, line, found = NEED_MORE
        cdef uint64_t *own
        while n < capacity:
            found = self.next_udp(&datagram, &ts, n == 0)
            if found != FOUND_UDP and found != FOUND_RUN:
                break
            if ts < self.since or ts >= self.until:
                if ts >= self.over:
                    break
                continue
            if found == FOUND_RUN:
                line = self.stream_line
            else:
                line = self.bound if self.bound != NO_MATCH else self.line_of(&datagram)
            if line < 0:
                if line == NO_MATCH:
                    self.foreign += 1
                    self.counters[LN_FOREIGN] += 1
                continue
            own = self.counters + line * self.counter_stride
            own[LN_PACKETS] += 1
            own[LN_BYTES] += datagram.len
            out[n].data = datagram.payload
            out[n].ts_recv = ts
            out[n].len = datagram.len
            out[n].line = line
            n += 1
        if n == 0 and capacity > 0:
            return 0 if found == IDLE else self.finish()
        return n

    cdef void release(self) noexcept nogil:
        self.dissector.release()
        if self.reassembly is not None:
            self.reassembly.release()

    cdef int next_udp(self, Datagram *out, int64_t *ts, bint patient) noexcept nogil:
        """FOUND_UDP: the next datagram; FOUND_RUN: bytes of a stream; NEED_MORE: none in the window, or the end.

        `patient`: nothing is lent out, so that the window may move.
        """
        cdef int found, line
        cdef uint64_t place
        while not self.ended:
            if self.reassembly is not None and self.reassembly.pending:
                found = self.reassembly.ready(self.last_time, patient, self.status, out, &self.stream_line)
                if found == SEGMENT_RUN:
                    ts[0] = self.last_time
                    return FOUND_RUN
                if found == SEGMENT_NOT_NOW:
                    return NEED_MORE
            place = self.pos
            if self.origin + self.pos >= self.stop:
                return DAMAGED              # of nothing: it is the end
            found = self.record(out, ts)
            if found == NEED_MORE:
                if not patient:
                    return NEED_MORE
                if self.more():
                    continue
                if self.growing and self.failure is None:
                    return IDLE
                if self.failure is None and self.pos != self.end or self.skip:
                    self.damaged(DAMAGE_CUT, self.end - self.pos)
                return DAMAGED
            if found == DAMAGED:
                return DAMAGED
            if found == FOUND_BUSY:
                if patient:
                    self.dissector.release()
                    continue
                return NEED_MORE
            if found == NOTHING:
                continue
            if found == FOUND_TCP and self.segments_too:
                self.records += 1
                self.found[FOUND_TCP] += 1
                return FOUND_TCP
            if found == FOUND_TCP and self.reassembly is not None:
                found = self.segment(out, ts[0], patient)
                if found == NEED_MORE:
                    self.pos = place
                    return NEED_MORE
                self.records += 1
                self.found[FOUND_TCP] += 1
                if found == FOUND_RUN:
                    return FOUND_RUN
                if found == NO_MATCH:
                    self.counters[LN_FOREIGN] += 1
                continue
            self.records += 1
            self.found[found] += 1
            if found == FOUND_UDP:
                return FOUND_UDP
            if found == FOUND_TRUNCATED:
                line = self.bound if self.bound != NO_MATCH else self.line_of(out)
                self.counters[(0 if line < 0 else line) * self.counter_stride + LN_TRUNCATED] += 1
            elif found != FOUND_FRAGMENT:
                self.counters[LN_FOREIGN] += 1
                if found == FOUND_TCP:
                    self.tcp_latest = max(self.tcp_latest, ts[0])
        return NEED_MORE

    cdef int segment(self, Datagram *out, int64_t ts, bint patient) noexcept nogil:
        """A TCP segment: FOUND_RUN, NOTHING, NO_MATCH (of no line of ours), or NEED_MORE: again, between two polls."""
        cdef int line = self.bound if self.bound != NO_MATCH else self.stream_of(out)
        cdef int became
        if not self.reassembly.takes(line):
            return NOTHING if line == NOT_WANTED else NO_MATCH
        if out.payload == NULL:             # cut short, or a fragment: its bytes are missing from the stream
            self.counters[line * self.counter_stride + LN_TRUNCATED] += 1
            return NOTHING
        became = self.reassembly.offer(line, out, ts, patient, self.status, out)
        if became == SEGMENT_NOT_NOW:
            return NEED_MORE
        self.last_time = ts
        if became == SEGMENT_RUN:
            self.stream_line = line
            return FOUND_RUN
        return NOTHING

    cdef int stream_of(self, const Datagram *segment) noexcept nogil:
        """The line whose server sent this segment, NOT_WANTED, or NO_MATCH."""
        cdef int row
        for row in range(self.destinations):
            if (self.line_table[row].stream and self.line_table[row].port == segment.source_port
                    and self.line_table[row].target.low == segment.source.low
                    and self.line_table[row].target.high == segment.source.high):
                return self.line_table[row].line
        return NO_MATCH

    cdef inline int line_of(self, const Datagram *datagram) noexcept nogil:
        """The line of this destination (and source), NO_MATCH for another's. A remembered answer is tried first."""
        cdef uint32_t place = <uint32_t> (datagram.target.low >> 32 ^ datagram.target.low >> 56
                                          ^ datagram.target_port) & (MEMO - 1)
        cdef int row = self.memo[place]
        if row < self.destinations and matches(&self.line_table[row], datagram):
            return self.line_table[row].line
        row = self.search(datagram)
        if row == NO_MATCH:
            return NO_MATCH
        if row < 256:
            self.memo[place] = <uint8_t> row
        return self.line_table[row].line

    cdef int search(self, const Datagram *datagram) noexcept nogil:
        cdef int row
        for row in range(self.destinations):
            if matches(&self.line_table[row], datagram):
                return row
        return NO_MATCH

    def peek(self):
        """The time of the next packet that could be of a line, ns since the Unix epoch; None: there is none."""
        cdef Datagram datagram
        cdef int64_t ts = 0
        cdef int found
        self.segments_too = True
        found = self.next_udp(&datagram, &ts, True)
        self.segments_too = False
        return ts if found == FOUND_UDP or found == FOUND_TCP else None

    def segments(self, int limit=1000):
        """The next TCP segments that are whole, as (ts_ns, source, port, target, port, number, flags, payload).

        At most `limit`; an empty list at the end. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.
        """
        cdef Datagram segment
        cdef int64_t ts = 0
        cdef int found
        taken = []
        self.segments_too = True
        while len(taken) < limit:
            found = self.next_udp(&segment, &ts, True)
            if found != FOUND_TCP and found != FOUND_UDP:
                self.finish()
                break
            if found == FOUND_TCP and segment.payload != NULL:
                taken.append((ts, bytes_of(&segment.source), segment.source_port, bytes_of(&segment.target),
                              segment.target_port, segment.number, segment.flags,
                              PyBytes_FromStringAndSize(<const char *> segment.payload, segment.len)))
        self.segments_too = False
        return taken

    def tally(self, uint64_t limit, dict seen):
        """Count at most `limit` datagrams by destination into `seen`; False at the end of the file.

        seen[(address of 16 bytes, port)] = [packets, bytes, the first payloads (at most 8), first ts_ns, latest ts_ns].
        """
        cdef Datagram datagram
        cdef int64_t ts = 0, latest = 0
        cdef Line last
        cdef uint64_t packets = 0, payload = 0, counted = 0
        cdef bint wanting = False
        cdef list entry = None
        memset(&last, 0, sizeof(last))
        while counted < limit:
            if self.next_udp(&datagram, &ts, True) != FOUND_UDP:
                self.finish()
                break
            counted += 1
            if (entry is None or datagram.target.low != last.target.low or datagram.target_port != last.port
                    or datagram.target.high != last.target.high):
                add_to(entry, packets, payload, latest)
                packets = payload = 0
                latest = ts
                last.target = datagram.target
                last.port = datagram.target_port
                key = (bytes_of(&last.target), last.port)
                entry = seen.get(key)
                if entry is None:
                    entry = seen[key] = [0, 0, [], ts, ts]
                wanting = wants(entry, seen)
            if wanting:
                cut = PAYLOAD_KEPT if len(seen) <= DESTINATIONS_MANY else PAYLOAD_CUT
                (<list> entry[2]).append(PyBytes_FromStringAndSize(<const char *> datagram.payload,
                                                                   min(datagram.len, <uint32_t> cut)))
                wanting = wants(entry, seen)
            packets += 1
            payload += datagram.len
            if ts > latest:
                latest = ts
        add_to(entry, packets, payload, latest)
        return not self.ended


cdef inline bint wants(list entry, dict seen):
    return len(<list> entry[2]) < (PAYLOADS if len(seen) <= DESTINATIONS_MANY else 1)


cdef inline bint matches(const Line *line, const Datagram *datagram) noexcept nogil:
    return (not line.stream and line.target.low == datagram.target.low and line.port == datagram.target_port
            and line.target.high == datagram.target.high
            and ((line.source.low | line.source.high) == 0
                 or line.source.low == datagram.source.low and line.source.high == datagram.source.high))


cdef add_to(list entry, uint64_t packets, uint64_t payload, int64_t latest):
    if packets:
        entry[0] += packets
        entry[1] += payload
        entry[4] = max(entry[4], latest)


cdef Address address_of(bytes packed):
    cdef Address address
    cdef const uint8_t *p = packed
    if len(packed) != 16:
        raise ValueError(f"an address is 16 bytes, not {len(packed)}")
    address.high = fh_le64(p)
    address.low = fh_le64(p + 8)
    return address


cdef bytes bytes_of(const Address *address):
    cdef uint8_t raw[16]
    fh_put_le64(raw, address.high)
    fh_put_le64(raw + 8, address.low)
    return PyBytes_FromStringAndSize(<const char *> raw, 16)

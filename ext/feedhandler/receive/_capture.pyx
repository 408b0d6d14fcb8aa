"""A receiver that reads packet captures: pcap and pcapng."""
from libc.stdint cimport INT64_MAX, INT64_MIN, UINT64_MAX, int8_t, int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from cpython.bytes cimport PyBytes_FromStringAndSize
from feedhandler._counters cimport LN_BYTES, LN_FOREIGN, LN_PACKETS, LN_TRUNCATED
from feedhandler._records cimport LINE_UP, TS_FILE, Packet
from feedhandler._wire cimport fh_be16, fh_be32, fh_be64, fh_le16, fh_le32, fh_le64, fh_put_le64
from feedhandler.receive._datagram cimport (
    FOUND_BUSY, FOUND_FRAGMENT, FOUND_MALFORMED, FOUND_OTHER, FOUND_TCP, FOUND_TRUNCATED, FOUND_UDP,
    LINK_UNSUPPORTED, Address, Datagram, Dissector, link_of)
from feedhandler.receive._file cimport (
    DAMAGE_BLOCK, DAMAGE_CUT, DAMAGE_INTERFACE, DAMAGE_INTERFACES, DAMAGE_LENGTH, DAMAGE_NONE, DAMAGE_RESOLUTION, DAMAGE_SECTION,
    DAMAGE_TRAILER, DAMAGED, FileReceiver)
from feedhandler.receive._receiver cimport END_OF_INPUT
from feedhandler.errors import CaptureError

cdef extern from *:
    """
    static inline int64_t fh_scale(uint64_t fraction, uint64_t units)   /* fraction / units, in ns */
    {
        return (int64_t)((unsigned __int128)fraction * 1000000000u / units);
    }
    """
    int64_t fh_scale(uint64_t fraction, uint64_t units) nogil

cdef enum:                      # what record() gives beside the FOUND_ numbers
    NEED_MORE = -1
    NOTHING = -2                # a block without a packet
    IDLE = -4                   # the end of a file that still grows

cdef enum:                      # what stands in the place of a line
    NO_MATCH = -1               # of an interface: its packets' lines are told by their destinations
    NOT_WANTED = -2             # a line of the recording, but not one of those asked for

cdef enum:
    SLACK_NS = 1000000000       # a packet so far behind the window's end ends the file: lines' times may cross by less
    PAYLOADS = 8                # of each destination kept by tally(), ...
    PAYLOAD_KEPT = 65536        # ... of so many bytes, ...
    DESTINATIONS_MANY = 4096    # ... for so many destinations; of the others one, cut short
    PAYLOAD_CUT = 2048

# pcapng block types
cdef enum:
    BLOCK_SECTION = 0x0A0D0D0A
    BLOCK_INTERFACE = 1
    BLOCK_PACKET = 2            # obsolete, still met
    BLOCK_SIMPLE = 3
    BLOCK_ENHANCED = 6


cdef inline uint16_t u16(bint big_endian, const uint8_t *p) noexcept nogil:
    return fh_be16(p) if big_endian else fh_le16(p)


cdef inline uint32_t u32(bint big_endian, const uint8_t *p) noexcept nogil:
    return fh_be32(p) if big_endian else fh_le32(p)


cdef class PacketFile(FileReceiver):
    """UDP payloads of a pcap or pcapng file. Made by `capture.receiver`.

    `lines`: how many; `destinations`: for each that is wanted (address of 16 bytes, port, source of 16 bytes or zeros,
    number of its line, or NOT_WANTED). `interfaces`, for a pcapng of which interfaces are lines: called with name,
    description and comment of each interface, gives the number of its line, NOT_WANTED, or NO_MATCH where the
    destination of each packet tells. Packets before `since` and from `until` on are passed over (ns since the epoch).
    """

    def __cinit__(self, int lines, source, str path, destinations, interfaces=None, *, int64_t since=INT64_MIN,
                  int64_t until=INT64_MAX):
        cdef int i
        self.dissector = Dissector()
        self.destinations = len(destinations)
        self.line_table = <Line *> calloc(max(1, self.destinations), sizeof(Line))
        self.interfaces = <Interface *> calloc(INTERFACES_MAX, sizeof(Interface))
        if self.line_table == NULL or self.interfaces == NULL:
            raise MemoryError()
        for i, (address, port, only, line) in enumerate(destinations):
            self.line_table[i].target = address_of(address)
            self.line_table[i].source = address_of(only)
            self.line_table[i].port = port
            if not NOT_WANTED <= line < lines or line == NO_MATCH:
                raise ValueError(f"there are {lines} lines, no number {line}")
            self.line_table[i].line = line
        self.numbering = interfaces
        self.bound = NO_MATCH
        self.since = since
        self.until = until
        self.over = until if until > INT64_MAX - SLACK_NS else until + SLACK_NS
        self.described = []
        self.stop = UINT64_MAX
        for i in range(lines):
            self.status[i].state = LINE_UP
            self.status[i].ts_kind = TS_FILE
        self.open_file()

    def __dealloc__(self):
        free(self.line_table)
        free(self.interfaces)

    cdef open_file(self):
        """Read the file's head; the packets begin behind it."""
        cdef uint32_t magic, linktype
        while self.end < 24 and self.more():
            pass
        if self.failure is not None:
            raise self.failure
        if self.end < 4:
            raise CaptureError(f"{self.path}: byte 0: {self.end} bytes are no capture")
        magic = fh_le32(self.base)
        if magic == BLOCK_SECTION:
            self.pcapng = True
            return
        if self.end < 24:
            raise CaptureError(f"{self.path}: byte 0: the file ends in the middle of its head, of which {self.end} "
                               f"bytes are here")
        self.big_endian = magic == 0xD4C3B2A1 or magic == 0x4D3CB2A1
        if self.big_endian:
            magic = fh_be32(self.base)
        if magic != 0xA1B2C3D4 and magic != 0xA1B23C4D:
            raise CaptureError(f"{self.path}: byte 0: no pcap or pcapng file: it begins with {magic:#010x}")
        self.units = 1000000000 if magic == 0xA1B23C4D else 1000000
        linktype = u32(self.big_endian, self.base + 20) & 0xFFFF         # above it: the length of the frame check sequence
        self.link = link_of(linktype)
        if self.link == LINK_UNSUPPORTED:
            raise CaptureError(f"{self.path}: byte 20: link type {linktype} is not supported; Ethernet (1), Linux "
                               f"cooked (113, 276), raw IP (12, 14, 101, 228, 229), null and loopback (0, 108) are")
        self.pos = 24

    # -- places in the file -------------------------------------------------------------------------------------------

    cdef uint64_t place(self) noexcept nogil:
        """Where the next record begins, in the unpacked file."""
        return self.origin + self.pos + self.skip

    def collect_heads(self):
        """Keep the blocks that resume() needs from now on, in `heads`."""
        self.heads = []

    def resume(self, heads, uint64_t place, uint64_t stop=UINT64_MAX):
        """Go on at `place`, where a record begins, and read to the one that begins at `stop`.

        `heads`: the sections and interfaces that a pcapng describes before it, as `heads` holds them. Raises
        CaptureError when the file is not what it was.
        """
        cdef bytes block
        cdef uint64_t pos = self.pos, end = self.end
        cdef const uint8_t *base = self.base
        cdef Datagram nothing
        cdef int64_t ts
        for _, block in heads:
            self.base = block
            self.pos = 0
            self.end = len(block)
            if not self.pcapng or self.pcapng_block(&nothing, &ts) != NOTHING:
                self.damage = DAMAGE_NONE
                raise CaptureError(f"{self.path}: its index is of another file: remove {self.path}.index")
        self.base = base
        self.stop = stop
        self.skip = 0
        if self.source is None:
            if place > end:
                raise CaptureError(f"{self.path}: it is shorter than its index says: it has been cut since")
            self.pos = place
            self.end = end
        else:
            self.source.seek(place)
            self.pos = self.end = 0
            self.origin = place

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
            if found != FOUND_UDP:
                break
            if ts < self.since or ts >= self.until:
                if ts >= self.over:
                    break
                continue
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

    cdef int next_udp(self, Datagram *out, int64_t *ts, bint patient) noexcept nogil:
        """The next UDP datagram; NEED_MORE when there is none in the window, and at the end of the file.

        `patient`: nothing is lent out, so that the window may move.
        """
        cdef int found, line
        while not self.ended:
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
            self.records += 1
            self.found[found] += 1
            if found == FOUND_UDP:
                return FOUND_UDP
            if found == FOUND_TRUNCATED:
                line = self.bound if self.bound != NO_MATCH else self.line_of(out)
                self.counters[(0 if line < 0 else line) * self.counter_stride + LN_TRUNCATED] += 1
            elif found != FOUND_FRAGMENT:
                self.counters[LN_FOREIGN] += 1
        return NEED_MORE

    cdef int record(self, Datagram *out, int64_t *ts) noexcept nogil:
        """Dissect the record at `pos` and step over it, unless NEED_MORE, FOUND_BUSY or DAMAGED."""
        if self.pcapng:
            return self.pcapng_block(out, ts)
        return self.pcap_record(out, ts)

    cdef int pcap_record(self, Datagram *out, int64_t *ts) noexcept nogil:
        cdef const uint8_t *p = self.base + self.pos
        cdef uint32_t captured
        cdef int found
        if self.end - self.pos < 16:
            return NEED_MORE
        captured = u32(self.big_endian, p + 8)
        if captured > CAPTURED_MAX:
            return self.damaged(DAMAGE_LENGTH, captured)
        if self.end - self.pos < 16 + captured:
            return NEED_MORE
        found = self.dissector.dissect(self.link, p + 16, captured, out)
        if found == FOUND_BUSY:
            return found
        ts[0] = <int64_t> u32(self.big_endian, p) * 1000000000 + u32(self.big_endian, p + 4) * (1 if self.units == 1000000000 else 1000)
        self.pos += 16 + captured
        return found

    cdef int pcapng_block(self, Datagram *out, int64_t *ts) noexcept nogil:
        cdef const uint8_t *p = self.base + self.pos
        cdef uint64_t left = self.end - self.pos, time
        cdef uint32_t kind, length, captured, number, head
        cdef const Interface *interface
        cdef int found
        if self.skip:
            if left == 0:
                return NEED_MORE
            left = min(left, self.skip)
            self.pos += left
            self.skip -= left
            return NOTHING
        if left < 12:
            return NEED_MORE
        kind = fh_le32(p)
        if kind == BLOCK_SECTION:           # the same in both byte orders
            return self.section()
        kind = u32(self.big_endian, p)
        length = u32(self.big_endian, p + 4)
        if length < 12 or length & 3:
            return self.damaged(DAMAGE_BLOCK, length)
        if not (kind == BLOCK_ENHANCED or kind == BLOCK_PACKET or kind == BLOCK_SIMPLE or kind == BLOCK_INTERFACE):
            if self.source is None and length > left:
                return NEED_MORE
            self.skip = length
            return NOTHING
        if length > CAPTURED_MAX + 65536:
            return self.damaged(DAMAGE_BLOCK, length)
        if left < length:
            return NEED_MORE
        if u32(self.big_endian, p + length - 4) != length:
            return self.damaged(DAMAGE_TRAILER, u32(self.big_endian, p + length - 4))
        if kind == BLOCK_INTERFACE:
            return self.describe(p, length)
        if kind == BLOCK_SIMPLE:
            if length < 16:
                return self.damaged(DAMAGE_BLOCK, length)
            head = 12
            number = 0
        else:
            if length < 32:
                return self.damaged(DAMAGE_BLOCK, length)
            head = 28
            number = u32(self.big_endian, p + 8) if kind == BLOCK_ENHANCED else u16(self.big_endian, p + 8)
        if number >= self.interface_count:
            return self.damaged(DAMAGE_INTERFACE, number)
        interface = &self.interfaces[number]
        if kind == BLOCK_SIMPLE:            # no time of its own: that of the packet before it
            captured = u32(self.big_endian, p + 8)
            if interface.snap and captured > interface.snap:
                captured = interface.snap
            if captured > length - 16:
                captured = length - 16
        else:
            captured = u32(self.big_endian, p + 20)
            if captured > length - 32:
                return self.damaged(DAMAGE_LENGTH, captured)
        self.bound = interface.line
        found = self.dissector.dissect(interface.link, p + head, captured, out)
        if found == FOUND_BUSY:
            return found
        if kind != BLOCK_SIMPLE:
            time = <uint64_t> u32(self.big_endian, p + 12) << 32 | u32(self.big_endian, p + 16)
            if interface.units == 1000000000:
                self.last_time = <int64_t> time
            elif interface.units == 1000000:
                self.last_time = <int64_t> (time * 1000)
            else:
                self.last_time = <int64_t> (time / interface.units * 1000000000
                                            + <uint64_t> fh_scale(time % interface.units, interface.units))
            self.last_time = <int64_t> (<uint64_t> self.last_time + <uint64_t> interface.offset * 1000000000)
        ts[0] = self.last_time
        self.pos += length
        return found

    cdef int section(self) noexcept nogil:
        """A section header: byte order anew, no interfaces yet."""
        cdef const uint8_t *p = self.base + self.pos
        cdef uint32_t length, magic = fh_le32(p + 8)
        if magic == 0x1A2B3C4D:
            self.big_endian = False
        elif magic == 0x4D3C2B1A:
            self.big_endian = True
        else:
            return self.damaged(DAMAGE_SECTION, magic)
        length = u32(self.big_endian, p + 4)
        if length < 28 or length & 3 or length > CAPTURED_MAX + 65536:
            return self.damaged(DAMAGE_BLOCK, length)
        if self.end - self.pos < length:
            return NEED_MORE
        if u32(self.big_endian, p + length - 4) != length:
            return self.damaged(DAMAGE_TRAILER, u32(self.big_endian, p + length - 4))
        self.interface_count = 0
        if self.heads is not None:
            with gil:
                self.heads.append((self.origin + self.pos, PyBytes_FromStringAndSize(<const char *> p, length)))
        self.pos += length
        return NOTHING

    cdef int describe(self, const uint8_t *block, uint32_t length) noexcept nogil:
        """An interface description: link type, snap length, the unit and offset of its times."""
        cdef Interface *interface
        cdef uint32_t at = 16, code, size, i, power
        if length < 20:
            return self.damaged(DAMAGE_BLOCK, length)
        if self.interface_count == INTERFACES_MAX:
            return self.damaged(DAMAGE_INTERFACES, INTERFACES_MAX)
        interface = &self.interfaces[self.interface_count]
        interface.link = link_of(u16(self.big_endian, block + 8))
        interface.snap = u32(self.big_endian, block + 12)
        interface.units = 1000000
        interface.offset = 0
        interface.line = NO_MATCH
        while at + 4 <= length - 4:
            code = u16(self.big_endian, block + at)
            size = u16(self.big_endian, block + at + 2)
            at += 4
            if code == 0 or at + size > length - 4:
                break
            if code == 9 and size >= 1:     # if_tsresol
                power = block[at] & 0x7F
                if power > (63 if block[at] & 0x80 else 19):
                    return self.damaged(DAMAGE_RESOLUTION, block[at])
                interface.units = 1
                for i in range(power):
                    interface.units *= 2 if block[at] & 0x80 else 10
            elif code == 14 and size >= 8:  # if_tsoffset
                interface.offset = <int64_t> (fh_be64(block + at) if self.big_endian else fh_le64(block + at))
            at += (size + 3) & ~<uint32_t> 3
        with gil:
            interface.line = self.number(block, length)
            if self.heads is not None:
                self.heads.append((self.origin + self.pos, PyBytes_FromStringAndSize(<const char *> block, length)))
        self.interface_count += 1
        self.pos += length
        return NOTHING

    cdef int number(self, const uint8_t *block, uint32_t length) noexcept:
        """Keep what an interface is called and says of itself; the number of the line that it is."""
        cdef uint32_t at = 16, code, size
        cdef dict said = {1: "", 2: "", 3: ""}          # opt_comment, if_name, if_description
        while at + 4 <= length - 4:
            code = u16(self.big_endian, block + at)
            size = u16(self.big_endian, block + at + 2)
            at += 4
            if code == 0 or at + size > length - 4:
                break
            if code in said and not said[code]:
                said[code] = PyBytes_FromStringAndSize(<const char *> block + at, size).decode("utf-8", "replace")
            at += (size + 3) & ~<uint32_t> 3
        if len(self.described) < INTERFACES_MAX:
            self.described.append((said[2], said[3], said[1]))
        if self.numbering is None:
            return NO_MATCH
        try:
            line = int(self.numbering(said[2], said[3], said[1]))
            if not NOT_WANTED <= line < self.lines:
                raise ValueError(f"there are {self.lines} lines, no number {line}")
            return line
        except Exception as fault:
            self.failure = CaptureError(f"{self.path}: interface {said[2]!r}: {fault}")
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

    def datagrams(self, int limit=1000):
        """The next UDP datagrams whatever their destination, as (ts_ns, target, port, source, source port, payload).

        At most `limit`; an empty list at the end. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.
        """
        cdef Datagram datagram
        cdef int64_t ts = 0
        taken = []
        while len(taken) < limit:
            if self.next_udp(&datagram, &ts, True) != FOUND_UDP:
                self.finish()
                break
            taken.append((ts, bytes_of(&datagram.target), datagram.target_port, bytes_of(&datagram.source),
                          datagram.source_port, PyBytes_FromStringAndSize(<const char *> datagram.payload, datagram.len)))
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
    return (line.target.low == datagram.target.low and line.port == datagram.target_port
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

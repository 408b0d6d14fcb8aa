"""Receivers that read files: pcap and pcapng captures, and Nasdaq BinaryFILE.

A plain file is mapped and its packets are handed out where they lie. A compressed one passes through a window of
constant size, which only moves between two polls, when nothing is lent out; that step, once in a window, is the only
one that takes the GIL. A file that is not whole gives every whole packet before the damage; then poll() says
END_OF_INPUT and `error` holds the CaptureError that names file, byte and fault.

Time here is the file's: `now()` has no clock, and a line's ts_kind is TS_FILE (TS_NONE for BinaryFILE, which records no
times: ts_recv is 0).
"""
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memmove, memset
from cpython.bytes cimport PyBytes_FromStringAndSize
from feedhandler._counters cimport LN_BYTES, LN_FOREIGN, LN_PACKETS, LN_TRUNCATED
from feedhandler._hints cimport fetch_to_read
from feedhandler._records cimport LINE_ENDED, LINE_UP, TS_FILE, TS_NONE, Packet
from feedhandler._wire cimport fh_be16, fh_be32, fh_be64, fh_le16, fh_le32, fh_le64, fh_put_le64
from feedhandler.receive._datagram cimport (
    FOUND_BUSY, FOUND_FRAGMENT, FOUND_KINDS, FOUND_MALFORMED, FOUND_OTHER, FOUND_TCP, FOUND_TRUNCATED, FOUND_UDP,
    LINK_UNSUPPORTED, Address, Datagram, Dissector, link_of)
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
    DAMAGED = -3

cdef enum:
    WINDOW = 1 << 18            # bytes; more than twice the largest packet, so that one always fits
    RUN_MAX = 1 << 14           # bytes of BinaryFILE in one packet, and at once: they are still in the L1 cache when decoded
    NO_MATCH = -1
    FETCH_AHEAD = 1024          # bytes of BinaryFILE: the processor's own prefetching is late for messages so short

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


_DAMAGE = {
    DAMAGE_CUT: "the file ends in the middle of a record, of which {} bytes are here",
    DAMAGE_LENGTH: "a record states {} bytes of packet, which no capture holds (at most 262144)",
    DAMAGE_BLOCK: "a pcapng block states a length of {}, which cannot be",
    DAMAGE_TRAILER: "the two lengths of a pcapng block differ; the second one is {}",
    DAMAGE_INTERFACE: "a packet names interface {}, which the section has not described",
    DAMAGE_SECTION: "a pcapng section begins with byte-order magic {:#x}, not 0x1a2b3c4d",
    DAMAGE_RESOLUTION: "an interface has timestamp resolution {:#x}, finer than can be represented",
    DAMAGE_INTERFACES: "a section describes more than {} interfaces",
    DAMAGE_BEHIND: "more follows the mark of the end (a message of length 0), where nothing may",
}


cdef class FileReceiver(Receiver):
    """A window of bytes onto a file: all of it when it is mapped, a moving part of it when it is unpacked.

    `source` is what `capture.receiver` made of the path: a read-only buffer of the whole file, or an object with
    readinto(). Packets point into it until release().
    """

    def __cinit__(self, int lines, source, str path, *args, **kwargs):
        self.path = path
        if hasattr(source, "readinto"):
            self.source = source
            self.window = bytearray(WINDOW)
            self.base = &self.window[0]
        elif len(source) > 0:
            self.mapping = source
            self.view = source
            self.base = &self.view[0]
            self.end = self.view.shape[0]

    @property
    def error(self):
        if self.failure is not None:
            return self.failure
        if self.damage != DAMAGE_NONE:
            return CaptureError(f"{self.path}: byte {self.origin + self.pos}{self.unpacked()}: "
                                f"{_DAMAGE[self.damage].format(self.damage_detail)}")
        return None

    @property
    def offset(self):
        """Bytes of the file (unpacked, if it was compressed) that have been read; for progress bars."""
        return self.origin + self.pos

    cdef str unpacked(self):
        return " of the unpacked data" if self.source is not None else ""

    def close(self):
        """Unmap the file. Packets that were handed out are gone."""
        self.unbind()
        self.ended = True
        self.pos = self.end = 0
        self.base = NULL
        self.view = None
        self.window = None
        if self.mapping is not None and hasattr(self.mapping, "close"):
            self.mapping.close()
        if self.source is not None:
            self.source.close()
        self.mapping = None

    cdef bint more(self) noexcept nogil:
        """Bring more bytes into the window; False when there are none. Only while no packet is lent out."""
        if self.source is None or self.ended or self.failure is not None:
            return False
        with gil:
            return self.refill()

    def refill(self):
        """Move what is left to the front of the window and fill the rest; False at the end or on a fault."""
        cdef uint64_t left = self.end - self.pos
        if self.window is None:
            return False
        memmove(&self.window[0], &self.window[0] + self.pos, left)
        self.origin += self.pos
        self.pos = 0
        self.end = left
        try:
            got = self.source.readinto(memoryview(self.window)[left:])
        except Exception as fault:
            self.failure = CaptureError(f"{self.path}: {fault}")
            self.failure.__cause__ = fault
            return False
        self.end += <uint64_t> got
        return got > 0

    cdef int finish(self) noexcept nogil:
        """The input is over, in good order or not."""
        cdef int line
        if not self.ended:
            for line in range(self.lines):
                self.status[line].state = LINE_ENDED
        self.ended = True
        return END_OF_INPUT

    cdef int damaged(self, int kind, uint64_t detail) noexcept nogil:
        self.damage = kind
        self.damage_detail = detail
        return DAMAGED


cdef class PacketFile(FileReceiver):
    """UDP payloads of a pcap or pcapng file. Made by `capture.receiver`.

    `lines`: how many; `destinations`: for each (address of 16 bytes, port, source of 16 bytes or zeros).
    """

    def __cinit__(self, int lines, source, str path, destinations):
        cdef int i
        if len(destinations) != lines:
            raise ValueError(f"{lines} lines need as many destinations, not {len(destinations)}")
        self.dissector = Dissector()
        self.line_table = <Line *> calloc(lines, sizeof(Line))
        self.interfaces = <Interface *> calloc(INTERFACES_MAX, sizeof(Interface))
        if self.line_table == NULL or self.interfaces == NULL:
            raise MemoryError()
        for i, (address, port, only) in enumerate(destinations):
            self.line_table[i].target = address_of(address)
            self.line_table[i].source = address_of(only)
            self.line_table[i].port = port
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
        cdef int n = 0, line
        cdef uint64_t *own
        while n < capacity:
            if self.next_udp(&datagram, &ts, n == 0) != FOUND_UDP:
                break
            line = self.line_of(&datagram)
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
            return self.finish()
        return n

    cdef void release(self) noexcept nogil:
        self.dissector.release()

    cdef int next_udp(self, Datagram *out, int64_t *ts, bint patient) noexcept nogil:
        """The next UDP datagram; NEED_MORE when there is none in the window, and at the end of the file.

        `patient`: nothing is lent out, so that the window may move.
        """
        cdef int found, line
        while not self.ended:
            found = self.record(out, ts)
            if found == NEED_MORE:
                if not patient:
                    return NEED_MORE
                if self.more():
                    continue
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
                line = self.line_of(out)
                self.counters[(0 if line == NO_MATCH else line) * self.counter_stride + LN_TRUNCATED] += 1
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
        self.interface_count += 1
        self.pos += length
        return NOTHING

    cdef inline int line_of(self, const Datagram *datagram) noexcept nogil:
        """The line of this destination (and source), NO_MATCH for another's. A remembered answer is tried first."""
        cdef uint32_t place = <uint32_t> (datagram.target.low >> 32 ^ datagram.target.low >> 56
                                          ^ datagram.target_port) & (MEMO - 1)
        cdef int line = self.memo[place]
        if matches(&self.line_table[line], datagram):
            return line
        line = self.search(datagram)
        if line != NO_MATCH:
            self.memo[place] = line
        return line

    cdef int search(self, const Datagram *datagram) noexcept nogil:
        cdef int line
        for line in range(self.lines):
            if matches(&self.line_table[line], datagram):
                return line
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

        seen[(address of 16 bytes, port)] = [packets, bytes, first payload (at most 2048 bytes), first ts_ns].
        """
        cdef Datagram datagram
        cdef int64_t ts = 0
        cdef Line last
        cdef uint64_t packets = 0, payload = 0, counted = 0
        memset(&last, 0, sizeof(last))
        while counted < limit:
            if self.next_udp(&datagram, &ts, True) != FOUND_UDP:
                self.finish()
                break
            counted += 1
            if (packets == 0 or datagram.target.low != last.target.low or datagram.target_port != last.port
                    or datagram.target.high != last.target.high):
                add_to(seen, &last, packets, payload)
                packets = payload = 0
                last.target = datagram.target
                last.port = datagram.target_port
                if (key := (bytes_of(&last.target), last.port)) not in seen:
                    seen[key] = [0, 0, PyBytes_FromStringAndSize(<const char *> datagram.payload,
                                                                 min(datagram.len, 2048)), ts]
            packets += 1
            payload += datagram.len
        add_to(seen, &last, packets, payload)
        return not self.ended


cdef inline bint matches(const Line *line, const Datagram *datagram) noexcept nogil:
    return (line.target.low == datagram.target.low and line.port == datagram.target_port
            and line.target.high == datagram.target.high
            and ((line.source.low | line.source.high) == 0
                 or line.source.low == datagram.source.low and line.source.high == datagram.source.high))


cdef add_to(dict seen, const Line *line, uint64_t packets, uint64_t payload):
    if packets:
        entry = seen[(bytes_of(&line.target), line.port)]
        entry[0] += packets
        entry[1] += payload


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


cdef class BinaryFile(FileReceiver):
    """Whole messages of a Nasdaq BinaryFILE, each behind its u16 big-endian length, as runs of at most 16 KiB.

    A run ends where a message ends (one that is longer than a run stands alone), so the framing never has to wait for
    the rest of one. The format records no time: ts_recv is 0 and the line's ts_kind is TS_NONE.
    """

    def __cinit__(self, int lines, source, str path):
        self.status[0].state = LINE_UP
        self.status[0].ts_kind = TS_NONE

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef uint64_t start, stop, following, messages
        cdef bint marked = False
        if self.marked and capacity > 0:
            self.look_behind()
        while capacity > 0 and not self.ended:
            start = stop = self.pos
            messages = 0
            while self.end - stop >= 2:
                following = stop + 2 + fh_be16(self.base + stop)
                fetch_to_read(<size_t> self.base + stop + FETCH_AHEAD)
                if following > self.end or following - start > RUN_MAX and messages > 0:
                    break
                messages += 1
                marked = following - stop == 2
                stop = following
                if marked or stop - start >= RUN_MAX:
                    break
            if messages == 0:
                if self.more():
                    continue
                if self.failure is None and self.pos != self.end:
                    self.damaged(DAMAGE_CUT, self.end - self.pos)
                break
            self.marked = marked
            self.messages += messages
            self.counters[LN_PACKETS] += 1
            self.counters[LN_BYTES] += stop - start
            out[0].data = self.base + start
            out[0].ts_recv = 0
            out[0].len = <uint32_t> (stop - start)
            out[0].line = 0
            self.pos = stop
            return 1
        return self.finish() if capacity > 0 else 0

    cdef void look_behind(self) noexcept nogil:         # of the mark of the end: nothing but padding may lie there
        while not self.ended:
            while self.pos < self.end and self.base[self.pos] == 0:
                self.pos += 1
            if self.pos < self.end:
                self.damaged(DAMAGE_BEHIND, 0)
            elif self.more():
                continue
            self.finish()

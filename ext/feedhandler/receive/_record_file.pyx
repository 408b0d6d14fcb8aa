"""The records of a pcap or pcapng file, in either byte order: packets with their times, and what describes them.

pcapng: draft-ietf-opsawg-pcapng; pcap: draft-ietf-opsawg-pcap.
"""
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from cpython.bytes cimport PyBytes_FromStringAndSize
from feedhandler._wire cimport fh_be16, fh_be32, fh_be64, fh_le16, fh_le32, fh_le64
from feedhandler.receive._datagram cimport FOUND_BUSY, LINK_UNSUPPORTED, Datagram, Dissector, link_of
from feedhandler.receive._file cimport (
    DAMAGE_BLOCK, DAMAGE_INTERFACE, DAMAGE_INTERFACES, DAMAGE_LENGTH, DAMAGE_NONE, DAMAGE_RESOLUTION, DAMAGE_SECTION,
    DAMAGE_TRAILER, FileReceiver)
from feedhandler.errors import CaptureError

cdef extern from *:
    """
    static inline int64_t fh_scale(uint64_t fraction, uint64_t units)   /* fraction / units, in ns */
    {
        return (int64_t)((unsigned __int128)fraction * 1000000000u / units);
    }
    """
    int64_t fh_scale(uint64_t fraction, uint64_t units) nogil

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


cdef class RecordFile(FileReceiver):
    """A pcap or pcapng file, read record by record."""

    def __cinit__(self, int lines, source, str path, *args, **kwargs):
        self.dissector = Dissector()
        self.interfaces = <Interface *> calloc(INTERFACES_MAX, sizeof(Interface))
        if self.interfaces == NULL:
            raise MemoryError()
        self.bound = NO_MATCH
        self.described = []
        self.stop = UINT64_MAX

    def __dealloc__(self):
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
        cdef bint ours = True
        for _, block in heads:
            self.base = block
            self.pos = 0
            self.end = len(block)
            self.skip = 0
            if not self.pcapng or self.pcapng_block(&nothing, &ts) != NOTHING:
                ours = False
                break
        self.base = base                    # the blocks do not outlive this call
        if not ours:
            self.pos = pos
            self.end = end
            self.skip = 0
            self.damage = DAMAGE_NONE
            raise CaptureError(f"{self.path}: its index is of another file: remove {self.path}.index")
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

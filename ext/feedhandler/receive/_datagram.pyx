"""Finds the UDP payload in a frame: link layer, VLAN tags, IPv4 and IPv6, fragments. No socket, no clock.

Lengths are checked against what is here before a byte is read. Checksums are not: a capture taken on the sending
host holds packets whose checksums the NIC had yet to fill in.

Fragments are put together in FRAGMENT_SLOTS places of 64 KiB. What is here is kept in units of 8 bytes, the grain of
the offset field; of overlapping copies the first wins. When all places are taken the one touched longest ago is given
up and counted.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from feedhandler._wire cimport fh_be16, fh_be32, fh_le32, fh_le64

cdef extern from *:
    """
    static const uint64_t FH_MAPPED = 0xffff0000ull;    /* ::ffff:0:0 in network byte order, its low half */
    """
    const uint64_t FH_MAPPED

cdef enum:
    FREE = 0
    FILLING = 1
    LENT = 2

cdef enum:
    ETHERTYPE_IPV4 = 0x0800
    ETHERTYPE_IPV6 = 0x86DD
    PROTOCOL_TCP = 6
    PROTOCOL_UDP = 17


cdef int link_of(uint32_t linktype) noexcept nogil:
    """The link layer of a pcap LINKTYPE_ number; LINK_UNSUPPORTED when we do not know it."""
    if linktype == 1:
        return LINK_ETHERNET
    if linktype == 113:
        return LINK_SLL
    if linktype == 276:
        return LINK_SLL2
    if linktype == 101 or linktype == 12 or linktype == 14 or linktype == 228 or linktype == 229:
        return LINK_RAW
    if linktype == 0 or linktype == 108:
        return LINK_FAMILY
    return LINK_UNSUPPORTED


cdef inline bint is_vlan(uint16_t ethertype) noexcept nogil:
    return ethertype == 0x8100 or ethertype == 0x88A8 or ethertype == 0x9100


cdef inline int udp(const uint8_t *p, uint32_t length, Datagram *out) noexcept nogil:
    """The payload is what both IP and UDP say there is; a UDP length of 0 (jumbo, offload) leaves it to IP."""
    cdef uint32_t stated
    if length < 8:
        return FOUND_MALFORMED
    stated = fh_be16(p + 4)
    if stated == 0 or stated > length:
        stated = length
    if stated < 8:
        return FOUND_MALFORMED
    out.source_port = fh_be16(p)
    out.target_port = fh_be16(p + 2)
    out.payload = p + 8
    out.len = stated - 8
    return FOUND_UDP


cdef inline int tcp(const uint8_t *p, uint32_t length, Datagram *out) noexcept nogil:
    """A whole segment."""
    cdef uint32_t header
    if length < 20:
        return FOUND_MALFORMED
    header = (p[12] >> 4) * 4
    if header < 20 or header > length:
        return FOUND_MALFORMED
    out.source_port = fh_be16(p)
    out.target_port = fh_be16(p + 2)
    out.number = fh_be32(p + 4)
    out.flags = p[13]
    out.payload = p + header
    out.len = length - header
    return FOUND_TCP


cdef inline bint beyond(const Fragments *slot, uint32_t end) noexcept nogil:
    """Is there anything at or behind unit `end`?"""
    cdef uint32_t word = end >> 6
    if word < UNIT_WORDS and slot.have[word] >> (end & 63):
        return True
    for word in range((end >> 6) + 1, <uint32_t> UNIT_WORDS):
        if slot.have[word]:
            return True
    return False


cdef class Dissector:
    def __cinit__(self):
        cdef int i
        self.memory = <uint8_t *> malloc(FRAGMENT_SLOTS * DATAGRAM_MAX)
        if self.memory == NULL:
            raise MemoryError()
        for i in range(FRAGMENT_SLOTS):
            self.slots[i].data = self.memory + i * DATAGRAM_MAX

    def __dealloc__(self):
        free(self.memory)

    @property
    def incomplete(self):
        """Datagrams of which fragments are here, and others are missing."""
        return sum(self.slots[i].state == FILLING for i in range(FRAGMENT_SLOTS))

    cdef int dissect(self, int link, const uint8_t *data, uint32_t length, Datagram *out) noexcept nogil:
        """FOUND_UDP and `out` filled, or why not. `out.target` is all zero where no IP header could be read."""
        cdef uint32_t offset, family
        cdef uint16_t ethertype
        cdef int tag
        out.target.high = 0
        out.target.low = 0
        out.target_port = 0
        out.payload = NULL
        if link == LINK_ETHERNET:
            if length < 14:
                return FOUND_TRUNCATED
            ethertype = fh_be16(data + 12)
            offset = 14
        elif link == LINK_SLL:
            if length < 16:
                return FOUND_TRUNCATED
            ethertype = fh_be16(data + 14)
            offset = 16
        elif link == LINK_SLL2:
            if length < 20:
                return FOUND_TRUNCATED
            ethertype = fh_be16(data)
            offset = 20
        elif link == LINK_RAW:
            if length < 1:
                return FOUND_TRUNCATED
            ethertype = ETHERTYPE_IPV4 if data[0] >> 4 == 4 else ETHERTYPE_IPV6 if data[0] >> 4 == 6 else 0
            offset = 0
        elif link == LINK_FAMILY:
            if length < 4:
                return FOUND_TRUNCATED
            family = fh_le32(data)
            if family > 0xFFFF:
                family = fh_be32(data)
            # AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 24, 28 and 30 on the BSDs and macOS
            ethertype = (ETHERTYPE_IPV4 if family == 2 else ETHERTYPE_IPV6
                         if family == 10 or family == 24 or family == 28 or family == 30 else 0)
            offset = 4
        else:
            return FOUND_OTHER
        for tag in range(2):
            if not is_vlan(ethertype):
                break
            if length < offset + 4:
                return FOUND_TRUNCATED
            ethertype = fh_be16(data + offset + 2)
            offset += 4
        if ethertype == ETHERTYPE_IPV4:
            return self.ipv4(data + offset, length - offset, out)
        if ethertype == ETHERTYPE_IPV6:
            return self.ipv6(data + offset, length - offset, out)
        return FOUND_OTHER

    cdef void release(self) noexcept nogil:
        """The payloads handed out are not needed any more."""
        cdef int i
        if not self.lent:
            return
        for i in range(FRAGMENT_SLOTS):
            if self.slots[i].state == LENT:
                self.slots[i].state = FREE
        self.lent = False

    cdef int ipv4(self, const uint8_t *p, uint32_t length, Datagram *out) noexcept nogil:
        cdef uint32_t header, total, fragment
        if length < 20:
            return FOUND_TRUNCATED
        header = (p[0] & 15) * 4
        total = fh_be16(p + 2)
        if total == 0:                      # segmentation was left to the NIC: the frame is the packet
            total = length
        if p[0] >> 4 != 4 or header < 20 or total < header:
            return FOUND_MALFORMED
        if p[9] != PROTOCOL_UDP and p[9] != PROTOCOL_TCP:
            return FOUND_OTHER
        out.source.high = 0
        out.source.low = FH_MAPPED | <uint64_t> fh_le32(p + 12) << 32
        out.target.low = FH_MAPPED | <uint64_t> fh_le32(p + 16) << 32
        fragment = fh_be16(p + 6)
        if p[9] == PROTOCOL_TCP:
            return FOUND_TCP if total > length or fragment & 0x3FFF else tcp(p + header, total - header, out)
        if total > length:
            if fragment & 0x1FFF == 0 and header + 4 <= length:
                out.target_port = fh_be16(p + header + 2)
            return FOUND_TRUNCATED
        if fragment & 0x3FFF:
            return self.fragment(p + header, total - header, (fragment & 0x1FFF) * 8, fragment & 0x2000 != 0,
                                 fh_be16(p + 4), p[9], 4, out)
        return udp(p + header, total - header, out)

    cdef int ipv6(self, const uint8_t *p, uint32_t length, Datagram *out) noexcept nogil:
        cdef uint32_t total, offset = 40, step, place
        cdef uint8_t following
        if length < 40:
            return FOUND_TRUNCATED
        if p[0] >> 4 != 6:
            return FOUND_MALFORMED
        total = fh_be16(p + 4) + 40
        if total == 40:
            total = length
        out.source.high = fh_le64(p + 8)
        out.source.low = fh_le64(p + 16)
        out.target.high = fh_le64(p + 24)
        out.target.low = fh_le64(p + 32)
        following = p[6]
        while following != PROTOCOL_UDP:
            # hop-by-hop, routing, fragment, authentication, destination options, mobility
            if following == PROTOCOL_TCP:
                return FOUND_TCP if total > length or offset > total else tcp(p + offset, total - offset, out)
            if not (following == 0 or following == 43 or following == 44 or following == 51 or following == 60
                    or following == 135):
                return FOUND_OTHER
            if offset + 8 > total:
                return FOUND_MALFORMED
            if offset + 8 > length:
                return FOUND_TRUNCATED
            if following == 44:
                place = fh_be16(p + offset + 2)
                if place & 0xFFF9:
                    if total > length:
                        return FOUND_TRUNCATED
                    if p[offset] != PROTOCOL_UDP:       # also extension headers behind it: too rare to follow
                        return FOUND_TCP if p[offset] == PROTOCOL_TCP else FOUND_OTHER
                    return self.fragment(p + offset + 8, total - offset - 8, place & 0xFFF8, place & 1,
                                         fh_be32(p + offset + 4), p[offset], 6, out)
                step = 8
            elif following == 51:
                step = (p[offset + 1] + 2) * 4
            else:
                step = (p[offset + 1] + 1) * 8
            following = p[offset]
            offset += step
        if offset > total:
            return FOUND_MALFORMED
        if total > length:
            if offset + 4 <= length:
                out.target_port = fh_be16(p + offset + 2)
            return FOUND_TRUNCATED
        return udp(p + offset, total - offset, out)

    cdef int fragment(self, const uint8_t *p, uint32_t length, uint32_t offset, bint more, uint32_t id,
                      uint8_t protocol, uint8_t version, Datagram *out) noexcept nogil:
        """Keep one fragment; FOUND_UDP when it made its datagram whole."""
        cdef Fragments *slot = NULL
        cdef Fragments *other
        cdef int i
        cdef uint32_t unit, first, last, piece
        if length == 0 or offset + length > DATAGRAM_MAX - 1 or (more and length & 7):
            return FOUND_MALFORMED
        for i in range(FRAGMENT_SLOTS):
            other = &self.slots[i]
            if (other.state == FILLING and other.id == id and other.protocol == protocol and other.version == version
                    and other.source.high == out.source.high and other.source.low == out.source.low
                    and other.target.high == out.target.high and other.target.low == out.target.low):
                slot = other
                break
        if slot == NULL:
            for i in range(FRAGMENT_SLOTS):
                other = &self.slots[i]
                if other.state == FREE:
                    slot = other
                    break
                if other.state == FILLING and (slot == NULL or other.touched < slot.touched):
                    slot = other
            if slot == NULL:
                return FOUND_BUSY
            if slot.state == FILLING:
                self.abandoned += 1
            slot.state = FILLING
            slot.source = out.source
            slot.target = out.target
            slot.id = id
            slot.protocol = protocol
            slot.version = version
            slot.total = 0
            slot.units = 0
            memset(slot.have, 0, sizeof(slot.have))
        self.clock += 1
        slot.touched = self.clock
        if not more:
            if slot.total != 0 and slot.total != offset + length or beyond(slot, (offset + length + 7) >> 3):
                slot.state = FREE
                self.abandoned += 1
                return FOUND_MALFORMED
            slot.total = offset + length
        elif slot.total != 0 and offset + length > slot.total:
            return FOUND_MALFORMED
        first = offset >> 3
        last = (offset + length + 7) >> 3
        for unit in range(first, last):
            if slot.have[unit >> 6] >> (unit & 63) & 1:
                continue
            slot.have[unit >> 6] |= <uint64_t> 1 << (unit & 63)
            slot.units += 1
            piece = length - (unit - first) * 8
            memcpy(slot.data + unit * 8, p + (unit - first) * 8, 8 if piece > 8 else piece)
        if slot.total == 0 or slot.units < (slot.total + 7) >> 3:
            return FOUND_FRAGMENT
        slot.state = LENT
        self.lent = True
        self.reassembled += 1
        return udp(slot.data, slot.total, out)

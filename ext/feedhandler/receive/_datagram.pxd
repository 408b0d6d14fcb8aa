"""Finds the UDP payload in a frame: link layer, VLAN tags, IPv4 and IPv6, fragments. No socket, no clock."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:                      # the link layers, by what stands in front of the IP header
    LINK_UNSUPPORTED = 0
    LINK_ETHERNET = 1
    LINK_SLL = 2                # Linux cooked capture
    LINK_SLL2 = 3
    LINK_RAW = 4                # nothing: IPv4 or IPv6 by its version
    LINK_FAMILY = 5             # BSD null and loopback: an address family of four bytes, in either byte order

cdef enum:                      # what dissect() found
    FOUND_UDP = 0
    FOUND_FRAGMENT = 1          # kept; the datagram is not whole yet
    FOUND_TCP = 2
    FOUND_OTHER = 3             # another protocol than UDP and TCP over IP
    FOUND_TRUNCATED = 4         # fewer bytes here than the headers promise
    FOUND_MALFORMED = 5         # headers that contradict themselves
    FOUND_BUSY = 6              # a fragment, and all room for fragments is lent out: release() first, then again
    FOUND_KINDS = 7

cdef struct Address:            # IPv6, or IPv4 as ::ffff:a.b.c.d; in network byte order
    uint64_t high
    uint64_t low

cdef struct Datagram:           # or a TCP segment
    const uint8_t *payload      # into the frame, or into the reassembly memory: until release()
    Address source
    Address target
    uint32_t len
    uint16_t source_port
    uint16_t target_port
    uint32_t number             # FOUND_TCP: of the first byte; `payload` NULL: not all of the segment is here
    uint8_t flags               # FOUND_TCP: FIN 1, SYN 2, RST 4, PSH 8, ACK 16

cdef enum:
    FRAGMENT_SLOTS = 32         # datagrams that may be incomplete, or lent out, at once
    DATAGRAM_MAX = 65536
    UNIT_WORDS = 128            # one bit for each 8 bytes of a datagram

cdef struct Fragments:
    Address source
    Address target
    uint64_t touched            # for choosing whom to give up
    uint32_t id
    uint32_t total              # bytes; 0 = the last fragment is not here yet
    uint32_t units              # 8-byte units here
    uint8_t protocol
    uint8_t version
    uint8_t state               # FREE, FILLING, LENT
    uint8_t *data
    uint64_t have[UNIT_WORDS]

cdef class Dissector:
    """Stateless but for the fragments. All memory is taken when it is made."""
    cdef Fragments slots[FRAGMENT_SLOTS]
    cdef uint8_t *memory
    cdef uint64_t clock
    cdef readonly uint64_t reassembled      # datagrams made whole
    cdef readonly uint64_t abandoned        # datagrams given up for want of room
    cdef bint lent

    cdef int dissect(self, int link, const uint8_t *data, uint32_t length, Datagram *out) noexcept nogil
    cdef void release(self) noexcept nogil
    cdef int ipv4(self, const uint8_t *p, uint32_t length, Datagram *out) noexcept nogil
    cdef int ipv6(self, const uint8_t *p, uint32_t length, Datagram *out) noexcept nogil
    cdef int fragment(self, const uint8_t *p, uint32_t length, uint32_t offset, bint more, uint32_t id,
                      uint8_t protocol, uint8_t version, Datagram *out) noexcept nogil

cdef int link_of(uint32_t linktype) noexcept nogil

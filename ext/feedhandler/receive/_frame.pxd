"""Frames past the kernel: the parser and the steering table of frame.h, for receivers that see Ethernet."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "frame.h" nogil:
    enum:                       # fh_frame_verdict
        FH_FRAME_OK
        FH_FRAME_OTHER
        FH_FRAME_SHORT
        FH_FRAME_LENGTHS
        FH_FRAME_CHECKSUM
        FH_FRAME_UDP_CHECKSUM
        FH_FRAME_FRAGMENT
        FH_FRAME_KINDS

    cdef struct fh_frame:       # addresses and port as on the wire
        uint32_t source
        uint32_t group
        uint16_t port
        uint32_t vlan           # 0 = untagged; the id of one tag; outer << 16 | inner of two
        const uint8_t *payload
        uint32_t len

    int fh_frame_ip(const uint8_t *ip, uint32_t length, int check_udp_sum, fh_frame *out)
    int fh_frame_known_ip(const uint8_t *ip, uint32_t length, fh_frame *out)
    int fh_frame_udp(const uint8_t *p, uint32_t length, int check_udp_sum, fh_frame *out)

    enum:
        FH_STEER_LINES
        FH_STEER_NONE

    cdef struct fh_steer:       # all zero = empty
        uint32_t count

    int fh_steer_add(fh_steer *table, uint32_t group, uint16_t port, uint32_t source, uint32_t vlan, uint32_t line)
    int fh_steer_line(const fh_steer *table, const fh_frame *frame)
    int fh_steer_blame(const fh_steer *table, const fh_frame *frame)

cdef class Steering:
    """(group, port, source or any, VLAN) → line, filled from Python, looked up without the GIL."""
    cdef fh_steer table

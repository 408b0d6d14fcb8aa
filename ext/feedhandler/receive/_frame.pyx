"""Frames past the kernel: a door to the parser and the steering table of frame.h."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from feedhandler._wire cimport fh_be16, fh_le32

VERDICTS = ("ok", "other", "short", "lengths", "checksum", "udp_checksum", "fragment")


cdef bytes address(uint32_t wire):
    return PyBytes_FromStringAndSize(<const char *> &wire, 4)


cdef dict fields(const fh_frame *frame):
    return {"source": address(frame.source), "group": address(frame.group),
            "port": fh_be16(<const uint8_t *> &frame.port), "vlan": frame.vlan}


def parse(bytes frame, bint check_udp_checksum=False):
    """(verdict, fields, payload) of a frame: one of VERDICTS; source, group (4 bytes each), port, vlan; None or bytes.

    Reads a copy of exactly its length, so that a sanitizer sees every byte read beyond it.
    """
    cdef fh_frame found
    cdef int verdict
    cdef uint32_t size = <uint32_t> PyBytes_GET_SIZE(frame)
    cdef uint8_t *copy = <uint8_t *> malloc(size if size else 1)
    if copy == NULL:
        raise MemoryError()
    try:
        memcpy(copy, PyBytes_AS_STRING(frame), size)
        verdict = fh_frame_udp(copy, size, check_udp_checksum, &found)
        payload = None
        if verdict == FH_FRAME_OK:
            payload = PyBytes_FromStringAndSize(<const char *> found.payload, found.len)
        return VERDICTS[verdict], fields(&found), payload
    finally:
        free(copy)


cdef class Steering:
    """(group, port, source or any, VLAN) → line, at most 64 of them. Addresses are 4 bytes; source b"" = any.

    `vlan`: 0 = untagged, the id of one tag, outer << 16 | inner of two.
    """

    def add(self, bytes group, uint16_t port, bytes source, uint32_t vlan, uint32_t line):
        """Packets of this flow are the line's. Raises ValueError when another line has the same flow, or at 65."""
        cdef uint16_t wire_port = fh_be16(<const uint8_t *> &port)
        cdef uint32_t wire_source = 0
        if len(group) != 4 or len(source) not in (0, 4):
            raise ValueError("an address is the 4 bytes of an IPv4 address")
        if source:
            wire_source = fh_le32(<const uint8_t *> PyBytes_AS_STRING(source))
        if fh_steer_add(&self.table, fh_le32(<const uint8_t *> PyBytes_AS_STRING(group)), wire_port, wire_source, vlan,
                        line) != 0:
            raise ValueError(f"line {line}: no room, or another line has the same group, port, source and VLAN")

    def line(self, bytes frame):
        """The line a good frame belongs to; None for nobody's or a refused one. A door for tests."""
        cdef fh_frame found
        cdef int line
        if fh_frame_udp(<const uint8_t *> PyBytes_AS_STRING(frame), <uint32_t> PyBytes_GET_SIZE(frame), False,
                        &found) != FH_FRAME_OK:
            return None
        line = fh_steer_line(&self.table, &found)
        return None if line == FH_STEER_NONE else line

    def blame(self, bytes frame):
        """The line a frame without one was most likely meant for, None for nobody's. A door for tests."""
        cdef fh_frame found
        cdef int line
        fh_frame_udp(<const uint8_t *> PyBytes_AS_STRING(frame), <uint32_t> PyBytes_GET_SIZE(frame), False, &found)
        line = fh_steer_blame(&self.table, &found)
        return None if line == FH_STEER_NONE else line

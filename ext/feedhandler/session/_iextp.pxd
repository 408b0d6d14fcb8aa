from libc.stdint cimport uint16_t, uint64_t
from feedhandler.session._framing cimport Framing


cdef class IexTpFraming(Framing):
    cdef readonly uint16_t protocol_id      # the message protocol: 0x8003 TOPS, 0x8004 DEEP, 0x8005 DEEP+
    cdef uint64_t last_id                   # channel and session id that `text` was written from
    cdef uint64_t text[2]                   # the same as 16 hexadecimal digits: what people see as the session

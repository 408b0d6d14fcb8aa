"""A receiver that reads packet captures: pcap and pcapng."""
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint64_t
from feedhandler.receive._datagram cimport Address, Datagram
from feedhandler.receive._record_file cimport RecordFile

cdef enum:
    MEMO = 256                  # places of the small cache from destination to line

cdef struct Line:               # where packets of a line go
    Address target
    Address source              # any, when both halves are 0
    uint16_t port
    int16_t line
    bint stream                 # `target` and `port` are the server's: where its segments come from

cdef class PacketFile(RecordFile):
    cdef Line *line_table                   # one row for each destination
    cdef int destinations
    cdef uint8_t memo[MEMO]
    cdef bint segments_too                  # next_udp() gives TCP segments as they are
    cdef int stream_line                    # of the run that next_udp() gave
    cdef int64_t since, until, over         # ns since the Unix epoch: the window, and where reading ends
    cdef uint64_t found[8]                  # by what dissect() found
    cdef readonly int64_t tcp_latest        # the latest time of a TCP segment that was passed over; 0: none
    cdef readonly uint64_t records          # packets in the file so far, of every kind
    cdef readonly uint64_t foreign          # UDP for other destinations than ours

    cdef int line_of(self, const Datagram *datagram) noexcept nogil
    cdef int search(self, const Datagram *datagram) noexcept nogil
    cdef int stream_of(self, const Datagram *segment) noexcept nogil
    cdef int segment(self, Datagram *out, int64_t ts, bint patient) noexcept nogil
    cdef int next_udp(self, Datagram *out, int64_t *ts, bint patient) noexcept nogil

cdef bytes bytes_of(const Address *address)

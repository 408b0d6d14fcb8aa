"""The records of a pcap or pcapng file."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler.receive._datagram cimport Datagram, Dissector
from feedhandler.receive._file cimport FileReceiver

cdef enum:
    CAPTURED_MAX = 1 << 18      # bytes of one packet; libpcap's own limit
    INTERFACES_MAX = 1024       # of one pcapng section

cdef enum:                      # what record() gives beside the FOUND_ numbers
    NEED_MORE = -1
    NOTHING = -2                # a block without a packet

cdef enum:                      # what stands in the place of a line
    NO_MATCH = -1               # of an interface: its packets' lines are told by their destinations
    NOT_WANTED = -2             # a line of the recording, but not one of those asked for

cdef struct Interface:          # of a pcapng section
    int link
    uint32_t snap
    uint64_t units              # per second
    int64_t offset              # seconds
    int line                    # its packets' line, NOT_WANTED, or NO_MATCH: by destination

cdef class RecordFile(FileReceiver):
    cdef readonly Dissector dissector
    cdef readonly bint pcapng
    cdef bint big_endian
    cdef int link
    cdef uint64_t units                     # pcap: fractions per second
    cdef Interface *interfaces
    cdef uint32_t interface_count
    cdef object numbering                   # of a pcapng whose interfaces are lines: (name, description, comment) -> line
    cdef int bound                          # the line of the interface of the record at hand; NO_MATCH: by destination
    cdef int64_t last_time
    cdef uint64_t skip                      # pcapng: bytes of a block of no interest still to pass over
    cdef uint64_t stop                      # place in the file where reading ends
    cdef readonly list heads                # pcapng, if collected: (place, block) of each section and interface
    cdef readonly list described            # (name, description, comment) of each interface

    cdef open_file(self)
    cdef uint64_t place(self) noexcept nogil
    cdef int record(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int pcap_record(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int pcapng_block(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int section(self) noexcept nogil
    cdef int describe(self, const uint8_t *block, uint32_t length) noexcept nogil
    cdef int number(self, const uint8_t *block, uint32_t length) noexcept

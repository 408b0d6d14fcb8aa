"""A receiver that reads packet captures: pcap and pcapng."""
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler.receive._datagram cimport Address, Datagram, Dissector
from feedhandler.receive._file cimport FileReceiver

cdef enum:
    CAPTURED_MAX = 1 << 18      # bytes of one packet; libpcap's own limit
    INTERFACES_MAX = 1024       # of one pcapng section
    MEMO = 256                  # places of the small cache from destination to line

cdef struct Interface:          # of a pcapng section
    int link
    uint32_t snap
    uint64_t units              # per second
    int64_t offset              # seconds
    int line                    # its packets' line, NOT_WANTED, or NO_MATCH: by destination

cdef struct Line:
    Address target
    Address source              # any, when both halves are 0
    uint16_t port
    int16_t line

cdef class PacketFile(FileReceiver):
    cdef readonly Dissector dissector
    cdef Line *line_table                   # one row for each destination
    cdef int destinations
    cdef object numbering
    cdef int bound                          # the line of the interface of the record at hand; NO_MATCH: by destination
    cdef int64_t since, until, over         # ns since the Unix epoch: the window, and where reading ends
    cdef uint64_t stop                      # place in the file where reading ends
    cdef readonly list heads                # pcapng, if collected: (place, block) of each section and interface
    cdef readonly list described            # (name, description, comment) of each interface
    cdef uint8_t memo[MEMO]
    cdef readonly bint pcapng
    cdef bint big_endian
    cdef int link
    cdef uint64_t units                     # pcap: fractions per second
    cdef Interface *interfaces
    cdef uint32_t interface_count
    cdef int64_t last_time
    cdef uint64_t skip                      # pcapng: bytes of a block of no interest still to pass over
    cdef uint64_t found[8]                  # by what dissect() found
    cdef readonly uint64_t records          # packets in the file so far, of every kind
    cdef readonly uint64_t foreign          # UDP for other destinations than ours

    cdef open_file(self)
    cdef uint64_t place(self) noexcept nogil
    cdef int record(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int pcap_record(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int pcapng_block(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int section(self) noexcept nogil
    cdef int describe(self, const uint8_t *block, uint32_t length) noexcept nogil
    cdef int number(self, const uint8_t *block, uint32_t length) noexcept
    cdef int line_of(self, const Datagram *datagram) noexcept nogil
    cdef int search(self, const Datagram *datagram) noexcept nogil
    cdef int next_udp(self, Datagram *out, int64_t *ts, bint patient) noexcept nogil

"""Receivers that read files: pcap and pcapng captures, and Nasdaq BinaryFILE."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport Packet
from feedhandler.receive._datagram cimport Address, Datagram, Dissector
from feedhandler.receive._receiver cimport Receiver

cdef enum:
    CAPTURED_MAX = 1 << 18      # bytes of one packet; libpcap's own limit
    INTERFACES_MAX = 1024       # of one pcapng section
    MEMO = 256                  # places of the small cache from destination to line

cdef enum:                      # what a file that is not whole suffers from; `_DAMAGE` in the .pyx has the sentences
    DAMAGE_NONE = 0
    DAMAGE_CUT = 1
    DAMAGE_LENGTH = 2
    DAMAGE_BLOCK = 3
    DAMAGE_TRAILER = 4
    DAMAGE_INTERFACE = 5
    DAMAGE_SECTION = 6
    DAMAGE_RESOLUTION = 7
    DAMAGE_INTERFACES = 8
    DAMAGE_BEHIND = 9

cdef struct Interface:          # of a pcapng section
    int link
    uint32_t snap
    uint64_t units              # per second
    int64_t offset              # seconds

cdef struct Line:
    Address target
    Address source              # any, when both halves are 0
    uint16_t port

cdef class FileReceiver(Receiver):
    """A window of bytes onto a file: all of it when it is mapped, a moving part of it when it is unpacked."""
    cdef readonly str path
    cdef const uint8_t *base
    cdef uint64_t pos, end                  # of what is not read yet, within the window
    cdef uint64_t origin                    # place of base[0] in the file
    cdef object source                      # readinto(memoryview) -> int; None when the file is mapped
    cdef object mapping
    cdef const uint8_t[::1] view
    cdef uint8_t[::1] window
    cdef int damage
    cdef uint64_t damage_detail
    cdef object failure

    cdef str unpacked(self)
    cdef bint more(self) noexcept nogil
    cdef int finish(self) noexcept nogil
    cdef int damaged(self, int kind, uint64_t detail) noexcept nogil

cdef class PacketFile(FileReceiver):
    cdef readonly Dissector dissector
    cdef Line *line_table
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
    cdef int record(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int pcap_record(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int pcapng_block(self, Datagram *out, int64_t *ts) noexcept nogil
    cdef int section(self) noexcept nogil
    cdef int describe(self, const uint8_t *block, uint32_t length) noexcept nogil
    cdef int line_of(self, const Datagram *datagram) noexcept nogil
    cdef int search(self, const Datagram *datagram) noexcept nogil
    cdef int next_udp(self, Datagram *out, int64_t *ts, bint patient) noexcept nogil

cdef class BinaryFile(FileReceiver):
    cdef readonly uint64_t messages
    cdef bint marked                        # the mark of the end has been handed on

    cdef void look_behind(self) noexcept nogil

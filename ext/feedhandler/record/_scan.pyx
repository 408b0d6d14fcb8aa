"""A recorded file read again by who wrote it: what is whole in it, and how much of each line. For taking up after a crash.

Only what the encoder writes is known here: pcapng of one section, little-endian, or pcap with times in ns; frames with the
headers of record_frame.h. Hostile bytes are read no further than they are there; the first block that is not whole or not
ours ends the walk.
"""
cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport Packet
from feedhandler._wire cimport fh_be16, fh_le16, fh_le32
from feedhandler.recording._sequences cimport Sequences

cdef enum:
    SCAN_LINES = 64
    SECTION = 0x0A0D0D0A
    INTERFACE = 1
    STATISTICS = 5
    PACKET = 6
    PCAP_HEAD = 24
    LARGEST = 1 << 20           # of a block: more is damage

cdef struct Found:
    uint64_t packets
    uint64_t bytes
    uint64_t lost
    int64_t first_ts
    int64_t last_ts


@cython.final
cdef class Scan:
    """Scan(pcapng, places, sequences): `places`, of pcap, where each line's packets go to: (address, port) as in the frame.

    Of streams the server's, where they come from. walk() goes through a piece of a file that begins at a block; what it
    leaves over belongs in front of the next piece. `sequences` sees the packets, of streams from a new connection on.
    """
    cdef readonly bint pcapng
    cdef readonly int lines
    cdef readonly bint damaged              # the walk has ended at something that is no block of ours
    cdef readonly int64_t blocks
    cdef list places
    cdef Sequences sequences
    cdef bint begun[SCAN_LINES]             # streams: a connection has begun, so it is known where messages begin
    cdef Found found[SCAN_LINES]

    def __cinit__(self, bint pcapng, list places not None, Sequences sequences=None):
        cdef int line
        if not 1 <= len(places) <= SCAN_LINES:
            raise ValueError(f"a file has 1 to {SCAN_LINES} lines, not {len(places)}")
        self.pcapng = pcapng
        self.lines = len(places)
        self.places = list(places)
        self.sequences = sequences
        for line in range(SCAN_LINES):
            self.found[line].first_ts = INT64_MAX
            self.found[line].last_ts = INT64_MIN

    def counts(self, int line):
        """What was found of a line: (packets, bytes, lost, first_ts, last_ts); times are None where there is no packet.

        Lost: said in comments to be missing before packets.
        """
        if not 0 <= line < self.lines:
            raise IndexError(f"line must be 0 to {self.lines - 1}, not {line}")
        cdef Found *own = &self.found[line]
        return (own.packets, own.bytes, own.lost, own.first_ts if own.packets else None,
                own.last_ts if own.packets else None)

    def walk(self, const uint8_t[::1] data not None, bint start=False):
        """The bytes of `data` that are whole blocks. `start`: it is the beginning of the file."""
        cdef int64_t at = 0, size = data.shape[0], length
        if start and not self.pcapng:
            if size < PCAP_HEAD or fh_le32(&data[0]) != 0xA1B23C4D:
                self.damaged = size >= PCAP_HEAD
                return 0
            at = PCAP_HEAD
        while not self.damaged:
            length = self.block(&data[0] + at if at < size else NULL, size - at)
            if length <= 0:
                break
            at += length
            self.blocks += 1
        return at

    cdef int64_t block(self, const uint8_t *at, int64_t left) except -1:
        """The bytes of the block at `at`; 0: it is not whole, or none."""
        cdef uint32_t length, kind, captured, interface
        cdef int64_t ts
        if not self.pcapng:
            if left < 16:
                return 0
            captured = fh_le32(at + 8)
            if captured != fh_le32(at + 12) or captured > LARGEST or fh_le32(at + 4) >= 1000000000:
                self.damaged = True
                return 0
            if left < 16 + <int64_t> captured:
                return 0
            ts = <int64_t> fh_le32(at) * 1000000000 + fh_le32(at + 4)
            self.frame(self.whose(at + 16, captured), ts, at + 16, captured)
            return 16 + captured
        if left < 12:
            return 0
        kind, length = fh_le32(at), fh_le32(at + 4)
        if length < 12 or length & 3 or length > LARGEST or kind not in (SECTION, INTERFACE, STATISTICS, PACKET):
            self.damaged = True
            return 0
        if left < <int64_t> length:
            return 0
        if fh_le32(at + length - 4) != length:
            self.damaged = True
            return 0
        if kind == PACKET:
            if length < 32:
                self.damaged = True
                return 0
            interface, captured = fh_le32(at + 8), fh_le32(at + 20)
            if interface >= <uint32_t> self.lines or captured > length - 32:
                self.damaged = True
                return 0
            ts = <int64_t> (<uint64_t> fh_le32(at + 12) << 32 | fh_le32(at + 16))
            self.frame(<int> interface, ts, at + 28, captured)
            self.comments(<int> interface, at + 28 + ((captured + 3) & ~<uint32_t> 3), at + length - 4)
        return length

    cdef int whose(self, const uint8_t *frame, uint32_t length) except -2:
        """The line that a frame is of, by its addresses; -1: none."""
        cdef bint six, tcp
        cdef uint32_t transport, address
        if length < 42:
            return -1
        six = (frame[14] >> 4) == 6
        transport = 54 if six else 34
        if length < transport + 8:
            return -1
        tcp = (frame[20] if six else frame[23]) == 6
        if tcp:
            address = 22 if six else 26
            place = (frame[address:address + (16 if six else 4)], fh_be16(frame + transport))
        else:
            address = 38 if six else 30
            place = (frame[address:address + (16 if six else 4)], fh_be16(frame + transport + 2))
        try:
            return self.places.index(place)
        except ValueError:
            return -1

    cdef void frame(self, int line, int64_t ts, const uint8_t *frame, uint32_t length) noexcept:
        """Count a packet: a datagram, or a segment that carries bytes."""
        cdef Found *own
        cdef bint six, tcp
        cdef uint32_t head
        cdef Packet packet
        if line < 0 or length < 42:
            return
        own = &self.found[line]
        six = (frame[14] >> 4) == 6
        tcp = (frame[20] if six else frame[23]) == 6
        head = (54 if six else 34) + (20 if tcp else 8)
        if length < head:
            return
        if tcp and length == head:
            if frame[head - 20 + 13] & 2 and self.sequences is not None:
                self.begun[line] = True             # SYN
                self.sequences.connected(<uint32_t> line)
            return
        if self.sequences is not None and (self.begun[line] or not tcp):
            packet.data = frame + head
            packet.len = length - head
            packet.line = <uint32_t> line
            packet.ts_recv = ts
            self.sequences.saw(&packet)
        own.packets += 1
        own.bytes += length - head
        if ts < own.first_ts:
            own.first_ts = ts
        if ts > own.last_ts:
            own.last_ts = ts

    cdef void comments(self, int line, const uint8_t *at, const uint8_t *end) noexcept:
        """What the options of a packet say to be missing before it."""
        cdef uint16_t code, size
        cdef uint64_t number
        cdef uint32_t i
        while end - at >= 4:
            code, size = fh_le16(at), fh_le16(at + 2)
            at += 4
            if code == 0 or end - at < size:
                return
            number, i = 0, 0
            while i < size and i < 10 and 48 <= at[i] <= 57:
                number = number * 10 + at[i] - 48
                i += 1
            if code == 1 and i and size - i > 10 and at[i:i + 10] == b" packets (":
                self.found[line].lost += number
            at += (size + 3) & ~3

"""Streams out of captured TCP segments: each line's bytes in order, as its receiver had them.

Of a line the server's side is read: what came again is passed over, what came before its turn waits, at most HELD_MAX
segments and ARENA bytes of it, and goes out with the time of the segment that it waited for. A hole that is still open
then is a hole for good: it is named, the line is down, and nothing behind it is handed on until a connection begins
anew, for no framing finds its place again in the middle of a stream.

`LineStatus.connections` moves at SYN, and a line is down from FIN or RST on; both only between two polls, so that all
packets of a poll belong to the connection that is the last one when it returns. Of several connections to a server at
once one is followed, unless the same client begins another.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy
from feedhandler._records cimport LINE_DOWN, LINE_UP
from feedhandler.receive._datagram cimport Address, Datagram
from feedhandler.receive._receiver cimport LineStatus

cdef enum:
    TCP_FIN = 1
    TCP_SYN = 2
    TCP_RST = 4


cdef inline int32_t ahead(uint32_t number, uint32_t of) noexcept nogil:
    return <int32_t> (number - of)          # TCP's numbers wrap around


cdef inline bint same(const Address *a, const Address *b) noexcept nogil:
    return a.low == b.low and a.high == b.high


cdef class Reassembly:
    """Reassembly(lines, streams): of so many lines those of these numbers are streams. One for a chain of files."""

    def __cinit__(self, int lines, streams):
        cdef Flow *flow
        cdef int line
        self.lines = lines
        self.holes = []
        self.flows = <Flow **> calloc(max(1, lines), sizeof(Flow *))
        if self.flows == NULL:
            raise MemoryError()
        for line in streams:
            if not 0 <= line < lines:
                raise ValueError(f"there are {lines} lines, no number {line}")
            if self.flows[line] != NULL:
                continue
            flow = <Flow *> calloc(1, sizeof(Flow))
            if flow == NULL:
                raise MemoryError()
            self.flows[line] = flow
            flow.arena = <uint8_t *> malloc(ARENA)
            if flow.arena == NULL:
                raise MemoryError()

    def __dealloc__(self):
        cdef int line
        if self.flows != NULL:
            for line in range(self.lines):
                if self.flows[line] != NULL:
                    free(self.flows[line].arena)
                    free(self.flows[line])
            free(self.flows)

    def statistics(self, int line):
        """What came of the segments of a line; None of one that is no stream."""
        if not 0 <= line < self.lines or self.flows[line] == NULL:
            return None
        cdef Flow *flow = self.flows[line]
        return {"repeated_bytes": flow.repeated, "swapped": flow.swapped, "holes": flow.holes,
                "missing_bytes": flow.missing, "behind_bytes": flow.behind, "others": flow.others,
                "joined": flow.joined}

    def settle(self):
        """Nothing more comes: what still waits behind a hole waits for good. The lines of which that is so."""
        cdef int line
        found = []
        for line in range(self.lines):
            if self.flows[line] != NULL and self.flows[line].held and not self.flows[line].broken:
                self.give_up(line, self.latest)
                found.append(line)
        return found

    cdef bint takes(self, int line) noexcept nogil:
        """Is this line a stream?"""
        return line >= 0 and self.flows[line] != NULL

    cdef bint down(self, int line) noexcept nogil:
        """Has the line had a connection, and has none that bytes can come of?"""
        cdef Flow *flow = self.flows[line]
        return flow != NULL and flow.known and (flow.ended or flow.broken)

    cdef int offer(self, int line, const Datagram *segment, int64_t ts, bint patient, LineStatus *status,
                   Datagram *out) noexcept nogil:
        """A segment of the line's server. `patient`: nothing is lent out. `segment` may be `out`."""
        cdef Flow *flow = self.flows[line]
        cdef bint present = (flow.known and flow.client_port == segment.target_port
                             and same(&flow.client, &segment.target))
        cdef int32_t delta
        self.latest = ts
        if segment.flags & TCP_SYN:
            if present and not flow.ended and flow.begun == segment.number + 1:
                return SEGMENT_NOTHING      # it came again
            if flow.known and not present and not flow.ended and not same(&flow.client, &segment.target):
                flow.others += 1
                return SEGMENT_NOTHING
            if not patient:
                return SEGMENT_NOT_NOW
            self.begin(flow, segment, segment.number + 1, status + line)
            return SEGMENT_NOTHING
        if not present:
            if flow.known and not flow.ended:
                flow.others += 1
                return SEGMENT_NOTHING
            if segment.len == 0:
                return SEGMENT_NOTHING
            if not patient:
                return SEGMENT_NOT_NOW
            self.begin(flow, segment, segment.number, status + line)
            flow.joined += 1
        if flow.ended or flow.broken:
            flow.behind += segment.len
            if segment.flags & (TCP_FIN | TCP_RST):
                flow.ended = True
            return SEGMENT_NOTHING
        if segment.flags & TCP_RST:
            flow.closing = True
            flow.last = flow.expected
            self.pending = True
            return SEGMENT_NOTHING
        if segment.flags & TCP_FIN:
            flow.closing = True
            flow.last = segment.number + segment.len
            self.pending = True
        if segment.len == 0:
            return SEGMENT_NOTHING
        delta = ahead(segment.number, flow.expected)
        if delta > 0:
            self.hold(flow, segment)
            return SEGMENT_NOTHING
        if <int64_t> delta + segment.len <= 0:
            flow.repeated += segment.len
            return SEGMENT_NOTHING
        flow.repeated += <uint64_t> -delta
        out.payload = segment.payload - delta
        out.len = segment.len - <uint32_t> -delta
        flow.expected += out.len
        if flow.held:
            self.pending = True
        return SEGMENT_RUN

    cdef int ready(self, int64_t ts, bint patient, LineStatus *status, Datagram *out, int *line) noexcept nogil:
        """What waited, and need not wait any more: to be called until it has nothing, before the next segment."""
        cdef Flow *flow
        cdef Held *held
        cdef int number, i
        cdef uint32_t skip
        for number in range(self.lines):
            flow = self.flows[number]
            if flow == NULL or not flow.known or flow.ended or flow.broken:
                continue
            i = 0
            while i < flow.held:
                held = &flow.segments[i]
                if ahead(held.number, flow.expected) > 0:
                    i += 1
                    continue
                skip = flow.expected - held.number
                if skip >= held.len:
                    flow.repeated += held.len
                    flow.held -= 1
                    held[0] = flow.segments[flow.held]
                    continue
                flow.repeated += skip
                out.payload = flow.arena + held.at + skip
                out.len = held.len - skip
                flow.expected += out.len
                flow.held -= 1
                held[0] = flow.segments[flow.held]
                line[0] = number
                return SEGMENT_RUN
            if flow.closing and flow.held == 0 and flow.expected == flow.last:
                if not patient:
                    return SEGMENT_NOT_NOW
                flow.ended = True
                status[number].state = LINE_DOWN
            elif flow.giving_up:
                if not patient:
                    return SEGMENT_NOT_NOW
                self.give_up(number, ts)
                status[number].state = LINE_DOWN
        self.pending = False
        return SEGMENT_NOTHING

    cdef void release(self) noexcept nogil:
        """What was handed out is not needed any more."""
        cdef int line
        for line in range(self.lines):
            if self.flows[line] != NULL and self.flows[line].held == 0:
                self.flows[line].used = 0

    cdef void begin(self, Flow *flow, const Datagram *segment, uint32_t first, LineStatus *status) noexcept nogil:
        """Another connection. Called between two polls only."""
        if flow.known and not flow.ended and flow.held:
            flow.behind += flow.used
        flow.client = segment.target
        flow.client_port = segment.target_port
        flow.known = True
        flow.ended = flow.broken = flow.giving_up = flow.closing = False
        flow.expected = flow.begun = first
        flow.held = 0
        flow.used = 0
        status.connections += 1
        status.state = LINE_UP

    cdef void hold(self, Flow *flow, const Datagram *segment) noexcept nogil:
        """Keep a segment that came before its turn."""
        cdef Held *held
        cdef int i
        for i in range(flow.held):
            if flow.segments[i].number == segment.number and flow.segments[i].len >= segment.len:
                flow.repeated += segment.len
                return
        flow.swapped += 1
        if flow.giving_up or flow.held == HELD_MAX or flow.used + segment.len > ARENA:
            flow.behind += segment.len
            flow.giving_up = self.pending = True
            return
        held = &flow.segments[flow.held]
        held.number = segment.number
        held.len = segment.len
        held.at = flow.used
        memcpy(flow.arena + flow.used, segment.payload, segment.len)
        flow.used += segment.len
        flow.held += 1

    cdef void give_up(self, int line, int64_t ts) noexcept nogil:
        """The first hole stays open."""
        cdef Flow *flow = self.flows[line]
        cdef int i
        cdef uint32_t size = 0
        for i in range(flow.held):
            if size == 0 or <uint32_t> ahead(flow.segments[i].number, flow.expected) < size:
                size = <uint32_t> ahead(flow.segments[i].number, flow.expected)
            flow.behind += flow.segments[i].len
        flow.broken = True
        flow.giving_up = False
        flow.held = 0
        flow.holes += 1
        flow.missing += size
        with gil:
            if len(self.holes) < HOLES_NAMED:
                self.holes.append((line, ts, flow.expected - flow.begun, size))

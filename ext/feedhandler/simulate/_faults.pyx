"""The faults of one line, packet by packet, decided by seeded draws and by nothing else.

Theory: each kind of fault has random numbers of its own, drawn once a packet whether or not another fault strikes it
too. So the loss of a line stays the same, packet for packet, when duplication is added to the script; and what strikes
all lines at once (upstream) needs no word between them: each draws the same.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from feedhandler._wire cimport fh_be16, fh_le16, fh_put_be16, fh_put_le16

cdef enum:                      # which draws are whose
    UPSTREAM_LOSS = 0
    UPSTREAM_BURST = 1
    LOSS = 2
    BURST = 3
    HEARTBEAT = 4
    DUPLICATE = 5
    REORDER = 6
    JITTER = 7
    TRUNCATE = 8
    CORRUPT = 9
    CHECKSUM = 10

cdef enum:
    MOLD_HEADER = 20
    MOLD_COUNT = 18
    IEX_HEADER = 40
    IEX_LENGTH = 12
    IEX_COUNT = 14
    US = 1000

FRAMINGS = ("moldudp64", "iextp")


class WrongChecksum(bytes):
    """A packet as it was sent, in a frame whose UDP checksum is wrong."""


@cython.final
cdef class LineFaults:
    """The faults of one line. `settings` and `upstream` have the fields of LineFault and Upstream, in faults.py.

    `delay_ns` is what comes on top of the settings' own delay; each of `outages` is (first, length, every, by_packets),
    in ns or packets since the first one, `every` 0 for once. `line` chooses the draws. `framing` is moldudp64 or iextp:
    how packets are spoiled, and what a heartbeat is. `frames`: a frame whose UDP checksum is wrong arrives, as
    WrongChecksum; otherwise it is lost, as the kernel drops it.
    """

    def __cinit__(self, settings, upstream, outages, *, uint64_t seed, int line, int64_t delay_ns=0, framing="moldudp64",
                  bint frames=False):
        cdef int i
        for i in range(DRAWS):                  # upstream: the same draws on every line
            fh_random_seed(&self.draws[i], mixed(seed, 0 if i <= UPSTREAM_BURST else <uint64_t> line + 1, i))
        self.loss, self.upstream_loss = settings.loss, upstream.loss
        self.burst = burst_of(settings.burst_loss, settings.burst_packets)
        self.upstream_burst = burst_of(upstream.burst_loss, upstream.burst_packets)
        self.heartbeat_loss = settings.heartbeat_loss
        self.duplicate, self.duplicate_late = settings.duplicate, round(settings.duplicate_us * US)
        self.reorder, self.reorder_distance = settings.reorder, settings.reorder_packets
        self.reorder_late = round(settings.reorder_us * US)
        self.delay, self.jitter = delay_ns + round(settings.delay_us * US), round(settings.jitter_us * US)
        self.truncate, self.corrupt = settings.truncate, settings.corrupt
        self.wrong_checksum, self.frames = settings.wrong_checksum, frames
        if framing not in FRAMINGS or len(outages) > OUTAGES or line < 0:
            raise ValueError(f"a framing of {FRAMINGS}, at most {OUTAGES} outages, a line from 0")
        self.little_endian = framing == "iextp"
        for first, length, every, by_packets in outages:
            self.outages[self.outage_count] = Outage(first, length, every, by_packets)
            self.outage_count += 1
        self.first = -1
        self.waiting = {}

    # ---- one packet ----

    cdef int step(self, int64_t ts, uint64_t place, uint32_t length, bint heartbeat, Copy *out) noexcept nogil:
        """What packet `place`, sent at `ts`, does on this line: copies written to `out`, at most COPIES_MAX.

        Copies are in the order in which they were made; `due` says when each arrives. Packets held back come with the
        one that is the last to pass them.
        """
        cdef int n = 0, i
        cdef bint lost, held, dropped = False
        cdef uint64_t late
        cdef int64_t base
        cdef Copy copy
        if self.first < 0:
            self.first = ts
        copy.due, copy.place, copy.length, copy.spoil = ts + self.delay, place, length, 0
        if self.jitter > 0:                     # a queue: late, never out of order
            copy.due = max(copy.due + self.up_to(fh_random(&self.draws[JITTER]), self.jitter), self.last_due)
            self.last_due = copy.due
        base = copy.due
        lost = self.chance(UPSTREAM_LOSS, self.upstream_loss)
        lost = self.in_burst(UPSTREAM_BURST, &self.upstream_burst) or lost
        lost = self.chance(LOSS, self.loss) or lost
        lost = self.in_burst(BURST, &self.burst) or lost
        lost = (self.chance(HEARTBEAT, self.heartbeat_loss) and heartbeat) or lost
        lost = self.is_out(ts - self.first) or lost
        self.packets += 1
        self.lost += lost
        # the draws of these are made for lost packets, too
        if self.chance(TRUNCATE, self.truncate):
            late = fh_random(&self.draws[TRUNCATE])
            if length > 1:
                copy.length = 1 + <uint32_t> self.up_to(late, <int64_t> length - 2)
                self.truncated += not lost
        if self.chance(CORRUPT, self.corrupt):
            late = fh_random(&self.draws[CORRUPT]) | 1
            if copy.length == length and length + SPOIL_ROOM <= PACKET_MAX:
                copy.spoil = late
                self.corrupted += not lost
        if self.chance(CHECKSUM, self.wrong_checksum) and not lost:
            self.wrong_checksums += 1
            if self.frames:
                copy.length, copy.spoil = length, WRONG_CHECKSUM_ONLY
            else:
                dropped = True
        held = False
        if self.chance(REORDER, self.reorder):
            late = fh_random(&self.draws[REORDER])
            if not lost and self.reorder_late > 0:
                copy.due += 1 + self.up_to(late, self.reorder_late - 1)
                self.reordered += 1
            elif not lost and not dropped and self.held_count < HELD:
                held = True
                self.held[self.held_count] = copy
                self.left[self.held_count] = 2 + <int> self.up_to(late, self.reorder_distance - 1)
                self.held_count += 1
                self.reordered += 1
        if not lost and not held and not dropped:
            out[n] = copy
            n += 1
        if self.chance(DUPLICATE, self.duplicate):
            late = fh_random(&self.draws[DUPLICATE])
            if not lost:
                self.duplicated += 1
                out[n].due = copy.due + self.up_to(late, self.duplicate_late)
                out[n].place, out[n].length, out[n].spoil = place, length, 0
                n += 1
        for i in range(self.held_count):        # this packet has passed; those that waited for it follow
            self.left[i] -= 1
        i = 0
        while i < self.held_count:
            if self.left[i] == 0:
                self.release(i, base, &out[n])
                n += 1
            else:
                i += 1
        return n

    cdef inline void release(self, int i, int64_t due, Copy *out) noexcept nogil:
        out[0] = self.held[i]
        out.due = max(due, out.due)
        self.held_count -= 1
        for i in range(i, self.held_count):
            self.held[i], self.left[i] = self.held[i + 1], self.left[i + 1]

    cdef int flush_held(self, int64_t ts, Copy *out) noexcept nogil:
        """At the end: whatever is still held back, at most HELD copies."""
        cdef int n = 0
        while self.held_count > 0:
            self.release(0, ts + self.delay, &out[n])
            n += 1
        return n

    cdef inline bint chance(self, int kind, double probability) noexcept nogil:
        return probability > 0 and <double> (fh_random(&self.draws[kind]) >> 11) * 2.0 ** -53 < probability

    cdef inline int64_t up_to(self, uint64_t draw, int64_t most) noexcept nogil:
        """0 to `most`, out of one draw."""
        return <int64_t> (draw % <uint64_t> (most + 1)) if most > 0 else 0

    cdef inline bint in_burst(self, int kind, Burst *burst) noexcept nogil:
        """Gilbert's channel: good and bad stretches of geometric length; everything in a bad one is lost."""
        if burst.begins > 0:
            burst.on = not self.chance(kind, burst.ends) if burst.on else self.chance(kind, burst.begins)
        return burst.on

    cdef bint is_out(self, int64_t since) noexcept nogil:
        cdef int i
        cdef int64_t at
        for i in range(self.outage_count):
            at = (<int64_t> self.packets if self.outages[i].by_packets else since) - self.outages[i].first
            if at >= 0 and (at % self.outages[i].every if self.outages[i].every > 0 else at) < self.outages[i].length:
                return True
        return False

    # ---- bytes that do not add up ----

    cdef bint is_heartbeat(self, const uint8_t *data, uint32_t length) noexcept nogil:
        if self.little_endian:
            return length == IEX_HEADER and fh_le16(data + IEX_COUNT) == 0
        return length == MOLD_HEADER and fh_be16(data + MOLD_COUNT) == 0

    cdef uint32_t spoil(self, const uint8_t *data, uint32_t length, uint64_t draw, uint8_t *out) noexcept nogil:
        """A spoiled copy at `out`, which has room for SPOIL_ROOM bytes more; its length. It never adds up."""
        cdef uint32_t header = IEX_HEADER if self.little_endian else MOLD_HEADER
        cdef uint32_t at = IEX_COUNT if self.little_endian else MOLD_COUNT
        cdef uint32_t way = <uint32_t> (draw >> 8) % 3, blocks, i
        cdef uint16_t by = <uint16_t> (1 + (draw >> 16) % 40)
        memcpy(out, data, length)
        if length >= header + 2 and way < 2:
            if way == 1:                        # the length of one of its messages, else the count
                blocks = self.load(data, at)
                at = header
                for i in range(<uint32_t> (draw >> 32) % blocks if blocks > 0 else 0):
                    if at + 2 + self.load(data, at) + 2 > length:
                        break
                    at += 2 + self.load(data, at)
            self.store(out, at, <uint16_t> (self.load(out, at) + (by if draw >> 60 & 1 else -by)))
            if not self.adds_up(out, length):
                return length
            memcpy(out, data, length)
        memset(out + length, <int> (draw >> 24 & 255), SPOIL_ROOM)
        return length + 1 + <uint32_t> (draw >> 40) % SPOIL_ROOM

    cdef inline uint32_t load(self, const uint8_t *data, uint32_t at) noexcept nogil:
        return fh_le16(data + at) if self.little_endian else fh_be16(data + at)

    cdef inline void store(self, uint8_t *data, uint32_t at, uint16_t value) noexcept nogil:
        if self.little_endian:
            fh_put_le16(data + at, value)
        else:
            fh_put_be16(data + at, value)

    cdef bint adds_up(self, const uint8_t *data, uint32_t length) noexcept nogil:
        """Whether count, lengths and bytes agree, by chance or not."""
        cdef uint32_t at = IEX_HEADER if self.little_endian else MOLD_HEADER
        cdef uint32_t count = self.load(data, IEX_COUNT if self.little_endian else MOLD_COUNT), i
        if self.little_endian and self.load(data, IEX_LENGTH) != length - at:
            return False
        if not self.little_endian and count == 0xFFFF:
            count = 0
        for i in range(count):
            if at + 2 > length:
                return False
            at += 2 + self.load(data, at)
        return at == length

    # ---- for Python ----

    def offer(self, int64_t ts, bytes payload not None):
        """(time of arrival, bytes) of all that comes because of this packet, in the order in which it was made."""
        cdef Copy copies[COPIES_MAX]
        cdef uint64_t place = self.packets
        cdef uint32_t length = <uint32_t> len(payload)
        cdef const uint8_t *data = payload
        cdef int held = self.held_count
        cdef int n = self.step(ts, place, length, self.is_heartbeat(data, length), copies)
        if n == 1 and self.held_count == held and copies[0].place == place and copies[0].length == length and copies[0].spoil == 0:
            return [(copies[0].due, payload)]   # as nearly always
        if n == 0 and self.held_count == held:
            return []
        self.waiting[place] = payload
        return self.given(copies, n, place)

    def flush(self, int64_t ts):
        """As offer(), at the end: what is still held back."""
        cdef Copy copies[COPIES_MAX]
        return self.given(copies, self.flush_held(ts, copies), self.packets)

    cdef list given(self, Copy *copies, int n, uint64_t place):
        cdef list out = []
        cdef int i
        for i in range(n):
            out.append((copies[i].due, self.bytes_of(&copies[i], self.waiting[copies[i].place])))
        kept = set()
        for i in range(self.held_count):
            kept.add(self.held[i].place)
        for i in range(n):
            if copies[i].place not in kept:
                self.waiting.pop(copies[i].place, None)
        if place not in kept:
            self.waiting.pop(place, None)
        return out

    cdef object bytes_of(self, Copy *copy, bytes payload):
        cdef bytearray room
        cdef uint32_t length
        if copy.spoil == 0:
            return payload[:copy.length]
        if copy.spoil == WRONG_CHECKSUM_ONLY:
            return WrongChecksum(payload[:copy.length])
        room = bytearray(copy.length + SPOIL_ROOM)
        length = self.spoil(payload, copy.length, copy.spoil, room)
        return bytes(room[:length])


def spoiled(bytes payload not None, uint64_t draw, *, framing="moldudp64"):
    """The packet with lengths or counts that do not add up; `draw` chooses how."""
    from feedhandler.simulate.faults import LineFault, Upstream

    cdef LineFaults maker = LineFaults(LineFault(), Upstream(), (), seed=0, line=0, framing=framing)
    cdef Copy copy
    copy.length, copy.spoil = <uint32_t> len(payload), draw | 1
    return maker.bytes_of(&copy, payload)


cdef uint64_t mixed(uint64_t seed, uint64_t line, uint64_t kind) noexcept:
    """A seed for each line and kind of fault: splitmix64's finish of the three."""
    cdef uint64_t z = seed * <uint64_t> 0x9E3779B97F4A7C15 + line * <uint64_t> 0xD1342543DE82EF95 + kind + 1
    z = (z ^ z >> 30) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ z >> 27) * <uint64_t> 0x94D049BB133111EB
    return z ^ z >> 31


cdef Burst burst_of(double share, double packets):
    """Probabilities that give this share of lost packets in stretches of this mean length."""
    cdef Burst burst = Burst(0, 0, False)
    burst.on = False
    burst.ends = 1 / packets
    burst.begins = min(1.0, share / (1 - share) / packets) if share > 0 else 0
    return burst

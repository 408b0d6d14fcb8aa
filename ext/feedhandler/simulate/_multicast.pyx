"""Packets onto UDP lines: MoldUDP64 made from a feed's messages, or a capture's packets as they were.

Theory: packets are put once into a ring, with the time at which they are due; every line walks that ring with a place
of its own and sends what is due on it, its delay included. So the lines carry the same packets, each in its own time.
A line under a script of faults offers each packet to its FaultyLine and sends what comes back, when it is due; the other
lines do not notice. Before a packet goes into the ring, taps have seen its messages: a server that is asked for what the
wire has just carried has it.

A turn of this is made whenever something is due, by the one thread of run(), or by one of several that spin: whoever is
on its CPU just then claims it (`claim.h`), sends, and says when the next one is due. Everything below is the holder's
alone, so the order is that of one thread. Who made the last turn has it all in its caches, so the others let it go first
for HAND_OVER_NS: they send when it is late, because the host or another program has its CPU.

Waiting: `spin` looks at the clock without pause for the last millisecond before something is due; without it the thread
sleeps until shortly before. `real_time` sleeps whenever it can, however shortly: a SCHED_FIFO thread that never does is
stopped by the kernel for 50 ms in each second. The error of each packet is counted from when it was due to the return of the call that
carried it, so that a packet of a batch bears what the batch took: an upper bound.
"""
cimport cython
from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from feedhandler._claim cimport FH_CLAIM_OVER, FH_CLAIM_TAKEN, fh_claim_leave, fh_claim_look, fh_claim_take
from feedhandler._flags cimport fh_flag_load, fh_flag_store
from feedhandler._records cimport Packet
from feedhandler._seqlock cimport fh_pause
from feedhandler._wire cimport fh_put_be16, fh_put_be64
from feedhandler.receive._receiver cimport Receiver
from feedhandler.simulate._faults cimport SPOIL_ROOM, LineFaults
from feedhandler.simulate._faulty_line cimport FaultyLine, Pending
from feedhandler.simulate._feed cimport NEVER, Feed
from feedhandler.simulate._schedule cimport NOT_NOW, Schedule
from feedhandler.simulate._store cimport Tap

import os

from feedhandler.errors import ConfigError, ReceiverError

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/socket.h>
    #include <time.h>
    """

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    struct mmsghdr:
        msghdr msg_hdr
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)
    int MSG_DONTWAIT

cdef extern from "<time.h>" nogil:
    int clock_nanosleep(int clock, int flags, const timespec *request, timespec *remain)
    int TIMER_ABSTIME

cdef enum:
    SLOTS = 65536               # a power of two; packets between the fastest and the slowest line
    DATA = 1 << 24              # a power of two; bytes of these packets
    PACKET_ROOM = 65536         # of one packet, whatever its size
    BATCH = 64
    LINES = 64                  # bits of Slot.lines
    HEADER = 20                 # of MoldUDP64
    END_OF_SESSION = 0xFFFF
    SPIN_NS = 60000             # shorter waits are not worth a sleep
    REAL_TIME_NS = 42000        # but to a real-time thread, which must leave the CPU now and then
    WAKE_EARLY_NS = 35000       # what such a thread wakes before something is due
    WAKE_NS = 1000000           # spinning: what is left of a longer wait when the thread wakes
    STOP_NS = 50000000          # the longest sleep: how soon stop() is noticed
    STARVED_NS = 20000          # until the next look at a source that has nothing ready
    HAND_OVER_NS = 2000         # by which a turn is late when another thread than the last one's may make it

cdef struct Slot:
    int64_t due                 # CLOCK_MONOTONIC, ns
    int64_t wanted              # when it was due by the schedule; NEVER = it is not in the schedule
    uint64_t begin              # of its bytes, counted from the first byte ever
    uint64_t lines              # bit per line
    uint32_t length
    uint32_t messages

cdef struct Line:
    int fd
    int64_t delay               # ns
    uint64_t place              # of the next slot in the ring
    uint64_t packets, bytes, messages, blocked, refused
    void *faulty                # the FaultyLine, or NULL; `faulty_lines` owns it


cdef inline int64_t clock() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t> t.tv_sec * 1000000000 + t.tv_nsec


@cython.final
cdef class PacketSender:
    """The compiled half of MulticastSender: sends on connected UDP sockets, which it does not own."""
    cdef Line lines[LINES]
    cdef int line_count
    cdef Slot *slots
    cdef uint8_t *data
    cdef uint64_t wrote                     # bytes ever
    cdef uint64_t head
    cdef mmsghdr headers[BATCH]
    cdef iovec vectors[BATCH]
    cdef uint8_t session[10]
    cdef uint64_t sequence                  # of the next message
    cdef uint32_t mtu
    cdef int64_t flush, heartbeat, end_interval
    cdef int end_repeats
    cdef int64_t last_made, last_flush, latest
    cdef uint64_t heartbeats, too_large
    cdef bint begun, ended
    cdef int stopping
    cdef uint8_t pad0[64]                   # who waits looks at the claim all the time: its cache line has nothing else
    cdef int64_t claim                      # of claim.h: when the next turn is due
    cdef uint8_t pad1[64]
    cdef Feed feed
    cdef Receiver receiver
    cdef Packet packets[BATCH]
    cdef int packet_at, packet_count
    cdef Schedule schedule
    cdef bint spin, real_time
    cdef bint starving
    cdef uint64_t starved                   # packets that were overdue when the source had them ready at last
    cdef Tap first_tap, second_tap
    cdef list faulty_lines
    cdef uint8_t *spoiled                   # where spoiled copies of one batch are made

    def __cinit__(self, fds, delays_ns, bytes session, *, int mtu=1400, int64_t flush_ns=100000,
                  int64_t heartbeat_ns=1000000000, int end_repeats=3, int64_t end_interval_ns=100000000, taps=(), faults=(),
                  bint spin=False, bint real_time=False):
        cdef int i
        cdef FaultyLine faulty
        if not 1 <= len(fds) <= LINES or len(delays_ns) != len(fds):
            raise ConfigError(f"simulate: 1 to {LINES} lines, each with its delay, not {len(fds)}")
        if len(session) != 10:
            raise ConfigError(f"simulate: a session has 10 characters, not {len(session)}")
        if not 100 <= mtu <= 65507:
            raise ConfigError(f"simulate: mtu must be 100 to 65507 bytes of UDP payload, not {mtu}")
        self.line_count = len(fds)
        for i in range(self.line_count):
            self.lines[i].fd = fds[i]
            self.lines[i].delay = delays_ns[i]
        memcpy(self.session, <const char *> session, 10)
        self.sequence = 1
        self.mtu = mtu
        self.flush, self.heartbeat = flush_ns, heartbeat_ns
        self.end_repeats, self.end_interval = end_repeats, end_interval_ns
        self.spin, self.real_time = spin, real_time
        self.slots = <Slot *> malloc(SLOTS * sizeof(Slot))
        self.data = <uint8_t *> malloc(DATA)
        if self.slots == NULL or self.data == NULL:
            raise MemoryError("simulate: no memory for the ring of packets")
        memset(self.slots, 0, SLOTS * sizeof(Slot))         # every page is there before the first packet is due
        memset(self.data, 0, DATA)
        if len(taps) > 2 or len(faults) not in (0, self.line_count):
            raise ConfigError("simulate: at most two taps, and faults for all lines or none")
        self.first_tap, self.second_tap = [*taps, Tap(), Tap()][:2]
        self.faulty_lines = []
        for i in range(len(faults)):
            faulty = FaultyLine(faults[i])
            self.faulty_lines.append(faulty)
            self.lines[i].faulty = <void *> faulty
        if faults:
            self.spoiled = <uint8_t *> calloc(BATCH, PACKET_ROOM + SPOIL_ROOM)
            if self.spoiled == NULL:
                raise MemoryError("simulate: no memory for spoiled packets")
        for i in range(BATCH):
            self.headers[i].msg_hdr.msg_iov = &self.vectors[i]
            self.headers[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        free(self.slots)
        free(self.data)
        free(self.spoiled)

    def take_feed(self, Feed feed not None):
        """What run() is to send: the messages of `feed` as MoldUDP64, and at the end that of the session."""
        self.feed, self.receiver = feed, None
        self.schedule = feed.kept

    def take_packets(self, Receiver receiver not None, Schedule schedule not None):
        """What run() is to send: the packets of `receiver` as they are, each on its line, when `schedule` says."""
        self.feed, self.receiver = None, receiver
        self.schedule = schedule

    def run(self):
        """Send all of it, until stop() is called, and return when the last packet has left.

        Where this spins, on any number of threads at once: each packet is sent by one of them.
        """
        cdef int rc
        with nogil:
            rc = self.take_turns()
        if rc < 0:
            raise ReceiverError(f"simulate: sending failed: {os.strerror(-rc)}")

    def stop(self):
        """End soon: what is under way is sent, then the end of the session. From any thread or a signal handler."""
        fh_flag_store(&self.stopping, 1)

    cdef int take_turns(self) noexcept nogil:
        """Make turns when they are due, unless another thread does, until all is sent; 0, or -errno if it failed here."""
        cdef int64_t now, due, own = -1
        cdef int rc
        while True:
            due = fh_claim_look(&self.claim)
            if due == FH_CLAIM_OVER:
                return 0
            now = clock()
            if due == FH_CLAIM_TAKEN:
                fh_pause()
            elif now < due or (due != own and now < due + HAND_OVER_NS):
                self.sleep(due, now)
            elif fh_claim_take(&self.claim, due):
                own = now + STOP_NS
                rc = self.turn(now, &own)
                fh_claim_leave(&self.claim, own if rc > 0 else FH_CLAIM_OVER)
                if rc <= 0:
                    return rc

    cdef int turn(self, int64_t now, int64_t *next_due) noexcept nogil:
        """Send what is due; `next_due` is brought forward to when to come again. 1, or 0: that was all, or -errno."""
        cdef int rc, i
        if not self.begun:
            self.begun = True
            self.last_made = self.last_flush = now
            if self.feed is not None:
                self.feed.begin(now)
        next_due[0] = min(next_due[0], self.gather(now))
        for i in range(self.line_count):
            if self.lines[i].faulty == NULL:
                rc = self.send(i, now, next_due)
            else:
                rc = self.send_faulty(i, now, next_due)
            if rc < 0:
                return rc
        return not (self.ended and self.slowest() == self.head)

    cdef uint64_t slowest(self) noexcept nogil:
        """From where on the ring must stay as it is; `head` when all was sent."""
        cdef uint64_t place = self.lines[0].place
        cdef int i
        for i in range(self.line_count):
            place = min(place, self.lines[i].place)
            if self.lines[i].faulty != NULL:
                place = min(place, (<FaultyLine> self.lines[i].faulty).oldest())
        return place

    cdef void sleep(self, int64_t until, int64_t now) noexcept nogil:
        """Let time pass, but wake early enough to be on time for what is due at `until`."""
        cdef timespec t
        if self.spin:
            if until - now < 2 * <int64_t> WAKE_NS:
                fh_pause()
                return
            until -= WAKE_NS
        elif self.real_time:
            if until - now < REAL_TIME_NS:
                return
            until -= WAKE_EARLY_NS
        else:
            if until - now < SPIN_NS:
                return
            until -= SPIN_NS // 2
        t.tv_sec = until // 1000000000
        t.tv_nsec = until % 1000000000
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)

    # ---- making packets ----

    cdef int64_t gather(self, int64_t now) noexcept nogil:
        """Put what is due into the ring; when to look again (`now` itself while there is more or no room)."""
        cdef int made = 0
        cdef uint64_t behind = self.slowest()
        if self.ended:
            return NEVER
        if fh_flag_load(&self.stopping):
            self.finish(now)
            return NEVER
        if self.receiver is None and now < self.last_flush + self.flush:    # awake for a line's sake only
            return self.next_look(now)
        while made < BATCH and self.fits(behind):
            if not (self.make_copy(now) if self.receiver is not None else self.make_packet(now)):
                break
            made += 1
        if made > 0:
            self.last_flush = now if made < BATCH else now - self.flush     # more is due already
        if made == BATCH or self.ended or not self.fits(behind):
            return now
        return self.next_look(now)

    cdef int64_t next_look(self, int64_t now) noexcept nogil:
        cdef int64_t due
        if self.receiver is not None:
            due = NEVER if self.ended else self.copy_due(now)
            return now + STARVED_NS if due == NOT_NOW else max(now, due)
        if self.fits(self.slowest()) and now - self.last_made >= self.heartbeat:
            self.make_control(now, 0)
            self.heartbeats += 1
        due = self.feed.due()
        if due == NEVER:
            self.finish(now)
            return now
        return min(max(due, self.last_flush + self.flush), self.last_made + self.heartbeat)

    cdef inline bint fits(self, uint64_t behind) noexcept nogil:
        """Whether one more packet has room, while all from slot `behind` on must stay."""
        cdef uint64_t oldest = self.slots[behind & (SLOTS - 1)].begin if behind != self.head else self.wrote
        return self.head - behind < SLOTS and self.wrote - oldest <= DATA - 2 * PACKET_ROOM

    cdef inline uint8_t *room(self) noexcept nogil:
        """Where the next packet's bytes go: in one piece."""
        if DATA - (self.wrote & (DATA - 1)) < PACKET_ROOM:
            self.wrote += DATA - (self.wrote & (DATA - 1))
        return self.data + (self.wrote & (DATA - 1))

    cdef inline uint8_t *bytes_of(self, uint64_t place) noexcept nogil:
        return self.data + (self.slots[place & (SLOTS - 1)].begin & (DATA - 1))

    cdef void put(self, int64_t due, int64_t wanted, uint32_t length, uint32_t messages, uint64_t lines) noexcept nogil:
        """The packet in room() is made."""
        cdef Slot *slot = &self.slots[self.head & (SLOTS - 1)]
        slot.due, slot.wanted, slot.length, slot.messages, slot.lines = due, wanted, length, messages, lines
        slot.begin = self.wrote
        self.wrote += (length + 63) & ~<uint64_t> 63        # a cache line is one packet's only
        self.head += 1
        self.last_made = due

    cdef bint make_packet(self, int64_t now) noexcept nogil:
        """One MoldUDP64 packet of messages that are due, filled as far as the MTU lets it."""
        cdef uint8_t *out = self.room()
        cdef uint32_t messages = 0, length, single
        cdef int64_t due = self.feed.due()
        if due > now:
            return False
        length = self.feed.pack(now, out + HEADER, self.mtu - HEADER, &messages)
        if messages == 0:                                   # larger than the MTU: a packet of its own, fragmented by IP
            self.feed.peek(&single)
            length = self.feed.pack(now, out + HEADER, min(single + 2, <uint32_t> (65507 - HEADER)), &messages)
            if messages == 0:
                self.too_large += 1
                self.feed.advance()
                return True
        self.latest = max(self.latest, now - due)
        self.first_tap.take(out + HEADER, length)
        self.second_tap.take(out + HEADER, length)
        self.head_of(out, messages)
        self.sequence += messages
        self.put(now, due, HEADER + length, messages, ~<uint64_t> 0)
        return True

    cdef inline void head_of(self, uint8_t *out, uint32_t count) noexcept nogil:
        memcpy(out, self.session, 10)
        fh_put_be64(out + 10, self.sequence)
        fh_put_be16(out + 18, <uint16_t> count)

    cdef void make_control(self, int64_t due, uint32_t count) noexcept nogil:
        """A heartbeat (0) or the end of the session."""
        self.head_of(self.room(), count)
        self.put(due, NEVER, HEADER, 0, ~<uint64_t> 0)

    cdef void finish(self, int64_t now) noexcept nogil:
        cdef int i
        self.ended = True
        if self.receiver is None:
            for i in range(self.end_repeats):
                if self.fits(self.slowest()):
                    self.make_control(now + i * self.end_interval, END_OF_SESSION)

    cdef int64_t copy_due(self, int64_t now) noexcept nogil:
        """When the next packet is due; NOT_NOW: its time is not known yet; NEVER: there is none."""
        cdef int64_t due
        if self.packet_at == self.packet_count:
            if self.packet_count > 0:
                self.receiver.release()
            self.packet_at = 0
            self.packet_count = self.receiver.poll(self.packets, BATCH)
            if self.packet_count <= 0:
                if self.packet_count == 0:
                    self.starving = True
                    return NOT_NOW
                self.packet_count = 0
                return NEVER
        due = self.schedule.due(self.packets[self.packet_at].ts_recv, now)
        if self.starving:
            self.starving = False
            self.starved += due < now - STARVED_NS
        return due

    cdef bint make_copy(self, int64_t now) noexcept nogil:
        """The next packet of the source, when it is due."""
        cdef int64_t due = self.copy_due(now)
        cdef const Packet *packet = &self.packets[self.packet_at]
        if due == NEVER:
            self.finish(now)
            return False
        if due > now:
            return False
        self.packet_at += 1
        self.schedule.take()
        if packet.len > 65507:
            self.too_large += 1
            return True
        self.latest = max(self.latest, now - due)
        memcpy(self.room(), packet.data, packet.len)
        self.sequence += 1
        self.put(due, due, packet.len, 0, <uint64_t> 1 << (packet.line % self.line_count))
        return True

    # ---- sending ----

    cdef int send(self, int number, int64_t now, int64_t *next_due) noexcept nogil:
        """Send what is due on a line, at most one batch; `next_due` is brought forward to what follows. 0 or -errno."""
        cdef Line *line = &self.lines[number]
        cdef Slot *slot
        cdef uint64_t place = line.place, at
        cdef int n = 0, sent, i
        cdef int64_t at_last
        cdef uint64_t sent_places[BATCH]
        while place < self.head and n < BATCH:
            slot = &self.slots[place & (SLOTS - 1)]
            if slot.due + line.delay > now:
                next_due[0] = min(next_due[0], slot.due + line.delay)
                break
            if slot.lines >> number & 1:
                self.vectors[n].iov_base = self.bytes_of(place)
                self.vectors[n].iov_len = slot.length
                sent_places[n] = place
                n += 1
            place += 1
        if n == BATCH:
            next_due[0] = now
        if n == 0:
            line.place = place
            return 0
        sent = self.transmit(line, n, next_due, now)
        if sent < 0:
            return sent
        at_last = clock()
        for i in range(sent):
            at = sent_places[i]
            slot = &self.slots[at & (SLOTS - 1)]
            line.packets += 1
            line.bytes += slot.length
            line.messages += slot.messages
            if slot.wanted != NEVER:
                self.schedule.sent(slot.wanted + line.delay, at_last)
        line.place = place if sent == n else sent_places[sent]
        return 0

    cdef int transmit(self, Line *line, int n, int64_t *next_due, int64_t now) noexcept nogil:
        """Send the first `n` of `vectors`; how many were, or -errno. Fewer than all: `next_due` is now."""
        cdef int sent = sendmmsg(line.fd, self.headers, n, MSG_DONTWAIT)
        if sent < 0:
            if errno == EAGAIN or errno == ENOBUFS or errno == EINTR:
                line.blocked += 1
                sent = 0
            elif errno == ECONNREFUSED:
                line.refused += 1                           # nobody listens at a unicast address: the packet is gone
                sent = 1
            else:
                return -errno
        if sent < n:
            next_due[0] = now
        return sent

    cdef int send_faulty(self, int number, int64_t now, int64_t *next_due) noexcept nogil:
        """As send(), for a line under a script of faults: packets are offered to it as soon as they are made."""
        cdef Line *line = &self.lines[number]
        cdef Slot *slot
        cdef Pending batch[BATCH]
        cdef uint8_t *data
        cdef int64_t at_last
        cdef int n = 0, sent, i
        while line.place < self.head and (<FaultyLine> line.faulty).has_room():
            slot = &self.slots[line.place & (SLOTS - 1)]
            if slot.lines >> number & 1:
                data = self.bytes_of(line.place)
                (<FaultyLine> line.faulty).offer(slot.due + line.delay, line.place, data, slot.length)
            line.place += 1
        if self.ended and line.place == self.head:
            (<FaultyLine> line.faulty).finish(now)
        while n < BATCH and (<FaultyLine> line.faulty).count > 0:
            if (<FaultyLine> line.faulty).heap[0].copy.due > now:
                next_due[0] = min(next_due[0], (<FaultyLine> line.faulty).heap[0].copy.due)
                break
            batch[n] = (<FaultyLine> line.faulty).pop()
            self.fill(n, &batch[n], line)
            n += 1
        if n == 0:
            return 0
        if n == BATCH:
            next_due[0] = now
        sent = self.transmit(line, n, next_due, now)
        if sent < 0:
            return sent
        at_last = clock()
        for i in range(sent):
            slot = &self.slots[batch[i].copy.place & (SLOTS - 1)]
            line.packets += 1
            if slot.wanted != NEVER:
                self.schedule.sent(slot.wanted - slot.due + batch[i].copy.due, at_last)
            line.bytes += self.vectors[i].iov_len
            if batch[i].copy.spoil == 0 and batch[i].copy.length == slot.length:
                line.messages += slot.messages
        for i in range(sent, n):
            (<FaultyLine> line.faulty).push(&batch[i])
        return 0

    cdef inline void fill(self, int n, const Pending *pending, Line *line) noexcept nogil:
        """Let vector `n` be what arrives: the packet, its beginning, or a spoiled copy."""
        cdef uint8_t *data = self.bytes_of(pending.copy.place)
        cdef uint8_t *copy = self.spoiled + n * (PACKET_ROOM + SPOIL_ROOM)
        self.vectors[n].iov_base = data
        self.vectors[n].iov_len = pending.copy.length
        if pending.copy.spoil != 0:
            self.vectors[n].iov_base = copy
            self.vectors[n].iov_len = (<FaultyLine> line.faulty).faults.spoil(
                data, pending.copy.length, pending.copy.spoil, copy)

    @property
    def made(self):
        """Messages (packets of a capture) made so far."""
        return self.sequence - 1

    @property
    def statistics(self):
        """Counts so far: of the messages made, and of each line."""
        lines = []
        cdef int i
        cdef LineFaults faults
        for i in range(self.line_count):
            lines.append({"packets": self.lines[i].packets, "bytes": self.lines[i].bytes,
                          "messages": self.lines[i].messages, "blocked": self.lines[i].blocked,
                          "refused": self.lines[i].refused})
            if self.faulty_lines:
                faults = (<FaultyLine> self.lines[i].faulty).faults
                lines[i]["faults"] = {"lost": faults.lost, "duplicated": faults.duplicated,
                                      "reordered": faults.reordered, "truncated": faults.truncated,
                                      "corrupted": faults.corrupted,
                                      "wrong_checksums": faults.wrong_checksums}
        return {"messages": self.sequence - 1, "heartbeats": self.heartbeats, "too_large": self.too_large,
                "latest_ns": self.latest, "starved": self.starved, "ended": self.ended, "lines": lines}

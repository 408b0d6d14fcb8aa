"""What the hot thread took in, as blocks of a capture file: pcapng or pcap, UDP datagrams or TCP segments.

    ring ──► fill(block) ──► whoever writes blocks

fill() works without the GIL until the block is full, or something has come up that is not its to decide: a file that has
its size, a boundary of time, a new connection, a clock that stepped back. Nothing of a packet is written before that is
settled, so a packet stands on the right side of every boundary.

A stream is written as the segments of a TCP connection, server to client, as far as a program that follows streams needs
them: SYN, the bytes under the right numbers, FIN or RST.
"""
cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from feedhandler._records cimport MESSAGES_MAX, Message, Packet
from feedhandler._wire cimport fh_put_le16
from feedhandler.receive._wait cimport fh_realtime_ns
from feedhandler.record._intake cimport INTAKE_LINES, TAKEN_END, Intake, Taken
from feedhandler.recording._runs cimport (SAW_CLOCK, SAW_END, SAW_FULL, SAW_GAP_CLOSED, SAW_GAP_OPENED, SAW_RESTART,
                                          SAW_SESSION, ChannelSeen, LineRun, Run, session_text)
from feedhandler.recording._sequences cimport Sequences
from feedhandler.session._framing cimport FRAME_DATA, Frame, Framing

cdef extern from "record_frame.h" nogil:
    enum:
        FH_MADE_MAX
        FH_BLOCK_MORE
        FH_TCP_FIN
        FH_TCP_SYN
        FH_TCP_RST
        FH_TCP_PSH
        FH_TCP_ACK
    ctypedef struct fh_made "struct fh_made":
        uint8_t *head
        uint32_t length
        bint tcp
    void fh_made_ready(fh_made *m)
    uint32_t fh_put_packet(uint8_t *out, bint pcapng, uint32_t interface, int64_t ts, const fh_made *m,
                           const uint8_t *payload, uint32_t length, uint32_t number, uint8_t flags,
                           const uint8_t *options, uint32_t options_length)

cpdef enum:                     # why fill() came back
    WHY_FULL = 1                # the block has no room for the next packet
    WHY_FLUSH = 2               # `flush_at` has come, and there is something to write
    WHY_SIZE = 3                # the file has no room for the next packet
    WHY_TIME = 4                # the next packet lies behind `boundary`
    WHY_IDLE = 5                # nothing has come for a while, and `boundary` has passed by the host's clock
    WHY_STEP = 6                # the next packet lies before its line's last one by more than `step_ns`
    WHY_CONNECTION = 7          # the next packet is the first of a connection: connect() is to say whose
    WHY_OVER = 8                # the hot thread has ended, and all it put is written
    WHY_END = 9                 # a connection has ended: `next_line` says whose

cdef enum:
    SEGMENT_MOST = 65000        # bytes of a stream in one segment
    OPTIONS_MOST = 2048         # of comments on one packet
    LOST_MOST = 128             # of the sentence on what was lost
    WORDS_LENGTH = 368          # of the sentence on numbers; a longer one is cut
    COMMENT_MOST = 512          # both, with their heads: what a packet itself gives rise to
    IDLE_NS = 1000000           # between two looks at an empty ring
    QUIET_NS = 500000000        # without a packet, and behind a boundary: WHY_IDLE
    CALM_NS = 20000000          # without a packet: time passes by the host's clock
    WORDS_MOST = 4096           # comments in one block: a flood of gaps is counted, not told
    LOOKS = 256                 # packets between two looks at the clock
    NOTEWORTHY = SAW_GAP_OPENED | SAW_GAP_CLOSED | SAW_SESSION | SAW_RESTART | SAW_END | SAW_CLOCK | SAW_FULL

cdef struct Written:            # of one line
    uint64_t packets            # in this file
    uint64_t bytes              # of payloads
    uint64_t lost               # said to be missing before packets of this file
    uint64_t lost_said          # of all files
    int64_t first_ts            # INT64_MAX = none
    int64_t last_ts             # INT64_MIN = none
    uint64_t block_packets      # of these, in the present block
    int64_t latest              # ts_recv of the last packet, of whatever file
    fh_made made                # headers; of a stream, of its present connection
    uint32_t connection         # the present one; 0 = none
    uint32_t number             # of its next byte
    uint32_t ts_kind
    uint64_t first_seq          # the first number in this file; 0 = none so far
    uint64_t next_before        # what the line's next number was when this file began; 0 = not known
    uint32_t unnumbered         # packets of this file looked at for a first number, in vain
    bint ended                  # it has said that its session is over


@cython.final
cdef class Encoder:
    """Encoder(intake, pcapng, sequences): the writer thread's half; `sequences` sees every packet that is written.

    Of datagrams, target() gives each line its headers before the first fill(). All times are ns since the Unix epoch
    but `flush_at`, which is of CLOCK_MONOTONIC.
    """
    cdef readonly Intake intake
    cdef readonly bint pcapng
    cdef readonly int lines
    cdef readonly Sequences sequences
    cdef Message *messages
    cdef int words_left
    cdef Written written[INTAKE_LINES]
    cdef uint8_t options[OPTIONS_MOST]
    cdef uint32_t options_length
    cdef readonly int64_t file_bytes        # of the present file, unpacked, the present block included
    cdef readonly int64_t file_packets
    cdef public int64_t file_most           # a file is ended before it would be larger
    cdef public int64_t boundary            # a packet of this time or later belongs to another file
    cdef public int64_t step_ns             # a line's clock may go back so far without a word
    cdef public int64_t flush_at
    cdef int64_t quiet_since
    cdef readonly int64_t next_ts           # of the packet that fill() did not take
    cdef readonly int next_line
    cdef readonly int next_connection
    cdef readonly int64_t packets           # of all files

    def __cinit__(self, Intake intake not None, bint pcapng, Sequences sequences not None):
        cdef int line
        if sequences.lines != intake.receiver.lines:
            raise ValueError(f"{sequences.lines} lines of sequences for {intake.receiver.lines} of the receiver")
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if self.messages == NULL:
            raise MemoryError()
        self.sequences = sequences
        self.words_left = WORDS_MOST
        self.intake = intake
        self.pcapng = pcapng
        self.lines = intake.receiver.lines
        self.boundary = self.file_most = self.flush_at = INT64_MAX
        self.step_ns = 1000000000
        for line in range(INTAKE_LINES):
            self.written[line].latest = INT64_MIN
        self.begin_file(0)

    def __dealloc__(self):
        free(self.messages)

    def target(self, int line, const uint8_t[::1] head not None):
        """The headers of the line's packets: Ethernet, IPv4 or IPv6, UDP or TCP, lengths and sums zero."""
        cdef fh_made *made = &self.written[self.intake.receiver.check(line)].made
        if not 42 <= head.shape[0] <= FH_MADE_MAX:
            raise ValueError(f"headers have 42 to {FH_MADE_MAX} bytes, not {head.shape[0]}")
        memset(made, 0, sizeof(fh_made))
        memcpy(made.head, &head[0], head.shape[0])
        made.length = <uint32_t> head.shape[0]
        fh_made_ready(made)

    def begin_file(self, int64_t head_bytes):
        """A new file, that begins with so many bytes: its counts are zero, its connections are to be said again."""
        cdef int line
        self.file_bytes = head_bytes
        self.file_packets = 0
        for line in range(INTAKE_LINES):
            self.written[line].packets = self.written[line].bytes = self.written[line].lost = 0
            self.written[line].block_packets = 0
            self.written[line].first_ts = INT64_MAX
            self.written[line].last_ts = INT64_MIN
            self.written[line].first_seq = 0
            self.written[line].unnumbered = 0
            if line < self.lines:
                self.written[line].next_before = self.run_of(line).next

    def begin_day(self, Sequences sequences not None):
        """Another day: numbers are counted anew, and streams go on where they are, in the middle of a message or not."""
        cdef int line
        if sequences.lines != self.lines:
            raise ValueError(f"{sequences.lines} lines of sequences for {self.lines} of the receiver")
        for line in range(self.lines):
            if (<Framing> self.sequences.framings[line]).stream:
                sequences.framings[line] = self.sequences.framings[line]
        sequences.kept += self.sequences.kept
        self.sequences = sequences

    def begin_block(self):
        """What is written from now on stands in another block."""
        cdef int line
        self.words_left = WORDS_MOST
        for line in range(self.lines):
            self.written[line].block_packets = 0

    def add_bytes(self, int64_t count):
        """So many bytes were put behind the block by hand: statistics."""
        self.file_bytes += count

    def latest(self, int line):
        """The time of the line's last packet, of whatever file."""
        return self.written[self.intake.receiver.check(line)].latest

    def stepped(self):
        """The step back of `next_line` has been taken notice of."""
        self.written[self.next_line].latest = self.next_ts

    def comment(self, bytes text not None):
        """A comment for the next packet; what finds no room behind others is left out. pcapng only."""
        if self.pcapng:
            self.add_comment(text, <uint32_t> min(len(text), <int> WORDS_LENGTH))

    def counts(self, int line):
        """What the present file has of a line: (packets, bytes, lost, first_ts, last_ts, ts_kind, packets in the block).

        Times are None where there is no packet.
        """
        cdef Written *own = &self.written[self.intake.receiver.check(line)]
        return (own.packets, own.bytes, own.lost, own.first_ts if own.packets else None,
                own.last_ts if own.packets else None, own.ts_kind, own.block_packets)

    def numbers(self, int line):
        """(first number in the present file, last one, its session) of a line; None where there is none."""
        cdef Written *own = &self.written[self.intake.receiver.check(line)]
        cdef LineRun *run = self.run_of(line)
        cdef uint64_t first = own.first_seq
        if own.packets == 0 or run.next == 0:
            return None, None, ""
        if first == 0:
            first = own.next_before if 0 < own.next_before < run.next else run.begun
        if first >= run.next:
            return None, None, ""
        return first, run.next - 1, session_text(self.channel_of(line).runs[self.channel_of(line).current].session)

    def next_number(self, int line):
        """(session, the next number that its channel lacks); ("", 1) when nothing is known of it."""
        cdef ChannelSeen *seen = self.channel_of(self.intake.receiver.check(line))
        cdef Run *run = &seen.runs[seen.current]
        if not run.used:
            return "", 1
        return session_text(run.session), run.holes.holes[0].first if run.holes.count else run.horizon

    def ended(self, int line):
        """Whether the line has said that its session is over."""
        return bool(self.written[self.intake.receiver.check(line)].ended)

    cdef ChannelSeen *channel_of(self, int line) noexcept nogil:
        return &self.sequences.channel_table[self.sequences.line_table[line].channel]

    cdef LineRun *run_of(self, int line) noexcept nogil:
        """The line in its channel's present run."""
        cdef ChannelSeen *seen = self.channel_of(line)
        return &seen.runs[seen.current].lines[<uint32_t> line - seen.first_line]

    def fill(self, uint8_t[::1] block not None, int64_t used):
        """Write into `block`, of which `used` bytes are in use: (bytes in use now, WHY_*)."""
        cdef int why
        cdef uint8_t *at = &block[0] + used
        cdef uint8_t *end = &block[0] + block.shape[0]
        if not 0 <= used <= block.shape[0] or block.shape[0] < 1 << 20:
            raise ValueError(f"a block has at least {1 << 20} bytes, of which 0 or more are in use")
        with nogil:
            why = self.work(&at, end)
        return at - &block[0], why

    def connect(self, const uint8_t[::1] head not None, uint8_t[::1] block not None, int64_t used):
        """The connection that fill() came back for: its headers; the end of the one before it, and its SYN, are written.

        Returns the bytes of the block that are in use now.
        """
        cdef Written *own = &self.written[self.next_line]
        cdef uint8_t *at = &block[0] + used
        if block.shape[0] - used < 2 * (FH_MADE_MAX + FH_BLOCK_MORE + OPTIONS_MOST + 4):
            raise ValueError("the block has no room for the beginning of a connection")
        if own.connection:
            at = self.segment(at, self.next_line, self.next_ts, NULL, 0, FH_TCP_RST | FH_TCP_ACK)
        self.target(self.next_line, head)
        own.connection = self.next_connection
        self.sequences.connected(self.next_line)
        own.number = 0
        at = self.segment(at, self.next_line, self.next_ts, NULL, 0, FH_TCP_SYN | FH_TCP_ACK)
        own.number = 1
        return at - &block[0]

    def settle_losses(self):
        """At the end of all: what was lost behind the last packet of a line belongs to the present file, too."""
        cdef int line
        for line in range(self.lines):
            self.written[line].lost += self.intake.lost[line] - self.written[line].lost_said
            self.written[line].lost_said = self.intake.lost[line]

    def hang_up(self, uint8_t[::1] block not None, int64_t used):
        """The connections that are still there end with the recording: the bytes of the block that are in use now."""
        cdef int line
        cdef uint8_t *at = &block[0] + used
        if block.shape[0] - used < self.lines * (FH_MADE_MAX + FH_BLOCK_MORE + OPTIONS_MOST + 4):
            raise ValueError("the block has no room for the ends of all connections")
        for line in range(self.lines):
            if self.written[line].connection:
                at = self.segment(at, line, self.written[line].latest, NULL, 0, FH_TCP_FIN | FH_TCP_ACK)
                self.written[line].connection = 0
        return at - &block[0]

    # -- without the GIL ----------------------------------------------------------------------------------------------

    cdef int work(self, uint8_t **out, uint8_t *end) noexcept nogil:
        cdef uint8_t *at = out[0]
        cdef uint8_t *begin = at
        cdef const Taken *taken
        cdef uint32_t length, most
        cdef int why
        cdef bint over
        cdef int looks = 0
        while True:
            over = self.intake.over()
            taken = self.intake.look(&length)
            if taken == NULL:
                out[0] = at
                if over:
                    return WHY_OVER
                why = self.rest()
                if why:
                    return why
                continue
            self.quiet_since = 0
            looks += 1
            if looks % LOOKS == 0 and _monotonic() >= self.flush_at:
                out[0] = at
                return WHY_FLUSH
            self.next_ts = taken.ts_recv
            self.next_line = taken.line
            self.next_connection = taken.connection
            most = self.room(taken, length)
            out[0] = at
            if taken.ts_recv >= self.boundary:
                return WHY_TIME
            if self.file_bytes + most > self.file_most and self.file_packets > 0:
                return WHY_SIZE
            if end - at < most:
                return WHY_FULL
            if taken.kind == TAKEN_END:
                at = self.finish(at, taken)
                self.intake.took()
                out[0] = at
                return WHY_END
            if self.written[taken.line].latest > 0 and taken.ts_recv < self.written[taken.line].latest - self.step_ns:
                return WHY_STEP
            if taken.connection != self.written[taken.line].connection:
                return WHY_CONNECTION
            at = self.packet(at, taken, length)
            self.intake.took()

    cdef int rest(self) noexcept nogil:
        """The ring is empty: sleep for a moment. WHY_FLUSH or WHY_IDLE when one of them is due, else 0."""
        cdef timespec pause
        cdef int64_t now = _monotonic()
        if now >= self.flush_at:
            return WHY_FLUSH
        if self.quiet_since == 0:
            self.quiet_since = now
        elif now - self.quiet_since > CALM_NS and self.sequences.tick(fh_realtime_ns()) & NOTEWORTHY:
            self.say_seen()                 # on the next packet, whichever it is
        if INT64_MIN < self.boundary < INT64_MAX and now - self.quiet_since > QUIET_NS:
            self.next_ts = fh_realtime_ns()
            if self.next_ts - QUIET_NS >= self.boundary:
                return WHY_IDLE
        pause.tv_sec = 0
        pause.tv_nsec = IDLE_NS
        nanosleep(&pause, NULL)
        return 0

    cdef uint32_t room(self, const Taken *taken, uint32_t length) noexcept nogil:
        """The most that a record can take in the file."""
        cdef uint32_t segments = 1
        if taken.connection:
            segments += length // SEGMENT_MOST
        return length + segments * <uint32_t> (FH_MADE_MAX + FH_BLOCK_MORE) + self.options_length + COMMENT_MOST + 4

    cdef uint8_t *packet(self, uint8_t *at, const Taken *taken, uint32_t length) noexcept nogil:
        """A packet, or a run of bytes in its segments."""
        cdef Written *own = &self.written[taken.line]
        cdef const uint8_t *payload = <const uint8_t *> (taken + 1)
        cdef uint32_t piece, done = 0
        own.latest = taken.ts_recv
        own.ts_kind = taken.ts_kind
        piece = (length + SEGMENT_MOST - 1) // SEGMENT_MOST if taken.connection else 1
        own.packets += piece
        own.block_packets += piece
        own.bytes += length
        self.packets += 1
        if taken.ts_recv < own.first_ts:
            own.first_ts = taken.ts_recv
        if taken.ts_recv > own.last_ts:
            own.last_ts = taken.ts_recv
        if taken.lost:
            self.say_lost(own, taken)
        self.number(own, taken, payload, length)
        if not taken.connection:
            return self.segment(at, taken.line, taken.ts_recv, payload, length, 0)
        while done < length:
            piece = min(length - done, <uint32_t> SEGMENT_MOST)
            at = self.segment(at, taken.line, taken.ts_recv, payload + done, piece, FH_TCP_PSH | FH_TCP_ACK)
            own.number += piece
            done += piece
        return at

    cdef void number(self, Written *own, const Taken *taken, const uint8_t *payload, uint32_t length) noexcept nogil:
        """What the packet shows of its line's and its channel's numbers; what is worth a comment gets one."""
        cdef Packet packet
        cdef Frame frame
        cdef int seen
        packet.data = payload
        packet.len = length
        packet.line = taken.line
        packet.ts_recv = taken.ts_recv
        if not taken.connection and own.first_seq == 0 and own.unnumbered < LOOKS:
            own.unnumbered += 1             # this framing keeps nothing from one packet to the next
            (<Framing> self.sequences.framings[taken.line]).parse(&packet, &frame, self.messages, MESSAGES_MAX)
            if frame.kind == FRAME_DATA:
                own.first_seq = frame.first_seq
        seen = self.sequences.saw(&packet)
        if seen & NOTEWORTHY:
            if seen & SAW_END:
                own.ended = True
            self.say_seen()

    cdef void say_seen(self) noexcept nogil:
        """What the sequences have to say, on the next packet."""
        if not self.pcapng or self.words_left <= 0:
            return
        self.words_left -= 1
        with gil:
            self.comment(self.sequences.describe().encode())

    cdef uint8_t *finish(self, uint8_t *at, const Taken *taken) noexcept nogil:
        """The end of a connection."""
        cdef Written *own = &self.written[taken.line]
        if own.connection == 0 or own.connection != taken.connection:
            return at
        at = self.segment(at, taken.line, taken.ts_recv, NULL, 0,
                          (FH_TCP_RST if taken.error else FH_TCP_FIN) | FH_TCP_ACK)
        own.connection = 0
        return at

    cdef uint8_t *segment(self, uint8_t *at, uint32_t line, int64_t ts, const uint8_t *payload, uint32_t length,
                          uint8_t flags) noexcept nogil:
        """One packet of the file, with what has been said about it."""
        cdef uint32_t size = fh_put_packet(at, self.pcapng, line, ts, &self.written[line].made,
                                           payload if payload != NULL else at, length, self.written[line].number,
                                           flags, self.options, self.options_length)
        self.options_length = 0
        self.file_bytes += size
        self.file_packets += 1
        return at + size

    cdef void say_lost(self, Written *own, const Taken *taken) noexcept nogil:
        cdef char text[LOST_MOST]
        own.lost += taken.lost
        own.lost_said += taken.lost
        cdef int length = snprintf(text, sizeof(text), b"%u packets (%llu bytes) before this one were not recorded: no "
                                   b"room to wait for the disk", taken.lost, <unsigned long long> taken.lost_bytes)
        if self.pcapng:
            self.add_comment(text, <uint32_t> length)

    cdef void add_comment(self, const char *text, uint32_t length) noexcept nogil:
        """One more opt_comment for the next packet."""
        cdef uint32_t padded = (length + 3) & ~<uint32_t> 3
        cdef uint8_t *at = self.options + self.options_length
        if self.options_length + 4 + padded > OPTIONS_MOST:
            return
        memset(at, 0, 4 + padded)
        fh_put_le16(at, 1)
        fh_put_le16(at + 2, length)
        memcpy(at + 4, text, length)
        self.options_length += 4 + padded


cdef inline int64_t _monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t> now.tv_sec * 1000000000 + now.tv_nsec

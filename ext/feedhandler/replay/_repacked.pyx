"""The messages of a recording in new packets: some symbols' only, or out of another session than they came in.

Theory: packets of all lines of a channel go through its framing and a real arbiter, as in a handler, so that each message
comes once, in order, whichever line had it. What is kept of it is put behind new headers, in the time of the packet that
brought it, and goes out on every line of the channel at once. A picked channel has numbers of its own, from 1 in each
session: a hole in the old numbers would be a gap to whoever receives them. What the recording lacks stays a gap: as many
numbers are left out, and where it begins within a session, number 1 is. Where all is kept, numbers stay as recorded;
messages without numbers go without. Heartbeats and the end of a session follow on the line that had them, with the
new number. What lies before `begin` is read and counted, and not sent.

This runs on the thread that reads ahead, or in the tests: it may take memory, and does so seldom.
"""
cimport cython
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from feedhandler._counters cimport LN_BYTES, LN_PACKETS
from feedhandler._records cimport MESSAGES_MAX, Message, Packet, Run
from feedhandler._wire cimport fh_put_be16, fh_put_be64, fh_put_le16, fh_put_le64
from feedhandler.line._arbiter cimport Arbiter, TAKE_GAP, TAKE_NOTHING, TAKE_RUN, TAKE_SESSION
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH, Receiver
from feedhandler.replay._picker cimport Picker
from feedhandler.session._framing cimport FRAME_BAD, FRAME_END, FRAME_HEARTBEAT, FRAME_NONE, Frame, Framing

from feedhandler.errors import ConfigError

cdef enum:
    LINES = 64
    CHANNELS = 64
    MOLD_HEADER = 20
    IEX_HEADER = 40
    END_OF_SESSION = 0xFFFF
    MOST = 0xFFFE               # messages of one packet
    UDP_MAX = 65507

cdef struct Made:               # a packet in `bytes`
    uint64_t begin
    int64_t ts
    uint32_t length, line

cdef struct Out:                # what is sent of a channel
    int first_line, lines
    bint iex, picked
    uint64_t next               # number of the next message
    int64_t offset              # IEX-TP: bytes of messages so far
    bint begun                  # a message of this session has gone out
    uint8_t head[12]            # IEX-TP: version to session id, as they came
    int64_t send_time


@cython.final
cdef class Repacked(Receiver):
    """Repacked(lines, source, channels): packets of messages that `source` brought.

    `channels`: (framings of its lines, in the order of the source's; Arbiter with as many lines, from `first_line` on;
    Picker or None; the session they go out in, "moldudp64" or "iextp"; lines that they go out on). `lines` is the sum of
    the latter. `mtu`: bytes of a packet at most, where messages allow. `rate`: messages a second; times of packets are
    then counted from 0 by that. `begin`: nothing older is sent. The Repacked owns `source`.
    """
    cdef Receiver source
    cdef list kept
    cdef void *framings[LINES]
    cdef uint32_t connections[LINES]
    cdef int channel_of[LINES]
    cdef void *arbiters[CHANNELS]
    cdef void *pickers[CHANNELS]
    cdef Out outs[CHANNELS]
    cdef int channel_count
    cdef Message *messages
    cdef Message *chosen
    cdef Made *made
    cdef uint64_t made_count, made_room, handed
    cdef uint8_t *data
    cdef uint64_t size, room
    cdef uint32_t mtu, most
    cdef double interval
    cdef int64_t begin
    cdef bint drained, out_of_memory
    cdef int failed
    cdef readonly uint64_t taken            # messages of the recording
    cdef readonly uint64_t sent             # messages kept
    cdef readonly uint64_t missing          # numbers of which no line had the message

    def __cinit__(self, int lines, Receiver source not None, list channels not None, *, uint32_t mtu=1472, rate=None,
                  begin=None):
        cdef int i, first = 0, line = 0
        if not 1 <= len(channels) <= CHANNELS or source.lines > LINES:
            raise ConfigError(f"replay: at most {CHANNELS} channels of {LINES} lines together can be packed anew")
        if not 100 <= mtu <= UDP_MAX:
            raise ConfigError(f"replay: mtu must be 100 to {UDP_MAX} bytes of UDP payload, not {mtu}")
        if rate is not None and not 0 < rate <= 1e9:
            raise ConfigError(f"replay: rate must be over 0 and at most 1e9 messages per second, not {rate}")
        self.source, self.mtu = source, mtu
        self.begin = begin if begin is not None else INT64_MIN
        self.interval = 1e9 / rate if rate is not None else 0
        self.most = MOST if rate is None else max(1, min(<int> MOST, <int> (rate / 10000)))
        self.kept = channels
        self.channel_count = <int> len(channels)
        for i, (framings, arbiter, picker, session, outgoing) in enumerate(channels):
            if session not in ("moldudp64", "iextp"):
                raise ConfigError(f"replay: messages are packed anew as moldudp64 or iextp, not as {session}")
            for framing in framings:
                if line == source.lines:
                    raise ValueError(f"the source has {source.lines} lines; more framings were given")
                self.framings[line] = <void *> (<Framing?> framing)
                self.channel_of[line] = i
                line += 1
            self.arbiters[i] = <void *> (<Arbiter?> arbiter)
            self.pickers[i] = <void *> (<Picker?> picker) if picker is not None else NULL
            memset(&self.outs[i], 0, sizeof(Out))
            self.outs[i].first_line, self.outs[i].lines = first, outgoing
            self.outs[i].iex, self.outs[i].picked = session == "iextp", picker is not None
            self.outs[i].next = 1
            first += outgoing
        if line != source.lines or first != lines:
            raise ValueError(f"{source.lines} lines come and {lines} go out; framings for {line}, lines for {first}")
        self.made_room, self.room = 1024, 1 << 20
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        self.chosen = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        self.made = <Made *> malloc(self.made_room * sizeof(Made))
        self.data = <uint8_t *> malloc(self.room)
        if self.messages == NULL or self.chosen == NULL or self.made == NULL or self.data == NULL:
            raise MemoryError("replay: no memory for packets")

    def __dealloc__(self):
        free(self.messages)
        free(self.chosen)
        free(self.made)
        free(self.data)

    # -- what comes in --------------------------------------------------------------------------------------------------

    cdef void take(self, const Packet *packet) noexcept nogil:
        cdef Frame frame
        cdef int channel = self.channel_of[packet.line], line = packet.line
        if self.source.status[line].connections != self.connections[line]:
            self.connections[line] = self.source.status[line].connections
            (<Framing> self.framings[line]).reset()
        while True:
            (<Framing> self.framings[line]).parse(packet, &frame, self.messages, MESSAGES_MAX)
            if frame.kind != FRAME_BAD and frame.kind != FRAME_NONE:
                if self.outs[channel].iex and packet.len >= IEX_HEADER:
                    memcpy(self.outs[channel].head, packet.data, 12)
                    self.outs[channel].send_time = frame.send_time
                (<Arbiter> self.arbiters[channel]).offer(&frame, self.messages, packet.ts_recv, packet.line)
                self.drain(channel, packet.ts_recv)
                if frame.kind == FRAME_HEARTBEAT or frame.kind == FRAME_END:
                    self.control(channel, packet, frame.kind == FRAME_END)
            if not frame.more:
                return

    cdef void drain(self, int channel, int64_t ts) noexcept nogil:
        """All that the arbiter has to hand out."""
        cdef Out *out = &self.outs[channel]
        cdef Run run
        cdef int what
        while True:
            what = (<Arbiter> self.arbiters[channel]).take(&run)
            if what == TAKE_NOTHING:
                return
            if what == TAKE_RUN:
                self.deliver(channel, &run, ts)
                (<Arbiter> self.arbiters[channel]).settle(run.count)
            elif what == TAKE_SESSION:
                out.next, out.offset, out.begun = (<Arbiter> self.arbiters[channel]).expected, 0, False
                if out.picked:
                    out.next = 1
                    (<Picker> self.pickers[channel]).forget()
            elif what == TAKE_GAP and out.begun:
                self.missing += (<Arbiter> self.arbiters[channel]).gap_count
                out.next += (<Arbiter> self.arbiters[channel]).gap_count
            elif what == TAKE_GAP and out.picked:
                out.next = 2                                # joined late: whoever receives this is to know

    cdef void deliver(self, int channel, const Run *run, int64_t ts) noexcept nogil:
        """What is kept of a run goes out."""
        cdef Out *out = &self.outs[channel]
        cdef const Message *messages = run.messages
        cdef int i, n = run.count
        self.taken += run.count
        if not out.picked and run.first_seq > 0:
            out.next = run.first_seq
        if out.picked:
            messages, n = self.chosen, 0
            for i in range(run.count):
                if (<Picker> self.pickers[channel]).keeps(run.messages[i].data, run.messages[i].len):
                    self.chosen[n] = run.messages[i]
                    n += 1
        if ts >= self.begin:
            self.pack(channel, messages, n, ts, run.first_seq == 0)
            return
        for i in range(n):
            out.offset += 2 + messages[i].len
        if run.first_seq > 0:
            out.next += n
            out.begun = out.begun or n > 0

    # -- what goes out --------------------------------------------------------------------------------------------------

    cdef void pack(self, int channel, const Message *messages, int count, int64_t ts, bint blank) noexcept nogil:
        """Messages in as few packets as hold them, on each line of the channel."""
        cdef Out *out = &self.outs[channel]
        cdef uint32_t header = IEX_HEADER if out.iex else MOLD_HEADER, size
        cdef int i = 0, n, k, line
        cdef uint8_t *p
        cdef uint64_t begin
        while i < count:
            size, n = header, 0
            while i + n < count and n < <int> self.most and (n == 0 or size + 2 + messages[i + n].len <= self.mtu):
                size += 2 + messages[i + n].len
                n += 1
            if size > UDP_MAX:                              # one message that no datagram of this session holds
                self.missing += 1
                out.next += 1
                i += 1
                continue
            if self.interval > 0:
                ts = <int64_t> (<double> self.sent * self.interval)
            begin = self.size
            p = self.space(size)
            if p == NULL:
                return
            self.head_of(out, channel, p, size - header, n, False)
            if blank:                                       # as it came: neither session nor number
                memset(p, 32, 10)
                fh_put_be64(p + 10, 0)
            p += header
            for k in range(i, i + n):
                if out.iex:
                    fh_put_le16(p, <uint16_t> messages[k].len)
                else:
                    fh_put_be16(p, <uint16_t> messages[k].len)
                memcpy(p + 2, messages[k].data, messages[k].len)
                p += 2 + messages[k].len
            for line in range(out.first_line, out.first_line + out.lines):
                self.add(begin, size, line, ts)
            out.next += n if not blank else 0
            out.offset += size - header
            out.begun = True
            self.sent += n
            i += n

    cdef void control(self, int channel, const Packet *packet, bint end) noexcept nogil:
        """A heartbeat, or the end of the session, on the line that had one."""
        cdef Out *out = &self.outs[channel]
        cdef uint32_t header = IEX_HEADER if out.iex else MOLD_HEADER
        cdef uint64_t begin = self.size
        cdef uint8_t *p
        cdef int line = 0, before = 0
        for line in range(self.source.lines):               # which of the channel's it was
            if self.channel_of[line] == channel:
                if line == <int> packet.line:
                    break
                before += 1
        if packet.ts_recv < self.begin:
            return
        p = self.space(header)
        if p == NULL:
            return
        self.head_of(out, channel, p, 0, 0, end)
        self.add(begin, header, out.first_line + before % out.lines,
                 <int64_t> (<double> self.sent * self.interval) if self.interval > 0 else packet.ts_recv)

    cdef void head_of(self, const Out *out, int channel, uint8_t *p, uint32_t body, int count, bint end) noexcept nogil:
        cdef const uint8_t *name = <const uint8_t *> (<Arbiter> self.arbiters[channel]).session
        cdef int i
        if out.iex:
            memcpy(p, out.head, 12)
            fh_put_le16(p + 12, <uint16_t> body)
            fh_put_le16(p + 14, <uint16_t> count)
            fh_put_le64(p + 16, <uint64_t> out.offset)
            fh_put_le64(p + 24, out.next)
            fh_put_le64(p + 32, <uint64_t> out.send_time)
            return
        for i in range(10):
            p[i] = name[i] if name[i] != 0 else 32
        fh_put_be64(p + 10, out.next)
        fh_put_be16(p + 18, <uint16_t> (END_OF_SESSION if end else count))

    cdef uint8_t *space(self, uint32_t size) noexcept nogil:
        """Room behind what was made; NULL when there is no memory."""
        cdef uint64_t wanted = self.room
        cdef void *grown
        while wanted < self.size + size:
            wanted *= 2
        if wanted != self.room:
            grown = realloc(self.data, wanted)
            if grown == NULL:
                self.out_of_memory = True
                return NULL
            self.data, self.room = <uint8_t *> grown, wanted
        self.size += size
        return self.data + self.size - size

    cdef void add(self, uint64_t begin, uint32_t size, int line, int64_t ts) noexcept nogil:
        cdef void *grown
        if self.made_count == self.made_room:
            grown = realloc(self.made, 2 * self.made_room * sizeof(Made))
            if grown == NULL:
                self.out_of_memory = True
                return
            self.made, self.made_room = <Made *> grown, 2 * self.made_room
        self.made[self.made_count].begin, self.made[self.made_count].length = begin, size
        self.made[self.made_count].line, self.made[self.made_count].ts = line, ts
        self.made_count += 1

    cdef int refill(self) noexcept nogil:
        """Make packets out of the source's next ones; 1, 0 when none are there now, END_OF_INPUT or another -errno."""
        cdef Packet packets[RECEIVE_BATCH]
        cdef int i, n
        self.handed = self.made_count = self.size = 0
        while self.made_count == 0:
            if self.drained:
                return END_OF_INPUT
            n = self.source.poll(packets, RECEIVE_BATCH)
            if n == 0:
                return 0
            if n == END_OF_INPUT:
                self.drained = True
                for i in range(self.channel_count):
                    (<Arbiter> self.arbiters[i]).finish()
                    self.drain(i, (<Arbiter> self.arbiters[i]).clock)
            elif n < 0:
                return n
            else:
                for i in range(n):
                    self.take(&packets[i])
                self.source.release()
            if self.out_of_memory:
                return -12                                  # ENOMEM
        return 1

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef Made *made
        cdef uint64_t *own
        cdef int n = 0
        if self.handed == self.made_count:
            n = self.refill()
            if n <= 0:
                self.ended = n == END_OF_INPUT
                return n
            n = 0
        while n < capacity and self.handed < self.made_count:
            made = &self.made[self.handed]
            out[n].data, out[n].len = self.data + made.begin, made.length
            out[n].line, out[n].ts_recv = made.line, made.ts
            own = self.counters + made.line * self.counter_stride
            own[LN_PACKETS] += 1
            own[LN_BYTES] += made.length
            self.handed += 1
            n += 1
        return n

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        return self.source.wait(timeout_ns)

    @property
    def error(self):
        return self.source.error

    @property
    def offset(self):
        """Of the source: bytes of the files read so far."""
        return getattr(self.source, "offset", 0)

    def close(self):
        """Close the source, too."""
        self.source.close()
        self.unbind()

"""A recording, then the live lines: two receivers as one, so that one shard and its arbiters take both.

    REPLAY ──► KEPT ──► LIVE
    recording  memory   live receiver        where poll() takes packets from
    keeping    keeping  ended                what the other thread does with the live receiver

The live lines are open before the first recorded packet is played. A second thread empties their receiver into memory
(_kept.pyx) until the hot thread takes it over, so what the recording lacks at its end is in the memory or, later, in
the sockets: every packet goes to the arbiters, in order, and they alone decide what is a copy and what is missing.

*When to leave a recording that still grows*: when all that is recorded so far has been played, and every channel has come to
the number from which on the memory has the live lines whole (`Need`: the first packet's first number, or what followed the
last one dropped; the first of a new session is no such number while the recording is in another, whose end may be on its
way). Of a channel whose lines bring nothing, what came before they were opened is in once a packet recorded
after that has been played, or once the recording has brought nothing for as long as silence is no fault of the channel. All
together are waited for no longer than `patience_ns`, since a recorder may have died.

*The seam.* What was kept while the recording was played has mostly been recorded, too. A line's kept packets that lie wholly
below the channel's number at the end of the recording are copies of recorded ones, and are passed over (`overlap`) up to
the first that reaches it: the arbiter would take low, rising numbers for a restart. Only those received before the
recording's last packet, or a second after it: what is low and later may be a restart indeed.

*Holes.* While a channel waits for retransmissions, whose pace is the wire's, no recorded or kept packet is played: they
would fill its window at the memory's pace. Neither where it has given up, nor where it is frozen for a snapshot, which is of
the present: it waits for the lines to come to it.

*The present.* In LIVE, when two polls in a row have brought less than half of what they were asked for, and nothing that
had waited for a tenth of a second (a line may give less than it has: join sockets, few slots), nothing old waits:
Arbiter.present() decides whether its channel is whole. A stream's server sends what is past as fast as it can, so there the
clock has to say so, too: a channel's last event is no older than its last recorded one was then, give or take a tenth of a
second; or its server had nothing to send, and sent a heartbeat.

*JSON texts* are streams that nobody can be asked for again: their lines are connected while the recording is played, and what they
bring is kept from the first byte on, with all changes of connections. A recording that grows is played until it is half a second
past the moment at which some line of each such channel was subscribed: from there on both have everything. Then the recorded
connections end, and the Splicer is told so (`resume`); the kept ones begin behind them, as if they had been made just then. What
numbers do not prove to continue is STALE until its snapshot. The framings that the keeping thread parsed with, which have
seen every byte, go on live in the place of those that the recording and the memory were parsed with.
"""
cimport cython
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME

from feedhandler._counters cimport LN_BYTES, LN_HEARTBEATS, LN_PACKETS
from feedhandler._flags cimport fh_mailbox_look, fh_mailbox_put
from feedhandler._records cimport LINE_DOWN, MESSAGES_MAX, Event, Message, Packet
from feedhandler._stages cimport Stages
from feedhandler.line._arbiter cimport Arbiter
from feedhandler.line._splicer cimport Splicer
from feedhandler.publish._publisher cimport Publisher
from feedhandler.receive._kept cimport (KEEP_DATAGRAMS, KEEP_NOTHING, KEEP_STREAMS, KEPT_CHANGE, KEPT_NONE, KEPT_PACKET, Change,
                                        KeptPackets, Need, clock, doze)
from feedhandler.receive._receiver cimport END_OF_INPUT, LineStatus, Receiver
from feedhandler.session._framing cimport FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, Frame, Framing

cdef enum:                      # HandoverReceiver.phase: the hot thread's, who alone goes on to the next
    PHASE_REPLAY = 0
    PHASE_KEPT = 1
    PHASE_LIVE = 2

cdef enum:                      # whose packets poll() gave last
    LENT_NOTHING = 0
    LENT_RECORDED = 1
    LENT_KEPT = 2
    LENT_LIVE = 3

cdef enum:
    IDLE_NS = 200_000           # of sleep where a recording has nothing new, or the other thread is waited for
    SLACK_NS = 1_000_000_000    # between the clocks of recorder and handler
    STREAM_SLACK_NS = 100_000_000   # of a stream's events behind the clock
    TEXTS_NS = 500_000_000      # a recording goes so far beyond the moment at which a line of texts was subscribed
    WAITED_NS = 100_000_000     # packets that came in so long ago have others behind them
    EVENTS_LOOKED_AT = 65536    # of those recorded
    SHORT_POLLS = 2
    SKIPPED_POLLS = 64          # of packets of nobody's, in one poll of ours
    OFFSET_POLLS = 1024         # between two looks at how far the recording is read

cdef struct Seam:               # of a line: where its channel stood when the recording was over
    uint64_t session[2]
    uint64_t number
    bint passed                 # a kept packet has reached it


@cython.final
cdef class HandoverReceiver(Receiver):
    """HandoverReceiver(lines, recording, live, ...): packets of `recording`, then those of `live`, none lost between.

    `line_of`: for each line of the recording its line of `live`, -1 where there is none. `memory`: bytes in which live
    packets may wait, rounded up to a power of two; taken as they are needed. `patience_ns`: how long a recording that has no
    more packets just now, and does not say that it has ended, may keep channels waiting that are behind the live lines.
    `streaming`: `live` is of streams. Those of JSON texts are connected at once, the others when stand_by() has come back.

    join() before the first poll, and lead() where there are streams. stand_by() on a thread of its own, which ends after leave() or when the hot thread has gone
    over to `live`. Both receivers are closed with this one.
    """
    cdef readonly Receiver recording, live
    cdef Publisher publisher
    cdef readonly KeptPackets memory
    cdef uint64_t memory_bytes
    cdef list parts                         # framings and arbiters of the lines, kept alive
    cdef int channels
    cdef void **arbiters                    # of each channel
    cdef int *channel_of                    # of each line
    cdef void **framings                    # of each line, twice: one to look at the seam with, and the shard's
    cdef Message *messages                  # room for one packet's
    cdef uint32_t *connections              # of each line of the recording, begun so far
    cdef uint64_t texts                     # channels of JSON texts, as bits
    cdef Stages stages                      # of streams: whose framings are to be changed
    cdef void **live_at                     # of each line: the framing that goes on live; `memory` keeps it alive
    cdef uint32_t *begun                    # of each line: the live connection that the memory has come to
    cdef Seam *seams
    cdef int32_t *line_of
    cdef LineStatus *own_status
    cdef readonly bint streaming
    cdef int64_t patience_ns
    cdef int64_t opened_at                  # since when the live lines are open, ns since the Unix epoch
    cdef int64_t *lags                      # of each channel's last recorded event, behind the time it was received
    cdef int64_t *last_events               # of each channel, exchange time; 0 = none since the recording is over
    cdef uint64_t looked_at                 # events up to this one

    cdef int handed                         # a mailbox: the live receiver is the hot thread's

    # the hot thread's
    cdef int phase
    cdef int lent
    cdef bint recording_over
    cdef bint awaiting                      # some channel is not known to be whole to the present
    cdef int short_polls
    cdef uint32_t until_offset              # polls
    cdef int64_t patient_until              # CLOCK_MONOTONIC; INT64_MIN: the recording has always had more
    cdef int64_t played_at                  # CLOCK_MONOTONIC: when it last had some
    cdef int64_t last_recorded              # ts_recv of the last recorded packet; INT64_MIN = none
    cdef uint64_t *heartbeats               # of each line, when its connection was begun

    # counts, each written by one thread and read by any
    cdef readonly bint impatient            # the recording did not come to the live lines in time
    cdef readonly uint64_t played           # recorded packets
    cdef readonly uint64_t offset           # bytes of the recording that are read, now and then
    cdef readonly uint64_t overlap          # kept packets passed over: recorded, too
    cdef readonly uint64_t given            # kept packets that were played

    def __cinit__(self, int lines, Receiver recording not None, Receiver live not None, list line_of not None, *,
                  uint64_t memory=1 << 28, int64_t patience_ns=10_000_000_000, bint streaming=False):
        cdef int i
        if live.lines != lines or len(line_of) != recording.lines:
            raise ValueError(f"lines: {lines}, of the live receiver {live.lines}; line_of names a line for each of the "
                             f"recording's {recording.lines}, not {len(line_of)}")
        if any(not -1 <= line < lines for line in line_of):
            raise ValueError(f"line_of: each is -1 to {lines - 1}, not {line_of}")
        self.memory_bytes = memory
        self.recording, self.live = recording, live
        self.patience_ns, self.streaming = patience_ns, streaming
        self.own_status = self.status
        self.patient_until = self.last_recorded = INT64_MIN
        self.until_offset = OFFSET_POLLS
        self.seams = <Seam *> calloc(lines, sizeof(Seam))
        self.heartbeats = <uint64_t *> calloc(lines, sizeof(uint64_t))
        self.lags = <int64_t *> calloc(2 * lines, sizeof(int64_t))
        self.arbiters = <void **> calloc(4 * lines, sizeof(void *))
        self.channel_of = <int *> calloc(lines, sizeof(int))
        self.line_of = <int32_t *> calloc(recording.lines, sizeof(int32_t))
        self.connections = <uint32_t *> calloc(recording.lines + lines, sizeof(uint32_t))
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if (self.seams == NULL or self.heartbeats == NULL or self.lags == NULL
                or self.arbiters == NULL or self.channel_of == NULL or self.line_of == NULL or self.connections == NULL
                or self.messages == NULL):
            raise MemoryError()
        self.last_events = self.lags + lines
        self.framings, self.live_at = self.arbiters + lines, self.arbiters + 3 * lines
        self.begun = self.connections + recording.lines
        for i in range(recording.lines):
            self.line_of[i] = line_of[i]
        self.opened_at = clock(CLOCK_REALTIME)
        self.played_at = clock(CLOCK_MONOTONIC)

    def __dealloc__(self):
        if self.own_status != NULL:
            self.status = self.own_status           # which the base frees
        free(self.seams)
        free(self.heartbeats)
        free(self.lags)
        free(self.arbiters)
        free(self.channel_of)
        free(self.line_of)
        free(self.connections)
        free(self.messages)

    def join(self, list framings not None, list channel_of not None, arbiters not None, Publisher publisher not None):
        """What the lines lead to. Before the first poll, and after catch_up() of the arbiters.

        `framings`: three of each line: those for the keeping thread, which of streams go on live, those to look at the seam
        with, and the shard's own. Nothing is shared between the three.
        """
        cdef int i
        cdef Framing framing
        cdef Arbiter arbiter
        if len(framings) != 3 * self.lines or len(channel_of) != self.lines or not 1 <= len(arbiters) <= self.lines:
            raise ValueError(f"{self.lines} lines: three framings and a channel for each, not {len(framings)} and "
                             f"{len(channel_of)}")
        self.memory = KeptPackets(framings[:self.lines], self.memory_bytes)
        self.parts = [framings[self.lines:], list(arbiters)]
        self.publisher = publisher
        for i, framing in enumerate(self.parts[0]):
            self.framings[i] = <void *> framing
        for i, framing in enumerate(framings[:self.lines]):
            self.live_at[i] = <void *> framing
        for i, arbiter in enumerate(arbiters):
            self.arbiters[i] = <void *> arbiter
        self.channels = len(arbiters)
        for i, channel in enumerate(channel_of):
            if not 0 <= channel < len(arbiters):
                raise ValueError(f"line {i} names channel {channel}; there are {len(arbiters)}")
            self.channel_of[i] = channel
            if isinstance(arbiters[channel], Splicer):
                self.texts |= <uint64_t> 1 << self.channel_of[i]

    def lead(self, Stages stages not None):
        """The shard that polls: where lines are streams, its framings change when it goes over to them. Before it runs."""
        self.stages = stages

    # -- the keeping thread -------------------------------------------------------------------------------------------

    def stand_by(self):
        """Keep what the live lines bring until the hot thread takes them over. True then; False after leave()."""
        cdef bint taken
        cdef int how = KEEP_DATAGRAMS if not self.streaming else KEEP_STREAMS if self.texts else KEEP_NOTHING
        with nogil:
            taken = self.memory.keep_all(self.live, how)
        if not taken:
            return False
        self.live.bind(self.counters, self.counter_stride, self.owner)      # adds what was counted so far
        fh_mailbox_put(&self.handed, 1)
        with nogil:
            while fh_mailbox_look(&self.phase) != PHASE_LIVE and not fh_mailbox_look(&self.memory.left):
                doze(IDLE_NS)
        if fh_mailbox_look(&self.phase) != PHASE_LIVE:
            return False
        self.memory.forget()
        return True

    def leave(self):
        """Let stand_by() end soon. From any thread, after join()."""
        fh_mailbox_put(&self.memory.left, 1)

    # -- the hot thread -----------------------------------------------------------------------------------------------

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int n = 0
        if self.phase == PHASE_LIVE:
            return self.poll_live(out, capacity)
        if capacity <= 0 or self.holes_are_open():
            return 0
        if self.phase == PHASE_REPLAY:
            if not self.recording_over:
                n = self.poll_recorded(out, capacity)
            if n > 0:
                self.memory.unclaim()
                return n
            if not self.recording_is_left():
                return 0
            self.sew()
        n = self.poll_kept(out, capacity)
        if n != 0 or self.phase != PHASE_LIVE:
            return n
        return self.poll_live(out, capacity)

    cdef bint holes_are_open(self) noexcept nogil:
        """Does a channel wait for retransmissions?"""
        cdef int channel
        for channel in range(self.channels):
            if ((<Arbiter> self.arbiters[channel]).recovering and not (<Arbiter> self.arbiters[channel]).frozen
                    and not (<Arbiter> self.arbiters[channel]).broken):
                return True
        return False

    cdef int poll_recorded(self, Packet *out, int capacity) noexcept nogil:
        """Packets of the recording's that are some line's of ours; 0: none just now, or it is over."""
        cdef int i, line, n, ours, skipped
        cdef uint64_t *counters
        for skipped in range(SKIPPED_POLLS):
            n = self.recording.poll(out, capacity)
            if self.texts:
                self.follow_recorded()
            if n <= 0:
                self.recording_over = n < 0
                return 0
            self.until_offset -= 1
            if self.until_offset == 0:
                self.until_offset = OFFSET_POLLS
                with gil:
                    self.look_at_offset()
            ours = 0
            for i in range(n):
                line = self.line_of[out[i].line]
                if line < 0:
                    continue
                if self.connections[out[i].line] != self.recording.status[out[i].line].connections:
                    self.connections[out[i].line] = self.recording.status[out[i].line].connections
                    if not self.of_texts(line):        # of those the shard does it, by their status
                        (<Framing> self.framings[self.lines + line]).reset()
                out[ours] = out[i]
                out[ours].line = line
                counters = self.counters + line * self.counter_stride
                counters[LN_PACKETS] += 1
                counters[LN_BYTES] += out[i].len
                ours += 1
            if ours > 0:
                self.played_at = clock(CLOCK_MONOTONIC)
                self.last_recorded = out[ours - 1].ts_recv
                self.played += ours
                self.lent = LENT_RECORDED
                return ours
            self.recording.release()
        return 0

    cdef inline bint of_texts(self, uint32_t line) noexcept nogil:
        return self.texts >> self.channel_of[line] & 1

    cdef void follow_recorded(self) noexcept nogil:
        """The status of recorded connections of texts is ours: it tells the shard what becomes of them."""
        cdef int i, line
        for i in range(self.recording.lines):
            line = self.line_of[i]
            if line >= 0 and self.of_texts(line):
                self.status[line].connections = self.recording.status[i].connections
                self.status[line].state = self.recording.status[i].state

    cdef void look_at_offset(self) noexcept:
        """A recording's receiver says it to the thread that polls only."""
        try:
            self.offset = getattr(self.recording, "offset", 0)
        except Exception:
            pass                                    # it is for people; what is wrong with a file is told by poll()

    cdef bint recording_is_left(self) noexcept nogil:
        """The recording has no more packets, just now at least: is it time to go on with those kept?"""
        cdef bint waited = False
        if self.streaming and not self.texts:
            return True                             # where it has come to, the server goes on
        if not self.recording_over:
            if self.patient_until == INT64_MIN:
                self.patient_until = clock(CLOCK_MONOTONIC) + self.patience_ns
            waited = clock(CLOCK_MONOTONIC) >= self.patient_until and not self.overlaps()
            if not waited and not self.overlaps():
                self.memory.unclaim()
                return False
        if not self.memory.claim() or not (self.recording_over or waited or self.overlaps()):
            return False
        self.impatient = waited
        return True

    cdef bint overlaps(self) noexcept nogil:
        """Has every channel come to where the memory has its live lines whole?

        Before the claim is granted that may change while it is looked at, so it is asked again afterwards.
        """
        cdef int channel, line
        cdef bint heard
        cdef const Need *need
        for channel in range(self.channels):
            heard = False
            if self.streaming:
                if not self.texts_overlap(channel):
                    return False
                continue
            for line in range(self.lines):
                need = &self.memory.needs[line]
                if self.channel_of[line] == channel and fh_mailbox_look(&need.known):
                    heard = True
                    if not self.reaches(<Arbiter> self.arbiters[channel], need):
                        return False
            if (not heard and self.last_recorded < self.opened_at
                    and clock(CLOCK_MONOTONIC) - self.played_at < (<Arbiter> self.arbiters[channel]).silence_ns):
                return False
        return True

    cdef bint texts_overlap(self, int channel) noexcept nogil:
        """Has the recording come to where some line of this channel has all there is? Of sessions there is nothing to wait for."""
        cdef int line
        cdef const Need *need
        if not self.texts >> channel & 1:
            return True
        for line in range(self.lines):
            need = &self.memory.needs[line]
            if (self.channel_of[line] == channel and fh_mailbox_look(&need.known) and self.last_recorded != INT64_MIN
                    and <uint32_t> line != (<Splicer> self.arbiters[channel]).control
                    and self.last_recorded >= need.since + TEXTS_NS):
                return True
        return False

    cdef bint reaches(self, Arbiter arbiter, const Need *need) noexcept nogil:
        if arbiter.session[0] != need.session[0] or arbiter.session[1] != need.session[1]:
            # what is recorded of another session may lack its end, which is on its way if the recorder lives
            return need.number == 1 and not arbiter.joined or arbiter.past.was_left(need.session)
        return arbiter.expected >= need.number

    cdef void sew(self) noexcept nogil:
        """The recording is over; the ring's far end is ours."""
        cdef int line, channel
        for line in range(self.lines):
            channel = self.channel_of[line]
            self.seams[line].session[0] = (<Arbiter> self.arbiters[channel]).session[0]
            self.seams[line].session[1] = (<Arbiter> self.arbiters[channel]).session[1]
            self.seams[line].number = (<Arbiter> self.arbiters[channel]).expected
            self.seams[line].passed = self.last_recorded == INT64_MIN or self.streaming
            if self.of_texts(line):
                self.status[line].state = LINE_DOWN
            self.heartbeats[line] = self.publisher.lines[line].counters[LN_HEARTBEATS]
        for channel in range(self.channels):
            (<Arbiter> self.arbiters[channel]).resume(self.opened_at)
        self.look_at_events(True)
        self.awaiting = True
        fh_mailbox_put(&self.phase, PHASE_KEPT)

    cdef void look_at_events(self, bint recorded) noexcept nogil:
        """How old the last event of each channel of streams is."""
        cdef uint64_t number, head = self.publisher.head
        cdef uint64_t most = min(<uint64_t> EVENTS_LOOKED_AT, self.publisher.mask + 1)
        cdef const Event *event
        cdef int channel
        if not self.streaming:
            return
        for number in range(max(self.looked_at, head - min(most, head)) + 1, head + 1):
            event = &self.publisher.slots[number & self.publisher.mask]
            channel = self.publisher.directory[event.instrument].channel
            if event.instrument == 0 or channel >= self.channels:
                continue
            if recorded:
                self.lags[channel] = event.ts_recv - event.ts_event
            else:
                self.last_events[channel] = event.ts_event
        self.looked_at = head

    cdef int poll_kept(self, Packet *out, int capacity) noexcept nogil:
        """Packets out of the memory. When it is empty, and the live receiver ours, the phase is LIVE."""
        cdef int n = 0, what = KEPT_PACKET
        cdef Change change
        cdef bint last = fh_mailbox_look(&self.handed)      # before the look into the ring: nothing more comes into it
        while n < capacity and what != KEPT_NONE:
            what = self.memory.take(&out[n], &change)
            if what == KEPT_CHANGE:
                if n > 0:
                    self.memory.give_back()                 # the packets before it are of the connection before
                    break
                self.follow_kept(&change)
            elif what == KEPT_PACKET:
                if not self.seams[out[n].line].passed and self.was_recorded(&out[n]):
                    self.overlap += 1
                else:
                    n += 1
        if n > 0:
            self.given += n
            self.lent = LENT_KEPT
            return n
        self.memory.took()
        if not last:
            fh_mailbox_put(&self.memory.wanted, 1)
            return 0
        self.status = self.live.status
        if self.stages is not None:
            self.go_live()
        fh_mailbox_put(&self.phase, PHASE_LIVE)
        return 0

    cdef void follow_kept(self, const Change *change) noexcept nogil:
        """A kept connection's word: another number of a connection than the shard's last one, so that it sees a new one."""
        cdef uint32_t line = change.line
        if self.of_texts(line):
            self.status[line].connections += change.connections != self.begun[line]
            self.status[line].state = change.state
            self.begun[line] = change.connections

    cdef void go_live(self) noexcept nogil:
        """Every kept byte has been parsed twice: the framings that were parsed with first take over, and the live status."""
        cdef int line
        self.stages.recorded_streams = False
        for line in range(self.lines):
            self.stages.framings[line] = self.live_at[line]
            self.stages.connections[line] = self.live.status[line].connections

    cdef bint was_recorded(self, const Packet *packet) noexcept nogil:
        """Is this kept packet a copy of what was recorded? The first of its line that is not passes the seam."""
        cdef Seam *seam = &self.seams[packet.line]
        cdef Frame frame
        (<Framing> self.framings[packet.line]).parse(packet, &frame, self.messages, MESSAGES_MAX)
        if (frame.kind in (FRAME_DATA, FRAME_HEARTBEAT, FRAME_END) and packet.ts_recv - self.last_recorded <= SLACK_NS
                and frame.session[0] == seam.session[0] and frame.session[1] == seam.session[1]
                and frame.first_seq + <uint64_t> frame.count < seam.number):
            return True
        seam.passed = True
        return False

    cdef int poll_live(self, Packet *out, int capacity) noexcept nogil:
        cdef int n
        if self.awaiting and self.short_polls >= SHORT_POLLS:
            self.look_at_the_present()
        n = self.live.poll(out, capacity) if self.memory.failed == 0 else self.memory.failed
        if n > 0:
            self.lent = LENT_LIVE
        elif n < 0:
            self.ended = n == END_OF_INPUT
        if self.awaiting:
            self.short_polls = self.short_polls + 1 if 2 * n <= capacity and not self.have_waited(out, n) else 0
        return n

    cdef bint have_waited(self, const Packet *packets, int count) noexcept nogil:
        """Is one of these old? Where no clock passes that cannot be told."""
        cdef int64_t now = self.live.now() if count > 0 else INT64_MIN
        cdef int i
        if now != INT64_MIN:
            for i in range(count):
                if now - packets[i].ts_recv > WAITED_NS:
                    return True
        return False

    cdef void look_at_the_present(self) noexcept nogil:
        cdef int channel
        cdef bint whole = True
        self.short_polls = SHORT_POLLS
        self.look_at_events(False)
        for channel in range(self.channels):
            if self.streaming and not self.texts >> channel & 1 and not self.stream_is_present(channel):
                whole = False
            else:
                whole = (<Arbiter> self.arbiters[channel]).present() and whole
        self.awaiting = not whole

    cdef bint stream_is_present(self, int channel) noexcept nogil:
        """The channel's server has sent all that is past."""
        cdef int line
        for line in range(self.lines):
            if (self.channel_of[line] == channel
                    and self.publisher.lines[line].counters[LN_HEARTBEATS] > self.heartbeats[line]):
                return True
        return (self.last_events[channel] != 0
                and clock(CLOCK_REALTIME) - self.last_events[channel] <= self.lags[channel] + STREAM_SLACK_NS)

    cdef void release(self) noexcept nogil:
        cdef int lent = self.lent
        self.lent = LENT_NOTHING
        if lent == LENT_LIVE:
            self.live.release()
        elif lent == LENT_RECORDED:
            self.recording.release()
        elif lent == LENT_KEPT:
            self.memory.took()

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        if self.phase == PHASE_LIVE:
            return self.live.wait(timeout_ns)
        doze(min(timeout_ns, <int64_t> IDLE_NS))
        return 0

    cdef int64_t now(self) noexcept nogil:
        """While the past is played time passes with the packets."""
        return self.live.now() if self.phase == PHASE_LIVE else INT64_MIN

    # -- for people ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Where packets come from: "replay", "kept" or "live"; and "present" once all channels are known to be whole."""
        cdef int phase = fh_mailbox_look(&self.phase)
        if phase == PHASE_LIVE and not self.awaiting:
            return "present"
        return ("replay", "kept", "live")[phase]

    @property
    def last_played(self) -> int:
        """ts_recv of the last recorded packet played, ns since the Unix epoch; 0 = none yet."""
        return self.last_recorded if self.last_recorded != INT64_MIN else 0

    @property
    def sessions(self) -> list:
        """The session of each line's channel where the recording ended, b"" = none; true once `state` is not "replay"."""
        return [(<const char *> &self.seams[line].session[0])[:16].rstrip(b"\0") for line in range(self.lines)]

    @property
    def error(self):
        """What ended the live input; the recording's own `error` is no end."""
        return self.live.error

    def describe(self):
        """The live receiver's."""
        return self.live.describe()

    def line_status(self, int line):
        """The live line's; while the past is played its packets' times are those recorded."""
        status = self.live.line_status(line)
        if fh_mailbox_look(&self.phase) == PHASE_REPLAY and self.played > 0:
            status["ts_kind"] = 4                   # TS_FILE
        return status

    def close(self):
        """Close both receivers. Not while stand_by() runs."""
        self.recording.close()
        self.live.close()
        self.unbind()

"""A shard's stages: put together, dated, and between two packets as plain words and back. Off the hot path, all of it."""
from libc.stdint cimport INT64_MIN, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from feedhandler._marks cimport Marks
from feedhandler._flags cimport fh_flag_store
from feedhandler._standby cimport Standby
from feedhandler._records cimport MESSAGES_MAX, PART_DIRECTORY, LineRecord, Message
from feedhandler._walk cimport WALK_ENDED, WALK_FINISH, WALK_POLL, Walk
from feedhandler._witness cimport Witness
from feedhandler.book._book cimport Books
from feedhandler.book._level_book cimport LevelBook
from feedhandler.decode._decoder cimport Decoder
from feedhandler.decode._text cimport RULE_SNAPSHOT_FIRST
from feedhandler.line._arbiter cimport Arbiter
from feedhandler.line._splicer cimport Splicer
from feedhandler.publish._publisher cimport Publisher
from feedhandler.receive._receiver cimport Receiver
from feedhandler.session._framing cimport Framing

_WAITING = {"spin": WAIT_SPIN, "adaptive": WAIT_ADAPTIVE, "block": WAIT_BLOCK}


cdef class Stages(Walk):
    """One hot thread's share: a receiver, its lines and channels, and the way into one segment.

    `lines`: for each line of the receiver its (framing, channel index). `channels`: for each channel its
    (arbiter, decoder, books, days), where `days` is a list of (first ns of the local day, yyyymmdd), ascending: the
    session date of a session that begins at a given time. All are kept alive by the shard.
    """

    def __cinit__(self, Receiver receiver not None, Publisher publisher not None, list lines not None,
                  list channels not None, *, str wait="adaptive", int spin_us=50, int latency_sample=64):
        cdef int i
        cdef Arbiter arbiter
        cdef Decoder decoder
        cdef Books books
        cdef Framing framing
        if not 1 <= len(lines) <= MAX_LINES or len(lines) != receiver.lines:
            raise ValueError(f"a shard takes 1 to {MAX_LINES} lines, one framing for each of the receiver's "
                             f"{receiver.lines}; {len(lines)} given")
        if not 1 <= len(channels) <= MAX_CHANNELS:
            raise ValueError(f"a shard takes 1 to {MAX_CHANNELS} channels; {len(channels)} given")
        self.receiver = receiver
        self.publisher = publisher
        self.line_count = len(lines)
        self.channel_count = len(channels)
        self.kept = (list(lines), list(channels))
        self.standing_by = []
        self.waiting = _WAITING[wait]
        self.spin_ns = spin_us * 1000
        self.sample_every = latency_sample
        self.until_sample = 1
        self.until_tick = TICK_PACKETS
        self.last_recv = INT64_MIN
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if self.messages == NULL:
            raise MemoryError()
        receiver.bind(<uint64_t *> &publisher.lines[0].counters[0], sizeof(LineRecord) // 8, publisher)
        for i, (framing, channel) in enumerate(lines):
            self.framings[i] = <void *> framing
            self.channel_of[i] = channel
            self.recorded_streams |= framing.stream and receiver.now() == INT64_MIN
            if not 0 <= self.channel_of[i] < self.channel_count:
                raise ValueError(f"line {i} names channel {channel}; there are {self.channel_count}")
        for i, (arbiter, decoder, books, days) in enumerate(channels):
            arbiter.bind(&publisher.channels[i], publisher.lines, publisher.leads)
            decoder.bind(&publisher.channels[i].counters[0])
            books.bind(&publisher.channels[i].counters[0])
            books.share(publisher.directory, &publisher.parts[PART_DIRECTORY], i)
            self.arbiters[i] = <void *> arbiter
            self.decoders[i] = <void *> decoder
            self.books[i] = <void *> books
            self._set_days(i, days)
            if isinstance(arbiter, Splicer):
                self._splice(i, arbiter, books)
            if arbiter.recovery is not None:
                self.answer_framings[i] = self.framings[self.first_line_of(i)]
                self.recovers = True

    def __dealloc__(self):
        cdef int i
        free(self.messages)
        for i in range(MAX_CHANNELS):
            free(self.days[i])

    cdef _splice(self, int channel, Splicer splicer, LevelBook books):
        """Of feeds without numbers, each data line beside another has a standby book."""
        cdef int line
        cdef Standby standby
        if not books.by_snapshot:
            raise ValueError("a Splicer's books are LevelBooks that begin by_snapshot")
        self.spliced[channel] = self.splices = True
        if splicer.rule != RULE_SNAPSHOT_FIRST or splicer.lines < 2:
            return
        for line in range(splicer.first_line, splicer.first_line + splicer.lines):
            standby = Standby(books)
            self.standing_by.append(standby)
            self.standbys[line] = <void *> standby

    cdef int first_line_of(self, int channel) except -1:
        cdef int line
        for line in range(self.line_count):
            if self.channel_of[line] == channel:
                return line
        raise ValueError(f"channel {channel} has a recovery and no line: give it one")

    cdef _set_days(self, int channel, days):
        cdef int i
        self.day_count[channel] = len(days)
        self.days[channel] = <int64_t *> calloc(2 * len(days) + 1, sizeof(int64_t))
        if self.days[channel] == NULL:
            raise MemoryError()
        for i, (start, date) in enumerate(days):
            self.days[channel][2 * i] = start
            self.days[channel][2 * i + 1] = date

    def set_date(self, int channel, int64_t midnight, uint32_t date):
        """The session date of the channel's present session: ns since the epoch of its midnight, and yyyymmdd."""
        if not 0 <= channel < self.channel_count:
            raise ValueError(f"there are {self.channel_count} channels, no number {channel}")
        (<Decoder> self.decoders[channel]).begin(midnight, date)
        self.fixed_date[channel] = True

    def watch(self, Witness witness):
        """Let `witness` see each message as it takes effect; None: nobody. Not while the shard runs."""
        self.witness = witness

    def measure(self, int latency_sample):
        """Take the latency of one packet in so many from now on, 0 = of none. Safe from any thread."""
        fh_flag_store(<int *> &self.sample_every, latency_sample)

    def go_on(self, Receiver receiver not None):
        """Take packets from this receiver from now on, which has the same lines. Between turns."""
        if receiver.lines != self.receiver.lines or self.stage not in (WALK_POLL, WALK_FINISH, WALK_ENDED):
            raise ValueError(f"a receiver of {self.receiver.lines} lines can take over, between two packets")
        receiver.bind(<uint64_t *> &self.publisher.lines[0].counters[0], sizeof(LineRecord) // 8, self.publisher)
        self.receiver = receiver
        self.held = 0
        self.stage = WALK_POLL

    def mark(self, Marks marks):
        """Let `marks` look at each batch of packets before it is taken, and skim it; None: nobody. Not while it runs."""
        self.marks = marks

    @property
    def stages(self):
        """The (arbiter, decoder, books, days) of each channel, as they were handed over."""
        return tuple(self.kept[1])

    @property
    def framings(self):
        """The framing of each line."""
        return tuple(framing for framing, _ in self.kept[0])

    def pass_over(self, int64_t packets):
        """Let so many packets go by, which a snapshot has taken in: load it behind this. How many there were."""
        cdef int line
        passed, _ = self.receiver.skim(packets)
        for line in range(self.line_count):
            self.connections[line] = self.receiver.status[line].connections
        return passed

    @property
    def standbys(self):
        """The standby books (LevelBook) of each line that has some, by the shard's number of the line."""
        return {line: (<Standby> self.standbys[line]).books for line in range(self.line_count) if self.standbys[line] != NULL}

    def state(self):
        """What the shard itself knows between two packets, as a dict that JSON can hold: for snapshots."""
        n = self.channel_count
        return {"packets": self.packets_taken, "last_recv": self.last_recv, "until_tick": self.until_tick,
                "last_event": [self.last_event[i] for i in range(n)], "fixed_date": [self.fixed_date[i] for i in range(n)]}

    def set_state(self, state):
        """The inverse of state(). Raises KeyError, TypeError, ValueError or OverflowError for what it never said."""
        cdef uint64_t packets = state["packets"]
        cdef int64_t last_recv = state["last_recv"]
        cdef uint32_t until_tick = state["until_tick"]
        cdef int i
        if not 1 <= until_tick <= TICK_PACKETS or not len(state["last_event"]) == len(state["fixed_date"]) == self.channel_count:
            raise ValueError("the snapshot's shard has other channels, or a tick that cannot be")
        for i in range(self.channel_count):
            self.last_event[i], self.fixed_date[i] = state["last_event"][i], state["fixed_date"][i]
        self.packets_taken, self.last_recv, self.until_tick = packets, last_recv, until_tick

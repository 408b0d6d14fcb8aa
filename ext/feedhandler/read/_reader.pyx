"""The reader's end of a segment: maps nothing, allocates nothing after it was made, and writes nowhere but to its caller."""
cimport numpy as cnp
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset
from feedhandler._records cimport (LAYOUT_VERSION, PART_BOOKS, PART_CHANNELS, PART_DIRECTORY, PART_HISTOGRAMS, PART_LINES,
                                   PART_RINGS, PART_SLOTS, PART_SYMBOLS, PARTS, QUALITY_INIT, QUALITY_LIVE, QUALITY_STALE,
                                   REASON_SILENT, REASON_START, REASON_STOPPED, REASON_WRITER_DIED, SEGMENT_MAGIC,
                                   SEGMENT_REPLACED, SEGMENT_STOPPED, ChannelRecord, Histogram, LineRecord)
from feedhandler._ring cimport fh_ring_intact, fh_ring_read
from feedhandler._seqlock cimport (fh_load, fh_load32, fh_load32_acquire, fh_load_acquire, fh_load_words, fh_pause,
                                   fh_seq_enter, fh_seq_unchanged)
from feedhandler._shm cimport fh_futex_wait, fh_lock_held, fh_monotonic, fh_monotonic_coarse, fh_realtime, fh_sleep
from feedhandler._symbols cimport FH_KEY_WORDS, FH_SYMBOL_LENGTH, fh_symbol_find, fh_symbol_key
from feedhandler.read._arrays cimport array_over

from feedhandler._records import EVENT, LAYOUT_HASH
from feedhandler.errors import LayoutError, SegmentError
from feedhandler.read._arrays import Batch, View

cdef extern from "unistd.h" nogil:
    int close(int fd)
    int dup(int fd)

cdef extern from "sched.h" nogil:
    int sched_yield()

cnp.import_array()

cdef enum:
    TRIES = 1000                # copies of a book that keeps changing before we ask whether its writer lives
    ROUNDS = 1000               # times we ask, each after giving up the processor
    SPINS = 2000                # polls of a spinning reader before other Python threads have their turn
    WAIT_SPIN = 0
    WAIT_SLEEP = 1
    WAIT_FUTEX = 2
    LIFE_INTERVAL = 10_000_000  # ns between looks at the writer's lock while nothing comes

cdef int64_t STUCK = 3_000_000_000   # ns without a beat of the hot thread: it is stopped, or has lost its processor
cdef int64_t TICK = 1_000_000   # ns; CLOCK_MONOTONIC_COARSE moves in steps of 1 to 10 ms
cdef object _event = EVENT
WAITS = {"spin": WAIT_SPIN, "sleep": WAIT_SLEEP, "futex": WAIT_FUTEX}


cdef class Reader:
    """Reader(memory, fd=-1) over a segment's memory; `fd`, of the same file, is duplicated and asked for the writer's life.

    Raises SegmentError for what is no segment, LayoutError for one of another version.
    """

    def __cinit__(self, memory not None, int fd=-1):
        self.fd = -1
        PyObject_GetBuffer(memory, &self.view, PyBUF_SIMPLE)
        self.held = True
        self.memory = memory
        self.base = <const uint8_t *> self.view.buf
        self.header = <const SegmentHeader *> self.base
        cdef uint64_t length = <uint64_t> self.view.len
        if length < sizeof(SegmentHeader) + PARTS * sizeof(Part) or self.header.magic != SEGMENT_MAGIC:
            raise SegmentError("no segment of feedhandler")
        if self.header.layout_version != LAYOUT_VERSION or self.header.layout_hash != LAYOUT_HASH:
            raise LayoutError(
                f"the segment has layout {self.header.layout_version}:{self.header.layout_hash:016x} (feedhandler "
                f"{self.header.version.decode(errors='replace')}), this reader expects "
                f"{LAYOUT_VERSION}:{LAYOUT_HASH:016x}; use the same version of feedhandler on both sides")
        self.parts = <const Part *> (self.base + sizeof(SegmentHeader))
        self.depth, self.side_stride = self.header.depth, self.header.side_stride
        self.shards = self.header.shards
        cdef uint64_t[8] least
        least[:] = [sizeof(InstrumentRecord), sizeof(uint32_t), sizeof(BookSlot) + 2 * <uint64_t> self.side_stride,
                    sizeof(RingHead), sizeof(Event), sizeof(ChannelRecord), sizeof(LineRecord), sizeof(Histogram)]
        cdef const Part *part
        for i in range(PARTS):
            part = &self.parts[i]
            if part.stride != least[i] or part.count > length or part.offset > length \
                    or part.stride * part.count > length - part.offset or part.offset % 64 or not part.count:
                raise SegmentError(f"the segment is damaged: its part {i} does not lie within its {length} bytes")
        self.instruments = <uint32_t> self.parts[PART_BOOKS].count
        self.symbol_mask = <uint32_t> (self.parts[PART_SYMBOLS].count - 1)
        if (sizeof(Level) * <uint64_t> self.depth + sizeof(LastTrade) > self.side_stride or self.depth == 0
                or self.side_stride % 64 or self.parts[PART_DIRECTORY].count != self.instruments
                or self.symbol_mask & (self.symbol_mask + 1) or self.parts[PART_RINGS].count != self.shards):
            raise SegmentError("the segment is damaged: its sizes contradict each other")
        self.books = self.base + self.parts[PART_BOOKS].offset
        self.book_stride = self.parts[PART_BOOKS].stride
        self.directory = <const InstrumentRecord *> (self.base + self.parts[PART_DIRECTORY].offset)
        self.symbols = <const uint32_t *> (self.base + self.parts[PART_SYMBOLS].offset)
        self.channels = <const ChannelRecord *> (self.base + self.parts[PART_CHANNELS].offset)
        self.channel_count = <uint32_t> self.parts[PART_CHANNELS].count
        if fd >= 0:
            self.fd = dup(fd)
            if self.fd < 0:
                raise SegmentError("no further file can be opened")

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)
        if self.held:
            PyBuffer_Release(&self.view)

    # -- without the GIL -----------------------------------------------------------------------------------------------

    cdef int check(self) noexcept nogil:
        """LIFE_..., asked of the kernel now."""
        cdef int held
        cdef uint32_t state
        cdef int64_t beat
        self.checked = fh_monotonic_coarse()
        if self.dead == LIFE_RUNNING or self.dead == LIFE_DIED:
            held = 1 if self.fd < 0 or self.dead == LIFE_DIED else fh_lock_held(self.fd)
            state = fh_load32_acquire(&self.header.state)      # after the lock: a writer that stops says so first
            if state == SEGMENT_STOPPED:
                self.dead = LIFE_STOPPED
            elif held != 1:
                self.dead = LIFE_DIED
        if self.dead != LIFE_REPLACED and fh_load32_acquire(&self.header.state) == SEGMENT_REPLACED:
            self.dead = LIFE_REPLACED
        beat = <int64_t> fh_load(<const uint64_t *> &self.header.hot_heartbeat)
        if beat == 0 or self.checked - beat <= STUCK:
            self.stuck = 0
        elif self.stuck == 0:
            self.stuck = self._beaten()
        if self.dead != LIFE_RUNNING and self.gone == 0:
            self.gone = self._beaten()
        return self.dead

    cdef int64_t _beaten(self) noexcept nogil:
        """When the hot thread beat last, in ns since the Unix epoch; of a writer without one, now."""
        cdef int64_t beat = <int64_t> fh_load(<const uint64_t *> &self.header.hot_heartbeat)
        return fh_realtime() - (fh_monotonic() - beat if beat else 0)

    cdef int life(self) noexcept nogil:
        """LIFE_..., from the header's word and, once per timer tick, from the kernel."""
        cdef uint32_t state = fh_load32(&self.header.state)
        if (state in (SEGMENT_REPLACED, SEGMENT_STOPPED) and self.gone == 0
                or self.dead == LIFE_RUNNING and fh_monotonic_coarse() - self.checked >= TICK):
            self.check()
        return self.dead

    cdef int snapshot(self, uint32_t instrument, BookSlot *head, Level *bids, Level *asks) noexcept nogil:
        return self._copy(instrument, head, bids, asks, self.depth, NULL, NULL)

    cdef int top(self, uint32_t instrument, BookSlot *head, Level *bid, Level *ask, LastTrade *trade,
                 Volume *volume) noexcept nogil:
        return self._copy(instrument, head, bid, ask, 1, trade, volume)

    cdef int _copy(self, uint32_t instrument, BookSlot *head, Level *bids, Level *asks, uint32_t depth,
                   LastTrade *trade, Volume *volume) noexcept nogil:
        cdef const uint8_t *slot = self.books + instrument * self.book_stride
        cdef const uint8_t *bid_side = slot + sizeof(BookSlot)
        cdef const uint8_t *ask_side = bid_side + self.side_stride
        cdef uint64_t entered = 0
        cdef uint32_t bid_levels = 0, ask_levels = 0
        cdef const ChannelRecord *channel = NULL
        cdef uint32_t word = QUALITY_LIVE       # the channel's; of no channel, none
        cdef uint32_t reason = 0
        cdef uint64_t since = 0
        cdef int answer = SNAPSHOT_NO_BOOK, tries = 0
        if instrument < self.instruments:
            answer = SNAPSHOT_NO_LEVELS
            if self.directory[instrument].channel < self.channel_count:
                channel = &self.channels[self.directory[instrument].channel]
            while True:
                entered = fh_seq_enter(<const uint64_t *> slot)
                if not entered & 1:
                    fh_load_words(<uint64_t *> head, <const uint64_t *> slot, sizeof(BookSlot) // 8)
                    bid_levels = head.bids if head.bids < depth else depth
                    ask_levels = head.asks if head.asks < depth else depth
                    fh_load_words(<uint64_t *> bids, <const uint64_t *> bid_side, 3 * bid_levels)
                    fh_load_words(<uint64_t *> asks, <const uint64_t *> ask_side, 3 * ask_levels)
                    if trade != NULL:
                        fh_load_words(<uint64_t *> trade, <const uint64_t *> (
                            bid_side + self.side_stride - sizeof(LastTrade)), 2)
                    if volume != NULL:
                        fh_load_words(<uint64_t *> volume, <const uint64_t *> (
                            ask_side + self.side_stride - sizeof(Volume)), 2)
                    # After the copy, or its levels could be younger than the word; before the last look at the number,
                    # or they could be older: of before the reset that made the channel LIVE again.
                    if channel != NULL:
                        word = fh_load32_acquire(&channel.quality)
                        if word > head.quality:
                            reason = fh_load32_acquire(&channel.reason)
                            since = fh_load_acquire(<const uint64_t *> &channel.since)
                            if fh_load32_acquire(&channel.quality) != word:
                                entered += 1        # the reason may be another word's: as if the book had changed
                    if fh_seq_unchanged(<const uint64_t *> slot, entered):
                        answer = SNAPSHOT_WHOLE
                        break
                tries += 1
                if tries % TRIES:
                    fh_pause()
                elif not self._close_to(<const uint64_t *> slot) or tries >= TRIES * ROUNDS:
                    break
        if answer != SNAPSHOT_WHOLE:
            memset(head, 0, sizeof(BookSlot))
            head.quality = QUALITY_STALE if answer == SNAPSHOT_NO_LEVELS else QUALITY_INIT
            head.reason = REASON_SILENT if answer == SNAPSHOT_NO_LEVELS else REASON_START
            bid_levels = ask_levels = 0
            if trade != NULL:
                memset(trade, 0, sizeof(LastTrade))
            if volume != NULL:
                memset(volume, 0, sizeof(Volume))
        if bid_levels < depth:
            memset(bids + bid_levels, 0, (depth - bid_levels) * sizeof(Level))
        if ask_levels < depth:
            memset(asks + ask_levels, 0, (depth - ask_levels) * sizeof(Level))
        self._judge(word, reason, <int64_t> since, head)
        return answer

    cdef int _close_to(self, const uint64_t *seq) noexcept nogil:
        """Whether it is worth trying again to read what `seq` guards: 0 when it is odd and its writer is gone."""
        if self.check() != LIFE_RUNNING and fh_load_acquire(seq) & 1:
            return 0
        sched_yield()
        return 1

    cdef void _judge(self, uint32_t word, uint32_t reason, int64_t since, BookSlot *head) noexcept nogil:
        """The worst of three: the book's quality, its channel's word as loaded with it, the writer's life after both."""
        cdef int life
        if word > head.quality:
            head.quality = <uint8_t> word
            head.reason = <uint8_t> reason
            head.since = since
        life = self.life()
        if life == LIFE_RUNNING and self.stuck == 0:
            return
        if life != LIFE_RUNNING:
            head.reason = REASON_STOPPED if life == LIFE_STOPPED else REASON_WRITER_DIED
        elif head.quality < QUALITY_STALE:
            head.reason = REASON_SILENT
        if head.quality < QUALITY_STALE:
            head.quality = QUALITY_STALE
            head.since = self.gone if life != LIFE_RUNNING else self.stuck

    # -- the Python door -----------------------------------------------------------------------------------------------

    def status(self):
        """The writer's life, asked of the kernel now: "running", "stopped", "died" or "replaced"."""
        return ("running", "stopped", "died", "replaced")[self.check()]

    def frozen(self):
        """Whether the writer lives and its hot thread does not run: no beat for three seconds, as of the last look."""
        return self.dead == LIFE_RUNNING and self.stuck != 0

    @property
    def silent_since(self):
        """The last sign of life of a writer that is gone or frozen, ns since the Unix epoch; 0 while it runs."""
        return self.gone or self.stuck

    @property
    def generation(self):
        """When the segment was made, ns since the Unix epoch: another number, another segment."""
        return self.header.generation

    def find(self, str symbol not None, str venue=None):
        """Numbers of all directory entries of that symbol, on `venue` only when it is given."""
        cdef uint64_t key[FH_KEY_WORDS]
        cdef char place[8]
        cdef bytes name = symbol.encode("ascii", "replace"), market = (venue or "").encode("ascii", "replace")
        cdef uint64_t used = fh_load_acquire(&self.parts[PART_DIRECTORY].used), index
        memset(place, 0, 8)
        memcpy(place, <const char *> market, min(8, len(market)))
        if len(market) > 8 or not fh_symbol_key(key, name, <uint32_t> len(name), place):
            return []
        if venue is not None:
            index = fh_symbol_find(self.directory, self.instruments, self.symbols, self.symbol_mask, key, NULL)
            return [index] if index else []
        return [index for index in range(1, min(used, self.instruments))
                if memcmp(self.directory[index].symbol, <const char *> key, FH_SYMBOL_LENGTH) == 0]

    @property
    def used(self):
        """Directory entries in use, the unused 0 included."""
        return min(fh_load_acquire(&self.parts[PART_DIRECTORY].used), self.instruments)

    def part(self, int index):
        """Offset, stride and count of one part of the segment."""
        if not 0 <= index < PARTS:
            raise IndexError(f"a segment has {PARTS} parts, there is no {index}")
        return self.parts[index].offset, self.parts[index].stride, self.parts[index].count

    def states(self, const uint32_t[::1] instruments not None, uint8_t[::1] quality not None,
               uint8_t[::1] reason not None):
        """Fill in quality and reason, the worst of three, for each of `instruments`."""
        cdef Py_ssize_t i, n = instruments.shape[0]
        cdef BookSlot head
        cdef Level bid, ask
        if quality.shape[0] < n or reason.shape[0] < n:
            raise ValueError(f"quality and reason must hold {n} bytes")
        with nogil:
            for i in range(n):
                self.top(instruments[i], &head, &bid, &ask, NULL, NULL)
                quality[i] = head.quality
                reason[i] = head.reason


cdef class Cursor:
    """Cursor(reader, shard=0, start="now", wanted=None, batch=1024): a place in a shard's ring.

    `start` is "now" (what is published from here on), "oldest" (what the ring still holds) or an event's number.
    `wanted` holds instrument numbers: events of others are passed over, those of the whole channel (instrument 0) are not.
    `batch` is the most that take() gives at once.
    """

    def __cinit__(self, Reader reader not None, uint32_t shard=0, start="now", wanted=None, batch=1024):
        cdef uint64_t head
        if shard >= reader.shards:
            raise ValueError(f"shard must be below {reader.shards}, not {shard}")
        if batch < 1 or batch > 1 << 24:
            raise ValueError(f"batch must be 1 to {1 << 24}, not {batch}")
        self.reader = reader
        self.ring = <const RingHead *> (reader.base + reader.parts[PART_RINGS].offset) + shard
        self.mask = self.ring.capacity - 1
        if self.ring.capacity == 0 or self.ring.capacity & self.mask \
                or self.ring.capacity * reader.shards != reader.parts[PART_SLOTS].count:
            raise SegmentError("the segment is damaged: its ring has no power of two of slots")
        self.slots = <const uint64_t *> (reader.base + reader.parts[PART_SLOTS].offset
                                         + shard * self.ring.capacity * sizeof(Event))
        head = fh_load_acquire(&self.ring.head)
        if start == "now":
            self.next = head + 1
        elif start == "oldest":
            self.next = head - self.mask if head > self.mask else 1
        elif hasattr(start, "__index__") and 1 <= start < 1 << 63:
            self.next = start
        else:
            raise ValueError(f'start must be "now", "oldest" or an event\'s number from 1, not {start!r}')
        self.capacity = batch
        self.scratch = <Event *> malloc(batch * sizeof(Event))
        if self.scratch == NULL:
            raise MemoryError()
        if wanted is not None:
            self.wanted = <uint8_t *> calloc(reader.instruments, 1)
            if self.wanted == NULL:
                raise MemoryError()
            for instrument in wanted:
                if not 0 <= instrument < reader.instruments:
                    raise ValueError(f"instrument must be below {reader.instruments}, not {instrument}")
                self.wanted[<uint32_t> instrument] = 1

    def __dealloc__(self):
        free(self.scratch)
        free(self.wanted)

    cdef int poll(self, Event *out, int capacity, uint64_t *lost) noexcept nogil:
        return fh_ring_read(self.slots, self.mask, &self.ring.head, &self.next, <uint64_t *> out, capacity, self.wanted,
                            self.reader.instruments, lost)

    cdef uint64_t _view(self, uint64_t capacity, uint64_t *first, uint64_t *lost) noexcept nogil:
        """How many events lie side by side from number *first on; the place moves behind them."""
        cdef uint64_t head = fh_load_acquire(&self.ring.head), count
        if head < self.next:
            return 0
        if head - self.next > self.mask:
            lost[0] += head - self.mask - self.next
            self.next = head - self.mask
        count = min(head - self.next + 1, self.mask + 1 - (self.next & self.mask), capacity)
        first[0] = self.next
        self.next += count
        return count

    cdef bint _ready(self) noexcept nogil:
        """Whether the slot of the next event holds it, or a later one."""
        return fh_load_acquire(&self.slots[(self.next & self.mask) * 8]) >= self.next

    cdef bint _wait(self, int mode, int64_t interval, int64_t until) noexcept nogil:
        """Wait for the next event, at most until `until` (CLOCK_MONOTONIC, ns), and LIFE_INTERVAL at a time."""
        cdef uint32_t seen
        cdef int64_t now = fh_monotonic(), end = now + LIFE_INTERVAL
        if until < end:
            end = until
        while True:
            seen = fh_load32_acquire(&self.reader.header.futex)     # before we look: who wakes moves it after the head
            if self._ready():
                return True
            if now >= end:
                return False
            if mode == WAIT_FUTEX:
                fh_futex_wait(&self.reader.header.futex, seen, end - now)
            else:
                fh_sleep(min(interval, end - now))
            now = fh_monotonic()

    def take(self, int mode=WAIT_SLEEP, int64_t interval=100_000, int64_t timeout=-1, bint copy=True):
        """The next batch, or None when `timeout` ns passed (negative = for ever) or the writer is no longer running.

        `mode` is one of WAITS, `interval` the ns of one sleep. What was published before the writer's end is given out
        first. With `copy` a Batch, else a View. Raises KeyboardInterrupt.
        """
        cdef int64_t until = INT64_MAX, looked = 0, now
        cdef int spins = 0
        while True:
            batch = self._take(copy)
            if batch is not None:
                return batch
            if timeout == 0:
                return None
            if mode == WAIT_SPIN and spins < SPINS:
                # The GIL is kept for some ten microseconds: giving it up and taking it back costs more than the news.
                while not self._ready() and spins < SPINS:
                    fh_pause()
                    spins += 1
                continue
            spins = 0
            now = fh_monotonic()
            if timeout > 0 and until == INT64_MAX:
                until = now + timeout
            if now >= until:
                return None
            if now - looked >= LIFE_INTERVAL or mode != WAIT_SPIN:
                looked = now
                if self.reader.check() != LIFE_RUNNING:
                    return self._take(copy)         # it may have published between our poll and its end
            if mode == WAIT_SPIN:
                with nogil:
                    fh_pause()
            else:
                with nogil:
                    self._wait(mode, interval, until)
            PyErr_CheckSignals()

    cdef object _take(self, bint copy):
        cdef uint64_t lost = 0, first = 0, count
        cdef int n
        cdef cnp.ndarray batch
        if copy:
            n = self.poll(self.scratch, self.capacity, &lost)
            while n == 0 and self._ready():       # a whole ring of events that are not wanted
                n = self.poll(self.scratch, self.capacity, &lost)
            self.missed += lost
            self.untold += lost
            if n == 0:
                return None
            owner = PyBytes_FromStringAndSize(<const char *> self.scratch, n * sizeof(Event))
            batch = array_over(Batch, _event, n, PyBytes_AS_STRING(owner), owner, True)
            if self.untold:
                batch.lost, self.untold = self.untold, 0
            return batch
        count = self._view(<uint64_t> self.capacity, &first, &lost)
        self.missed += lost
        self.untold += lost
        if count == 0:
            return None
        batch = array_over(View, _event, <cnp.npy_intp> count, <void *> &self.slots[(first & self.mask) * 8],
                           self.reader, False)
        batch.lost, batch.cursor, batch.first = self.untold, self, first
        self.untold = 0
        return batch

    def intact(self, uint64_t first, uint64_t count):
        """How many of the `count` events from number `first` on, counted from the last, are still in the ring."""
        return fh_ring_intact(self.slots, self.mask, first, count)

    def want(self, uint32_t instrument, bint wanted):
        """From now on, pass on or pass over the events of an instrument. Only of a cursor that was made with `wanted`."""
        if self.wanted == NULL or instrument >= self.reader.instruments:
            raise ValueError(f"no filter, or no instrument {instrument}: below {self.reader.instruments} is expected")
        self.wanted[instrument] = wanted

    def pass_unfinished(self):
        """Step over an event that its writer died in while the ring still holds later ones; whether there was one."""
        if fh_load_acquire(&self.ring.head) < self.next or self._ready():
            return False
        self.next += 1
        self.missed += 1
        self.untold += 1
        return True

    @property
    def position(self):
        """Number of the next event."""
        return self.next

    @property
    def lost(self):
        """Events lost so far, all batches together."""
        return self.missed

"""Are the books right? Every book of a run with faults, at every message, beside the run without.

An `Original` keeps what the lossless run saw: for each run of numbers (a session, or what follows a restart under the
same session id) and each message in it the book it touched, and a hash of that book afterwards. A `Recorder` fills it.
A `Comparer` watches the run with faults and walks the original beside it. It knows of every book what it should be
(`wanted`) and what it is (`shown`), so a message that was passed over in silence shows at once, in the book that it
should have changed, and not only when that book is touched again.

A book is known by its symbol and venue: instruments may be numbered otherwise when messages were lost. What both number
here is the lossless run's index.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

import numpy as np

from feedhandler import records
from feedhandler._counters cimport CH_LOST, LN_BAD_PACKETS
from feedhandler._records cimport (ACTION_RESET, ACTION_STATUS, ALL_INSTRUMENTS, FLAG_SNAPSHOT, NO_LINE, QUALITY_LIVE,
                                   RETRANSMISSION, BookSlot, ChannelRecord, Event, InstrumentRecord, LineRecord, Part)
from feedhandler._witness cimport Witness
from feedhandler.book._book cimport Books, fh_level
from feedhandler.line._arbiter cimport Arbiter

cdef struct Entry:              # what one message did
    uint64_t hash               # of the book, afterwards
    int64_t ts_event
    uint32_t book               # 0 = it touched none
    uint32_t wide               # 0, or 1 + the place in `wide` of the hashes of all books: it touched all

cdef struct Sequence:           # a run of numbers, from 1
    uint64_t session[2]
    uint64_t count              # entries[0:count] are known; entries[i] is number i + 1
    uint64_t room
    Entry *entries
    uint32_t end                # 0, or 1 + the place in `wide` of all books' hashes after the end of the session


cdef inline uint64_t _mix(uint64_t hash, uint64_t word) noexcept nogil:
    hash = (hash ^ word) * <uint64_t> 0x9e3779b97f4a7c15
    return hash ^ hash >> 29


cdef uint64_t _hash(Books books, uint32_t instrument, bint trading) noexcept nogil:
    """Of all levels of both sides and, if wanted, of the trading status.

    Of a book without levels the status does not count: what a system event makes of it depends on whether its symbol
    has been named before.
    """
    cdef BookSlot *slot = books.slot(instrument)
    cdef fh_level *level
    cdef uint64_t hash = _mix(<uint64_t> 1 + trading * slot.trading, <uint64_t> slot.bids << 32 | slot.asks)
    cdef uint32_t ask, i
    if slot.bids == 0 and slot.asks == 0:
        return EMPTY
    for ask in range(2):
        level = books.side(slot, ask)
        for i in range((&slot.bids)[ask]):
            hash = _mix(_mix(_mix(hash, <uint64_t> level[i].price), level[i].size), <uint32_t> level[i].orders)
    return hash

cdef uint64_t EMPTY = _mix(1, 0)


def book_hash(bids, asks, uint8_t trading=0):
    """The hash of a book as a reader sees it: two LEVEL arrays, whose unused places have size 0.

    `trading` 0: as of an Original that does not look at it.
    """
    cdef uint64_t hash
    bids, asks = bids[bids["size"] > 0], asks[asks["size"] > 0]
    hash = _mix(<uint64_t> 1 + trading, <uint64_t> len(bids) << 32 | <uint64_t> len(asks))
    for side in (bids, asks):
        for price, size, orders in zip(side["price"].tolist(), side["size"].tolist(), side["orders"].tolist()):
            hash = _mix(_mix(_mix(hash, <uint64_t> <int64_t> price), <uint64_t> size), <uint32_t> orders)
    return hash


@cython.final
cdef class Original:
    """What the lossless run saw. `books`: room for so many. `trading`: the trading status is compared, too."""
    cdef Sequence *sequences
    cdef readonly int runs
    cdef readonly uint32_t books
    cdef readonly bint trading
    cdef uint64_t *wide                     # rows of `books` hashes
    cdef uint32_t wides, wide_room
    cdef dict index                         # (symbol, venue) -> book
    cdef bint failed                        # memory ran out

    def __cinit__(self, uint32_t books, *, bint trading=True):
        self.books = books
        self.trading = trading
        self.index = {}

    def __dealloc__(self):
        cdef int i
        for i in range(self.runs):
            free(self.sequences[i].entries)
        free(self.sequences)
        free(self.wide)

    cdef void begin(self, const uint64_t *session) noexcept nogil:
        cdef Sequence *grown = <Sequence *> realloc(self.sequences, (self.runs + 1) * sizeof(Sequence))
        if grown == NULL:
            self.failed = True
            return
        self.sequences = grown
        memset(&grown[self.runs], 0, sizeof(Sequence))
        grown[self.runs].session[0] = session[0]
        grown[self.runs].session[1] = session[1]
        self.runs += 1

    cdef Entry *entry(self, uint64_t number) noexcept nogil:
        """The entry of the present run's `number`, to be filled; NULL when there is none to be had."""
        cdef Sequence *run
        cdef Entry *grown
        cdef uint64_t room
        if self.runs == 0 or number == 0 or number > <uint64_t> 1 << 40:
            return NULL
        run = &self.sequences[self.runs - 1]
        if number > run.room:
            room = max(2 * run.room, number + 1024)
            grown = <Entry *> realloc(run.entries, room * sizeof(Entry))
            if grown == NULL:
                self.failed = True
                return NULL
            memset(grown + run.room, 0, (room - run.room) * sizeof(Entry))
            run.entries = grown
            run.room = room
        run.count = max(run.count, number)
        return &run.entries[number - 1]

    cdef uint64_t *new_row(self) noexcept nogil:
        """A row for the hashes of all books, the last of `wides`."""
        cdef uint64_t *grown
        cdef uint32_t room
        if self.wides == self.wide_room:
            room = 2 * self.wide_room + 8
            grown = <uint64_t *> realloc(self.wide, <size_t> room * self.books * sizeof(uint64_t))
            if grown == NULL:
                self.failed = True
                return NULL
            self.wide = grown
            self.wide_room = room
        self.wides += 1
        return self.wide + <size_t> (self.wides - 1) * self.books

    cdef uint32_t keep_all(self, Books books, uint32_t used) noexcept nogil:
        """Keep the hashes of all books as they are; 1 + their place in `wide`, 0 when there is no room."""
        cdef uint64_t *row = self.new_row()
        cdef uint32_t i
        if row == NULL:
            return 0
        for i in range(self.books):
            row[i] = _hash(books, i, self.trading) if 0 < i < used else EMPTY
        return self.wides

    def name_books(self, directory, used):
        """Take the names of the books from the lossless run's directory."""
        for i in range(1, int(used)):
            self.index[bytes(directory[i]["symbol"]), bytes(directory[i]["venue"])] = i
        if self.failed:
            raise MemoryError("rehearse: no memory for the hashes of the lossless run; take a shorter capture")

    @property
    def names(self):
        """Of each book its (symbol, venue), by index."""
        return {book: (symbol.decode(), venue.decode()) for (symbol, venue), book in self.index.items()}

    def session(self, int run):
        """The session id of a run."""
        return (<uint8_t *> self.sequences[run].session)[:16].rstrip(b"\0 ").decode("latin1")

    def length(self, int run):
        """The last number of a run."""
        return self.sequences[run].count

    def history(self, int run):
        """(books, hashes, wide) of a run: arrays by number - 1 of the book touched (0 = none) and of its hash.

        `wide` is a list of (number, array of all books' hashes by index), for messages that touched all books; the end
        of the session is one, too, with the run's last number.
        """
        cdef Sequence *sequence = &self.sequences[run]
        books, hashes = np.zeros(sequence.count, np.uint32), np.zeros(sequence.count, np.uint64)
        cdef uint32_t[::1] book = books
        cdef uint64_t[::1] hash = hashes
        cdef uint64_t i
        wide = []
        for i in range(sequence.count):
            book[i] = sequence.entries[i].book
            hash[i] = sequence.entries[i].hash
            if sequence.entries[i].wide:
                wide.append((i + 1, self.row(sequence.entries[i].wide)))
        if sequence.end:
            wide.append((sequence.count, self.row(sequence.end)))
        return books, hashes, wide

    cdef object row(self, uint32_t wide):
        cdef uint64_t *first = self.wide + <size_t> (wide - 1) * self.books
        return np.array(<uint64_t[:self.books]> first)

    @property
    def messages(self):
        """Messages of all runs."""
        return sum(self.length(run) for run in range(self.runs))


cdef class Observer(Witness):
    """What Recorder and Comparer share: the channel they watch, and a copy of one book at one moment."""
    cdef Original original
    cdef const ChannelRecord *channel
    cdef const LineRecord *lines
    cdef const InstrumentRecord *directory
    cdef Arbiter arbiter
    cdef const Part *entries
    cdef object kept                        # what these pointers point into
    cdef Books books
    cdef bytearray copied                   # the slot of the book asked for, as it was then
    cdef uint32_t depth

    def __cinit__(self, Original original not None, *args, **kwargs):
        self.original = original

    def attach(self, segment, Arbiter arbiter not None, Books books not None, int depth):
        """Look at this segment's first channel, and at the arbiter and the books that write it."""
        cdef size_t lines = segment.lines.ctypes.data
        cdef size_t channel = segment.channels.ctypes.data
        cdef size_t directory = segment.directory.ctypes.data
        part = segment.part("directory")
        cdef size_t entries = part.ctypes.data
        self.channel = <const ChannelRecord *> channel
        self.directory = <const InstrumentRecord *> directory
        self.lines = <const LineRecord *> lines
        self.arbiter = arbiter
        self.entries = <const Part *> entries
        self.kept = (segment, part)
        self.books = books
        self.depth = depth

    cdef uint32_t used(self) noexcept nogil:
        return <uint32_t> min(self.entries.used, <uint64_t> self.books.instruments)

    cdef void copy(self, uint32_t instrument) noexcept:
        cdef uint8_t *slot = <uint8_t *> self.books.slot(instrument)
        self.copied = bytearray((slot)[:self.books.slot_stride])

    @property
    def copied_book(self):
        """(bids, asks) of the book that was copied: LEVEL arrays; None when none was."""
        if self.copied is None:
            return None
        head = np.frombuffer(self.copied, records.BOOK, 1)[0]
        sides = np.frombuffer(self.copied, np.uint8)[records.BOOK.itemsize:]
        stride = records.side_stride(self.depth)
        size = records.LEVEL.itemsize
        return (sides[:size * head["bids"]].view(records.LEVEL),
                sides[stride:stride + size * head["asks"]].view(records.LEVEL))


@cython.final
cdef class Recorder(Observer):
    """Fills an Original. `until`: (run, number, book) whose slot is to be copied at that moment."""
    cdef int stop_run
    cdef uint64_t stop_number
    cdef uint32_t stop_book

    def __cinit__(self, original, until=None):
        self.stop_run = -1
        if until is not None:
            self.stop_run, self.stop_number, self.stop_book = until

    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil:
        cdef const Event *event = &events[count - 1]
        cdef uint64_t number = event.channel_seq
        cdef Entry *entry
        if event.instrument == ALL_INSTRUMENTS and event.line == NO_LINE:
            if event.action == ACTION_RESET:
                self.original.begin(<const uint64_t *> self.channel.session)
            elif event.action == ACTION_STATUS and self.original.runs > 0:
                self.original.sequences[self.original.runs - 1].end = self.original.keep_all(books, self.used())
            return
        entry = self.original.entry(number)
        if entry == NULL:
            return
        entry.ts_event = event.ts_event
        if event.instrument:
            entry.book = event.instrument
            entry.hash = _hash(books, event.instrument, self.original.trading)
        elif event.action == ACTION_STATUS:
            entry.wide = self.original.keep_all(books, self.used())
        if self.stop_run == self.original.runs - 1 and self.stop_number == number:
            with gil:
                self.copy(self.stop_book)


@cython.final
cdef class Comparer(Observer):
    """Watches the run with faults.

    `compared`: how often a book that claimed to be LIVE was found equal to the lossless one right after a message that
    touched it. `wrong`: how often, after a message or a change of the channel's quality, some book was LIVE and not
    equal. The first of these is kept: `first_wrong`.
    """
    cdef uint32_t *index                    # this run's instrument -> book; 0 = not looked up yet
    cdef uint32_t *instrument               # book -> this run's instrument; 0 = not seen
    cdef uint64_t *wanted
    cdef uint64_t *shown
    cdef uint32_t room, known               # books: room for, in use (those that the lossless run never had included)
    cdef uint32_t differing                 # books whose `wanted` and `shown` differ
    cdef int run                            # the original's; -1 = none yet
    cdef bint undecided                     # a run has begun, and it is not clear yet which one ...
    cdef bint spliced                       # ... since a snapshot came: it may be the same one
    cdef uint64_t position                  # number that `wanted` belongs to
    cdef uint64_t last                      # number of the last message
    cdef readonly uint64_t messages, compared, wrong, unknown, snapshots, snapshot_messages
    cdef dict first
    cdef readonly set retransmitted         # numbers that were brought by none of the channel's lines

    def __cinit__(self, Original original not None):
        self.known = len(original.index) + 1
        self.room = 2 * original.books
        self.run = -1
        self.retransmitted = set()
        self.index = <uint32_t *> calloc(self.room, sizeof(uint32_t))
        self.instrument = <uint32_t *> calloc(self.room, sizeof(uint32_t))
        self.wanted = <uint64_t *> calloc(self.room, sizeof(uint64_t))
        self.shown = <uint64_t *> calloc(self.room, sizeof(uint64_t))
        if not (self.index and self.instrument and self.wanted and self.shown):
            raise MemoryError("rehearse: no memory for the books' hashes")
        self.forget()

    def __dealloc__(self):
        free(self.index)
        free(self.instrument)
        free(self.wanted)
        free(self.shown)

    cdef void forget(self) noexcept nogil:
        """The lossless books are all empty: a run begins."""
        cdef uint32_t book
        self.position = 0
        for book in range(1, self.room):
            self.want(book, EMPTY)
            if self.shown[book] == 0:
                self.shown[book] = EMPTY
        self.count_differing()

    cdef void count_differing(self) noexcept nogil:
        cdef uint32_t book
        self.differing = 0
        for book in range(1, self.known):
            self.differing += self.wanted[book] != self.shown[book]

    cdef inline void want(self, uint32_t book, uint64_t hash) noexcept nogil:
        self.differing -= self.wanted[book] != self.shown[book]
        self.wanted[book] = hash
        self.differing += self.wanted[book] != self.shown[book]

    cdef inline void show(self, uint32_t book, uint64_t hash) noexcept nogil:
        self.differing -= self.wanted[book] != self.shown[book]
        self.shown[book] = hash
        self.differing += self.wanted[book] != self.shown[book]

    cdef uint32_t book_of(self, uint32_t instrument) noexcept nogil:
        """The book that this run numbers `instrument`; one of its own when the lossless run does not know it."""
        if instrument >= self.room:
            return 0
        if self.index[instrument] == 0:
            with gil:
                self.look_up(instrument)
        return self.index[instrument]

    cdef void look_up(self, uint32_t instrument) noexcept:
        cdef const InstrumentRecord *record = &self.directory[instrument]
        name = (record.symbol[:32].rstrip(b"\0"), record.venue[:8].rstrip(b"\0"))
        book = self.original.index.get(name, 0)
        if book == 0 and self.known < self.room:
            book = self.known
            self.known += 1
        self.index[instrument] = book
        self.instrument[book] = instrument

    cdef void touch(self, uint32_t instrument) noexcept nogil:
        cdef uint32_t book = self.book_of(instrument)
        if book:
            self.show(book, _hash(self.books, instrument, self.original.trading))

    cdef void touch_all(self) noexcept nogil:
        cdef uint32_t instrument
        for instrument in range(1, self.used()):
            self.touch(instrument)

    cdef void walk(self, uint64_t number) noexcept nogil:
        """`wanted` goes to what the lossless run had at `number`."""
        cdef Sequence *run = &self.original.sequences[self.run]
        cdef Entry *entry
        if number < self.position:
            self.forget()
        number = min(number, run.count)
        while self.position < number:
            entry = &run.entries[self.position]
            self.position += 1
            if entry.wide:
                self.want_all(entry.wide)
            elif entry.book:
                self.want(entry.book, entry.hash)

    cdef void want_all(self, uint32_t wide) noexcept nogil:
        cdef const uint64_t *row = self.original.wide + <size_t> (wide - 1) * self.original.books
        cdef uint32_t book
        for book in range(1, self.original.books):
            self.want(book, row[book])

    cdef void decide(self, uint64_t number, int64_t ts_event, bint snapshot) noexcept nogil:
        """Which of the lossless run's runs this one is: the next one that has this message at this number.

        Of a snapshot's messages the number is that of the last message before it, and tells nothing of their times.
        """
        cdef int k, i, named = -1
        cdef int first = max(self.run, 0) if self.spliced else self.run + 1
        cdef Sequence *run
        cdef const uint64_t *session = <const uint64_t *> self.channel.session
        for k in range(self.original.runs):
            i = (first + k) % self.original.runs    # the earlier ones last: a straggler may have looked like a restart
            run = &self.original.sequences[i]
            if run.session[0] != session[0] or run.session[1] != session[1]:
                continue
            if named < 0:
                named = i
            elif snapshot:
                return                      # there are several: the next live message, or the books, will tell
            if not snapshot and number > 0 and number <= run.count and run.entries[number - 1].ts_event == ts_event:
                named = i
                break
        if named < 0:
            return
        self.run = named
        self.undecided = False
        self.forget()

    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil:
        if events[0].instrument == ALL_INSTRUMENTS and events[0].line == NO_LINE:
            self.notice(&events[0])
        else:
            self.message(events, count)
        self.judge()

    cdef void notice(self, const Event *event) noexcept nogil:
        """Something happened to the channel as a whole."""
        if event.action == ACTION_RESET and not event.flags & FLAG_SNAPSHOT:
            self.undecided = True
            self.spliced = False
            self.last = 0
        elif event.action == ACTION_RESET:
            self.snapshots += 1
            self.undecided = self.spliced = True
        elif event.action == ACTION_STATUS and self.run >= 0 and not self.undecided:
            self.walk(event.channel_seq)
            if self.original.sequences[self.run].end and event.channel_seq >= self.original.sequences[self.run].count:
                self.want_all(self.original.sequences[self.run].end)
        if event.action == ACTION_RESET or event.action == ACTION_STATUS:
            self.touch_all()

    cdef void message(self, const Event *events, int count) noexcept nogil:
        cdef uint64_t number = events[0].channel_seq
        cdef bint snapshot = events[0].flags & FLAG_SNAPSHOT != 0
        cdef uint32_t instrument, before = 0
        cdef int i
        for i in range(count):
            instrument = events[i].instrument
            if instrument != ALL_INSTRUMENTS and instrument != before:
                self.touch(instrument)
                before = instrument
            elif instrument == ALL_INSTRUMENTS and events[i].action == ACTION_STATUS:
                self.touch_all()
        if snapshot:
            self.snapshot_messages += 1
        else:
            self.messages += 1
            if events[0].line == RETRANSMISSION:
                with gil:
                    self.retransmitted.add(number)
        self.last = number
        if self.undecided:
            self.decide(number, events[count - 1].ts_event, snapshot)
        if self.undecided or self.run < 0:
            return
        if number > self.original.sequences[self.run].count:
            self.unknown += 1
        self.walk(number)
        if (before and self.channel.quality == QUALITY_LIVE and self.books.slot(before).quality == QUALITY_LIVE
                and self.wanted[self.index[before]] == self.shown[self.index[before]]):
            self.compared += 1

    cdef void decide_by_books(self) noexcept nogil:
        """A snapshot has been spliced, and no message came since: the run that has these books at this number."""
        cdef int i, named = -1
        cdef Sequence *run
        cdef const uint64_t *session = <const uint64_t *> self.channel.session
        for i in range(max(self.run, 0), self.original.runs):
            run = &self.original.sequences[i]
            if run.session[0] == session[0] and run.session[1] == session[1]:
                named = i if named < 0 else named
                self.run = i
                self.forget()
                self.walk(self.channel.next_seq - 1)
                if self.differing == 0:
                    break
        else:
            self.run = named
            if named < 0:
                return
            self.forget()
            self.walk(self.channel.next_seq - 1)
        self.undecided = False

    cdef void judge(self) noexcept nogil:
        """Is some book LIVE, and not what it should be?"""
        cdef uint32_t book, instrument
        if self.undecided and self.spliced and self.channel.quality == QUALITY_LIVE:
            self.decide_by_books()
        if self.undecided or self.run < 0 or self.differing == 0 or self.channel.quality != QUALITY_LIVE:
            return
        for book in range(1, self.known):
            if self.wanted[book] == self.shown[book]:
                continue
            instrument = self.instrument[book]
            if instrument == 0 or self.books.slot(instrument).quality == QUALITY_LIVE:
                self.wrong += 1
                if self.wrong == 1:
                    with gil:
                        self.remember(book, instrument)
                return

    cdef void remember(self, uint32_t book, uint32_t instrument) noexcept:
        """The first book that was LIVE and wrong; `instrument` 0: the channel was LIVE and did not know of it."""
        if instrument:
            self.copy(instrument)
        self.first = {"book": book, "run": self.run, "number": self.last, "instrument": instrument}

    def finish(self):
        """The stream is over: from now on each book should be what it was at the end of the lossless run.

        Who stopped somewhere before, and says LIVE, is wrong.
        """
        if self.run >= 0 and self.run == self.original.runs - 1:
            self.walk(self.original.sequences[self.run].count)
        else:
            self.undecided = True
            self.spliced = False

    def look(self):
        """Compare all books as they stand now: (of those, LIVE and equal; not LIVE; LIVE and wrong), names each."""
        self.touch_all()
        self.judge()
        names = self.original.names
        equal, not_live, wrong = [], [], []
        for book in range(1, self.known):
            instrument = self.instrument[book]
            if instrument == 0 and self.wanted[book] == EMPTY and self.shown[book] == EMPTY:
                continue
            name = names.get(book, (f"#{book}", ""))[0]
            live = self.channel.quality == QUALITY_LIVE and (
                instrument == 0 or self.books.slot(instrument).quality == QUALITY_LIVE)
            if not live:
                not_live.append(name)
            elif self.undecided or self.wanted[book] != self.shown[book]:
                wrong.append(name)
            else:
                equal.append(name)
        return equal, not_live, wrong

    def state(self, int line=0):
        """(quality, reason, epoch, next number, horizon, messages lost, bad packets of `line`) of the channel, now.

        The books are judged, too. The horizon is one more than the highest number that is known to exist.
        """
        self.judge()
        return (self.channel.quality, self.channel.reason, self.channel.epoch, self.channel.next_seq,
                self.arbiter.horizon, self.channel.counters[CH_LOST], self.lines[line].counters[LN_BAD_PACKETS])

    @property
    def place(self):
        """(run, number): where in the lossless run this one is."""
        return self.run, self.last

    @property
    def first_wrong(self):
        """{book, run, number, instrument} of the first book that was LIVE and wrong, or None."""
        return self.first

"""Books and bars into columns.

A book's row shows what a reader of shared memory would have seen after a message: the best `depth` levels of each side,
and how far to trust them. Messages come one by one, so that no state between two is missed; what is remembered of each
book is its slot as its last row, or the last message before an instant, left it.
"""
cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from feedhandler._records cimport (ACTION_ADD, ACTION_CANCEL, ACTION_FILL, ACTION_MODIFY, ACTION_NONE, ACTION_RESET,
                                   ACTION_STATUS, ACTION_TRADE, FLAG_LAST, FLAG_STALE, PRICE_NONE, QUALITY_INIT,
                                   QUALITY_LIVE, SIDE_ASK, SIDE_BID, BookSlot, ChannelRecord, Event)
from feedhandler.book._book cimport Books, fh_level
from feedhandler.convert._collector cimport Collector

import numpy as np

cdef enum:
    STAGES = 32                 # events of one message at most, about

cdef int64_t DAY = 86400 * <int64_t> 1000000000

cdef enum:                      # the columns before the levels
    AT_TS_EVENT
    AT_TS_RECV
    AT_INSTRUMENT
    AT_SEQUENCE
    AT_QUALITY
    AT_REASON
    AT_TRADING
    AT_EPOCH
    AT_ACTION
    AT_SIDE
    AT_PRICE
    AT_SIZE
    AT_LEVEL
    AT_FLAGS
    AT_CHANNEL

HEAD = [("ts_event", np.int64), ("ts_recv", np.int64), ("instrument", np.uint32), ("sequence", np.uint64),
        ("quality", np.uint8), ("reason", np.uint8), ("trading", np.uint8), ("epoch", np.uint32)]
CAUSE = [("action", np.uint8), ("side", np.uint8), ("price", np.int64), ("size", np.uint64), ("level", np.uint8),
         ("flags", np.uint8), ("channel", np.uint8)]
LEVEL = [("bid_px", np.int64), ("bid_sz", np.uint64), ("bid_ct", np.uint32),
         ("ask_px", np.int64), ("ask_sz", np.uint64), ("ask_ct", np.uint32)]


def book_columns(int depth, *, by_event=False, by_time=False):
    """(name, dtype) of a book's row."""
    head = list(HEAD) + (list(CAUSE) if by_event else []) + ([("ts", np.int64)] if by_time else [])
    return head + [(f"{name}_{level}", dtype) for level in range(depth) for name, dtype in LEVEL]


@cython.final
cdef class BookCollector(Collector):
    """BookCollector(sink, segment, *, depth, count=0, step=0, fill=False, by_event=False, ...): rows of books.

    A row at each change of what it shows; with `count` at each so many changes of a book, and when its quality changes;
    with `step` (ns) one of each changed book at each multiple of it by the exchange's time, as it stood just before;
    with `fill` of unchanged books, too. `by_event`: a row of each event that touched the shown levels, and each trade
    (DBN's MBP); but for the last row of a message they show the book as it was before.
    """
    cdef uint32_t depth
    cdef uint64_t count
    cdef int64_t step, now, next
    cdef bint fill, by_event
    cdef int levels_at                      # column of the first level
    cdef uint8_t *shown                     # by instrument: its slot as remembered
    cdef uint64_t stride
    cdef uint32_t side_stride
    cdef uint8_t *seen                      # by instrument: it has a book
    cdef uint8_t *worth                     # by instrument: quality as remembered, the channel's included
    cdef uint8_t *why                       # by instrument: the reason for it
    cdef uint64_t *changes                  # by instrument, since its last row
    cdef uint8_t *dirty                     # by instrument: changed since the last instant
    cdef uint32_t *listed                   # instruments that are dirty, as they became so
    cdef uint32_t dirty_count
    cdef uint32_t *known                    # instruments that are seen, as they became so
    cdef uint32_t known_count

    def __init__(self, sink, segment, *, int depth, uint64_t count=0, int64_t step=0, fill=False, by_event=False,
                 **options):
        super().__init__(sink, segment, book_columns(depth, by_event=by_event, by_time=step > 0), **options)
        cdef uint32_t n = self.instruments
        if not 1 <= depth <= segment.header["depth"]:
            raise ValueError(f"depth must be 1 to the segment's {segment.header['depth']}, not {depth}")
        self.depth, self.count, self.step, self.fill, self.by_event = depth, count, step, fill, by_event
        self.now = self.next = INT64_MIN
        self.levels_at = len(HEAD) + (len(CAUSE) if by_event else 0) + (1 if step else 0)
        self.stride = segment.books.strides[0]
        self.side_stride = segment.header["side_stride"]
        self.shown = <uint8_t *> calloc(n, self.stride)
        self.seen = <uint8_t *> calloc(n, 1)
        self.worth = <uint8_t *> calloc(n, 1)
        self.why = <uint8_t *> calloc(n, 1)
        self.dirty = <uint8_t *> calloc(n, 1)
        self.changes = <uint64_t *> calloc(n, sizeof(uint64_t))
        self.listed = <uint32_t *> calloc(n, sizeof(uint32_t))
        self.known = <uint32_t *> calloc(n, sizeof(uint32_t))
        if (self.shown == NULL or self.seen == NULL or self.worth == NULL or self.why == NULL or self.dirty == NULL
                or self.changes == NULL or self.listed == NULL or self.known == NULL):
            raise MemoryError()

    def __dealloc__(self):
        free(self.shown)
        free(self.seen)
        free(self.worth)
        free(self.why)
        free(self.dirty)
        free(self.changes)
        free(self.listed)
        free(self.known)

    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil:
        cdef int i
        cdef uint32_t k, last = 0
        cdef const Event *event
        self.events += count
        if self.step:
            self.tell(events[count - 1].ts_event)
        for i in range(count):
            event = &events[i]
            k = event.instrument
            if k == 0:
                for last in range(self.known_count):
                    if books.ours(self.known[last]):
                        self.touch(channel, books, self.known[last], event, 1, channel_quality)
                last = 0
            elif k != last and k < self.instruments:
                last = k
                self.touch(channel, books, k, events, count, channel_quality)

    cdef void touch(self, int channel, Books books, uint32_t k, const Event *events, int count,
                    uint32_t channel_quality) noexcept nogil:
        """A message was about this book."""
        cdef BookSlot *slot = books.slot(k)
        cdef BookSlot *shown = <BookSlot *> (self.shown + k * self.stride)
        cdef uint8_t quality = max(slot.quality, <uint8_t> channel_quality)
        cdef uint8_t why = slot.reason if slot.quality >= channel_quality else <uint8_t> self.channels[channel].reason
        cdef bint levels, turned
        if not self.want(k):
            return
        if not self.seen[k]:
            self.seen[k] = 1
            self.known[self.known_count] = k
            self.known_count += 1
            shown.quality = 255
        levels = self.differ(slot, shown)
        turned = quality != self.worth[k] or shown.quality == 255
        if self.by_event:
            self.tell_events(channel, slot, shown, k, events, count, quality, why)
            memcpy(shown, slot, self.stride)
        elif levels or turned or slot.trading != shown.trading or slot.epoch != shown.epoch:
            memcpy(shown, slot, self.stride)
            shown.ts_event, shown.ts_recv = events[count - 1].ts_event, events[count - 1].ts_recv
            shown.channel_seq = events[count - 1].channel_seq
            if self.step:
                if not self.dirty[k]:
                    self.dirty[k] = 1
                    self.listed[self.dirty_count] = k
                    self.dirty_count += 1
            else:
                self.changes[k] += 1
                if (turned or self.changes[k] >= self.count) and self.inside(&events[count - 1]):
                    self.changes[k] = 0
                    self.put(k, shown, quality, why, shown.ts_event)
        self.worth[k] = quality
        self.why[k] = why

    cdef bint differ(self, const BookSlot *slot, const BookSlot *shown) noexcept nogil:
        """The shown levels have changed."""
        cdef const uint8_t *a = <const uint8_t *> slot + sizeof(BookSlot)
        cdef const uint8_t *b = <const uint8_t *> shown + sizeof(BookSlot)
        cdef size_t size = self.depth * sizeof(fh_level)
        if min(<uint32_t> slot.bids, self.depth) != min(<uint32_t> shown.bids, self.depth):
            return True
        if min(<uint32_t> slot.asks, self.depth) != min(<uint32_t> shown.asks, self.depth):
            return True
        return memcmp(a, b, size) != 0 or memcmp(a + self.side_stride, b + self.side_stride, size) != 0

    cdef uint64_t put(self, uint32_t k, const BookSlot *slot, uint8_t quality, uint8_t why, int64_t when) noexcept nogil:
        """A row of this book, at the time `when`; its place."""
        cdef uint64_t row = self.row(when, quality, k)
        cdef uint32_t side, i, used
        cdef int at
        cdef const fh_level *level
        (<int64_t *> self.at[AT_TS_EVENT])[row] = slot.ts_event
        (<int64_t *> self.at[AT_TS_RECV])[row] = slot.ts_recv
        (<uint32_t *> self.at[AT_INSTRUMENT])[row] = k
        (<uint64_t *> self.at[AT_SEQUENCE])[row] = slot.channel_seq
        (<uint8_t *> self.at[AT_QUALITY])[row] = quality
        (<uint8_t *> self.at[AT_REASON])[row] = why if quality != QUALITY_LIVE else 0
        (<uint8_t *> self.at[AT_TRADING])[row] = slot.trading
        (<uint32_t *> self.at[AT_EPOCH])[row] = slot.epoch
        for side in range(2):
            level = <const fh_level *> (<const uint8_t *> slot + sizeof(BookSlot) + side * self.side_stride)
            used = min(<uint32_t> (slot.asks if side else slot.bids), self.depth)
            at = self.levels_at + 3 * <int> side
            for i in range(self.depth):
                (<int64_t *> self.at[at])[row] = level[i].price if i < used else PRICE_NONE
                (<uint64_t *> self.at[at + 1])[row] = level[i].size if i < used else 0
                (<uint32_t *> self.at[at + 2])[row] = <uint32_t> level[i].orders if i < used else 0
                at += 6
        return row

    # -- by time ------------------------------------------------------------------------------------------------------

    cdef void tell(self, int64_t when) noexcept nogil:
        """It is `when` at the exchange: the rows of the instants that have passed."""
        if when <= self.now or when <= 0:
            return
        self.now = when
        if self.next == INT64_MIN:
            self.next = (when // self.step + 1) * self.step
        while self.now >= self.next:
            self.instant(self.next)
            if self.fill and self.now - self.next <= DAY:
                self.next += self.step
            else:
                self.next = (self.now // self.step + 1) * self.step

    cdef void instant(self, int64_t when) noexcept nogil:
        """The rows of one instant."""
        cdef uint32_t i, k, many = self.known_count if self.fill else self.dirty_count
        cdef uint64_t row
        for i in range(many):
            k = self.known[i] if self.fill else self.listed[i]
            if self.start <= when < self.end:
                row = self.put(k, <const BookSlot *> (self.shown + k * self.stride), self.worth[k], self.why[k], when)
                (<int64_t *> self.at[self.levels_at - 1])[row] = when
        for i in range(self.dirty_count):
            self.dirty[self.listed[i]] = 0
        self.dirty_count = 0

    def finish(self):
        """The end of the input: the rows of the instant that comes next, too."""
        if self.step and self.next != INT64_MIN:
            self.instant(self.next)
        Collector.finish(self)

    # -- by event -----------------------------------------------------------------------------------------------------

    cdef void tell_events(self, int channel, const BookSlot *slot, const BookSlot *shown, uint32_t k,
                          const Event *events, int count, uint8_t quality, uint8_t why) noexcept nogil:
        """A row of each event of a message that touched what is shown."""
        cdef int places[STAGES]
        cdef int i, level, last = -1
        cdef const Event *event
        cdef uint64_t row
        for i in range(min(count, STAGES)):
            event = &events[i]
            places[i] = -1
            if event.instrument != k and event.instrument != 0:
                continue
            if event.action == ACTION_TRADE or event.action == ACTION_RESET:
                places[i] = 0
            elif event.action == ACTION_ADD or event.action == ACTION_CANCEL or event.action == ACTION_MODIFY:
                level = self.find(slot, event)
                places[i] = level if level >= 0 and event.action != ACTION_CANCEL else self.find(shown, event)
                if places[i] < 0:
                    places[i] = level
            if places[i] >= 0:
                last = i
        for i in range(min(count, STAGES)):
            event = &events[i]
            if places[i] < 0 or not self.inside(event):
                continue
            row = self.put(k, slot if i == last else shown, quality, why, event.ts_event)
            (<int64_t *> self.at[AT_TS_EVENT])[row] = event.ts_event
            (<int64_t *> self.at[AT_TS_RECV])[row] = event.ts_recv
            (<uint64_t *> self.at[AT_SEQUENCE])[row] = event.channel_seq
            (<uint8_t *> self.at[AT_ACTION])[row] = event.action
            (<uint8_t *> self.at[AT_SIDE])[row] = event.side
            (<int64_t *> self.at[AT_PRICE])[row] = event.price
            (<uint64_t *> self.at[AT_SIZE])[row] = event.size
            (<uint8_t *> self.at[AT_LEVEL])[row] = <uint8_t> places[i]
            (<uint8_t *> self.at[AT_FLAGS])[row] = (event.flags & ~FLAG_LAST) | (FLAG_LAST if i == last else 0)
            (<uint8_t *> self.at[AT_CHANNEL])[row] = <uint8_t> channel

    cdef int find(self, const BookSlot *slot, const Event *event) noexcept nogil:
        """The place of the event's price among the shown levels of its side; -1 = it is not there."""
        cdef uint32_t ask = event.side == SIDE_ASK, i, used
        cdef const fh_level *level = <const fh_level *> (<const uint8_t *> slot + sizeof(BookSlot)
                                                         + ask * self.side_stride)
        if slot.quality == 255:
            return -1
        used = min(<uint32_t> (slot.asks if ask else slot.bids), self.depth)
        for i in range(used):
            if level[i].price == event.price:
                return <int> i
        return -1


cdef struct Bar:
    int64_t open
    int64_t high
    int64_t low
    int64_t close
    uint64_t volume
    uint64_t bought                         # by aggressors
    uint64_t sold
    uint64_t priced                         # volume of trades with a price
    double worth                            # of these: price × size, in units of 1e-9
    uint64_t sequence                       # of the last trade
    uint32_t trades
    uint8_t quality                         # the worst
    uint8_t open_                           # it has a trade

BAR_COLUMNS = [("ts", np.int64), ("instrument", np.uint32), ("open", np.int64), ("high", np.int64), ("low", np.int64),
               ("close", np.int64), ("volume", np.uint64), ("trades", np.uint32), ("buy_volume", np.uint64),
               ("sell_volume", np.uint64), ("vwap", np.float64), ("sequence", np.uint64), ("quality", np.uint8)]


@cython.final
cdef class BarCollector(Collector):
    """BarCollector(sink, segment, *, step, fill=False, ...): a row for each instrument and interval of `step` ns.

    By the exchange's time; a trade older than the present interval counts in that. `fill`: rows without a trade, too,
    at the last close, from the first trade on.
    """
    cdef int64_t step, now, begin
    cdef bint fill
    cdef Bar *bars
    cdef uint32_t *listed                   # instruments with a trade in this interval; with `fill`, ever
    cdef uint32_t listed_count
    cdef uint8_t *seen
    cdef readonly uint64_t broken           # trades that were taken back later, and are in the bars

    def __init__(self, sink, segment, *, int64_t step, fill=False, **options):
        super().__init__(sink, segment, BAR_COLUMNS, **options)
        self.step, self.fill = step, fill
        self.now = self.begin = INT64_MIN
        self.batches = True
        self.bars = <Bar *> calloc(self.instruments, sizeof(Bar))
        self.listed = <uint32_t *> calloc(self.instruments, sizeof(uint32_t))
        self.seen = <uint8_t *> calloc(self.instruments, 1)
        if self.bars == NULL or self.listed == NULL or self.seen == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.bars)
        free(self.listed)
        free(self.seen)

    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil:
        cdef int i
        cdef const Event *event
        self.events += count
        self.judge(books, events, count, channel_quality)
        for i in range(count):
            event = &events[i]
            if event.ts_event > self.now and event.ts_event > 0:
                self.tell(event.ts_event)
            if event.instrument == 0 or event.instrument >= self.instruments:
                continue
            if event.action == ACTION_TRADE and event.size != 0:
                if self.inside(event) and self.want(event.instrument):
                    self.trade(event, self.qualities[i])
            elif event.action == ACTION_NONE and event.order_id != 0:
                self.broken += 1

    cdef void trade(self, const Event *event, uint8_t quality) noexcept nogil:
        cdef uint32_t k = event.instrument
        cdef Bar *bar = &self.bars[k]
        if not self.seen[k]:
            self.seen[k] = 1
            self.listed[self.listed_count] = k
            self.listed_count += 1
            bar.open = bar.high = bar.low = bar.close = PRICE_NONE
        if not bar.open_:
            bar.open_ = True
            bar.open = PRICE_NONE
            bar.quality = 0
        bar.volume += event.size
        bar.trades += 1
        bar.quality = max(bar.quality, quality)
        bar.sequence = event.channel_seq
        if event.side == SIDE_BID:
            bar.bought += event.size
        elif event.side == SIDE_ASK:
            bar.sold += event.size
        if event.price != PRICE_NONE:
            bar.priced += event.size
            bar.worth += <double> event.price * <double> event.size
            if bar.open == PRICE_NONE:
                bar.open = bar.high = bar.low = event.price
            bar.high = max(bar.high, event.price)
            bar.low = min(bar.low, event.price)
            bar.close = event.price

    cdef void tell(self, int64_t when) noexcept nogil:
        """It is `when` at the exchange: intervals that are over have their rows."""
        self.now = when
        if self.begin == INT64_MIN:
            self.begin = when // self.step * self.step
        while when >= self.begin + self.step:
            self.over()
            if self.fill and when - self.begin <= DAY:
                self.begin += self.step
            else:
                self.begin = when // self.step * self.step

    cdef void over(self) noexcept nogil:
        """The rows of one interval."""
        cdef uint32_t i, k
        cdef uint64_t row
        cdef Bar *bar
        cdef int64_t close
        for i in range(self.listed_count):
            k = self.listed[i]
            bar = &self.bars[k]
            row = self.row(self.begin, bar.quality, k)
            if not bar.open_:
                bar.open = bar.high = bar.low = bar.close
            (<int64_t *> self.at[0])[row] = self.begin
            (<uint32_t *> self.at[1])[row] = k
            (<int64_t *> self.at[2])[row] = bar.open
            (<int64_t *> self.at[3])[row] = bar.high if bar.open != PRICE_NONE else PRICE_NONE
            (<int64_t *> self.at[4])[row] = bar.low if bar.open != PRICE_NONE else PRICE_NONE
            (<int64_t *> self.at[5])[row] = bar.close if bar.open != PRICE_NONE else PRICE_NONE
            (<uint64_t *> self.at[6])[row] = bar.volume
            (<uint32_t *> self.at[7])[row] = bar.trades
            (<uint64_t *> self.at[8])[row] = bar.bought
            (<uint64_t *> self.at[9])[row] = bar.sold
            (<double *> self.at[10])[row] = bar.worth / <double> bar.priced / 1e9 if bar.priced else 0
            (<uint64_t *> self.at[11])[row] = bar.sequence
            (<uint8_t *> self.at[12])[row] = bar.quality
            close = bar.close
            memset(bar, 0, sizeof(Bar))
            bar.close = close
            self.seen[k] = self.fill
        if not self.fill:
            self.listed_count = 0

    def finish(self):
        """The end of the input: the last interval, too."""
        if self.begin != INT64_MIN:
            self.over()
        Collector.finish(self)

"""Events into columns: the rows of `events` and `trades`.

These kinds take whole batches, so a conversion runs the hot path as it runs live. What a batch cannot show, the quality
of a book after each single message, is worked out by judge().
"""
cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from feedhandler._records cimport (ACTION_NONE, ACTION_RESET, ACTION_TRADE, FLAG_STALE, QUALITY_INIT, QUALITY_LIVE,
                                   ChannelRecord, Event, InstrumentRecord)
from feedhandler.book._book cimport Books

import numpy as np

cdef enum:
    YES = 1
    NO = 2
    BLOCK_BYTES = 16 << 20      # of a block, about


cdef class Collector:
    """Collector(sink, segment, columns, *, symbols=None, start=None, end=None, rows=0), the base of all collectors.

    `columns` are (name, dtype); `rows` of a block, 0 = so many that it has about 16 MiB. `symbols`: only rows of these
    ("AAPL" or "AAPL@XNAS"); `start`, `end`: only rows of [start, end) ns since the Unix epoch, by the time of receipt
    where there is one, else by the exchange's.
    """

    def __cinit__(self, *args, **more):
        self.first_live = INT64_MIN
        self.latest = INT64_MIN

    def __init__(self, sink, segment, columns, *, symbols=None, start=None, end=None, rows=0):
        cdef uint32_t i
        cdef size_t directory = segment.directory.ctypes.data
        cdef size_t channels = segment.channels.ctypes.data
        self.sink = sink
        self.kept = segment
        self.columns = [(name, np.dtype(dtype)) for name, dtype in columns]
        self.capacity = rows or max(1024, BLOCK_BYTES // sum(dtype.itemsize for _, dtype in self.columns))
        self.directory = <InstrumentRecord *> directory
        self.channels = <ChannelRecord *> channels
        self.instruments = <uint32_t> len(segment.directory)
        self.start = INT64_MIN if start is None else start
        self.end = INT64_MAX if end is None else end
        self.at = <void **> calloc(len(self.columns), sizeof(void *))
        self.state = <uint8_t *> calloc(self.instruments, 1)
        if self.at == NULL or self.state == NULL:
            raise MemoryError()
        for i in range(self.instruments):
            self.state[i] = QUALITY_INIT
        if symbols is not None:
            self.wanted_names = frozenset(symbols)
            self.wanted = <uint8_t *> calloc(self.instruments, 1)
            if self.wanted == NULL:
                raise MemoryError()
        self._take_block()

    def __dealloc__(self):
        free(self.at)
        free(self.state)
        free(self.wanted)

    cdef _take_block(self):
        cdef size_t data
        self.arrays = [np.empty(self.capacity, dtype) for _, dtype in self.columns]
        for i, array in enumerate(self.arrays):
            data = array.ctypes.data
            self.at[<int> i] = <void *> data

    cdef void flush(self) noexcept with gil:
        """Give the block away, and take a new one."""
        cdef uint64_t rows = self.rows
        self.rows = 0
        if self.error is not None:
            return
        try:
            block = {name: array[:rows] for (name, _), array in zip(self.columns, self.arrays)}
            self._take_block()
            if rows or self.total == 0:     # nothing at all is an empty block: a file of columns without rows
                self.sink(block)
            self.total += rows
        except BaseException as error:
            self.error = error

    cdef bint ask(self, uint32_t instrument) noexcept with gil:
        """Whether the rows of an instrument are asked for, which was not known yet."""
        symbol = (<char *> self.directory[instrument].symbol)[:32].rstrip(b"\0").decode("latin1")
        venue = (<char *> self.directory[instrument].venue)[:8].rstrip(b"\0").decode("latin1")
        wanted = symbol in self.wanted_names or f"{symbol}@{venue}" in self.wanted_names
        self.wanted[instrument] = YES if wanted else NO
        return wanted

    def finish(self):
        """The end of the input: what is left goes to the sink. Raises what the sink has raised."""
        self.flush()
        self.check()

    def check(self):
        """Raise what the sink has raised."""
        if self.error is not None:
            raise self.error

    @property
    def first_valid(self):
        """Exchange time of the first row whose book was LIVE, ns since the Unix epoch; None = there was none."""
        return self.first_live if self.first_live > 0 else None

    cdef void judge(self, Books books, const Event *events, int count, uint32_t channel_quality) noexcept nogil:
        """`qualities`: of each event the worse of its channel's and its book's quality after its message.

        A book turns STALE with an event that says so, and LIVE with a reset; what neither says is taken from the book
        as it is after the batch, for all of the batch: never better than it was.
        """
        cdef int i, j, first = 0
        cdef uint32_t k
        cdef uint8_t now, quality = <uint8_t> channel_quality
        for i in range(count):
            k = events[i].instrument
            if k >= self.instruments:
                k = 0
            if events[i].action == ACTION_RESET:
                if k != 0:
                    self.state[k] = QUALITY_LIVE
                else:
                    self.reset(books)
            elif k != 0:
                if events[i].flags & FLAG_STALE and quality == QUALITY_LIVE:
                    self.state[k] = 2
                elif self.state[k] == QUALITY_INIT:
                    self.state[k] = QUALITY_LIVE
            if i + 1 == count or events[i + 1].channel_seq != events[i].channel_seq or events[i].channel_seq == 0:
                for j in range(first, i + 1):
                    k = events[j].instrument
                    now = self.state[k] if 0 < k < self.instruments else quality
                    self.qualities[j] = max(quality, now)
                first = i + 1
        for i in range(count):
            k = events[i].instrument
            if 0 < k < self.instruments:
                now = books.slot(k).quality
                if now != self.state[k] and now > self.qualities[i]:
                    self.qualities[i] = now
        for i in range(count):
            k = events[i].instrument
            if 0 < k < self.instruments:
                self.state[k] = books.slot(k).quality

    cdef void reset(self, Books books) noexcept nogil:
        """A new session: all books of the channel are LIVE, and empty."""
        cdef uint32_t k
        for k in range(1, min(books.end(), self.instruments)):
            if books.ours(k):
                self.state[k] = QUALITY_LIVE


EVENT_COLUMNS = [
    ("ts_event", np.int64), ("ts_recv", np.int64), ("instrument", np.uint32), ("sequence", np.uint64),
    ("action", np.uint8), ("side", np.uint8), ("price", np.int64), ("size", np.uint64), ("order_id", np.uint64),
    ("flags", np.uint8), ("line", np.uint8), ("channel", np.uint8), ("quality", np.uint8),
]


@cython.final
cdef class EventCollector(Collector):
    """EventCollector(sink, segment, *, trades=False, ...): a row for each event, or for each trade and broken trade."""
    cdef bint trades

    def __init__(self, sink, segment, *, trades=False, **options):
        super().__init__(sink, segment, EVENT_COLUMNS, **options)
        self.trades = trades
        self.batches = True

    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil:
        cdef int i
        cdef uint64_t row
        cdef const Event *event
        self.events += count
        self.judge(books, events, count, channel_quality)
        for i in range(count):
            event = &events[i]
            if self.trades and not _trades(event):
                continue
            if not self.inside(event) or not self.want(event.instrument):
                continue
            row = self.row(event.ts_event, self.qualities[i], event.instrument)
            (<int64_t *> self.at[0])[row] = event.ts_event
            (<int64_t *> self.at[1])[row] = event.ts_recv
            (<uint32_t *> self.at[2])[row] = event.instrument
            (<uint64_t *> self.at[3])[row] = event.channel_seq
            (<uint8_t *> self.at[4])[row] = event.action
            (<uint8_t *> self.at[5])[row] = event.side
            (<int64_t *> self.at[6])[row] = event.price
            (<uint64_t *> self.at[7])[row] = event.size
            (<uint64_t *> self.at[8])[row] = event.order_id
            (<uint8_t *> self.at[9])[row] = event.flags
            (<uint8_t *> self.at[10])[row] = event.line
            (<uint8_t *> self.at[11])[row] = <uint8_t> channel
            (<uint8_t *> self.at[12])[row] = self.qualities[i]


cdef inline bint _trades(const Event *event) noexcept nogil:
    """A trade, or a trade that is taken back."""
    return event.instrument != 0 and (event.action == ACTION_TRADE or
                                      (event.action == ACTION_NONE and event.order_id != 0))

"""A recording gone through event by event, every book as it is right after the event's message: no thread, no clock.

The shard is walked without the GIL until a message of a wanted instrument has taken effect, and stands still there.
"""
import numpy as np

cimport cython
cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from feedhandler._records cimport (ACTION_STATUS, ACTION_TRADE, ALL_INSTRUMENTS, FLAG_LAST, QUALITY_INIT, QUALITY_LIVE,
                                   REASON_START, BookSlot, Event, Level)
from feedhandler._walk cimport Step, Walk
from feedhandler.read._arrays cimport array_over
from feedhandler.read._reader cimport Reader
from feedhandler.receive._receiver cimport END_OF_INPUT

from feedhandler import _records
from feedhandler.errors import ReceiverError

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    ctypedef struct Descr "PyArray_Descr":
        pass
    object PyArray_Scalar(void *data, Descr *descr, PyObject *base)

cdef enum:
    UNKNOWN = 0                 # Steps.judged: nobody has asked for its name yet
    PASSED = 1
    WANTED = 2
    MESSAGES_AT_ONCE = 65536    # walked without the GIL, between two looks for signals
    CHANNELS = 32

cdef object _event = _records.EVENT


def book_dtype(uint32_t depth):
    """The dtype of a book as a row: `head` (BOOK), `bids` and `asks` (LEVEL, shape (depth,), best first)."""
    return np.dtype([("head", _records.BOOK), ("bids", _records.LEVEL, (depth,)), ("asks", _records.LEVEL, (depth,))])


@cython.final
cdef class Steps:
    """Steps(shard, reader, judge, book, start=None, end=None, channel_events=False, looked=None)

    `judge(instrument)` says whether an instrument is wanted, once each; `book(instrument)` makes its Book. What comes
    before the first event of `start` or later (ns since the Unix epoch, by ts_recv, where there is none by ts_event)
    takes effect and is not given; the first of `end` or later ends it. With `channel_events`, those of whole channels
    are given, too, their book None. `looked()` is called now and then.
    """
    cdef Walk shard
    cdef Reader reader
    cdef object judge, book, looked
    cdef int64_t start, end
    cdef uint8_t *judged                    # by instrument
    cdef uint8_t *quality                   # what was said last, by instrument
    cdef uint8_t *reason
    cdef list books                         # by instrument
    cdef list wanted                        # instruments
    cdef uint32_t words[CHANNELS]           # quality and reason of each channel, as last seen
    cdef uint32_t reasons[CHANNELS]
    cdef Step step
    cdef int next                           # event of `step`
    cdef bint begun                         # `start` is reached
    cdef bint wide                          # what happens to a whole channel is to be told, too
    cdef bint trades_only                   # no book is to be told of
    cdef readonly uint64_t given            # events given so far
    cdef readonly bint ended
    cdef public bint stopping

    def __cinit__(self, Walk shard not None, Reader reader not None, judge, book, start=None, end=None, *,
                  bint channel_events=False, looked=None):
        cdef uint32_t i
        self.shard, self.reader, self.judge, self.book, self.looked = shard, reader, judge, book, looked
        self.start = INT64_MIN if start is None else start
        self.end = INT64_MAX if end is None else end
        self.wide = channel_events
        self.judged = <uint8_t *> calloc(reader.instruments, 1)
        self.quality = <uint8_t *> calloc(reader.instruments, 1)
        self.reason = <uint8_t *> calloc(reader.instruments, 1)
        if self.judged == NULL or self.quality == NULL or self.reason == NULL:
            raise MemoryError()
        memset(self.quality, QUALITY_INIT, reader.instruments)
        memset(self.reason, REASON_START, reader.instruments)
        self.books = [None] * reader.instruments
        self.wanted = []
        for i in range(<uint32_t> CHANNELS):
            self.words[i], self.reasons[i] = QUALITY_INIT, REASON_START

    def __dealloc__(self):
        free(self.judged)
        free(self.quality)
        free(self.reason)

    # -- the walk ------------------------------------------------------------------------------------------------------

    cdef inline bint moved(self) noexcept nogil:
        """Whether the channel's word is another than at the last step."""
        cdef int channel = self.step.channel
        return (self.reader.channels[channel].quality != self.words[channel]
                or self.reader.channels[channel].reason != self.reasons[channel])

    cdef int stride(self, bint states) noexcept nogil:
        """Walk until something is to be told: 1; 0: MESSAGES_AT_ONCE have passed; < 0: as of Walk.walk.

        With `states` a channel's word is something to tell. Before `begun`, whoever is named for the first time is.
        """
        cdef int i, rc, k, untold
        cdef const Event *event
        cdef int64_t now
        cdef uint8_t judged
        for k in range(MESSAGES_AT_ONCE):
            rc = self.shard.walk(&self.step)
            if rc <= 0:
                return rc if rc < 0 else END_OF_INPUT
            self.next = untold = 0
            event = self.step.events
            if self.step.count > 0:
                now = event.ts_recv if event.ts_recv != 0 else event.ts_event
                if now >= self.end:
                    return END_OF_INPUT
                if now >= self.start:
                    self.begun = True
            if states and self.moved():
                return 1
            for i in range(self.step.count):
                judged = self.judged[event[i].instrument]
                if event[i].instrument == ALL_INSTRUMENTS:
                    if self.wide and self.begun:
                        return 1
                elif judged == UNKNOWN:
                    return 1
                elif judged == WANTED and self.begun:
                    if not self.trades_only or event[i].action == ACTION_TRADE or event[i].action == ACTION_STATUS:
                        return 1
                    untold += 1
            self.given += untold
        return 0

    cdef bint advance(self, bint states) except -1:
        """stride(), with all that needs the GIL; False: the recording has ended, or stop was said."""
        cdef int rc
        while not self.ended:
            with nogil:
                rc = self.stride(states)
            if rc == END_OF_INPUT:
                self.ended = True
            elif rc < 0:
                raise ReceiverError(f"the receiver failed with errno {-rc}")
            elif rc == 0:
                PyErr_CheckSignals()
                if self.looked is not None:
                    self.looked()
            else:
                return True
        return False

    cdef bint wants(self, uint32_t instrument) except -1:
        if self.judged[instrument] == UNKNOWN:
            if instrument == ALL_INSTRUMENTS or self.judge(instrument):
                self.judged[instrument] = WANTED
                if instrument != ALL_INSTRUMENTS:
                    self.wanted.append(instrument)
            else:
                self.judged[instrument] = PASSED
        return self.judged[instrument] == WANTED

    cdef object book_of(self, uint32_t instrument):
        book = self.books[instrument]
        if book is None:
            book = self.books[instrument] = self.book(instrument)
        return book

    cdef const Event *one(self) except? NULL:
        """The next event that is to be given, which stands in the step; NULL: there is none any more."""
        cdef const Event *event
        while True:
            while self.next < self.step.count:
                event = &self.step.events[self.next]
                self.next += 1
                if not self.wants(event.instrument) or not self.begun:
                    continue
                if event.instrument == ALL_INSTRUMENTS and not self.wide:
                    continue
                self.given += 1
                return event
            if not self.advance(False):
                return NULL

    cdef object scalar(self, const Event *event):
        """A copy of the event, with its number: a record of dtype EVENT."""
        cdef Event copy = event[0]
        copy.seq = self.step.first + <uint64_t> (event - self.step.events)
        return PyArray_Scalar(&copy, <Descr *> <void *> _event, NULL)

    # -- one by one ----------------------------------------------------------------------------------------------------

    def __iter__(self):
        return self

    def __next__(self):
        cdef const Event *event = NULL
        if not self.stopping:
            event = self.one()
        if event == NULL:
            raise StopIteration
        return self.scalar(event), None if event.instrument == ALL_INSTRUMENTS else self.book_of(event.instrument)

    # -- many at once --------------------------------------------------------------------------------------------------

    def take(self, uint32_t most, uint32_t depth, kind, dtype):
        """Up to `most` events and the book after each: (array of class `kind`, array of `dtype`), or None at the end."""
        cdef uint64_t row = sizeof(BookSlot) + 2 * depth * sizeof(Level)
        cdef const Event *event
        cdef Event *events
        cdef char *rows
        cdef Level *bids
        cdef uint32_t n = 0
        event_owner = PyBytes_FromStringAndSize(NULL, most * <Py_ssize_t> sizeof(Event))
        row_owner = PyBytes_FromStringAndSize(NULL, most * <Py_ssize_t> row)
        events, rows = <Event *> PyBytes_AS_STRING(event_owner), PyBytes_AS_STRING(row_owner)
        while n < most and not self.stopping:
            event = self.one()
            if event == NULL:
                break
            events[n] = event[0]
            events[n].seq = self.step.first + <uint64_t> (event - self.step.events)
            bids = <Level *> (rows + n * row + sizeof(BookSlot))
            if event.instrument != ALL_INSTRUMENTS:
                self.reader._copy(event.instrument, <BookSlot *> (rows + n * row), bids, bids + depth, depth, NULL, NULL)
            else:
                memset(rows + n * row, 0, row)
            n += 1
        if n == 0:
            return None
        return (array_over(kind, _event, n, events, event_owner, True),
                array_over(cnp.ndarray, dtype, n, rows, row_owner, True))

    # -- a strategy ----------------------------------------------------------------------------------------------------

    def tell(self, on_book, on_trade, on_status, on_stale, on_live, reasons):
        """Call these in the order of the recording; None: it need not be called. `reasons` are Reason by number."""
        cdef uint32_t touched, instrument
        cdef bint states = on_stale is not None or on_live is not None, begun = False, all_books
        cdef int i
        self.trades_only, self.wide = on_book is None and not states, states or on_status is not None
        for instrument in range(1, self.reader.used):       # a handler that began behind a snapshot
            self.wants(instrument)
        while not self.stopping and self.advance(states):
            touched = ALL_INSTRUMENTS
            for i in range(self.step.count):
                instrument = self.step.events[i].instrument
                if self.wants(instrument) and instrument != ALL_INSTRUMENTS:
                    touched = instrument
                    self.given += self.begun
            all_books = self.begun and not begun or self.step.count > 0 and touched == ALL_INSTRUMENTS or self.moved()
            self.words[self.step.channel] = self.reader.channels[self.step.channel].quality
            self.reasons[self.step.channel] = self.reader.channels[self.step.channel].reason
            if not self.begun:
                continue
            begun = True
            if states and all_books:
                self.say_all(on_stale, on_live, reasons)
            elif states and touched != ALL_INSTRUMENTS:
                self.say(touched, on_stale, on_live, reasons)
            for i in range(self.step.count):
                self.pass_on(&self.step.events[i], on_trade, on_status)
            if (touched != ALL_INSTRUMENTS and on_book is not None and not self.stopping
                    and self.step.events[self.step.count - 1].flags & FLAG_LAST):
                on_book(self.book_of(touched))

    cdef int pass_on(self, const Event *event, on_trade, on_status) except -1:
        """Trades and statuses of what is wanted; statuses of whole channels, too."""
        if self.stopping or self.judged[event.instrument] != WANTED:
            return 0
        if event.action == ACTION_TRADE and on_trade is not None:
            on_trade(self.scalar(event))
        elif event.action == ACTION_STATUS and on_status is not None:
            on_status(self.scalar(event))
        return 0

    cdef int say_all(self, on_stale, on_live, reasons) except -1:
        for instrument in sorted(self.wanted):
            if self.stopping:
                break
            self.say(instrument, on_stale, on_live, reasons)
        return 0

    cdef int say(self, uint32_t instrument, on_stale, on_live, reasons) except -1:
        """on_stale or on_live of a book whose state or reason are not what was said last."""
        cdef BookSlot head
        cdef Level bid, ask
        cdef uint8_t quality = self.quality[instrument], reason = self.reason[instrument]
        self.reader.top(instrument, &head, &bid, &ask, NULL, NULL)
        if head.quality == quality and (quality == QUALITY_LIVE or head.reason == reason):
            return 0
        self.quality[instrument], self.reason[instrument] = head.quality, head.reason
        if head.quality == QUALITY_INIT and quality == QUALITY_INIT or self.stopping:
            return 0
        if head.quality != QUALITY_LIVE:
            if on_stale is not None:
                on_stale(self.book_of(instrument), reasons[head.reason])
        elif on_live is not None:
            on_live(self.book_of(instrument))
        return 0

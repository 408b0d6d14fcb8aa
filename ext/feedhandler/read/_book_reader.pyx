"""One book for Python: snapshots, the best levels, and what is known about them."""
cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.string cimport memset
from feedhandler._records cimport QUALITY_INIT, Level
from feedhandler.read._arrays cimport array_over
from feedhandler.read._reader cimport LIFE_RUNNING, Reader

from feedhandler._records import LEVEL

cnp.import_array()

cdef object _level = LEVEL


cdef class BookReader:
    """BookReader(reader, instrument): one book. All times in ns since the Unix epoch."""

    def __cinit__(self, Reader reader not None, uint32_t instrument, *args, **kwargs):
        self.reader = reader
        self.instrument = instrument
        self.head.quality = QUALITY_INIT        # nothing has been seen yet

    def move(self, Reader reader not None, uint32_t instrument):
        """Look at another segment's book from now on."""
        self.reader, self.instrument = reader, instrument

    def follow(self):
        """Called while the writer does not run, or the symbol is not known; the heir of this class moves to a successor."""

    cdef int _look(self) except -1:
        """One look at the writer's life before each read."""
        if self.reader.check() != LIFE_RUNNING or self.instrument == 0:
            self.follow()
        return 0

    cdef int _refresh(self) except -1:
        cdef Level bid, ask
        self._look()
        self.reader.top(self.instrument, &self.present, &bid, &ask, &self.trade, &self.traded)
        return 0

    def snapshot(self, cnp.ndarray out=None):
        """Bids and asks as they stood at one instant, best first.

        Two arrays of dtype LEVEL, shape (depth,), copies owned by the caller; unused places have size 0. Prices in units
        of 10^price_exponent (1e-9), sizes in the instrument's unit. Also given while the book is not LIVE: `seen_state`
        and the other `seen_...` tell what was true at that same instant, `state` what is true now.

        `out`, an array of dtype LEVEL and shape (2, n), is filled instead, bids in row 0, and given back: nothing is
        allocated. It may hold fewer or more levels than the book has. Raises ValueError for another kind of array.
        """
        cdef uint32_t depth
        cdef object owner
        cdef Level *levels
        self._look()
        if out is not None:
            self._fill(out)
            return out
        depth = self.reader.depth
        owner = PyBytes_FromStringAndSize(NULL, 2 * depth * <Py_ssize_t> sizeof(Level))
        levels = <Level *> PyBytes_AS_STRING(owner)
        self.reader.snapshot(self.instrument, &self.head, levels, levels + depth)
        return (array_over(cnp.ndarray, _level, depth, levels, owner, True),
                array_over(cnp.ndarray, _level, depth, levels + depth, owner, True))

    cdef int _fill(self, cnp.ndarray out) except -1:
        cdef cnp.npy_intp room
        cdef uint32_t depth = self.reader.depth
        cdef Level *bids
        if (<object> cnp.PyArray_DESCR(out) is not _level and out.dtype != _level or cnp.PyArray_NDIM(out) != 2
                or cnp.PyArray_DIM(out, 0) != 2 or cnp.PyArray_DIM(out, 1) < 1
                or not cnp.PyArray_CHKFLAGS(out, cnp.NPY_ARRAY_CARRAY)):
            raise ValueError(f"out must be a writable array like numpy.empty((2, {depth}), feedhandler.LEVEL), not one of "
                             f"shape {(<object> out).shape} and dtype {out.dtype}")
        room = cnp.PyArray_DIM(out, 1)
        bids = <Level *> cnp.PyArray_DATA(out)
        if room <= depth:
            depth = <uint32_t> room
        else:
            memset(bids + depth, 0, (room - depth) * sizeof(Level))
            memset(bids + room + depth, 0, (room - depth) * sizeof(Level))
        self.reader._copy(self.instrument, &self.head, bids, bids + room, depth, NULL, NULL)
        return 0

    def top(self):
        """Best bid and best ask: (bid price, bid size, ask price, ask size); None for price and size of an empty side."""
        cdef Level bid, ask
        self._look()
        self.reader.top(self.instrument, &self.head, &bid, &ask, &self.trade, &self.traded)
        return ((bid.price, bid.size) if self.head.bids else (None, None)) + (
            (ask.price, ask.size) if self.head.asks else (None, None))

    def codes(self):
        """Quality, reason and trading status now, as numbers; quality and reason are the worst of three."""
        self._refresh()
        return self.present.quality, self.present.reason, self.present.trading

    def seen_codes(self):
        """Quality, reason and trading status as of the last snapshot() or top()."""
        return self.head.quality, self.head.reason, self.head.trading

    @property
    def seen_channel_seq(self):
        """The feed's number that the last snapshot() or top() was whole to."""
        return self.head.channel_seq

    @property
    def seen_since(self):
        """Since when the quality was what it was at the last snapshot() or top()."""
        return self.head.since

    @property
    def seen_event_seq(self):
        """The ring position that the last snapshot() or top() was whole to."""
        return self.head.event_seq

    @property
    def epoch(self):
        """Grows by one at each new session, reset or snapshot."""
        self._refresh()
        return self.present.epoch

    @property
    def channel_seq(self):
        """The feed's own number this book is whole to."""
        self._refresh()
        return self.present.channel_seq

    @property
    def event_seq(self):
        """The ring position this book is whole to: who has read event n finds at least n here."""
        self._refresh()
        return self.present.event_seq

    @property
    def ts_event(self):
        """Exchange time of the last change."""
        self._refresh()
        return self.present.ts_event

    @property
    def ts_recv(self):
        """Time of receipt of the last change."""
        self._refresh()
        return self.present.ts_recv

    @property
    def since(self):
        """Since when the quality is what it is: of a dead or frozen writer, its last sign of life."""
        self._refresh()
        return self.present.since

    @property
    def last_trade(self):
        """Price and size of the last trade, None before the first."""
        self._refresh()
        return (self.trade.price, self.trade.size) if self.trade.size else None

    @property
    def volume(self):
        """Size traded and trades in this epoch."""
        self._refresh()
        return self.traded.size, self.traded.trades

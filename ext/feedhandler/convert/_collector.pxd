"""What turns events and books into columns, block by block."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport ChannelRecord, Event, InstrumentRecord
from feedhandler._witness cimport Witness
from feedhandler.book._book cimport Books

cdef class Collector(Witness):
    """A witness that writes rows into a block of columns; a full block goes to `sink`, and a new one is taken.

    A block is plain NumPy arrays, given away as they are: nobody writes to them again. The GIL is taken once a block.
    """
    cdef object sink                        # called with {column: array} of a block's rows
    cdef readonly object error              # what the sink raised; nothing is collected after it
    cdef list columns                       # (name, dtype)
    cdef list arrays                        # of the present block
    cdef void **at                          # their data
    cdef uint64_t capacity                  # rows of a block
    cdef uint64_t rows                      # of the present block
    cdef readonly uint64_t total            # rows given to the sink
    cdef readonly uint64_t events           # that were seen
    cdef readonly uint64_t stepped_back     # rows whose exchange time is before that of a row before
    cdef int64_t latest                     # exchange time of a row: the greatest so far
    cdef int64_t first_live                 # exchange time of the first row that is LIVE; INT64_MIN = none
    cdef int64_t start, end                 # rows of [start, end), by time of receipt, else exchange time
    cdef object wanted_names                # None: all
    cdef uint8_t *wanted                    # by instrument: ASK, YES, NO
    cdef uint8_t *state                     # by instrument: quality of its book, as far as the batches have been read
    cdef uint32_t instruments               # capacity of the directory
    cdef InstrumentRecord *directory
    cdef ChannelRecord *channels
    cdef object kept                        # what these pointers point into
    cdef uint8_t qualities[256]             # of the present batch's events: see judge()

    cdef void judge(self, Books books, const Event *events, int count, uint32_t channel_quality) noexcept nogil
    cdef void reset(self, Books books) noexcept nogil
    cdef _take_block(self)
    cdef bint ask(self, uint32_t instrument) noexcept with gil
    cdef void flush(self) noexcept with gil

    cdef inline bint want(self, uint32_t instrument) noexcept nogil:
        """The rows of this instrument are asked for; those of a channel as a whole always are."""
        if self.wanted == NULL or instrument == 0 or instrument >= self.instruments:
            return True
        if self.wanted[instrument] == 0:
            return self.ask(instrument)
        return self.wanted[instrument] == 1

    cdef inline bint inside(self, const Event *event) noexcept nogil:
        """The event is of the time asked for."""
        cdef int64_t when = event.ts_recv if event.ts_recv != 0 else event.ts_event
        return self.start <= when < self.end

    cdef inline uint64_t row(self, int64_t ts_event, uint8_t quality, uint32_t instrument) noexcept nogil:
        """The place of a new row."""
        cdef uint64_t place
        if self.rows == self.capacity:
            self.flush()
        place = self.rows
        self.rows += 1
        if ts_event < self.latest:
            self.stepped_back += ts_event != 0
        else:
            self.latest = ts_event
        if quality == 0 and instrument != 0 and self.first_live < 0:
            self.first_live = ts_event
        return place

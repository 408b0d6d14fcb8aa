"""What the connections of a JSON channel cover, book by book. The lower half of a Splicer."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler.decode._text cimport TextDecoder
from feedhandler.line._arbiter cimport Arbiter
from feedhandler.line._resyncs cimport Resyncs
from feedhandler.line._suspicion cimport LINES_MAX
from feedhandler.line._texts cimport Text, Texts
from feedhandler.line._trades cimport Trades

cdef enum:                      # Spliced.state
    BOOK_NEW = 0                # no snapshot yet
    BOOK_WHOLE = 1
    BOOK_DOUBTED = 2            # right as of `last`, and something behind that may be missing: what continues it proves it
    BOOK_BROKEN = 3             # only a snapshot helps

cdef enum:                      # Spliced.wish, Follow.wish
    WISH_NONE = 0
    WISH_DUE = 1                # the ring was full, or it was made just now
    WISH_SENT = 2

cdef enum:
    SAME = 8                    # texts of one stamp that a book can tell apart

cdef struct Spliced:            # one instrument's book
    uint64_t last               # it is whole to this number
    uint64_t wanted             # the snapshot must be of this number or later
    uint64_t gap                # numbers that are told missing
    int64_t hole_since          # what waits stands behind a hole since then; INT64_MIN = it does not
    int64_t since               # when it was lost
    uint8_t state
    uint8_t reason
    uint8_t wish
    uint8_t line                # SNAPSHOT_FIRST: the line that feeds it; NO_LINE = none
    bint entire                 # STAMPS: it has all that bears the stamp `last`, by a snapshot
    uint8_t marked              # else this many texts that do,
    uint64_t marks[SAME]        # and their marks
    bint changes                # changes have been seen: a whole book on a line is not all there is

cdef struct Follow:             # what one line's present connection has shown of one instrument
    uint64_t first              # of the first change: all from here on come on this line, in order; 0 = none yet
    uint64_t latest             # of the last one
    uint64_t mark               # STAMPS: the first change's mark
    bint whole                  # SNAPSHOT_FIRST: its snapshot has come, and all updates since were good
    uint8_t wish
    uint8_t reason              # of the wish

cdef struct Notice:             # what TAKE_INSTRUMENT, TAKE_SWITCH and TAKE_CONNECTION tell
    uint64_t first, count       # INSTRUMENT: numbers that are missing
    int64_t at                  # CONNECTION: when, ns since the Unix epoch
    uint32_t instrument
    uint32_t line               # of the shard
    uint8_t quality, reason     # INSTRUMENT
    uint8_t connection, cause   # CONNECTION

cdef class Coverage(Arbiter):
    """The lines, the books, and what is due for them."""
    cdef TextDecoder texts_decoder
    cdef int rule
    cdef readonly Resyncs resyncs           # None: nobody is asked
    cdef Texts held_texts
    cdef Trades trades
    cdef uint32_t instruments               # capacity of the directory
    cdef readonly uint32_t control          # the shard's number of the control line
    cdef Spliced *spliced                   # by instrument
    cdef Follow *follows                    # by line, then by instrument
    cdef uint64_t serving                   # lines whose connection is known to be subscribed to all, as bits
    cdef uint64_t alive                     # lines on whose present connection something came
    cdef uint64_t planned                   # lines that are to go on on another connection, which is subscribed already
    cdef uint64_t joining                   # lines that have just done so: until the second packet of the new one
    cdef uint64_t renewed                   # lines whose framing the hot thread is to reset with their next connection
    cdef int64_t begun[LINES_MAX]           # when the first of it came; INT64_MIN = nothing has
    cdef uint64_t spoilt                    # lines of which an unreadable text came, during the sweep that this makes
    cdef int telling                        # a TAKE_ code that is due; `notice` belongs to it
    cdef Notice notice
    cdef uint32_t sweep                     # the instrument at which a look at all of them stands; 0 = none is under way
    cdef uint8_t sweep_reason
    cdef int64_t hole_first                 # the oldest hole's `hole_since`, or older; INT64_MAX = none
    cdef uint32_t wishes_due
    cdef int64_t seam                       # ts_recv of the last recorded packet, once live ones follow; INT64_MIN = none do
    cdef inline Follow *follow(self, uint32_t line, uint32_t instrument) noexcept nogil:
        return &self.follows[<size_t> line * self.instruments + instrument]
    cdef uint32_t end(self) noexcept nogil
    cdef void hear(self, uint32_t line, int64_t ts_recv) noexcept nogil
    cdef void lose(self, uint32_t line, uint8_t reason) noexcept nogil
    cdef void forget(self, uint32_t line) noexcept nogil
    cdef void begin_sweep(self, uint8_t reason) noexcept nogil
    cdef void go_on_sweeping(self) noexcept nogil
    cdef void tend(self, uint32_t instrument, uint8_t reason) noexcept nogil
    cdef bint seen(self, uint32_t instrument) noexcept nogil
    cdef bint proven(self, uint32_t instrument, uint64_t last) noexcept nogil
    cdef bint covered(self, uint32_t instrument) noexcept nogil
    cdef bint joined_at(self, uint32_t line, uint32_t instrument) noexcept nogil

    cdef inline bint has_mark(self, uint32_t instrument, uint64_t mark) noexcept nogil:
        """STAMPS: the book has this text of the stamp `last`."""
        cdef const Spliced *book = &self.spliced[instrument]
        cdef int i
        if book.entire:
            return True
        for i in range(book.marked):
            if book.marks[i] == mark:
                return True
        return False

    cdef bint hole_is_due(self, int64_t since) noexcept nogil
    cdef void tell(self, uint32_t instrument, uint8_t quality, uint8_t reason) noexcept nogil
    cdef void doubt(self, uint32_t instrument, uint8_t state, uint8_t reason) noexcept nogil
    cdef void begin_anew(self, uint32_t instrument) noexcept nogil
    cdef void wish(self, uint32_t instrument, uint64_t number) noexcept nogil
    cdef void wish_subscription(self, uint32_t line, uint32_t instrument, uint8_t reason) noexcept nogil
    cdef void subscription_over(self, uint32_t line, uint32_t instrument) noexcept nogil
    cdef void send_wishes(self, uint32_t instrument) noexcept nogil
    cdef void over(self, uint32_t instrument) noexcept nogil

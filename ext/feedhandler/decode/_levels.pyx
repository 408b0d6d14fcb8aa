"""Texts of price levels: the arrays of both sides in any place of a text, and one trade."""
from libc.string cimport memcpy
from feedhandler._records cimport (ACTION_MODIFY, ACTION_NONE, ACTION_RESET, ACTION_TRADE, FLAG_LAST, FLAG_MBP, FLAG_SNAPSHOT,
                                   SIDE_ASK, SIDE_BID, SIDE_NONE)
from feedhandler.decode._json cimport fh_json_decimal, fh_json_done, fh_json_fail_as, fh_json_levels, fh_json_row
from feedhandler.decode._text cimport UPDATE_NUMBERED, UPDATE_SNAPSHOT


cdef class LevelDecoder(TextDecoder):
    """Base of the decoders whose texts have price levels."""

    cdef bint members(self) noexcept nogil:
        return False

    cdef bint whole(self) noexcept nogil:
        return fh_json_done(&self.cursor)

    cdef int64_t levels(self, const Run *run, uint32_t side, fh_json *c, Event *out, uint32_t room, int64_t made) noexcept nogil:
        """[[price, size, …], …] of one side."""
        cdef fh_json_row row
        cdef int64_t count
        self.begin_row(run, ACTION_MODIFY, SIDE_BID if side == SEEN_BIDS else SIDE_ASK,
                       FLAG_MBP | (FLAG_SNAPSHOT if self.update.kind == UPDATE_SNAPSHOT else 0), &row)
        count = fh_json_levels(c, &row, out + made, room - <uint32_t> made)
        if count < 0:
            fh_json_fail_as(&self.cursor, c.bad)            # which may be another: no room is to be known as such
        return -1 if count < 0 else made + count

    cdef int64_t book(self, const Run *run, uint32_t wanted, Event *out, uint32_t room) noexcept nogil:
        cdef uint32_t early = self.seen & wanted & ~self.side
        cdef int64_t made = 0
        cdef int i, first
        if self.update.kind == UPDATE_SNAPSHOT:
            self.mark(run, ACTION_RESET, FLAG_SNAPSHOT, out)
            made = 1
        while early and made >= 0:      # in the order of the text
            first = -1
            for i in range(ARRAYS):
                if early >> i & 1 and (first < 0 or self.noted[i].at < self.noted[first].at):
                    first = i
            made = self.levels(run, 1 << first, &self.noted[first], out, room, made)
            early &= ~(1 << first)
        while self.side and made >= 0:
            made = self.levels(run, self.side, &self.cursor, out, room, made)
            self.side = 0
            if not self.members():
                return -1
        if made < 0 or wanted & ~self.seen or not self.whole():
            return -1
        if made == 0:                   # nothing changed, but the book is whole to another number, stamp or time
            self.mark(run, ACTION_NONE, 0, out)
            made = 1
        out[made - 1].flags |= FLAG_LAST
        return made

    cdef void numbered_trade(self, uint64_t number) noexcept nogil:
        self.update.first = self.update.last = number
        self.update.flags |= UPDATE_NUMBERED

    cdef int64_t sale(self, const Run *run, uint8_t side, uint64_t number, fh_json *price, fh_json *size, Event *out) noexcept nogil:
        cdef fh_json_row row
        cdef int64_t paid = 0, sold = 0
        self.update.first = self.update.last = 0        # of the book's row a trade has no number
        self.begin_row(run, ACTION_TRADE, side, FLAG_LAST, &row)
        if (not fh_json_decimal(price, row.price_exponent, &paid) or not fh_json_decimal(size, row.size_exponent, &sold)
                or sold < 0):
            return -1
        row.words[3] = number
        row.words[4] = <uint64_t> paid
        row.words[5] = <uint64_t> sold
        memcpy(out, row.words, sizeof(Event))
        return 1

    cdef void mark(self, const Run *run, uint8_t action, uint8_t flags, Event *out) noexcept nogil:
        cdef fh_json_row row
        self.begin_row(run, action, SIDE_NONE, flags, &row)
        memcpy(out, row.words, sizeof(Event))

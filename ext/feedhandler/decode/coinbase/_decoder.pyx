"""The compiled decoder of `feedhandler.decode.coinbase`: snapshot, l2update, match; others are counted by type.

A text says what it is and of which product before its levels, so head() stops before these and body() reads them
straight into events. Its time stands behind them and is filled in at the end. An l2update as the venue writes it is
read without asking for each key; keys in another order are found all the same: what stood too early is noted, and read
when the rest is known.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from feedhandler._instruments cimport Instruments
from feedhandler._records cimport (ACTION_MODIFY, Event, FLAG_BAD_TS, FLAG_MBP, Run, SIDE_ASK, SIDE_BID, SIDE_NONE)
from feedhandler.decode._json cimport (FH_JSON_RANGE, FH_JSON_ROOM, fh_json, fh_json_array, fh_json_decimal, fh_json_done,
                                       fh_json_fail, fh_json_fail_as, fh_json_item, fh_json_key, fh_json_object,
                                       fh_json_peek, fh_json_row, fh_json_sent, fh_json_skip, fh_json_text, fh_json_uint, fh_text,
                                       fh_text_copy, fh_text_is)
from feedhandler.decode._levels cimport ASKS, BIDS, CHANGES, LevelDecoder, SEEN_ASKS, SEEN_BIDS, SEEN_CHANGES, SIDES, once
from feedhandler.decode._text cimport RULE_SNAPSHOT_FIRST, TYPE_UNKNOWN, UPDATE_CHANGE, UPDATE_PASS, UPDATE_SNAPSHOT

cdef extern from "iso_time.h" nogil:
    bint fh_iso_time(const uint8_t *at, uint32_t len, int64_t *ns)

cdef enum:                      # keys met, beside those of levels
    SEEN_TYPE = 1 << 3
    SEEN_PRODUCT = 1 << 4
    SEEN_TIME = 1 << 5
    SEEN_TRADE = 1 << 6
    SEEN_SIDE = 1 << 7
    SEEN_SIZE = 1 << 8
    SEEN_PRICE = 1 << 9
    SOLD = SEEN_PRODUCT | SEEN_TRADE | SEEN_SIDE | SEEN_SIZE | SEEN_PRICE

cdef enum:                      # types
    TYPE_CHANGE = 68            # 'D' l2update
    TYPE_SNAPSHOT = 83          # 'S'
    TYPE_TRADE = 84             # 'T' match
    TYPE_LAST_MATCH = 77        # 'M' the trade before the subscription: no event
    TYPE_TICKER = 66            # 'B'
    TYPE_HEARTBEAT = 72         # 'H'
    TYPE_ANSWER = 82            # 'R' subscriptions, error

cdef enum:
    TIME_MAX = 40               # bytes of a time: more are none

cdef enum:
    BUY = 1
    SELL = 2


cdef int side_of(fh_json *c) noexcept nogil:
    """BUY or SELL; 0 = bad."""
    cdef fh_text text
    if fh_json_text(c, &text):
        if fh_text_is(&text, b"buy", 3):
            return BUY
        if fh_text_is(&text, b"sell", 4):
            return SELL
        fh_json_fail(c)
    return 0


@cython.final
cdef class ProtocolDecoder(LevelDecoder):
    cdef bint usual                     # an l2update in the venue's own order of keys, so far
    cdef uint32_t wanted                # bits of the levels that the text's type has
    cdef uint64_t trade_id
    cdef fh_text product, time
    cdef fh_json trade, maker, size, price      # where the values stand

    def __cinit__(self, Instruments instruments not None, int channel=0, str venue not None="COINBASE", *args):
        self.protocol = "coinbase"
        self.rule = RULE_SNAPSHOT_FIRST
        self.price_exponent = -8

    cdef bint head(self) noexcept nogil:
        self.seen = self.wanted = self.side = 0
        self.product.len = self.time.len = 0
        self.usual = False
        self.update.kind = UPDATE_PASS
        self.update.type = TYPE_UNKNOWN
        if self.answer.len:
            return fh_json_skip(&self.cursor)
        if self.change_head():
            return True
        if not fh_json_object(&self.cursor) or not self.members() or not self.seen & SEEN_TYPE:
            return False
        if self.wanted or self.update.type == TYPE_TRADE:
            if self.product.len == 0 or (not self.wanted and SOLD & ~self.seen):
                return False
            self.update.instrument = self.named(&self.product)
        if self.update.type == TYPE_TRADE:          # numbered, so that of two lines' copies one passes
            if not fh_json_uint(&self.trade, &self.trade_id):
                return fh_json_fail_as(&self.cursor, self.trade.bad)
            self.numbered_trade(self.trade_id)
        return True

    cdef bint change_head(self) noexcept nogil:
        """The beginning of an l2update in the venue's own order of keys, to its changes; False = nothing was read."""
        cdef fh_json c = self.cursor
        cdef fh_text product
        if (not fh_json_sent(&c, b'{"type":"l2update","product_id":', 32) or not fh_json_text(&c, &product)
                or product.len == 0 or not fh_json_sent(&c, b',"changes":', 11)):
            return False
        self.cursor = c
        self.usual = True
        self.seen = SEEN_TYPE | SEEN_PRODUCT | SEEN_CHANGES
        self.wanted = self.side = SEEN_CHANGES
        self.product = product
        self.update.type = TYPE_CHANGE
        self.update.kind = UPDATE_CHANGE
        self.update.instrument = self.named(&product)
        return True

    cdef bint members(self) noexcept nogil:
        """Read on to the levels of a text that has said what and whose it is, or to its end."""
        cdef fh_json *c = &self.cursor
        cdef fh_text key
        if self.usual and not self.seen & SEEN_TIME and fh_json_sent(c, b',"time":', 8):
            self.keep_text(SEEN_TIME, &self.time)
            if fh_json_sent(c, b"}", 1):
                return True
        while fh_json_key(c, &key):
            if fh_text_is(&key, b"type", 4):
                if not once(self, SEEN_TYPE) or not self.text_type():
                    return False
            elif fh_text_is(&key, b"product_id", 10):
                self.keep_text(SEEN_PRODUCT, &self.product)
            elif fh_text_is(&key, b"changes", 7):
                self.keep(SEEN_CHANGES, &self.noted[CHANGES])
            elif fh_text_is(&key, b"bids", 4):
                self.keep(SEEN_BIDS, &self.noted[BIDS])
            elif fh_text_is(&key, b"asks", 4):
                self.keep(SEEN_ASKS, &self.noted[ASKS])
            elif fh_text_is(&key, b"time", 4):
                self.keep_text(SEEN_TIME, &self.time)
            elif fh_text_is(&key, b"price", 5):
                self.keep(SEEN_PRICE, &self.price)
            elif fh_text_is(&key, b"size", 4):
                self.keep(SEEN_SIZE, &self.size)
            elif fh_text_is(&key, b"side", 4):
                self.keep(SEEN_SIDE, &self.maker)
            elif fh_text_is(&key, b"trade_id", 8):
                self.keep(SEEN_TRADE, &self.trade)
            else:
                fh_json_skip(c)
            if self.side:
                return True
        return not c.bad

    cdef void keep_text(self, uint32_t bit, fh_text *text) noexcept nogil:
        """A text; another value is of a text of another kind."""
        if fh_json_peek(&self.cursor) != 34:
            fh_json_skip(&self.cursor)
        elif once(self, bit):
            fh_json_text(&self.cursor, text)

    cdef void keep(self, uint32_t bit, fh_json *where) noexcept nogil:
        """Note where a value stands, or stop before it: levels of a text that has said what and whose it is."""
        if not once(self, bit):
            return
        if bit & self.wanted and self.seen & SEEN_PRODUCT:
            self.side = bit
            return
        where[0] = self.cursor
        fh_json_skip(&self.cursor)

    cdef bint text_type(self) noexcept nogil:
        cdef fh_text text
        if not fh_json_text(&self.cursor, &text):
            return False
        if fh_text_is(&text, b"l2update", 8):
            self.update.type = TYPE_CHANGE
            self.update.kind = UPDATE_CHANGE
            self.wanted = SEEN_CHANGES
        elif fh_text_is(&text, b"snapshot", 8):
            self.update.type = TYPE_SNAPSHOT
            self.update.kind = UPDATE_SNAPSHOT
            self.wanted = SIDES
        elif fh_text_is(&text, b"match", 5):
            self.update.type = TYPE_TRADE
        elif fh_text_is(&text, b"last_match", 10):
            self.update.type = TYPE_LAST_MATCH
        elif fh_text_is(&text, b"ticker", 6):
            self.update.type = TYPE_TICKER
        elif fh_text_is(&text, b"heartbeat", 9):
            self.update.type = TYPE_HEARTBEAT
        elif fh_text_is(&text, b"subscriptions", 13) or fh_text_is(&text, b"error", 5):
            self.update.type = TYPE_ANSWER
        return True

    cdef int64_t body(self, const Run *run, Event *out, uint32_t room) noexcept nogil:
        cdef uint8_t undone[TIME_MAX]
        cdef int64_t made, i
        cdef uint8_t flags = 0
        if self.wanted:
            made = self.book(run, self.wanted, out, room)
        elif not fh_json_done(&self.cursor):
            return -1
        else:
            made = self.match(run, out) if self.update.type == TYPE_TRADE else 0
        if made > 0:
            if self.time.escaped:
                self.time.len = min(fh_text_copy(&self.time, undone, TIME_MAX), <uint32_t> TIME_MAX)
                self.time.data = undone
            if not fh_iso_time(self.time.data, self.time.len, &self.update.ts_event):
                self.update.ts_event = 0
                flags = FLAG_BAD_TS
            for i in range(made):
                out[i].ts_event = self.update.ts_event
                out[i].flags |= flags
        return made

    cdef int64_t levels(self, const Run *run, uint32_t side, fh_json *c, Event *out, uint32_t room, int64_t made) noexcept nogil:
        """[["buy" or "sell", price, size], …] where they are changes."""
        cdef fh_json_row row
        cdef int64_t price, size
        cdef int which
        if side != SEEN_CHANGES:
            return LevelDecoder.levels(self, run, side, c, out, room, made)
        self.begin_row(run, ACTION_MODIFY, SIDE_NONE, FLAG_MBP, &row)
        fh_json_array(c)
        while fh_json_item(c):
            if fh_json_sent(c, b'["buy",', 7):
                which = BUY
            elif fh_json_sent(c, b'["sell",', 8):
                which = SELL
            else:
                if not fh_json_array(c) or not fh_json_item(c):
                    return -1
                which = side_of(c)
                if which == 0 or not fh_json_item(c):
                    return -1
            if (not fh_json_decimal(c, row.price_exponent, &price)
                    or not fh_json_item(c) or not fh_json_decimal(c, row.size_exponent, &size)):
                return -1
            while fh_json_item(c):
                fh_json_skip(c)
            if size < 0:
                fh_json_fail_as(c, FH_JSON_RANGE)
                return -1
            if made == room:
                fh_json_fail_as(&self.cursor, FH_JSON_ROOM)
                return -1
            memcpy(out + made, row.words, sizeof(Event))
            out[made].side = SIDE_BID if which == BUY else SIDE_ASK
            out[made].price = price
            out[made].size = <uint64_t> size
            made += 1
        return -1 if c.bad else made

    cdef int64_t match(self, const Run *run, Event *out) noexcept nogil:
        """`side` is the maker's: who hit it bought where that sold."""
        cdef int maker = side_of(&self.maker)
        if maker == 0:
            return -1
        return self.sale(run, SIDE_ASK if maker == BUY else SIDE_BID, self.trade_id, &self.price, &self.size, out)

"""Binance's texts: depthUpdate, trade, aggTrade, the REST snapshot; others are counted by type.

A depth update says who it is before its levels, so head() stops before these and body() reads them straight into
events. As the venue writes it, it is read without asking for each key; keys in another order are found all the same:
what stood before its time is noted, and read at the end.
"""
from libc.stdint cimport INT64_MAX, int64_t
from feedhandler._records cimport Event, Run, SIDE_ASK, SIDE_BID
from feedhandler.decode._json cimport (FH_JSON_RANGE, fh_json, fh_json_bool, fh_json_done, fh_json_fail, fh_json_fail_as,
                                       fh_json_key, fh_json_object, fh_json_peek, fh_json_sent, fh_json_skip,
                                       fh_json_text, fh_json_uint, fh_text_is, fh_text_word)
from feedhandler.decode._levels cimport ASKS, BIDS, SEEN_ASKS, SEEN_BIDS, SIDES, once
from feedhandler.decode._text cimport (TYPE_UNKNOWN, UPDATE_CHAINED, UPDATE_CHANGE, UPDATE_NUMBERED, UPDATE_PASS,
                                       UPDATE_SNAPSHOT)

cdef extern from *:
    """
    /* keys as words: fh_text_word() */
    #define FH_KEY2(a, b) ((uint64_t)(a) | (uint64_t)(b) << 8)
    #define FH_KEY4(a, b, c, d) (FH_KEY2(a, b) | FH_KEY2(c, d) << 16)
    #define FH_KEY_PU FH_KEY2('p', 'u')
    #define FH_KEY_ID FH_KEY2('i', 'd')
    #define FH_KEY_DATA FH_KEY4('d', 'a', 't', 'a')
    #define FH_KEY_BIDS FH_KEY4('b', 'i', 'd', 's')
    #define FH_KEY_ASKS FH_KEY4('a', 's', 'k', 's')
    #define FH_KEY_STREAM (FH_KEY4('s', 't', 'r', 'e') | FH_KEY2('a', 'm') << 32)
    #define FH_KEY_RESULT (FH_KEY4('r', 'e', 's', 'u') | FH_KEY2('l', 't') << 32)
    """
    const uint64_t KEY_PU "FH_KEY_PU"
    const uint64_t KEY_ID "FH_KEY_ID"
    const uint64_t KEY_DATA "FH_KEY_DATA"
    const uint64_t KEY_BIDS "FH_KEY_BIDS"
    const uint64_t KEY_ASKS "FH_KEY_ASKS"
    const uint64_t KEY_STREAM "FH_KEY_STREAM"
    const uint64_t KEY_RESULT "FH_KEY_RESULT"

cdef enum:                      # keys met, beside b and a (of a snapshot bids and asks)
    SEEN_EVENT = 1 << 3         # e
    SEEN_TIME = 1 << 4          # E
    SEEN_SYMBOL = 1 << 5        # s
    SEEN_FIRST = 1 << 6         # U
    SEEN_LAST = 1 << 7          # u; of a snapshot lastUpdateId
    SEEN_PREVIOUS = 1 << 8      # pu
    SEEN_TRANSACTION = 1 << 9   # T
    SEEN_PRICE = 1 << 10        # p
    SEEN_QUANTITY = 1 << 11     # q
    SEEN_MAKER = 1 << 12        # m
    SEEN_TRADE = 1 << 13        # t
    SEEN_BID_SIZE = 1 << 14     # B
    SEEN_ASK_SIZE = 1 << 15     # A
    SEEN_DATA = 1 << 16
    SEEN_ANSWER = 1 << 17       # result, id, error
    IDENTITY = SEEN_EVENT | SEEN_TIME | SEEN_SYMBOL | SEEN_FIRST | SEEN_LAST
    TICKER = SEEN_LAST | SEEN_SYMBOL | SIDES | SEEN_BID_SIZE | SEEN_ASK_SIZE
    SOLD = SEEN_SYMBOL | SEEN_PRICE | SEEN_QUANTITY | SEEN_TRANSACTION | SEEN_MAKER

cdef enum:                      # types
    TYPE_DEPTH = 68             # 'D'
    TYPE_SNAPSHOT = 83          # 'S'
    TYPE_TRADE = 84             # 'T'
    TYPE_AGGREGATE = 65         # 'A'
    TYPE_TICKER = 66            # 'B'
    TYPE_KLINE = 75             # 'K'
    TYPE_ANSWER = 82            # 'R'

cdef enum:
    MILLISECOND = 1000000


cdef inline uint64_t snapshot_key(const fh_text *key, uint64_t word) noexcept nogil:
    """The key of an update that says the same; 0 = no such key."""
    if word == KEY_BIDS:
        return 98
    if word == KEY_ASKS:
        return 97
    if fh_text_is(key, b"lastUpdateId", 12):
        return 117
    return 0 if word == 98 or word == 97 or word == 117 else word


cdef class BinanceDecoder(LevelDecoder):
    """Base of the decoders of the spot market and of USD-M futures."""

    cdef bint head(self) noexcept nogil:
        cdef fh_json *c = &self.cursor
        self.seen = self.side = 0
        self.kind = 0
        self.inside = self.usual = False
        self.event_ms = self.transaction_ms = self.trade_id = 0
        if self.answer.len:
            if not fh_text_is(&self.answer, b"depth", 5):
                self.update.kind = UPDATE_PASS
                self.update.type = TYPE_UNKNOWN
                return fh_json_skip(c)
            self.kind = TYPE_SNAPSHOT
            self.complete = SEEN_LAST | (SEEN_TRANSACTION if self.futures else 0)
        else:
            self.complete = IDENTITY | (SEEN_TRANSACTION | SEEN_PREVIOUS if self.futures else 0)
            if fh_json_peek(c) == 91:   # '[': all market tickers and the like
                self.update.kind = UPDATE_PASS
                self.update.type = TYPE_UNKNOWN
                return fh_json_skip(c)
            if depth_head(self):
                return judge(self)
        return fh_json_object(c) and self.members() and judge(self)

    cdef bint members(self) noexcept nogil:
        """Read on to the levels of a text that has said who it is, or to its end."""
        cdef fh_json *c = &self.cursor
        cdef fh_text key
        cdef uint64_t word
        if self.usual:
            if not self.seen & SEEN_ASKS and fh_json_sent(c, b',"a":', 5):
                self.seen |= SEEN_ASKS
                self.side = SEEN_ASKS
                return True
            if self.inside and fh_json_sent(c, b"}}", 2):
                return True
        while True:
            if not fh_json_key(c, &key):
                if c.bad:
                    return False
                if not self.inside:
                    return True
                self.inside = False
                continue
            word = fh_text_word(&key)
            if not self.inside and word == KEY_DATA and not self.answer.len and fh_json_peek(c) == 123:
                if self.seen & SEEN_DATA:
                    return fh_json_fail(c)
                self.seen |= SEEN_DATA
                self.inside = True
                fh_json_object(c)
            elif not self.inside and (self.seen & SEEN_DATA or word == KEY_STREAM):
                fh_json_skip(c)
            else:
                if self.kind == TYPE_SNAPSHOT:
                    word = snapshot_key(&key, word)
                if not member(self, word):
                    return False
                if self.side:
                    return True

    cdef int64_t body(self, const Run *run, Event *out, uint32_t room) noexcept nogil:
        cdef int maker = 0
        if self.update.kind != UPDATE_PASS:
            return self.book(run, SIDES, out, room)
        if not fh_json_done(&self.cursor):
            return -1
        if self.kind != TYPE_TRADE and self.kind != TYPE_AGGREGATE:
            return 0
        if not fh_json_bool(&self.maker, &maker):
            return -1
        # the aggressor sold where the buyer was the maker
        return self.sale(run, SIDE_ASK if maker else SIDE_BID, self.trade_id, &self.price, &self.quantity, out)

# Functions, not methods: they are called for each key, and nobody replaces them.

cdef bint depth_head(BinanceDecoder self) noexcept nogil:
    """The beginning of a depth update in the venue's own order of keys, to its bids; False = nothing was read."""
    cdef fh_json c = self.cursor
    cdef fh_text name
    cdef uint64_t event_ms, first, last, transaction_ms = 0, previous = 0
    cdef bint inside = fh_json_sent(&c, b'{"stream":', 10)
    if inside:
        if not fh_json_text(&c, NULL) or not fh_json_sent(&c, b',"data":', 8):
            return False
    if (not fh_json_sent(&c, b'{"e":"depthUpdate","E":', 23) or not fh_json_uint(&c, &event_ms)
            or (self.futures and not (fh_json_sent(&c, b',"T":', 5) and fh_json_uint(&c, &transaction_ms)))
            or not fh_json_sent(&c, b',"s":', 5) or not fh_json_text(&c, &name)
            or not fh_json_sent(&c, b',"U":', 5) or not fh_json_uint(&c, &first)
            or not fh_json_sent(&c, b',"u":', 5) or not fh_json_uint(&c, &last)
            or (self.futures and not (fh_json_sent(&c, b',"pu":', 6) and fh_json_uint(&c, &previous)))
            or not fh_json_sent(&c, b',"b":', 5)):
        return False
    self.cursor = c
    self.seen = self.complete | SEEN_BIDS | (SEEN_DATA if inside else 0)
    self.side = SEEN_BIDS
    self.kind = TYPE_DEPTH
    self.inside = inside
    self.usual = True
    self.name = name
    self.event_ms = event_ms
    self.transaction_ms = transaction_ms
    self.update.first = first
    self.update.last = last
    self.update.previous = previous
    return True


cdef bint member(BinanceDecoder self, uint64_t key) noexcept nogil:
    """The value of one key of an event."""
    cdef fh_json *c = &self.cursor
    if key == 98:           # b
        return keep(self, SEEN_BIDS, &self.noted[BIDS])
    if key == 97:           # a
        return keep(self, SEEN_ASKS, &self.noted[ASKS])
    if key == 101:          # e
        return event_name(self)
    if key == 69:           # E
        return number(self, SEEN_TIME, &self.event_ms)
    if key == 115:          # s
        if self.seen & SEEN_SYMBOL or fh_json_peek(c) != 34:
            return fh_json_fail(c)
        self.seen |= SEEN_SYMBOL
        return fh_json_text(c, &self.name)
    if key == 85:           # U
        return number(self, SEEN_FIRST, &self.update.first)
    if key == 117:          # u
        return number(self, SEEN_LAST, &self.update.last)
    if key == 84:           # T
        return number(self, SEEN_TRANSACTION, &self.transaction_ms)
    if key == 116:          # t
        return number(self, SEEN_TRADE, &self.trade_id)
    if key == 112:          # p
        return keep(self, SEEN_PRICE, &self.price)
    if key == 113:          # q
        return keep(self, SEEN_QUANTITY, &self.quantity)
    if key == 109:          # m
        return keep(self, SEEN_MAKER, &self.maker)
    if key == KEY_PU:
        return number(self, SEEN_PREVIOUS, &self.update.previous)
    if key == 66:           # B
        self.seen |= SEEN_BID_SIZE
    elif key == 65:         # A
        self.seen |= SEEN_ASK_SIZE
    elif key == KEY_RESULT or key == KEY_ID:
        self.seen |= SEEN_ANSWER
    return fh_json_skip(c)


cdef inline bint number(BinanceDecoder self, uint32_t bit, uint64_t *value) noexcept nogil:
    """A number that may be met once; another kind of value belongs to an event that we do not know."""
    cdef fh_json *c = &self.cursor
    cdef int first = fh_json_peek(c)
    if first < 48 or first > 57:
        return fh_json_skip(c)
    if not once(self, bit):
        return False
    return fh_json_uint(c, value)


cdef inline bint keep(BinanceDecoder self, uint32_t bit, fh_json *where) noexcept nogil:
    """Note where a value stands, or stop before it: levels of a text that has said who it is."""
    cdef fh_json *c = &self.cursor
    if not once(self, bit):
        return False
    if bit & SIDES and (self.kind == TYPE_DEPTH or self.kind == TYPE_SNAPSHOT) and self.complete & ~self.seen == 0:
        self.side = bit
        return True
    where[0] = c[0]
    return fh_json_skip(c)


cdef bint event_name(BinanceDecoder self) noexcept nogil:
    cdef fh_text name
    if self.seen & SEEN_EVENT:
        return fh_json_fail(&self.cursor)
    if fh_json_peek(&self.cursor) != 34:
        return fh_json_skip(&self.cursor)
    self.seen |= SEEN_EVENT
    if not fh_json_text(&self.cursor, &name) or self.kind == TYPE_SNAPSHOT:
        return not self.cursor.bad
    if fh_text_is(&name, b"depthUpdate", 11):
        self.kind = TYPE_DEPTH
    elif fh_text_is(&name, b"trade", 5):
        self.kind = TYPE_TRADE
    elif fh_text_is(&name, b"aggTrade", 8):
        self.kind = TYPE_AGGREGATE
    elif fh_text_is(&name, b"bookTicker", 10):
        self.kind = TYPE_TICKER
    elif fh_text_is(&name, b"kline", 5):
        self.kind = TYPE_KLINE
    else:
        self.kind = TYPE_UNKNOWN
    return True


cdef bint judge(BinanceDecoder self) noexcept nogil:
    """What this text is, and whether it has what a text of its type must have."""
    cdef uint32_t needed = 0
    if self.kind == 0:
        if self.seen & TICKER == TICKER:
            self.kind = TYPE_TICKER
        elif self.seen & SEEN_ANSWER:
            self.kind = TYPE_ANSWER
        else:
            self.kind = TYPE_UNKNOWN
    self.update.type = self.kind
    self.update.kind = UPDATE_PASS
    if self.kind == TYPE_DEPTH:
        self.update.kind = UPDATE_CHANGE
        self.update.flags |= UPDATE_NUMBERED | (UPDATE_CHAINED if self.futures else 0)
        needed = IDENTITY | (SEEN_PREVIOUS if self.futures else 0)
    elif self.kind == TYPE_SNAPSHOT:
        self.update.kind = UPDATE_SNAPSHOT
        self.update.flags |= UPDATE_NUMBERED
        self.update.first = self.update.last
        self.name = self.symbol
        needed = SEEN_LAST
    elif self.kind == TYPE_TRADE or self.kind == TYPE_AGGREGATE:
        needed = SOLD | (SEEN_TRADE if self.kind == TYPE_TRADE else SEEN_ASKS)
    if self.update.kind == UPDATE_PASS:
        self.update.first = self.update.last = self.update.previous = 0
        if needed == 0:
            return True
    elif not self.side:
        needed |= SIDES
    if needed & ~self.seen or self.update.first > self.update.last:
        return fh_json_fail(&self.cursor)
    if max(self.event_ms, self.transaction_ms) > <uint64_t> INT64_MAX // MILLISECOND:
        return fh_json_fail_as(&self.cursor, FH_JSON_RANGE)
    if self.seen & SEEN_TRANSACTION and (self.futures or self.update.kind == UPDATE_PASS):
        self.update.ts_event = MILLISECOND * <int64_t> self.transaction_ms
    elif self.futures or self.kind == TYPE_DEPTH:   # no time stands in a snapshot of the spot market
        self.update.ts_event = MILLISECOND * <int64_t> self.event_ms
    if self.kind == TYPE_TRADE:             # numbered, so that of two lines' copies one passes
        self.numbered_trade(self.trade_id)
    elif self.kind == TYPE_AGGREGATE and not fh_json_uint(&self.noted[ASKS], &self.trade_id):
        return fh_json_fail_as(&self.cursor, self.noted[ASKS].bad)     # its number is `a`, in a row of its own
    if self.name.len == 0:
        return fh_json_fail(&self.cursor)
    self.update.instrument = self.named(&self.name)
    return True

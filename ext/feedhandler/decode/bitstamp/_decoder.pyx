"""The compiled decoder of `feedhandler.decode.bitstamp`: diff_order_book, order_book, live_trades and the REST book.

A text has its data first and says behind them what they are of. head() looks at the end of the text before it goes into
the data; body() has read the whole text when it comes there, and only then is what it made believed. Texts of another
order are read all the same: the data are passed over until the rest is known. An update as the venue writes it is read
without asking for each key.
"""
cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp
from feedhandler._instruments cimport Instruments
from feedhandler._records cimport Event, Run, SIDE_ASK, SIDE_BID
from feedhandler.decode._json cimport (FH_JSON_RANGE, fh_json, fh_json_done, fh_json_fail, fh_json_fail_as, fh_json_key,
                                       fh_json_object, fh_json_peek, fh_json_quote_before, fh_json_sent, fh_json_skip, fh_json_text, fh_json_uint, fh_text,
                                       fh_text_copy, fh_text_is)
from feedhandler.decode._levels cimport ASKS, BIDS, LevelDecoder, SEEN_ASKS, SEEN_BIDS, SIDES, once
from feedhandler.decode._text cimport (RULE_STAMPS, TYPE_UNKNOWN, UPDATE_CHANGE, UPDATE_NUMBERED, UPDATE_PASS, UPDATE_RECONNECT,
                                       UPDATE_SNAPSHOT)

cdef enum:                      # keys met, beside bids and asks
    SEEN_EVENT = 1 << 3
    SEEN_CHANNEL = 1 << 4
    SEEN_DATA = 1 << 5
    SEEN_STAMP = 1 << 6
    SEEN_PRICE = 1 << 7
    SEEN_PRICE_TEXT = 1 << 8
    SEEN_AMOUNT = 1 << 9
    SEEN_AMOUNT_TEXT = 1 << 10
    SEEN_SIDE = 1 << 11
    SEEN_ID = 1 << 12

cdef enum:                      # types
    TYPE_CHANGE = 68            # 'D' diff_order_book
    TYPE_SNAPSHOT = 83          # 'S' order_book, and the REST book
    TYPE_TRADE = 84             # 'T'
    TYPE_HEARTBEAT = 72         # 'H'
    TYPE_ANSWER = 82            # 'R' bts:…

cdef extern from *:
    """
    static const char FH_BITSTAMP_END[] = "\\",\\"event\\":\\"data\\"}", FH_BITSTAMP_CHANNEL[] = "},\\"channel\\":\\"";
    """
    const char *END "FH_BITSTAMP_END"
    const char *CHANNEL "FH_BITSTAMP_CHANNEL"

cdef enum:
    END_LENGTH = 17
    CHANNEL_LENGTH = 13
    NAME_MAX = 64               # bytes of a channel's name that is looked for from the end


@cython.final
cdef class ProtocolDecoder(LevelDecoder):
    cdef bint inside                    # the cursor is in the data
    cdef bint alone                     # nothing of the text follows the data: they were passed over before, or are a REST answer
    cdef bint of_data, of_trade         # what `event` says
    cdef bint usual                     # a book's text in the venue's own order of keys, so far
    cdef fh_text channel_name, symbol_name # of the channel, and whose it is
    cdef fh_json data, price, price_text, amount, amount_text      # where the values stand
    cdef uint64_t trade_id, seller
    cdef uint8_t undone[NAME_MAX]       # the channel's name without its escapes

    def __cinit__(self, Instruments instruments not None, int channel=0, str venue not None="BITSTAMP", *args):
        self.protocol = "bitstamp"
        self.rule = RULE_STAMPS
        self.price_exponent = -8

    cdef bint head(self) noexcept nogil:
        cdef fh_json *c = &self.cursor
        self.seen = self.side = 0
        self.inside = self.alone = self.of_data = self.of_trade = self.usual = False
        self.trade_id = self.seller = 0
        self.channel_name.data = NULL
        self.update.kind = UPDATE_PASS
        self.update.type = TYPE_UNKNOWN
        if self.answer.len:
            if not fh_text_is(&self.answer, b"depth", 5):
                return fh_json_skip(c)
            self.symbol_name = self.symbol
            self.update.type = TYPE_SNAPSHOT
            self.inside = self.alone = True
            return fh_json_object(c) and self.members() and self.judge()
        self.at_end()
        if self.book_head():
            return self.judge()
        if not fh_json_object(c) or not self.members():
            return False
        if self.update.type == TYPE_UNKNOWN and not self.inside:
            self.kind_of()
            if self.recognised() and self.seen & SEEN_DATA:     # what the data are of stood behind them
                if not fh_json_done(c):
                    return False
                c[0] = self.data
                self.inside = self.alone = True
                if not fh_json_object(c) or not self.members():
                    return False
        return self.judge()

    cdef bint recognised(self) noexcept nogil:
        return self.update.type == TYPE_CHANGE or self.update.type == TYPE_SNAPSHOT or self.update.type == TYPE_TRADE

    cdef void at_end(self) noexcept nogil:
        """A text that ends as the venue's own do has said who it is: the braces and quotes leave no other reading."""
        cdef const uint8_t *begin = self.cursor.at
        cdef const uint8_t *end = self.cursor.end
        cdef const uint8_t *at
        if end - begin < 1 + END_LENGTH + CHANNEL_LENGTH + NAME_MAX or memcmp(end - END_LENGTH, END, END_LENGTH) != 0:
            return
        end -= END_LENGTH
        at = fh_json_quote_before(begin, end)
        if at == NULL or at[0] != 34 or memcmp(at + 1 - CHANNEL_LENGTH, CHANNEL, CHANNEL_LENGTH) != 0:
            return
        self.channel_name.data = at + 1
        self.channel_name.len = <uint32_t> (end - at - 1)
        self.channel_name.escaped = 0
        self.of_data = True
        self.kind_of()

    cdef bint book_head(self) noexcept nogil:
        """The beginning of a book's text in the venue's own order of keys, to its bids; False = nothing was read."""
        cdef fh_json c = self.cursor
        cdef uint64_t stamp
        if (self.update.type == TYPE_UNKNOWN or not fh_json_sent(&c, b'{"data":{"timestamp":', 21) or not fh_json_text(&c, NULL)
                or not fh_json_sent(&c, b',"microtimestamp":', 18) or not fh_json_uint(&c, &stamp)
                or not fh_json_sent(&c, b',"bids":', 8)):
            return False
        self.cursor = c
        self.inside = self.usual = True
        self.seen = SEEN_DATA | SEEN_STAMP | SEEN_BIDS
        self.side = SEEN_BIDS
        self.update.last = stamp
        return True

    cdef void kind_of(self) noexcept nogil:
        """Type, and whose the text is, by its event and the name of its channel."""
        cdef uint32_t length
        if self.channel_name.data == NULL:
            return
        if self.channel_name.escaped:
            length = fh_text_copy(&self.channel_name, self.undone, NAME_MAX)
            if length > NAME_MAX:
                return
            self.channel_name.data, self.channel_name.len, self.channel_name.escaped = self.undone, length, 0
        if self.of_data and self.of_channel(b"diff_order_book_", 16):
            self.update.type = TYPE_CHANGE
        elif self.of_data and self.of_channel(b"order_book_", 11):
            self.update.type = TYPE_SNAPSHOT
        elif self.of_trade and self.of_channel(b"live_trades_", 12):
            self.update.type = TYPE_TRADE

    cdef bint of_channel(self, const char *prefix, uint32_t length) noexcept nogil:
        if self.channel_name.len <= length or memcmp(self.channel_name.data, prefix, length) != 0:
            return False
        self.symbol_name.data = self.channel_name.data + length
        self.symbol_name.len = self.channel_name.len - length
        self.symbol_name.escaped = 0
        return True

    cdef bint members(self) noexcept nogil:
        """Read on to the levels of a text that has said what it is, or to its end."""
        cdef fh_json *c = &self.cursor
        cdef fh_text key
        if self.usual:
            if not self.seen & SEEN_ASKS and fh_json_sent(c, b',"asks":', 8):
                self.seen |= SEEN_ASKS
                self.side = SEEN_ASKS
                return True
            if c.at == self.channel_name.data - CHANNEL_LENGTH:     # what is left has been looked at, but for the name's bytes
                c.at = self.channel_name.data - 1
                if not fh_json_text(c, NULL):
                    return False
                c.at = c.end
                self.seen |= SEEN_CHANNEL | SEEN_EVENT
                self.inside = False
                return True
        while True:
            if not fh_json_key(c, &key):
                if c.bad:
                    return False
                if not self.inside or self.alone:
                    return True
                self.inside = False
            elif self.inside:
                if not self.member(&key):
                    return False
                if self.side:
                    return True
            elif fh_text_is(&key, b"data", 4):
                if not once(self, SEEN_DATA):
                    return False
                self.data = c[0]
                if self.update.type == TYPE_UNKNOWN:
                    self.kind_of()
                if not self.recognised():
                    fh_json_skip(c)
                    self.data.end = c.at
                elif fh_json_object(c):
                    self.inside = True
            elif fh_text_is(&key, b"channel", 7):
                if not self.channel_key():
                    return False
            elif fh_text_is(&key, b"event", 5):
                if not self.event_key():
                    return False
            else:
                fh_json_skip(c)

    cdef bint channel_key(self) noexcept nogil:
        cdef fh_text text
        if fh_json_peek(&self.cursor) != 34:
            return fh_json_skip(&self.cursor)
        if not once(self, SEEN_CHANNEL) or not fh_json_text(&self.cursor, &text):
            return False
        if self.channel_name.data != NULL and self.channel_name.data != text.data:
            return fh_json_fail(&self.cursor)
        self.channel_name = text
        return True

    cdef bint event_key(self) noexcept nogil:
        cdef fh_text text
        cdef uint8_t begin[4]
        if fh_json_peek(&self.cursor) != 34:
            return fh_json_skip(&self.cursor)
        if not once(self, SEEN_EVENT) or not fh_json_text(&self.cursor, &text):
            return False
        if fh_text_is(&text, b"data", 4):
            self.of_data = True
        elif fh_text_is(&text, b"trade", 5):
            self.of_trade = True
        elif fh_text_is(&text, b"bts:heartbeat", 13):
            self.update.type = TYPE_HEARTBEAT
        elif fh_text_is(&text, b"bts:request_reconnect", 21):
            self.update.type = TYPE_ANSWER
            self.update.kind = UPDATE_RECONNECT
        elif fh_text_copy(&text, begin, 4) > 4 and memcmp(begin, b"bts:", 4) == 0:
            self.update.type = TYPE_ANSWER
        return True

    cdef bint member(self, const fh_text *key) noexcept nogil:
        """The value of one key of the data."""
        cdef fh_json *c = &self.cursor
        if fh_text_is(key, b"microtimestamp", 14):
            return once(self, SEEN_STAMP) and fh_json_uint(c, &self.update.last)
        if fh_text_is(key, b"bids", 4):
            return self.keep(SEEN_BIDS, &self.noted[BIDS])
        if fh_text_is(key, b"asks", 4):
            return self.keep(SEEN_ASKS, &self.noted[ASKS])
        if self.update.type == TYPE_TRADE:
            if fh_text_is(key, b"id", 2):
                return once(self, SEEN_ID) and fh_json_uint(c, &self.trade_id)
            if fh_text_is(key, b"type", 4):
                return once(self, SEEN_SIDE) and fh_json_uint(c, &self.seller)
            if fh_text_is(key, b"price", 5):
                return self.keep(SEEN_PRICE, &self.price)
            if fh_text_is(key, b"price_str", 9):
                return self.keep(SEEN_PRICE_TEXT, &self.price_text)
            if fh_text_is(key, b"amount", 6):
                return self.keep(SEEN_AMOUNT, &self.amount)
            if fh_text_is(key, b"amount_str", 10):
                return self.keep(SEEN_AMOUNT_TEXT, &self.amount_text)
        return fh_json_skip(c)

    cdef bint keep(self, uint32_t bit, fh_json *where) noexcept nogil:
        """Note where a value stands, or stop before it: levels, when the text's stamp is known."""
        if not once(self, bit):
            return False
        if bit & SIDES and self.seen & SEEN_STAMP and self.update.type != TYPE_TRADE:
            self.side = bit
            return True
        where[0] = self.cursor
        return fh_json_skip(&self.cursor)

    cdef bint judge(self) noexcept nogil:
        """What this text is, and whether it has what a text of its type must have before its levels."""
        if not self.recognised():
            return self.answer.len or self.seen & SEEN_EVENT
        if not self.seen & SEEN_STAMP or self.symbol_name.len == 0:
            return fh_json_fail(&self.cursor)
        if self.update.last > <uint64_t> INT64_MAX // 1000:
            return fh_json_fail_as(&self.cursor, FH_JSON_RANGE)
        self.update.ts_event = <int64_t> self.update.last * 1000
        if self.update.type == TYPE_TRADE:
            if not (self.seen & SEEN_ID and self.seen & SEEN_SIDE and self.seen & (SEEN_PRICE | SEEN_PRICE_TEXT)
                    and self.seen & (SEEN_AMOUNT | SEEN_AMOUNT_TEXT)):
                return fh_json_fail(&self.cursor)
            self.numbered_trade(self.trade_id)
        else:
            self.update.first = self.update.last
            self.update.flags |= UPDATE_NUMBERED
            self.update.kind = UPDATE_CHANGE if self.update.type == TYPE_CHANGE else UPDATE_SNAPSHOT
        self.update.instrument = self.named(&self.symbol_name)
        return True

    cdef int64_t body(self, const Run *run, Event *out, uint32_t room) noexcept nogil:
        if not self.recognised():
            return 0 if fh_json_done(&self.cursor) else -1
        if self.update.type != TYPE_TRADE:
            return self.book(run, SIDES, out, room)
        if not self.whole() or self.seller > 1:
            return -1
        # `type` is the aggressor's: 0 bought, 1 sold; the texts of price and amount are exact, the numbers need not be
        return self.sale(run, SIDE_ASK if self.seller else SIDE_BID, self.trade_id,
                         &self.price_text if self.seen & SEEN_PRICE_TEXT else &self.price,
                         &self.amount_text if self.seen & SEEN_AMOUNT_TEXT else &self.amount, out)

    cdef bint whole(self) noexcept nogil:
        """The text was read to its end, and has said itself what was read off its end before."""
        return (fh_json_done(&self.cursor)
                and (self.answer.len or self.seen & (SEEN_EVENT | SEEN_CHANNEL) == SEEN_EVENT | SEEN_CHANNEL))

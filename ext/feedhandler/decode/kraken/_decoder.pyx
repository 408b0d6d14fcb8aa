"""The compiled decoder of `feedhandler.decode.kraken`: book-N with its checksum, and trade; others are counted by type.

A text is an array that names its channel and pair at its end, and how the pair's numbers are to be read must be known
before its levels are. So head() looks at the end first; body() has read the whole text when it comes there, and only
then is what it made believed.
"""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from feedhandler._instruments cimport Instruments
from feedhandler._records cimport (ACTION_MODIFY, ACTION_NONE, ACTION_RESET, ACTION_TRADE, Event, FLAG_LAST, FLAG_MBP,
                                   FLAG_SNAPSHOT, InstrumentRecord, Run, SIDE_ASK, SIDE_BID, SIDE_NONE)
from feedhandler.decode._json cimport (FH_JSON_RANGE, FH_JSON_ROOM, fh_json, fh_json_array, fh_json_decimal, fh_json_done,
                                       fh_json_fail, fh_json_fail_as, fh_json_item, fh_json_key, fh_json_object,
                                       fh_json_peek, fh_json_quote_before, fh_json_row, fh_json_sent, fh_json_skip, fh_json_text, fh_json_uint, fh_text,
                                       fh_text_copy, fh_text_is)
from feedhandler.decode._levels cimport LevelDecoder, SEEN_ASKS, SEEN_BIDS, once
from feedhandler.decode._text cimport RULE_SNAPSHOT_FIRST, TYPE_UNKNOWN, UPDATE_CHANGE, UPDATE_PASS, UPDATE_SNAPSHOT

cdef enum:                      # keys met in the parts of a book's text, beside b and a
    SEEN_WHOLE_BIDS = 1 << 3    # bs
    SEEN_WHOLE_ASKS = 1 << 4    # as
    SEEN_CHECKSUM = 1 << 5      # c
    CHANGE = SEEN_BIDS | SEEN_ASKS | SEEN_CHECKSUM
    SNAPSHOT = SEEN_WHOLE_BIDS | SEEN_WHOLE_ASKS

cdef enum:                      # types
    TYPE_CHANGE = 68            # 'D'
    TYPE_SNAPSHOT = 83          # 'S'
    TYPE_TRADE = 84             # 'T'
    TYPE_TICKER = 66            # 'B' ticker, spread
    TYPE_HEARTBEAT = 72         # 'H'
    TYPE_ANSWER = 82            # 'R' systemStatus, subscriptionStatus

cdef enum:
    NAME_MAX = 64               # bytes of a channel's or pair's name that is looked for from the end
    DEPTH_DIGITS = 6
    NANO_EXPONENT = -9          # of seconds as they are sent


cdef bint text_before(const uint8_t *begin, const uint8_t *end, fh_text *text) noexcept nogil:
    """The text that ends at `end`, just before a comma or bracket, where it is short and has no escapes."""
    cdef const uint8_t *at
    if end - begin < 4 or (end - 1)[0] != 34:
        return False
    at = fh_json_quote_before(begin, end - 1)
    if at == NULL or at == begin or at[0] != 34 or (at - 1)[0] != 44:     # ," opens it: before an escaped quote is a backslash
        return False
    text.data = at + 1
    text.len = <uint32_t> (end - at - 2)
    text.escaped = 0
    return True


cdef uint32_t decimals_of(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Digits behind the point of a decimal as it was sent, with its quotes."""
    cdef uint32_t count = 0
    while at < end and at[0] != 46:
        at += 1
    at += 1
    while at < end and <uint8_t> (at[0] - 48) < 10:
        at += 1
        count += 1
    return count


@cython.final
cdef class ProtocolDecoder(LevelDecoder):
    cdef uint32_t depth                 # N of book-N; 0 = no book
    cdef uint32_t sent_price_decimals, sent_size_decimals      # most of them in this snapshot
    cdef int64_t latest                 # ns since the Unix epoch, of the levels of this text
    cdef uint64_t checksum
    cdef fh_text channel_name, pair
    cdef uint8_t undone[NAME_MAX]       # the channel's name without its escapes

    def __cinit__(self, Instruments instruments not None, int channel=0, str venue not None="KRAKEN", *args):
        self.protocol = "kraken"
        self.rule = RULE_SNAPSHOT_FIRST

    cdef bint head(self) noexcept nogil:
        cdef fh_json *c = &self.cursor
        cdef uint64_t number
        cdef int first = fh_json_peek(c)
        self.seen = self.side = self.depth = self.sent_price_decimals = self.sent_size_decimals = 0
        self.latest = 0
        self.update.kind = UPDATE_PASS
        self.update.type = TYPE_UNKNOWN
        if self.answer.len or first != 91:
            return self.said()
        if not self.addressed():
            return False
        if fh_text_is(&self.channel_name, b"trade", 5):
            self.update.type = TYPE_TRADE
        elif self.book_depth():
            self.update.kind = UPDATE_CHANGE
        else:
            if fh_text_is(&self.channel_name, b"ticker", 6) or fh_text_is(&self.channel_name, b"spread", 6):
                self.update.type = TYPE_TICKER
            return fh_json_skip(c)
        if self.pair.len == 0 or not fh_json_array(c) or not fh_json_item(c) or not fh_json_uint(c, &number) or not fh_json_item(c):
            return False
        self.update.instrument = self.named(&self.pair)
        if not self.depth:
            return True
        if fh_json_sent(c, b'{"b":', 5):
            self.seen = self.side = SEEN_BIDS
        elif fh_json_sent(c, b'{"a":', 5):
            self.seen = self.side = SEEN_ASKS
        elif not fh_json_object(c) or not self.members() or not self.seen:
            return False
        if self.seen & SNAPSHOT:
            self.update.kind = UPDATE_SNAPSHOT
        self.update.type = TYPE_SNAPSHOT if self.seen & SNAPSHOT else TYPE_CHANGE
        return True

    cdef bint said(self) noexcept nogil:
        """An object: what the venue says of itself or of a subscription."""
        cdef fh_json *c = &self.cursor
        cdef fh_text key, text
        if self.answer.len:
            return fh_json_skip(c)
        if not fh_json_object(c):
            return False
        while fh_json_key(c, &key):
            if not fh_text_is(&key, b"event", 5) or fh_json_peek(c) != 34:
                fh_json_skip(c)
            elif fh_json_text(c, &text):
                self.update.type = (TYPE_HEARTBEAT if fh_text_is(&text, b"heartbeat", 9) or fh_text_is(&text, b"pong", 4)
                                    else TYPE_ANSWER)
        return not c.bad

    cdef bint addressed(self) noexcept nogil:
        """The last two items of the array, which are texts: as a rule they are found from the end."""
        cdef const uint8_t *begin = self.cursor.at
        cdef const uint8_t *end = self.cursor.end
        cdef fh_json c
        cdef uint32_t texts = 0
        if ((end - 1)[0] == 93 and text_before(begin, end - 1, &self.pair)
                and text_before(begin, self.pair.data - 2, &self.channel_name)):
            return True
        c = self.cursor
        fh_json_array(&c)
        while fh_json_item(&c):
            if fh_json_peek(&c) == 34:
                self.channel_name = self.pair
                fh_json_text(&c, &self.pair)
                texts += 1
            else:
                fh_json_skip(&c)
                texts = 0
        return texts >= 2 and fh_json_done(&c)

    cdef bint book_depth(self) noexcept nogil:
        cdef uint32_t i
        cdef uint8_t digit
        cdef uint32_t length = self.channel_name.len
        cdef const uint8_t *name = self.channel_name.data
        if self.channel_name.escaped:
            length = fh_text_copy(&self.channel_name, self.undone, NAME_MAX)
            name = self.undone
        if not 6 <= length <= 5 + DEPTH_DIGITS or memcmp(name, b"book-", 5) != 0:
            return False
        for i in range(5, length):
            digit = name[i] - 48
            if digit > 9:
                self.depth = 0
                return False
            self.depth = self.depth * 10 + digit
        return self.depth > 0

    cdef bint members(self) noexcept nogil:
        """Read on, through all parts, to the next levels, or to the end of the text: then its names must stand there."""
        cdef fh_json *c = &self.cursor
        cdef fh_text key
        if self.seen:                   # as the venue writes it, the checksum is next, and the names
            if not self.seen & SEEN_CHECKSUM and fh_json_sent(c, b',"c":', 5):
                self.seen |= SEEN_CHECKSUM
                if not fh_json_uint(c, &self.checksum):
                    return False
            if fh_json_sent(c, b'},"', 3):
                c.at -= 1
                return self.ending()
        while True:
            if fh_json_key(c, &key):
                if fh_text_is(&key, b"b", 1):
                    return self.found(SEEN_BIDS)
                if fh_text_is(&key, b"a", 1):
                    return self.found(SEEN_ASKS)
                if fh_text_is(&key, b"bs", 2):
                    return self.found(SEEN_WHOLE_BIDS)
                if fh_text_is(&key, b"as", 2):
                    return self.found(SEEN_WHOLE_ASKS)
                if fh_text_is(&key, b"c", 1):
                    if not once(self, SEEN_CHECKSUM) or not fh_json_uint(c, &self.checksum):
                        return False
                else:
                    fh_json_skip(c)
                continue
            if c.bad or not fh_json_item(c):
                return fh_json_fail(c)
            if fh_json_peek(c) == 34:
                return self.ending()
            if not fh_json_object(c):
                return False

    cdef bint found(self, uint32_t bit) noexcept nogil:
        if not once(self, bit):
            return False
        self.side = bit
        return True

    cdef bint ending(self) noexcept nogil:
        """The two names, which are those that were looked at first, and nothing behind them."""
        cdef fh_json *c = &self.cursor
        cdef fh_text channel, pair
        if (not fh_json_text(c, &channel) or not fh_json_item(c) or not fh_json_text(c, &pair) or fh_json_item(c)
                or channel.data != self.channel_name.data or pair.data != self.pair.data):
            return fh_json_fail(c)
        return not c.bad

    cdef int64_t body(self, const Run *run, Event *out, uint32_t room) noexcept nogil:
        cdef int64_t made = 0, i
        if self.update.type == TYPE_TRADE:
            return self.trades(run, out, room)
        if not self.depth:
            return 0 if fh_json_done(&self.cursor) else -1
        if self.update.kind == UPDATE_SNAPSHOT:
            self.mark(run, ACTION_RESET, FLAG_SNAPSHOT, out)
            made = 1
        while self.side:
            made = self.levels(run, self.side, &self.cursor, out, room, made)
            self.side = 0
            if made < 0 or not self.members():
                return -1
        if not fh_json_done(&self.cursor):
            return -1
        if self.update.kind == UPDATE_SNAPSHOT:
            if self.seen & CHANGE or SNAPSHOT & ~self.seen:     # a side without levels is an empty array
                return -1
        else:
            if self.seen & SNAPSHOT or not self.seen & SEEN_CHECKSUM:
                return -1
            if made == room:
                fh_json_fail_as(&self.cursor, FH_JSON_ROOM)
                return -1
            self.mark(run, ACTION_NONE, FLAG_MBP, out + made)
            out[made].order_id = self.checksum
            out[made].size = self.depth
            made += 1
        for i in range(made):
            out[i].ts_event = self.latest
        out[made - 1].flags |= FLAG_LAST
        return made

    cdef int64_t levels(self, const Run *run, uint32_t side, fh_json *c, Event *out, uint32_t room, int64_t made) noexcept nogil:
        """[[price, volume, seconds, …], …] of one side."""
        cdef fh_json_row row
        cdef int64_t price, size, ts
        cdef bint whole = (side & SNAPSHOT) != 0
        cdef bint unknown = whole or not self.known_decimals()
        cdef const uint8_t *price_at
        cdef const uint8_t *size_at
        self.begin_row(run, ACTION_MODIFY, SIDE_BID if side & (SEEN_BIDS | SEEN_WHOLE_BIDS) else SIDE_ASK,
                       FLAG_MBP | (FLAG_SNAPSHOT if whole else 0), &row)
        fh_json_array(c)
        while fh_json_item(c):
            if not fh_json_array(c) or not fh_json_item(c):
                return -1
            price_at = c.at
            if not fh_json_decimal(c, row.price_exponent, &price):
                return -1
            if unknown:
                self.sent_price_decimals = max(self.sent_price_decimals, decimals_of(price_at, c.at))
            if not fh_json_item(c):
                return -1
            size_at = c.at
            if not fh_json_decimal(c, row.size_exponent, &size):
                return -1
            if unknown:
                self.sent_size_decimals = max(self.sent_size_decimals, decimals_of(size_at, c.at))
            if not fh_json_item(c) or not fh_json_decimal(c, NANO_EXPONENT, &ts):
                return -1
            while fh_json_item(c):
                fh_json_skip(c)
            if size < 0 or ts < 0:
                fh_json_fail_as(c, FH_JSON_RANGE)
                return -1
            if made == room:
                fh_json_fail_as(c, FH_JSON_ROOM)
                return -1
            self.latest = max(self.latest, ts)
            memcpy(out + made, row.words, sizeof(Event))
            out[made].price = price
            out[made].size = <uint64_t> size
            made += 1
        return -1 if c.bad else made

    cdef bint known_decimals(self) noexcept nogil:
        cdef InstrumentRecord *record = &self.instruments.records[self.update.instrument]
        return record.price_decimals != 0 or record.size_decimals != 0

    cdef void taken_in(self) noexcept nogil:
        """The checksum is made of the numbers as they are sent: with how many decimals, a snapshot shows; an empty one's, the first update."""
        cdef InstrumentRecord *record
        if self.update.instrument and (self.sent_price_decimals or self.sent_size_decimals):
            record = &self.instruments.records[self.update.instrument]
            if self.update.kind == UPDATE_SNAPSHOT or not self.known_decimals():
                record.price_decimals = <uint8_t> min(self.sent_price_decimals, 18)
                record.size_decimals = <uint8_t> min(self.sent_size_decimals, 18)

    cdef int64_t trades(self, const Run *run, Event *out, uint32_t room) noexcept nogil:
        """[[price, volume, seconds, "b" or "s", …], …]: the letter is the aggressor's side."""
        cdef fh_json *c = &self.cursor
        cdef fh_json_row row
        cdef fh_text side
        cdef int64_t price, size, ts, made = 0
        self.begin_row(run, ACTION_TRADE, SIDE_NONE, 0, &row)
        fh_json_array(c)
        while fh_json_item(c):
            if (not fh_json_array(c) or not fh_json_item(c) or not fh_json_decimal(c, row.price_exponent, &price)
                    or not fh_json_item(c) or not fh_json_decimal(c, row.size_exponent, &size)
                    or not fh_json_item(c) or not fh_json_decimal(c, NANO_EXPONENT, &ts)
                    or not fh_json_item(c) or not fh_json_text(c, &side)):
                return -1
            while fh_json_item(c):
                fh_json_skip(c)
            if size < 0 or ts < 0 or not (fh_text_is(&side, b"b", 1) or fh_text_is(&side, b"s", 1)):
                return -1
            if made == room:
                fh_json_fail_as(c, FH_JSON_ROOM)
                return -1
            row.words[1] = <uint64_t> ts
            memcpy(out + made, row.words, sizeof(Event))
            out[made].side = SIDE_BID if fh_text_is(&side, b"b", 1) else SIDE_ASK
            out[made].price = price
            out[made].size = <uint64_t> size
            made += 1
        if c.bad or not fh_json_item(c) or not self.ending() or not fh_json_done(c):
            return -1
        if made:
            out[made - 1].flags |= FLAG_LAST
        return made

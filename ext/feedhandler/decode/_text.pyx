"""What the decoders of JSON venues share: the control line's texts, names, and batches of any number of events."""
cimport cython
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset
from feedhandler._counters cimport CH_INSTRUMENTS_FULL, CH_UNKNOWN_INSTRUMENT, CH_UNKNOWN_TYPE
from feedhandler._records cimport InstrumentRecord
from feedhandler._symbols cimport fh_name_find
from feedhandler.decode._json cimport (fh_json_array, fh_json_decimal, fh_json_done, fh_json_fail_as, fh_json_item,
                                       fh_json_key, fh_json_object, fh_json_open, fh_json_peek,
                                       fh_json_skip, fh_json_text, fh_json_uint, fh_text_copy, fh_text_hash, fh_text_is, fh_text_word,
                                       FH_JSON_RANGE, FH_JSON_ROOM)
from feedhandler.records import Cause as _Cause, Connection as _Connection

KINDS = ("bad", "change", "snapshot", "pass", "directory", "life", "reconnect")
assert len(KINDS) == UPDATE_RECONNECT + 1

cdef enum:
    BATCH = 192                 # events that decode_lines() makes at a time
    WORDS = 64                  # at most so many states of a connection, and causes
    CONTROL_LENGTH = 7          # of {"rest" and {"life"
    EXPONENT_LEAST = -18        # of an instrument's prices and sizes: 10^-18 to 1
    SYMBOL_ROOM = 33            # a symbol has at most 32 characters


cdef class TextDecoder(Decoder):
    """A venue's decoder of JSON texts; `feedhandler.decode.decoder()` makes the venues' own subclasses."""

    def __cinit__(self, *args, **kwargs):
        self.price_exponent = -9
        self.size_exponent = -8
        self.naming = True
        self.spill_room = TEXT_MAX // TEXT_PER_EVENT + TEXT_EXTRA_EVENTS
        self.spill = <Event *> calloc(self.spill_room, sizeof(Event))      # touched only by texts that need it
        if self.spill == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.spill)

    cdef void begin(self, int64_t midnight, uint32_t session_date) noexcept nogil:
        Decoder.begin(self, midnight, session_date)
        self.looked = self.spilling = NULL

    cdef bint head(self) noexcept nogil:
        return False

    cdef int64_t body(self, const Run *run, Event *out, uint32_t room) noexcept nogil:
        return -1

    cdef void taken_in(self) noexcept nogil:
        pass

    cdef int look(self, const Message *message, Update *head) noexcept nogil:
        cdef bint good = self.start_text(message.data, message.len)
        head[0] = self.update
        return good

    cdef bint start_text(self, const uint8_t *data, uint32_t length) noexcept nogil:
        memset(&self.update, 0, sizeof(Update))
        self.answer.len = self.symbol.len = 0
        self.looked = NULL
        if length == 0 or length > TEXT_MAX:
            return False
        fh_json_open(&self.cursor, data, length)
        if length > CONTROL_LENGTH and (memcmp(data, b'{"rest"', CONTROL_LENGTH) == 0
                                        or memcmp(data, b'{"life"', CONTROL_LENGTH) == 0):
            if not self.control(data[2] == 108):
                self.update.kind = UPDATE_BAD
                return False
        elif not self.head() or self.cursor.bad:
            self.update.kind = UPDATE_BAD
            return False
        self.looked = data
        self.looked_length = length
        return True

    cdef int decode(self, const Run *run, int32_t first, Event *out, int capacity, int32_t *taken) noexcept nogil:
        cdef const Message *message
        cdef int64_t made
        cdef int32_t done = 0
        cdef uint32_t room, count = 0, part
        while first + done < run.count:
            message = &run.messages[first + done]
            if self.spilling != NULL:
                if self.spilling == message.data:
                    part = min(<uint32_t> capacity - count, self.spilled - self.given)
                    memcpy(out + count, self.spill + self.given, part * sizeof(Event))
                    self.given += part
                    count += part
                    if self.given < self.spilled:
                        break                       # the batch is full
                    self.spilling = NULL
                    done += 1
                    continue
                self.spilling = NULL                # given up half-way: what comes is another text
            if self.looked == NULL or self.looked != message.data or self.looked_length != message.len:
                if not self.start_text(message.data, message.len):
                    break
            room = <uint32_t> capacity - count
            if message.len // TEXT_USUAL_EVENT + TEXT_EXTRA_EVENTS <= room:
                made = self.events_of(run, out + count, room)
                if made >= 0:
                    count += <uint32_t> made
                    done += 1
                    continue
                if self.cursor.bad != FH_JSON_ROOM or not self.start_text(message.data, message.len):
                    break
            made = self.events_of(run, self.spill, self.spill_room)
            if made < 0:
                break
            self.spilling = message.data
            self.spilled = <uint32_t> made
            self.given = 0
        taken[0] = done
        return <int> count

    cdef int64_t events_of(self, const Run *run, Event *out, uint32_t room) noexcept nogil:
        """The events of the text looked at, counted once it is known to be whole; -1 = malformed."""
        cdef int64_t made
        self.looked = NULL
        if self.update.kind == UPDATE_LIFE:
            made = 0
        elif self.update.kind == UPDATE_DIRECTORY:
            made = 0
            if self.naming:
                self.directory(True)
        else:
            made = self.body(run, out, room)
            if made < 0 or made > room or self.cursor.bad:
                return -1
            if made > 0 and self.update.instrument == 0:    # R without an instrument would clear all books
                made = 0
                if self.naming:
                    self.counters[CH_UNKNOWN_INSTRUMENT] += 1
            if self.naming:
                self.taken_in()
        if self.naming:
            self.types[self.update.type] += 1
            if self.update.type == TYPE_UNKNOWN:
                self.counters[CH_UNKNOWN_TYPE] += 1
        return made

    cdef bint valid(self, const uint8_t *data, uint32_t len) noexcept nogil:
        cdef Run run
        cdef bint good
        memset(&run, 0, sizeof(Run))
        self.naming = False
        self.spilling = NULL
        good = self.start_text(data, len) and self.events_of(&run, self.spill, self.spill_room) >= 0
        self.naming = True
        self.looked = NULL
        return good

    # -- names ---------------------------------------------------------------------------------------------------------

    cdef uint32_t named(self, const fh_text *symbol) noexcept nogil:
        cdef uint64_t short = fh_text_word(symbol) or fh_text_hash(symbol)      # 0: escapes, or longer than any symbol
        cdef uint64_t full = self.instruments.full, used = self.instruments.part.used
        cdef uint8_t name[SYMBOL_ROOM]
        cdef uint32_t length, index = fh_name_find(self.names, self.names_mask, short) if short else 0
        cdef InstrumentRecord *record
        if index != 0 and (not short >> 63 or self.bears(index, symbol)):
            return index
        length = fh_text_copy(symbol, name, SYMBOL_ROOM)
        if length >= SYMBOL_ROOM:
            return 0
        if not self.naming:
            index = self.instruments.find(<const char *> name, length, self.venue)
            return index if index and self.instruments.records[index].channel == self.channel else 0
        index = self.instruments.define(<const char *> name, length, self.venue, self.channel)
        if index == 0:
            self.counters[CH_INSTRUMENTS_FULL] += self.instruments.full - full
            return 0
        record = &self.instruments.records[index]
        if record.channel != self.channel:              # another channel keeps this book: two writers would spoil it
            return 0
        if self.instruments.part.used != used:
            record.price_exponent = self.price_exponent
            record.size_exponent = self.size_exponent
            record.price_decimals = self.price_decimals
            record.size_decimals = self.size_decimals
        record.session_date = self.session_date
        if short:
            self.remember(<const uint8_t *> &short, index)
        return index

    cdef bint bears(self, uint32_t index, const fh_text *symbol) noexcept nogil:
        """Whether this is the instrument's symbol: what stands for a long one, another may have, too."""
        cdef const char *known = self.instruments.records[index].symbol
        return (not symbol.escaped and symbol.len < SYMBOL_ROOM and memcmp(known, symbol.data, symbol.len) == 0
                and (symbol.len == SYMBOL_ROOM - 1 or known[symbol.len] == 0))

    # -- the control line ----------------------------------------------------------------------------------------------

    cdef bint control(self, bint life) noexcept nogil:
        """{"life": where it stands, "line": number, "reason": cause, "at": ns, …}, or {"rest": name, "symbol": whose, "body": …}: whole but for the body."""
        cdef fh_json *c = &self.cursor
        cdef fh_json body
        cdef fh_text key, text
        cdef uint64_t number = 0
        cdef int named = 0
        cdef bint has_body = False, has_line = False
        self.update.flags = UPDATE_CONTROL
        fh_json_object(c)
        while fh_json_key(c, &key):
            if life and fh_text_is(&key, "life", 4):
                if not fh_json_text(c, &text):
                    return False
                self.update.connection = connections.find(&text)
                named += self.update.connection != 0
            elif life and fh_text_is(&key, "reason", 6):
                if not fh_json_text(c, &text):
                    return False
                self.update.reason = causes.find(&text)
            elif life and fh_text_is(&key, "line", 4):
                if not fh_json_uint(c, &number):
                    return False
                has_line = number <= 0xffff
                self.update.line = <uint32_t> number
            elif life and fh_text_is(&key, "at", 2):
                if not fh_json_decimal(c, 0, &self.update.ts_event):
                    return False
            elif not life and fh_text_is(&key, "rest", 4):
                named += fh_json_text(c, &self.answer)
            elif not life and fh_text_is(&key, "symbol", 6):
                fh_json_text(c, &self.symbol)
            elif not life and fh_text_is(&key, "body", 4):
                fh_json_peek(c)
                body = c[0]
                if has_body or not fh_json_skip(c):
                    return False
                body.end = c.at
                has_body = True
            else:
                fh_json_skip(c)
        if not fh_json_done(c) or named != 1:
            return False
        if life:
            self.update.kind = UPDATE_LIFE
            self.update.type = TYPE_LIFE
            return has_line
        if not has_body:
            return False
        c[0] = body
        if fh_text_is(&self.answer, "instruments", 11):
            self.update.kind = UPDATE_DIRECTORY
            self.update.type = TYPE_DIRECTORY
            return self.directory(False)
        return self.head() and not c.bad

    cdef bint directory(self, bint apply) noexcept nogil:
        """[{"symbol", "tick", "lot", "price_decimals", …}, …]: looked through first, then entered."""
        cdef fh_json c = self.cursor
        fh_json_array(&c)
        while fh_json_item(&c):
            if not self.describe(&c, apply):
                return False
        return fh_json_done(&c)

    cdef bint describe(self, fh_json *c, bint apply) noexcept nogil:
        """One instrument. Its exponents count when it is new: books that there are hold prices in the old ones."""
        cdef fh_json tick, lot
        cdef fh_text key, symbol
        cdef int64_t price_exponent = self.price_exponent, size_exponent = self.size_exponent
        cdef int64_t price_decimals = -1, size_decimals = -1, steps = 0, units = 0
        cdef uint64_t used = self.instruments.part.used
        cdef uint32_t index
        cdef InstrumentRecord *record
        symbol.len = 0
        tick = lot = c[0]
        tick.at = lot.at = NULL
        if not fh_json_object(c):
            return False
        while fh_json_key(c, &key):
            if fh_text_is(&key, "symbol", 6):
                fh_json_text(c, &symbol)
            elif fh_text_is(&key, "tick", 4):
                fh_json_peek(c)
                tick = c[0]
                fh_json_skip(c)
            elif fh_text_is(&key, "lot", 3):
                fh_json_peek(c)
                lot = c[0]
                fh_json_skip(c)
            elif fh_text_is(&key, "price_decimals", 14):
                fh_json_decimal(c, 0, &price_decimals)
            elif fh_text_is(&key, "size_decimals", 13):
                fh_json_decimal(c, 0, &size_decimals)
            elif fh_text_is(&key, "price_exponent", 14):
                fh_json_decimal(c, 0, &price_exponent)
            elif fh_text_is(&key, "size_exponent", 13):
                fh_json_decimal(c, 0, &size_exponent)
            else:
                fh_json_skip(c)
        if c.bad or symbol.len == 0:
            return False
        if (not EXPONENT_LEAST <= price_exponent <= 0 or not EXPONENT_LEAST <= size_exponent <= 0
                or not -1 <= price_decimals <= 18 or not -1 <= size_decimals <= 18):
            return fh_json_fail_as(c, FH_JSON_RANGE)
        if not apply:
            return ((tick.at == NULL or fh_json_decimal(&tick, <int32_t> price_exponent, &steps))
                    and (lot.at == NULL or fh_json_decimal(&lot, <int32_t> size_exponent, &units)))
        index = self.named(&symbol)
        if index == 0:
            return True
        record = &self.instruments.records[index]
        if self.instruments.part.used != used:
            record.price_exponent = <int8_t> price_exponent
            record.size_exponent = <int8_t> size_exponent
        if price_decimals >= 0:
            record.price_decimals = <uint8_t> price_decimals
        if size_decimals >= 0:
            record.size_decimals = <uint8_t> size_decimals
        if tick.at != NULL and fh_json_decimal(&tick, record.price_exponent, &steps):
            record.tick = steps
        if lot.at != NULL and fh_json_decimal(&lot, record.size_exponent, &units) and units >= 0:
            record.lot = <uint64_t> units
        return True

    # -- the door for Python -------------------------------------------------------------------------------------------

    def look_bytes(self, message):
        """What this text is, as a dictionary of the fields of `Update`; None when its beginning is malformed.

        Its instrument is defined on first sight. The end of the text may be malformed all the same: accepts() tells.
        """
        cdef bytes wire = bytes(message)
        cdef Message one
        cdef Update head
        cdef int good
        one.data = <const uint8_t *> <const char *> wire
        one.len = <uint32_t> len(wire)
        good = self.look(&one, &head)
        self.looked = NULL                          # the bytes go with this call
        if not good:
            return None
        return {
            "kind": KINDS[head.kind], "type": chr(head.type), "instrument": head.instrument, "first": head.first,
            "last": head.last, "previous": head.previous, "ts_event": head.ts_event,
            "numbered": bool(head.flags & UPDATE_NUMBERED), "chained": bool(head.flags & UPDATE_CHAINED),
            "control": bool(head.flags & UPDATE_CONTROL), "line": head.line,
            "connection": head.connection, "reason": head.reason,
        }

    def decode_bytes(self, messages, uint64_t first_seq=0, int64_t ts_recv=0, uint32_t line=0, capacity=4096):
        """The events of a list of texts up to the first that is malformed, dtype EVENT; `taken` says how many.

        `capacity` is how many events a call of the decoder may make at most; longer texts come in pieces.
        """
        self.looked = self.spilling = NULL
        made = Decoder.decode_bytes(self, messages, first_seq, ts_recv, line, capacity)
        self.looked = self.spilling = NULL          # the bytes go with this call
        return made

    def decode_lines(self, const uint8_t[::1] buffer not None, int64_t ts_recv=0):
        """Look at and decode texts that stand one a line: (texts, events, malformed ones left out)."""
        cdef Event[BATCH] events
        cdef Message one
        cdef Update head
        cdef Run run
        cdef const uint8_t *at
        cdef const uint8_t *end
        cdef const uint8_t *stop
        cdef int32_t taken
        cdef int made
        cdef uint64_t texts = 0, count = 0, malformed = 0
        if buffer.shape[0] == 0:
            return 0, 0, 0
        with nogil:
            at = &buffer[0]
            end = at + buffer.shape[0]
            memset(&run, 0, sizeof(Run))
            run.messages = &one
            run.count = 1
            run.ts_recv = ts_recv
            while at < end:
                stop = <const uint8_t *> memchr(at, 10, <size_t> (end - at))
                if stop == NULL:
                    stop = end
                one.data = at
                one.len = <uint32_t> min(stop - at, <Py_ssize_t> TEXT_MAX + 1)
                texts += 1
                if self.look(&one, &head):
                    while True:
                        made = self.decode(&run, 0, events, BATCH, &taken)
                        count += <uint64_t> made
                        if taken or made == 0:
                            break
                    malformed += taken == 0
                else:
                    malformed += 1
                at = stop + 1
        self.looked = self.spilling = NULL
        return texts, count, malformed


@cython.final
cdef class _Words:
    """The names of an enumeration, for texts that bear one."""
    cdef list kept
    cdef const char *names[WORDS]
    cdef uint32_t lengths[WORDS]

    def __cinit__(self, enumeration):
        cdef int i
        self.kept = [b""] * WORDS
        for member in enumeration:
            self.kept[member.value] = member.name.encode()
        for i in range(WORDS):
            self.names[i] = <const char *> self.kept[i]
            self.lengths[i] = <uint32_t> len(self.kept[i])

    cdef uint8_t find(self, const fh_text *text) noexcept nogil:
        """The value of this name, in letters of either case; 0 = none of them."""
        cdef uint8_t name[SYMBOL_ROOM]
        cdef uint32_t length = fh_text_copy(text, name, SYMBOL_ROOM)
        cdef uint32_t i
        if length >= SYMBOL_ROOM:
            return 0
        for i in range(length):
            if 97 <= name[i] <= 122:
                name[i] -= 32
        for i in range(1, WORDS):
            if self.lengths[i] == length and length and memcmp(name, self.names[i], length) == 0:
                return <uint8_t> i
        return 0


cdef _Words connections = _Words(_Connection), causes = _Words(_Cause)

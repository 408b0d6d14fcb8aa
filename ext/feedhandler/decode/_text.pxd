"""Decoders of venues that send JSON texts: one Message is one whole text, and makes any number of events.

The line stage asks first: look() says what a text is and where it belongs in its book's row, cheaply; decode() of the
same bytes goes on where look() stopped. Beside what the venue sends there are the texts of our own control line: REST
answers and the life of connections.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport Event, InstrumentRecord, Message, Run
from feedhandler.decode._decoder cimport Decoder, word
from feedhandler.decode._json cimport fh_json, fh_json_row, fh_text

cdef enum:                      # TextDecoder.rule: how a book's texts are joined (crypto-l2.md)
    RULE_NONE = 0
    RULE_RANGES = 1             # numbered first..last: the first applied has first <= snapshot + 1 <= last, then first = last + 1
    RULE_CHAIN = 2              # as RANGES, but the first has first <= snapshot <= last, then previous = last
    RULE_STAMPS = 3             # `last` rises (a time in us), or not: texts of one are told apart by what they say; loss does not show
    RULE_SNAPSHOT_FIRST = 4     # the snapshot comes on the socket, then updates of that connection only; no numbers

cdef enum:                      # Update.kind
    UPDATE_BAD = 0              # malformed: decode() refuses it
    UPDATE_CHANGE = 1           # changes a book; judged by the rule
    UPDATE_SNAPSHOT = 2         # a whole book
    UPDATE_PASS = 3             # passes as it comes: trades, tickers, answers, heartbeats; events or none
    UPDATE_DIRECTORY = 4        # control line: instruments; no events
    UPDATE_LIFE = 5             # control line: where the connection of `line` stands now; no events
    UPDATE_RECONNECT = 6        # the venue asks for a new connection; no events

cdef enum:                      # Update.flags
    UPDATE_NUMBERED = 1         # first and last are said; of PASS: last is a number that rises with each trade of the instrument
    UPDATE_CHAINED = 2          # previous is said
    UPDATE_CONTROL = 4          # it has the form of our control line's texts: from any other line, refuse it

cdef enum:                      # Decoder.types of every venue: the control line's, and what nobody knows
    TYPE_DIRECTORY = 73         # 'I'
    TYPE_LIFE = 76              # 'L'
    TYPE_UNKNOWN = 63           # '?'
    TEXT_MAX = 4194304          # bytes of the longest text a decoder takes
    TEXT_PER_EVENT = 6          # bytes of text that no event can be shorter than: [1,0],
    TEXT_EXTRA_EVENTS = 4       # events that a text makes beside those: R, N
    TEXT_USUAL_EVENT = 16       # bytes of text of an event, at most so few in all that venues send: ["0.0001","1000"],

cdef struct Update:             # what look() says of a text
    uint64_t first              # the venue's number of the first change in it (Binance U); else = last
    uint64_t last               # of the last (u, lastUpdateId, microtimestamp)
    uint64_t previous           # the last number of the text before it (pu)
    int64_t ts_event            # ns since the Unix epoch; 0 = not said, or not yet read
    uint32_t instrument         # 0 = none, or no room in the directory
    uint32_t line               # LIFE: of which line of the channel, from 0
    uint8_t kind
    uint8_t flags
    uint8_t type                # under which it is counted in `types`
    uint8_t connection          # LIFE: CONNECTION_... of _records.pxd
    uint8_t reason              # LIFE: CAUSE_...
    uint8_t spare[3]

cdef class TextDecoder(Decoder):
    """What all venues share: the control line's texts, names, batches. A venue's decoder is two methods:

      head()  reads, from self.cursor, as much of the text as tells what it is, into self.update (all 0 before): kind,
              type, instrument (by self.named()), numbers. Of a REST answer self.answer is its name ("depth"), self.symbol
              whose, and the cursor holds its body alone. It may stop anywhere, and remember where in fields of its own.
              False = malformed. The instrument of a text is defined on first sight, nothing else is remembered.
      body()  reads the rest and writes the events, each with its instrument, at most `room` of them, FLAG_LAST on the
              last. Their number; -1 = malformed, or there is no room for the next event: fh_json_fail_as(c, FH_JSON_ROOM),
              and it is called again, after another head(), with more. It must have looked at the whole text, so it ends
              with fh_json_done(). Of a text without an instrument the events are left out and counted
              (UNKNOWN_INSTRUMENT). self.begin_row() makes an event of which price and size are wanted only.
      taken_in()  the text counts: what body() has found out about the venue may be remembered now.
    """
    cdef int rule
    cdef Update update                  # of the text looked at last
    cdef fh_json cursor
    cdef fh_text answer                 # of a REST answer: its name; no bytes = it is none
    cdef fh_text symbol                 # of a REST answer: whose, as configured
    cdef int8_t price_exponent, size_exponent   # of instruments that nobody has described
    cdef bint naming                    # False: instruments are looked up, not defined
    cdef const uint8_t *looked          # the text of `update`; NULL = none
    cdef uint32_t looked_length
    cdef Event *spill                   # a text of more events than the batch has room for
    cdef uint32_t spill_room, spilled, given
    cdef const uint8_t *spilling        # the text whose events wait in `spill`; NULL = none
    cdef bint head(self) noexcept nogil
    cdef int64_t body(self, const Run *run, Event *out, uint32_t room) noexcept nogil
    cdef void taken_in(self) noexcept nogil
    # What this text is; 0 = malformed. The bytes must stay as they are until decode() has them, or another look().
    cdef int look(self, const Message *message, Update *head) noexcept nogil
    # The instrument of a symbol of the venue, entered in the directory if it is new; 0 = no room, or not ours.
    cdef uint32_t named(self, const fh_text *symbol) noexcept nogil

    cdef inline void begin_row(self, const Run *run, uint8_t action, uint8_t side, uint8_t flags, fh_json_row *row) noexcept nogil:
        """All of an event of self.update but price and size, for fh_json_levels() or by hand; exponents are the instrument's."""
        cdef InstrumentRecord *record = &self.instruments.records[self.update.instrument]
        row.words[0] = 0
        row.words[1] = <uint64_t> self.update.ts_event
        row.words[2] = <uint64_t> run.ts_recv
        row.words[3] = row.words[4] = row.words[5] = 0
        row.words[6] = self.update.last
        row.words[7] = word(self.update.instrument, action, side, flags) | <uint64_t> run.line << 56
        row.price_exponent = record.price_exponent if self.update.instrument else self.price_exponent
        row.size_exponent = record.size_exponent if self.update.instrument else self.size_exponent

    cdef bint bears(self, uint32_t index, const fh_text *symbol) noexcept nogil
    cdef bint start_text(self, const uint8_t *data, uint32_t length) noexcept nogil
    cdef int64_t events_of(self, const Run *run, Event *out, uint32_t room) noexcept nogil
    cdef bint control(self, bint life) noexcept nogil
    cdef bint directory(self, bint apply) noexcept nogil
    cdef bint describe(self, fh_json *c, bint apply) noexcept nogil

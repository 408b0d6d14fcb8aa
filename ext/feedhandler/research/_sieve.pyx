"""The messages of a recording, every copy on every line, of which a few are wanted: these alone become Python objects.

The framings cut the packets; what a message must be is asked of its bytes, at the places that the protocol's table
names. Nothing is decoded.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from feedhandler._records cimport MESSAGES_MAX, Message, Packet
from feedhandler._wire cimport fh_be16, fh_le16
from feedhandler.research._measures cimport Measures
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH, Receiver
from feedhandler.session._framing cimport FRAME_BAD, Frame, Framing

from feedhandler.errors import ReceiverError

cdef enum:
    LINES = 64
    TABLES = 16                 # protocols in one recording
    RULES = 16                  # conditions at once
    NAME = 32                   # bytes of a symbol, blanks at its end left out
    SYMBOLS = 1024
    IDS = 65536                 # that a feed may give its instruments
    MESSAGES_AT_ONCE = 262144   # looked at without the GIL

cdef struct Rule:               # a number in a message must lie, or not lie, within lo..hi
    uint64_t lo
    uint64_t hi
    uint64_t bias               # of a signed number: its sign bit, which makes the order that of unsigned ones
    uint32_t offset             # 0: this type has no such field
    uint32_t size
    bint outside

cdef struct Kind:               # one type of message
    uint32_t length             # of the table: a shorter one is malformed
    uint32_t id_offset          # of the feed's id of the instrument, a u16; 0: it has none
    uint32_t symbol_offset
    uint32_t symbol_size        # 0: it carries no symbol
    bint wanted
    Rule rules[RULES]

cdef struct Table:
    bint big_endian
    Kind kinds[256]

cdef struct Name:
    uint8_t wanted
    uint8_t text[NAME]


cdef inline uint64_t _number(const uint8_t *p, uint32_t size, bint big_endian) noexcept nogil:
    cdef uint64_t value = 0
    cdef uint32_t i
    for i in range(size):
        value = value << 8 | p[i if big_endian else size - 1 - i]
    return value


cdef inline uint32_t _place(const uint8_t *text) noexcept nogil:
    cdef uint64_t a, b
    memcpy(&a, text, 8)
    memcpy(&b, text + 8, 8)
    return <uint32_t> (((a ^ b << 7 ^ b >> 3) * <uint64_t> 0x9E3779B97F4A7C15) >> 48)


cdef class Sieve:
    """Sieve(receiver, lines, big_endian): `lines` is (framing, table, channel) of each line, `big_endian` of each table.

    All messages pass until told otherwise. `types` counts those that were read, by type; `refused` counts packets that
    the framing of their line does not take, `read` all messages.
    """
    cdef Receiver receiver
    cdef object kept
    cdef void *framings[LINES]
    cdef int table_of[LINES]
    cdef int channel_of[LINES]
    cdef bint line_wanted[LINES]
    cdef uint32_t connections[LINES]        # of streams: that the framing has been reset for
    cdef Table *tables
    cdef int table_count, rule_count, symbol_count
    cdef Name *names[LINES]                 # by channel, then the feed's id
    cdef uint8_t symbols[SYMBOLS][NAME]     # that are wanted, none: all
    cdef uint64_t first_seq, last_seq
    cdef Packet packets[RECEIVE_BATCH]
    cdef Message *messages
    cdef Frame frame
    cdef int packet, polled, message        # where we are
    cdef uint64_t number                    # packets begun
    cdef int rc                             # what the receiver said last
    cdef bint more                          # of `packets[packet]` is to be parsed
    cdef bint framed                        # `frame` is of `packets[packet]`
    cdef uint64_t counts[257]               # by type; 256: messages without a byte
    cdef readonly uint64_t refused, read, shown
    cdef readonly bint ended

    def __cinit__(self, Receiver receiver not None, lines, big_endian):
        cdef int i, k
        cdef Framing framing
        if not 1 <= len(lines) <= LINES or len(lines) != receiver.lines or not 1 <= len(big_endian) <= TABLES:
            raise ValueError(f"1 to {LINES} lines, as many as the receiver's {receiver.lines}, and 1 to {TABLES} tables")
        self.receiver = receiver
        self.kept = list(lines)
        self.table_count = len(big_endian)
        self.tables = <Table *> calloc(self.table_count, sizeof(Table))
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if self.tables == NULL or self.messages == NULL:
            raise MemoryError()
        for i, order in enumerate(big_endian):
            self.tables[i].big_endian = order
            for k in range(256):
                self.tables[i].kinds[k].wanted = True
        for i, (framing, table, channel) in enumerate(lines):
            if not 0 <= table < self.table_count or not 0 <= channel < LINES:
                raise ValueError(f"line {i}: no table {table}, or no channel {channel}")
            self.framings[i] = <void *> framing
            self.table_of[i], self.channel_of[i], self.line_wanted[i] = table, channel, True
            if self.names[channel] == NULL:
                self.names[channel] = <Name *> calloc(IDS, sizeof(Name))
                if self.names[channel] == NULL:
                    raise MemoryError()
        self.last_seq = <uint64_t> -1

    def __dealloc__(self):
        cdef int i
        free(self.tables)
        free(self.messages)
        for i in range(LINES):
            free(self.names[i])

    # -- what is wanted ------------------------------------------------------------------------------------------------

    cdef Kind *kind(self, int table, int kind) except NULL:
        if not 0 <= table < self.table_count or not 0 <= kind < 256:
            raise ValueError(f"there is no table {table}, or no type {kind}")
        return &self.tables[table].kinds[kind]

    def describe(self, int table, int kind, uint32_t length, uint32_t id_offset, uint32_t symbol_offset,
                 uint32_t symbol_size):
        """Where a type of message has the feed's id of its instrument and its symbol; sizes of 0: it has none."""
        cdef Kind *it = self.kind(table, kind)
        if symbol_size > NAME or symbol_offset + symbol_size > length or id_offset and id_offset + 2 > length:
            raise ValueError(f"type {kind}: {length} bytes do not hold its symbol or its id, or that is longer than {NAME}")
        it.length, it.id_offset, it.symbol_offset, it.symbol_size = length, id_offset, symbol_offset, symbol_size

    def only_types(self, int table, kinds):
        """Of this table only messages of these types."""
        cdef int i
        for i in range(256):
            self.tables[table].kinds[i].wanted = i in kinds

    def only_lines(self, lines):
        """Only what these lines brought."""
        cdef int i
        for i in range(LINES):
            self.line_wanted[i] = i in lines

    def only_numbers(self, uint64_t first, uint64_t last):
        """Only messages of these numbers of the feed, both included."""
        self.first_seq, self.last_seq = first, last

    def only_symbols(self, symbols):
        """Only messages about these instruments, by symbol or by the feed's id that a message gave to that symbol."""
        cdef bytes padded
        self.symbol_count = 0
        for symbol in symbols:
            if self.symbol_count == SYMBOLS or len(symbol) > NAME:
                raise ValueError(f"at most {SYMBOLS} symbols of at most {NAME} bytes")
            padded = symbol.ljust(NAME, b"\0")
            memcpy(self.symbols[self.symbol_count], <const char *> padded, NAME)
            self.symbol_count += 1

    def rule(self, int index, int table, int kind, uint32_t offset, uint32_t size, bint signed, uint64_t lo, uint64_t hi,
             bint outside):
        """Rule `index`: a message of this type passes if the number at `offset` lies within lo..hi, or outside of it.

        Of a signed number both are given with its sign bit turned over. Types without the rule do not pass.
        """
        cdef Kind *it = self.kind(table, kind)
        cdef Rule *rule
        if not 0 <= index < RULES or not 1 <= size <= 8 or offset < 1 or offset + size > it.length:
            raise ValueError(f"at most {RULES} rules, of numbers of 1 to 8 bytes that lie within their message")
        rule = &it.rules[index]
        rule.offset, rule.size, rule.lo, rule.hi, rule.outside = offset, size, lo, hi, outside
        rule.bias = <uint64_t> 1 << (8 * size - 1) if signed else 0
        self.rule_count = max(self.rule_count, index + 1)

    # -- the sieve -----------------------------------------------------------------------------------------------------

    cdef bint step(self, const Packet **packet, const Message **message, uint64_t *seq) noexcept nogil:
        """The next message; False: no packet waits, or all is read."""
        cdef int n
        while True:
            if self.framed:
                if self.message < self.frame.count:
                    packet[0] = &self.packets[self.packet]
                    message[0] = &self.messages[self.message]
                    seq[0] = self.frame.first_seq + <uint64_t> self.message if self.frame.first_seq else 0
                    self.message += 1
                    return True
                self.framed = False
                self.more = self.frame.more
                if not self.more:
                    self.packet += 1
            if self.packet == self.polled:
                if self.polled:
                    self.receiver.release()
                self.packet = self.polled = 0
                n = self.receiver.poll(self.packets, RECEIVE_BATCH)
                if n <= 0:
                    self.ended, self.rc = n < 0, n
                    return False
                self.polled = n
                self.follow_connections()
            self.number += not self.more    # a packet begins, unless this is more of the last one
            memset(&self.frame, 0, sizeof(Frame))
            (<Framing> self.framings[self.packets[self.packet].line]).parse(
                &self.packets[self.packet], &self.frame, self.messages, MESSAGES_MAX)
            self.refused += self.frame.kind == FRAME_BAD
            if self.frame.kind == FRAME_BAD:
                self.frame.count = 0
            self.message, self.framed = 0, True

    cdef void follow_connections(self) noexcept nogil:
        """Of recorded streams: another connection begins with a whole message."""
        cdef int line
        for line in range(self.receiver.lines):
            if self.receiver.status[line].connections != self.connections[line]:
                self.connections[line] = self.receiver.status[line].connections
                (<Framing> self.framings[line]).reset()

    cdef bint chosen(self, const uint8_t *text) noexcept nogil:
        cdef int i
        for i in range(self.symbol_count):
            if memcmp(self.symbols[i], text, NAME) == 0:
                return True
        return self.symbol_count == 0

    cdef Name *learn(self, const Message *message, const Kind *kind, uint32_t line, Name *own) noexcept nogil:
        """Whom the message is about: its own symbol, else the one that its id was given; NULL: nobody is known."""
        cdef Name *named = NULL
        cdef uint32_t end = kind.symbol_size
        if message.len < kind.length:
            return NULL
        if kind.id_offset:
            named = &self.names[self.channel_of[line]][
                fh_be16(message.data + kind.id_offset) if self.tables[self.table_of[line]].big_endian
                else fh_le16(message.data + kind.id_offset)]
        if kind.symbol_size == 0:
            return named
        while end > 0 and (message.data[kind.symbol_offset + end - 1] == 32 or message.data[kind.symbol_offset + end - 1] == 0):
            end -= 1
        memset(own.text, 0, NAME)
        memcpy(own.text, message.data + kind.symbol_offset, end)
        if named == NULL and self.symbol_count == 0:
            return own
        if named == NULL:                   # the feed has no ids: a place by the symbol serves as one, shared by few
            named = &self.names[self.channel_of[line]][_place(own.text)]
        elif end == 0:
            return named
        if memcmp(named.text, own.text, NAME) or not named.wanted:
            memcpy(named.text, own.text, NAME)
            named.wanted = self.chosen(own.text)
        return named

    cdef bint passes(self, const uint8_t *data, const Kind *kind, bint big_endian) noexcept nogil:
        cdef int i
        cdef uint64_t value
        cdef const Rule *rule
        for i in range(self.rule_count):
            rule = &kind.rules[i]
            if rule.offset == 0:
                return False
            value = _number(data + rule.offset, rule.size, big_endian) ^ rule.bias
            if (rule.lo <= value <= rule.hi) == rule.outside:
                return False
        return True

    cdef bint look(self, const Packet **packet, const Message **message, uint64_t *seq, Name **name, Name *own,
                   int64_t *budget) noexcept nogil:
        """On to the next message that is wanted; False: step() said so, or `budget` is spent."""
        cdef const Kind *kind
        cdef const Table *table
        while budget[0] > 0 and self.step(packet, message, seq):
            budget[0] -= 1
            self.read += 1
            table = &self.tables[self.table_of[packet[0].line]]
            if message[0].len == 0:
                self.counts[256] += 1
                if self.symbol_count or self.rule_count or not table.kinds[0].wanted:
                    continue
                name[0] = NULL
            else:
                self.counts[message[0].data[0]] += 1
                kind = &table.kinds[message[0].data[0]]
                name[0] = self.learn(message[0], kind, packet[0].line, own)
                if not kind.wanted:
                    continue
                if self.symbol_count and (name[0] == NULL or not name[0].wanted):
                    continue
                if self.rule_count and (message[0].len < kind.length
                                        or not self.passes(message[0].data, kind, table.big_endian)):
                    continue
            if (self.line_wanted[packet[0].line] and self.first_seq <= seq[0] <= self.last_seq):
                return True
        return False

    def take(self, int most=256):
        """The next messages that are wanted: a list of (seq, ts_recv, line, symbol, message), `symbol` and message bytes.

        An empty list: none of the last MESSAGES_AT_ONCE was, or no packet waits, or, with `ended`, all is read. Raises
        ReceiverError when the receiver fails.
        """
        cdef const Packet *packet = NULL
        cdef const Message *message = NULL
        cdef uint64_t seq = 0
        cdef int64_t budget = MESSAGES_AT_ONCE
        cdef Name own
        cdef Name *name = NULL
        cdef bint found = True
        cdef list out = []
        own.wanted = False
        while found and len(out) < most and not self.ended:
            with nogil:
                found = self.look(&packet, &message, &seq, &name, &own, &budget)
            if found:
                self.shown += 1
                out.append((seq, packet.ts_recv, packet.line, b"" if name == NULL else self._text(name),
                            PyBytes_FromStringAndSize(<const char *> message.data, message.len)))
        self.check()
        return out

    def measure(self, Measures measures not None, int64_t start=INT64_MIN):
        """Have the next messages that are wanted measured, none received before `start`, ns since the Unix epoch; False: all
        is read. Errors as of take()."""
        cdef const Packet *packet = NULL
        cdef const Message *message = NULL
        cdef uint64_t seq = 0
        cdef int64_t budget = MESSAGES_AT_ONCE
        cdef Name own
        cdef Name *name = NULL
        own.wanted = False
        with nogil:
            while not self.ended and self.look(&packet, &message, &seq, &name, &own, &budget):
                if packet.ts_recv < start:
                    continue
                self.shown += 1
                measures.saw(packet, message, seq, self.table_of[packet.line], self.channel_of[packet.line], self.number)
        self.check()
        return not self.ended

    cdef int check(self) except -1:
        if self.ended and self.rc != END_OF_INPUT:
            raise ReceiverError(f"the receiver failed with errno {-self.rc}")
        return 0

    cdef bytes _text(self, const Name *name):
        cdef int length = 0
        while length < NAME and name.text[length]:
            length += 1
        return PyBytes_FromStringAndSize(<const char *> name.text, length)

    @property
    def types(self):
        """Messages read so far, by the byte of their type; -1: those without a byte."""
        cdef int i
        counted = {i: self.counts[i] for i in range(256) if self.counts[i]}
        return counted | ({-1: self.counts[256]} if self.counts[256] else {})

    @property
    def symbols_named(self):
        """The symbols that ids of the feed were given, in any channel; of feeds without ids, those that were looked at."""
        cdef int channel, i
        found = set()
        for channel in range(LINES):
            if self.names[channel] != NULL:
                for i in range(IDS):
                    if self.names[channel][i].text[0]:
                        found.add(self._text(&self.names[channel][i]))
        return found

    def names_of(self, Sieve other not None):
        """Take over what ids another one has learned, which went through the same channels."""
        cdef int channel, i
        for channel in range(LINES):
            if self.names[channel] != NULL and other.names[channel] != NULL:
                memcpy(self.names[channel], other.names[channel], IDS * sizeof(Name))
                for i in range(IDS):
                    self.names[channel][i].wanted = self.names[channel][i].text[0] and self.chosen(
                        self.names[channel][i].text)

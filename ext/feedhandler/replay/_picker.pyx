"""Which messages belong to some symbols: read off the protocol's own table, without decoding.

Feeds name an instrument by its symbol in every message (IEX), or by a number of the day that its directory messages give
to a symbol (ITCH). Messages of no instrument (the system's events) and of unknown types belong to every symbol.
"""
cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from feedhandler._records cimport Packet
from feedhandler._wire cimport fh_be16, fh_le16

from feedhandler import decode
from feedhandler.decode.spec import BySymbol
from feedhandler.errors import ConfigError

cdef enum:
    SYMBOL = 8                  # bytes of a symbol on the wire, filled with blanks


cdef inline uint32_t place_of(uint64_t name, uint32_t mask) noexcept nogil:
    return <uint32_t> ((name * <uint64_t> 0x9E3779B97F4A7C15ULL) >> 32) & mask


@cython.final
cdef class Picker:
    """Picker(protocol, symbols): one per channel. Raises ConfigError for a symbol that cannot be one."""

    def __cinit__(self, str protocol not None, symbols not None):
        cdef uint64_t name
        cdef uint32_t at
        cdef int i, size
        table = decode.protocol(protocol)
        by_symbol = isinstance(table.instrument, BySymbol)
        self.big_endian = table.byte_order == "big"
        for i in range(256):
            self.symbol_at[i] = self.id_at[i] = -1
        for kind, row in table.by_type.items():
            i = ord(kind)
            self.lengths[i] = row.length
            named = table.symbol_of(row)
            if named is not None and named.type.size == SYMBOL:
                self.symbol_at[i] = named.offset
            if not by_symbol and table.instrument.field in row.layout:
                if row.layout[table.instrument.field].type.size != 2:
                    raise ConfigError(f"{protocol}: its messages cannot be picked by symbol: the feed's ids are no u16")
                self.id_at[i] = row.layout[table.instrument.field].offset
        size = 16
        while size < 2 * len(symbols):
            size *= 2
        self.mask = size - 1
        self.wanted_ids = <uint8_t *> calloc(IDS, 1)
        self.names = <uint64_t *> calloc(size, sizeof(uint64_t))
        self.used = <uint8_t *> calloc(size, 1)
        if self.wanted_ids == NULL or self.names == NULL or self.used == NULL:
            raise MemoryError("replay: no memory for the symbols")
        for symbol in symbols:
            if not 1 <= len(symbol) <= SYMBOL or not symbol.isascii() or not symbol.isprintable() or " " in symbol:
                raise ConfigError(f"{symbol!r} is no symbol: 1 to {SYMBOL} printable ASCII characters")
            name = int.from_bytes(symbol.ljust(SYMBOL).encode(), "little")
            at = place_of(name, self.mask)
            while self.used[at] and self.names[at] != name:
                at = (at + 1) & self.mask
            self.names[at], self.used[at] = name, WANTED
        self.symbols = tuple(symbols)

    def __dealloc__(self):
        free(self.wanted_ids)
        free(self.names)
        free(self.used)

    cdef bint names_one(self, const uint8_t *symbol) noexcept nogil:
        cdef uint64_t name
        cdef uint32_t at
        memcpy(&name, symbol, SYMBOL)
        at = place_of(name, self.mask)
        while self.used[at]:
            if self.names[at] == name:
                self.used[at] = MET
                return True
            at = (at + 1) & self.mask
        return False

    cdef void forget(self) noexcept nogil:
        """A new day: the feed's ids are given anew."""
        memset(self.wanted_ids, 0, IDS)

    cdef bint keeps(self, const uint8_t *data, uint32_t length) noexcept nogil:
        """Whether the message is one of ours; learns the feed's ids from those that name them."""
        cdef uint8_t kind
        cdef uint16_t number = 0
        cdef bint ours
        if length == 0:
            return True
        kind = data[0]
        if length < self.lengths[kind] or self.lengths[kind] == 0:
            return True                                     # of no known type, or malformed: the receiver is to see it
        if self.id_at[kind] >= 0:
            number = fh_be16(data + self.id_at[kind]) if self.big_endian else fh_le16(data + self.id_at[kind])
        if self.symbol_at[kind] >= 0:
            ours = self.names_one(data + self.symbol_at[kind])
            if number != 0:
                self.wanted_ids[number] = ours
            return ours
        if self.id_at[kind] < 0 or number == 0:
            return True
        return self.wanted_ids[number]

    @property
    def unmet(self):
        """The symbols that no message has named so far."""
        cdef uint64_t name
        cdef uint32_t at
        missing = []
        for symbol in self.symbols:
            name = int.from_bytes(symbol.ljust(SYMBOL).encode(), "little")
            at = place_of(name, self.mask)
            while self.names[at] != name:
                at = (at + 1) & self.mask
            if self.used[at] != MET:
                missing.append(symbol)
        return missing

    def picks(self, bytes message not None):
        """Whether the message is one of ours; a door for tests."""
        return self.keeps(<const uint8_t *> <const char *> message, <uint32_t> len(message))

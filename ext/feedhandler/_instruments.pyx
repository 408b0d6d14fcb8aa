"""The instrument directory as its one writer sees it."""
import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcpy
from feedhandler._symbols cimport (FH_KEY_WORDS, FH_SYMBOL_LENGTH, FH_VENUE_LENGTH, fh_store_u32_release,
                                   fh_store_u64_release, fh_symbol_find, fh_symbol_key)
from feedhandler._records import INSTRUMENT as _INSTRUMENT, PART as _PART


cdef class Instruments:
    """Instruments(records, table, part) over three writable buffers that stay borrowed: the segment's, or any others.

    `records` is an array of InstrumentRecord, of which number 0 stays unused; `table` a power of two of u32, at least
    as many as records; `part` the Part record of the directory. What already stands in them is kept.
    Raises ValueError when the sizes do not fit each other.
    """

    def __cinit__(self, records, table, part):
        for buffer in (records, table, part):
            PyObject_GetBuffer(buffer, &self.views[self.held], PyBUF_SIMPLE | PyBUF_WRITABLE)
            self.held += 1
        cdef Py_ssize_t capacity = self.views[0].len // <Py_ssize_t> sizeof(InstrumentRecord)
        cdef Py_ssize_t places = self.views[1].len // <Py_ssize_t> sizeof(uint32_t)
        if capacity < 2 or capacity > 1 << 30:
            raise ValueError(f"records must hold 2 to 2^30 instruments, the unused 0 included, not {capacity}")
        if places < capacity or places & (places - 1):
            raise ValueError(f"table must have a power of two of places, at least {capacity}, not {places}")
        if self.views[2].len < <Py_ssize_t> sizeof(Part):
            raise ValueError(f"part must have {sizeof(Part)} bytes, not {self.views[2].len}")
        self.records = <InstrumentRecord *> self.views[0].buf
        self.table = <uint32_t *> self.views[1].buf
        self.part = <Part *> self.views[2].buf
        self.capacity = <uint32_t> capacity
        self.table_mask = <uint32_t> (places - 1)
        if self.part.used == 0:
            self.part.used = 1
        if self.part.used > self.capacity:
            raise ValueError(f"part says that {self.part.used} of {capacity} records are in use")

    def __dealloc__(self):
        cdef int i
        for i in range(self.held):
            PyBuffer_Release(&self.views[i])

    cdef uint32_t define(self, const char *symbol, uint32_t symbol_len, const char *venue, uint16_t channel) noexcept nogil:
        cdef uint64_t key[FH_KEY_WORDS]
        cdef uint32_t place = 0, index
        cdef InstrumentRecord *record
        if not fh_symbol_key(key, symbol, symbol_len, venue):
            return 0
        index = fh_symbol_find(self.records, self.capacity, self.table, self.table_mask, key, &place)
        if index != 0:
            return index
        if self.part.used >= self.capacity:
            self.full += 1
            return 0
        index = <uint32_t> self.part.used
        record = &self.records[index]
        memcpy(record.symbol, key, FH_SYMBOL_LENGTH)
        memcpy(record.venue, venue, FH_VENUE_LENGTH)
        record.channel = channel
        record.price_exponent = -9
        fh_store_u32_release(&self.table[place], index)         # the record is whole: it may be found
        fh_store_u64_release(&self.part.used, index + 1)
        return index

    cdef uint32_t find(self, const char *symbol, uint32_t symbol_len, const char *venue) noexcept nogil:
        cdef uint64_t key[FH_KEY_WORDS]
        if not fh_symbol_key(key, symbol, symbol_len, venue):
            return 0
        return fh_symbol_find(self.records, self.capacity, self.table, self.table_mask, key, NULL)

    @staticmethod
    def standalone(Py_ssize_t capacity):
        """A directory in memory of its own, with room for `capacity` instruments."""
        places = 1 << int(capacity + 1).bit_length()
        return Instruments(np.zeros(capacity + 1, _INSTRUMENT), np.zeros(places, np.uint32), np.zeros(1, _PART))

    def __len__(self):
        """Instruments defined."""
        return self.part.used - 1

    @property
    def refused(self):
        """Definitions refused because the directory was full."""
        return self.full

    def add(self, str symbol not None, str venue not None, int channel=0):
        """The index of (symbol, venue), defined now if it is new; 0 when there is no room or it is no symbol."""
        cdef bytes name = symbol.encode("ascii")
        cdef char place[8]
        _venue(place, venue)
        return self.define(name, <uint32_t> len(name), place, <uint16_t> channel)

    def lookup(self, str symbol not None, str venue not None):
        """The index of (symbol, venue), 0 if it is not defined."""
        cdef bytes name = symbol.encode("ascii", "replace")
        cdef char place[8]
        _venue(place, venue)
        return self.find(name, <uint32_t> len(name), place)

    def symbol(self, uint32_t index):
        """The symbol of an index. Raises IndexError for one that is not in use."""
        return self.record(index)["symbol"].decode("ascii")

    def record(self, uint32_t index):
        """A copy of one directory entry, dtype INSTRUMENT. Raises IndexError for an index that is not in use."""
        if index == 0 or index >= self.part.used:
            raise IndexError(f"instrument {index} is not in use; the directory holds 1 to {self.part.used - 1}")
        return np.frombuffer((<char *> &self.records[index])[:sizeof(InstrumentRecord)], _INSTRUMENT)[0]


cdef int _venue(char *place, str venue) except -1:
    """Fill 8 zero-padded bytes with the venue's name."""
    cdef bytes name = venue.encode("ascii")
    if len(name) > FH_VENUE_LENGTH:
        raise ValueError(f"a venue has at most 8 characters: {venue!r}")
    name = name.ljust(FH_VENUE_LENGTH, b"\0")
    memcpy(place, <const char *> name, FH_VENUE_LENGTH)
    return 0

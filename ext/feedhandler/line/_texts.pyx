"""Texts that wait, copied into one ring in the order they came; of each instrument a row of them by number.

Two lines bring a row's texts twice, each line in order: what comes is looked for from where the last one was put, so the
second line's copies find theirs in one step each. Room is given back from the oldest on; one that waits longest holds
up what lies behind it until the ring is full, and is then dropped, with its number remembered in its row.
"""
cimport cython
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef extern from "pages.h" nogil:
    void *fh_pages(size_t bytes)

from posix.mman cimport munmap

cdef enum:
    ALIGN = 16
    LEAST_ROOM = 4096

cdef uint64_t NOWHERE = <uint64_t> -1


@cython.final
cdef class Texts:
    def __cinit__(self, uint32_t instruments, uint64_t capacity):
        cdef uint32_t i
        self.room = 1 << max(capacity - 1, <uint64_t> LEAST_ROOM - 1).bit_length()
        self.bytes = <uint8_t *> fh_pages(self.room + sizeof(Text))    # the rest of the ring may be shorter than a head
        self.rows = <Row *> calloc(instruments, sizeof(Row))
        if self.bytes == NULL or self.rows == NULL:
            raise MemoryError()
        for i in range(instruments):
            self.rows[i].first = self.rows[i].final = self.rows[i].finger = NOWHERE

    def __dealloc__(self):
        if self.bytes != NULL:
            munmap(self.bytes, self.room + sizeof(Text))
        free(self.rows)

    cdef int keep(self, uint32_t instrument, uint32_t line, int64_t ts_recv, uint64_t previous, uint64_t last, bint marked,
                  const uint8_t *data, uint32_t length) noexcept nogil:
        """Copy a text that covers the numbers (previous, last] of an instrument; see TEXT_KEPT.

        `marked`: `previous` is its mark instead, and texts of one number differ where their marks do.
        """
        cdef Row *row = &self.rows[instrument]
        cdef uint64_t before = self.lower(row, last), behind, place
        cdef uint64_t same = before
        cdef Text *text
        while same != NOWHERE and self.at(same).last == last:
            text = self.at(same)
            if text.previous == previous or (not marked and text.previous < previous):
                row.finger = before
                text.lines |= <uint64_t> 1 << line
                return TEXT_KNOWN
            if not marked:
                break
            same = text.before
        place = self.place(length)
        if place == NOWHERE:
            return TEXT_REFUSED
        if before != NOWHERE and self.at(before).instrument == 0:       # it had to give way
            before = self.lower(row, last)
        behind = row.first if before == NOWHERE else self.at(before).behind
        text = self.at(place)
        text.size = (sizeof(Text) + length + ALIGN - 1) // ALIGN * ALIGN
        text.before, text.behind = before, behind
        text.previous, text.last, text.ts_recv = previous, last, ts_recv
        text.length, text.instrument, text.line = length, instrument, line
        text.lines = <uint64_t> 1 << line
        memcpy(text + 1, data, length)
        self.head = place + text.size
        if before == NOWHERE:
            row.first = place
        else:
            self.at(before).behind = place
        if behind == NOWHERE:
            row.final = place
        else:
            self.at(behind).before = place
        row.finger = place
        return TEXT_KEPT

    cdef uint64_t lower(self, const Row *row, uint64_t last) noexcept nogil:
        """The last of the row whose number is not above `last`."""
        cdef uint64_t at = row.final
        if row.finger != NOWHERE and self.at(row.finger).last <= last:
            at = row.finger
            while self.at(at).behind != NOWHERE and self.at(self.at(at).behind).last <= last:
                at = self.at(at).behind
        else:
            while at != NOWHERE and self.at(at).last > last:
                at = self.at(at).before
        return at

    cdef uint64_t place(self, uint64_t length) noexcept nogil:
        """Where a text of so many bytes can be put; the oldest give way. NOWHERE: it is longer than half of the ring."""
        cdef uint64_t size = (sizeof(Text) + length + ALIGN - 1) // ALIGN * ALIGN
        cdef uint64_t to_end = self.room - (self.head & (self.room - 1))
        cdef uint64_t wanted = size if size <= to_end else to_end + size
        cdef Text *text
        if size > self.room // 2:
            return NOWHERE
        while self.room - (self.head - self.tail) < wanted:
            text = self.at(self.tail)
            if text.instrument:
                self.rows[text.instrument].dropped = max(self.rows[text.instrument].dropped, text.last)
                self.lost += 1
                self.unlink(text)
            self.tail += text.size
        if size > to_end:
            text = self.at(self.head)
            text.size, text.instrument = to_end, 0
            self.head += to_end
        return self.head

    cdef void unlink(self, Text *text) noexcept nogil:
        cdef Row *row = &self.rows[text.instrument]
        if text.before == NOWHERE:
            row.first = text.behind
        else:
            self.at(text.before).behind = text.behind
        if text.behind == NOWHERE:
            row.final = text.before
        else:
            self.at(text.behind).before = text.before
        if row.finger != NOWHERE and self.at(row.finger) == text:
            row.finger = text.before
        text.instrument = 0

    cdef void remove(self, Text *text) noexcept nogil:
        """It waits no more; its bytes may be written over from now on."""
        self.unlink(text)
        self.reclaim()

    cdef void reclaim(self) noexcept nogil:
        while self.tail != self.head and self.at(self.tail).instrument == 0:
            self.tail += self.at(self.tail).size

    cdef void clear(self, uint32_t instrument) noexcept nogil:
        """Nothing of this instrument waits any more, nor was anything dropped."""
        while self.rows[instrument].first != NOWHERE:
            self.unlink(self.at(self.rows[instrument].first))
        self.rows[instrument].dropped = 0
        self.reclaim()

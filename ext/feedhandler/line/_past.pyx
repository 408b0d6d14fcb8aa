"""Sessions left, gaps given up: two short rings of memory."""
cimport cython
from libc.stdint cimport uint32_t, uint64_t


@cython.final
cdef class Past:
    cdef void leave(self, const uint64_t *session) noexcept nogil:
        self.left[self.left_count % LEFT_MAX][0] = session[0]
        self.left[self.left_count % LEFT_MAX][1] = session[1]
        self.left_count += 1

    cdef bint was_left(self, const uint64_t *session) noexcept nogil:
        cdef uint32_t i
        for i in range(min(self.left_count, <uint32_t> LEFT_MAX)):
            if self.left[i][0] == session[0] and self.left[i][1] == session[1]:
                return True
        return False

    cdef void begin(self) noexcept nogil:
        """A new session, without gaps so far."""
        self.missing_count = 0

    cdef void give_up(self, uint64_t first, uint64_t count) noexcept nogil:
        self.missing[self.missing_count % GAPS_MAX].first = first
        self.missing[self.missing_count % GAPS_MAX].count = count
        self.missing_count += 1

    cdef uint64_t given_up_in(self, uint64_t first, uint64_t count) noexcept nogil:
        """How many numbers of the range were given up."""
        cdef uint64_t n = 0, low, high
        cdef uint32_t i
        for i in range(min(self.missing_count, <uint32_t> GAPS_MAX)):
            low = max(first, self.missing[i].first)
            high = min(first + count, self.missing[i].first + self.missing[i].count)
            if low < high:
                n += high - low
        return n

"""A shard gone through message by message; this one goes nowhere."""


cdef class Walk:
    cdef int walk(self, Step *step) noexcept nogil:
        """Subclasses go."""
        return 0

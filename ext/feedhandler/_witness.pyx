"""Who sees every message of a shard as it takes effect; this one looks away."""
import numpy as np

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint32_t
from feedhandler._records cimport Event, Run
from feedhandler.book._book cimport Books

from feedhandler._records import EVENT as _EVENT


cdef class Witness:
    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil:
        """Subclasses look."""

    cdef void read(self, int channel, const Run *run, int32_t count, uint32_t channel_quality) noexcept nogil:
        """Subclasses read."""


@cython.final
cdef class Caller(Witness):
    """Caller(function): calls function(channel, events, quality) each time, `events` a copy of dtype EVENT; for tests.

    The first exception that the function raises is kept in `error`; it is not called again.
    """
    cdef object function
    cdef readonly object error

    def __cinit__(self, function):
        self.function = function

    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil:
        with gil:
            if self.error is None:
                try:
                    copy = np.frombuffer(PyBytes_FromStringAndSize(<const char *> events, count * sizeof(Event)), _EVENT)
                    self.function(channel, copy, channel_quality)
                except BaseException as error:
                    self.error = error

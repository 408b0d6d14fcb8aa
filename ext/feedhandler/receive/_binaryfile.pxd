"""A receiver that reads Nasdaq BinaryFILE."""
from libc.stdint cimport uint64_t
from feedhandler.receive._file cimport FileReceiver

cdef class BinaryFile(FileReceiver):
    cdef readonly uint64_t messages
    cdef int line
    cdef bint marked                        # the mark of the end has been handed on

    cdef void look_behind(self) noexcept nogil

"""What all receivers of files share: a window of bytes onto a file, and what is wrong with it."""
from libc.stdint cimport uint8_t, uint64_t
from feedhandler.receive._reassembly cimport Reassembly
from feedhandler.receive._receiver cimport Receiver

cdef enum:                      # what a file that is not whole suffers from; `_DAMAGE` in the .pyx has the sentences
    DAMAGE_NONE = 0
    DAMAGE_CUT = 1
    DAMAGE_LENGTH = 2
    DAMAGE_BLOCK = 3
    DAMAGE_TRAILER = 4
    DAMAGE_INTERFACE = 5
    DAMAGE_SECTION = 6
    DAMAGE_RESOLUTION = 7
    DAMAGE_INTERFACES = 8
    DAMAGE_BEHIND = 9

cdef enum:
    DAMAGED = -3                # what damaged() gives

cdef class FileReceiver(Receiver):
    """A window of bytes onto a file: all of it when it is mapped, a moving part of it when it is unpacked."""
    cdef readonly str path
    cdef const uint8_t *base
    cdef uint64_t pos, end                  # of what is not read yet, within the window
    cdef uint64_t origin                    # place of base[0] in the file
    cdef object source                      # readinto(memoryview) -> int, place, packs; None when the file is mapped
    cdef object mapping
    cdef const uint8_t[::1] view
    cdef uint8_t[::1] window
    cdef int damage
    cdef uint64_t damage_detail
    cdef object failure
    cdef Reassembly reassembly              # of the lines that are streams; None: there are none
    cdef readonly bint growing                # what is not there yet may still come: its end is an idle turn

    cdef str unpacked(self)
    cdef bint more(self) noexcept nogil
    cdef int finish(self) noexcept nogil
    cdef int damaged(self, int kind, uint64_t detail) noexcept nogil

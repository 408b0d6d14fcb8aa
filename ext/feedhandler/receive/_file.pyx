"""What all receivers of files share: a window of bytes onto a file, and what is wrong with it.

A plain file is mapped and its packets are handed out where they lie. A compressed one passes through a window of
constant size, which only moves between two polls, when nothing is lent out; that step, once in a window, is the only
one that takes the GIL. A file that is not whole gives every whole packet before the damage; then poll() says
END_OF_INPUT and `error` holds the CaptureError that names file, byte and fault.

Time here is the file's: `now()` has no clock, and a line's ts_kind is TS_FILE (TS_NONE for BinaryFILE, which records no
times: ts_recv is 0).
"""
from libc.stdint cimport uint64_t
from libc.string cimport memmove
from feedhandler._records cimport LINE_ENDED
from feedhandler.receive._receiver cimport END_OF_INPUT, Receiver
from feedhandler.errors import CaptureError

cdef enum:
    WINDOW = 1 << 18            # bytes; more than twice the largest packet, so that one always fits

_DAMAGE = {
    DAMAGE_CUT: "the file ends in the middle of a record, of which {} bytes are here",
    DAMAGE_LENGTH: "a record states {} bytes of packet, which no capture holds (at most 262144)",
    DAMAGE_BLOCK: "a pcapng block states a length of {}, which cannot be",
    DAMAGE_TRAILER: "the two lengths of a pcapng block differ; the second one is {}",
    DAMAGE_INTERFACE: "a packet names interface {}, which the section has not described",
    DAMAGE_SECTION: "a pcapng section begins with byte-order magic {:#x}, not 0x1a2b3c4d",
    DAMAGE_RESOLUTION: "an interface has timestamp resolution {:#x}, finer than can be represented",
    DAMAGE_INTERFACES: "a section describes more than {} interfaces",
    DAMAGE_BEHIND: "more follows the mark of the end (a message of length 0), where nothing may",
}


cdef class FileReceiver(Receiver):
    """A window of bytes onto a file: all of it when it is mapped, a moving part of it when it is unpacked.

    `source` is what `capture.receiver` made of the path: a read-only buffer of the whole file, or an object with
    readinto(). Packets point into it until release().
    """

    def __cinit__(self, int lines, source, str path, *args, **kwargs):
        self.path = path
        if hasattr(source, "readinto"):
            self.source = source
            self.window = bytearray(WINDOW)
            self.base = &self.window[0]
        elif len(source) > 0:
            self.mapping = source
            self.view = source
            self.base = &self.view[0]
            self.end = self.view.shape[0]

    @property
    def error(self):
        if self.failure is not None:
            return self.failure
        if self.damage != DAMAGE_NONE:
            return CaptureError(f"{self.path}: byte {self.origin + self.pos}{self.unpacked()}: "
                                f"{_DAMAGE[self.damage].format(self.damage_detail)}")
        return None

    @property
    def offset(self):
        """Bytes of the file (unpacked, if it was compressed) that have been read; for progress bars."""
        return self.origin + self.pos

    @property
    def unpacking(self):
        """What unpacks a compressed file (`compressed.Unpacker`); None of another one."""
        return self.source if self.source is not None and self.source.packs else None

    @property
    def packed_offset(self):
        """Bytes of the file as it lies on the disk that have been read, beside its size."""
        return self.source.place if self.source is not None else self.origin + self.pos

    cdef str unpacked(self):
        return " of the unpacked data" if self.source is not None and self.source.packs else ""

    def grows(self):
        """The file may still grow: its end, even inside a packet, is an idle turn."""
        self.growing = True

    def settle(self):
        """Nothing more will be written into the file: its end is the end."""
        self.growing = False
        if self.source is not None:
            self.source.growing = False

    def let_go(self):
        """As close(), but what looks into the mapped file keeps it: it is unmapped with the last of them."""
        self.mapping = None
        self.close()

    def close(self):
        """Unmap the file. Packets that were handed out are gone."""
        self.unbind()
        self.ended = True
        self.pos = self.end = 0
        self.base = NULL
        self.view = None
        self.window = None
        if self.mapping is not None and hasattr(self.mapping, "close"):
            self.mapping.close()
        if self.source is not None:
            self.source.close()
        self.mapping = None

    cdef bint more(self) noexcept nogil:
        """Bring more bytes into the window; False when there are none. Only while no packet is lent out."""
        if self.source is None or self.ended or self.failure is not None:
            return False
        with gil:
            return self.refill()

    def refill(self):
        """Move what is left to the front of the window and fill the rest; False at the end or on a fault."""
        cdef uint64_t left = self.end - self.pos
        if self.window is None:
            return False
        memmove(&self.window[0], &self.window[0] + self.pos, left)
        self.origin += self.pos
        self.pos = 0
        self.end = left
        try:
            got = self.source.readinto(memoryview(self.window)[left:])
        except Exception as fault:
            self.failure = CaptureError(f"{self.path}: {fault}")
            self.failure.__cause__ = fault
            return False
        self.end += <uint64_t> got
        return got > 0

    cdef int finish(self) noexcept nogil:
        """The input is over, in good order or not."""
        cdef int line
        if not self.ended:
            for line in range(self.lines):
                self.status[line].state = LINE_ENDED
        self.ended = True
        return END_OF_INPUT

    cdef int damaged(self, int kind, uint64_t detail) noexcept nogil:
        self.damage = kind
        self.damage_detail = detail
        return DAMAGED

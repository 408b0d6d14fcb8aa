"""The UDP payloads of a capture for Python: one by one, or in batches that lie where the file has them."""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from feedhandler.receive._capture cimport PacketFile, bytes_of
from feedhandler.receive._datagram cimport FOUND_UDP, Address, Datagram
import numpy as np

cdef enum:
    PLACES = 256                # of the cache from destination to line
    COPIED = 1 << 20            # bytes of payload that a batch copies at most: of files that are unpacked
    LARGEST = 1 << 16           # bytes of one payload

cdef struct Place:
    Address target
    uint32_t line
    uint16_t port
    bint used


@cython.final
cdef class Packets:
    """Made by `capture.packets`."""
    cdef PacketFile file
    cdef object text                        # 16 bytes -> an address for people
    cdef Place places[PLACES]
    cdef dict numbers
    cdef readonly list lines
    cdef Datagram waiting                   # that the last batch could not take
    cdef int64_t waiting_ts
    cdef bint waits
    cdef bint chosen                        # lines were given: no others are wanted
    cdef object mapped                      # numpy's view of the mapped file

    def __init__(self, PacketFile file not None, lines, text):
        self.file = file
        self.text = text
        self.numbers = {}
        self.chosen = lines is not None
        self.lines = list(lines) if lines is not None else []

    @property
    def statistics(self):
        """What the packets of the file were so far, by name: records, udp, tcp, fragments, truncated, malformed, …"""
        return self.file.statistics

    @property
    def offset(self):
        """Bytes of the file (unpacked) that have been read."""
        return self.file.offset

    def close(self):
        """Close the file. Arrays and buffers that were given out keep their memory."""
        self.mapped = None
        self.file.let_go()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        cdef int64_t ts = 0
        cdef int64_t line = self.following(&ts)
        if line < 0:
            self.over()
        return ts, line, PyBytes_FromStringAndSize(<const char *> self.waiting.payload, self.waiting.len)

    def batches(self, Py_ssize_t most=4096):
        """Batches of at most `most` packets, each as (data, times, lines, offsets, lengths)."""
        if most < 1:
            raise ValueError(f"a batch has at least one packet, not {most}")
        return Batches(self, most)

    cdef over(self):
        """The end: StopIteration, or what ended it too early."""
        if self.file.error is not None:
            raise self.file.error
        raise StopIteration

    cdef int64_t following(self, int64_t *ts) noexcept nogil:
        """The line of the next packet, which stands in `waiting`; -1 at the end."""
        cdef int64_t line
        if self.waits:
            self.waits = False
            ts[0] = self.waiting_ts
            return self.line_of(&self.waiting)
        while True:
            if self.file.next_udp(&self.waiting, ts, True) != FOUND_UDP:
                self.file.finish()
                return -1
            line = self.file.line_of(&self.waiting) if self.chosen else self.line_of(&self.waiting)
            if line >= 0:
                return line

    cdef int64_t line_of(self, const Datagram *datagram) noexcept nogil:
        """The number of a destination, in order of appearance."""
        cdef Place *place = &self.places[(datagram.target.low >> 32 ^ datagram.target.low >> 56
                                          ^ datagram.target_port) & (PLACES - 1)]
        if (place.used and place.target.low == datagram.target.low and place.port == datagram.target_port
                and place.target.high == datagram.target.high):
            return place.line
        if self.chosen:
            return self.file.line_of(datagram)
        with gil:
            place.line = self.number(datagram)
        place.target = datagram.target
        place.port = datagram.target_port
        place.used = True
        return place.line

    cdef uint32_t number(self, const Datagram *datagram) noexcept:
        cdef bytes address = bytes_of(&datagram.target)
        cdef object key = (address, <int> datagram.target_port)
        cdef object found = self.numbers.get(key)
        if found is None:
            found = len(self.lines)
            self.numbers[key] = found
            self.lines.append((self.text(address), <int> datagram.target_port))
        return found

    cdef object batch(self, Py_ssize_t most):
        """The next batch; None at the end."""
        cdef int64_t[::1] times
        cdef uint32_t[::1] lines
        cdef int64_t[::1] offsets
        cdef uint32_t[::1] lengths
        cdef Py_ssize_t n
        cdef object stamps, numbers, starts, sizes, data, held
        if self.file.ended and not self.waits:
            return None
        stamps, numbers = np.empty(most, np.int64), np.empty(most, np.uint32)
        starts, sizes = np.empty(most, np.int64), np.empty(most, np.uint32)
        times = stamps
        lines = numbers
        offsets = starts
        lengths = sizes
        if self.file.source is None and not (self.waits and not self.lies(&self.waiting)):
            with nogil:
                n = self.gather(&times[0], &lines[0], &offsets[0], &lengths[0], most)
            if self.mapped is None:
                self.mapped = np.frombuffer(self.file.view, np.uint8)
            data = self.mapped
            if n == 0 and self.waits:
                return self.batch(most)
        else:
            held = PyBytes_FromStringAndSize(NULL, COPIED + LARGEST)
            n = self.copy(<uint8_t *> PyBytes_AS_STRING(held), &times[0], &lines[0], &offsets[0], &lengths[0], most)
            data = np.frombuffer(held, np.uint8)
        if n == 0:
            return None
        if n < most:
            return data, stamps[:n], numbers[:n], starts[:n], sizes[:n]
        return data, stamps, numbers, starts, sizes

    cdef bint lies(self, const Datagram *datagram) noexcept nogil:
        """Does this payload lie in the mapped file? One that was put together of fragments does not."""
        return datagram.payload >= self.file.base and datagram.payload < self.file.base + self.file.end

    cdef Py_ssize_t gather(self, int64_t *times, uint32_t *lines, int64_t *offsets, uint32_t *lengths,
                           Py_ssize_t most) noexcept nogil:
        """Packets of a mapped file, where they lie; one that lies elsewhere ends the batch, and waits."""
        cdef Py_ssize_t n = 0
        cdef int64_t line, ts = 0
        while n < most:
            line = self.following(&ts)
            if line < 0:
                break
            if not self.lies(&self.waiting):
                self.waits = True
                self.waiting_ts = ts
                break
            times[n] = ts
            lines[n] = <uint32_t> line
            offsets[n] = self.waiting.payload - self.file.base
            lengths[n] = self.waiting.len
            n += 1
        return n

    cdef Py_ssize_t copy(self, uint8_t *target, int64_t *times, uint32_t *lines, int64_t *offsets, uint32_t *lengths,
                         Py_ssize_t most) noexcept nogil:
        """Packets of a file that is unpacked, one behind the other; of a mapped one the one that lies elsewhere."""
        cdef Py_ssize_t n = 0
        cdef int64_t line, ts = 0, used = 0
        while n < most and used < COPIED:
            line = self.following(&ts)
            if line < 0:
                break
            memcpy(target + used, self.waiting.payload, self.waiting.len)
            times[n] = ts
            lines[n] = <uint32_t> line
            offsets[n] = used
            lengths[n] = self.waiting.len
            used += self.waiting.len
            n += 1
            if self.file.source is None:
                break
        return n


@cython.final
cdef class Batches:
    """An iterator over the batches of `Packets`."""
    cdef Packets packets
    cdef Py_ssize_t most

    def __init__(self, Packets packets not None, Py_ssize_t most):
        self.packets = packets
        self.most = most

    def __iter__(self):
        return self

    def __next__(self):
        batch = self.packets.batch(self.most)
        if batch is None:
            self.packets.over()
        return batch

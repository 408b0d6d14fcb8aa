"""The contract of every receiver: packets in."""
from libc.stdint cimport INT64_MIN, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from cpython.bytes cimport PyBytes_FromStringAndSize
from feedhandler._counters cimport (LN_BAD_FRAMES, LN_BYTES, LN_FOREIGN, LN_KERNEL_DROPS, LN_PACKETS, LN_RECONNECTS,
                                    LN_TRUNCATED)
from feedhandler._records cimport LINE_COUNTERS, NO_LINE, Packet


cdef class Receiver:
    """The contract; a bare one has nothing to give."""

    def __cinit__(self, int lines=1, *args, **kwargs):
        if lines < 1 or lines >= NO_LINE:
            raise ValueError(f"lines must be 1 to {NO_LINE - 1}, not {lines}")
        self.lines = lines
        self.own_counters = <uint64_t *> calloc(lines * LINE_COUNTERS, sizeof(uint64_t))
        self.status = <LineStatus *> calloc(lines, sizeof(LineStatus))
        if self.own_counters == NULL or self.status == NULL:
            raise MemoryError()
        self.counters = self.own_counters
        self.counter_stride = LINE_COUNTERS

    def __dealloc__(self):
        free(self.own_counters)
        free(self.status)

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        """Packets written, 0 when idle, END_OF_INPUT when nothing more will come, another -errno when it has failed."""
        return END_OF_INPUT

    cdef void release(self) noexcept nogil:
        """Give the packets of the last poll() back to the kernel or the NIC."""

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        """Sleep until a packet may be there or the time is up; 1, 0, or -errno. The one call that may block."""
        return 0

    cdef int64_t now(self) noexcept nogil:
        """The clock of an idle turn in ns since the Unix epoch; INT64_MIN where time passes only with packets (files)."""
        return INT64_MIN

    cdef void bind(self, uint64_t *counters, int stride_words, object owner=None) noexcept:
        """Count into the segment's line records from now on; what was counted before is carried over.

        `owner` is kept alive until close(): whoever holds the memory.
        """
        cdef int line, i
        for line in range(self.lines):
            for i in range(LINE_COUNTERS):
                counters[line * stride_words + i] += self.counters[line * self.counter_stride + i]
        self.counters = counters
        self.counter_stride = stride_words
        self.owner = owner

    cdef void unbind(self) noexcept:
        """Count into own memory again, from where the counts are: the segment may go. Part of every close()."""
        cdef int line, i
        if self.counters == self.own_counters:
            return
        for line in range(self.lines):
            for i in range(LINE_COUNTERS):
                self.own_counters[line * LINE_COUNTERS + i] = self.counters[line * self.counter_stride + i]
        self.counters = self.own_counters
        self.counter_stride = LINE_COUNTERS
        self.owner = None

    def describe(self):
        """The mode in a few words, shown behind the backend's name ("native copy"); "" where there is but one."""
        return ""

    @property
    def error(self):
        """What ended the input before its end, to be raised by the caller; None when nothing did."""
        return None

    def close(self):
        """Give back what is held. Harmless when done twice; poll() gives nothing afterwards."""
        self.unbind()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def drain(self, int limit=1000000):
        """All packets that wait now, as (line, ts_recv, bytes), at most `limit`. A door for tests and tools."""
        cdef Packet packets[RECEIVE_BATCH]
        cdef int i, n
        taken = []
        while len(taken) < limit:
            n = min(<int> RECEIVE_BATCH, limit - <int> len(taken))
            with nogil:
                n = self.poll(packets, n)
            if n == END_OF_INPUT or n == 0:
                break
            if n < 0:
                raise OSError(-n, "poll() failed")
            for i in range(n):
                taken.append((packets[i].line, packets[i].ts_recv,
                              PyBytes_FromStringAndSize(<const char *> packets[i].data, packets[i].len)))
            self.release()
        return taken

    def skim(self, int64_t limit=1 << 62):
        """Receive and let go what waits now, at most `limit` packets, without the GIL: (packets, bytes)."""
        cdef Packet packets[RECEIVE_BATCH]
        cdef int64_t count = 0, size = 0
        cdef int i, n = 0
        with nogil:
            while count < limit:
                n = self.poll(packets, <int> min(<int64_t> RECEIVE_BATCH, limit - count))
                if n <= 0:
                    break
                count += n
                for i in range(n):
                    size += packets[i].len
                self.release()
        if n < 0 and n != END_OF_INPUT:
            raise OSError(-n, "poll() failed")
        return count, size

    def wait_for(self, double seconds):
        """Sleep until a packet may be there, at most so long; True when one may be."""
        cdef int rc
        cdef int64_t timeout_ns = <int64_t> (seconds * 1e9)
        with nogil:
            rc = self.wait(timeout_ns)
        if rc < 0:
            raise OSError(-rc, "wait() failed")
        return rc > 0

    def counts(self, int line):
        """The line's counters that receiving writes, by name."""
        cdef uint64_t *own = self.counters + self.check(line) * self.counter_stride
        return {"packets": own[LN_PACKETS], "bytes": own[LN_BYTES], "kernel_drops": own[LN_KERNEL_DROPS],
                "foreign": own[LN_FOREIGN], "reconnects": own[LN_RECONNECTS], "truncated": own[LN_TRUNCATED],
                "bad_frames": own[LN_BAD_FRAMES]}

    def line_status(self, int line):
        """The line's LineStatus as a dict: state, ts_kind, receive_buffer (bytes), error (errno), connections."""
        cdef LineStatus *own = self.status + self.check(line)
        return {"state": own.state, "ts_kind": own.ts_kind, "receive_buffer": own.receive_buffer, "error": own.error,
                "connections": own.connections}

    cdef int check(self, int line) except -1:
        if line < 0 or line >= self.lines:
            raise IndexError(f"line must be 0 to {self.lines - 1}, not {line}")
        return line

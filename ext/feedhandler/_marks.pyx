"""Where in a recording a shard is: for book snapshots."""
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t, uint64_t
from feedhandler._records cimport Packet


cdef class Marks:
    """Marks(step, slack): time is cut at each multiple of `step` ns since the Unix epoch, 0 = nowhere; the cut is due
    with the first packet `slack` ns behind it."""

    def __cinit__(self, int64_t step=0, int64_t slack=0):
        if step < 0 or not 0 <= slack <= step:
            raise ValueError(f"step must be 0 or more ns and slack no more than it, not {step} and {slack}")
        self.step, self.slack = step, slack
        self.begin = self.latest = INT64_MIN
        self.earliest = INT64_MAX

    cdef int saw(self, Packet *packets, int count) noexcept nogil:
        """What is left of the batch, at its head."""
        cdef int i, kept = 0
        cdef int64_t ts
        cdef uint32_t line
        if self.step == 0 and self.skipping == 0:
            return count
        for i in range(count):
            ts = packets[i].ts_recv
            line = packets[i].line & (MARKED_LINES - 1)
            if self.skipping > 0 and self.skips[line] > 0 and self.begin <= ts <= self.skip_until:
                self.skips[line] -= 1
                self.skipping -= 1
                self.packets[line] += 1
                self.bytes[line] += packets[i].len
                continue
            if ts > self.latest:
                self.latest = ts
                if self.step > 0:
                    if self.begin == INT64_MIN or ts - self.begin >= self.step:
                        self.pass_grid(ts)
                    self.due = not self.made and self.begin != INT64_MIN and ts - self.begin >= self.slack
            if ts >= self.begin:
                self.packets[line] += 1
                self.bytes[line] += packets[i].len
            elif ts < self.earliest:
                self.earliest = ts
            if kept != i:
                packets[kept] = packets[i]
            kept += 1
        return kept

    cdef void pass_grid(self, int64_t ts) noexcept nogil:
        """A packet is the first at or behind a grid point: the last one before its time is the one that counts."""
        cdef int line
        self.begin = ts - ts % self.step if ts >= 0 else INT64_MIN
        self.made = False
        for line in range(MARKED_LINES):
            self.packets[line] = self.bytes[line] = 0

    def seen(self, int lines):
        """Of each line (packets, bytes) at or behind `begin` so far."""
        return [(self.packets[line], self.bytes[line]) for line in range(min(lines, MARKED_LINES))]

    def cut(self):
        """The cut is made now: what comes from here on before `begin` is what it has not seen."""
        self.due, self.made = False, True
        self.earliest = INT64_MAX

    def took_earliest(self):
        """`earliest` has been looked at; from here on again."""
        self.earliest = INT64_MAX

    def skip(self, int64_t begin, seen, int64_t latest):
        """Go on behind a cut: of each line leave out so many packets from `begin` on. `latest` as it was at the cut."""
        cdef int line
        if len(seen) > MARKED_LINES:
            raise ValueError(f"there are at most {MARKED_LINES} lines")
        self.skipping = 0
        for line in range(MARKED_LINES):
            self.packets[line] = self.bytes[line] = 0
            self.skips[line] = seen[line][0] if line < len(seen) else 0
            self.skipping += self.skips[line]
        self.begin = begin
        self.latest = self.skip_until = latest
        self.earliest = INT64_MAX
        self.due, self.made = False, True

    @property
    def left_to_skip(self) -> int:
        """Packets that are still to be left out."""
        return self.skipping

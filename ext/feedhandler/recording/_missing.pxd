"""Numbers that have not come: a bounded row of ranges, lowest first. All of it inline, for one user."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memmove

cdef enum:                      # Hole.place
    NOT_DUE = -1                # younger than the reorder time: no gap so far
    NOT_LISTED = -2             # a gap for which the list had no room

cdef struct Hole:               # [first, end)
    uint64_t first
    uint64_t end
    int64_t since               # ts_recv of the packet that showed it
    int64_t place               # in the channel's list of gaps, or one of the above

cdef struct Missing:
    Hole *holes
    uint32_t count
    uint32_t room
    Hole dropped                # what the last call had no room for; end == 0: nothing. It stays missing for good

cdef inline uint32_t reaching(const Missing *missing, uint64_t number) noexcept nogil:
    """The first hole that ends above `number`."""
    cdef uint32_t low = 0, high = missing.count, middle
    if high == 0 or missing.holes[high - 1].end <= number:
        return high
    while low < high:
        middle = (low + high) >> 1
        if missing.holes[middle].end <= number:
            low = middle + 1
        else:
            high = middle
    return low

cdef inline void insert(Missing *missing, uint32_t at, uint64_t first, uint64_t end, int64_t since,
                        int64_t place) noexcept nogil:
    """A hole at its place in the row. When there is no room the lowest one goes."""
    cdef Hole hole
    hole.first = first
    hole.end = end
    hole.since = since
    hole.place = place
    missing.dropped.end = 0
    if missing.count == missing.room:
        if at == 0:
            missing.dropped = hole
            return
        missing.dropped = missing.holes[0]
        at -= 1
        memmove(missing.holes, missing.holes + 1, at * sizeof(Hole))
    else:
        memmove(missing.holes + at + 1, missing.holes + at, (missing.count - at) * sizeof(Hole))
        missing.count += 1
    missing.holes[at] = hole

cdef inline bint cut(Missing *missing, uint64_t first, uint64_t end, Hole *piece) noexcept nogil:
    """Take the lowest piece of [first, end) that is missing out of the row: it has come. False when there is none."""
    cdef uint32_t at = reaching(missing, first)
    cdef Hole *hole = &missing.holes[at]
    cdef uint64_t low
    cdef bint above, below
    missing.dropped.end = 0
    if at == missing.count or hole.first >= end:
        return False
    piece[0] = hole[0]
    piece.first = max(hole.first, first)
    piece.end = min(hole.end, end)
    low = hole.first
    below = low < piece.first
    above = piece.end < hole.end
    if above:
        hole.first = piece.end
        if below:
            insert(missing, at, low, piece.first, piece.since, piece.place)
    elif below:
        hole.end = piece.first
    else:
        missing.count -= 1
        memmove(hole, hole + 1, (missing.count - at) * sizeof(Hole))
    return True

cdef inline uint64_t ranges(const Missing *missing) noexcept nogil:
    """How many there are, those that touch taken as one."""
    cdef uint64_t n = 0
    cdef uint32_t i
    for i in range(missing.count):
        n += i == 0 or missing.holes[i - 1].end < missing.holes[i].first
    return n

"""What is live in an ITCH 5.0 session, followed message by message, and written out as a GLIMPSE snapshot.

Kept of each instrument: the last stock directory, trading action, Reg SHO, operational halt and retail interest
message; of each live order what its add message said, with the shares that are left. A replaced order keeps side, stock
and attribution (ITCH 5.0, section 1.4.5: they cannot be changed).
"""
cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcpy, memset

from feedhandler._wire cimport fh_be16, fh_be32, fh_be48, fh_be64, fh_put_be16, fh_put_be32, fh_put_be48, fh_put_be64
from feedhandler.simulate._store cimport pthread_mutex_lock, pthread_mutex_unlock

from feedhandler.errors import ConfigError, SessionError

cdef enum:
    SLOTS_MIN = 1 << 12
    NOWHERE = 0xFFFFFFFFFFFFFFFF
    DIRECTORY = 0               # the places of State.last, in the order in which GLIMPSE sends them
    ACTION = 1
    REG_SHO = 2
    OPERATIONAL = 3
    RETAIL = 4
    ADD = 36                    # bytes of the messages
    ADD_ATTRIBUTED = 40
    SYSTEM = 12

cdef uint32_t[STATES] LENGTHS = [39, 25, 20, 21, 20]


@cython.final
cdef class SnapshotSource(Follower):
    """Follows a session; `orders` live orders at most. The first message is number `first`."""

    def __cinit__(self, uint64_t orders=1 << 24, *, uint64_t first=1):
        if not 1 <= orders <= <uint64_t> 1 << 32 or first < 1:
            raise ConfigError(f"simulate: a snapshot source holds 1 to 2^32 live orders, not {orders}")
        self.limit, self.slots, self.next = orders, SLOTS_MIN, first
        self.orders = <Order *> calloc(self.slots, sizeof(Order))
        self.states = <State *> calloc(LOCATES, sizeof(State))  # only what is used becomes memory
        if self.orders == NULL or self.states == NULL:
            raise MemoryError("simulate: no memory for live orders")

    def __dealloc__(self):
        free(self.orders)
        free(self.states)

    # ---- following ----

    cdef void put(self, const uint8_t *block, uint32_t size) noexcept nogil:
        self.message(block + 2, size - 2)
        self.next += 1

    cdef void message(self, const uint8_t *m, uint32_t length) noexcept nogil:
        cdef uint8_t kind = m[0] if length >= SYSTEM else 0
        cdef Order order
        if (kind == c"A" and length >= ADD) or (kind == c"F" and length >= ADD_ATTRIBUTED):
            order.id, order.side = fh_be64(m + 11), m[19]
            order.shares, order.price, order.locate = fh_be32(m + 20), fh_be32(m + 32), fh_be16(m + 1)
            order.time = fh_be48(m + 5) << 16 | fh_be16(m + 3)
            order.attribution = order.spare = 0
            if kind == c"F":
                memcpy(&order.attribution, m + 36, 4)
            memcpy(self.states[order.locate].stock, m + 24, 8)
            self.add(&order)
        elif (kind == c"E" and length >= 31) or (kind == c"C" and length >= 36) or (kind == c"X" and length >= 23):
            self.reduce(fh_be64(m + 11), fh_be32(m + 19))
        elif kind == c"D" and length >= 19:
            self.reduce(fh_be64(m + 11), 0xFFFFFFFF)
        elif kind == c"U" and length >= 35:
            self.replace(m)
        elif kind == c"R":
            self.remember(DIRECTORY, m, length)
        elif kind == c"H":
            self.remember(ACTION, m, length)
        elif kind == c"Y":
            self.remember(REG_SHO, m, length)
        elif kind == c"h":
            self.remember(OPERATIONAL, m, length)
        elif kind == c"N":
            self.remember(RETAIL, m, length)
        elif kind == c"S":
            if self.event_count < SYSTEM_EVENTS:
                memcpy(self.events[self.event_count], m, SYSTEM)
                self.event_count += 1
        elif kind == 0 or kind in (c"A", c"F", c"E", c"C", c"X", c"D", c"U"):
            self.unknown += 1

    cdef void remember(self, int kind, const uint8_t *m, uint32_t length) noexcept nogil:
        cdef uint16_t locate = fh_be16(m + 1)
        if length < LENGTHS[kind]:
            self.unknown += 1
            return
        memcpy(self.states[locate].last[kind], m, LENGTHS[kind])
        self.states[locate].seen[kind] = 1
        self.highest = max(self.highest, locate)

    cdef inline uint64_t find(self, uint64_t id) noexcept nogil:
        """Where the order is, or the empty place where its search ends."""
        cdef uint64_t at = home(id) & (self.slots - 1)
        while self.orders[at].side != 0 and self.orders[at].id != id:
            at = (at + 1) & (self.slots - 1)
        return at

    cdef void add(self, const Order *order) noexcept nogil:
        cdef uint64_t at = self.find(order.id)
        if order.shares == 0 or order.side == 0 or self.orders[at].side != 0:
            self.unknown += 1
            return
        if self.live >= self.limit or (self.live * 5 >= self.slots * 3 and not self.grow()):
            self.full = True
            return
        self.orders[self.find(order.id)] = order[0]
        self.live += 1

    cdef bint grow(self) noexcept nogil:
        cdef Order *old = self.orders
        cdef uint64_t count = self.slots, i
        cdef Order *wider = <Order *> calloc(count * 2, sizeof(Order))
        if wider == NULL:
            return False
        self.orders, self.slots = wider, count * 2
        for i in range(count):
            if old[i].side != 0:
                wider[self.find(old[i].id)] = old[i]
        free(old)
        return True

    cdef void reduce(self, uint64_t id, uint32_t shares) noexcept nogil:
        cdef uint64_t at = self.find(id)
        if self.orders[at].side == 0:
            self.unknown += 1
        elif shares < self.orders[at].shares:
            self.orders[at].shares -= shares
        else:
            self.remove(at)

    cdef void remove(self, uint64_t at) noexcept nogil:
        """Those behind move up, so that no search ends too early."""
        cdef uint64_t mask = self.slots - 1, i = at, wanted
        self.live -= 1
        while True:
            i = (i + 1) & mask
            if self.orders[i].side == 0:
                break
            wanted = home(self.orders[i].id) & mask
            if ((i - wanted) & mask) >= ((i - at) & mask):
                self.orders[at] = self.orders[i]
                at = i
        self.orders[at].side = 0

    cdef void replace(self, const uint8_t *m) noexcept nogil:
        cdef uint64_t at = self.find(fh_be64(m + 11))
        cdef Order order = self.orders[at]
        if order.side == 0:
            self.unknown += 1
            return
        self.remove(at)
        order.id, order.shares, order.price = fh_be64(m + 19), fh_be32(m + 27), fh_be32(m + 31)
        order.time = fh_be48(m + 5) << 16 | fh_be16(m + 3)
        self.add(&order)

    def advance(self, messages):
        """Take the next messages: whole ones, u16 big-endian length before each."""
        self.append(messages)

    # ---- writing it out ----

    def snapshot(self):
        """(number, messages): the state before message `number`, as length-prefixed ITCH messages.

        Stock directory of all instruments, then trading actions, Reg SHO, operational halts, retail interest, the live
        orders by their references, the system events. Raises SessionError when there were too many live orders.
        """
        cdef Order *orders = NULL
        cdef uint8_t *written = NULL
        cdef uint64_t count = 0, room = 0, number = 0
        cdef Py_ssize_t state_room = 0, states = 0, events = 0
        cdef bint full = False, enough = False
        try:
            while not enough:                   # memory is taken outside the lock; what is live may have grown meanwhile
                free(orders)
                free(written)
                room = self.live + self.live // 8 + 64
                state_room = self.state_bytes()
                orders = <Order *> malloc(room * sizeof(Order))
                written = <uint8_t *> malloc(state_room)
                if orders == NULL or written == NULL:
                    raise MemoryError("simulate: no memory for a snapshot")
                with nogil:
                    pthread_mutex_lock(&self.lock)
                    number, full = self.next, self.full
                    enough = self.live <= room and self.state_bytes() <= state_room
                    if enough:
                        count = self.copy_orders(orders)
                        states = self.write_states(written)
                        events = self.write_events(written + states)
                    pthread_mutex_unlock(&self.lock)
            if full:
                raise SessionError(f"simulate: more than {self.limit} live orders: no snapshot is whole")
            return number, written[:states] + self.written_orders(orders, count) + written[states:states + events]
        finally:
            free(orders)
            free(written)

    cdef Py_ssize_t state_bytes(self) noexcept nogil:
        """What write_states() and write_events() write at most."""
        return (self.highest + 1) * (STATES * (STATE_BYTES + 2)) + SYSTEM_EVENTS * (SYSTEM + 2)

    cdef uint64_t copy_orders(self, Order *out) noexcept nogil:
        cdef uint64_t i, count = 0
        for i in range(self.slots):
            if self.orders[i].side != 0:
                out[count] = self.orders[i]
                count += 1
        return count

    cdef Py_ssize_t write_states(self, uint8_t *out) noexcept nogil:
        cdef uint8_t *p = out
        cdef uint32_t locate
        cdef int kind
        for kind in range(STATES):
            for locate in range(self.highest + 1):
                if self.states[locate].seen[kind]:
                    fh_put_be16(p, <uint16_t> LENGTHS[kind])
                    memcpy(p + 2, self.states[locate].last[kind], LENGTHS[kind])
                    p += 2 + LENGTHS[kind]
        return p - out

    cdef Py_ssize_t write_events(self, uint8_t *out) noexcept nogil:
        cdef int i
        for i in range(self.event_count):
            fh_put_be16(out + i * (2 + SYSTEM), SYSTEM)
            memcpy(out + i * (2 + SYSTEM) + 2, self.events[i], SYSTEM)
        return self.event_count * (2 + SYSTEM)

    cdef bytes written_orders(self, Order *orders, uint64_t count):
        cdef bytearray out = bytearray(count * (2 + ADD_ATTRIBUTED))
        cdef uint8_t *start = out
        cdef uint8_t *p = start
        cdef Order *order
        cdef uint64_t i
        cdef uint16_t length
        with nogil:
            qsort(orders, count, sizeof(Order), by_id)
            for i in range(count):
                order = &orders[i]
                length = ADD if order.attribution == 0 else ADD_ATTRIBUTED
                fh_put_be16(p, length)
                p += 2
                p[0] = c"A" if order.attribution == 0 else c"F"
                fh_put_be16(p + 1, order.locate)
                fh_put_be16(p + 3, <uint16_t> order.time)
                fh_put_be48(p + 5, order.time >> 16)
                fh_put_be64(p + 11, order.id)
                p[19] = order.side
                fh_put_be32(p + 20, order.shares)
                memcpy(p + 24, self.states[order.locate].stock, 8)
                fh_put_be32(p + 32, order.price)
                if order.attribution != 0:
                    memcpy(p + 36, &order.attribution, 4)
                p += length
        return bytes(out[:p - start])

    def clear(self, *, uint64_t first=1):
        """A new session: nothing is known, and its first message is number `first`."""
        with nogil:
            pthread_mutex_lock(&self.lock)
            memset(self.orders, 0, self.slots * sizeof(Order))
            memset(self.states, 0, LOCATES * sizeof(State))
            self.live = self.highest = self.event_count = self.full = 0
            self.next = first
            pthread_mutex_unlock(&self.lock)

    @property
    def number(self):
        """Number of the message that comes next."""
        return self.next

    @property
    def live_orders(self):
        """Orders that are live now."""
        return self.live


cdef inline uint64_t home(uint64_t id) noexcept nogil:
    id = (id ^ id >> 32) * <uint64_t> 0x9E3779B97F4A7C15
    return id ^ id >> 29


cdef int by_id(const void *a, const void *b) noexcept nogil:
    cdef uint64_t x = (<const Order *> a).id, y = (<const Order *> b).id
    return (x > y) - (x < y)


def sequenced(const uint8_t[::1] blocks not None):
    """The messages as SoupBinTCP Sequenced Data packets: u16 length, `S`, message. For whole blocks under 64 KiB each."""
    cdef Py_ssize_t size = blocks.shape[0], at = 0, count = 0
    cdef uint32_t length
    cdef bytearray out
    cdef uint8_t *p
    while at + 2 <= size:
        at += 2 + fh_be16(&blocks[at])
        count += 1
    if at != size:
        raise ValueError("blocks: the last message is not whole")
    out = bytearray(size + count)
    p = out
    at = 0
    with nogil:
        while at < size:
            length = fh_be16(&blocks[at])
            fh_put_be16(p, <uint16_t> (length + 1))
            p[2] = c"S"
            if length > 0:
                memcpy(p + 3, &blocks[at + 2], length)
            p += 3 + length
            at += 2 + length
    return bytes(out)

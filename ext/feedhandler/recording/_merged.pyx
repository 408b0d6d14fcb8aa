"""All packets of a recording's files in the order of their times.

A lane is a chain of files that follow each other, of which one is open; a chain is not begun before its first packet is
due. Within a lane packets keep their order; of several lanes the one whose next packet is earliest goes on, of equal
ones the one that was named first. What is handed out lies where the files have it: a lane that has run dry ends a
poll(), for its file can move on only when nothing of it is lent out. One lane alone is handed through as it is.

A file that is damaged is given up to the damage, the fault kept in `errors`, and the next one goes on.

`follow`: a file that still grows is idle at its end, not over, until its chain says that it is (`look()`). Packets of
other lanes wait for an idle one at most HOLD_NS, lest a recorder that has nothing to write stop all others.
"""
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from cpython.object cimport PyObject
from feedhandler._counters cimport LN_RECONNECTS
from feedhandler._records cimport LINE_DOWN, LINE_ENDED, LINE_UP, TS_FILE, Packet
from feedhandler.receive._file cimport FileReceiver
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH, LineStatus, Receiver
from feedhandler.errors import CaptureError

cdef enum:
    LOOK_NS = 1000000           # between two looks at the end of a file that grows
    HOLD_NS = 200000000         # packets wait so long for an idle lane's


cdef inline int64_t _clock() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t> now.tv_sec * 1000000000 + now.tv_nsec


cdef class Merged(Receiver):
    """Made by `Recording.receiver`.

    `chains`, in the order of files: each has `first_ts`, ns since the Unix epoch, at or before its first packet;
    next() gives the FileReceiver of its next file, with as many lines as this one has, or None when there is none
    (yet); `over`, which says that there will be none; `reassembly`, of its streams, or None; look(), called while its file is idle, may settle() that file.
    """

    def __cinit__(self, int lines, chains, *, bint follow=False):
        cdef int line
        self.errors = []
        self.holes = []
        self.kept = {}
        self.following = follow
        self.waiting = sorted(((chain.first_ts, order, chain) for order, chain in enumerate(chains)),
                              key=lambda entry: entry[:2], reverse=True)
        self.due = INT64_MAX
        for line in range(lines):
            self.status[line].state = LINE_UP
            self.status[line].ts_kind = TS_FILE
        self.announce()

    def __dealloc__(self):
        cdef int i
        for i in range(self.lane_count):
            free(self.lanes[i])
        free(self.lanes)

    @property
    def error(self):
        """The first fault of a file, once the others have been read; the rest stand in `errors`."""
        return self.errors[0] if self.errors else None

    @property
    def offset(self):
        """Bytes read of the files as they lie on the disk; beside `Recording.size` for progress. Safe from any thread."""
        here = self.passed
        for _, file in list(self.kept.values()):        # not the lanes: they go while other threads look
            if file is not None:
                here += file.packed_offset
        return here

    def stop_following(self):
        """What the files hold now is all: their ends are the end. Safe from any thread."""
        self.following = False

    def close(self):
        """Close all files. Packets that were handed out are gone."""
        self.unbind()
        self.ended = True
        for chain, file in list(self.kept.values()):
            if file is not None:
                file.close()
        while self.lane_count:
            self.remove(0)
        self.waiting = []
        self.due = INT64_MAX

    cdef void bind(self, uint64_t *counters, int stride_words, object owner=None) noexcept:
        cdef int i
        Receiver.bind(self, counters, stride_words, owner)
        for i in range(self.lane_count):
            if self.lanes[i].file != NULL:
                self.adopt(<FileReceiver> self.lanes[i].file)

    cdef void unbind(self) noexcept:
        cdef int i
        Receiver.unbind(self)
        for i in range(self.lane_count):
            if self.lanes[i].file != NULL:
                self.adopt(<FileReceiver> self.lanes[i].file)

    cdef void adopt(self, FileReceiver file) noexcept nogil:
        """Let a file count where this receiver counts."""
        file.counters = self.counters
        file.counter_stride = self.counter_stride

    # -- packets ------------------------------------------------------------------------------------------------------

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int place, n = 0, best
        cdef int64_t limit = 0
        cdef bint ties = False
        cdef Lane *lane
        if self.ended or capacity <= 0:
            return END_OF_INPUT if self.ended else 0
        if self.lane_count == 1 and self.due == INT64_MAX and self.lanes[0].first == self.lanes[0].count:
            return self.alone(out, capacity)
        while True:
            place = 0
            while place < self.lane_count:
                if self.refill(self.lanes[place]):
                    place += 1
                else:
                    self.remove(place)
            best = self.earliest(&limit, &ties)
            if self.due == INT64_MAX or best >= 0 and (self.lanes[best].packets[self.lanes[best].first].ts_recv < self.due or (
                    self.lanes[best].packets[self.lanes[best].first].ts_recv == self.due
                    and self.lanes[best].order < self.due_order)):
                break
            with gil:
                self.begin()
        if best < 0:
            if self.lane_count:
                return 0
            return self.finish()
        while n < capacity and best >= 0:
            lane = self.lanes[best]
            while n < capacity and lane.first < lane.count:
                if lane.packets[lane.first].ts_recv > limit or lane.packets[lane.first].ts_recv == limit and not ties:
                    break
                out[n] = lane.packets[lane.first]
                lane.first += 1
                n += 1
            if lane.first == lane.count:
                break
            best = self.earliest(&limit, &ties)
            if best >= 0:
                lane = self.lanes[best]
                if lane.packets[lane.first].ts_recv > limit or lane.packets[lane.first].ts_recv == limit and not ties:
                    break                   # the chain that is next has to be begun first
        return n

    cdef int alone(self, Packet *out, int capacity) noexcept nogil:
        """poll() of the only lane there is."""
        cdef Lane *lane = self.lanes[0]
        cdef int n = self.fill(lane, out, capacity)
        if n == END_OF_INPUT:
            self.remove(0)
            return self.finish()
        return n

    cdef bint refill(self, Lane *lane) noexcept nogil:
        """See that a lane has packets, or is idle; False: it is over."""
        cdef int n
        if lane.first < lane.count:
            return True
        lane.first = lane.count = 0
        n = self.fill(lane, lane.packets, RECEIVE_BATCH)
        if n == END_OF_INPUT:
            return False
        lane.count = n
        return True

    cdef int fill(self, Lane *lane, Packet *out, int capacity) noexcept nogil:
        """Packets of a lane's files; 0: nothing there yet, END_OF_INPUT: all of them are read."""
        cdef int n
        cdef int64_t now
        while True:
            if lane.idle:
                now = _clock()
                if self.following and now - lane.looked < LOOK_NS:
                    return 0
                lane.looked = now
                with gil:
                    self.look(<size_t> lane)
            n = END_OF_INPUT
            if lane.file != NULL:
                n = (<FileReceiver> lane.file).poll(out, capacity)
                self.connect(lane)
            if n > 0:
                lane.lent = True
                lane.idle = False
                return n
            if n == END_OF_INPUT:
                with gil:
                    n = self.advance(<size_t> lane)
                if n == END_OF_INPUT:
                    return n
                if n > 0:
                    continue
            if not lane.idle:
                lane.idle = True
                lane.idle_since = _clock()
            if self.following:
                return 0

    cdef void connect(self, Lane *lane) noexcept nogil:
        """Bring the connections that a file's streams have begun into the lines' own count."""
        cdef int line
        cdef LineStatus *status = (<FileReceiver> lane.file).status
        if <PyObject *> (<FileReceiver> lane.file).reassembly == <PyObject *> None:
            return
        for line in range(self.lines):
            if not (<FileReceiver> lane.file).reassembly.takes(line):
                continue
            if status[line].connections:
                if self.status[line].connections:
                    self.counters[line * self.counter_stride + LN_RECONNECTS] += 1
                self.status[line].connections += status[line].connections
                status[line].connections = 0
            self.status[line].state = LINE_DOWN if (<FileReceiver> lane.file).reassembly.down(line) else LINE_UP

    cdef int earliest(self, int64_t *limit, bint *ties) noexcept nogil:
        """The lane whose packet is next, and how far it may go: up to `limit`, that included with `ties`; -1: none."""
        cdef int place, best = -1
        cdef int64_t ts, first = INT64_MAX
        cdef Lane *lane
        cdef int64_t now = 0
        limit[0] = self.due
        ties[0] = False
        for place in range(self.lane_count):
            lane = self.lanes[place]
            if lane.first == lane.count:
                if now == 0:
                    now = _clock()
                if self.following and now - lane.idle_since < HOLD_NS:
                    return -1
                continue
            ts = lane.packets[lane.first].ts_recv
            if best < 0:
                best = place
                first = ts
            elif ts < first:
                if first < limit[0]:
                    limit[0] = first
                best = place
                first = ts
            elif ts < limit[0]:
                limit[0] = ts
        if best >= 0:
            # at the limit itself, a packet goes out if nobody of a lower order has one of that time
            ties[0] = limit[0] < self.due or self.lanes[best].order < self.due_order
            for place in range(best):
                if (self.lanes[place].first < self.lanes[place].count
                        and self.lanes[place].packets[self.lanes[place].first].ts_recv <= limit[0]):
                    ties[0] = False
        return best

    cdef void release(self) noexcept nogil:
        cdef int place
        for place in range(self.lane_count):
            if self.lanes[place].lent and self.lanes[place].first == self.lanes[place].count:
                (<FileReceiver> self.lanes[place].file).release()
                self.lanes[place].lent = False

    cdef int finish(self) noexcept nogil:
        cdef int line
        for line in range(self.lines):
            if self.status[line].state != LINE_DOWN:        # of a stream whose end was missing, or was its end
                self.status[line].state = LINE_ENDED
        self.ended = True
        return END_OF_INPUT

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        """Files do not wake anybody: sleep for a moment."""
        cdef timespec moment
        moment.tv_sec = 0
        moment.tv_nsec = min(timeout_ns, LOOK_NS)
        if self.following and timeout_ns > 0:
            nanosleep(&moment, NULL)
        return 1

    # -- files --------------------------------------------------------------------------------------------------------

    cdef announce(self):
        """Note which chain is next, and when."""
        if self.waiting:
            self.due, self.due_order, _ = self.waiting[len(self.waiting) - 1]
        else:
            self.due = INT64_MAX

    cdef begin(self):
        """Begin the chain that is next: a lane for it, at its place."""
        cdef Lane *lane
        cdef int place
        _, order, chain = self.waiting.pop()
        self.announce()
        if self.lane_count == self.lane_room:
            lanes = realloc(self.lanes, (self.lane_room + 16) * sizeof(Lane *))
            if lanes == NULL:
                raise MemoryError()
            self.lanes = <Lane **> lanes
            self.lane_room += 16
        lane = <Lane *> calloc(1, sizeof(Lane))
        if lane == NULL:
            raise MemoryError()
        lane.order = order
        lane.chain = <void *> chain
        self.kept[<size_t> lane] = [chain, None]
        place = 0
        while place < self.lane_count and self.lanes[place].order < lane.order:
            place += 1
        memmove(&self.lanes[place + 1], &self.lanes[place], (self.lane_count - place) * sizeof(Lane *))
        self.lanes[place] = lane
        self.lane_count += 1

    cdef int advance(self, size_t address) noexcept:
        """The lane's file is read: its next one. 1: there is one, 0: not yet, END_OF_INPUT: there will be none."""
        cdef Lane *lane = <Lane *> address
        cdef FileReceiver file
        cdef int line
        entry = self.kept[address]
        chain, old = entry
        try:
            if old is not None:
                if old.error is not None:
                    self.errors.append(old.error)
                self.passed += old.packed_offset
                lane.file = NULL
                entry[1] = None
                old.close()
            file = chain.next()
        except CaptureError as fault:
            self.errors.append(fault)
            return 1
        except Exception as fault:
            self.errors.append(CaptureError(f"{chain}: {fault}"))
            return END_OF_INPUT
        if file is None:
            if self.following and not chain.over:
                return 0
            if chain.reassembly is not None:
                for line in chain.reassembly.settle():
                    self.status[line].state = LINE_DOWN
                self.holes += chain.reassembly.holes
            return END_OF_INPUT
        entry[1] = file
        lane.file = <void *> file
        for line in range(self.lines):
            if file.status[line].state == LINE_UP:
                self.status[line].ts_kind = file.status[line].ts_kind
        lane.lent = lane.idle = False
        self.adopt(file)
        return 1

    cdef void look(self, size_t address) noexcept:
        """A lane is idle: has its file come to its end for good?"""
        cdef FileReceiver file = self.kept[address][1]
        try:
            self.kept[address][0].look()
        except Exception as fault:
            if str(fault) not in "\n".join([str(error) for error in self.errors]):
                self.errors.append(CaptureError(str(fault)))        # once: an idle file is looked at again and again
        if file is not None and not self.following:
            file.settle()

    cdef void remove(self, int place) noexcept nogil:
        """A lane is over."""
        cdef Lane *lane = self.lanes[place]
        with gil:
            self.kept.pop(<size_t> lane)
        free(lane)
        self.lane_count -= 1
        memmove(&self.lanes[place], &self.lanes[place + 1], (self.lane_count - place) * sizeof(Lane *))

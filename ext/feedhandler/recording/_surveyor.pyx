"""Goes through a file once, for its index: times, numbers and events of the session, block by block."""
cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from feedhandler._records cimport MESSAGES_MAX, Message, Packet
from feedhandler.receive._capture cimport PacketFile
from feedhandler.receive._receiver cimport RECEIVE_BATCH
from feedhandler.session._framing cimport FRAME_BAD, FRAME_DATA, Frame, Framing

cdef enum:
    LINES = 64


@cython.final
cdef class Surveyor:
    """Surveyor(lines): for each line of the file's receiver (framing, type character and place of the code of the
    messages that tell of the session; 0, 0 where the protocol has none).
    """
    cdef list kept
    cdef void *framings[LINES]
    cdef uint8_t kind[LINES]
    cdef int place[LINES]
    cdef int lines
    cdef Message *messages
    cdef uint64_t end[LINES]                # of the block at hand: the number behind the highest; 0: none
    cdef uint32_t connections[LINES]        # of streams: that the framing has been reset for

    def __cinit__(self, lines):
        cdef int i
        self.kept = []
        self.lines = len(lines)
        if not 1 <= self.lines <= LINES:
            raise ValueError(f"1 to {LINES} lines, not {self.lines}")
        self.messages = <Message *> calloc(MESSAGES_MAX, sizeof(Message))
        if self.messages == NULL:
            raise MemoryError()
        for i, (framing, kind, place) in enumerate(lines):
            if not isinstance(framing, Framing):
                raise TypeError("a line is named by its framing")
            self.kept.append(framing)
            self.framings[i] = <void *> framing
            self.kind[i] = kind
            self.place[i] = place

    def __dealloc__(self):
        free(self.messages)

    def block(self, PacketFile file not None, int packets):
        """The next packets, at most so many, as one block; None at the end of the file.

        (place in the file, packets, earliest and latest time, for each line one behind the highest number (0:
        none), events of the session as (time, line, code)).
        """
        cdef Packet batch[RECEIVE_BATCH]
        cdef Frame frame
        cdef int64_t low = INT64_MAX, high = INT64_MIN
        cdef uint64_t start = file.place()
        cdef int i, j, n, count = 0
        cdef uint64_t line
        if file.lines > self.lines:
            raise ValueError(f"the file has {file.lines} lines, the surveyor {self.lines}")
        memset(self.end, 0, sizeof(self.end))
        events = []
        while count < packets:
            n = file.poll(batch, min(<int> RECEIVE_BATCH, packets - count))
            if n <= 0:
                break
            for i in range(n):
                low = min(low, batch[i].ts_recv)
                high = max(high, batch[i].ts_recv)
                line = batch[i].line
                self.connect(file, line)
                while True:
                    (<Framing> self.framings[line]).parse(&batch[i], &frame, self.messages, MESSAGES_MAX)
                    if frame.kind == FRAME_DATA:
                        self.number(line, &frame)
                        if self.kind[line]:
                            for j in range(frame.count):
                                if (self.messages[j].len > <uint64_t> self.place[line]
                                        and self.messages[j].data[0] == self.kind[line]):
                                    events.append((batch[i].ts_recv, line, self.messages[j].data[self.place[line]]))
                    if not frame.more or frame.kind == FRAME_BAD:
                        break
            count += n
            file.release()
        if count == 0:
            return None
        return start, count, low, high, [self.end[i] for i in range(self.lines)], events

    cdef void connect(self, PacketFile file, uint64_t line) noexcept:
        """A stream's numbers follow from the login of its own connection: another one begins anew."""
        if file.status[line].connections != self.connections[line]:
            self.connections[line] = file.status[line].connections
            (<Framing> self.framings[line]).reset()

    cdef void number(self, uint64_t line, const Frame *frame) noexcept:
        if frame.first_seq == 0 or frame.count == 0:
            return
        self.end[line] = max(self.end[line], frame.first_seq + <uint64_t> frame.count)

    def find(self, PacketFile file not None, lines, uint64_t wanted):
        """The time of the first packet of these lines that holds number `wanted`, or a later one; None: there is none."""
        cdef Packet batch[RECEIVE_BATCH]
        cdef Frame frame
        cdef int i, n
        cdef uint64_t chosen = 0, line
        for line in lines:
            chosen |= <uint64_t> 1 << line
        while True:
            n = file.poll(batch, RECEIVE_BATCH)
            if n <= 0:
                return None
            for i in range(n):
                line = batch[i].line
                if chosen >> line & 1:
                    self.connect(file, line)
                while chosen >> line & 1:
                    (<Framing> self.framings[line]).parse(&batch[i], &frame, self.messages, MESSAGES_MAX)
                    if frame.kind == FRAME_DATA and frame.first_seq and frame.first_seq + <uint64_t> frame.count > wanted:
                        file.release()
                        return batch[i].ts_recv
                    if not frame.more or frame.kind == FRAME_BAD:
                        break
            file.release()

"""The contract of the line stage of JSON channels: of all texts of all connections, what each book takes, in order."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport LineRecord, Message, Run
from feedhandler.decode._text cimport Update
from feedhandler.line._coverage cimport Coverage
from feedhandler.line._texts cimport Text

cdef class Splicer(Coverage):
    """One per channel of texts, in the place of an arbiter: the same calls, and the TAKE_ codes that are a Splicer's."""

    cdef const Message *offered             # the frame in hand
    cdef int offered_at, offered_count
    cdef int64_t offered_ts
    cdef uint32_t offered_line

    cdef Update head                        # of what take() gave last
    cdef const Message *given               # that
    cdef uint32_t given_line
    cdef bint given_standby, given_proves
    cdef Text *given_text                   # NULL: it did not wait
    cdef Message waited

    cdef uint32_t draining                  # the instrument whose texts are gone through; 0 = none
    cdef uint32_t lost_instrument, lost_line
    cdef uint8_t lost_reason

    cdef inline LineRecord *offered_record(self) noexcept nogil:
        """Of the line of the frame in hand."""
        return &self.line_records[self.offered_line + self.first_line]

    cdef inline bint renews(self, uint32_t line) noexcept nogil:
        """The next connection of this line takes its place from one that is up: its framing is in use, and reset here."""
        return self.renewed >> (line - self.first_line) & 1

    cdef inline bint of_control(self) noexcept nogil:
        """The frame in hand is of the control line."""
        return self.offered_line >= <uint32_t> self.lines

    cdef int judge_text(self, const Message *message, Run *run) noexcept nogil
    cdef int unreadable(self, const Message *message) noexcept nogil
    cdef int judge_pass(self, const Message *message, Run *run) noexcept nogil
    cdef int judge_change(self, const Message *message, Run *run) noexcept nogil
    cdef int judge_snapshot(self, const Message *message, Run *run) noexcept nogil
    cdef int judge_on_socket(self, const Message *message, Run *run) noexcept nogil
    cdef void judge_life(self) noexcept nogil
    cdef bint room_for_mark(self, uint32_t instrument, uint64_t last) noexcept nogil
    cdef bint in_step(self, uint32_t instrument, const Text *text) noexcept nogil
    cdef bint marked(self, uint32_t instrument) noexcept nogil
    cdef void mark_text(self, uint32_t instrument) noexcept nogil
    cdef void repeat(self, uint32_t instrument) noexcept nogil
    cdef void prove(self, uint32_t instrument) noexcept nogil
    cdef int keep_text(self, const Message *message) noexcept nogil
    cdef int refuse_snapshot(self, uint64_t number) noexcept nogil
    cdef int hand_out(self, const Message *message, Run *run, int64_t ts_recv, uint32_t line) noexcept nogil
    cdef int drain(self, Run *run) noexcept nogil
    cdef void spoil(self, uint32_t instrument, uint32_t line) noexcept nogil
    cdef void took_change(self) noexcept nogil
    cdef void took_snapshot(self) noexcept nogil
    cdef void mind_lost(self) noexcept nogil
    cdef void distrust(self, uint32_t instrument, uint32_t line, uint8_t reason) noexcept nogil

"""The second half of a packet's way, from what the arbiter hands out to the ring; the first, and the turn, are in _handler.pyx.

    decoder.decode -> books.apply -> publisher.publish
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from feedhandler._counters cimport CH_EVENTS
from feedhandler._records cimport (ACTION_NONE, ACTION_RESET, ACTION_STATUS, FLAG_LAST, FLAG_SNAPSHOT, FLAG_STALE, NO_LINE,
                                   PRICE_NONE, QUALITY_LIVE, SIDE_NONE, TRADING_CLOSED, Event, Run)
from feedhandler._stages cimport EVENT_BATCH, Stages
from feedhandler._standby cimport Standby
from feedhandler._wire cimport fh_be16
from feedhandler.book._book cimport Books
from feedhandler.book._level_book cimport LevelBook
from feedhandler.decode._decoder cimport Decoder
from feedhandler.line._arbiter cimport TAKE_GAP, TAKE_QUALITY, TAKE_SESSION, TAKE_SNAPSHOT, Arbiter, Piece
from feedhandler.line._coverage cimport Notice
from feedhandler.line._holes cimport TAKE_CONNECTION, TAKE_INSTRUMENT
from feedhandler.line._splicer cimport Splicer


cdef class Delivery(Stages):
    """What a Shard does with runs of messages, pieces of snapshots, notices and standby books."""

    # -- messages -----------------------------------------------------------------------------------------------------

    cdef void deliver(self, int channel, const Run *run) noexcept nogil:
        """A run of messages into events, books and the ring; the arbiter learns how many were good."""
        cdef int32_t done = 0, taken
        cdef int count
        cdef bint live = self.trusted(channel)
        if self.witness is not None and not self.witness.batches:
            self.deliver_singly(channel, run, live)
            return
        while done < run.count:
            count = (<Decoder> self.decoders[channel]).decode(run, done, self.events, EVENT_BATCH, &taken)
            if count > 0:
                if not live:
                    self.stale(count)
                self.flow(channel, count)
            elif taken == 0:
                break                       # the message at `done` is malformed
            done += taken                   # none, where the batch is full of a message's first events
        self.heard(channel, run, done)
        (<Arbiter> self.arbiters[channel]).settle(done)

    cdef void deliver_singly(self, int channel, const Run *run, bint live) noexcept nogil:
        """deliver(), one message after the other before the witness."""
        cdef int32_t done = 0, taken
        while done < run.count and self.deliver_one(channel, run, done, live, &taken) >= 0:
            done += taken
        self.heard(channel, run, done)
        (<Arbiter> self.arbiters[channel]).settle(done)

    cdef int deliver_one(self, int channel, const Run *run, int32_t done, bint live, int32_t *taken) noexcept nogil:
        """One message of a run: how many events it was, now in `events`; -1: it is malformed.

        `taken` 0: these are its next events, and there are more.
        """
        cdef Run one = run[0]
        cdef int count
        one.count = 1
        one.messages = run.messages + done
        one.first_seq = run.first_seq + <uint64_t> done if run.first_seq > 0 else 0
        count = (<Decoder> self.decoders[channel]).decode(&one, 0, self.events, EVENT_BATCH, taken)
        if count == 0 and taken[0] == 0:
            return -1
        if count > 0:
            if not live:
                self.stale(count)
            self.flow(channel, count)
        return count

    cdef void flow(self, int channel, int count) noexcept nogil:
        """The batch of events through the books into the ring."""
        cdef uint64_t *counters = self.publisher.channels[channel].counters
        (<Books> self.books[channel]).apply(self.events, count, self.publisher.head + 1)
        self.publisher.publish(self.events, count)
        self.last_event[channel] = self.events[count - 1].ts_event
        counters[CH_EVENTS] += count
        if (<Books> self.books[channel]).lost != 0:
            (<Arbiter> self.arbiters[channel]).book_lost((<Books> self.books[channel]).lost,
                                                         (<Books> self.books[channel]).lost_reason, NO_LINE)
            (<Books> self.books[channel]).lost = 0
        if self.witness is not None:
            self.witness.saw(channel, <Books> self.books[channel], self.events, count,
                             (<Arbiter> self.arbiters[channel]).quality)

    # -- notices ------------------------------------------------------------------------------------------------------

    cdef void notice(self, int channel, int what) noexcept nogil:
        """What happens to a channel as a whole travels as an event, too (docs/internals.md)."""
        cdef Event *event = &self.events[0]
        if what == TAKE_QUALITY:
            return                          # the channel's word says it; there is nothing to order it against
        memset(event, 0, sizeof(Event))
        event.ts_recv = self.moment()
        event.ts_event = self.last_event[channel]
        event.price = PRICE_NONE
        event.side = SIDE_NONE
        event.line = NO_LINE
        event.flags = FLAG_LAST
        if what == TAKE_INSTRUMENT or what == TAKE_CONNECTION:
            self.notice_one(channel, what)
            return
        if what != TAKE_SESSION and (<Arbiter> self.arbiters[channel]).quality != QUALITY_LIVE:
            event.flags |= FLAG_STALE
        if what == TAKE_SESSION:
            self.roll(channel)
            event.action = ACTION_RESET
            event.channel_seq = (<Arbiter> self.arbiters[channel]).expected
        elif what == TAKE_SNAPSHOT:
            event.action = ACTION_RESET
            event.flags |= FLAG_SNAPSHOT
            event.channel_seq = (<Arbiter> self.arbiters[channel]).expected - 1
        elif what == TAKE_GAP:
            event.action = ACTION_NONE
            event.size = (<Arbiter> self.arbiters[channel]).gap_count
            event.channel_seq = (<Arbiter> self.arbiters[channel]).gap_first
        else:
            event.action = ACTION_STATUS
            event.size = TRADING_CLOSED
            event.channel_seq = (<Arbiter> self.arbiters[channel]).expected - 1
        self.flow(channel, 1)

    cdef void notice_one(self, int channel, int what) noexcept nogil:
        """What happens to one book, which is marked before its event is out, or to one line's connection."""
        cdef const Notice *notice = &(<Splicer> self.arbiters[channel]).notice
        cdef Event *event = &self.events[0]
        event.action = ACTION_NONE
        if what == TAKE_CONNECTION:
            event.ts_event = notice.at
            event.order_id = notice.cause
            event.size = notice.connection
            event.line = <uint8_t> notice.line
        else:
            event.instrument = notice.instrument
            event.size = notice.count
            event.channel_seq = (<Splicer> self.arbiters[channel]).spliced[notice.instrument].last
            if notice.quality != QUALITY_LIVE or (<Splicer> self.arbiters[channel]).quality != QUALITY_LIVE:
                event.flags |= FLAG_STALE
            (<Books> self.books[channel]).mark(event.instrument, notice.quality, notice.reason, event.ts_recv)
        self.flow(channel, 1)

    # -- a second line of a feed without numbers ----------------------------------------------------------------------

    cdef void stand_by(self, int channel, const Run *run) noexcept nogil:
        """Messages for the standby book of their line."""
        cdef void *books = <void *> (<Standby> self.standbys[run.line]).books
        cdef int32_t done = 0, taken
        cdef int count
        while done < run.count:
            count = (<Decoder> self.decoders[channel]).decode(run, done, self.events, EVENT_BATCH, &taken)
            if count > 0:
                (<LevelBook> books).apply(self.events, count, 0)
            elif taken == 0:
                break
            done += taken
        (<Arbiter> self.arbiters[channel]).settle(done)
        if (<LevelBook> books).lost != 0:
            (<Arbiter> self.arbiters[channel]).book_lost((<LevelBook> books).lost, (<LevelBook> books).lost_reason, run.line)
            (<LevelBook> books).lost = 0

    cdef int change_over(self, int channel) noexcept nogil:
        """The book of an instrument goes on as the standby book of another line: the next events of that, 0 = all are out."""
        cdef const Notice *notice = &(<Splicer> self.arbiters[channel]).notice
        cdef bint sound = (<Standby> self.standbys[notice.line]).books.sound(notice.instrument)
        cdef int count = (<Standby> self.standbys[notice.line]).emit(notice.instrument, self.switched, notice.line,
                                                                     self.moment(), self.events, EVENT_BATCH)
        if count > 0:
            self.switched += count
            (<Books> self.books[channel]).unproven = not sound      # it had no room: what is left of it is shown, and STALE
            if not sound or (<Arbiter> self.arbiters[channel]).quality != QUALITY_LIVE:
                self.stale(count)
            self.flow(channel, count)
        return count

    # -- pieces of snapshots ------------------------------------------------------------------------------------------

    cdef bint load(self, int channel, const Piece *piece) noexcept nogil:
        """A piece of a snapshot into events, books and the ring. False: a message of it is malformed."""
        cdef Run run
        cdef uint32_t at = 0
        cdef int32_t done = 0, taken
        cdef int count, i
        memset(&run, 0, sizeof(Run))
        while at < piece.length:
            self.messages[run.count].data = piece.data + at + 2
            self.messages[run.count].len = fh_be16(piece.data + at)
            at += 2 + self.messages[run.count].len
            run.count += 1
        run.messages = self.messages
        run.first_seq = piece.number - 1
        run.ts_recv = self.last_recv
        run.line = NO_LINE
        while done < run.count:
            count = (<Decoder> self.decoders[channel]).decode(&run, done, self.events, EVENT_BATCH, &taken)
            if count == 0 and taken == 0:
                return False
            for i in range(count):
                self.events[i].channel_seq = piece.number - 1
                self.events[i].flags |= FLAG_SNAPSHOT | FLAG_STALE
            if count > 0:
                self.flow(channel, count)
            done += taken
        return True

    # -- sessions -----------------------------------------------------------------------------------------------------

    cdef void roll(self, int channel) noexcept nogil:
        """A new session: its date is the given one for the first, later the local day it begins on; a restart's stays."""
        cdef const int64_t *days = self.days[channel]
        cdef int low = 0, high = self.day_count[channel], middle
        if self.fixed_date[channel] or (<Arbiter> self.arbiters[channel]).held.restart:
            self.fixed_date[channel] = False
            self.begin(channel, (<Decoder> self.decoders[channel]).midnight, (<Decoder> self.decoders[channel]).session_date)
            return
        while low < high:                   # the last day that starts at or before last_recv
            middle = (low + high) // 2
            if days[2 * middle] <= self.last_recv:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            self.begin(channel, 0, 0)
        else:
            self.begin(channel, days[2 * low - 2], <uint32_t> days[2 * low - 1])

    cdef void begin(self, int channel, int64_t midnight, uint32_t date) noexcept nogil:
        (<Decoder> self.decoders[channel]).begin(midnight, date)

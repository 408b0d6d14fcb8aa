"""What a Splicer knows of its books, lines and texts between two packets, as arrays and back: for snapshots, off the hot path.

Beside what _state.pyx has of every arbiter. All parts are rows of 64-bit words; instruments are those of the channel, in the
order that dump() is given, and in `texts` one more than that, 0 = none.
"""
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from feedhandler._records cimport LINE_COUNTERS, NO_LINE, LineRecord
from feedhandler.decode._text cimport RULE_SNAPSHOT_FIRST
from feedhandler.line._coverage cimport (BOOK_BROKEN, BOOK_WHOLE, SAME, WISH_DUE, WISH_NONE, WISH_SENT, Follow, Spliced)
from feedhandler.line._splicer cimport Splicer
from feedhandler.line._suspicion cimport LINES_MAX
from feedhandler.line._texts cimport Row, Text
from feedhandler.line._trades cimport PAST, Span

cdef enum:
    REASONS = 64                # codes of a book's reason, at most
    LINE_STATES = 3             # the highest
    CONNECTIONS = 64            # codes of a connection's state, and of its cause, at most
    ALIGN = 16                  # of the texts that wait
    BOOK_WORDS = 6 + SAME       # last, wanted, gap, hole_since, since, the rest as bytes; marks
    FOLLOW_WORDS = 4            # first, latest, mark, the rest as bytes
    TEXT_WORDS = 8              # size, instrument, line, length, previous, last, lines, ts_recv
    ROW_WORDS = 2               # highest number dropped, 1 + the text that came last (0 = none is known)
    CHANNEL_WORDS = 11
    LINE_WORDS = 4              # begun, connection, its cause, since
    CONTROL_WORDS = 4           # state, next number, last packet, last data; then the counters

cdef uint64_t NOWHERE = <uint64_t> -1
_WORDS = {"channel": CHANNEL_WORDS, "lines": LINE_WORDS, "control": CONTROL_WORDS + LINE_COUNTERS, "books": BOOK_WORDS,
          "follows": FOLLOW_WORDS, "open": 2, "past": 2 * PAST, "ended": 1, "texts": TEXT_WORDS, "rows": ROW_WORDS}


def dump(Splicer splicer not None, indices):
    """The parts by name; `indices` of all instruments of the channel, ascending.

    channel (lines serving, alive, planned, joining, renewed as bits; oldest hole, seam; of the texts that wait: bytes ever given
    back, ever put in, room, dropped), lines, control, books, follows (by line, then by instrument), of trades' numbers the
    spans open (by line, then by instrument), past, and when the last ended; texts, in the order they came, bytes, rows.

    Raises ValueError while a packet is in hand.
    """
    cdef const uint32_t[::1] index = np.ascontiguousarray(indices, np.uint32)
    if (splicer.offered_count or splicer.telling or splicer.sweep or splicer.draining or splicer.lost_reason
            or splicer.given_text != NULL or splicer.quality_due):
        raise ValueError("the line stage is in the middle of a packet")
    cdef Py_ssize_t i, n = index.shape[0]
    cdef uint32_t line, lines = <uint32_t> splicer.lines
    parts = {name: np.zeros((count, words), np.uint64) for name, count, words in (
        ("channel", 1, CHANNEL_WORDS), ("lines", lines, LINE_WORDS), ("control", 1, CONTROL_WORDS + LINE_COUNTERS),
        ("books", n, BOOK_WORDS), ("follows", lines * n, FOLLOW_WORDS), ("open", lines * n, 2), ("past", n, 2 * PAST),
        ("ended", n, 1))}
    cdef uint64_t[:, ::1] channel = parts["channel"], of_lines = parts["lines"], control = parts["control"]
    cdef uint64_t[:, ::1] books = parts["books"], follows = parts["follows"]
    cdef uint64_t[:, ::1] opened = parts["open"], past = parts["past"], ended = parts["ended"]
    cdef const LineRecord *record
    cdef const Follow *follow
    cdef const Span *span
    for i, word in enumerate((splicer.serving, splicer.alive, splicer.planned, splicer.joining, splicer.renewed)):
        channel[0, i] = word
    channel[0, 5], channel[0, 6] = <uint64_t> splicer.hole_first, <uint64_t> splicer.seam
    channel[0, 7], channel[0, 8] = splicer.held_texts.tail, splicer.held_texts.head
    channel[0, 9], channel[0, 10] = splicer.held_texts.room, splicer.held_texts.lost
    for line in range(lines):
        record = &splicer.line_records[line + splicer.first_line]
        of_lines[line, 0], of_lines[line, 1] = <uint64_t> splicer.begun[line], record.connection
        of_lines[line, 2], of_lines[line, 3] = record.connection_reason, <uint64_t> record.connection_since
        for i in range(n):
            follow = splicer.follow(line, index[i])
            follows[line * n + i, 0], follows[line * n + i, 1] = follow.first, follow.latest
            follows[line * n + i, 2] = follow.mark
            follows[line * n + i, 3] = (follow.whole != 0) | <uint64_t> follow.wish << 8 | <uint64_t> follow.reason << 16
            span = splicer.trades.span(line, index[i])
            opened[line * n + i, 0], opened[line * n + i, 1] = span.first, span.last
    record = &splicer.line_records[splicer.control]
    control[0, 0], control[0, 1] = record.state, record.next_seq
    control[0, 2], control[0, 3] = <uint64_t> record.last_packet, <uint64_t> record.last_data
    for i in range(LINE_COUNTERS):
        control[0, CONTROL_WORDS + i] = record.counters[i]
    for i in range(n):
        _dump_book(&splicer.spliced[index[i]], &books[i, 0])
        memcpy(&past[i, 0], &splicer.trades.past[<size_t> PAST * index[i]], PAST * sizeof(Span))
        ended[i, 0] = <uint64_t> splicer.trades.ended[index[i]]
    return parts | _dump_texts(splicer, index)


cdef void _dump_book(const Spliced *book, uint64_t *words) noexcept:
    words[0], words[1], words[2] = book.last, book.wanted, book.gap
    words[3], words[4] = <uint64_t> book.hole_since, <uint64_t> book.since
    words[5] = (book.state | <uint64_t> book.reason << 8 | <uint64_t> book.wish << 16 | <uint64_t> book.line << 24
                | <uint64_t> (book.entire != 0) << 32 | <uint64_t> book.marked << 40 | <uint64_t> (book.changes != 0) << 48)
    memcpy(words + 6, book.marks, sizeof(book.marks))


cdef dict _dump_texts(Splicer splicer, const uint32_t[::1] index):
    cdef uint64_t at = splicer.held_texts.tail, finger
    cdef const Text *text
    cdef uint32_t number
    cdef Py_ssize_t i
    where = {int(index[i]): i + 1 for i in range(index.shape[0])}
    numbers, found, data = {}, [], []
    while at != splicer.held_texts.head:
        text = splicer.held_texts.at(at)
        number = where[text.instrument] if text.instrument else 0
        numbers[at] = len(found) + 1
        if number:
            found.append((text.size, number, text.line, text.length, text.previous, text.last, text.lines,
                          <uint64_t> text.ts_recv))
            data.append((<const uint8_t *> (text + 1))[:text.length])
        else:
            found.append((text.size, 0, 0, 0, 0, 0, 0, 0))
        at += text.size
    rows = np.zeros((index.shape[0], ROW_WORDS), np.uint64)
    for i in range(index.shape[0]):
        finger = splicer.held_texts.rows[index[i]].finger
        rows[i] = splicer.held_texts.rows[index[i]].dropped, 0 if finger == NOWHERE else numbers[finger]
    return {"texts": np.array(found, np.uint64).reshape(-1, TEXT_WORDS), "rows": rows,
            "bytes": np.frombuffer(b"".join(data), np.uint8)}


def load(Splicer splicer not None, indices, parts):
    """The inverse of dump(), for a channel of as many lines; instrument i of `parts` is indices[i].

    Raises ValueError for what cannot have come from dump(), the splicer being in no good state then, and where it has not the
    same room for texts: load a good state then, or use it no more.
    """
    cdef const uint32_t[::1] index = np.ascontiguousarray(indices, np.uint32)
    cdef Py_ssize_t i, n = index.shape[0]
    cdef uint32_t line, lines = <uint32_t> splicer.lines
    found = _checked(parts, lines, n)
    cdef const uint64_t[:, ::1] channel = found["channel"], of_lines = found["lines"], control = found["control"]
    cdef const uint64_t[:, ::1] books = found["books"], follows = found["follows"]
    cdef const uint64_t[:, ::1] opened = found["open"], past = found["past"], ended = found["ended"]
    cdef uint64_t bits = (<uint64_t> 1 << lines) - 1
    cdef LineRecord *record
    for i in range(n):
        if not 0 < index[i] < splicer.instruments:
            raise ValueError(f"instrument {index[i]}: the line stage has 1 to {splicer.instruments - 1}")
    if found["channel"][0, :5].max() > bits:
        raise ValueError("a line of the snapshot's channel is none there is")
    if control[0, 0] > LINE_STATES or max(found["lines"][:, 1].max(), found["lines"][:, 2].max()) >= CONNECTIONS:
        raise ValueError("a line's connection is in a state that there is not")
    for i in range(splicer.instruments):            # of instruments that the snapshot has not, too
        _begin(splicer, <uint32_t> i)
    splicer.serving, splicer.alive, splicer.planned = channel[0, 0], channel[0, 1], channel[0, 2]
    splicer.joining, splicer.renewed = channel[0, 3], channel[0, 4]
    splicer.hole_first, splicer.seam = <int64_t> channel[0, 5], <int64_t> channel[0, 6]
    splicer.spoilt = splicer.wishes_due = splicer.sweep = splicer.draining = 0
    splicer.telling = splicer.offered_at = splicer.offered_count = 0
    splicer.lost_reason = 0
    splicer.given_text = NULL
    for line in range(LINES_MAX):
        splicer.begun[line] = <int64_t> of_lines[line, 0] if line < lines else INT64_MIN
    for line in range(lines):
        record = &splicer.line_records[line + splicer.first_line]
        record.connection, record.connection_reason = <uint8_t> of_lines[line, 1], <uint8_t> of_lines[line, 2]
        record.connection_since = <int64_t> of_lines[line, 3]
        for i in range(n):
            _load_follow(splicer, splicer.follow(line, index[i]), &follows[line * n + i, 0])
            splicer.trades.span(line, index[i]).first = opened[line * n + i, 0]
            splicer.trades.span(line, index[i]).last = opened[line * n + i, 1]
    record = &splicer.line_records[splicer.control]
    record.state, record.next_seq = <uint8_t> control[0, 0], control[0, 1]
    record.last_packet, record.last_data = <int64_t> control[0, 2], <int64_t> control[0, 3]
    for i in range(LINE_COUNTERS):
        record.counters[i] = control[0, CONTROL_WORDS + i]
    for i in range(n):
        _load_book(splicer, &splicer.spliced[index[i]], &books[i, 0])
        memcpy(&splicer.trades.past[<size_t> PAST * index[i]], &past[i, 0], PAST * sizeof(Span))
        splicer.trades.ended[index[i]] = <int64_t> ended[i, 0]
    _load_texts(splicer, index, found)


cdef dict _checked(parts, uint32_t lines, Py_ssize_t n):
    """The parts as rows of words, as many as there must be."""
    counts = {"channel": 1, "lines": lines, "control": 1, "books": n, "follows": lines * n, "open": lines * n, "past": n,
              "ended": n, "rows": n}
    found = {}
    for name, words in _WORDS.items():
        if name not in parts:
            raise ValueError(f"the snapshot's line stage has no part {name!r}")
        array = np.frombuffer(np.ascontiguousarray(parts[name]).tobytes(), np.uint64)
        if len(array) % words or len(array) // words != counts.get(name, len(array) // words):
            raise ValueError(f"the snapshot's part {name!r} has {len(array)} words, expected {counts.get(name)} rows of {words}")
        found[name] = array.reshape(-1, words)
    if "bytes" not in parts:
        raise ValueError("the snapshot's line stage has no part 'bytes'")
    found["bytes"] = np.ascontiguousarray(parts["bytes"]).tobytes()
    return found


cdef void _begin(Splicer splicer, uint32_t instrument) noexcept:
    """As of an instrument of which nothing has come."""
    cdef uint32_t line
    cdef int i
    for line in range(<uint32_t> splicer.lines):
        memset(splicer.follow(line, instrument), 0, sizeof(Follow))
        splicer.trades.span(line, instrument).first, splicer.trades.span(line, instrument).last = 1, 0
    for i in range(PAST):
        splicer.trades.past[<size_t> PAST * instrument + i].first = 1
        splicer.trades.past[<size_t> PAST * instrument + i].last = 0
    splicer.trades.ended[instrument] = 0
    memset(&splicer.spliced[instrument], 0, sizeof(Spliced))
    splicer.spliced[instrument].hole_since = INT64_MIN
    splicer.spliced[instrument].line = NO_LINE


cdef int _load_follow(Splicer splicer, Follow *follow, const uint64_t *words) except -1:
    cdef uint8_t wish = words[3] >> 8 & 0xFF, reason = words[3] >> 16 & 0xFF
    if words[3] & 0xFF > 1 or wish > WISH_SENT or reason >= REASONS or words[3] >> 24:
        raise ValueError("what a line has shown of a book is in a state that there is not")
    follow.first, follow.latest, follow.mark = words[0], words[1], words[2]
    follow.whole, follow.wish, follow.reason = <bint> (words[3] & 1), wish, reason
    if splicer.resyncs is not None and wish != WISH_NONE:       # nobody has heard of it here
        follow.wish = WISH_DUE
        splicer.wishes_due += 1
    return 0


cdef int _load_book(Splicer splicer, Spliced *book, const uint64_t *words) except -1:
    cdef uint64_t rest = words[5]
    cdef uint8_t state = rest & 0xFF, reason = rest >> 8 & 0xFF, wish = rest >> 16 & 0xFF, line = rest >> 24 & 0xFF
    cdef uint8_t marked = rest >> 40 & 0xFF
    if (state > BOOK_BROKEN or reason >= REASONS or wish > WISH_SENT or marked > SAME or rest >> 32 & 0xFF > 1
            or rest >> 48 > 1 or (line != NO_LINE and line >= splicer.lines)
            or (line == NO_LINE and state == BOOK_WHOLE and splicer.rule == RULE_SNAPSHOT_FIRST)):
        raise ValueError("a book of the snapshot's line stage is in a state that there is not")
    book.last, book.wanted, book.gap = words[0], words[1], words[2]
    book.hole_since, book.since = <int64_t> words[3], <int64_t> words[4]
    book.state, book.reason, book.wish, book.line = state, reason, wish, line
    book.entire, book.marked, book.changes = <bint> (rest >> 32 & 1), marked, <bint> (rest >> 48 & 1)
    memcpy(book.marks, words + 6, sizeof(book.marks))
    if splicer.resyncs is not None and wish != WISH_NONE:
        book.wish = WISH_DUE
        splicer.wishes_due += 1
    return 0


cdef int _load_texts(Splicer splicer, const uint32_t[::1] index, dict parts) except -1:
    """They lie where they lay, so that room is given back, and texts give way, as they would have."""
    cdef const uint64_t[:, ::1] texts = parts["texts"], rows = parts["rows"]
    cdef uint64_t tail = parts["channel"][0, 7], head = parts["channel"][0, 8], room = parts["channel"][0, 9]
    cdef uint64_t at = tail, size, taken = 0, before
    cdef bytes data = parts["bytes"]
    cdef const uint8_t *all_bytes = data
    cdef Text *text
    cdef Row *row
    cdef Py_ssize_t i, k, n = index.shape[0]
    for i in range(<Py_ssize_t> splicer.instruments):
        row = &splicer.held_texts.rows[i]
        row.first = row.final = row.finger = NOWHERE
        row.dropped = 0
    splicer.held_texts.head = splicer.held_texts.tail = splicer.held_texts.lost = 0
    if room != splicer.held_texts.room:
        raise ValueError(f"the snapshot has room for {room} bytes of texts that wait, here there are {splicer.held_texts.room}")
    if tail % ALIGN or not tail <= head or head - tail > room:
        raise ValueError("the texts that wait lie where there is no room")
    places, waiting = [], {}
    for i in range(texts.shape[0]):
        size = texts[i, 0]
        if (size % ALIGN or not ALIGN <= size <= head - at or (at & (room - 1)) + size > room or texts[i, 1] > <uint64_t> n
                or (size < sizeof(Text) and (at & (room - 1)) + size != room)      # only the ring's end is less than a head
                or (texts[i, 1] and (texts[i, 3] > len(data) - taken or texts[i, 2] >= <uint64_t> splicer.lines
                                     or size != (sizeof(Text) + texts[i, 3] + ALIGN - 1) // ALIGN * ALIGN))):
            raise ValueError(f"text {i} of those that wait is not whole")
        places.append(at)
        text = splicer.held_texts.at(at)
        text.size, text.instrument = size, 0
        if texts[i, 1]:
            text.instrument = index[texts[i, 1] - 1]
            text.line, text.length = <uint32_t> texts[i, 2], <uint32_t> texts[i, 3]
            text.previous, text.last, text.lines = texts[i, 4], texts[i, 5], texts[i, 6]
            text.ts_recv = <int64_t> texts[i, 7]
            memcpy(text + 1, all_bytes + taken, text.length)
            taken += text.length
            waiting.setdefault(int(text.instrument), []).append((int(text.last), int(at)))
        at += size
    if at != head or taken != <uint64_t> len(data):
        raise ValueError("the texts that wait are not as many bytes as they say")
    splicer.held_texts.tail, splicer.held_texts.head = tail, head
    splicer.held_texts.lost = parts["channel"][0, 10]
    for instrument, found in waiting.items():       # by number; of one number as they came
        row = &splicer.held_texts.rows[<uint32_t> instrument]
        before = NOWHERE
        for _, place in sorted(found):
            at = place
            text = splicer.held_texts.at(at)
            text.before, text.behind = before, NOWHERE
            if before == NOWHERE:
                row.first = at
            else:
                splicer.held_texts.at(before).behind = at
            before = row.final = at
    for i in range(n):
        row = &splicer.held_texts.rows[index[i]]
        row.dropped = rows[i, 0]
        if rows[i, 1]:
            k = <Py_ssize_t> min(rows[i, 1], <uint64_t> 1 << 40) - 1
            if k >= len(places) or splicer.held_texts.at(places[k]).instrument != index[i]:
                raise ValueError("the text that came last of an instrument is not one of its own")
            row.finger = places[k]
    return 0

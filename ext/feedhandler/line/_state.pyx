"""An arbiter between two packets, as plain numbers and back: for snapshots, off the hot path.

What is not kept: the histograms of the lines' leads (measurements of a run), and what recovery is asked for; an arbiter
that is asking, or frozen, is not dumped.
"""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from feedhandler._records cimport CHANNEL_COUNTERS, LINE_COUNTERS, QUALITY_INIT, LineRecord, Message
from feedhandler.line._arbiter cimport Arbiter
from feedhandler.line._holes cimport HELD_NOTHING
from feedhandler.line._past cimport GAPS_MAX, LEFT_MAX
from feedhandler.line._suspicion cimport LINES_MAX, Low
from feedhandler.line._window cimport WINDOW_STORED

cdef extern from "seqlock.h" nogil:
    void fh_store32_release(uint32_t *p, uint32_t v)

cdef enum:
    REASONS = 64                # codes of a channel's reason, at most
    LINE_STATES = 3             # the highest


cdef bytes _session(const uint64_t *session):
    return PyBytes_FromStringAndSize(<const char *> session, 16)


cdef int _take_session(uint64_t *session, text) except -1:
    cdef bytes name = bytes.fromhex(text)
    if len(name) != 16:
        raise ValueError(f"a session has 16 bytes, not {len(name)}")
    memcpy(session, PyBytes_AsString(name), 16)
    return 0


def dump(Arbiter arbiter not None):
    """All that decides what becomes of the next packet, as a dict that JSON can hold.

    Raises ValueError while a packet is in hand, or recovery is at work: there is no such moment in a recording.
    """
    if (arbiter.held.step != HELD_NOTHING or arbiter.slice_count or arbiter.session_due or arbiter.gap_due
            or arbiter.snapshot_due or arbiter.quality_due or arbiter.pressed):
        raise ValueError("the arbiter is in the middle of a packet")
    if arbiter.recovering or arbiter.frozen or arbiter.splicing:
        raise ValueError("the channel is recovering: a snapshot of it would be of what is being mended")
    return {
        "session": _session(arbiter.session).hex(), "expected": arbiter.expected, "horizon": arbiter.horizon,
        "horizon_at": arbiter.horizon_at, "horizon_offset": arbiter.horizon_offset,
        "next_offset": arbiter.next_offset, "slice_end": arbiter.slice_end, "taken_sent": arbiter.taken_sent,
        "sent_floor": arbiter.sent_floor, "left_sent": arbiter.left_sent, "in_order_sent": arbiter.in_order_sent,
        "missing_end": arbiter.missing_end, "end_seq": arbiter.end_seq, "hole_since": arbiter.hole_since,
        "agreed_at": arbiter.agreed_at, "clock": arbiter.clock,
        "quality": arbiter.quality, "reason": arbiter.reason, "sequence_quality": arbiter.sequence_quality,
        "sequence_reason": arbiter.sequence_reason, "silent_reason": arbiter.silent_reason,
        "plain": arbiter.plain, "joined": arbiter.joined, "ended": arbiter.ended, "end_due": arbiter.end_due,
        "silent": arbiter.silent, "heard": arbiter.heard, "hole": arbiter.hole, "closing": arbiter.closing,
        "broken": arbiter.broken,
        "past": _past(arbiter), "suspicion": _suspicion(arbiter), "window": _window(arbiter),
        "channel": {"epoch": arbiter.channel.epoch, "since": arbiter.channel.since,
                    "next_seq": arbiter.channel.next_seq,
                    "counters": [arbiter.channel.counters[i] for i in range(CHANNEL_COUNTERS)]},
        "lines": [_line(&arbiter.line_records[arbiter.first_line + i]) for i in range(arbiter.lines)],
        "answers": _line(&arbiter.answers),
    }


cdef dict _line(const LineRecord *record):
    cdef int i
    return {"state": record.state, "next_seq": record.next_seq, "last_packet": record.last_packet,
            "last_data": record.last_data, "counters": [record.counters[i] for i in range(LINE_COUNTERS)]}


cdef dict _past(Arbiter arbiter):
    cdef uint32_t i
    left = [_session(arbiter.past.left[i]).hex() for i in range(min(arbiter.past.left_count, <uint32_t> LEFT_MAX))]
    missing = [[arbiter.past.missing[i].first, arbiter.past.missing[i].count]
               for i in range(min(arbiter.past.missing_count, <uint32_t> GAPS_MAX))]
    return {"left": left, "left_count": arbiter.past.left_count, "missing": missing,
            "missing_count": arbiter.past.missing_count}


cdef dict _suspicion(Arbiter arbiter):
    cdef Low *low
    cdef int i
    lows = []
    for i in range(arbiter.lines):
        low = &arbiter.suspicion.low[i]
        lows.append([low.next, low.since, low.rising, low.suspect, low.agrees, low.witness, low.agreed])
    return {"shown": arbiter.suspicion.shown, "suspected": arbiter.suspicion.suspected,
            "settling": arbiter.suspicion.settling, "settling_at": arbiter.suspicion.settling_at, "low": lows}


cdef dict _window(Arbiter arbiter):
    cdef uint64_t number, place
    cdef const Message *message
    waiting = []
    if arbiter.window.waiting > 0:
        for number in range(arbiter.window.low, arbiter.window.high):
            if arbiter.window.holds(number):
                place = number & arbiter.window.mask
                message = &arbiter.window.messages[place]
                waiting.append([number, arbiter.window.times[place], arbiter.window.brought[place],
                                PyBytes_FromStringAndSize(<const char *> message.data, message.len).hex()])
    spoilt = []
    if arbiter.window.spoilt_any:
        spoilt = [arbiter.window.spoilt[i] for i in range(arbiter.window.capacity) if arbiter.window.spoilt[i]]
    return {"waiting": waiting, "high": arbiter.window.high if waiting else 0, "spoilt": spoilt}


def load(Arbiter arbiter not None, state):
    """The inverse of dump(), for an arbiter of as many lines. Raises ValueError, with the arbiter in no good state, for
    what cannot have come from dump(), and where what waits does not fit: load a good state then, or use it no more."""
    try:
        _load(arbiter, state)
    except (KeyError, TypeError, OverflowError, AttributeError, IndexError) as error:
        raise ValueError(f"the snapshot's arbiter is not whole: {error!r}") from None


cdef int _load(Arbiter arbiter, dict state) except -1:
    cdef int i
    cdef uint32_t quality = state["quality"], reason = state["reason"]
    if len(state["lines"]) != arbiter.lines or len(state["suspicion"]["low"]) != arbiter.lines:
        raise ValueError(f"the snapshot's channel has {len(state['lines'])} lines, this one {arbiter.lines}")
    if max(quality, <uint32_t> state["sequence_quality"]) > QUALITY_INIT or max(reason, <uint32_t> state["sequence_reason"],
                                                                       <uint32_t> state["silent_reason"]) >= REASONS:
        raise ValueError("a channel's quality or reason is none there is")
    _take_session(arbiter.session, state["session"])
    arbiter.expected, arbiter.horizon = _number(state["expected"], 1), _number(state["horizon"], 1)
    arbiter.horizon_at, arbiter.horizon_offset = state["horizon_at"], state["horizon_offset"]
    arbiter.next_offset, arbiter.slice_end = state["next_offset"], state["slice_end"]
    arbiter.taken_sent, arbiter.sent_floor = state["taken_sent"], state["sent_floor"]
    arbiter.left_sent, arbiter.in_order_sent = state["left_sent"], state["in_order_sent"]
    arbiter.missing_end, arbiter.end_seq = _number(state["missing_end"], 0), _number(state["end_seq"], 0)
    arbiter.hole_since, arbiter.agreed_at, arbiter.clock = state["hole_since"], state["agreed_at"], state["clock"]
    arbiter.sequence_quality, arbiter.sequence_reason = state["sequence_quality"], state["sequence_reason"]
    arbiter.silent_reason = state["silent_reason"]
    arbiter.joined, arbiter.ended, arbiter.end_due = state["joined"], state["ended"], state["end_due"]
    arbiter.silent, arbiter.heard, arbiter.hole = state["silent"], state["heard"], state["hole"]
    arbiter.closing, arbiter.broken = state["closing"], state["broken"]
    arbiter.recovering = arbiter.frozen = arbiter.splicing = arbiter.pressed = False
    arbiter.session_due = arbiter.gap_due = arbiter.snapshot_due = arbiter.quality_due = False
    arbiter.slice_count = 0
    arbiter.slice_waited = arbiter.slice_unsequenced = False
    arbiter.held.step = HELD_NOTHING
    arbiter.held.restart = arbiter.held.by_offset = False
    arbiter.score.begin()
    _load_past(arbiter, state["past"])
    _load_suspicion(arbiter, state["suspicion"])
    _load_window(arbiter, state["window"])
    for i in range(arbiter.lines):
        _load_line(&arbiter.line_records[arbiter.first_line + i], state["lines"][i])
    _load_line(&arbiter.answers, state["answers"])
    _load_channel(arbiter, state["channel"])
    # the fast path believes that nothing waits, is missing or in doubt: it is not taken on the snapshot's word alone
    arbiter.plain = (state["plain"] and arbiter.joined and arbiter.horizon <= arbiter.expected and not arbiter.hole
                     and arbiter.window.waiting == 0 and not arbiter.suspicion.shown and not arbiter.silent
                     and not arbiter.ended and not arbiter.end_due and not arbiter.closing)
    arbiter.wanted.begin(arbiter.channel.epoch, arbiter.session, arbiter.expected)
    arbiter.quality, arbiter.reason = quality, reason
    arbiter.channel.reason = reason
    fh_store32_release(&arbiter.channel.quality, quality)
    return 0


cdef uint64_t _number(value, uint64_t least) except? 0:
    cdef uint64_t number = value
    if not least <= number <= <uint64_t> INT64_MAX:
        raise ValueError(f"{number} is no sequence number")
    return number


cdef int _load_past(Arbiter arbiter, dict state) except -1:
    cdef uint32_t i, lefts = state["left_count"], gaps = state["missing_count"]
    if len(state["left"]) != min(lefts, <uint32_t> LEFT_MAX) or len(state["missing"]) != min(gaps, <uint32_t> GAPS_MAX):
        raise ValueError("the sessions left, or the gaps given up, are not as many as they say")
    for i in range(len(state["left"])):
        _take_session(arbiter.past.left[i], state["left"][i])
    for i in range(len(state["missing"])):
        first, count = state["missing"][i]
        arbiter.past.missing[i].first, arbiter.past.missing[i].count = _number(first, 0), _number(count, 0)
    arbiter.past.left_count, arbiter.past.missing_count = lefts, gaps
    return 0


cdef int _load_suspicion(Arbiter arbiter, dict state) except -1:
    cdef Low *low
    cdef int i
    memset(arbiter.suspicion.low, 0, LINES_MAX * sizeof(Low))
    for i in range(arbiter.lines):
        low = &arbiter.suspicion.low[i]
        low.next, low.since, low.rising, low.suspect, low.agrees, low.witness, low.agreed = state["low"][i]
    arbiter.suspicion.shown, arbiter.suspicion.suspected = state["shown"], state["suspected"]
    arbiter.suspicion.settling, arbiter.suspicion.settling_at = state["settling"], state["settling_at"]
    return 0


cdef int _load_window(Arbiter arbiter, dict state) except -1:
    cdef Message message
    cdef uint64_t number, high = state["high"], lowest = 0
    cdef uint32_t line
    arbiter.window.clear()
    for number, ts, line, text in state["waiting"]:
        data = bytes.fromhex(text)
        message.data = <const uint8_t *> PyBytes_AsString(data)
        message.len = <uint32_t> PyBytes_GET_SIZE(data)
        if not arbiter.expected <= number <= <uint64_t> INT64_MAX or line > 255:
            raise ValueError(f"message {number} waits, where {arbiter.expected} is expected")
        if arbiter.window.put(number, &message, ts, line, arbiter.expected) != WINDOW_STORED:
            raise ValueError(f"message {number} does not fit the window of {arbiter.window.capacity} messages")
        lowest = number if lowest == 0 else min(lowest, number)
    if state["waiting"]:
        if high < arbiter.window.high or high - lowest > arbiter.window.capacity:
            raise ValueError(f"what waits ends at {arbiter.window.high}, not {high}")
        arbiter.window.high = high
        if arbiter.horizon < high:
            raise ValueError(f"message {high - 1} waits, and is beyond the horizon")
    for number in state["spoilt"]:
        arbiter.window.spoil(number)
    return 0


cdef int _load_line(LineRecord *record, dict state) except -1:
    cdef int i
    if not 0 <= state["state"] <= LINE_STATES or len(state["counters"]) != LINE_COUNTERS:
        raise ValueError("a line's state or counters are none there are")
    record.state = state["state"]
    record.next_seq = state["next_seq"]
    record.last_packet, record.last_data = state["last_packet"], state["last_data"]
    for i in range(LINE_COUNTERS):
        record.counters[i] = state["counters"][i]
    return 0


cdef int _load_channel(Arbiter arbiter, dict state) except -1:
    cdef int i
    if len(state["counters"]) != CHANNEL_COUNTERS:
        raise ValueError("a channel has other counters")
    memcpy(arbiter.channel.session, arbiter.session, 16)
    arbiter.channel.epoch, arbiter.channel.since = state["epoch"], state["since"]
    arbiter.channel.next_seq = _number(state["next_seq"], 1)
    for i in range(CHANNEL_COUNTERS):
        arbiter.channel.counters[i] = state["counters"][i]
    return 0

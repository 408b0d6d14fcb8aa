"""What a recording shows by its numbers: against plain sets, and the stories that sets cannot tell."""

import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.errors import ConfigError
from feedhandler.recording import report as words
from feedhandler.recording._sequences import Sequences
from feedhandler.recording.report import ChannelReport
from tests.sequences_model import PlainChannel

MS = 1_000_000
SECOND = 1000 * MS
DAY = 1_700_000_000 * SECOND


def mold(session: str, first: int, count: int, *, end: bool = False) -> bytes:
    """A MoldUDP64 packet of empty messages; of none, a heartbeat."""
    body = b"\0\1x" * count
    return session.encode().ljust(10) + struct.pack(">QH", first, 0xFFFF if end else count) + body


def iex(first: int, messages: list[int], *, offset: int, sent: int, session: int = 7) -> bytes:
    """An IEX-TP segment of messages of these lengths."""
    body = b"".join(struct.pack("<H", size) + bytes(size) for size in messages)
    head = struct.pack("<BxHIIHHqqq", 1, 0x8004, 1, session, len(body), len(messages), offset, first, sent)
    return head + body


def channel(lines: str = "AB", session: str = "moldudp64", **options: int) -> Sequences:
    return Sequences([("itch", session, list(lines))], **options)


def only(sequences: Sequences) -> ChannelReport:
    (report,) = sequences.report()
    return report


# -- against plain sets ----------------------------------------------------------------------------------------------

packet = st.tuples(
    st.integers(0, 1),  # line
    st.integers(0, 3 * MS),  # time since the packet before
    st.sampled_from("SSSSSSSSSSSSSSST"),
    st.integers(1, 60),  # first
    st.integers(0, 5),  # count; 0 = heartbeat
)


def figures(report: ChannelReport) -> dict[str, Any]:
    """A report in the words of the model."""
    lines = {}
    for line in report.lines:
        keys = ("messages", "duplicates", "reordered", "won", "filled", "missing", "gaps", "furthest", "furthest_ns")
        lines[line.name] = {key: getattr(line, key) for key in (*keys, "late", "before", "after")}
    gaps = [(g.first, g.count, g.opened, g.closed, g.session, g.missing, set(g.filled_by)) for g in report.gaps]
    return {
        "lines": lines,
        "sessions": [(s.id, s.first, s.next, s.missing) for s in report.sessions],
        "gaps": sorted(gaps),
        **{
            key: getattr(report, key)
            for key in ("messages", "lost", "holes", "bridged", "filled", "gap_count", "gap_messages", "closed")
        },
    }


@pytest.mark.parametrize("reorder_us", [0, 1000, 20_000])
@given(packets=st.lists(packet, max_size=60))
def test_whatever_comes_in_whatever_order_the_figures_are_those_of_plain_sets(
    packets: list[tuple[int, int, str, int, int]], reorder_us: int
) -> None:
    sequences = channel(reorder_us=reorder_us)
    plain = PlainChannel(["A", "B"], reorder_us * 1000)
    now = DAY
    for line, later, session, first, count in packets:
        now += later
        sequences.feed(line, now, mold(session, first, count))
        plain.saw("AB"[line], now, session, first, count)
    assert figures(only(sequences)) == plain.report()


@given(
    order=st.permutations(list(range(1, 41))),
    lost=st.sets(st.integers(1, 40)),
    twice=st.sets(st.integers(1, 40)),
)
def test_a_report_says_the_same_after_json(order: list[int], lost: set[int], twice: set[int]) -> None:
    sequences = channel()
    for i, number in enumerate(order):
        if number not in lost:
            sequences.feed(0, DAY + i * MS, mold("S", number, 1))
        if number in twice:
            sequences.feed(1, DAY + i * MS + 500, mold("S", number, 1))
    report = only(sequences)
    assert words.from_plain(ChannelReport, json.loads(json.dumps(words.plain(report)))) == report


# -- stories ---------------------------------------------------------------------------------------------------------


def test_a_gap_is_told_when_it_is_due_and_again_when_the_other_line_has_filled_it() -> None:
    sequences = channel()
    assert sequences.feed(0, DAY, mold("S", 1, 5)) == words.SESSION
    assert sequences.describe() == "session: channel itch, S begins at 1"
    assert sequences.feed(0, DAY + MS, mold("S", 8, 1)) == 0
    assert sequences.describe() == ""
    assert sequences.feed(0, DAY + 2 * MS, mold("S", 9, 1)) == words.GAP_OPENED
    assert sequences.describe() == "gap opened: channel itch, 6..7 missing"
    assert sequences.feed(1, DAY + 3 * MS, mold("S", 6, 1)) == 0
    assert sequences.feed(1, DAY + 4 * MS, mold("S", 7, 1)) == words.GAP_CLOSED
    assert sequences.describe() == "gap closed: channel itch, 6..7, by line B"
    report = only(sequences)
    assert report.gaps == (words.Gap(6, 2, DAY + MS, DAY + 4 * MS, "S", 0, ("B",)),)
    assert (report.lost, report.filled, report.closed) == (0, 2, 1)
    assert (report.lines[0].gaps, report.lines[0].missing, report.lines[1].before) == (1, 2, 5)


def test_time_that_passes_makes_a_gap_of_a_hole() -> None:
    sequences = channel()
    sequences.feed(0, DAY, mold("S", 1, 1))
    sequences.feed(0, DAY, mold("S", 3, 1))
    assert sequences.pass_time(DAY + MS - 1) == 0
    assert sequences.pass_time(DAY + MS) == words.GAP_OPENED
    assert sequences.describe() == "gap opened: channel itch, 2 missing"


def test_of_two_lines_it_is_known_which_was_first_and_by_how_much() -> None:
    sequences = channel()
    for number in range(1, 101):
        first, second = (0, 1) if number % 4 else (1, 0)
        sequences.feed(first, DAY + number * MS, mold("S", number, 1))
        sequences.feed(second, DAY + number * MS + 40, mold("S", number, 1))
    a, b = only(sequences).lines
    assert (a.won, b.won) == (75, 25)
    assert a.lead == words.Lead(75, 40, 40, 40)
    assert b.lead == words.Lead(25, 40, 40, 40)


def test_sessions_follow_each_other_and_the_end_of_one_may_come_late_on_the_slower_line() -> None:
    sequences = channel()
    sequences.feed(0, DAY, mold("OLD", 5, 2))
    sequences.feed(0, DAY, mold("OLD", 8, 1))
    assert sequences.feed(0, DAY + 10, mold("OLD", 9, 0, end=True)) == words.END
    assert sequences.feed(0, DAY + 20, mold("NEW", 2, 1)) == words.SESSION
    assert sequences.feed(1, DAY + 30, mold("OLD", 7, 2)) == words.LATE
    assert sequences.feed(1, DAY + 40, mold("OLD", 9, 0, end=True)) == words.LATE
    report = only(sequences)
    assert [(s.id, s.first, s.next, s.missing, s.ended) for s in report.sessions] == [
        ("OLD", 5, 9, 0, DAY + 10),
        ("NEW", 1, 3, 1, None),
    ]
    assert (report.joined_late, report.lost, report.lines[1].late) == (4, 1, 2)


def test_a_session_that_was_left_long_ago_is_late_and_counts_nowhere() -> None:
    sequences = channel()
    for i, name in enumerate(("ONE", "TWO", "THREE")):
        sequences.feed(0, DAY + i, mold(name, 1, 1))
    assert sequences.feed(1, DAY + 3, mold("ONE", 2, 1)) == words.LATE
    assert sequences.describe() == "late: channel itch, line B, ONE was left"
    assert (only(sequences).messages, only(sequences).session_count) == (3, 3)


def test_a_restart_under_the_same_id_is_told_by_numbers_that_stay_low() -> None:
    sequences = channel()
    for number in range(1, 1001):
        for line in (0, 1):
            sequences.feed(line, DAY + number * MS, mold("S", number, 1))
    flags = 0
    for number in range(3, 403):
        for line in (0, 1):
            flags |= sequences.feed(line, DAY + SECOND + number * 10 * MS, mold("S", number, 1))
    assert flags == words.RESTART | words.GAP_OPENED  # 1 and 2 of the new run never came
    report = only(sequences)
    assert (report.session_count, report.restarts, report.lost) == (2, 1, 2)
    assert [(s.first, s.next, s.missing, s.restart) for s in report.sessions] == [
        (1, 1001, 0, False),
        (1, 403, 2, True),
    ]
    assert [(line.messages, line.duplicates, line.missing, line.before) for line in report.lines] == [
        (1400, 0, 0, 2),
        (1400, 0, 0, 2),
    ]


def test_a_restart_may_come_on_a_line_that_was_not_there_before() -> None:
    sequences = channel()
    for number in range(1, 1001):
        sequences.feed(0, DAY + number * MS, mold("S", number, 1))
    for number in range(1, 401):
        sequences.feed(1, DAY + 4 * SECOND + number * 10 * MS, mold("S", number, 1))
    report = only(sequences)
    assert (report.restarts, report.messages, report.lost) == (1, 1400, 0)
    assert [(s.first, s.next) for s in report.sessions] == [(1, 1001), (1, 401)]
    assert [(line.messages, line.missing, line.after) for line in report.lines] == [(1000, 0, 400), (400, 0, 1000)]


def test_a_line_that_repeats_itself_for_a_while_is_no_restart() -> None:
    sequences = channel()
    for number in range(1, 1001):
        sequences.feed(0, DAY + number * 10 * MS, mold("S", number, 1))
        sequences.feed(1, DAY + number * 10 * MS, mold("S", (number - 1) % 200 + 1, 1))
    report = only(sequences)
    assert (report.restarts, report.lost, report.lines[1].duplicates) == (0, 0, 800)


def test_a_restart_is_certain_at_once_where_send_times_or_offsets_tell() -> None:
    for again in (
        iex(1, [20], offset=0, sent=DAY + 60 * SECOND),  # sent much later, with a lower number
        iex(12, [20], offset=0, sent=DAY + SECOND),  # the number after the last one, elsewhere in the stream
    ):
        sequences = channel("A", "iextp")
        sequences.feed(0, DAY, iex(10, [20, 30], offset=500, sent=DAY))
        assert sequences.feed(0, DAY + 60 * SECOND, again) & words.RESTART
        assert only(sequences).restarts == 1


def test_after_a_restart_the_end_of_the_old_run_may_still_come_on_the_slower_line() -> None:
    sequences = channel("AB", "iextp")
    first = [
        iex(1, [20], offset=0, sent=DAY),
        iex(2, [20], offset=22, sent=DAY + 1),
        iex(3, [20], offset=44, sent=DAY + 2),
    ]
    sequences.feed(0, DAY, first[0])
    sequences.feed(0, DAY + 2, first[2])
    sequences.feed(1, DAY + 3, first[0])
    again = iex(1, [20], offset=0, sent=DAY + 60 * SECOND)
    assert sequences.feed(0, DAY + 60 * SECOND, again) & words.RESTART
    assert sequences.feed(1, DAY + 60 * SECOND + 1, first[1]) & words.LATE
    assert sequences.feed(1, DAY + 60 * SECOND + 2, first[2]) & words.LATE
    assert sequences.feed(1, DAY + 60 * SECOND + 3, again) == 0
    report = only(sequences)
    assert (report.lost, report.messages, report.restarts, report.filled) == (0, 4, 1, 1)
    assert [(s.first, s.next, s.missing) for s in report.sessions] == [(1, 4, 0), (1, 2, 0)]
    assert [(line.late, line.missing, line.after) for line in report.lines] == [(0, 1, 0), (2, 0, 0)]


def test_steps_of_the_clock_back_and_as_far_as_send_times_tell_forward() -> None:
    sequences = channel("A", "iextp")
    offset = 0
    times = [(0, 0), (1, 1), (3602, 2), (3603, 3), (3, 4)]  # received, sent
    for number, (received, sent) in enumerate(times, 1):
        flags = sequences.feed(0, DAY + received * SECOND, iex(number, [20], offset=offset, sent=DAY + sent * SECOND))
        assert bool(flags & words.CLOCK) is (number in (3, 5))
        offset += 22
    (line,) = only(sequences).lines
    assert line.clock_steps == (
        words.ClockStep(DAY + 3 * SECOND, -3600 * SECOND),
        words.ClockStep(DAY + 3602 * SECOND, 3600 * SECOND),
    )
    assert (line.clock_step_count, line.clock_steps_back) == (2, 1)


def test_silences_are_listed_with_what_was_lost_over_them() -> None:
    sequences = channel("A")
    for at, first in ((0, 1), (1, 2), (10, 3), (11, 4), (20, 9)):
        sequences.feed(0, DAY + at * SECOND, mold("S", first, 1))
    (line,) = only(sequences).lines
    assert line.silences == (
        words.Silence(DAY + SECOND, DAY + 10 * SECOND, 0),
        words.Silence(DAY + 11 * SECOND, DAY + 20 * SECOND, 4),
    )
    assert line.longest_silence == words.Silence(DAY + SECOND, DAY + 10 * SECOND, 0)


def test_of_very_many_silences_the_longest_are_listed() -> None:
    sequences = channel("A", silence_ms=1)
    now = DAY
    for number in range(1, 201):
        now += number * MS
        sequences.feed(0, now, mold("S", number, 1))
    (line,) = only(sequences).lines
    assert line.silence_count == 199
    assert sorted((s.end - s.start) // MS for s in line.silences) == list(range(137, 201))


def test_more_holes_than_there_is_room_for_are_counted_and_named() -> None:
    sequences = channel("A")
    flags = 0
    holes = 5000
    for number in range(1, holes + 2):
        flags |= sequences.feed(0, DAY + number, mold("S", 2 * number, 1))
        if flags & words.FULL:
            break
    assert sequences.describe() == "gap opened: channel itch, 3 missing; too many holes: channel itch, 3 given up"
    for later in range(number + 1, holes + 2):
        sequences.feed(0, DAY + later, mold("S", 2 * later, 1))
    report = only(sequences)
    assert (report.lost, report.gap_count, report.forgotten) == (holes, holes, holes - 4096)
    assert (len(report.gaps), report.unlisted) == (1024, holes - 1024)
    (line,) = report.lines
    assert (line.missing, line.gaps, line.forgotten) == (holes, holes, holes - 256)
    sequences.feed(0, DAY + holes + 2, mold("S", 3, 1))  # given up: it stays lost
    sequences.feed(0, DAY + holes + 2, mold("S", 2 * holes + 1, 1))
    assert only(sequences).lost == holes - 1


def test_a_gap_that_was_closed_makes_room_in_the_list_for_one_that_stays() -> None:
    sequences = channel("A", reorder_us=0)
    sequences.feed(0, DAY, mold("S", 1, 1))
    for number in range(3, 2 * 1500, 2):
        sequences.feed(0, DAY + number, mold("S", number, 1))
        if number != 2001:
            sequences.feed(0, DAY + number, mold("S", number - 1, 1))
    report = only(sequences)
    assert (report.gap_count, report.lost, report.unlisted) == (1499, 1, 1499 - 1024)
    assert [gap.first for gap in report.gaps if gap.closed is None] == [2000]


def test_a_clock_that_goes_back_makes_gaps_of_all_holes() -> None:
    sequences = channel("A")
    sequences.feed(0, DAY, mold("S", 1, 1))
    sequences.feed(0, DAY, mold("S", 3, 1))
    flags = sequences.feed(0, DAY - SECOND, mold("S", 4, 1))
    assert flags == words.CLOCK | words.GAP_OPENED
    assert sequences.describe() == (
        "clock: channel itch, line A, back by 1000000000 ns; gap opened: channel itch, 2 missing"
    )


def test_bad_packets_and_messages_without_numbers_are_counted_apart() -> None:
    sequences = channel("A")
    assert sequences.feed(0, DAY, b"short") == words.BAD
    assert sequences.describe() == "bad packet: channel itch, line A"
    sequences.feed(0, DAY, mold("", 0, 3))
    report = only(sequences)
    assert (report.lines[0].bad, report.lines[0].unsequenced, report.unsequenced) == (1, 3, True)
    assert (report.lines[0].first_seq, report.lines[0].last_seq, report.sessions) == (None, None, ())


def test_a_stream_is_counted_from_its_login_on_and_again_after_the_next() -> None:
    def soup(kind: bytes, body: bytes = b"") -> bytes:
        return struct.pack(">H", 1 + len(body)) + kind + body

    def login(number: int) -> bytes:
        return soup(b"A", b"SESSION".rjust(10) + str(number).rjust(20).encode())

    sequences = channel("A", "soupbintcp")
    sequences.feed(0, DAY, login(1) + soup(b"S", b"x") * 3)
    sequences.feed(0, DAY + 1, soup(b"S", b"x")[:2])
    sequences.begin_connection(0)
    sequences.feed(0, DAY + 2, login(4) + soup(b"S", b"x") * 2 + soup(b"Z"))
    report = only(sequences)
    assert (report.messages, report.lost, report.lines[0].missing, report.lines[0].last_seq) == (5, 0, 0, 5)
    assert (report.sessions[0].id, report.sessions[0].ended) == ("SESSION", DAY + 2)


def test_several_channels_have_their_lines_one_after_the_other() -> None:
    sequences = Sequences([("one", "moldudp64", "A"), ("two", "iextp", ("A", "B"))])
    assert sequences.lines == 3
    assert sequences.channels == (("one", "moldudp64", ("A",)), ("two", "iextp", ("A", "B")))
    sequences.feed(2, DAY, iex(5, [9], offset=0, sent=DAY))
    sequences.feed(0, DAY, mold("S", 9, 1))
    one, two = sequences.report()
    assert (one.messages, two.messages) == (1, 1)
    assert [line.packets for line in two.lines] == [0, 1]
    assert replace(two.lines[0], after=0) == only(channel("A", "iextp")).lines[0]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"channels": []}, ConfigError, "expected 1 to 64 channels, found 0"),
        ({"channels": [("c", "moldudp64", [])]}, ConfigError, "channel c: expected 1 to 64 lines, found 0"),
        ({"channels": [("c", "nothing", ["A"])]}, ConfigError, "framing 'nothing' is not known"),
        ({"channels": [("c", "moldudp64", ["A"])], "reorder_us": -1}, ValueError, "reorder_us must be 0 to"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Sequences(arguments.pop("channels"), **arguments)
    with pytest.raises(ValueError, match="line 1: there are 1"):
        channel("A").feed(1, 0, b"")


@pytest.mark.wire
@given(data=st.data(), session=st.sampled_from(["moldudp64", "iextp", "soupbintcp", "binaryfile"]))
def test_hostile_bytes_and_times_do_no_harm(data: st.DataObject, session: str) -> None:
    sequences = channel("AB", session, reorder_us=data.draw(st.sampled_from([0, 1000])))
    head = b"SSSSSSSSSS" if session == "moldudp64" else b"\1\0\4\x80\1\0\0\0\7\0\0\0"
    numbers = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 50))
    for _ in range(data.draw(st.integers(1, 12))):
        payload = data.draw(st.binary(max_size=64))
        if session == "moldudp64" and data.draw(st.booleans()):
            payload = head + data.draw(numbers).to_bytes(8, "big") + data.draw(st.sampled_from([b"\0\0", b"\0\1\0\0"]))
        elif session == "iextp" and data.draw(st.booleans()):
            words = [data.draw(numbers) for _ in range(3)]
            payload = head + struct.pack("<HHQQQ", 2, 1, *words) + b"\0\0"
        sequences.feed(data.draw(st.integers(0, 1)), data.draw(st.integers(-(2**63), 2**63 - 1)), payload)
        sequences.describe()
    report = only(sequences)
    assert sum(line.packets for line in report.lines) > 0

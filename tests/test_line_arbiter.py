"""The arbiter in scenarios: what goes in, frame by frame, and everything that comes out."""

import pytest

from feedhandler._instruments import Instruments
from feedhandler.decode import decoder
from feedhandler.line import Arbiter, Recovery
from feedhandler.records import Quality, Reason
from tests.taken import letters, plain

MS = 1_000_000
S = 1_000 * MS
LIVE = (Quality.LIVE, Reason.NONE)


class Feed:
    """An arbiter of one session "S" that counts time in milliseconds and forgets times of receipt."""

    def __init__(self, lines: int = 2, **options: object) -> None:
        self.arbiter = Arbiter(lines, **options)  # type: ignore[arg-type]
        self.name = b"S"

    def data(self, line: int, first: int, count: int = 1, at: float = 0, sent: int = 0) -> list[tuple[object, ...]]:
        return plain(self.arbiter.feed(self.name, first, letters(first, count), int(at * MS), line, send_time=sent))

    def number(
        self, line: int, first: int, at: float = 0, kind: str = "heartbeat", sent: int = 0
    ) -> list[tuple[object, ...]]:
        return plain(self.arbiter.feed(self.name, first, [], int(at * MS), line, kind=kind, send_time=sent))

    def tick(self, at: float) -> list[tuple[object, ...]]:
        return plain(self.arbiter.pass_time(int(at * MS)))

    def finish(self) -> list[tuple[object, ...]]:
        return plain(self.arbiter.end_input())

    @property
    def quality(self) -> tuple[int, int]:
        return self.arbiter.state[:2]


SESSION = ("session", b"S")


def test_the_first_copy_wins_and_the_second_is_a_duplicate() -> None:
    feed = Feed()
    assert feed.data(0, 1, 3) == [SESSION, (1, 3, 0)]
    assert feed.data(1, 1, 3) == []
    assert feed.data(1, 4, 2) == [(4, 5, 1)]
    assert feed.data(0, 4, 4) == [(6, 7, 0)]
    assert feed.quality == LIVE
    assert [feed.arbiter.line_counts(i)["won"] for i in (0, 1)] == [5, 2]
    assert [feed.arbiter.line_counts(i)["duplicates"] for i in (0, 1)] == [2, 3]


def test_what_comes_early_waits_for_the_other_line() -> None:
    feed = Feed()
    feed.data(0, 1)
    assert feed.data(0, 4, 2) == []
    assert feed.data(1, 2, 4) == [(2, 3, 1), (4, 5, 0)]
    assert feed.quality == LIVE
    assert feed.arbiter.line_counts(0)["gaps"] == 1
    assert feed.arbiter.line_counts(0)["missing"] == 2


def test_a_hole_that_stays_open_is_a_gap_and_the_channel_stale() -> None:
    feed = Feed(reorder_us=1000)
    feed.data(0, 1, at=0)
    assert feed.data(0, 4, 2, at=1) == []
    assert feed.tick(1.999) == []
    assert feed.quality == LIVE
    assert feed.tick(2) == [("gap", 2, 2), (4, 5, 0)]
    assert feed.quality == (Quality.STALE, Reason.GAP)
    assert feed.data(1, 2, 2, at=2.1) == []
    assert feed.data(1, 6, at=3) == [(6, 6, 1)]
    assert feed.quality == (Quality.STALE, Reason.GAP)
    assert feed.arbiter.line_counts(1)["too_late"] == 2
    assert (feed.arbiter.counts["gaps"], feed.arbiter.counts["missing"]) == (1, 2)


def test_the_time_stamp_of_a_later_packet_closes_a_hole_too() -> None:
    feed = Feed(1)
    feed.data(0, 1)
    feed.data(0, 3, at=1)
    assert feed.data(0, 4, at=2) == [("gap", 2, 1), (3, 3, 0), (4, 4, 0)]


def test_a_hole_that_is_due_closes_before_the_packet_that_comes_then_is_judged() -> None:
    feed = Feed(1, reorder_us=1000)
    feed.data(0, 1)
    feed.data(0, 3, at=1)
    assert feed.data(0, 2, at=1.999) == [(2, 2, 0), (3, 3, 0)]
    feed.data(0, 5, at=2)
    assert feed.data(0, 4, at=3) == [("gap", 4, 1), (5, 5, 0)]
    assert feed.arbiter.line_counts(0)["too_late"] == 1


def test_the_end_of_the_input_closes_every_hole() -> None:
    feed = Feed(1)
    feed.data(0, 1)
    feed.data(0, 3)
    feed.data(0, 6, 2)
    assert feed.finish() == [("gap", 2, 1), (3, 3, 0), ("gap", 4, 2), (6, 7, 0)]


def test_a_heartbeat_shows_that_the_last_packet_was_lost() -> None:
    feed = Feed()
    feed.data(0, 1)
    assert feed.number(0, 3, at=1) == []
    assert feed.tick(2) == [("gap", 2, 1)]
    assert feed.data(0, 3, at=3) == [(3, 3, 0)]


def test_joined_late() -> None:
    feed = Feed()
    assert feed.data(0, 5_000_000, 2, at=0) == [SESSION]
    assert feed.quality == (Quality.INIT, Reason.START)
    assert feed.data(1, 4_999_999, 2, at=0.5) == []
    assert feed.tick(1) == [("gap", 1, 4_999_998), (4_999_999, 4_999_999, 1), (5_000_000, 5_000_001, 0)]
    assert feed.quality == (Quality.STALE, Reason.JOINED_LATE)


def test_a_heartbeat_before_the_first_message_is_enough_to_be_live() -> None:
    feed = Feed()
    assert feed.number(0, 1) == [SESSION]
    assert feed.quality == LIVE


def test_a_new_session_begins_at_one_and_the_tail_of_the_old_one_is_late() -> None:
    feed = Feed()
    feed.data(0, 1, 9)
    feed.data(0, 12)
    feed.name = b"T"
    assert feed.data(0, 1) == [("gap", 10, 2), (12, 12, 0), ("session", b"T"), (1, 1, 0)]
    assert feed.quality == LIVE
    feed.name = b"S"
    assert feed.data(1, 10, 2) == []
    feed.name = b"T"
    assert feed.data(1, 1) == []
    assert feed.data(1, 2) == [(2, 2, 1)]
    assert feed.arbiter.line_counts(1)["late"] == 1
    assert (feed.arbiter.counts["sessions"], feed.arbiter.state[2]) == (2, 2)


def test_end_of_session_is_told_once_when_all_before_it_is_there() -> None:
    feed = Feed()
    feed.data(0, 1)
    assert feed.number(0, 3, kind="end") == []
    assert feed.data(1, 2) == [(2, 2, 1), ("end", 2)]
    assert feed.number(1, 3, at=1, kind="end") == []
    assert feed.tick(60_000) == []
    assert feed.quality == (Quality.LIVE, Reason.SESSION_ENDED)


def test_silence_of_all_lines_is_stale_until_proven_whole() -> None:
    feed = Feed(silence_ms=3000)
    feed.data(0, 1, at=0)
    feed.data(1, 1, at=2000)
    assert feed.tick(3000) == []
    assert feed.arbiter.line_counts(0)["state"] == 2
    assert feed.tick(5000) == [("quality", Quality.STALE, Reason.SILENT)]
    assert feed.tick(6000) == []
    assert feed.data(1, 1, at=6001) == [("quality", *LIVE)]
    assert feed.tick(10_000) == [("quality", Quality.STALE, Reason.SILENT)]
    assert feed.number(0, 3, at=10_001) == []
    assert feed.data(1, 2, at=10_001) == [(2, 2, 1), ("quality", *LIVE)]
    assert feed.tick(20_000) == [("quality", Quality.STALE, Reason.SILENT)]
    assert feed.data(1, 4, at=20_001) == []
    assert feed.tick(20_002) == [("gap", 3, 1), (4, 4, 1), ("quality", Quality.STALE, Reason.GAP)]


def test_a_channel_whose_lines_are_all_disconnected_says_so_until_one_is_back() -> None:
    feed = Feed(silence_ms=3000)
    down = feed.arbiter.disconnect
    assert down(0, 0) == []
    feed.data(0, 1, at=0)
    feed.data(1, 1, at=1)
    assert down(0, 2 * MS) == []
    assert feed.data(1, 2, at=3) == [(2, 2, 1)]
    assert down(1, 4 * MS) == [("quality", Quality.STALE, Reason.LINE_DOWN)]
    assert [*down(1, 5 * MS), *down(0, 5 * MS), *feed.tick(5000)] == []
    assert feed.number(1, 3, at=5001, kind="login") == [("quality", *LIVE)]
    assert feed.tick(9000) == [("quality", Quality.STALE, Reason.SILENT)]
    assert down(1, 9001 * MS) == [("quality", Quality.STALE, Reason.LINE_DOWN)]
    assert feed.data(0, 3, at=9002) == [(3, 3, 0), ("quality", *LIVE)]


def test_a_restart_is_known_by_its_send_time_whatever_its_number() -> None:
    feed = Feed(skew_ms=1000)
    feed.data(0, 1, 9, at=0, sent=5 * S)
    assert feed.data(1, 1, 9, at=0.1, sent=6 * S) == []
    assert feed.data(0, 3, 2, at=9, sent=6 * S + 1) == [SESSION]
    assert feed.tick(10) == [("gap", 1, 2), (3, 4, 0)]
    assert feed.quality == (Quality.STALE, Reason.JOINED_LATE)
    assert feed.data(1, 8, 2, at=11, sent=5 * S) == []
    assert feed.data(1, 5, at=11, sent=7 * S) == [(5, 5, 1)]
    assert (feed.arbiter.counts["restarts"], feed.arbiter.line_counts(1)["late"]) == (1, 1)
    assert feed.number(0, 1, at=12, sent=60 * S) == [SESSION]
    assert feed.quality == LIVE


def test_a_restart_without_send_times_is_suspected_first_and_taken_when_both_lines_agree() -> None:
    feed = Feed()
    feed.data(0, 1, 9, at=0)
    feed.number(1, 10, at=0)
    assert feed.number(0, 1, at=1000) == []
    assert feed.number(0, 1, at=2000) == [("quality", Quality.STALE, Reason.RESTART)]
    assert feed.number(1, 1, at=2001) == []
    assert feed.number(1, 2, at=3001) == [SESSION]
    assert feed.tick(3003) == [("gap", 1, 1)]
    assert feed.arbiter.counts["restarts"] == 1


def suspicious() -> Feed:
    """Line 0 has shown low numbers for a second, line 1 has not."""
    feed = Feed()
    feed.data(0, 1, 9, at=0)
    feed.number(1, 10, at=0)
    feed.number(0, 1, at=1000)
    assert feed.number(0, 1, at=2000) == [("quality", Quality.STALE, Reason.RESTART)]
    return feed


def test_what_the_other_line_goes_on_with_ends_the_suspicion() -> None:
    """It had our numbers while the first one still showed low ones: they follow different runs, or one is slow."""
    feed = suspicious()
    feed.number(1, 10, at=2500)
    feed.number(0, 1, at=3000)
    assert feed.data(1, 10, at=3001) == [("quality", *LIVE), (10, 10, 1)]


def test_a_line_that_slept_through_the_restart_does_not_end_the_suspicion() -> None:
    """Its first number beyond ours is the new run's, which has come so far."""
    feed = suspicious()
    assert feed.data(0, 1, 9, at=2100) == []
    assert feed.data(1, 10, 3, at=2101) == [(10, 12, 1)]
    assert feed.data(0, 9, at=2102) == []
    assert feed.data(1, 13, 3, at=2103) == [(13, 15, 1)]
    assert feed.quality == (Quality.STALE, Reason.RESTART)


def test_a_heartbeat_that_agrees_does_not_end_the_suspicion() -> None:
    """It may be one of the run before, seconds late."""
    feed = suspicious()
    assert feed.number(1, 10, at=2001) == []
    assert feed.quality == (Quality.STALE, Reason.RESTART)


def test_a_new_run_whose_numbers_have_come_as_far_as_ours_is_not_taken_for_ours() -> None:
    feed = suspicious()
    assert feed.data(0, 1, 9, at=2100) == []
    assert feed.data(0, 10, 5, at=2200) == [(10, 14, 0)]
    assert feed.quality == (Quality.STALE, Reason.RESTART)
    assert feed.arbiter.feed(b"T", 1, letters(1, 1), 2300 * MS, 0)[0][0] == "session"
    assert feed.quality == LIVE


def test_heartbeats_far_below_what_is_known_are_low_though_all_before_is_missing() -> None:
    """Joined late, with a hole from 1 on that recovery fills: nothing is below the number expected."""
    feed = Feed(1, recovery=Recovery(snapshot=True))
    feed.data(0, 700, at=0)
    assert feed.tick(1) == [("gap", 1, 699)]
    feed.number(0, 1, at=1000)
    assert feed.number(0, 1, at=2000)[-1] == SESSION


def test_rising_low_data_for_a_second_is_a_restart_and_a_dead_line_is_not_asked() -> None:
    feed = Feed()
    feed.data(0, 1, 100, at=0)
    feed.data(1, 1, 100, at=0)
    assert [feed.data(0, n, at=5000 + 100 * n) for n in range(1, 11)] == [[]] * 10
    assert feed.data(0, 11, at=6100) == [("quality", Quality.STALE, Reason.RESTART), SESSION]
    assert feed.data(0, 12, at=6101.5) == [("gap", 1, 10), (11, 11, 0), (12, 12, 0)]


def test_a_slow_line_is_no_restart() -> None:
    feed = Feed()
    for n in range(1, 5000):
        feed.data(0, n, at=n)
        if n > 50:
            feed.data(1, n - 50, at=n)
    assert (feed.quality, feed.arbiter.counts["restarts"]) == (LIVE, 0)


def test_a_session_that_goes_on_after_its_end_can_still_fall_silent() -> None:
    """An end of session that was none: without an ear for silence the books would stay LIVE for ever."""
    feed = Feed(silence_ms=3000)
    feed.data(0, 1, 2)
    assert feed.number(0, 3, kind="end") == [("end", 2)]
    feed.tick(60_000)
    assert feed.quality == (Quality.LIVE, Reason.SESSION_ENDED)  # after the end nothing need come
    assert feed.data(0, 3, 1, at=61_000) == [("quality", *LIVE), (3, 3, 0)]
    assert feed.data(0, 4, 1, at=61_001) == [(4, 4, 0)]
    feed.tick(64_002)
    assert feed.quality == (Quality.STALE, Reason.SILENT)
    feed.data(0, 5, 1, at=65_000)
    assert feed.number(0, 6, at=65_001, kind="end") == [("end", 5)]


def test_refused_packets_are_no_sign_of_life() -> None:
    feed = Feed(silence_ms=3000)
    feed.data(0, 1, 2)
    for at in (1000, 2000, 2999):
        assert feed.arbiter.feed(b"", 0, letters(1, 1), at * MS, kind="unsequenced") == []
    feed.tick(3000)
    assert feed.quality == (Quality.STALE, Reason.SILENT)
    feed.data(0, 3, 1, at=3001)
    assert feed.quality == LIVE
    feed.arbiter.feed(b"S", 0, letters(1, 1), 5000 * MS, kind="unsequenced")  # SoupBinTCP: of this very connection
    feed.tick(6500)
    assert feed.quality == LIVE


def test_unsequenced_packets_pass_offline_and_are_refused_live() -> None:
    offline, live = Arbiter(1, offline=True), Arbiter(1)
    wrapper = (b"", 0, [b"a", b"b"])
    assert offline.feed(*wrapper, kind="unsequenced") == [
        ("quality", Quality.STALE, Reason.UNSEQUENCED),
        ("run", 0, [b"a", b"b"], 0, 0),
    ]
    assert live.feed(*wrapper, kind="unsequenced") == []
    assert (live.line_counts(0)["refused"], offline.counts["unsequenced"]) == (1, 2)


def test_a_packet_wider_than_the_window_ends_the_hole_before_it() -> None:
    feed = Feed(1, window_messages=16)
    feed.data(0, 1)
    assert feed.data(0, 3, 20) == [("gap", 2, 1), (3, 15, 0), (16, 18, 0), (19, 22, 0)]  # the ring turns at 16
    assert feed.quality == (Quality.STALE, Reason.GAP)
    assert (feed.arbiter.counts["window_full"], feed.arbiter.counts["missing"]) == (1, 1)
    assert feed.data(0, 23) == [(23, 23, 0)]


def test_a_far_jump_gives_up_holes_until_it_fits() -> None:
    feed = Feed(1, window_messages=16)
    feed.data(0, 1)
    for first in (3, 6, 17):
        assert feed.data(0, first) == []
    assert feed.data(0, 20) == [("gap", 2, 1), (3, 3, 0)]  # 6 to 20 have room
    assert feed.data(0, 10**12, 2) == [
        ("gap", 4, 2),
        (6, 6, 0),
        ("gap", 7, 10),
        (17, 17, 0),
        ("gap", 18, 2),
        (20, 20, 0),
    ]
    assert feed.arbiter.counts["window_full"] == 4
    assert feed.tick(1) == [("gap", 21, 10**12 - 21), (10**12, 10**12 + 1, 0)]
    assert feed.arbiter.counts["window_full"] == 4


def test_what_comes_too_far_before_the_waiting_goes_out_before_them() -> None:
    feed = Feed(1, window_messages=16)
    feed.data(0, 1)
    assert feed.data(0, 30, 2) == []
    assert feed.data(0, 5, 2) == [("gap", 2, 3), (5, 6, 0)]
    assert feed.data(0, 7, 23) == [(7, 29, 0), (30, 31, 0)]


def test_a_hole_given_up_for_room_is_early_only_before_its_time() -> None:
    feed = Feed(1, window_messages=16, reorder_us=1000)
    feed.data(0, 1)
    feed.data(0, 3)
    assert feed.data(0, 100, at=31_000) == [("gap", 2, 1), (3, 3, 0)]
    assert feed.arbiter.counts["window_full"] == 0


def test_no_room_for_bytes_is_the_same_and_room_comes_back() -> None:
    arbiter = Arbiter(1, window_messages=1024, window_bytes=4096)
    arbiter.feed(b"S", 1, [b""])
    for start in range(2, 400, 6):
        assert arbiter.feed(b"S", start + 1, [b"%d" % n * 200 for n in range(5)]) == []
        taken = arbiter.feed(b"S", start, [b"x"])
        assert taken[1:] and arbiter.next_seq == start + 6
    first = arbiter.next_seq
    assert arbiter.counts["window_full"] == 0
    assert arbiter.feed(b"S", first + 1, [b"y" * 1500] * 3) == [
        ("gap", first, 1),
        ("run", first + 1, [b"y" * 1500] * 2, 0, 0),
        ("run", first + 3, [b"y" * 1500], 0, 0),
    ]
    assert arbiter.counts["window_full"] == 1


def event(number: int) -> bytes:
    """A well-formed ITCH system event; cut short it is malformed."""
    return b"S" + bytes(4) + number.to_bytes(6, "big") + b"O"


def test_a_malformed_copy_does_not_win_and_the_other_lines_copy_is_taken() -> None:
    arbiter = Arbiter(2, decoder=decoder("itch50", Instruments.standalone(16)))
    good = [event(n) for n in range(1, 5)]
    bad = [good[0], b"S", good[2], good[3]]
    assert arbiter.feed(b"S", 1, bad, 0, 0)[1:] == [("run", 1, good[:1], 0, 0)]
    assert arbiter.state[:2] == LIVE
    assert arbiter.feed(b"S", 1, good, 1, 1) == [("run", 2, good[1:2], 1, 1), ("run", 3, good[2:], 0, 0)]
    assert arbiter.feed(b"S", 5, [b"S", good[0]], 2, 1) == []
    assert arbiter.feed(b"S", 5, [good[1]], 3, 0) == [("run", 5, [good[1]], 3, 0), ("run", 6, [good[0]], 2, 1)]
    assert (arbiter.counts["malformed"], arbiter.counts["gaps"]) == (0, 0)
    assert [arbiter.line_counts(line)["malformed"] for line in (0, 1)] == [1, 1]


def test_a_malformed_message_after_a_run_out_of_the_window_is_settled_against_its_packet() -> None:
    arbiter = Arbiter(2, decoder=decoder("itch50", Instruments.standalone(16)))
    good = [event(n) for n in range(1, 10)]
    arbiter.feed(b"S", 1, good[:1], 0, 0)
    assert arbiter.feed(b"S", 3, good[2:3], 1, 0) == []
    assert arbiter.feed(b"S", 2, good[1:2], 2, 1) == [("run", 2, good[1:2], 2, 1), ("run", 3, good[2:3], 1, 0)]
    assert arbiter.feed(b"S", 4, [good[3], b"S", good[5], good[6]], 3, 0) == [("run", 4, good[3:4], 3, 0)]
    assert arbiter.feed(b"S", 5, good[4:5], 4, 1) == [("run", 5, good[4:5], 4, 1), ("run", 6, good[5:7], 3, 0)]
    assert arbiter.feed(b"S", 8, good[7:9], 5, 0) == [("run", 8, good[7:9], 5, 0)]
    assert (arbiter.state[:2], arbiter.counts["missing"]) == (LIVE, 0)


def test_the_rest_of_a_packet_around_what_waits_and_what_is_malformed() -> None:
    arbiter = Arbiter(2, window_messages=4, reorder_us=1000, decoder=decoder("itch50", Instruments.standalone(16)))
    good = [event(n) for n in range(1, 21)]
    arbiter.feed(b"S", 1, good[:1], 0, 0)
    assert arbiter.feed(b"S", 5, good[4:5], 1, 0) == []
    packet = [good[1], b"S", *good[3:9], b"S", *good[10:]]
    assert arbiter.feed(b"S", 2, packet, 2, 1) == [
        ("run", 2, good[1:2], 2, 1),
        ("gap", 3, 1),
        ("run", 4, good[3:4], 2, 1),
        ("run", 5, good[4:5], 1, 0),
        ("run", 6, good[5:7], 2, 1),
        ("run", 8, good[7:9], 2, 1),
        ("gap", 10, 1),
        ("run", 11, good[10:11], 2, 1),
        ("run", 12, good[11:14], 2, 1),
        ("run", 15, good[14:], 2, 1),
    ]
    assert arbiter.counts == arbiter.counts | {"missing": 2, "malformed": 2, "messages": 18, "window_full": 2}


def test_a_message_no_line_has_a_good_copy_of_is_a_gap() -> None:
    arbiter = Arbiter(2, reorder_us=1000, decoder=decoder("itch50", Instruments.standalone(16)))
    for line in (0, 1):
        arbiter.feed(b"S", 1, [event(1), b"S", event(3), b"A", event(5)], 0, line)
    assert arbiter.pass_time(MS) == [
        ("gap", 2, 1),
        ("run", 3, [event(3)], 0, 0),
        ("gap", 4, 1),
        ("run", 5, [event(5)], 0, 0),
    ]
    assert (arbiter.counts["malformed"], arbiter.counts["missing"], arbiter.counts["gaps"]) == (2, 2, 2)
    assert arbiter.state[:2] == (Quality.STALE, Reason.GAP)


def test_malformed_unsequenced_messages_are_skipped() -> None:
    arbiter = Arbiter(1, offline=True, decoder=decoder("itch50", Instruments.standalone(16)))
    taken = arbiter.feed(b"", 0, [b"S", event(1), b"A", event(2), event(3), b"S"], kind="unsequenced")
    assert taken[1:] == [("run", 0, [event(1)], 0, 0), ("run", 0, [event(2), event(3)], 0, 0)]
    assert (arbiter.counts["malformed"], arbiter.counts["unsequenced"], arbiter.counts["messages"]) == (3, 3, 3)


@pytest.mark.wire
def test_numbers_at_the_edge_neither_wrap_nor_hang() -> None:
    feed = Feed(1)
    feed.data(0, 1)
    for first in (2**64 - 1, 2**64 - 3, 2**63, 0):
        assert feed.arbiter.feed(b"S", first, [b"x"] * 4, 1, 0) == []
    assert feed.arbiter.line_counts(0)["refused"] == 4
    assert feed.arbiter.feed(b"S", 2**63 - 1, [b"x"] * 4, 1, 0) == []
    assert feed.data(0, 2, at=0.1) == [(2, 2, 0)]
    assert feed.data(0, 2**62, at=0.2) == [("gap", 3, 2**62 - 3), (2**62, 2**62, 0)]
    assert feed.arbiter.pass_time(S)[0] == ("gap", 2**62 + 1, 2**62 - 2)
    assert feed.arbiter.next_seq == 2**63 + 3
    assert feed.arbiter.counts["window_full"] == 1


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="power of two"):
        Arbiter(1, window_messages=100)
    with pytest.raises(ValueError, match="lines 60 to 69"):
        Arbiter(10, first_line=60)
    with pytest.raises(ValueError, match="reorder_us"):
        Arbiter(1, reorder_us=-1)
    with pytest.raises(ValueError, match="silence_ms"):
        Arbiter(1, silence_ms=0)


def test_the_lead_of_each_packet_over_its_next_copy_is_the_winners() -> None:
    feed = Feed(3)
    feed.data(0, 1, 3, at=0)
    feed.data(0, 4, 3, at=1)
    feed.data(1, 1, 3, at=1.5)  # 1.5 ms behind A
    feed.data(2, 1, 3, at=9)  # not the next copy any more
    feed.data(1, 7, 2, at=2)  # ahead: nobody has won yet
    feed.data(1, 4, 3, at=2.25)
    feed.data(2, 4, 3, at=2.5)
    feed.data(1, 9, 2, at=3)
    feed.data(0, 9, 1, at=4)  # cut differently, but from the same message on
    feed.data(0, 11, 1, at=6)
    feed.data(1, 11, 1, at=5)  # taken later, and stamped earlier: it had been there before
    assert feed.arbiter.leads(0) == (2, 2_750_000, 1_250_000, 1_500_000)
    assert feed.arbiter.leads(1) == (2, 2_000_000, 1_000_000, 1_000_000)
    assert feed.arbiter.leads(2)[0] == 0


def test_leads_are_counted_while_a_hole_is_open_and_start_anew_with_a_session() -> None:
    feed = Feed(2, reorder_us=10_000)
    feed.data(0, 1, 3, at=0)
    feed.data(0, 7, 3, at=1)
    feed.data(1, 1, 3, at=1)
    assert feed.arbiter.leads(0) == (1, MS, MS, MS)
    feed.data(1, 4, 3, at=1.5)
    feed.data(1, 7, 3, at=2)  # it waited: not compared
    feed.name = b"T"
    feed.data(0, 1, 3, at=3)
    feed.data(1, 1, 3, at=7)
    assert feed.arbiter.leads(0) == (2, 5 * MS, MS, 4 * MS)

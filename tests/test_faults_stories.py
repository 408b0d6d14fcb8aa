"""What can go wrong between an exchange and its books, one story each: was any book wrong, and did all come back?

Each runs in virtual time through the live handler, on two lines, with a request server and a snapshot server. `whole`
says that no book was ever LIVE and wrong, and that at the end each is LIVE and equal to the one without faults.
"""

import pytest

from feedhandler.rehearse import Venue
from tests.rehearsal import day, tell, two_days, words

PACKETS = len(day())


# -- the lines -------------------------------------------------------------------------------------------------------


def test_what_line_a_loses_line_b_brings() -> None:
    story = tell("""
        [[line]]
        loss = 0.2
        [[line]]
    """)
    assert story.whole and not story.periods
    assert story.filled["retransmission"] == story.filled["snapshot"] == 0
    assert story.lines[0].missing > 100 and story.lines[1].missing == 0


def test_what_both_lines_lose_is_asked_for() -> None:
    story = tell("all.loss = 0.2")
    assert story.whole and words(story) == ["RECOVERING GAP"]
    assert story.filled["retransmission"] > 0 and story.snapshots == 0
    assert story.lost_messages == 0


def test_a_burst_takes_many_packets_at_once() -> None:
    story = tell("all = { burst_loss = 0.3, burst_packets = 20 }", seed=3)
    assert story.whole
    assert max(gap.messages for gap in story.gaps) > 10
    assert story.filled["retransmission"] > 0


def test_everything_comes_twice_and_counts_once() -> None:
    story = tell("all = { duplicate = 1.0, duplicate_us = 500.0 }")
    assert story.whole and not story.periods and not story.gaps
    assert sum(line.duplicates for line in story.lines) >= 3 * story.messages


def test_packets_that_overtake_each_other_are_put_in_order() -> None:
    story = tell("all = { reorder = 0.2, reorder_packets = 3 }", lines=1)
    assert story.whole and story.filled["reordered"] > 20
    assert story.filled["retransmission"] <= 1  # what came after the last packet of all


def test_a_line_far_behind_costs_nothing() -> None:
    story = tell("""
        skew_us = 900
        [all]
        jitter_us = 50
        [[line]]
        loss = 0.1
        [[line]]
    """)
    assert story.whole and not story.periods
    assert {gap.filled for gap in story.gaps} == {"other_line"} and len(story.gaps) > 10


def test_a_line_that_is_out_is_not_missed() -> None:
    story = tell("""
        [[outage]]
        lines = [0]
        from_packet = 50
        for_packets = 100
    """)
    assert story.whole and not story.periods and not story.gaps
    assert story.lines[0].missing > 500


def test_all_lines_out_for_a_moment_are_recovered_by_requests() -> None:
    story = tell("""
        [[outage]]
        from_packet = 100
        for_packets = 20
    """)
    assert story.whole and words(story) == ["RECOVERING GAP"]
    assert [gap.filled for gap in story.gaps] == ["retransmission"]


def test_all_lines_out_for_long_take_a_snapshot() -> None:
    story = tell(
        """
        [[outage]]
        from_packet = 100
        for_packets = 80
        """,
        gap_limit=100,
    )
    assert story.whole and words(story) == ["RECOVERING GAP"]
    assert [gap.filled for gap in story.gaps] == ["snapshot"] and story.snapshots == 1


def test_all_lines_out_for_seconds_are_silent_until_they_are_back() -> None:
    beats = two_days(b"DAY       ", pause_s=0.0)[:PACKETS]
    quiet = [(ts + (20_000_000_000 if n > 100 else 0), data) for n, (ts, data) in enumerate(beats)]
    story = tell(packets=quiet)
    assert story.whole and words(story) == ["STALE SILENT"]


def test_a_late_start_takes_a_snapshot_and_goes_on_live() -> None:
    story = tell(
        """
        [[outage]]
        from_packet = 0
        for_packets = 150
        """,
        gap_limit=100,
    )
    assert story.whole and words(story) == ["RECOVERING JOINED_LATE"]
    assert story.snapshots == 1


def test_a_late_start_without_snapshots_asks_for_the_day_so_far() -> None:
    story = tell("outage = [{ from_packet = 0, for_packets = 150 }]", venue=requests_only)
    assert story.whole and words(story) == ["RECOVERING JOINED_LATE"]
    assert story.filled["retransmission"] == 1


def test_truncated_packets_are_refused_whole() -> None:
    story = tell("all.truncate = 0.1")
    assert story.whole and sum(line.bad_packets for line in story.lines) > 20


def test_corrupted_packets_are_refused_whole() -> None:
    story = tell("all.corrupt = 0.1")
    assert story.whole and sum(line.bad_packets for line in story.lines) > 20


def test_frames_with_a_wrong_checksum_never_reach_the_handler_and_are_recovered() -> None:
    story = tell("all.wrong_checksum = 0.2")
    assert story.whole and words(story) == ["RECOVERING GAP"]
    assert sum(line.missing for line in story.lines) > 500 and not any(line.bad_packets for line in story.lines)


# -- the session -----------------------------------------------------------------------------------------------------


def test_a_new_session_begins_with_empty_books() -> None:
    story = tell("all.loss = 0.02", packets=two_days(b"NEXT      "))
    assert story.whole and story.sessions == ["DAY", "NEXT"]


def test_numbers_begin_again_under_the_same_name() -> None:
    story = tell("all.loss = 0.02", packets=two_days(b"DAY       "))
    assert story.whole and story.sessions == ["DAY", "DAY"]


def test_a_session_change_amid_the_day() -> None:
    story = tell("""
        [all]
        loss = 0.02
        [[session]]
        kind = "new"
        at_packet = 120
    """)
    assert story.ok and len(set(story.sessions)) == 2


def test_lost_heartbeats_make_no_book_stale_while_data_flows() -> None:
    story = tell("all.heartbeat_loss = 1.0", packets=two_days(b"DAY       ", pause_s=1.0))
    assert story.ok and "STALE SILENT" not in words(story)[:1]


def test_the_end_of_the_session_is_known_though_its_last_packets_are_lost() -> None:
    story = tell("end = { lost_packets = 5, repeats = 3 }")
    assert story.whole and story.filled["retransmission"] == 1


def test_midnight_is_a_new_session() -> None:
    story = tell("""
        [all]
        loss = 0.02
        [midnight]
        after_s = 0.01
    """)
    assert story.ok and len(set(story.sessions)) == 2


# -- the request server ----------------------------------------------------------------------------------------------

LOSS = "[all]\nloss = 0.3\n[requests]\n"


@pytest.mark.parametrize("wrong", ["silence", "other_session", "other_sequence", "more", "fewer", "malformed"])
def test_a_server_that_answers_wrong_half_the_time(wrong: str) -> None:
    story = tell(f"{LOSS}{wrong} = 0.5", attempts=10)
    assert story.whole and story.filled["retransmission"] > 5 and story.snapshots <= 1


def test_a_server_that_answers_in_small_parts_is_asked_on() -> None:
    story = tell("""
        [requests]
        mtu = 100
        [[outage]]
        from_packet = 100
        for_packets = 10
    """)
    assert story.whole and [gap.filled for gap in story.gaps] == ["retransmission"]


def test_a_server_that_has_forgotten_leads_to_a_snapshot() -> None:
    story = tell("""
        [requests]
        age = 50
        [[outage]]
        from_packet = 100
        for_packets = 40
    """)
    assert story.whole and story.snapshots == 1


def test_a_server_of_few_answers_a_second() -> None:
    story = tell(f"{LOSS}rate = 20")
    assert story.whole


def test_a_server_that_never_answers_leads_to_the_next_one() -> None:
    story = tell("all.loss = 0.2", venue=second_server_only)
    assert story.whole and story.filled["retransmission"] > 0 and story.snapshots == 0


# -- the snapshot server ---------------------------------------------------------------------------------------------

OUT = "[[outage]]\nfrom_packet = 60\nfor_packets = 60\n[glimpse]\n"


def test_a_slow_snapshot_is_waited_for() -> None:
    story = tell(f"{OUT}bytes_per_s = 1000", gap_limit=100)
    assert story.whole and story.snapshots == 1
    assert max(gap.nanoseconds for gap in story.gaps) > 1_000_000_000


def test_a_snapshot_cut_off_is_fetched_again() -> None:
    story = tell(f"{OUT}cut = 0.7", gap_limit=100, seed=4)
    assert story.whole and story.snapshots == 1


def test_a_snapshot_refused_is_asked_for_again() -> None:
    story = tell(f"{OUT}refuse = 0.7", gap_limit=100, seed=4)
    assert story.whole and story.snapshots == 1


def test_a_snapshot_too_old_is_of_no_use_until_it_is_newer() -> None:
    story = tell(f"{OUT}stale_messages = 150", gap_limit=100)
    assert story.ok


def test_without_any_rung_books_stay_stale_until_the_next_session() -> None:
    story = tell(
        "outage = [{ from_packet = 100, for_packets = 20 }]", packets=two_days(b"NEXT      "), venue=no_servers
    )
    assert story.whole and words(story) == ["STALE GAP"]
    assert story.lost_messages > 50 and story.filled["given_up"] == 1


def test_without_any_rung_an_end_that_nobody_heard_is_a_gap_when_it_shows() -> None:
    story = tell(f"outage = [{{ from_packet = 100, for_packets = {PACKETS} }}]", venue=no_servers)
    assert story.ok and words(story) == ["STALE GAP"]
    assert [gap.filled for gap in story.gaps] == ["given_up"]


# -- the servers that are there ----------------------------------------------------------------------------------------


def requests_only(*arguments: object) -> Venue:
    return Venue(*arguments, snapshots=False)  # type: ignore[arg-type]


def no_servers(*arguments: object) -> Venue:
    venue = Venue(*arguments, servers=0, snapshots=False)  # type: ignore[arg-type]
    assert venue.transports() is None
    return venue


def second_server_only(*arguments: object) -> Venue:
    venue = Venue(*arguments, servers=2, snapshots=False)  # type: ignore[arg-type]
    venue.requests[0]._answer = lambda session, first, count, now: []
    return venue

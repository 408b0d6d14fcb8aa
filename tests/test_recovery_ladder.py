"""The ladder of recovery as a pure machine: time is the test's, and so is the hot thread."""

import random
import re

import pytest
from recovery_world import Server, Source, World, answer, packet, snapshot

from feedhandler.line import ASK_OVER, ASK_SNAPSHOT
from feedhandler.recovery import Rung
from feedhandler.recovery.pace import TokenBucket, full_jitter

# -- the rung of requests ----------------------------------------------------------------------------------------------


def test_a_hole_is_asked_for_and_filled() -> None:
    world = World([Server()])
    world.ask(10, 20)
    world.run(0.01)
    assert world.next_seq == 20
    assert [(first, count) for _, first, count in world.requests()] == [(10, 10)]
    assert (world.ladder.rung, world.ladder.stats["answers"]) == (Rung.IDLE, 1)
    assert world.notes == ["channel itch: messages 10 to 19 asked of one:1"]


def test_a_partial_answer_is_asked_on_for_its_rest() -> None:
    world = World([Server(most=4)])
    world.ask(10, 20)
    world.run(0.01)
    assert world.next_seq == 20
    assert [(first, count) for _, first, count in world.requests()] == [(10, 10), (14, 6), (18, 2)]
    assert world.ladder.stats["partial"] == 2


def test_adjacent_holes_are_one_request_and_long_ones_are_cut() -> None:
    world = World([Server(most=1000)], request_messages=100)
    world.ask(10, 20)
    world.ask(20, 30)
    world.ask(40, 250)
    world.run(0.01)
    assert [(first, count) for _, first, count in world.requests()] == [(10, 20), (40, 100), (140, 100), (240, 10)]


def test_at_most_so_many_requests_are_under_way() -> None:
    server = Server(delay=10.0)
    world = World([server], request_messages=1, request_timeout_ms=60_000, requests_per_second=1_000_000)
    world.ask(10, 1000)
    world.run(0.05)
    assert len(server.asked) == 64


def test_silence_leads_to_the_next_server_and_later_requests_go_there_first() -> None:
    one, two = Server("one:1"), Server("two:2")
    one.silent()
    world = World([one, two])
    world.ask(10, 20)
    world.run(0.2)
    assert world.next_seq == 20 and len(one.asked) == 1 and len(two.asked) == 1
    assert 0.05 <= two.asked[0][0] - one.asked[0][0] <= 0.05 + 0.05 + 0.002
    world.ask(30, 40)
    world.run(0.01)
    assert (len(one.asked), len(two.asked)) == (1, 2)


@pytest.mark.parametrize("servers, attempts", [(1, 1), (1, 3), (2, 2)])
def test_after_so_many_rounds_the_rung_has_failed(servers: int, attempts: int) -> None:
    world = World([Server(f"server:{n}") for n in range(1, servers + 1)], attempts=attempts)
    for server in world.servers:
        server.silent()
    world.ask(10, 20)
    world.run(20)
    assert [len(server.asked) for server in world.servers] == [attempts] * servers
    assert world.answers == [("give_up", 0)]
    asked = "one server" if servers == 1 else f"any of {servers} servers"
    assert world.notes[-1] == (
        f"channel itch: STALE: messages 10 to 19 could not be had of {asked} ({attempts} rounds)"
    )
    assert world.ladder.given_up and world.ladder.rung is Rung.IDLE


WRONG = {
    "another session": (lambda f, c: [answer(f, c, b"YESTERDAY ".ljust(16, b"\0"))], "strays"),
    "other numbers": (lambda f, c: [answer(f + 1000, c)], "strays"),
    "nothing": (lambda f, c: [packet(f, [])], "strays"),
    "malformed": (lambda f, c: [answer(f, c)[:-1]], "malformed"),
    "no packet at all": (lambda f, c: [b"what?"], "malformed"),
    "end of session": (lambda f, c: [answer(f, 0)[:18] + b"\xff\xff"], "strays"),
}


@pytest.mark.parametrize("respond, counted", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_no_answer(respond, counted: str) -> None:
    liar, good = Server("liar:1"), Server("good:2")
    liar.respond = respond
    world = World([liar, good])
    world.ask(10, 20)
    world.run(0.2)
    assert world.next_seq == 20
    assert world.ladder.stats[counted] == 1
    assert len(liar.asked) == len(good.asked) == 1


def test_more_than_was_asked_for_is_handed_over_and_fewer_is_asked_on() -> None:
    generous = Server()
    generous.respond = lambda first, count: [answer(first, count + 5)]
    world = World([generous])
    world.ask(10, 20)
    world.run(0.01)
    assert world.next_seq == 25 and len(generous.asked) == 1


def test_an_answer_that_the_hot_thread_can_do_nothing_with_is_asked_of_the_next_server() -> None:
    world = World([Server("one:1"), Server("two:2")])
    world.delivering = False
    world.ask(10, 20)
    world.run(0.1)
    assert [len(server.asked) for server in world.servers] == [1, 0]
    world.run(0.5)
    assert len(world.servers[1].asked) >= 1
    world.run(20)
    assert world.answers[-1] == ("give_up", 0)


def test_what_is_asked_for_once_more_is_asked_of_the_next_server() -> None:
    """The hot thread found a message of the answer malformed."""
    one, two = Server("one:1"), Server("two:2")
    world = World([one, two])
    world.delivering = False
    world.ask(10, 20)
    world.run(0.01)
    world.next_seq = 14
    world.ask(14, 15)
    world.delivering = True
    world.run(0.15)
    assert [request[1:] for request in one.asked] == [(10, 10)]
    assert [request[1:] for request in two.asked] == [(14, 1)]
    assert world.ladder.stats["useless"] == 1


def test_an_answer_behind_an_open_hole_is_not_doubted() -> None:
    server = Server()
    good = server.respond
    server.respond = lambda first, count: good(first, count) if first >= 100 else []
    world = World([server], attempts=100)
    world.ask(10, 20)
    world.ask(100, 110)
    world.run(2)
    assert [first for _, first, _ in server.asked if first >= 100] == [100]


def test_what_another_line_brought_is_asked_for_no_more() -> None:
    server = Server()
    server.silent()
    world = World([server])
    world.ask(10, 20)
    world.run(0.01)
    world.next_seq = 16
    world.run(0.2)
    assert server.asked[-1][1:] == (16, 4)
    world.next_seq = 20
    world.run(1)
    assert world.ladder.rung is Rung.IDLE and world.answers == []


def test_over_ends_it() -> None:
    server = Server()
    server.silent()
    world = World([server])
    world.ask(10, 20)
    world.run(0.01)
    world.ask(0, 0, ASK_OVER)
    world.run(5)
    assert (world.ladder.rung, len(server.asked), world.answers) == (Rung.IDLE, 1, [])


def test_a_new_session_drops_what_was_under_way() -> None:
    server = Server(delay=0.02)
    world = World([server])
    world.ask(10, 20)
    world.run(0.01)
    world.epoch, world.next_seq = 2, 1
    world.run(0.1)
    assert world.answers == [] and world.ladder.rung is Rung.IDLE
    assert world.ladder.stats["strays"] == 0  # nobody was asked meanwhile, so nobody was listened to
    world.ask(1, 5)
    world.run(0.4)
    assert world.next_seq == 5


def test_answers_to_the_run_before_are_not_taken_for_the_present_one() -> None:
    """A restart under the same session id: same session, same numbers, other messages."""
    server = Server(delay=0.1)
    world = World([server], request_timeout_ms=300)
    world.ask(10, 20)
    world.run(0.05)
    world.epoch, world.next_seq = 2, 10
    world.ask(10, 20)
    world.run(0.2)
    assert len(server.asked) == 1 and world.next_seq == 10 and world.ladder.stats["answers"] == 0
    world.run(0.5)
    assert len(server.asked) == 2 and world.next_seq == 20


@pytest.mark.parametrize("joining", [False, True])
def test_a_restart_amid_a_splice_is_not_taken_for_its_end(joining: bool) -> None:
    """The same session id, and the first hole of the new run, heard of at once."""
    world = World([Server()], [Source(answers=[snapshot(5000)])])
    world.next_seq, world.horizon, world.line.is_frozen = 1000, 5000 if joining else 2000, True
    world.ask(1000, 1100, ASK_SNAPSHOT)
    if joining:
        world.take = lambda: None  # the hot thread is busy
    world.run(0.1)
    assert world.ladder.rung is (Rung.JOIN if joining else Rung.SPLICE)
    world.epoch, world.next_seq, world.line.is_frozen = 2, 1, False
    if joining:
        world.step()
        del world.take
    world.ask(1, 50)
    world.run(1)
    assert world.next_seq == 50 and world.ladder.stats["spliced"] == 0


def test_a_full_ring_is_waited_for() -> None:
    world = World([Server(most=1000)])
    room = iter([False, False, True])
    take = world.line.packet
    world.line.packet = lambda epoch, data: next(room) and take(epoch, data)
    world.ask(10, 20)
    world.run(0.05)
    assert world.next_seq == 20


def test_the_rate_is_kept_exactly() -> None:
    server = Server(most=1000)
    world = World([server], request_messages=1, requests_per_second=500)
    world.ask(10, 3010)
    world.run(4)
    times = [now for now, _, _ in server.asked]
    assert 500 * 4 - 20 <= len(times) <= 500 * 4 + 10
    for stretch in (0.01, 0.1, 1.0):
        for n, start in enumerate(times):
            inside = sum(1 for t in times[n:] if t < start + stretch)
            assert inside <= 10 + 500 * stretch + 1e-6


def test_a_bucket_gives_burst_and_rate_and_says_when_the_next_token_is_there() -> None:
    bucket, now = TokenBucket(100, 2.0), 5.0
    assert [bucket.take(now) for _ in range(3)] == [True, True, False]
    assert bucket.due(now) == pytest.approx(5.01)
    assert bucket.take(bucket.due(now) + 1e-9)
    assert not bucket.take(5.0)  # a clock that steps back gives nothing


def test_jitter_is_below_a_bound_that_doubles() -> None:
    rng = random.Random(3)
    for attempt, bound in enumerate((0.05, 0.1, 0.2, 0.4, 0.5, 0.5)):
        waits = [full_jitter(rng, 0.05, attempt, 0.5) for _ in range(400)]
        assert 0 <= min(waits) < bound / 10 and bound * 0.9 < max(waits) <= bound


# -- snapshot ----------------------------------------------------------------------------------------------------------


def test_what_no_server_has_is_had_by_a_snapshot() -> None:
    server, source = Server(), Source(answers=[snapshot(50)])
    server.silent()
    world = World([server], [source])
    world.ask(10, 20)
    world.run(5)
    assert world.answers == [("freeze", 0), ("snapshot", 50)]
    assert (world.epoch, world.next_seq, world.ladder.rung) == (2, 50, Rung.IDLE)
    assert not world.ladder.given_up
    assert re.search(r"could not be had of one server \(3 rounds\); fetching a snapshot$", world.notes[-2])
    assert world.notes[-1] == "channel itch: a snapshot from glimpse:1 (5 bytes) joins the feed at message 50"
    world.ask(50, 60)  # the way goes on: a hole behind the snapshot
    server.respond = lambda first, count: [answer(first, count)]
    world.run(0.1)
    assert world.next_seq == 60


def test_without_servers_a_hole_goes_straight_to_the_snapshot() -> None:
    world = World([], [Source(answers=[snapshot(20)])])
    world.ask(10, 20)
    world.run(0.1)
    assert world.answers == [("freeze", 0), ("snapshot", 20)]


def test_a_restart_that_stays_suspected_is_settled_by_a_snapshot() -> None:
    world = World([Server()], [Source(answers=[snapshot(20)])])
    world.suspected = True
    world.run(2.9)
    assert world.answers == []
    world.run(0.2)
    assert world.answers == [("freeze", 0), ("snapshot", 20)] and world.ladder.rung is Rung.IDLE
    assert "may have begun again under the same session id" in world.notes[0]


def test_a_suspicion_that_ends_costs_no_snapshot() -> None:
    world = World([Server()], [Source(answers=[snapshot(20)])])
    world.suspected = True
    world.run(2.0)
    world.suspected = False
    world.run(0.1)
    world.suspected = True
    world.run(2.9)
    assert world.answers == [] and world.sources[0].begun == 0


def test_a_suspicion_that_comes_back_costs_a_snapshot_less_and_less_often() -> None:
    world = World([Server()], [Source(answers=[snapshot(20)] * 100)])
    world.suspected = True
    world.run(3600.0, step=0.05)
    assert 60 <= world.sources[0].begun <= 64  # after 3, 6, 12, 24, 48 s, and then each minute


def test_a_hole_amid_a_suspicion_does_not_put_the_snapshot_off() -> None:
    server = Server()
    server.silent()
    world = World([server], [Source(answers=[snapshot(20)])], attempts=1000)
    world.ask(10, 600)  # of the run before: the snapshot need not reach its end
    world.suspected = True
    world.run(3.5)
    assert world.answers == [("freeze", 0), ("snapshot", 20)]


def test_a_hot_thread_out_of_room_has_frozen_itself() -> None:
    world = World([Server()], [Source(answers=[snapshot(500_000)])])
    world.line.is_frozen = True
    world.ask(10, 400_000, ASK_SNAPSHOT)
    world.run(0.1)
    assert world.answers == [("freeze", 0), ("snapshot", 500_000)] and world.requests() == []


def test_the_snapshot_is_begun_only_once_the_hot_thread_keeps_everything() -> None:
    source = Source(answers=[snapshot(20)])
    world = World([], [source])
    world.line.full = True
    world.ask(10, 20)
    world.run(0.1)
    assert source.begun == 0
    world.line.full = False
    world.run(0.1)
    assert (source.begun, world.epoch) == (1, 2)


def test_refused_and_cut_off_it_is_tried_again_elsewhere() -> None:
    one = Source("one:1", ["login rejected (A)", snapshot(30)])
    two = Source("two:2", ["cut off", "cut off"])
    world = World([], [one, two], attempts=2)
    world.ask(10, 20)
    world.run(5)
    assert world.answers == [("freeze", 0), ("snapshot", 30)]
    assert (one.begun, two.begun, one.cancelled, two.cancelled) == (2, 1, 1, 1)
    assert "channel itch: no snapshot from one:1: login rejected (A)" in world.notes


def test_given_up_is_stale_until_a_later_snapshot_succeeds() -> None:
    source = Source(answers=["refused"] * 4 + [snapshot(90)])
    world = World([], [source], attempts=2, snapshot_retry_ms=1000)
    world.ask(10, 20)
    world.run(1)
    assert world.answers == [("freeze", 0), ("give_up", 0)]
    assert world.ladder.given_up and world.ladder.reason == "refused"
    assert re.search(r"STALE: refused; a snapshot is tried again in \d\.\d s$", world.notes[-1])
    world.next_seq = 40  # it flows on
    world.run(30)
    assert world.answers[2:] == [("freeze", 0), ("give_up", 0), ("freeze", 0), ("snapshot", 90)]
    assert not world.ladder.given_up and world.epoch == 2


def test_a_gap_while_stale_is_asked_for_like_any_other() -> None:
    server = Server()
    world = World([server], [Source(answers=["refused"] * 100)], attempts=1)
    world.line.is_frozen = True
    world.ask(10, 200_010, ASK_SNAPSHOT)
    world.run(1)
    assert world.ladder.given_up
    world.next_seq = 200_010
    world.ask(200_010, 200_020)
    world.run(0.1)
    assert world.next_seq == 200_020 and world.ladder.given_up


@pytest.mark.parametrize("with_server, number, good", [
    (False, 20, True), (False, 19, False), (True, 20, True), (True, 19, False),
])  # fmt: skip
def test_a_snapshot_older_than_what_is_kept_is_tried_again(with_server: bool, number: int, good: bool) -> None:
    server = Server()
    server.silent()
    world = World([server] if with_server else [], [Source(answers=[snapshot(number), snapshot(77)])])
    world.ask(10, 20)
    world.run(5)
    assert world.answers[-1] == ("snapshot", number if good else 77)
    assert any(f"ends before message {number}, and 20 is the oldest" in note for note in world.notes) is not good


def test_after_a_give_up_a_snapshot_must_reach_what_has_been_handed_out_since() -> None:
    world = World([], [Source(answers=["refused", snapshot(30), snapshot(60)])], attempts=1, snapshot_retry_ms=100)
    world.ask(10, 20)
    ladder = world.ladder
    while not ladder.given_up:
        world.run(0.001)
    world.next_seq = 50
    world.run(5)
    assert world.answers[-1] == ("snapshot", 60)


def test_while_the_next_try_is_to_come_gaps_lead_to_no_snapshot() -> None:
    source = Source(answers=["refused"])
    world = World([], [source], attempts=1, snapshot_retry_ms=60_000)
    world.ask(10, 20)
    world.run(1)
    notes = len(world.notes)
    for first in (30, 40, 50):
        world.ask(first, first + 5)
        world.run(0.1)
    world.line.is_frozen = True
    world.ask(60, 70, ASK_SNAPSHOT)
    world.run(0.1)
    assert source.begun == 1 and world.answers == [("freeze", 0)] + [("give_up", 0)] * 5
    assert "tried again" in world.notes[notes - 1]


def test_a_damaged_snapshot_is_a_failed_one() -> None:
    source = Source(answers=[snapshot(30), snapshot(31), snapshot(32)])
    world = World([], [source])
    world.spoil = 2
    world.ask(10, 20)
    world.run(5)
    assert world.answers == [("freeze", 0), ("snapshot", 30), ("snapshot", 31), ("snapshot", 32)]
    assert (world.next_seq, world.epoch, world.ladder.stats["snapshot_failures"]) == (32, 4, 2)
    assert world.ladder.stats["spliced"] == 1 and not world.line.is_frozen


def test_a_snapshot_waits_for_the_feed_to_come_to_its_number() -> None:
    """One from before a restart under the same session id may lie far ahead of the feed."""
    world = World([], [Source(answers=[snapshot(900), snapshot(40)])])
    world.horizon = 30
    world.ask(10, 20)
    world.run(5)
    assert world.ladder.rung is Rung.SPLICE and world.answers == [("freeze", 0)]
    world.run(6)
    assert world.answers == [("freeze", 0)] and world.ladder.stats["snapshot_failures"] == 1
    assert "did not come to its number, 900, within 10 s" in world.notes[-1]
    world.horizon = 40
    world.run(1)
    assert world.answers[-1] == ("snapshot", 40)


def test_snapshots_that_do_not_last_are_no_storm() -> None:
    source = Source(answers=[snapshot(n) for n in range(100, 2000, 10)], delay=0)
    world = World([], [source])
    for _ in range(40):
        if world.ladder.rung is Rung.IDLE:
            world.line.is_frozen = True
            world.ask(world.next_seq, world.next_seq + 5, ASK_SNAPSHOT)
        world.run(0.05)
    assert source.begun < 20


def test_a_snapshot_of_another_session_is_refused_unless_sessions_have_names_of_their_own() -> None:
    world = World([], [Source(answers=[snapshot(20, "OTHER"), snapshot(30)])])
    world.ask(10, 20)
    world.run(5)
    assert world.answers[-1] == ("snapshot", 30)
    assert any("is of session 'OTHER', the feed is in 'TODAY'" in note for note in world.notes)
    world = World([], [Source(answers=[snapshot(20, "OTHER")])], snapshot_session="any")
    world.ask(10, 20)
    world.run(1)
    assert world.answers[-1] == ("snapshot", 20)


def test_a_new_session_amid_the_snapshot_cancels_it() -> None:
    source = Source(delay=1000)
    world = World([], [source])
    world.ask(10, 20)
    world.run(0.1)
    assert world.ladder.rung is Rung.FETCH
    world.epoch, world.next_seq = 2, 1
    world.line.is_frozen = False
    world.run(5)
    assert (world.ladder.rung, source.cancelled, source.begun) == (Rung.IDLE, 1, 1)


def test_over_amid_the_snapshot_changes_nothing_as_it_came_before_the_freeze() -> None:
    world = World([], [Source(answers=[snapshot(20)], delay=50)])
    world.ask(10, 20)
    world.run(0.01)
    world.ask(0, 0, ASK_OVER)
    world.run(1)
    assert world.answers[-1] == ("snapshot", 20)


def test_orders_that_do_not_fit_right_after_the_snapshot_accuse_join() -> None:
    world = World([], [Source(answers=[snapshot(20)])])
    world.ask(10, 20)
    world.run(0.1)
    world.faults = 1
    world.run(0.1)
    world.faults = 2
    world.run(0.1)
    assert [note for note in world.notes if "join = 'at' is wrong" in note] == [world.notes[-1]]
    assert "set [channel.recovery] join = 'after'" in world.notes[-1]
    world = World([], [Source(answers=[snapshot(20)])])
    world.ask(10, 20)
    world.run(10)
    world.faults = 1  # long after: that is something else
    world.run(1)
    assert not any("join" in note for note in world.notes if "wrong" in note)


def test_nothing_is_configured_at_all() -> None:
    world = World()
    world.ask(10, 20)
    world.run(0.1)
    assert world.answers == [("give_up", 0)]

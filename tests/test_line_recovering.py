"""Recovery in scenarios: what the arbiter asks for, what it is answered, and what becomes of the channel."""

import struct

import pytest

from feedhandler import session
from feedhandler._instruments import Instruments
from feedhandler.decode import decoder
from feedhandler.line import ASK_MISSING, ASK_OVER, ASK_SNAPSHOT, Arbiter, Recovery
from feedhandler.records import Quality, Reason
from tests.taken import letters, plain

MS = 1_000_000
NAME = b"SESSION001"
SESSION = ("session", NAME)
LIVE = ("quality", Quality.LIVE, Reason.NONE)
RECOVERING = (Quality.RECOVERING, Reason.GAP)
ANSWERS = 254  # the line number of retransmissions


def mold(first: int, messages: list[bytes], name: bytes = NAME) -> bytes:
    return name + struct.pack(">QH", first, len(messages)) + blob(messages)


def blob(messages: list[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


class Feed:
    """Two lines of one session with a recovery; time in milliseconds; runs as (first, last, line)."""

    def __init__(self, snapshot: bool = False, gap_limit: int = 1000, asks: int = 1024, **options: object) -> None:
        self.recovery = Recovery(snapshot=snapshot, gap_limit=gap_limit, asks=asks)
        self.arbiter = Arbiter(2, recovery=self.recovery, **options)  # type: ignore[arg-type]
        self.framing = session.framing("moldudp64")
        self.name = NAME

    def data(self, line: int, first: int, count: int = 1, at: float = 0) -> list[tuple[object, ...]]:
        return plain(self.arbiter.feed(self.name, first, letters(first, count), int(at * MS), line))

    def number(self, line: int, first: int, at: float = 0, kind: str = "heartbeat") -> list[tuple[object, ...]]:
        return plain(self.arbiter.feed(self.name, first, [], int(at * MS), line, kind=kind))

    def tick(self, at: float) -> list[tuple[object, ...]]:
        return plain(self.arbiter.pass_time(int(at * MS)))

    def answers(self) -> list[tuple[object, ...]]:
        return plain(self.arbiter.take_answers(self.framing))

    def packet(self, first: int, count: int, name: bytes = NAME, epoch: int = 1) -> list[tuple[object, ...]]:
        assert self.recovery.packet(epoch, mold(first, letters(first, count), name))
        return self.answers()

    def snapshot(self, number: int, messages: list[bytes], epoch: int = 1) -> list[tuple[object, ...]]:
        assert self.recovery.snapshot(epoch, number, blob(messages))
        return self.answers()

    @property
    def asked(self) -> list[tuple[int, ...]]:
        """Asks as (kind, epoch, first, count)."""
        return [(a.kind, a.epoch, a.first, a.count) for a in self.recovery.asks()]

    @property
    def quality(self) -> tuple[int, int]:
        return self.arbiter.state[:2]

    def counts(self, *names: str) -> list[int]:
        return [self.arbiter.counts[name] for name in names]


def test_a_hole_that_is_due_is_asked_for_and_nothing_behind_it_goes_out_until_it_is_filled() -> None:
    feed = Feed(reorder_us=1000)
    feed.data(0, 1, at=0)
    assert feed.data(0, 4, 2, at=1) == []
    assert (feed.tick(1.999), feed.asked) == ([], [])
    assert feed.tick(2) == [("gap", 2, 2)]
    assert (feed.quality, feed.asked) == (RECOVERING, [(ASK_MISSING, 1, 2, 2)])
    assert feed.data(0, 6, at=3) == []
    assert feed.packet(2, 2) == [(2, 3, ANSWERS), LIVE, (4, 5, 0), (6, 6, 0)]
    assert feed.asked == [(ASK_OVER, 1, 4, 0)]
    assert feed.data(1, 7, at=4) == [(7, 7, 1)]
    assert feed.counts("gaps", "missing", "recovered", "lost") == [1, 2, 2, 0]
    assert feed.arbiter.line_counts(ANSWERS)["won"] == 2


def test_every_hole_known_is_asked_for_at_once_and_a_later_one_when_it_is_old_enough() -> None:
    feed = Feed(reorder_us=1000)
    feed.data(0, 1)
    feed.data(0, 3, at=0)
    feed.data(0, 6, 2, at=0.9)
    assert feed.tick(1) == [("gap", 2, 1)]
    assert feed.asked == [(ASK_MISSING, 1, 2, 1), (ASK_MISSING, 1, 4, 2)]
    feed.data(0, 10, at=2)
    assert (feed.tick(2.9), feed.asked) == ([], [])
    feed.data(1, 9, at=2.95)
    assert (feed.tick(3), feed.asked) == ([], [(ASK_MISSING, 1, 8, 1)])
    assert feed.packet(4, 2) == []
    assert feed.packet(2, 1) == [(2, 2, ANSWERS), (3, 3, 0), (4, 5, ANSWERS), (6, 7, 0)]
    assert feed.packet(8, 1) == [(8, 8, ANSWERS), LIVE, (9, 9, 1), (10, 10, 0)]
    assert feed.counts("gaps", "missing", "recovered") == [3, 4, 4]


def test_the_other_lines_late_copy_fills_a_hole_as_well() -> None:
    feed = Feed(reorder_us=1000)
    feed.data(0, 1)
    feed.data(0, 4, at=0)
    feed.tick(1)
    assert feed.data(1, 2, 3, at=9) == [(2, 3, 1), LIVE, (4, 4, 0)]
    assert [kind for kind, *_ in feed.asked] == [ASK_MISSING, ASK_OVER]
    assert feed.packet(2, 2) == []
    assert feed.counts("recovered", "answers_refused") == [2, 1]


@pytest.mark.parametrize(
    "first, count, name, epoch",
    [(5, 1, NAME, 1), (9, 3, NAME, 1), (2, 2, b"SESSION002", 1), (2, 2, NAME, 2), (2, 2, NAME, 0), (0, 1, NAME, 1)],
)
def test_what_was_not_asked_for_is_refused(first: int, count: int, name: bytes, epoch: int) -> None:
    feed = Feed()
    feed.data(0, 1)
    feed.data(0, 4, at=0)
    feed.tick(1)
    assert feed.packet(first, count, name, epoch) == []
    assert feed.counts("answers_refused") == [1] and feed.quality == RECOVERING
    assert feed.packet(2, 2) == [(2, 3, ANSWERS), LIVE, (4, 4, 0)]


def test_of_an_answer_with_more_than_was_asked_for_only_that_counts_and_the_rest_is_asked_on() -> None:
    feed = Feed()
    feed.data(0, 1)
    feed.data(0, 6, at=0)
    feed.tick(1)
    assert feed.packet(1, 2) == [(2, 2, ANSWERS)]
    assert feed.packet(4, 9) == []
    assert feed.packet(3, 1) == [(3, 3, ANSWERS), LIVE, (4, 5, ANSWERS), (6, 6, 0)]
    assert feed.counts("recovered", "answers_refused") == [4, 1]
    assert feed.data(0, 7) == [(7, 7, 0)]  # what the answer said of 7 and more was not believed


def test_the_tail_shown_by_a_heartbeat_is_recovered_too() -> None:
    feed = Feed()
    feed.data(0, 1)
    feed.number(0, 5, at=0)
    assert feed.tick(1) == [("gap", 2, 3)]
    feed.number(0, 7, at=5)
    feed.tick(6)
    feed.tick(7)
    assert feed.asked == [(ASK_MISSING, 1, 2, 3), (ASK_MISSING, 1, 5, 2)]
    assert feed.packet(2, 5) == [(2, 6, ANSWERS), LIVE]


def test_late_start_is_the_hole_from_one() -> None:
    feed = Feed()
    assert feed.data(0, 500, at=0) == [SESSION]
    assert feed.tick(1) == [("gap", 1, 499)]
    assert feed.quality == (Quality.RECOVERING, Reason.JOINED_LATE)
    assert feed.packet(1, 400) == [(1, 400, ANSWERS)]
    assert feed.packet(401, 99) == [(401, 499, ANSWERS), LIVE, (500, 500, 0)]


def test_given_up_it_is_a_gap_as_ever_and_stale_for_good() -> None:
    feed = Feed()
    feed.data(0, 1)
    feed.data(0, 4)
    feed.data(0, 7)
    feed.tick(1)
    assert feed.recovery.give_up(1)
    assert feed.answers() == [
        ("gap", 2, 2),
        (4, 4, 0),
        ("gap", 5, 2),
        (7, 7, 0),
    ]
    assert feed.quality == (Quality.STALE, Reason.GAP)
    assert [kind for kind, *_ in feed.asked] == [ASK_MISSING, ASK_MISSING, ASK_OVER]
    assert feed.data(0, 9, at=2) == []
    assert feed.tick(3) == [("gap", 8, 1)]
    assert feed.packet(8, 1) == [(8, 8, ANSWERS), (9, 9, 0)]
    assert feed.quality == (Quality.STALE, Reason.GAP)
    assert feed.counts("gaps", "missing", "recovered", "lost") == [3, 5, 1, 4]


def test_a_gap_too_large_without_snapshots_is_given_up_when_its_turn_comes() -> None:
    feed = Feed(gap_limit=5)
    feed.data(0, 1)
    feed.data(0, 4)
    feed.data(0, 20)
    assert feed.tick(1) == [("gap", 2, 2)]
    assert feed.asked == [(ASK_MISSING, 1, 2, 2)]
    assert feed.packet(2, 2) == [
        (2, 3, ANSWERS),
        LIVE,
        (4, 4, 0),
        ("gap", 5, 15),
        (20, 20, 0),
    ]
    assert feed.quality == (Quality.STALE, Reason.GAP)
    assert feed.counts("recovered", "lost") == [2, 15]


def test_a_gap_too_large_freezes_and_a_snapshot_is_spliced_in() -> None:
    feed = Feed(snapshot=True, gap_limit=5)
    feed.data(0, 1)
    assert feed.data(0, 20, 3, at=0) == []
    assert feed.tick(1) == [("gap", 2, 18)]
    assert (feed.quality, feed.recovery.frozen()) == (RECOVERING, True)
    assert feed.asked == [(ASK_SNAPSHOT, 1, 2, 18)]
    assert feed.data(1, 23, 2, at=2) == []
    assert feed.snapshot(22, [b"order", b"book"]) == [
        ("snapshot", 22),
        ("loaded", [b"order", b"book"]),
        LIVE,
        (22, 22, 0),
        (23, 24, 1),
    ]
    assert not feed.recovery.frozen()
    assert feed.arbiter.state == (Quality.LIVE, Reason.NONE, 2)
    assert feed.asked == [(ASK_OVER, 2, 22, 0)]
    assert feed.counts("snapshots", "spanned", "lost") == [1, 20, 0]
    assert feed.data(0, 25, at=3) == [(25, 25, 0)]


def test_a_hole_behind_the_snapshot_is_asked_for_like_any_other() -> None:
    feed = Feed(snapshot=True, gap_limit=5)
    feed.data(0, 1)
    feed.data(0, 20, 3, at=0)
    feed.data(0, 25, at=0)
    feed.tick(1)
    feed.asked  # noqa: B018
    assert feed.snapshot(18, [b"x"]) == [("snapshot", 18), ("loaded", [b"x"]), ("gap", 18, 2)]
    assert feed.quality == RECOVERING
    assert feed.asked == [(ASK_OVER, 2, 18, 0), (ASK_MISSING, 2, 18, 2), (ASK_MISSING, 2, 23, 2)]
    assert feed.packet(18, 2, epoch=1) == []
    assert feed.packet(23, 2, epoch=2) == []
    assert feed.packet(18, 2, epoch=2) == [(18, 19, ANSWERS), LIVE, (20, 22, 0), (23, 24, ANSWERS), (25, 25, 0)]


def test_a_snapshot_ahead_of_all_that_was_received() -> None:
    feed = Feed(snapshot=True, gap_limit=5)
    feed.data(0, 1)
    feed.data(0, 20, 3, at=0)
    feed.tick(1)
    assert feed.snapshot(40, []) == [("snapshot", 40), ("loaded", []), LIVE]
    assert feed.data(0, 23, 17, at=2) == []
    assert feed.data(0, 40, at=2) == [(40, 40, 0)]


def test_a_snapshot_that_is_too_old_or_of_another_epoch_is_refused_and_another_one_asked_for() -> None:
    feed = Feed(snapshot=True, gap_limit=5)
    feed.data(0, 1, 9)
    feed.data(0, 20, at=0)
    feed.tick(1)
    assert feed.snapshot(9, [b"x"]) == []
    assert feed.asked == [(ASK_SNAPSHOT, 1, 10, 10), (ASK_SNAPSHOT, 1, 10, 10)]
    assert feed.snapshot(20, [b"x"], epoch=7) == []
    assert feed.counts("answers_refused", "snapshots") == [2, 0]
    assert (feed.quality, feed.recovery.frozen()) == (RECOVERING, True)


def test_a_window_that_is_full_freezes_and_drops_its_oldest() -> None:
    feed = Feed(snapshot=True, window_messages=16)
    feed.data(0, 1)
    feed.data(0, 3, 14, at=0)
    feed.tick(1)
    assert feed.asked == [(ASK_MISSING, 1, 2, 1)]
    assert feed.data(0, 17, 4, at=2) == []
    assert feed.asked == [(ASK_SNAPSHOT, 1, 2, 1)]
    assert feed.counts("lost", "window_full") == [2, 1]  # 3 and 4: 5 to 20 wait
    turned = [(10, 15, 0), (16, 16, 0), (17, 20, 0)]  # the ring turns at 16
    assert feed.packet(2, 2) == []  # in time for nothing: behind it some are gone
    assert feed.snapshot(10, [b"x"]) == [("snapshot", 10), ("loaded", [b"x"]), LIVE, *turned]


def test_without_snapshots_a_full_window_gives_up_the_hole() -> None:
    feed = Feed(window_messages=16)
    feed.data(0, 1)
    feed.data(0, 3, 14, at=0)
    feed.tick(1)
    assert feed.data(0, 17, 4, at=2) == [("gap", 2, 1), (3, 15, 0), (16, 16, 0), (17, 18, 0), (19, 20, 0)]
    assert feed.quality == (Quality.STALE, Reason.GAP)
    assert [kind for kind, *_ in feed.asked] == [ASK_MISSING, ASK_OVER]


def test_frozen_by_the_control_path_and_given_up_again_nothing_is_lost() -> None:
    feed = Feed(snapshot=True)
    feed.data(0, 1)
    assert feed.recovery.freeze(1)
    assert feed.answers() == [("quality", *RECOVERING)]
    assert [feed.data(0, n, at=1) for n in (2, 3)] == [[], []]
    assert feed.recovery.give_up(1)
    assert feed.answers() == [(2, 3, 0), LIVE]
    assert feed.data(0, 4) == [(4, 4, 0)]


def test_after_giving_up_a_snapshot_makes_the_channel_live_again() -> None:
    feed = Feed(snapshot=True)
    feed.data(0, 1)
    feed.data(0, 4)
    feed.tick(1)
    feed.recovery.give_up(1)
    feed.answers()
    assert feed.quality == (Quality.STALE, Reason.GAP)
    feed.recovery.freeze(1)
    assert feed.answers() == [("quality", *RECOVERING)]
    assert feed.data(0, 5, at=2) == []
    assert feed.snapshot(5, [b"x"]) == [("snapshot", 5), ("loaded", [b"x"]), LIVE, (5, 5, 0)]


def test_a_new_session_ends_the_recovery_of_the_old_one() -> None:
    feed = Feed()
    feed.data(0, 1)
    feed.data(0, 4)
    feed.tick(1)
    feed.name = b"SESSION002"
    taken = feed.data(0, 1, at=2)
    assert [what for what in taken if what[0] != "quality"] == [
        ("gap", 2, 2),
        (4, 4, 0),
        ("session", b"SESSION002"),
        (1, 1, 0),
    ]
    assert feed.asked == [(ASK_MISSING, 1, 2, 2), (ASK_OVER, 1, 4, 0)]
    assert feed.packet(2, 2) == []
    assert feed.packet(2, 2, epoch=2) == []
    assert feed.quality == (Quality.LIVE, Reason.NONE)


def test_a_new_session_thaws() -> None:
    feed = Feed(snapshot=True, gap_limit=1)
    feed.data(0, 1)
    feed.data(0, 4)
    feed.tick(1)
    assert feed.recovery.frozen()
    feed.name = b"SESSION002"
    taken = [what for what in feed.data(0, 1, at=2) if what[0] != "quality"]
    assert taken == [("gap", 2, 2), (4, 4, 0), ("session", b"SESSION002"), (1, 1, 0)]
    assert not feed.recovery.frozen()
    assert [kind for kind, *_ in feed.asked] == [ASK_SNAPSHOT, ASK_OVER]


def test_the_end_of_the_input_gives_up_what_is_asked_for() -> None:
    feed = Feed()
    feed.data(0, 1)
    feed.data(0, 4)
    feed.tick(1)
    taken = plain(feed.arbiter.end_input())
    assert [what for what in taken if what[0] != "quality"] == [("gap", 2, 2), (4, 4, 0)]
    assert feed.quality == (Quality.STALE, Reason.GAP)
    assert feed.packet(2, 2) == []


def test_after_the_end_of_the_session_the_tail_can_still_be_had() -> None:
    feed = Feed(silence_ms=3000)
    feed.data(0, 1)
    assert feed.number(0, 4, kind="end") == []
    assert feed.tick(1) == [("gap", 2, 2)]
    feed.tick(60_000)
    assert feed.quality == RECOVERING
    assert feed.packet(2, 2) == [(2, 3, ANSWERS), LIVE, ("end", 3)]
    assert feed.quality == (Quality.LIVE, Reason.SESSION_ENDED)


def test_silence_while_recovering_is_stale_and_an_answer_is_no_sign_of_life() -> None:
    feed = Feed(silence_ms=3000)
    feed.data(0, 1)
    feed.data(0, 4)
    feed.tick(1)
    assert feed.tick(3001) == [("quality", Quality.STALE, Reason.SILENT)]
    assert feed.packet(2, 2) == [(2, 3, ANSWERS), (4, 4, 0)]
    assert feed.quality == (Quality.STALE, Reason.SILENT)
    assert feed.number(1, 5, at=4000) == [LIVE]


def event(number: int) -> bytes:
    return b"S" + bytes(4) + number.to_bytes(6, "big") + b"O"


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_malformed_retransmission_is_asked_for_again_some_times(snapshot: bool) -> None:
    feed = Feed(snapshot=snapshot, decoder=decoder("itch50", Instruments.standalone(16)))
    arbiter = feed.arbiter
    arbiter.feed(NAME, 1, [event(1)], 0, 0)
    arbiter.feed(NAME, 4, [event(4)], 0, 0)
    assert feed.tick(1) == [("gap", 2, 2)]
    feed.recovery.packet(1, mold(2, [event(2), b"S"]))
    assert arbiter.take_answers(feed.framing)[0][1] == 2
    assert feed.asked == [(ASK_MISSING, 1, 2, 2), (ASK_MISSING, 1, 3, 1)]
    for _ in range(5):
        feed.recovery.packet(1, mold(3, [b"S"]))
        arbiter.take_answers(feed.framing)
    assert feed.asked[:3] == [(ASK_MISSING, 1, 3, 1)] * 3
    assert feed.recovery.frozen() == snapshot
    assert feed.quality == (RECOVERING if snapshot else (Quality.STALE, Reason.GAP))


def test_a_malformed_snapshot_is_worth_nothing_and_another_one_is_asked_for() -> None:
    feed = Feed(snapshot=True, gap_limit=1, decoder=decoder("itch50", Instruments.standalone(16)))
    feed.arbiter.feed(NAME, 1, [event(1)], 0, 0)
    feed.arbiter.feed(NAME, 4, [event(4)], 0, 0)
    feed.tick(1)
    feed.recovery.snapshot(1, 3, blob([event(1), b"S"]))
    assert feed.arbiter.take_answers() == [("snapshot", 3), ("spoilt",), ("gap", 3, 1)]
    assert feed.asked == [(ASK_SNAPSHOT, 1, 2, 2), (ASK_SNAPSHOT, 2, 3, 1)]
    assert feed.quality == RECOVERING
    feed.recovery.snapshot(2, 3, blob([event(1)]))
    assert feed.arbiter.take_answers()[:2] == [("snapshot", 3), ("loaded", [event(1)])]
    feed.recovery.packet(3, mold(3, [event(3)]))
    assert [what[1] for what in feed.arbiter.take_answers(feed.framing) if what[0] == "run"] == [3, 4]
    assert feed.quality == (Quality.LIVE, Reason.NONE)


def test_a_full_ring_of_asks_only_delays_them() -> None:
    feed = Feed(asks=1, window_messages=1024)
    feed.data(0, 1)
    for n in range(3, 43, 2):
        feed.data(0, n)
    feed.tick(1)
    asked = []
    for at in range(2, 40):
        asked += feed.asked
        feed.tick(at)
    assert asked == [(ASK_MISSING, 1, n, 1) for n in range(2, 42, 2)]


def test_a_clock_that_is_set_back_only_delays_too() -> None:
    feed = Feed(reorder_us=1000)
    feed.data(0, 1, at=10)
    feed.data(0, 3, at=10)
    feed.tick(11)
    feed.data(0, 5, at=3)
    feed.tick(3)
    feed.tick(4)
    feed.tick(5)
    assert feed.asked == [(ASK_MISSING, 1, 2, 1), (ASK_MISSING, 1, 4, 1)]


def test_messages_dropped_while_frozen_are_missing_like_those_asked_for_around_them() -> None:
    feed = Feed(snapshot=True, window_messages=8)
    feed.data(0, 1)
    feed.data(0, 3, 2)
    feed.tick(1)  # [2, 5) is known, 2 asked for
    for number in range(5, 14):
        feed.data(0, number, at=2)  # no room for 13: frozen; 3, 4 and 5 are dropped
    assert feed.counts("missing", "lost") == [3, 3]
    assert feed.asked == [(ASK_MISSING, 1, 2, 1), (ASK_SNAPSHOT, 1, 2, 1)]
    assert feed.recovery.give_up(1)
    assert feed.answers() == [("gap", 2, 4), (6, 7, 0), (8, 13, 0)]
    assert feed.counts("missing", "lost") == [4, 4]
    feed.data(0, 16, at=3)
    feed.tick(5)
    assert feed.asked == [(ASK_OVER, 1, 14, 0), (ASK_MISSING, 1, 14, 2)]  # nothing is left over of the gap before
    assert feed.packet(14, 2) == [(14, 15, ANSWERS), (16, 16, 0)]


def suspected() -> Feed:
    """A hole at 10 with 12 behind it; then line 0 shows low numbers, line 1 none."""
    feed = Feed(snapshot=True)
    feed.data(0, 1, 9)
    feed.data(1, 12)
    feed.tick(1)
    feed.number(0, 1, at=1000)
    assert feed.number(0, 1, at=2000)[-1] == ("quality", Quality.STALE, Reason.RESTART)
    return feed


def test_a_snapshot_begun_after_a_suspicion_settles_it_and_drops_what_waited_before() -> None:
    feed = suspected()
    feed.recovery.freeze(1)
    feed.tick(2001)
    assert feed.answers() == []
    feed.data(0, 14, at=2002)
    assert feed.snapshot(11, [b"x"]) == [
        ("snapshot", 11),
        ("loaded", [b"x"]),
        ("quality", *RECOVERING),
        ("gap", 11, 3),
    ]
    assert feed.asked[-1] == (ASK_MISSING, 2, 11, 3)  # 12 with them: it is of the run before, perhaps


def test_a_snapshot_begun_before_a_suspicion_does_not_settle_it() -> None:
    feed = Feed(snapshot=True)
    feed.data(0, 1, 9)
    feed.number(1, 10)
    feed.recovery.freeze(1)
    feed.answers()
    feed.number(0, 1, at=1000)
    assert feed.number(0, 1, at=2000)[-1] == ("quality", Quality.STALE, Reason.RESTART)
    feed.snapshot(20, [b"x"])
    assert feed.quality == (Quality.STALE, Reason.RESTART)
    feed.recovery.freeze(2)
    feed.answers()
    feed.snapshot(25, [b"x"], epoch=2)
    assert feed.quality == LIVE[1:]


def test_messages_sent_before_a_restart_under_the_same_session_id_fill_no_hole_of_the_run_behind_it() -> None:
    def iex(first: int, messages: list[bytes], sent: int) -> bytes:
        blocks = b"".join(struct.pack("<H", len(m)) + m for m in messages)
        head = struct.pack("<BBHIIHHQQQ", 1, 0, 0x8004, 1, 1, len(blocks), len(messages), 0, first, sent)
        return head + blocks

    framing, recovery = session.framing("iextp"), Recovery()
    arbiter = Arbiter(1, recovery=recovery, skew_ms=1000)
    name = framing.feed(iex(1, [b"x"], 1))[0][0]["session"]
    for number in (1, 2, 3):
        arbiter.feed(name, number, [b"old %d" % number], 10_000 * MS, 0, send_time=10_000 * MS)
    arbiter.feed(name, 3, [b"new 3"], 20_000 * MS, 0, send_time=20_000 * MS)
    arbiter.pass_time(20_010 * MS)
    assert [(a.epoch, a.first, a.count) for a in recovery.asks()] == [(2, 1, 2)]
    assert recovery.packet(2, iex(1, [b"old 1", b"old 2"], 10_000 * MS))
    assert arbiter.take_answers(framing) == [] and arbiter.counts["answers_refused"] == 1
    assert recovery.packet(2, iex(1, [b"new 1", b"new 2"], 10_500 * MS))  # within the skew of the restart
    assert [what[1:3] for what in arbiter.take_answers(framing) if what[0] == "run"] == [
        (1, [b"new 1", b"new 2"]),
        (3, [b"new 3"]),
    ]


def test_a_restart_while_a_hole_is_open_does_not_fill_it() -> None:
    arbiter = Arbiter(1, recovery=Recovery(), skew_ms=1000)
    arbiter.feed(NAME, 1, [b"old 1"], 10_000 * MS, 0, send_time=10_000 * MS)
    arbiter.feed(NAME, 4, [b"old 4"], 10_001 * MS, 0, send_time=10_001 * MS)
    arbiter.pass_time(10_010 * MS)
    taken = arbiter.feed(NAME, 2, [b"new 2", b"new 3"], 20_000 * MS, 0, send_time=20_000 * MS)
    assert [what[:3] for what in taken] == [("gap", 2, 2), ("run", 4, [b"old 4"]), ("session", NAME)]
    taken = arbiter.feed(NAME, 1, [b"new 1"], 20_000 * MS, 0, send_time=20_001 * MS)
    assert [what[1:3] for what in taken if what[0] == "run"] == [(1, [b"new 1"]), (2, [b"new 2", b"new 3"])]

"""IEX-TP's stream offset tells a restart whose numbers begin where the old run's ended, or beyond."""

import pytest

from feedhandler import session
from feedhandler.line import ASK_MISSING, Arbiter, Recovery
from feedhandler.records import Quality, Reason
from tests.taken import letters, plain
from tests.test_session_framing import iextp

S = 1_000_000_000
NAME = b"S"
SESSION = ("session", NAME)
LIVE = (Quality.LIVE, Reason.NONE)


class Feed:
    """An arbiter of a feed whose packets say their offset: each message is three bytes there, its length included."""

    def __init__(self, lines: int = 2, **options: object) -> None:
        self.arbiter = Arbiter(lines, **options)  # type: ignore[arg-type]

    def data(self, line: int, first: int, count: int, at: float, offset: int) -> list[tuple[object, ...]]:
        """Letters, sent when they come."""
        ts = int(at * S)
        return plain(
            self.arbiter.feed(NAME, first, letters(first, count), ts, line, send_time=1000 * S + ts, offset=offset)
        )

    def heartbeat(self, line: int, first: int, at: float, offset: int) -> list[tuple[object, ...]]:
        ts = int(at * S)
        return plain(
            self.arbiter.feed(NAME, first, [], ts, line, kind="heartbeat", send_time=1000 * S + ts, offset=offset)
        )


def begun(**options: object) -> Feed:
    """Messages 1 to 4, on both lines."""
    feed = Feed(**options)  # type: ignore[arg-type]
    assert feed.data(0, 1, 2, 0.0, 0) == [SESSION, (1, 2, 0)]
    assert feed.data(1, 1, 2, 0.0, 0) == []
    assert feed.data(1, 3, 2, 0.1, 6) == [(3, 4, 1)]
    return feed


def test_offsets_that_go_on_are_no_restart() -> None:
    feed = begun()
    assert feed.heartbeat(0, 5, 1.0, 12) == []
    assert feed.data(0, 3, 3, 1.1, 6) == [(5, 5, 0)]
    assert feed.data(0, 8, 2, 1.1, 21) == []
    assert feed.data(1, 6, 2, 1.1, 15) == [(6, 7, 1), (8, 9, 0)]
    assert feed.data(1, 10, 2, 1.1, 27) == [(10, 11, 1)]
    assert feed.arbiter.counts["restarts"] == 0 and feed.arbiter.state[:2] == LIVE


@pytest.mark.parametrize("offset", [0, 11, 13, 500])
def test_a_run_that_begins_with_the_number_expected_is_told_by_its_offset(offset: int) -> None:
    feed = begun()
    assert feed.data(0, 5, 2, 0.2, offset) == [SESSION]
    assert feed.arbiter.counts["restarts"] == 1 and feed.arbiter.state[:2] != LIVE
    assert feed.arbiter.pass_time(1 * S) == [("gap", 1, 4), ("run", 5, letters(5, 2), S // 5, 0)]


def test_a_heartbeat_with_the_number_expected_and_another_offset_is_a_restart() -> None:
    feed = begun()
    assert feed.heartbeat(1, 5, 1.0, 400) == [SESSION]
    assert feed.data(0, 1, 4, 1.0005, 0) == [(1, 4, 0)]


def test_a_run_beyond_the_highest_number_whose_offset_leaves_no_room_is_a_restart() -> None:
    feed = begun()
    assert feed.data(0, 8, 1, 0.2, 17) == [SESSION]


def test_a_packet_that_overlaps_is_compared_where_the_expected_number_stands() -> None:
    feed = begun()
    assert feed.data(0, 4, 2, 0.2, 9) == [(5, 5, 0)]
    assert feed.data(0, 5, 2, 0.3, 13) == [SESSION]


def test_what_waits_beyond_a_hole_is_compared_with_what_follows_it() -> None:
    feed = begun()
    assert feed.data(0, 8, 2, 0.2, 21) == []
    assert feed.data(0, 10, 1, 0.2, 28)[-1] == SESSION


def test_a_straggler_of_the_old_run_is_late_and_no_restart() -> None:
    feed = begun()
    feed.data(0, 5, 2, 0.2, 0)
    feed.data(0, 1, 4, 0.3, 400)
    assert feed.data(1, 7, 1, 0.15, 18) == []
    assert (feed.arbiter.counts["restarts"], feed.arbiter.line_counts(1)["late"]) == (1, 1)


def test_a_retransmission_tells_a_restart_that_lies_in_the_hole() -> None:
    """The lines were out; what came then had numbers beyond, and an offset that might have been."""
    framing, recovery = session.framing("iextp"), Recovery()
    arbiter = Arbiter(1, recovery=recovery, skew_ms=1000)

    def line(first: int, at: int, offset: int) -> list[tuple[object, ...]]:
        ((fields, messages),) = framing.feed(iextp(first, letters(first, 2), at, offset=offset))
        return plain(arbiter.feed(fields["session"], first, messages, at, 0, send_time=at, offset=fields["offset"]))

    line(1, 10 * S, 0)
    line(7, 20 * S, 60)
    arbiter.pass_time(20 * S + S // 10)
    assert [(a.kind, a.first, a.count) for a in recovery.asks()] == [(ASK_MISSING, 3, 4)]
    assert recovery.packet(1, iextp(3, letters(3, 4), 19 * S, offset=20))
    taken = plain(arbiter.take_answers(framing))
    assert [what[0] for what in taken] == ["gap", 7, "session"] and arbiter.counts["restarts"] == 1
    arbiter.pass_time(21 * S)
    assert [(a.kind, a.epoch, a.first, a.count) for a in recovery.asks()][-1] == (ASK_MISSING, 2, 1, 6)

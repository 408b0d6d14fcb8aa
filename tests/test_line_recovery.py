"""Recovery: what the hot thread asks and the control path answers, through two rings."""

import struct
import threading

import pytest

from feedhandler.line import ASK_MISSING, ASK_OVER, ASK_SNAPSHOT, Ask, Recovery

SESSION = b"S".ljust(16, b"\0")


def blob(*messages: bytes) -> bytes:
    """Messages as a snapshot brings them, each behind its length."""
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


def test_asks_come_out_as_they_went_in_and_no_more_than_there_is_room_for() -> None:
    recovery = Recovery(asks=2)
    told = 0
    while recovery.tell(ASK_MISSING, 7, b"S", 10 + told, 5, 99):
        told += 1
    assert 2 <= told <= 4
    assert recovery.asks() == [Ask(ASK_MISSING, 7, SESSION, 10 + n, 5, 99) for n in range(told)]
    assert recovery.tell(ASK_SNAPSHOT, 7, b"S") and recovery.tell(ASK_OVER, 8, b"T")
    assert [ask.kind for ask in recovery.asks()] == [ASK_SNAPSHOT, ASK_OVER]
    assert recovery.asks() == []


def test_answers_come_out_as_they_went_in() -> None:
    recovery = Recovery()
    assert recovery.packet(1, b"one") and recovery.freeze(1) and recovery.packet(1, b"") and recovery.give_up(2)
    assert [(kind, epoch, data) for kind, epoch, _, data, _, _ in recovery.answers()] == [
        ("packet", 1, b"one"),
        ("freeze", 1, b""),
        ("packet", 1, b""),
        ("give_up", 2, b""),
    ]
    assert not recovery.frozen()


def test_a_full_ring_says_so_and_has_room_again_when_it_was_emptied() -> None:
    recovery = Recovery(answer_bytes=1 << 18)
    packets = [bytes([n % 251]) * (60_000 - n) for n in range(40)]
    brought: list[bytes] = []
    waits = 0
    for packet in packets:
        while not recovery.packet(3, packet):
            waits += 1
            brought += [answer[3] for answer in recovery.answers()]
    brought += [answer[3] for answer in recovery.answers()]
    assert (brought, waits > 5) == (packets, True)


@pytest.mark.parametrize("count, length", [(0, 0), (1, 0), (3, 30_000), (20_000, 36), (30, 65_535)])
def test_a_snapshot_comes_in_pieces_of_whole_messages(count: int, length: int) -> None:
    recovery = Recovery(answer_bytes=1 << 18)
    whole = blob(*(bytes([n % 251]) * length for n in range(count)))
    pieces = []
    while not recovery.snapshot(5, 1234, whole):
        pieces += recovery.answers()
    pieces += recovery.answers()
    assert b"".join(piece[3] for piece in pieces) == whole
    assert {piece[:3] for piece in pieces} == {("snapshot", 5, 1234)}
    assert [piece[4] for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [piece[5] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    for piece in pieces:
        at, data = 0, piece[3]
        assert len(data) <= 65_537
        while at < len(data):
            at += 2 + int.from_bytes(data[at : at + 2], "big")
        assert at == len(data)


def test_a_snapshot_that_does_not_add_up_is_refused_before_any_of_it_is_handed_over() -> None:
    recovery = Recovery()
    for broken in (b"\0", b"\0\5abc", blob(b"whole") + b"\0\1"):
        with pytest.raises(ValueError, match="do not add up"):
            recovery.snapshot(1, 1, broken)
    for number in (0, 2**63):
        with pytest.raises(ValueError, match="number"):
            recovery.snapshot(1, number, b"")
    assert recovery.answers() == []


def test_two_threads_at_once() -> None:
    recovery = Recovery(answer_bytes=1 << 18)
    packets = [n.to_bytes(4, "big") * (1 + n % 3000) for n in range(2000)]
    brought: list[bytes] = []

    def take() -> None:
        while len(brought) < len(packets):
            brought.extend(answer[3] for answer in recovery.answers())

    taker = threading.Thread(target=take)
    taker.start()
    for packet in packets:
        while not recovery.packet(1, packet):
            pass
    taker.join(30)
    assert brought == packets


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="asks"):
        Recovery(asks=0)
    with pytest.raises(ValueError, match="answer_bytes"):
        Recovery(answer_bytes=1000)
    with pytest.raises(ValueError, match="gap_limit"):
        Recovery(gap_limit=0)
    with pytest.raises(ValueError, match="at most 65535 bytes"):
        Recovery().packet(1, bytes(65_536))
    with pytest.raises(ValueError, match="16 bytes"):
        Recovery().tell(ASK_OVER, 1, b"x" * 17)

"""Malformed messages are shown to people, one now and then, with their bytes."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from feedhandler import malformed
from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.handler import Handler
from feedhandler.line import Arbiter
from feedhandler.rehearse._packets import PacketQueue

SYSTEM = b"S" + bytes(10) + b"O"
ADD_CUT_SHORT = b"A" + bytes(range(1, 20))


def mold(first: int, *messages: bytes) -> bytes:
    blocks = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    return b"TODAY     " + first.to_bytes(8, "big") + len(messages).to_bytes(2, "big") + blocks


def config(lines: int) -> Config:
    channel = Channel(name="itch", protocol="itch50", session="moldudp64", venue="XNAS", date=date(2026, 11, 20),
                      lines=tuple(Line(name="AB"[n], port=0) for n in range(lines)))  # fmt: skip
    return Config(Shm(name="x"), Books(instruments=16, orders=100), Ring(events=64), Run(wait="block"), (channel,))


@pytest.mark.wire
@pytest.mark.parametrize("ahead", [False, True], ids=["in order", "ahead of sequence"])
def test_a_malformed_message_is_shown_with_its_bytes(ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = PacketQueue(2)
    with Handler(config(2), receiver=queue, anonymous=True) as handler:
        before = len(handler.notes)
        queue.put(0, 1, mold(1, SYSTEM))
        queue.put(1, 2, mold(3 if ahead else 2, ADD_CUT_SHORT, SYSTEM))
        handler.shard.turn_once()
        handler.show_malformed()
        number = 3 if ahead else 2
        assert list(handler.notes)[before:] == [
            f"channel itch: message {number} is malformed, of line B, 20 bytes: {ADD_CUT_SHORT.hex(' ')}"
        ]
        queue.put(0, 3, mold(10, ADD_CUT_SHORT))
        handler.shard.turn_once()
        handler.show_malformed()
        assert len(handler.notes) == before + 1  # not so soon
        monkeypatch.setattr(malformed, "SAMPLE_SECONDS", 0.0)
        handler.show_malformed()
        assert "message 10 is malformed, of line A" in handler.notes[-1]


def test_the_running_handler_shows_them(wait_for: Callable[..., Any]) -> None:
    queue = PacketQueue(1)
    queue.put(0, 1, mold(1, SYSTEM, ADD_CUT_SHORT))
    with Handler(config(1), receiver=queue, anonymous=True) as handler:
        handler.start()
        wait_for(lambda: any("message 2 is malformed" in note for note in handler.notes), what="the note")


@pytest.mark.wire
def test_the_first_is_kept_until_it_is_taken() -> None:
    arbiter = Arbiter()
    assert arbiter.malformed.take() is None
    queue = PacketQueue(1)
    long = b"R" + bytes(20)
    with Handler(config(1), receiver=queue, anonymous=True) as handler:
        queue.put(0, 1, mold(1, long))
        queue.put(0, 2, mold(2, b"", b"\xff" * 300, ADD_CUT_SHORT))
        handler.shard.turn_once()
        found = handler._parts[0][0].malformed.take()
        assert found == (1, 0, 21, long)
        assert handler._parts[0][0].malformed.take() is None

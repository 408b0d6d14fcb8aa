"""The control line: bounded, in order, and what it cannot say is known."""

import itertools
import json
import socket
from typing import Any, cast

import pytest

from feedhandler.errors import SessionError
from feedhandler.records import Cause, Connection
from feedhandler.session import control_line, framing
from feedhandler.session.control_line import TEXT_MAX, ControlLine


class Receiver:
    """Takes the connection, and reads it when told to."""

    def connect(self, line: int, fd: int) -> bool:
        self.sock = socket.fromfd(fd, socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        return True

    def read(self) -> bytes:
        found = b""
        try:
            while piece := self.sock.recv(1 << 20):
                found += piece
        except BlockingIOError:
            pass
        return found


class World:
    def __init__(self) -> None:
        self.receiver = Receiver()
        self.line = ControlLine(3, cast(Any, self.receiver), framing("websocket"))
        self.line.open()

    def texts(self) -> list[Any]:
        """All that can be read, now that somebody reads."""
        cutter, found = framing("websocket"), []
        while True:
            data = self.receiver.read()
            for _, texts in cutter.feed(data):
                found += [json.loads(text) for text in texts]
            if self.line.flush() and not data:
                return found


def fill(world: World, size: int = 1 << 20) -> int:
    """Say so much that nothing more may wait; how many texts."""
    text = json.dumps({"rest": "x" * size}).encode()
    count = 0
    while world.line.say(text):
        count += 1
        assert count < 10_000
    return count


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_line, "SEND_BUFFER", 1 << 16)
    monkeypatch.setattr(control_line, "WAITING_MAX", 1 << 20)


def test_what_waits_is_bounded_and_what_is_dropped_is_counted(small: None) -> None:
    world = World()
    count = fill(world, 1 << 16)
    assert world.line.dropped == 1 and not world.line.say(b"x" * (1 << 20))
    assert world.line.dropped == 2
    assert len(world.texts()) == count
    assert world.line.say(b"{}") and world.texts() == [{}]
    world.line.close()


def test_of_a_line_without_room_the_last_state_is_said_and_whence_it_came(small: None) -> None:
    world = World()
    fill(world, 1 << 10)
    states = [Connection.CONNECTED, Connection.STALE, Connection.DEAD, Connection.DISCONNECTED, Connection.CONNECTING]
    for number in range(2000):
        for line in (0, 1):
            before, state = states[number % 5], states[(number + 1) % 5]
            world.line.life(line, before, state, Cause.SILENT, number)
    lives = [text for text in world.texts() if "life" in text]
    assert len(lives) < 100
    for line in (0, 1):
        mine = [text for text in lives if text["line"] == line]
        assert mine[-1]["life"] == "CONNECTED" and mine[-1]["at"] == 1999
        assert all(a["life"] == b["from"] for a, b in itertools.pairwise(mine))
    world.line.close()


def test_a_text_that_no_receiver_takes_is_not_said() -> None:
    world = World()
    assert not world.line.say(b"x" * (TEXT_MAX + 1))
    assert world.line.dropped == 1 and world.line.said == 0
    world.line.close()


def test_a_receiver_that_is_gone_is_an_error() -> None:
    world = World()
    world.line.check()
    world.receiver.sock.close()
    world.line.say(b"{}")
    with pytest.raises(SessionError, match="control line"):
        world.line.check()
    assert not world.line.say(b"{}") and world.line.dropped == 2
    world.line.close()

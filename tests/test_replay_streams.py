"""A recorded TCP session, lived again: served to clients under its own numbers, and into a handler."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_handler_live import CuttingProxy
from test_record_streams import feed
from test_recording_streams import BREAKS, broken_off
from test_replay_recording import SIZES
from test_simulate_soup import Client

from feedhandler.errors import CaptureError
from feedhandler.handler import open_capture, play
from feedhandler.record import Recorder
from feedhandler.recording import Recording, Window
from feedhandler.replay import Choice, HandlerReplay, Messages, messages
from feedhandler.replay.source import opening
from feedhandler.simulate import Exchange, Market, SoupServer
from feedhandler.simulate._schedule import Schedule
from tests.background import beside

MARKET = Market(symbols=6, seed=8, messages=12_000)


def exchange() -> Exchange:
    return Exchange(MARKET)


def record(folder: Path, server: SoupServer, run: Callable[[], None], wait_for: Callable[..., Any]) -> Recording:
    """What a server says, recorded until it ends the session, over a connection that is cut in the middle of it."""
    proxy = CuttingProxy(server.port, after=[90_000])
    recorder = Recorder(feed(proxy.port), folder)
    with recorder, proxy, beside(run, server.stop):
        recorder.start()
        wait_for(lambda: recorder.wait_quietly(0), what="the end of the session")
    (day,) = (path for path in folder.iterdir() if path.is_dir())
    return Recording(day)


@pytest.fixture
def recording(tmp_path: Path, wait_for: Callable[..., Any]) -> Recording:
    server = SoupServer(rate=200_000, session="TCP1")
    return record(tmp_path / "first", server, lambda: server.run(exchange()), wait_for)


def everything() -> list[bytes]:
    buffer, found = bytearray(1 << 16), []
    made = exchange()
    while size := made.produce(buffer):
        at = 0
        while at < size:
            end = at + 2 + int.from_bytes(buffer[at : at + 2], "big")
            found.append(bytes(buffer[at + 2 : end]))
            at = end
    return found


def served(found: Messages, **options: Any) -> list[bytes]:
    """What a client gets of these messages."""
    server = SoupServer(**options)
    thread = threading.Thread(target=server.run, args=(found.blocks,))
    thread.start()
    got = Client(server.port).rest()
    thread.join(10)
    return got


def test_a_recorded_session_is_served_again_recorded_again_and_the_same(
    recording: Recording, tmp_path: Path, wait_for: Callable[..., Any]
) -> None:
    assert [(line.session, line.stream) for line in recording.lines] == [("soupbintcp", True)]
    assert opening(recording, Choice()) == ("TCP1", 1)
    with messages(recording, Choice()) as found:
        server = SoupServer(session="TCP1")
        again = record(tmp_path / "second", server, lambda: server.run(found.blocks), wait_for)
    with messages(again, Choice()) as found:
        assert served(found) == everything()


def test_a_session_is_served_from_the_middle_under_its_numbers(recording: Recording) -> None:
    want = everything()
    middle = Choice(Window(recording.find("seq:6000"), None))  # behind the cut
    name, first = opening(recording, middle)
    assert name == "TCP1" and 1 < first <= 6000
    with messages(recording, middle) as found:
        assert served(found, session=name, first=first) == want[first - 1 :]
    symbols = tuple(exchange().symbols[:1])
    with messages(recording, Choice(symbols=symbols)) as found:
        assert 0 < len(served(found)) < len(want)
    late = replace(middle, symbols=symbols)
    assert 1 < opening(recording, late)[1] < first


def test_a_recorded_session_goes_into_a_handler_at_a_pace(recording: Recording) -> None:
    played = HandlerReplay(recording, Choice(), Schedule(rate=5_000))
    made = exchange()
    while made.produce(bytearray(1 << 16)):
        pass
    with played.open(**SIZES) as handler:
        played.run(handler)
        assert handler.types == {kind: count for kind, count in sorted(made.types.items()) if count}
        channel = handler.segment.channels[0]
        assert int(channel["next_seq"]) == MARKET.messages + 1
    assert played.report.packets > 1


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("steps", [False, True])
def test_a_connection_that_broke_off_is_one_in_a_handler_too(tmp_path: Path, how: str, steps: bool) -> None:
    """What begins with the next connection, and what lacks bytes and is STALE for it, is as it is without a replay."""
    path = broken_off(tmp_path / "x.pcap", how)
    run = HandlerReplay(Recording(path), Choice(), Schedule(), steps=steps)
    with run.open(**SIZES) as handler, open_capture(path, **SIZES) as plain:
        with contextlib.suppress(CaptureError):  # a hole is told of at the end
            if steps:
                with run.source:
                    assert len(list(run.steps(handler).step(1000))) > 10
            else:
                run.run(handler)
        play(plain)
        words = [
            [int(one.segment.channels[0][name]) for name in ("quality", "reason", "next_seq", "epoch")]
            for one in (handler, plain)
        ]
        assert words[0] == words[1]
        assert handler.types == plain.types

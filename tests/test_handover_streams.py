"""A recorded SoupBinTCP session is played, and the server is asked for what comes next."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from feedhandler import simulate
from feedhandler.config import Line, Record
from feedhandler.handler import Handler
from feedhandler.handover import Handover
from feedhandler.record import Recorder
from feedhandler.recording import Recording
from feedhandler.records import Quality, Reason
from feedhandler.rehearse._packets import PacketQueue
from tests.background import beside
from tests.handover_world import START, Recorded, books_of, config, events_of, lossless_of, packets_of
from tests.test_recording_streams import CLIENT, RST, SYN, frame, streamed, write
from tests.why import Why

MARKET = simulate.Market(symbols=12, messages=4_000, seed=7)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], np.ndarray]:
    """Books at the end of the day, and all its events."""
    return lossless_of(tmp_path_factory.mktemp("day") / "day.itch", MARKET)


def stream_of(path: Path, count: int, session: str = "SIMULATED", first: int = 1) -> bytes:
    """What a server sends from the answer to a login on: the day's messages from `first` to `count`."""
    blocks = [payload[20:] for _, line, payload in packets_of(path, MARKET) if line == 0 and payload[20:]]
    sent = b"\0\x1fA" + session.rjust(10).encode() + str(first).encode().rjust(20)
    number = 1
    for block in blocks:
        while block and number <= count:
            size = int.from_bytes(block[:2], "big")
            if number >= first:
                sent += struct.pack(">H", size + 1) + b"S" + block[2 : 2 + size]
            block, number = block[2 + size :], number + 1
    return sent


def recorded(runs: list[bytes], start: int = START) -> Any:
    """A recording of one stream; it does not say that it has ended."""
    queue = PacketQueue(1)
    for n, run in enumerate(runs):
        queue.put(0, start + n * 1_000_000, run)
    recording = Recorded(lambda: queue, start)
    recording.lines = [
        SimpleNamespace(channel="itch", name="A", protocol="itch50", session="soupbintcp", destination=None)
    ]
    return recording


@pytest.mark.parametrize("session", ["SIMULATED", "YESTERDAY"])
def test_the_server_is_asked_for_what_follows_the_recording(
    session: str, lossless: tuple[dict[str, Any], np.ndarray], wait_for: Callable[..., Any], tmp_path: Path
) -> None:
    sent = stream_of(tmp_path / "day.itch", 1500, session)
    cut = [sent[at : at + 1000] for at in range(0, len(sent) - 10, 1000)][:60]  # the last message is not whole
    server = simulate.SoupServer()
    line = Line(name="A", host="127.0.0.1", port=server.port)
    settings = config([line])
    settings = replace(settings, channels=(replace(settings.channels[0], session="soupbintcp"),))
    handover = Handover(recorded(cut))
    with Handler(settings, handover=handover, anonymous=True) as handler:
        with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
            handler.start()
            channel = handler.segment.channels[0]
            wait_for(lambda: channel["next_seq"] == MARKET.messages + 1, what="the last message")
            wait_for(lambda: channel["reason"] == Reason.SESSION_ENDED, what="the end of the session")
        assert channel["quality"] == Quality.LIVE
        assert handover.progress().played == len(cut)
        assert books_of(handler) == lossless[0]
        if session == "SIMULATED":
            assert np.array_equal(events_of(handler), lossless[1])
            assert handler.segment.lines["counters"][0][0] > len(cut)
        else:
            wait_for(lambda: any("ended in session YESTERDAY" in note for note in handler.notes), what="the note")


def test_what_a_server_sends_of_the_past_is_not_the_present(wait_for: Callable[..., Any], tmp_path: Path) -> None:
    """The exchange's times are days old, and the server has not fallen silent: nothing says that this is all."""
    sent = stream_of(tmp_path / "day.itch", 300)
    server = simulate.SoupServer(rate=20_000, heartbeat_s=0.3)
    settings = config([Line(name="A", host="127.0.0.1", port=server.port)])
    settings = replace(settings, channels=(replace(settings.channels[0], session="soupbintcp"),))
    with (
        Handler(settings, handover=Handover(recorded([sent])), anonymous=True) as handler,
        beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop),
    ):
        handler.start()
        channel = handler.segment.channels[0]
        wait_for(lambda: channel["next_seq"] > 400, what="messages of the server")
        seen = int(channel["quality"]), int(channel["reason"])
        assert seen == (Quality.RECOVERING, Reason.CATCHING_UP) or channel["next_seq"] == MARKET.messages + 1
        wait_for(lambda: channel["quality"] == Quality.LIVE, what="a heartbeat or the end")
        assert channel["next_seq"] == MARKET.messages + 1


def test_events_as_old_as_recorded_ones_were_are_the_present(wait_for: Callable[..., Any], tmp_path: Path) -> None:
    """Recorded just now, two days behind the exchange's times: what is live is no further behind than that."""
    sent = stream_of(tmp_path / "day.itch", 300)
    server = simulate.SoupServer(rate=4_000, heartbeat_s=30.0)
    settings = config([Line(name="A", host="127.0.0.1", port=server.port)])
    settings = replace(settings, channels=(replace(settings.channels[0], session="soupbintcp"),))
    with (
        Handler(settings, handover=Handover(recorded([sent], time.time_ns())), anonymous=True) as handler,
        beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop),
    ):
        handler.start()
        channel = handler.segment.channels[0]
        wait_for(lambda: channel["quality"] == Quality.LIVE, what="the present")
        assert channel["reason"] == Reason.NONE  # long before the end of the session


def test_a_captured_session_that_broke_off_goes_on_live(
    lossless: tuple[dict[str, Any], np.ndarray], wait_for: Callable[..., Any], tmp_path: Path
) -> None:
    """TCP segments: a connection reset in the middle of a message, one that goes on, a capture that just ends."""
    server = simulate.SoupServer()
    here, day = ("127.0.0.1", server.port), tmp_path / "day.itch"
    one, two = stream_of(day, 900)[:-5], stream_of(day, 1500, first=900)[:-7]
    frames = [frame(s, here) for s in [(0, SYN, b""), *streamed(one, size=700), (1 + len(one), RST, b"")]]
    again = (CLIENT[0], CLIENT[1] + 1)
    frames += [frame(s, here, again) for s in [(0, SYN, b""), *streamed(two, size=700)]]
    write(tmp_path / "day.pcap", frames)
    settings = config([Line(name="A", host=here[0], port=here[1])])
    settings = replace(settings, channels=(replace(settings.channels[0], session="soupbintcp"),))
    handover = Handover(Recording(tmp_path / "day.pcap"))
    with Handler(settings, handover=handover, anonymous=True) as handler:
        with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
            handler.start()
            channel = handler.segment.channels[0]
            wait_for(lambda: channel["reason"] == Reason.SESSION_ENDED, what="the end of the session")
        assert channel["quality"] == Quality.LIVE
        assert handover.progress().played > 0
        assert np.array_equal(events_of(handler), lossless[1])
        assert server.stats["messages"] == MARKET.messages and server.stats["logins"] == 1
        assert server.stats["bytes"] < 0.8 * len(stream_of(day, MARKET.messages))


@pytest.mark.parametrize("moment", [300, 1500, 2800])
def test_beside_a_recorder_of_the_session(
    moment: int, lossless: tuple[dict[str, Any], np.ndarray], wait_for: Callable[..., Any], tmp_path: Path
) -> None:
    """The recorder has a connection of its own; the handler's begins where the recording has come to."""
    server = simulate.SoupServer(rate=10_000, clients=2)
    settings = config([Line(name="A", host="127.0.0.1", port=server.port)])
    settings = replace(settings, channels=(replace(settings.channels[0], session="soupbintcp"),))
    settings = replace(settings, record=Record(sync=0.01, buffer_bytes=1 << 23))
    with (
        Recorder(settings, tmp_path) as recorder,
        beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop),
    ):
        recorder.start()
        wait_for(lambda: server.stats["messages"] >= moment, what="the moment")
        wait_for(lambda: any(tmp_path.glob("*/*.pcapng*")), what="a file")
        handover = Handover(Recording(tmp_path))
        with Handler(settings, handover=handover, anonymous=True) as handler:
            handler.start()
            channel = handler.segment.channels[0]
            wait_for(lambda: channel["reason"] == Reason.SESSION_ENDED, what=Why(handler, MARKET.messages))
            assert handler.wait(20)  # the channel's word comes before the event that tells of it
            assert channel["quality"] == Quality.LIVE
            assert handover.progress().played > 0
            assert np.array_equal(events_of(handler), lossless[1])

"""A recording, then the live lines: what is played, what is passed over, what is missing, and what is said of it."""

import itertools
import os
import random
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedhandler import attach, simulate
from feedhandler.config import Shm
from feedhandler.counters import CHANNEL, by_name
from feedhandler.errors import ConfigError
from feedhandler.handler import Handler
from feedhandler.handover import Handover
from feedhandler.receive import capture, sockets
from feedhandler.records import Quality, Reason
from feedhandler.rehearse._packets import PacketQueue
from tests.handover_world import (
    MS,
    SECOND,
    SESSION,
    STALE_FLAG,
    TARGETS,
    Packets,
    Recorded,
    books_of,
    config,
    events_of,
    gaps,
    heartbeat,
    live,
    lossless_of,
    number_of,
    packets_of,
    played,
    recorded,
)

MARKET = simulate.Market(symbols=12, messages=4_000, seed=7)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Packets:
    """A simulated day on two lines, without loss."""
    return packets_of(tmp_path_factory.mktemp("day") / "day.itch", MARKET)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], np.ndarray]:
    """Books at the end of that day, and all its events."""
    return lossless_of(tmp_path_factory.mktemp("day") / "day.itch", MARKET)


def state_of(handler: Handler) -> tuple[Quality, Reason]:
    channel = handler.segment.channels[0]
    return Quality(int(channel["quality"])), Reason(int(channel["reason"]))


@pytest.mark.parametrize("end, begin", [(400, 300), (400, 400), (333, 1), (7, 2), (600, 0)])
def test_what_is_recorded_and_received_is_played_once(
    end: int, begin: int, day: Packets, lossless: tuple[dict[str, Any], np.ndarray], tmp_path: Path
) -> None:
    handover = Handover(recorded(tmp_path / "day.pcapng", day[:end]))
    with played(config(), handover, live(tmp_path / "live.pcapng", day[begin:]), len(day) - begin) as handler:
        assert np.array_equal(events_of(handler), lossless[1])
        assert books_of(handler) == lossless[0]
        progress = handover.progress()
        assert (progress.played, progress.kept, progress.lost) == (end, len(day) - begin, 0)
        assert end - begin - 4 <= progress.overlap <= end - begin
        received = handler.segment.lines["counters"][:, 0].sum()
        assert received == end + len(day) - begin  # of what was played and of what was received


def test_what_lies_between_recording_and_live_lines_is_a_gap(day: Packets, tmp_path: Path) -> None:
    first = sum(number_of(day[398 if day[398][1] == 0 else 399][2]))
    handover = Handover(recorded(tmp_path / "day.pcapng", day[:400]))
    rest = [packet for packet in day[500:] if number_of(packet[2])[0] > first + 50]
    last = number_of(rest[0][2])[0]
    with played(config(), handover, live(tmp_path / "live.pcapng", rest), len(rest)) as handler:
        events = handler.segment.slots[1 : int(handler.segment.rings["head"][0]) + 1]
        [gap] = events[gaps(events)]
        shown = int(gap["channel_seq"])
        assert shown + int(gap["size"]) == last
        assert shown == 1 + max(sum(number_of(payload)) - 1 for _, _, payload in day[:400])
        assert by_name(CHANNEL, handler.segment.channels[0])["lost"] == gap["size"]
        quality, reason = state_of(handler)
        assert (quality, reason) == (Quality.STALE, Reason.GAP)
        numbers = events["channel_seq"][events["order_id"] > 0]
        assert (np.diff(numbers.astype(np.int64)) >= 0).all()


def test_a_recording_of_another_session_gives_way_to_the_live_one(
    day: Packets, lossless: tuple[dict[str, Any], np.ndarray], tmp_path: Path
) -> None:
    other = simulate.Market(symbols=3, messages=500, seed=3)
    yesterday = [
        (ts - 86_400 * SECOND, *rest) for ts, *rest in packets_of(tmp_path / "y.itch", other, session="YESTERDAY")
    ]
    handover = Handover(recorded(tmp_path / "day.pcapng", yesterday[:200]))
    with played(config(), handover, live(tmp_path / "live.pcapng", day), len(day)) as handler:
        books = books_of(handler)
        assert {symbol: books[symbol] for symbol in lossless[0]} == lossless[0]
        assert by_name(CHANNEL, handler.segment.channels[0])["sessions"] == 2
        assert handover.receiver.sessions == [b"YESTERDAY ", b"YESTERDAY "]
        assert bytes(handler.segment.channels[0]["session"]).strip() == SESSION.encode()


def test_an_empty_recording_leaves_all_to_the_live_lines(
    day: Packets, lossless: tuple[dict[str, Any], np.ndarray], tmp_path: Path
) -> None:
    recording: Any = Recorded(lambda: live(tmp_path / "day.pcapng", []))
    handover = Handover(recording)
    with played(config(), handover, live(tmp_path / "live.pcapng", day), len(day)) as handler:
        assert np.array_equal(events_of(handler), lossless[1])
        assert any("no packet of these lines" in note for note in handler.notes)


def test_a_damaged_recording_is_played_as_far_as_it_is_whole(
    day: Packets, lossless: tuple[dict[str, Any], np.ndarray], tmp_path: Path
) -> None:
    recording = recorded(tmp_path / "day.pcapng", day[:400])
    file = tmp_path / "day.pcapng"
    file.write_bytes(file.read_bytes()[:-7])
    with played(
        config(), handover := Handover(recording), live(tmp_path / "live.pcapng", day[399:]), len(day) - 399
    ) as handler:
        assert handover.progress().played == 399
        assert np.array_equal(events_of(handler), lossless[1])
        assert any("the recording is damaged" in note and "399" not in note for note in handler.notes)


def test_packets_of_lines_that_are_not_configured_are_not_played(
    day: Packets, lossless: tuple[dict[str, Any], np.ndarray], tmp_path: Path
) -> None:
    handover = Handover(recorded(tmp_path / "day.pcapng", day[:400]))
    only = config(config().channels[0].lines[1:])
    rest = [(ts, 0, payload) for ts, line, payload in day[300:] if line == 1]
    lines = capture.receiver(live(tmp_path / "live.pcapng", rest).path, TARGETS[:1])  # type: ignore[attr-defined]
    with played(only, handover, lines, len(rest)) as handler:
        assert np.array_equal(events_of(handler), lossless[1])
        assert handover.progress().played == sum(line == 1 for _, line, _ in day[:400])


# -- want of room ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Packets:
    """A day of more than fits into the least memory."""
    return packets_of(tmp_path_factory.mktemp("day") / "day.itch", simulate.Market(symbols=3, messages=14_000, seed=1))


def test_the_oldest_leave_the_memory_first_and_the_recording_has_them(large: Packets, tmp_path: Path) -> None:
    size = sum(len(payload) + 32 for *_, payload in large)
    assert size > 1 << 20
    ends = itertools.accumulate(len(payload) for *_, payload in large)
    middle = next(i for i, end in enumerate(ends) if end > size - (1 << 20) + 150_000)
    handover = Handover(recorded(tmp_path / "day.pcapng", large[:middle]), memory=1 << 20)
    with played(config(), handover, live(tmp_path / "live.pcapng", large), len(large)) as handler:
        assert handover.progress().lost == handover.receiver.memory.dropped > 0
        assert int(handler.segment.channels[0]["next_seq"]) == 14_001
        assert by_name(CHANNEL, handler.segment.channels[0])["missing"] == 0


def test_what_found_no_room_and_was_not_recorded_is_a_gap_and_said(large: Packets, tmp_path: Path) -> None:
    handover = Handover(recorded(tmp_path / "day.pcapng", large[:20]), memory=1 << 20)
    with played(config(), handover, live(tmp_path / "live.pcapng", large), len(large)) as handler:
        assert int(handler.segment.channels[0]["next_seq"]) == 14_001
        counts = by_name(CHANNEL, handler.segment.channels[0])
        assert counts["gaps"] == 1 and counts["lost"] == counts["missing"] > 0
        assert state_of(handler) == (Quality.STALE, Reason.GAP)
        assert any("found no room in the memory of 1 MiB" in note for note in handler.notes)


# -- hostile bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.wire
@pytest.mark.parametrize("seed", range(4))
def test_no_packet_does_harm_recorded_or_kept(seed: int, day: Packets, tmp_path: Path) -> None:
    """Cut, changed and made-up packets on both sides of the seam, and more of them than there is room for."""
    dice = random.Random(seed)

    def spoilt(payload: bytes) -> bytes:
        kind = dice.randrange(5)
        if kind == 0:
            return payload[: dice.randrange(len(payload))]
        if kind == 1:
            at = dice.randrange(len(payload))
            return payload[:at] + bytes([dice.randrange(256)]) + payload[at + 1 :]
        if kind == 2:
            return dice.randbytes(dice.randrange(1400))
        return payload

    both = [(ts, line, spoilt(payload)) for ts, line, payload in day]
    handover = Handover(recorded(tmp_path / "day.pcapng", [*day[:10], *both[10:500]]), memory=1 << 20)
    rest = [packet for packet in both[300:] for _ in range(3)]
    with played(config(), handover, live(tmp_path / "live.pcapng", rest), len(rest)) as handler:
        assert handover.progress().played == 500
        assert handler.error is None


# -- the present -------------------------------------------------------------------------------------------------------


class ByHand:
    """A handler whose live lines bring nothing but what is put into their queue; the hand-over's thread stands by."""

    def __init__(self, recording: Any, name: str = "", **channel: Any) -> None:
        self.lines = PacketQueue(2)
        self.handover = Handover(recording)
        settings = replace(config(**channel), shm=Shm(name=name or "unused"))
        self.handler = Handler(settings, receiver=self.lines, handover=self.handover, anonymous=not name)

    def __enter__(self) -> "ByHand":
        return self

    def __exit__(self, *_: object) -> None:
        self.handover.stop()
        self.handler.close()

    def start(self) -> None:
        """Let the live lines be drained."""
        self.handover.start(lambda: None, self.handler.notes.append, self.handler._sessions)

    def until(self, *states: str) -> tuple[Quality, Reason]:
        """Turn until the hand-over has come to one of these states."""
        while self.handover.progress().state not in states:
            assert not self.handler.shard.turn_once()
        return self.state()

    def state(self) -> tuple[Quality, Reason]:
        return state_of(self.handler)

    def turn(self) -> tuple[Quality, Reason]:
        for _ in range(4):
            self.handler.shard.turn_once()
        return self.state()


CATCHING_UP = (Quality.RECOVERING, Reason.CATCHING_UP)
LIVE = (Quality.LIVE, Reason.NONE)


def test_a_channel_is_live_when_a_live_line_agrees_and_nothing_is_missing(day: Packets, tmp_path: Path) -> None:
    with ByHand(recorded(tmp_path / "day.pcapng", day[:400])) as run:
        last = max(sum(number_of(payload)) for _, _, payload in day[:400])
        run.start()
        assert run.until("live") == CATCHING_UP
        now = day[399][0] + 3600 * SECOND  # the recording has ended an hour ago
        run.lines.clock = now
        assert run.turn() == CATCHING_UP  # nobody has said that nothing came since
        events = run.handler.segment.slots[1 : int(run.handler.segment.rings["head"][0]) + 1]
        assert (events["flags"][1:] & STALE_FLAG != 0).all()  # the first is the reset at the session's begin
        run.lines.put(0, now, heartbeat(last))
        assert run.turn() == LIVE
        assert run.handover.progress().state == "present"
        following = next(packet for packet in day if number_of(packet[2])[0] == last)
        run.lines.put(1, now + MS, following[2])
        before = int(run.handler.segment.rings["head"][0])
        assert run.turn() == LIVE
        events = run.handler.segment.slots[before + 1 : int(run.handler.segment.rings["head"][0]) + 1]
        assert len(events) and (events["flags"] & STALE_FLAG == 0).all()


def test_a_channel_that_lacks_something_is_not_live(day: Packets, tmp_path: Path) -> None:
    with ByHand(recorded(tmp_path / "day.pcapng", day[:400]), reorder_us=1000) as run:
        last = max(sum(number_of(payload)) for _, _, payload in day[:400])
        run.start()
        run.until("live")
        now = run.lines.clock = day[399][0] + 3600 * SECOND
        run.lines.put(0, now, heartbeat(last + 5))
        assert run.turn() == CATCHING_UP  # the hole is not due yet
        run.lines.clock = now + 2 * MS
        assert run.turn() == (Quality.STALE, Reason.GAP)


def test_an_old_packet_of_the_live_lines_is_no_proof_of_the_present(day: Packets, tmp_path: Path) -> None:
    with ByHand(recorded(tmp_path / "day.pcapng", day[:400])) as run:
        run.start()
        run.until("live")
        now = run.lines.clock = day[399][0] + MS
        run.lines.put(0, now, heartbeat(5))
        assert run.turn() == CATCHING_UP


def test_few_packets_that_have_waited_long_are_no_proof_of_the_present(day: Packets, tmp_path: Path) -> None:
    """Of sockets with few slots each poll brings few packets, however many more wait."""
    settings = config()
    lines = sockets.receiver(settings.channels[0].lines, sockets.Options(slots=4), [])
    handover = Handover(recorded(tmp_path / "day.pcapng", day[:400]))
    with Handler(settings, receiver=lines, handover=handover, anonymous=True) as handler:
        handover.start(lambda: None, handler.notes.append, handler._sessions)
        while handover.progress().state != "live":
            assert not handler.shard.turn_once()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            way.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            for _, line, payload in day[400:440]:
                way.sendto(payload, TARGETS[line])
            time.sleep(0.2)
            for _ in range(4):
                handler.shard.turn_many(1)
                assert state_of(handler) == CATCHING_UP
            while state_of(handler) != LIVE:
                assert not handler.shard.turn_once()
        last = max(sum(number_of(payload)) for _, _, payload in day[:440])
        assert int(handler.segment.channels[0]["next_seq"]) == last


def test_a_new_session_on_the_lines_does_not_end_a_recording_that_lacks_the_last_ones_end(
    day: Packets, tmp_path: Path
) -> None:
    """The recorder is a moment behind: what is left of the old session is still to come."""
    recording, following = PacketQueue(2), packets_of(tmp_path / "next.itch", MARKET, session="FOLLOWING")
    some = [(ts + 2 * SECOND, *rest) for ts, *rest in following]
    with ByHand(Recorded(lambda: recording)) as run:
        for ts, line, payload in day[:30]:
            recording.put(line, ts, payload)
        for ts, line, payload in some[:10]:
            run.lines.put(line, ts, payload)
        run.start()
        while run.handover.progress().kept < 10:
            time.sleep(0.0005)
        for _ in range(50):
            run.handler.shard.turn_once()
        assert run.handover.progress().state == "replay"
        for ts, line, payload in [*day[30:80], *some[:4]]:
            recording.put(line, ts, payload)
        run.until("live")
        events = run.handler.segment.slots[1 : int(run.handler.segment.rings["head"][0]) + 1]
        old = max(sum(number_of(payload)) for _, _, payload in day[:80]) - 1
        assert old in events["channel_seq"]
        assert not gaps(events).any()
        assert by_name(CHANNEL, run.handler.segment.channels[0])["sessions"] == 2


def test_silence_counts_from_when_the_live_lines_were_opened(day: Packets, tmp_path: Path) -> None:
    with ByHand(recorded(tmp_path / "day.pcapng", day[:400]), silence_ms=5000) as run:
        run.start()
        run.until("live")
        run.lines.clock = time.time_ns()  # years from the recording, or days
        assert run.turn() == CATCHING_UP
        run.lines.clock += 6 * SECOND
        assert run.turn() == (Quality.STALE, Reason.SILENT)
        last = max(sum(number_of(payload)) for _, _, payload in day[:400])
        run.lines.put(0, run.lines.clock, heartbeat(last))
        assert run.turn() == LIVE


def test_a_recorded_end_of_session_is_the_present(day: Packets, tmp_path: Path) -> None:
    with ByHand(recorded(tmp_path / "day.pcapng", day)) as run:
        run.start()
        run.until("present")
        assert run.state() == (Quality.LIVE, Reason.SESSION_ENDED)


def test_copies_of_what_was_recorded_are_no_sign_of_a_restart(day: Packets, tmp_path: Path) -> None:
    """Heartbeats seconds apart, recorded and kept; a quiet channel then goes on. Low they would look like a restart."""
    start = day[0][0]
    quiet = [(start + n * SECOND, n % 2, heartbeat(1)) for n in range(6)]
    first = [(start + 6 * SECOND + n, *packet[1:]) for n, packet in enumerate(day[:100])]
    with ByHand(recorded(tmp_path / "day.pcapng", [*quiet, *first])) as run:
        for packet in quiet:
            run.lines.put(packet[1], packet[0], packet[2])
        for ts, line, payload in first[:50]:
            run.lines.put(line, ts, payload)
        run.start()
        assert run.until("live") == CATCHING_UP
        assert run.handover.progress().overlap == 56
        last = max(sum(number_of(payload)) for _, _, payload in first)
        run.lines.put(0, start + 7 * SECOND, heartbeat(last))
        assert run.turn() == LIVE
        assert by_name(CHANNEL, run.handler.segment.channels[0])["restarts"] == 0


def test_low_numbers_long_after_the_recording_are_a_restart_not_copies(day: Packets, tmp_path: Path) -> None:
    with ByHand(recorded(tmp_path / "day.pcapng", day[:400])) as run:
        run.start()
        run.until("live")
        now = day[399][0] + 3600 * SECOND
        for n, (_, line, payload) in enumerate(day[:60]):
            run.lines.put(line, now + n * 100 * MS, payload)
        run.turn()
        assert by_name(CHANNEL, run.handler.segment.channels[0])["restarts"] == 1
        assert run.state()[0] != Quality.LIVE


def test_readers_are_told_that_it_is_the_past(day: Packets, tmp_path: Path) -> None:
    with ByHand(recorded(tmp_path / "day.pcapng", day[:400]), name=f"test-past-{os.getpid()}") as run:
        run.start()
        run.until("live")
        with attach(f"test-past-{os.getpid()}") as feed:
            book = feed.book("AAPL")
            assert (book.state, book.reason) == CATCHING_UP
            run.lines.put(0, day[399][0] + MS, heartbeat(max(sum(number_of(p)) for _, _, p in day[:400])))
            run.turn()
            assert book.state == Quality.LIVE


def test_each_channel_catches_up_by_itself(day: Packets, tmp_path: Path) -> None:
    """Two channels of one recording; nothing live comes on the second one's line."""
    both = [(ts, 0, payload) for ts, line, payload in day[:400] if line == 0]
    both += [(ts + 1, 1, payload) for ts, _, payload in both]
    settings = config()
    [channel] = settings.channels
    one, other = channel.lines
    other = replace(channel, name="other", venue="XBOS", lines=(replace(other, name="A"),))
    settings = replace(settings, channels=(replace(channel, lines=(one,)), other))
    recording: Any = Recorded(lambda: live(tmp_path / "day.pcapng", sorted(both)))
    recording.lines[1].channel, recording.lines[1].name = "other", "A"
    recording.channels = lambda: ["itch", "other"]
    lines = PacketQueue(2)
    with Handler(settings, receiver=lines, handover=Handover(recording), anonymous=True) as handler:
        assert handler.handover is not None
        handler.handover.start(lambda: None, handler.notes.append, handler._sessions)
        while handler.handover.progress().state != "live":
            handler.shard.turn_once()
        now = lines.clock = day[399][0] + MS
        last = max(sum(number_of(payload)) for _, line, payload in day[:400] if line == 0)
        lines.put(0, now, heartbeat(last))
        for _ in range(4):
            handler.shard.turn_once()
        assert handler.segment.channels["quality"].tolist() == [Quality.LIVE, Quality.RECOVERING]
        lines.put(1, now, heartbeat(last))
        for _ in range(4):
            handler.shard.turn_once()
        assert handler.segment.channels["quality"].tolist() == [Quality.LIVE, Quality.LIVE]
        assert handler.handover.progress().state == "present"
        assert handler.status()["handover"]["played"] == len(both)


# -- what does not fit -------------------------------------------------------------------------------------------------


def refused(**options: Any) -> str:
    recording: Any = Recorded(lambda: PacketQueue(2), **options)
    with pytest.raises(ConfigError) as caught:
        Handler(config(), receiver=PacketQueue(2), handover=Handover(recording), anonymous=True)
    return str(caught.value)


def test_a_recording_of_other_lines_is_refused_in_a_sentence() -> None:
    elsewhere = [("239.192.9.1", 1), ("239.192.9.2", 1)]
    assert refused(channel="opra", targets=elsewhere).startswith(
        "the recording has no line of channel itch, neither by its name nor by its addresses; it has opra/A, opra/B"
    )
    assert "was recorded as iex_deep over moldudp64" in refused(protocol="iex_deep")


def test_lines_are_known_by_name_or_else_by_address(day: Packets, tmp_path: Path) -> None:
    recording: Any = Recorded(lambda: live(tmp_path / "day.pcapng", day[:400]), channel="other")
    with played(config(), Handover(recording), live(tmp_path / "live.pcapng", day[300:]), 1) as handler:
        assert int(handler.segment.channels[0]["next_seq"]) == MARKET.messages + 1


@pytest.mark.parametrize("options, word", [({"memory": 1000}, "memory must be"), ({"patience_s": -1.0}, "patience_s")])
def test_options_that_cannot_be_are_refused(options: dict[str, Any], word: str) -> None:
    recording: Any = Recorded(lambda: PacketQueue(2))
    with pytest.raises(ConfigError, match=word):
        Handover(recording, **options)

"""TCP streams out of captures: retransmissions, reordering, holes; connections that end and begin."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter, PcapWriter
from test_handler_live import MARKET, CuttingProxy

from feedhandler import simulate
from feedhandler.handler import open_recording, play
from feedhandler.receive import capture
from feedhandler.receive._capture import PacketFile
from feedhandler.receive._reassembly import Reassembly
from feedhandler.record import Recorder
from feedhandler.recording import Recording
from feedhandler.records import Quality, Reason
from tests.background import beside
from tests.test_record_streams import feed
from tests.test_recording import START

SERVER, CLIENT = ("10.0.0.1", 21000), ("10.0.0.2", 40000)
SYN, FIN, RST, DATA = "SA", "FA", "RA", "PA"
Segment = tuple[int, str, bytes]  # number, flags, payload


def frame(segment: Segment, server: tuple[str, int] = SERVER, client: tuple[str, int] = CLIENT) -> Ether:
    number, flags, payload = segment
    ip = IPv6(src=server[0], dst=client[0]) if ":" in server[0] else IP(src=server[0], dst=client[0])
    return (
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / ip
        / TCP(sport=server[1], dport=client[1], seq=number % 2**32, ack=1, flags=flags)
        / payload
    )


def write(path: Path, frames: list[Ether], writer: type = PcapWriter) -> None:
    with writer(str(path)) as file:
        for i, each in enumerate(frames):
            each.time = START // 10**9 + i / 1000
            file.write(each)


def reader(path: Path, server: tuple[str, int] = SERVER) -> tuple[PacketFile, Reassembly]:
    reassembly = Reassembly(1, [0])
    return capture.open_file(path, capture.kind(path), 1, [(0, server)], reassembly=reassembly), reassembly


def cut(data: bytes, number: int, dice: random.Random) -> list[Segment]:
    """A stream in segments of all sizes."""
    segments: list[Segment] = []
    at = 0
    while at < len(data):
        size = dice.choice([1, 2, 100, 1448])
        segments.append((number + at, DATA, data[at : at + size]))
        at += size
    return segments


@pytest.mark.wire
@pytest.mark.parametrize("seed", range(12))
def test_a_stream_comes_as_it_was_sent_whatever_the_network_did(tmp_path: Path, seed: int) -> None:
    """Copies, overlaps and swaps within the bound, over the end of TCP's numbers, in IPv4 and IPv6."""
    dice = random.Random(seed)
    data = dice.randbytes(20_000)
    first = dice.choice([1, 2**32 - 5000])
    segments = cut(data, first + 1, dice)
    for _ in range(len(segments) // 3):
        at = dice.randrange(len(segments))
        kind = dice.random()
        if kind < 0.3:
            segments.insert(min(len(segments), at + dice.randrange(30)), segments[at])
        elif kind < 0.6:
            start, end = sorted((dice.randrange(len(data)), dice.randrange(len(data))))
            segments.insert(at, (first + 1 + start, DATA, data[start : min(end, start + 1448)]))
        else:
            segments.insert(min(len(segments), at + dice.randrange(20)), segments.pop(at))
    ends = (first + 1 + len(data), FIN, b"")
    server, client = dice.choice([(SERVER, CLIENT), (("fd00::1", 21000), ("fd00::2", 40000))])
    frames = [frame(s, server, client) for s in [(first, SYN, b""), *segments, ends]]
    write(tmp_path / "x", frames, dice.choice([PcapWriter, PcapNgWriter]))
    file, reassembly = reader(tmp_path / "x", server)
    got = b"".join(run for _, _, run in file.drain())
    counted = reassembly.statistics(0)
    assert counted is not None
    assert got == data, counted
    assert counted["holes"] == 0 and file.error is None
    assert file.line_status(0)["connections"] == 1 and file.line_status(0)["state"] == 3
    assert counted["repeated_bytes"] > 0 and counted["swapped"] > 0


def test_a_hole_is_named_and_nothing_behind_it_is_handed_on(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10
    segments = [(1 + at, DATA, data[at : at + 10]) for at in range(0, len(data), 10) if not 100 <= at < 130]
    write(tmp_path / "x", [frame(s) for s in [(0, SYN, b""), *segments]])
    file, reassembly = reader(tmp_path / "x")
    assert b"".join(run for _, _, run in file.drain()) == data[:100]
    counted = reassembly.statistics(0)
    assert counted is not None and (counted["holes"], counted["missing_bytes"]) == (1, 30)
    (found,) = reassembly.holes
    assert (found[0], found[2], found[3]) == (0, 100, 30)
    assert counted["behind_bytes"] == len(data) - 130


def test_a_hole_at_the_end_is_named_when_there_is_no_more(tmp_path: Path) -> None:
    write(tmp_path / "x", [frame(s) for s in [(0, SYN, b""), (1, DATA, b"abc"), (10, DATA, b"def")]])
    file, reassembly = reader(tmp_path / "x")
    assert [run for _, _, run in file.drain()] == [b"abc"]
    assert reassembly.holes == []
    assert reassembly.settle() == [0]
    assert [(place, size) for _, _, place, size in reassembly.holes] == [(3, 6)]


def test_connections_move_between_two_polls_only(tmp_path: Path) -> None:
    """All packets of a poll are of the connection that is the last one when it returns."""
    segments: list[Ether] = []
    for n in range(5):
        client = (CLIENT[0], CLIENT[1] + n)
        segments += [frame((7 * n, SYN, b""), client=client), frame((7 * n + 1, DATA, bytes([n]) * 3), client=client)]
        segments += [
            frame((7 * n + 4, DATA, b"!"), client=client),
            frame((7 * n + 5, (FIN, RST)[n % 2], b""), client=client),
        ]
    segments.insert(2, frame((500, SYN, b""), client=("10.0.0.9", 1)))  # somebody else's, beside the first one
    segments.insert(3, frame((501, DATA, b"other"), client=("10.0.0.9", 1)))
    write(tmp_path / "x", segments)
    file, reassembly = reader(tmp_path / "x")
    got = []
    while not file.ended:
        before = file.line_status(0)["connections"]
        batch = file.drain(64)
        while batch:
            got += [(file.line_status(0)["connections"], run) for _, _, run in batch[:1]]
            batch = batch[1:]
        assert before <= 5
    assert b"".join(run for _, run in got) == b"".join(bytes([n]) * 3 + b"!" for n in range(5))
    counted = reassembly.statistics(0)
    assert counted is not None and counted["others"] == 2
    assert file.line_status(0)["connections"] == 5


def soup(kind: bytes, payload: bytes = b"") -> bytes:
    return (len(payload) + 1).to_bytes(2, "big") + kind + payload


def messages(first: int, count: int) -> bytes:
    return b"".join(soup(b"S", b"Y" + bytes(18) + b"0") for _ in range(first, first + count))


def login(first: int) -> bytes:
    return soup(b"A", b"SESSION001" + str(first).rjust(20).encode())


def streamed(data: bytes, number: int = 1, size: int = 50) -> list[Segment]:
    return [(number + at, DATA, data[at : at + size]) for at in range(0, len(data), size)]


BREAKS = ("between messages", "in a message", "a hole", "gone at the end")


def broken_off(path: Path, how: str) -> Path:
    """A captured session whose connection broke off there, and another that goes on with it, unless it was the last."""
    one, two = login(1) + messages(1, 30), login(31) + messages(31, 20)
    some = one + messages(31, 1)[:9] if how == "in a message" else one
    segments = streamed(some)
    segments = segments[:5] + segments[6:] if how == "a hole" else segments
    frames = [frame(s) for s in [(0, SYN, b""), *segments, (1 + len(some), RST, b"")]]
    if how != "gone at the end":
        frames += [frame(s, client=(CLIENT[0], CLIENT[1] + 1)) for s in [(0, SYN, b""), *streamed(two)]]
    write(path, frames)
    return path


def test_a_captured_session_goes_through_a_handler(tmp_path: Path) -> None:
    """Broken off, and gone on with by another login: the books are whole, for the numbers are."""
    one, two = login(1) + messages(1, 30), login(31) + messages(31, 20) + soup(b"Z")
    again = (CLIENT[0], CLIENT[1] + 1)
    frames = [frame(s) for s in [(0, SYN, b""), *streamed(one), (1 + len(one), RST, b"")]]
    frames += [frame(s, client=again) for s in [(0, SYN, b""), *streamed(two), (1 + len(two), FIN, b"")]]
    write(tmp_path / "x.pcap", frames)
    recording = Recording(tmp_path / "x.pcap")
    assert [(line.protocol, line.session, line.destination, line.stream) for line in recording.lines] == [
        ("itch50", "soupbintcp", SERVER, True)
    ]
    assert recording.first_ts == START
    with open_recording(recording) as handler:
        assert play(handler) is None
        assert handler.types == {"Y": 50}
        channel = handler.segment.channels[0]
        assert (Quality(int(channel["quality"])), Reason(int(channel["reason"]))) == (
            Quality.LIVE,
            Reason.SESSION_ENDED,
        )
        assert handler.receiver.line_status(0)["connections"] == 2
        assert handler.receiver.counts(0)["reconnects"] == 1


@pytest.mark.parametrize("how", ["cut off", "a hole"])
def test_a_session_that_is_not_whole_ends_stale(tmp_path: Path, how: str) -> None:
    data = login(1) + messages(1, 30)
    segments = streamed(data)
    segments = [*segments, (1 + len(data), RST, b"")] if how == "cut off" else segments[:5] + segments[6:]
    write(tmp_path / "x.pcap", [frame(s) for s in [(0, SYN, b""), *segments]])
    recording = Recording(tmp_path / "x.pcap")
    with open_recording(recording) as handler:
        play(handler)
        channel = handler.segment.channels[0]
        assert (channel["quality"], channel["reason"]) == (Quality.STALE, Reason.LINE_DOWN)
        assert len(handler.receiver.holes) == (how == "a hole")  # type: ignore[attr-defined]


def test_a_window_into_a_stream_is_refused(tmp_path: Path) -> None:
    from feedhandler.errors import RecordingError
    from feedhandler.recording import Window

    write(tmp_path / "x.pcap", [frame(s) for s in [(0, SYN, b""), *streamed(login(1) + messages(1, 30))]])
    recording = Recording(tmp_path / "x.pcap")
    assert recording.find("seq:7") >= START
    with pytest.raises(RecordingError, match="read from its beginning"):
        recording.receiver(Window(start=START + 1))


@pytest.mark.parametrize("record", ["", "rotate_bytes = 300000", 'format = "pcap"\nrotate_bytes = 300000'])
def test_what_our_recorder_wrote_of_a_stream_is_played(
    tmp_path: Path, wait_for: Callable[..., Any], record: str
) -> None:
    """Over cuts of the connection, and over files that begin in the middle of one."""
    server = simulate.SoupServer(rate=200_000)
    proxy = CuttingProxy(server.port, after=[100_000, 150_000])
    recorder = Recorder(feed(proxy.port, record), tmp_path)
    with recorder, proxy, beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
        recorder.start()
        wait_for(lambda: recorder.wait_quietly(0), what="the end of the session")
    with open_recording(Recording(tmp_path), orders=50_000, instruments=64) as handler:
        assert play(handler) is None
        assert sum(handler.types.values()) == MARKET.messages
        channel = handler.segment.channels[0]
        assert (channel["quality"], channel["reason"]) == (Quality.LIVE, Reason.SESSION_ENDED)
        assert handler.receiver.line_status(0)["connections"] == 3
        assert handler.receiver.holes == []  # type: ignore[attr-defined]

"""Recordings: files of all kinds read as one, in time order; their lines; windows of them."""

import random
from pathlib import Path

import pytest

from feedhandler.errors import CaptureError, ConfigError, RecordingError
from feedhandler.handler import open_recording, play
from feedhandler.receive import capture
from feedhandler.recording import Recording, Window
from feedhandler.recording._merged import Merged

A, B, C = ("233.54.12.111", 26477), ("233.54.12.112", 26478), ("233.54.12.113", 26479)
START = 1_700_000_000_000_000_000
MOLD = b"0123456789"


def mold(number: int, session: bytes = MOLD) -> bytes:
    """A MoldUDP64 packet with one system event."""
    message = b"S" + bytes(10) + b"O"
    return session + number.to_bytes(8, "big") + b"\0\1" + len(message).to_bytes(2, "big") + message


def write(path: Path, packets: list[tuple[int, tuple[str, int], bytes]]) -> None:
    with capture.PcapWriter(path) as file:
        for ts, target, payload in packets:
            file.write(ts, payload, target)


def taken(receiver: Merged) -> list[tuple[int, int, bytes]]:
    """All packets of a receiver."""
    found = receiver.drain()
    assert receiver.ended and receiver.error is None
    return found


def test_files_are_merged_in_time_order_with_stable_ties(tmp_path: Path) -> None:
    """Whatever the files, the packets come as a stable sort of them by time would give them."""
    dice = random.Random(5)
    for trial in range(30):
        folder = tmp_path / str(trial)
        folder.mkdir()
        wanted: list[tuple[int, int, bytes]] = []
        number = 0
        for f in range(dice.randrange(1, 7)):
            ts = START + dice.randrange(200)
            packets = []
            for _ in range(dice.choice([0, 1, 3, 200])):
                ts += dice.choice([0, 0, 1, 5, 50])
                number += 1
                packets.append((ts, (A, B)[dice.randrange(2)], mold(number)))
            write(folder / f"{f}.pcap{dice.choice(['', '.gz', '.zst'])}", packets)
            wanted += [(t, f, p) for t, _, p in packets]
        recording = Recording(folder)
        if not wanted:
            assert recording.lines == ()
            continue
        wanted.sort(key=lambda entry: entry[:2])  # a stable sort: equal times in the order of files, then as they stood
        got = taken(recording.receiver())
        assert [(ts, data) for _, ts, data in got] == [(ts, data) for ts, _, data in wanted]
        assert recording.first_ts == wanted[0][0] and recording.last_ts == wanted[-1][0]
        low = START + dice.randrange(300)
        high = low + dice.randrange(3000)
        inside = [(ts, data) for ts, _, data in wanted if low <= ts < high]
        assert [(ts, data) for _, ts, data in taken(recording.receiver(Window(low, high)))] == inside


def test_lines_are_recognised_over_all_files(tmp_path: Path) -> None:
    write(tmp_path / "a.pcap", [(START, A, mold(1)), (START + 9, C, b"of no protocol")])
    write(tmp_path / "b.pcap", [(START + 1, B, mold(1)), (START + 5, A, mold(2))])
    recording = Recording(tmp_path / "a.pcap", tmp_path / "b.pcap")
    assert [(line.channel, line.name, line.destination) for line in recording.lines] == [
        ("itch50-0", "A", A),
        ("itch50-0", "B", B),
    ]
    assert [line.destination for line in recording.unknown] == [C]
    receiver = recording.receiver()
    assert [(line, ts - START) for line, ts, _ in receiver.drain()] == [(0, 0), (1, 1), (0, 5)]
    assert [receiver.counts(line)["packets"] for line in (0, 1)] == [2, 1]
    assert receiver.counts(0)["foreign"] == 0, "what is not asked for is not foreign"
    assert receiver.offset == recording.size
    everything = taken(recording.receiver(everything=True))
    assert [(line, ts - START) for line, ts, _ in everything] == [(0, 0), (1, 1), (0, 5), (2, 9)]


def test_channels_are_chosen(tmp_path: Path) -> None:
    write(tmp_path / "x.pcap", [(START, A, mold(1)), (START + 1, B, mold(1, b"ANOTHER001")), (START + 2, A, mold(2))])
    recording = Recording(tmp_path)
    assert recording.channels() == ["itch50-0", "itch50-1"]
    config = recording.config(channels=["itch50-1"])
    assert [channel.name for channel in config.channels] == ["itch50-1"]
    assert [(line, ts - START) for line, ts, _ in taken(recording.receiver(channels=["itch50-1"]))] == [(0, 1)]
    with open_recording(recording, channels=["itch50-1"]) as handler:
        assert play(handler) is None
        assert handler.types == {"S": 1}
    with pytest.raises(RecordingError, match=r"no channel 'itch' in the recording; there are: itch50-0, itch50-1"):
        recording.receiver(channels=["itch"])


def test_a_damaged_file_is_read_to_its_damage_and_the_others_go_on(tmp_path: Path) -> None:
    write(tmp_path / "a.pcap", [(START + i, A, mold(i + 1)) for i in range(10)])
    write(tmp_path / "b.pcap", [(START + 100, A, mold(11))])
    (tmp_path / "a.pcap").write_bytes((tmp_path / "a.pcap").read_bytes()[:-1])
    receiver = Recording(tmp_path).receiver()
    assert [ts - START for _, ts, _ in receiver.drain()] == [*range(9), 100]
    assert receiver.ended and "a.pcap" in str(receiver.error) and "middle of a record" in str(receiver.error)
    assert len(receiver.errors) == 1


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("+90s", START + 90 * 10**9),
        ("+1.5ms", START + 1_500_000),
        ("17:15:30.000000001", 1_700_000_130_000_000_001),  # New York, where it is 17:13:20 then
        ("2023-11-14T22:13:21.5", START + 1_500_000_000),
        ("2023-11-14 23:13:21+01:00", START + 1_000_000_000),
    ],
)
def test_instants_are_found(tmp_path: Path, when: str, found: int) -> None:
    write(tmp_path / "x.pcap", [(START, A, mold(1))])
    assert Recording(tmp_path / "x.pcap").find(when) == found


@pytest.mark.parametrize("when", ["yesterday", "25:00", "+90 parsecs", ""])
def test_instants_that_are_none(tmp_path: Path, when: str) -> None:
    write(tmp_path / "x.pcap", [(START, A, mold(1))])
    with pytest.raises(RecordingError, match="expected"):
        Recording(tmp_path / "x.pcap").find(when)


def test_what_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        Recording(tmp_path / "nowhere")
    with pytest.raises(CaptureError, match="no capture in this folder"):
        Recording(tmp_path)
    write(tmp_path / "x.pcap", [(START, A, b"of no protocol")])
    with pytest.raises(ConfigError, match="no stream of a known protocol"):
        Recording(tmp_path).receiver()
    with pytest.raises(RecordingError, match="before it starts"):
        Window(5, 4)

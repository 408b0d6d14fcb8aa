"""The recorder's files: read by others without complaint, cut at exact boundaries, counted in the manifest."""

import hashlib
import random
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import l2  # noqa: F401 (scapy knows Ethernet when this is there)
from scapy.layers.inet import UDP
from scapy.utils import PcapReader

from feedhandler.receive import capture
from feedhandler.recording import manifest
from feedhandler.recording.manifest import File
from tests.recorded import GROUPS, NOON, S, feed, fields, mold, record, tool

SIZES = (0, 1, 2, 3, 18, 999, 1472)
PACKETS = [(i % 2, NOON + i * 1_000_001, bytes([i]) * SIZES[i % 7]) for i in range(210)]


def the_day(folder: Path) -> tuple[Path, manifest.Manifest]:
    """The one day below `folder`; its manifest's word on each file is checked against the file."""
    (day,) = [path for path in folder.iterdir() if path.is_dir()]
    found = manifest.load(day)
    for file in found.files:
        check(day / file.name, file)
    left = {path.name for path in day.iterdir()} - {file.name for file in found.files}
    assert left == {"manifest.json"}
    return day, found


def check(path: Path, file: File) -> None:
    assert file.complete and file.bytes == path.stat().st_size
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    read = list(capture.read(path))
    assert len(read) == file.packets == sum(line.packets for line in file.lines)
    assert sum(len(payload) for _, _, payload in read) == sum(line.bytes for line in file.lines)
    if read:
        assert (min(ts for ts, _, _ in read), max(ts for ts, _, _ in read)) == (file.first_ts, file.last_ts)


def payloads(day: Path, found: manifest.Manifest) -> list[tuple[int, str, bytes]]:
    """All packets of a day, in the order of the files: (time, group, payload)."""
    return [(ts, group, payload) for file in found.files for ts, (group, _), payload in capture.read(day / file.name)]


@pytest.mark.parametrize("suffix", [".pcapng", ".pcap", ".pcapng.zst", ".pcap.zst"])
def test_what_came_is_what_is_read(suffix: str, tmp_path: Path) -> None:
    format, _, packed = suffix[1:].partition(".")
    record(feed(f'format = "{format}"\ncompress = {3 if packed else 0}'), tmp_path, PACKETS)
    day, found = the_day(tmp_path)
    assert day.name == "20261122" and found.complete and found.day == "2026-11-22"
    assert [file.name for file in found.files] == [f"rec-0001{suffix}"]
    assert payloads(day, found) == [(ts, GROUPS[line], payload) for line, ts, payload in PACKETS]
    assert [(line.line, line.packets, line.dropped) for line in found.files[0].lines] == [("A", 105, 0), ("B", 105, 0)]


@pytest.mark.parametrize("format", ["pcapng", "pcap"])
def test_other_programs_read_it_without_complaint(format: str, tmp_path: Path) -> None:
    record(feed(f'format = "{format}"'), tmp_path, PACKETS)
    day, found = the_day(tmp_path)
    path = day / found.files[0].name
    rows = fields(path, "frame.time_epoch", "ip.dst", "udp.length", "udp.checksum.status", "ip.checksum.status",
                  "_ws.malformed", "frame.interface_name")  # fmt: skip
    names = ["A", "B"] if format == "pcapng" else ["", ""]
    for (line, ts, payload), row in zip(PACKETS, rows, strict=True):
        times = f"{ts // S}.{ts % S:09d}"
        assert row == [times, GROUPS[line], str(8 + len(payload)), "1", "1", "", names[line]]
    assert f"Number of packets = {len(PACKETS)}" in tool("capinfos", "-M", "-c", path).replace(":   ", " = ")
    assert len(tool("tcpdump", "-nn", "-r", path).splitlines()) == len(PACKETS)
    with PcapReader(str(path)) as reader:
        for (_, ts, payload), read in zip(PACKETS, reader, strict=True):
            assert read[UDP].len == 8 + len(payload)
            assert bytes(read[UDP].payload)[: len(payload)] == payload
            assert int(read.time * S) == ts


def test_a_file_says_by_itself_what_is_in_it(tmp_path: Path) -> None:
    record(feed(), tmp_path, PACKETS)
    day, found = the_day(tmp_path)
    said = tool("capinfos", day / found.files[0].name)
    for words in ('"protocol":"itch50"', '"line":"B"', "Name = A", "itch50 in moldudp64, 239.192.9.1:26400 on lo",
                  "Capture application: feedhandler", "Time resolution = 0x09"):  # fmt: skip
        assert words in said


def test_files_are_cut_before_the_packet_that_would_be_too_much(tmp_path: Path) -> None:
    packets = [(i % 2, NOON + i, bytes(1000)) for i in range(500)]
    record(feed("rotate_bytes = 65536"), tmp_path, packets)
    day, found = the_day(tmp_path)
    assert payloads(day, found) == [(ts, GROUPS[line], payload) for line, ts, payload in packets]
    assert len(found.files) == 9
    for file in found.files[:-1]:
        assert 65536 - 1200 - 1000 < file.bytes <= 65536
    record(feed("rotate_bytes = 65536"), tmp_path / "x", [(0, NOON + i, bytes(65000)) for i in range(3)])
    assert [file.packets for file in the_day(tmp_path / "x")[1].files] == [1, 1, 1]


def test_files_are_cut_at_the_exact_moment(tmp_path: Path) -> None:
    times = [-1, 0, 1, 10 * S - 1, 10 * S, 10 * S + 1, 35 * S, 20 * S + 5]
    record(feed("rotate_s = 10"), tmp_path, [(0, NOON + ts, b"x") for ts in times])
    _, found = the_day(tmp_path)
    assert [(f.first_ts, f.packets) for f in found.files] == [
        (NOON - 1, 1), (NOON, 3), (NOON + 10 * S, 2), (NOON + 35 * S, 1), (NOON + 20 * S + 5, 1)
    ]  # fmt: skip


def test_a_day_ends_at_midnight_of_its_zone(tmp_path: Path) -> None:
    midnight = NOON + 17 * 3600 * S  # in New York
    times = [midnight - 1, midnight, midnight + 1]
    record(feed('zone = "America/New_York"'), tmp_path, [(0, ts, b"x") for ts in times])
    days = {path.name: manifest.load(path) for path in tmp_path.iterdir()}
    assert {name: [f.packets for f in day.files] for name, day in days.items() if day.files} == {
        "20261122": [1],
        "20261123": [2],
    }
    assert all(day.complete for day in days.values())


def test_a_ring_keeps_the_newest_files(tmp_path: Path) -> None:
    packets = [(0, NOON + i, bytes(60000)) for i in range(10)]
    record(feed("rotate_bytes = 65536\nkeep = 3"), tmp_path, packets)
    _, found = the_day(tmp_path)
    assert [file.name for file in found.files] == [f"rec-{i:04d}.pcapng" for i in (8, 9, 10)]
    assert found.removed == 7
    record(feed("rotate_bytes = 65536\nkeep = 3"), tmp_path, packets[:2])
    _, found = the_day(tmp_path)
    assert [file.name for file in found.files] == [f"rec-{i:04d}.pcapng" for i in (10, 11, 12)]


def test_a_clock_that_steps_back_is_named_and_changes_the_file(tmp_path: Path) -> None:
    times = [10 * S, 12 * S, 3 * S, 4 * S]
    done = record(feed("rotate_s = 10"), tmp_path, [(0, NOON + ts, mold(i + 1)) for i, ts in enumerate(times)])
    day, found = the_day(tmp_path)
    assert [(f.first_ts, f.packets) for f in found.files] == [(NOON + 10 * S, 2), (NOON + 3 * S, 2)]
    sentence = "the clock of line itch/A stepped back by 9.000 s, to 2026-11-22 12:00:03.000 UTC"
    assert found.damage == (sentence,) and sentence in list(done.notes)
    rows = fields(day / found.files[1].name, "frame.comment")
    assert rows == [["clock: channel itch, line A, back by 9000000000 ns"], [""]]


def test_zstd_is_cut_into_frames_that_can_be_sought(tmp_path: Path) -> None:
    packets = [(0, NOON + i, bytes([i % 251]) * 60000) for i in range(60)]
    record(feed("compress = 1"), tmp_path, packets)
    day, found = the_day(tmp_path)
    packed, sizes = (day / found.files[0].name).read_bytes(), []
    while packed:
        machine = zstandard.ZstdDecompressor().decompressobj()
        block = machine.decompress(packed)
        assert int.from_bytes(block[:4], "little") in (0x0A0D0D0A, 5, 6)
        sizes.append(len(block))
        packed = machine.unused_data
    assert max(sizes) <= 1 << 20 and sum(sizes) > 60 * 60000


@pytest.mark.wire
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 65_507)), max_size=60),
    st.integers(0, 2**32),
    st.sampled_from(["pcapng", "pcap"]),
)
def test_anything_that_comes_is_kept(shape: list[tuple[int, int, int]], seed: int, format: str) -> None:
    """Bytes of any kind and length, with gaps, new sessions, bad counts: blocks and files are filled to the last."""
    noise = random.Random(seed)
    packets, number = [], 1
    for i, (line, kind, size) in enumerate(shape):
        number += noise.choice((0, 0, 1, 7))
        session = noise.choice(("S1", "S1", "S1", "S2"))
        payload = mold(number, 1, session=session, size=8 + min(size, 65_000)) if kind else noise.randbytes(size)
        cut = len(payload) - noise.choice((0, 0, 0, 1))
        packets.append((line, NOON + i * noise.randrange(2_000_000), payload[: max(cut, 0)]))
        number += kind > 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        record(feed(f'rotate_bytes = 1500000\nformat = "{format}"'), Path(folder), packets)
        day, found = the_day(Path(folder))
        assert payloads(day, found) == [(ts, GROUPS[line], payload) for line, ts, payload in packets]


def test_numbers_of_files_are_never_used_again(tmp_path: Path) -> None:
    for _ in range(3):
        record(feed(), tmp_path, [(0, NOON, b"x")])
    _, found = the_day(tmp_path)
    assert [file.name for file in found.files] == [f"rec-{i:04d}.pcapng" for i in (1, 2, 3)]
    assert all(a.bytes == b.bytes for a, b in pairwise(found.files))


def test_a_gap_is_told_where_it_opened_and_where_it_closed(tmp_path: Path) -> None:
    numbers = [(0, 1), (1, 1), (0, 2), (0, 8), (1, 2), (0, 9), (1, 3), (1, 4), (1, 5), (0, 10)]
    packets = [(line, NOON + i * 10_000_000, mold(first)) for i, (line, first) in enumerate(numbers)]
    record(feed(), tmp_path, packets)
    day, found = the_day(tmp_path)
    comments = [row[0] for row in fields(day / found.files[0].name, "frame.comment")]
    assert comments == ["session: channel itch, S1 begins at 1", "", "", "",
                        "gap opened: channel itch, 3..7 missing", "", "", "", "", ""]  # fmt: skip
    (channel,) = found.channels
    assert (channel.sessions, channel.first_seq, channel.last_seq, channel.lost) == (("S1",), 1, 10, 2)
    (gap,) = channel.gaps
    assert (gap.first, gap.count, gap.missing, gap.closed, gap.filled_by) == (3, 5, 2, None, ("B",))
    lines = [(line.first_seq, line.last_seq, line.session) for line in found.files[0].lines]
    assert lines == [(1, 10, "S1"), (1, 5, "S1")]
    more = [(1, NOON + S, mold(6)), (1, NOON + S, mold(7)), (0, NOON + S, mold(11))]
    record(feed(), tmp_path / "again", [*packets, *more])
    day, found = the_day(tmp_path / "again")
    comments = [row[0] for row in fields(day / found.files[0].name, "frame.comment")]
    assert comments[-2] == "gap closed: channel itch, 3..7, by line B"
    assert found.channels[0].lost == 0 and found.channels[0].gaps[0].closed == NOON + S


def test_each_file_knows_its_own_numbers(tmp_path: Path) -> None:
    packets = [(i % 2, NOON + i, mold(1 + i // 2 * 10, 10, size=95)) for i in range(400)]
    record(feed("rotate_bytes = 100000"), tmp_path, packets)
    _, found = the_day(tmp_path)
    assert len(found.files) == 5
    place = 0
    for file in found.files:
        own, place = packets[place : place + file.packets], place + file.packets
        for number, line in enumerate(file.lines):
            firsts = [int.from_bytes(payload[10:18], "big") for each, _, payload in own if each == number]
            assert (line.first_seq, line.last_seq) == (firsts[0], firsts[-1] + 9)
    assert (found.channels[0].last_seq, found.channels[0].lost, found.channels[0].gaps) == (2000, 0, ())


def test_what_nobody_was_there_for_is_a_gap_of_the_day(tmp_path: Path) -> None:
    for first in (5, 6, 20):
        record(feed(), tmp_path, [(0, NOON + first * S, mold(first))])
    (channel,) = the_day(tmp_path)[1].channels
    assert (channel.sessions, channel.first_seq, channel.last_seq, channel.lost) == (("S1",), 5, 20, 13)
    assert [(g.first, g.count, g.opened, g.closed) for g in channel.gaps] == [(7, 13, NOON + 20 * S, None)]
    record(feed(), tmp_path, [(0, NOON + 30 * S, mold(1, session="S2"))])
    (channel,) = the_day(tmp_path)[1].channels
    assert (channel.sessions, channel.first_seq, channel.last_seq, channel.lost) == (("S1", "S2"), 5, 1, 13)


def test_a_new_day_counts_its_own_numbers(tmp_path: Path) -> None:
    midnight = NOON + 12 * 3600 * S
    times = {1: -S, 4: -1, 6: 0, 7: S}
    record(feed(), tmp_path, [(0, midnight + ts, mold(first)) for first, ts in times.items()])
    first, second = (manifest.load(tmp_path / day).channels[0] for day in ("20261122", "20261123"))
    assert (first.first_seq, first.last_seq, first.lost) == (1, 4, 2)
    assert (second.first_seq, second.last_seq, second.lost) == (6, 7, 1)
    assert [(g.first, g.count, g.opened) for g in second.gaps] == [(5, 1, midnight)]

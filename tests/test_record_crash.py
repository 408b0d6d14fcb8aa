"""A recorder killed with -9 at any moment: what was acknowledged is there, the next goes on, the manifest is true."""

import contextlib
import os
import random
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from feedhandler.receive import capture
from feedhandler.record import Recorder, resume
from feedhandler.record._scan import Scan
from feedhandler.record.day import Day
from feedhandler.recording import manifest
from tests.recorded import NOON, S, feed, mold, record, wait
from tests.test_record import payloads, the_day

KILLS = 100
KINDS = [(format, level) for format in ("pcapng", "pcap") for level in (0, 1)]


class Sender:
    """Numbered packets to one group on lo."""

    def __init__(self, group: str, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        self.target, self.number = (group, port), 0

    def send(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(20):
                self.number += 1
                self.socket.sendto(struct.pack(">Q", self.number) + bytes(self.number % 300), self.target)
            time.sleep(0.001)


def recorder_process(settings: object, folder: Path) -> int:
    """A recorder in a process of its own, its modules loaded already; its pid."""
    pid = os.fork()
    if pid:
        return pid
    with contextlib.suppress(BaseException):
        os.close(2)
        Recorder(settings, folder).start().wait()  # type: ignore[arg-type]
    os._exit(1)


def word(folder: Path) -> manifest.Acknowledged | None:
    """What the manifest says to be certain now."""
    days = sorted(folder.glob("*/manifest.json"))
    return manifest.load(days[-1]).acknowledged if days else None


def acknowledged(day: Path, scratch: Path, known: set[str]) -> list[bytes]:
    """The payloads that the manifest says are certain to be there; they are, or the test fails.

    Whole files whose hash is among the `known` have been looked at before.
    """
    if not (day / "manifest.json").exists():
        return []
    found = manifest.load(day)
    sure = []
    for file in found.files:
        if file.complete and (file.sha256 is None or file.sha256 not in known):
            known.add(file.sha256 or "")
            read = [payload for _, _, payload in capture.read(day / file.name)]
            assert len(read) == file.packets
            sure += read
    if (given := found.acknowledged) is not None:
        path = day / (given.file + ".partial")
        path = path if path.exists() else day / given.file
        cut = scratch / given.file
        with path.open("rb") as source:
            cut.write_bytes(source.read(given.bytes))
        assert cut.stat().st_size == given.bytes
        read = [payload for _, _, payload in capture.read(cut)]
        assert len(read) == given.packets
        sure += read
        cut.unlink()
    return sure


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """A folder in memory: what is synced there costs no time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_killed_a_hundred_times(fast_path: Path, multicast_group: str, free_udp_port: int) -> None:
    dice, day, scratch = random.Random(5), fast_path / "day", fast_path / "scratch"
    scratch.mkdir()
    settings = feed("sync = 0.01\nrotate_bytes = 100000", groups=[multicast_group], port=free_udp_port)
    base = replace(settings, record=replace(settings.record, buffer_bytes=1 << 20))
    sender = Sender(multicast_group, free_udp_port)
    sure: set[bytes] = set()
    known: set[str] = set()
    with sender.socket:
        for turn in range(KILLS):  # before it has begun, and while it writes
            format, level = KINDS[turn % 4]
            settings = replace(base, record=replace(base.record, format=format, compress=level))
            before = word(day)
            pid = recorder_process(settings, day)
            try:
                if turn % 2:
                    wait(lambda before=before: sender.send(0.002) or word(day) not in (None, before))
                sender.send(dice.uniform(0, 0.03))
            finally:
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
            assert os.WIFSIGNALED(status), "the recorder had ended by itself"
            for folder in day.iterdir() if day.exists() else ():
                sure |= set(acknowledged(folder, scratch, known))
        with Recorder(base, day) as last:
            last.start()
            sender.send(0.02)
            wait(lambda: last.status().packets > 0)
    found = [folder for folder in day.iterdir() if (folder / "manifest.json").exists()]
    kept: list[bytes] = []
    for folder in found:  # two of them, when it was midnight meanwhile
        (fast_path / folder.name).mkdir()
        folder.rename(fast_path / folder.name / folder.name)
        place, days = the_day(fast_path / folder.name)
        assert days.complete and days.acknowledged is None
        kept += [payload for _, _, payload in payloads(place, days)]
    assert len(sure) > KILLS and sure <= set(kept)
    numbers = [struct.unpack_from(">Q", payload)[0] for payload in kept]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("suffix", [".pcapng", ".pcap", ".pcapng.zst"])
def test_a_file_cut_at_any_byte_is_taken_up(suffix: str, tmp_path: Path) -> None:
    format, _, packed = suffix[1:].partition(".")
    settings = feed(f'format = "{format}"\ncompress = {1 if packed else 0}')
    packets = [(i % 2, NOON + i, bytes([i]) * (i % 9)) for i in range(12)]
    record(settings, tmp_path / "whole", packets)
    whole, found = the_day(tmp_path / "whole")
    name = found.files[0].name
    data = (whole / name).read_bytes()
    for cut in (*range(0, len(data), 41), len(data) - 1, len(data)):
        day = tmp_path / f"{cut}" / "20261122"
        day.mkdir(parents=True)
        (day / (name + ".partial")).write_bytes(data[:cut])
        taken_up = Day(day.parent, date(2026, 11, 22), "rec", "UTC", found.channels, {})
        (sentence,) = resume.mend(taken_up)
        for each in resume.unhashed(taken_up):
            resume.hashed(taken_up, each, resume.digest(day / each))
        assert taken_up.next_name("") == "rec-0002"
        taken_up.close(complete=True, sync=False)
        place, after = the_day(day.parent)
        read = [payload for _, _, payload in payloads(place, after)]
        assert read == [payload for _, _, payload in packets[: len(read)]]
        assert after.damage == (sentence,) and sentence.startswith(name)
        assert cut < len(data) or (len(read) == 12 and "it is whole" in sentence)
        shutil.rmtree(day.parent)


@pytest.mark.wire
def test_only_whole_blocks_are_walked_over() -> None:
    with tempfile.TemporaryDirectory() as folder:
        record(feed(), Path(folder), [(i % 2, NOON + i, bytes([i]) * i) for i in range(12)])
        data = next(Path(folder).glob("*/*.pcapng")).read_bytes()
    ends = [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + int.from_bytes(data[ends[-1] + 4 : ends[-1] + 8], "little"))
    for cut in range(len(data) + 1):
        scan = Scan(True, [(b"", 0)] * 2)
        assert scan.walk(data[:cut], True) == max(end for end in ends if end <= cut) and not scan.damaged
    for place in range(len(data)):
        for bit in (1, 128):
            broken = bytearray(data)
            broken[place] ^= bit
            assert 0 <= Scan(True, [(b"", 0)] * 2).walk(bytes(broken), True) <= len(data)


def test_what_was_acknowledged_and_is_not_there_is_named(tmp_path: Path) -> None:
    record(feed(), tmp_path, [(0, NOON + i, b"x" * 40) for i in range(10)])
    (day,) = tmp_path.iterdir()
    found = manifest.load(day)
    file = found.files[0]
    word = manifest.Acknowledged(file.name, 10, file.bytes)
    (day / file.name).rename(day / (file.name + ".partial"))
    with (day / (file.name + ".partial")).open("r+b") as cut:
        cut.truncate(file.bytes - 400)
    left = replace(file, complete=False, sha256=None)
    manifest.save(replace(found, complete=False, files=(left,), acknowledged=word), day)
    record(feed(), tmp_path, [])
    place, after = the_day(tmp_path)
    assert after.damage[0] == f"{file.name}: 400 bytes that were acknowledged are not there"
    assert 0 < len(payloads(place, after)) == after.files[0].packets < 10
    manifest.save(replace(after, files=(*after.files, replace(left, name="rec-0002.pcapng")), complete=False), day)
    record(feed(), tmp_path, [])
    assert the_day(tmp_path)[1].damage[-1] == "rec-0002.pcapng: is gone"


def test_numbers_go_on_over_a_crash(tmp_path: Path) -> None:
    packets = [(0, NOON + i, mold(1 + i)) for i in range(20)]
    record(feed(), tmp_path / "10", packets[:10])
    record(feed(), tmp_path / "20", packets)
    half, whole = manifest.load(tmp_path / "10" / "20261122"), tmp_path / "20" / "20261122"
    (name,) = [file.name for file in half.files]
    ends = [0]
    data = (whole / name).read_bytes()
    while ends[-1] < len(data):
        ends.append(ends[-1] + int.from_bytes(data[ends[-1] + 4 : ends[-1] + 8], "little"))
    word = manifest.Acknowledged(name, 10, ends[3 + 10])  # behind section, two interfaces and ten packets
    left = replace(half.files[0], complete=False, sha256=None, bytes=word.bytes)
    manifest.save(replace(half, files=(left,), acknowledged=word, complete=False), whole)
    (whole / name).rename(whole / (name + ".partial"))
    record(feed(), whole.parent, [(0, NOON + S, mold(23))])
    _, after = the_day(whole.parent)
    (channel,) = after.channels
    assert (channel.first_seq, channel.last_seq, channel.lost) == (1, 23, 2)
    assert [(gap.first, gap.count) for gap in channel.gaps] == [(21, 2)]
    assert [file.packets for file in after.files] == [20, 1]
    assert [(line.first_seq, line.last_seq) for line in (file.lines[0] for file in after.files)] == [(1, 20), (23, 23)]


def test_a_day_that_a_crash_left_open_is_closed_on_the_next(tmp_path: Path) -> None:
    record(feed(), tmp_path, [(0, NOON - 86_400_000_000_000, b"x")])
    day = tmp_path / "20261121"
    found = manifest.load(day)
    (day / found.files[0].name).rename(day / (found.files[0].name + ".partial"))
    left = replace(found.files[0], complete=False, sha256=None)
    manifest.save(replace(found, files=(left,), complete=False), day)
    record(feed(), tmp_path, [(0, NOON, b"y")])
    again = manifest.load(day)
    assert again.complete and again.files == found.files


def test_what_an_earlier_day_brought_after_its_last_word_is_counted(tmp_path: Path) -> None:
    before = NOON - 86_400_000_000_000
    record(feed(), tmp_path, [(0, before + i, mold(number)) for i, number in enumerate((1, 2, 5))])
    day = tmp_path / "20261121"
    found = manifest.load(day)
    (day / found.files[0].name).rename(day / (found.files[0].name + ".partial"))
    channels = tuple(replace(each, sessions=(), first_seq=None, last_seq=None, gaps=()) for each in found.channels)
    manifest.save(replace(found, files=(), channels=channels, complete=False), day)
    record(feed(), tmp_path, [(0, NOON, mold(6))])
    again = manifest.load(day)
    (channel,) = again.channels
    assert (channel.first_seq, channel.last_seq) == (1, 5) and [(g.first, g.count) for g in channel.gaps] == [(3, 2)]
    line = again.files[0].lines[0]
    assert (line.packets, line.first_seq, line.last_seq, line.session) == (3, 1, 5, "S1")


def test_a_file_that_the_manifest_does_not_know_is_looked_at_and_not_touched(tmp_path: Path) -> None:
    record(feed(), tmp_path, [(0, NOON, mold(1))])
    day, found = the_day(tmp_path)
    whole = (day / found.files[0].name).read_bytes()
    (day / "rec-0002.pcapng").write_bytes(whole)  # renamed, and the crash came before the manifest was written
    record(feed(), tmp_path, [(0, NOON, mold(2))])
    _, after = the_day(tmp_path)
    assert [(f.name, f.bytes) for f in after.files[:2]] == [(f"rec-000{n}.pcapng", len(whole)) for n in (1, 2)]
    assert after.files[2].name == "rec-0003.pcapng" and after.damage == ()
    (day / "rec-0004.pcapng").write_bytes(b"notes of mine")
    record(feed(), tmp_path, [(0, NOON, mold(3))])
    assert (day / "rec-0004.pcapng").read_bytes() == b"notes of mine"
    assert manifest.load(day).damage == (
        "rec-0004.pcapng: from byte 0 on it is nothing that was recorded here; it stays as it is",
    )

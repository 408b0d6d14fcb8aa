"""A recording that is read while it is written."""

import gzip
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from feedhandler.handler import open_recording, play
from feedhandler.receive import capture
from feedhandler.recording import Recording
from feedhandler.recording import manifest as manifests
from feedhandler.recording._merged import Merged
from feedhandler.recording.chain import FollowedChain
from feedhandler.recording.manifest import Channel, Line, Manifest
from tests.background import beside
from tests.recorded import NOON, feed, record
from tests.test_recording import START, A, B, mold

Piece = tuple[int, int, bytes]


def day(folder: Path, complete: bool = False) -> Manifest:
    lines = tuple(
        Line(name, group, port, "", "", "lo", False) for name, (group, port) in zip("AB", (A, B), strict=True)
    )
    channel = Channel("itch", "itch50", "moldudp64", "XNAS", None, lines)
    made = Manifest("day", "2023-11-14", "UTC", START, (channel,), complete=complete)
    folder.mkdir(parents=True, exist_ok=True)
    manifests.save(made, folder, sync=False)
    return made


def content(folder: Path, first: int, count: int, suffix: str) -> tuple[bytes, list[Piece]]:
    """A recorded file's bytes, in independent frames where it is compressed; and its packets."""
    packets = [(i % 2, START + i * 1000, mold(i + 1)) for i in range(first, first + count)]
    with capture.PcapngWriter(folder / "scratch", ["A", "B"]) as file:
        for line, ts, payload in packets:
            file.write(ts, payload, (A, B)[line], interface=line)
    data = (folder / "scratch").read_bytes()
    if suffix.endswith(".zst"):
        data = b"".join(zstandard.compress(data[i : i + 1000]) for i in range(0, len(data), 1000))
    return data, packets


@pytest.mark.parametrize("suffix", [".pcapng", ".pcapng.zst", ".pcap.gz"])
def test_a_day_is_followed_while_it_is_written(tmp_path: Path, suffix: str) -> None:
    """Whatever the pieces in which the files grow, nothing is lost, doubled, or an error."""
    dice = random.Random(suffix)
    folder = tmp_path / "20231114"
    made = day(folder)
    recording = Recording(folder)
    assert [line.name for line in recording.lines] == ["A", "B"]
    receiver = recording.receiver(follow=True)
    assert receiver.drain() == [] and not receiver.ended
    got: list[Piece] = []
    wanted: list[Piece] = []
    for number in range(1, 4):
        data, packets = content(tmp_path, len(wanted), dice.choice([1, 50, 200]), suffix)
        if suffix.endswith(".gz"):
            data = gzip.compress(data)
        wanted += packets
        partial = folder / f"day-{number:04}{suffix}.partial"
        partial.touch()
        at = 0
        while at < len(data):
            size = dice.choice([1, 3, 40, 1000, 5000])
            with partial.open("ab") as file:
                file.write(data[at : at + size])
            at += size
            receiver.wait_for(0.002)
            got += receiver.drain()
            assert receiver.error is None and not receiver.ended
            assert got == wanted[: len(got)]
        partial.rename(folder / partial.name.removesuffix(".partial"))
    manifests.save(replace(made, complete=True), folder, sync=False)
    while not receiver.ended:
        receiver.wait_for(0.002)
        got += receiver.drain()
    assert got == wanted and receiver.error is None
    assert Recording(folder).receiver().drain() == wanted


def test_the_next_day_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feedhandler.recording import chain

    monkeypatch.setattr(chain, "NEXT_DAY_SECONDS", 0.2)
    folders = [tmp_path / "days" / name for name in ("20231114", "20231115")]
    day(folders[0])
    first, one = content(tmp_path, 0, 10, "")
    second, two = content(tmp_path, 10, 10, "")
    (folders[0] / "day-0001.pcapng").write_bytes(first)
    receiver = Recording(tmp_path / "days").receiver(follow=True)
    got = receiver.drain()
    day(folders[0], complete=True)
    assert receiver.drain() == []
    day(folders[1])
    (folders[1] / "day-0001.pcapng").write_bytes(second)
    day(folders[1], complete=True)
    while not receiver.ended:
        receiver.wait_for(0.002)
        got += receiver.drain()
    assert got == one + two and receiver.error is None


def test_another_programs_capture_is_followed_until_it_is_stopped(tmp_path: Path) -> None:
    """A file of tcpdump's grows under its own name; what ends it is the person who reads."""
    path = tmp_path / "x.pcap"
    with capture.PcapWriter(path) as file:
        for i in range(100):
            file.write(START + i, mold(i + 1), A)
    data = path.read_bytes()
    path.write_bytes(data[:3000])
    with open_recording(Recording(path), follow=True) as handler:
        with beside(lambda: play(handler)):  # type: ignore[arg-type, return-value]
            with path.open("ab") as grown:
                for at in range(3000, len(data), 777):
                    grown.write(data[at : at + 777])
                    grown.flush()
            handler.receiver.stop_following()  # type: ignore[attr-defined]
        assert handler.types == {"S": 100}


@pytest.mark.parametrize("suffix", [".pcapng", ".pcap", ".pcapng.zst"])
def test_what_our_recorder_wrote_is_read_by_its_manifest_and_without(tmp_path: Path, suffix: str) -> None:
    """The folder with its manifest; a pcapng alone, which says itself what its lines are."""
    form, _, packed = suffix[1:].partition(".")
    packets = [(i % 2, NOON + i * 1_000_001, mold(1 + i // 2)) for i in range(210)]
    record(feed(f'format = "{form}"\ncompress = {3 if packed else 0}\nrotate_bytes = 65536'), tmp_path, packets)
    (folder,) = tmp_path.iterdir()
    recording = Recording(tmp_path)
    assert [(line.channel, line.name, line.protocol) for line in recording.lines] == [
        ("itch", "A", "itch50"),
        ("itch", "B", "itch50"),
    ]
    assert (recording.first_ts, recording.last_ts) == (packets[0][1], packets[-1][1])
    assert recording.receiver().drain() == packets
    assert recording.receiver(follow=True).drain() == packets
    (folder / "manifest.json").unlink()
    alone = Recording(folder / f"rec-0001{suffix}")
    assert alone.receiver().drain() == packets
    if form == "pcapng":
        assert alone.lines == recording.lines


def test_a_silent_file_does_not_keep_another_from_being_read(tmp_path: Path) -> None:
    for name in ("silent", "loud"):
        day(tmp_path / name)
        data, packets = content(tmp_path, 0, 40, ".pcapng")
        (tmp_path / name / "day-0001.pcapng.partial").write_bytes(data if name == "silent" else data[:2000])
    receiver = Recording(tmp_path / "silent", tmp_path / "loud").receiver(follow=True)
    got: list[Piece] = []
    for _ in range(50):
        receiver.wait_for(0.002)
        got += receiver.drain()
    with (tmp_path / "loud" / "day-0001.pcapng.partial").open("ab") as file:
        file.write(data[2000:])
    for _ in range(2000):
        receiver.wait_for(0.002)
        got += receiver.drain()
        if len(got) == 2 * len(packets):
            break
    assert len(got) == 2 * len(packets)
    receiver.close()


@pytest.mark.parametrize("follow", [False, True])
def test_a_file_that_a_ring_let_go_does_not_end_the_reading(follow: bool, tmp_path: Path) -> None:
    folder = tmp_path / "20261122"
    record(feed("rotate_s = 1"), tmp_path, [(0, NOON + i * 1_000_000_000, bytes([i])) for i in range(4)])
    receiver = Recording(folder, protocol="itch50").receiver(follow=follow)
    (folder / "rec-0002.pcapng").unlink()
    got = []
    while not receiver.ended:
        got += [payload for _, _, payload in receiver.drain()]
        receiver.wait_for(0.001)
    assert got == [b"\0", b"\2", b"\3"]
    assert "rec-0002.pcapng" in str(receiver.error)
    assert follow or "the file is gone" in str(receiver.error)


def test_files_are_followed_by_their_numbers(tmp_path: Path) -> None:
    made = day(tmp_path / "20231114")
    wanted: list[Piece] = []
    for number in (9999, 10000):
        data, packets = content(tmp_path, len(wanted), 3, ".pcapng")
        (tmp_path / "20231114" / f"day-{number}.pcapng").write_bytes(data)
        wanted += packets
    manifests.save(replace(made, complete=True), tmp_path / "20231114", sync=False)
    receiver = Recording(tmp_path / "20231114").receiver(follow=True)
    got: list[Piece] = []
    while not receiver.ended:
        got += receiver.drain()
        receiver.wait_for(0.001)
    assert got == wanted and receiver.error is None


def test_progress_may_be_asked_for_from_any_thread(tmp_path: Path) -> None:
    folder = tmp_path / "20261122"
    record(feed("rotate_s = 1\ncompress = 1"), tmp_path, [(0, NOON + i * 1_000_000_000, b"x") for i in range(300)])
    asked: list[int] = []
    failed: list[BaseException] = []
    for _ in range(3):
        recording = Recording(folder)
        receiver = recording.receiver()
        over = threading.Event()

        def ask(receiver: Merged = receiver, over: threading.Event = over) -> None:
            try:
                while not over.is_set():
                    asked.append(receiver.offset)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not receiver.ended:
            receiver.drain(7)
        over.set()
        thread.join()
        assert receiver.offset == recording.size
    assert asked and not failed


def test_a_fault_of_a_silent_file_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day(tmp_path / "day")
    data, packets = content(tmp_path, 0, 40, ".pcapng")
    (tmp_path / "day" / "day-0001.pcapng.partial").write_bytes(data)
    receiver = Recording(tmp_path / "day").receiver(follow=True)
    looks: list[int] = []

    def look(self: FollowedChain) -> None:
        looks.append(len(looks))
        raise OSError("the folder cannot be read")

    monkeypatch.setattr(FollowedChain, "look", look)
    got: list[Piece] = []
    for _ in range(2000):
        got += receiver.drain()
        receiver.wait_for(0.002)
        if len(looks) > 3:
            break
    assert got == packets and len(looks) > 3
    assert [str(error) for error in receiver.errors] == ["the folder cannot be read"]
    receiver.close()


def test_a_file_that_was_finished_after_it_was_found(tmp_path: Path) -> None:
    """Its recorder takes .partial off at any moment, between a look into the folder and one into the file, too."""
    record(feed(), tmp_path, [(0, NOON, mold(1))])
    (file,) = tmp_path.rglob("*.pcapng")
    partial = file.rename(file.with_name(file.name + ".partial"))
    (file.parent / "manifest.json").unlink()
    recording = Recording(file.parent)
    partial.rename(file)
    assert [line.name for line in recording.lines][:1] == ["A"] and recording.first_ts == NOON

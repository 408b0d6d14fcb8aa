"""Seeking: the index, looked up and built, gives what walking gives."""

import gzip
import random
from pathlib import Path

import pytest
import zstandard

from feedhandler.errors import CaptureError, RecordingError
from feedhandler.receive import capture
from feedhandler.receive._capture import PacketFile
from feedhandler.receive.compressed import frames
from feedhandler.recording import Recording, Window, index
from tests.test_recording import START, A, B, mold, taken

Piece = tuple[int, int, bytes]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "BLOCK", 16)
    monkeypatch.setattr(index, "WORTH_KEEPING", 1)


def system_event(number: int, code: bytes) -> bytes:
    return mold(number)[:-1] + code


def pack(data: bytes, how: str) -> bytes:
    if how == "gz":
        return gzip.compress(data)
    if how == "zst":
        return b"".join(zstandard.compress(data[i : i + 3000]) for i in range(0, len(data), 3000))
    return zstandard.compress(data) if how == "one.zst" else data


def write(path: Path, form: str, how: str, packets: list[Piece]) -> None:
    """Packets in a file; a pcapng in two sections, the second one with its interfaces the other way round."""
    scratch = path.with_name("scratch")
    data = b""
    halves = [packets] if form == "pcap" else [packets[: len(packets) // 2], packets[len(packets) // 2 :]]
    for half in halves:
        if form == "pcap":
            with capture.PcapWriter(scratch) as file:
                for line, ts, payload in half:
                    file.write(ts, payload, (A, B)[line])
        else:
            with capture.PcapngWriter(scratch, ["x", "y"]) as ng:
                for line, ts, payload in half:
                    ng.write(ts, payload, (A, B)[line], interface=line)
        data += scratch.read_bytes()
    scratch.unlink()
    path.write_bytes(pack(data, how))


def unordered(dice: random.Random, count: int) -> list[Piece]:
    """Packets whose times cross now and then, and whose numbers rise."""
    ts, packets = START, []
    for i in range(count):
        ts += dice.choice([0, 1, 10, 1000])
        packets.append((i % 2, ts - dice.choice([0, 0, 0, 700]), mold(1 + i // 2)))
    return packets


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
@pytest.mark.parametrize("how", ["", "gz", "zst", "one.zst"])
def test_a_window_by_the_index_is_the_window_by_walking(tmp_path: Path, form: str, how: str) -> None:
    dice = random.Random(form + how)
    packets = unordered(dice, 500)
    path = tmp_path / f"x.{form}.{how}"
    write(path, form, how, packets)
    recording = Recording(path)
    for trial in range(40):
        start = START + dice.randrange(-10, 130_000)
        end = start + dice.choice([0, 1, 500, 20_000, 10**12])
        if trial % 10 == 0:
            recording = Recording(path)  # reads the index that lies there
        got = taken(recording.receiver(Window(start, end)))
        assert got == [packet for packet in packets if start <= packet[1] < end]
    assert path.with_name(path.name + ".index").exists()
    found = recording.index(recording.files[0])
    assert found is not None and found.first_ts == min(ts for _, ts, _ in packets)
    assert found.last_ts == max(ts for _, ts, _ in packets)
    assert bool(found.frames) == how.endswith("zst")


def test_a_window_reads_the_blocks_that_hold_it_and_no_more(tmp_path: Path) -> None:
    packets = [(0, START + i, mold(i + 1)) for i in range(2000)]
    write(tmp_path / "x.pcap", "pcap", "", packets)
    recording = Recording(tmp_path)
    receiver = recording.receiver(Window(START + 1000, START + 1010))
    before = receiver.drain(1)
    assert [ts for _, ts, _ in before] == [START + 1000]
    size = recording.size / 2000
    assert recording.size * 0.49 < receiver.offset < recording.size / 2 + 40 * size


def test_numbers_and_events_are_found(tmp_path: Path) -> None:
    packets = [(i % 2, START + i * 10, mold(1 + i // 2)) for i in range(400)]
    packets[100] = (0, START + 1000, system_event(51, b"Q"))
    packets[300] = (0, START + 3000, system_event(151, b"M"))
    write(tmp_path / "b.pcap", "pcap", "", packets[200:])
    write(tmp_path / "a.pcapng.zst", "pcapng", "zst", packets[:200])
    recording = Recording(tmp_path)
    for number in (1, 2, 17, 51, 100, 101, 150, 200):
        assert recording.find(f"seq:{number}") == START + (number - 1) * 20
        assert recording.find(f"seq:itch50-0:{number}") == START + (number - 1) * 20
    assert recording.find("open") == START + 1000 and recording.find("close") == START + 3000
    with pytest.raises(RecordingError, match="no message 201 in it; the highest number is 200"):
        recording.find("seq:201")
    with pytest.raises(RecordingError, match="no channel 'itch'"):
        recording.find("seq:itch:5")


def test_a_number_that_no_packet_holds_is_the_next_one(tmp_path: Path) -> None:
    write(tmp_path / "x.pcap", "pcap", "", [(0, START + i, mold(i + 1)) for i in range(100) if not 30 <= i < 60])
    assert Recording(tmp_path).find("seq:40") == START + 60


def test_a_feed_that_does_not_say_when_it_opens(tmp_path: Path) -> None:
    write(tmp_path / "x.pcap", "pcap", "", [(0, START + i, mold(i + 1)) for i in range(10)])
    with pytest.raises(RecordingError, match="does not say 'open'"):
        Recording(tmp_path).find("open")


def test_an_index_of_another_file_is_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    write(path, "pcap", "", [(0, START + i, mold(i + 1)) for i in range(100)])
    assert Recording(path).find("seq:50") == START + 49
    kept = tmp_path / "x.pcap.index"
    assert kept.exists()
    write(path, "pcap", "", [(0, START + 7 * i, mold(i + 1)) for i in range(200)])
    assert Recording(path).find("seq:50") == START + 7 * 49
    content = kept.read_bytes()
    for damage in (b"", b"feedhandler index 0\n", content[:200], content[: len(content) // 2]):
        kept.write_bytes(damage)
        assert Recording(path).find("seq:50") == START + 7 * 49
        assert kept.read_bytes() == content, "it is made anew"


def test_a_folder_that_cannot_be_written_has_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pcap"
    write(path, "pcap", "", [(0, START + i, mold(i + 1)) for i in range(100)])

    def refuse(self: Path, *rest: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "replace", refuse)
    assert Recording(path).find("seq:50") == START + 49
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.pcap"]


@pytest.mark.wire
def test_an_index_that_lies_is_one_error_and_no_crash(tmp_path: Path) -> None:
    """Places that are none lead to packets that are none, or to the end: bounds are looked at all the same."""
    path = tmp_path / "x.pcapng"
    write(path, "pcapng", "", [(0, START + i, mold(i + 1)) for i in range(100)])
    recording = Recording(path)
    made = recording.index(recording.files[0])
    assert made is not None
    for place in (3, 10**9, 1 << 63):
        with capture.open_file(path, recording.files[0].kind, 1, [(0, A)]) as file:
            assert isinstance(file, PacketFile)
            try:
                file.resume(made.heads, place)
                assert file.drain() == [] and file.error is not None
            except CaptureError as fault:
                assert "shorter than its index" in str(fault)
    file = capture.open_file(path, recording.files[0].kind, 1, [(0, A)])
    with file, pytest.raises(CaptureError, match="index is of another file"):
        file.resume([(0, bytes(28))], 0)


def test_frames_are_found_whatever_their_blocks(tmp_path: Path) -> None:
    dice = random.Random(1)
    pieces = [dice.randbytes(300_000), bytes(500_000), b"", dice.randbytes(10), b"ab" * 200_000]
    packed = [zstandard.ZstdCompressor(write_checksum=bool(i % 2)).compress(piece) for i, piece in enumerate(pieces)]
    (tmp_path / "x").write_bytes(b"".join(packed))
    unpacked = [sum(map(len, pieces[:i])) for i in range(5)]
    places = [sum(map(len, packed[:i])) for i in range(5)]
    assert frames(tmp_path / "x") == list(zip(unpacked, places, strict=True))


@pytest.mark.wire
def test_an_index_that_makes_no_sense_is_not_believed(tmp_path: Path) -> None:
    """Changed at any place it is not read, or leads to nothing worse than a fault that is named."""
    dice = random.Random(8)
    path = tmp_path / "file.pcapng.zst"
    write(path, "pcapng", "zst", unordered(dice, 300))
    window = Window(START + 100_000, START + 200_000)
    lines = Recording(path)._table.of[path]
    recording = Recording(path)
    taken(recording.receiver(window))
    beside = path.with_name(path.name + ".index")
    whole = beside.read_bytes()
    assert index.load(path, lines) is not None
    head = whole.index(b"\n", len(index.MAGIC)) + 1
    places = [*range(0, head, 37), *range(head, len(whole), 13)]
    for place in places:
        for value in (0, 0x39, 0xFF):
            broken = bytearray(whole)
            broken[place] = value
            beside.write_bytes(broken)
            try:
                receiver = Recording(path).receiver(window)
                receiver.drain()
            except (CaptureError, RecordingError):
                continue
            receiver.close()
    for cut in range(0, len(whole), 91):
        beside.write_bytes(whole[:cut])
        assert index.load(path, lines) is None
    rows = len(index.BLOCK.to_bytes(8, "little"))
    beside.write_bytes(
        whole[:head] + whole[head + rows : head + 2 * rows] + whole[head : head + rows] + whole[head + 16 :]
    )
    assert index.load(path, lines) is None, "places that do not rise"


@pytest.mark.wire
def test_heads_of_another_file_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file.pcapng"
    write(path, "pcapng", "", [(0, START + i, mold(i + 1)) for i in range(10)])
    with capture.receiver(path, [A, B]) as whole:
        wanted = whole.drain()
    with capture.receiver(path, [A, B]) as file:
        packet = path.read_bytes()[-300:]
        with pytest.raises(CaptureError, match="its index is of another file"):
            file.resume([(0, packet)], 0)  # type: ignore[union-attr]
        del packet
        assert file.drain() == wanted

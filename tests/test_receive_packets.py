"""`capture.packets`: the same packets one by one, in batches, and as every other way to read has them."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
import zstandard

from feedhandler.errors import CaptureError
from feedhandler.receive import capture

A, B, C = ("233.54.12.111", 26477), ("233.54.12.112", 26478), ("ff15::1", 26479)
START = 1_700_000_000_000_000_000
Piece = tuple[int, int, bytes]


def write(path: Path, count: int = 1000, large: bool = False) -> list[Piece]:
    dice = random.Random(7)
    found = []
    scratch = path.with_name("scratch")
    with capture.PcapWriter(scratch) as file:
        for i in range(count):
            line = dice.randrange(3) if i > 2 else i
            payload = dice.randbytes(60_000 if large else dice.randrange(300))
            source = ("fd00::2", 1) if line == 2 else ("10.0.0.1", 1)
            file.write(START + i, payload, (A, B, C)[line], source)
            found.append((START + i, line, payload))
    data = scratch.read_bytes()
    scratch.unlink()
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix)
    path.write_bytes(pack(data) if pack else data)
    return found


def unbatched(batches: object) -> list[Piece]:
    found = []
    for data, times, lines, offsets, lengths in batches:  # type: ignore[attr-defined]
        assert len(times) == len(lines) == len(offsets) == len(lengths) > 0
        for ts, line, at, size in zip(times, lines, offsets, lengths, strict=True):
            found.append((int(ts), int(line), data[at : at + size].tobytes()))
    return found


@pytest.mark.wire
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("large", [False, True])
def test_one_by_one_and_in_batches_they_are_the_same(tmp_path: Path, suffix: str, large: bool) -> None:
    path = tmp_path / f"x.pcap{suffix}"
    wanted = write(path, 60 if large else 1000, large)
    with capture.packets(path) as found:
        assert list(found) == wanted
        assert found.lines == [A, B, C]
        assert found.statistics["udp"] == len(wanted)
        assert list(found) == []
    for most in (1, 7, 64, 5000):
        with capture.packets(path) as found:
            assert unbatched(found.batches(most)) == wanted
    with capture.packets(path, [C, A]) as found:
        chosen = [(ts, (2, None, 0).index(line) if line else 1, data) for ts, line, data in wanted if line != 1]
        assert list(found) == chosen
        assert found.lines == [C, A]
    assert [(ts, (A, B, C).index(target), data) for ts, target, data in capture.read(path)] == wanted


def test_what_was_given_outlives_the_file(tmp_path: Path) -> None:
    """A batch of a mapped file keeps the mapping; nothing of it goes with close()."""
    path = tmp_path / "x.pcap"
    wanted = write(path)
    with capture.packets(path) as found:
        batches = list(found.batches(100))
    assert unbatched(batches) == wanted
    assert all(not batch[0].flags.writeable for batch in batches)
    assert isinstance(batches[0][0], np.ndarray) and batches[0][0].base is not None
    assert unbatched(found.batches(5)) == []


@pytest.mark.wire
def test_a_fragmented_datagram_is_a_batch_of_its_own(tmp_path: Path) -> None:
    from scapy.layers.inet import IP, UDP, fragment
    from scapy.layers.l2 import Ether
    from scapy.utils import wrpcap

    frames, wanted = [], []
    for i in range(10):
        payload = bytes([i]) * (3000 if i % 3 == 1 else 20)
        packet = IP(src="10.0.0.1", dst=A[0], id=i + 1) / UDP(sport=1, dport=A[1]) / payload
        for part in fragment(packet, 1000):
            frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / part
            frame.time = 1_700_000_000 + i
            frames.append(frame)
        wanted.append((1_700_000_000_000_000_000 + i * 10**9, 0, payload))
    wrpcap(str(tmp_path / "x"), frames)
    with capture.packets(tmp_path / "x") as found:
        assert list(found) == wanted
    with capture.packets(tmp_path / "x") as found:
        assert unbatched(found.batches(100)) == wanted


@pytest.mark.wire
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damage_is_an_error_behind_the_last_whole_packet(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    wanted = write(path, 100)
    path.write_bytes(path.read_bytes()[:-5])
    for batched in (False, True):
        got: list[Piece] = []
        with capture.packets(path) as found, pytest.raises(CaptureError, match=str(path)):
            for batch in found.batches(8) if batched else found:
                got += unbatched([batch]) if batched else [batch]  # type: ignore[list-item]
        assert got == wanted[: len(got)]
        assert suffix or len(got) == 99


def test_a_file_that_is_none_or_a_batch_of_none(tmp_path: Path) -> None:
    write(tmp_path / "x", 3)
    with capture.packets(tmp_path / "x") as found, pytest.raises(ValueError, match="at least one packet"):
        found.batches(0)
    (tmp_path / "x.itch").write_bytes(b"\0\x0cS" + bytes(11))
    with pytest.raises(CaptureError, match="holds messages, not packets"):
        capture.packets(tmp_path / "x.itch")

"""Capture files: recognised, read, written; whole ones and damaged ones."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.errors import CaptureError, ConfigError
from feedhandler.receive import capture
from feedhandler.receive._capture import PacketFile
from feedhandler.receive.compressed import SLICE, Unpacker
from feedhandler.records import TimestampKind

A, B = ("233.54.12.111", 26477), ("233.54.12.112", 26478)
START = 1_700_000_000_123_456_789
PAYLOADS = [bytes([i % 256]) * (i * 7 % 300) for i in range(50)]

Writer = Callable[[Path], None]


def packets() -> list[tuple[int, tuple[str, int], bytes]]:
    return [(START + i * 1000, (A, B)[i % 2], payload) for i, payload in enumerate(PAYLOADS)]


def write_pcap(path: Path) -> None:
    with capture.PcapWriter(path) as file:
        for ts, target, payload in packets():
            file.write(ts, payload, target)


def write_pcapng(path: Path) -> None:
    with capture.PcapngWriter(path, ["line A", "line B"]) as file:
        for ts, target, payload in packets():
            file.write(ts, payload, target, interface=(A, B).index(target))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(("write", "form"), [(write_pcap, "pcap"), (write_pcapng, "pcapng")])
def test_what_is_written_is_read(tmp_path: Path, write: Writer, form: str, suffix: str) -> None:
    path = tmp_path / f"capture.any{suffix}"
    write(path)
    assert capture.kind(path) == (form, {"": None, ".gz": "gzip", ".zst": "zstd"}[suffix])
    assert list(capture.read(path)) == packets()
    first = path.read_bytes()
    write(path)
    assert path.read_bytes() == first, "the same input gives the same bytes"


def test_microseconds_cut_the_rest(tmp_path: Path) -> None:
    with capture.PcapWriter(tmp_path / "x", nanosecond=False) as file:
        file.write(1_500_000_000_999_999_999, b"x", A)
    assert next(capture.read(tmp_path / "x")) == (1_500_000_000_999_999_000, A, b"x")


def test_lines_are_the_destinations_in_order_of_appearance(tmp_path: Path) -> None:
    write_pcap(tmp_path / "x.pcap")
    found = capture.streams(tmp_path / "x.pcap")
    assert [(s.destination, s.packets, s.payload_bytes, s.payloads, s.first_ts, s.last_ts) for s in found] == [
        (A, 25, sum(map(len, PAYLOADS[0::2])), tuple(PAYLOADS[0:16:2]), START, START + 48_000),
        (B, 25, sum(map(len, PAYLOADS[1::2])), tuple(PAYLOADS[1:16:2]), START + 1000, START + 49_000),
    ]
    assert [s.packets for s in capture.streams(tmp_path / "x.pcap", packets=3)] == [2, 1]
    receiver = capture.receiver(tmp_path / "x.pcap")
    assert receiver.lines == 2
    assert receiver.drain() == [(i % 2, ts, data) for i, (ts, _, data) in enumerate(packets())]
    assert receiver.ended and receiver.error is None
    assert receiver.line_status(1)["ts_kind"] == TimestampKind.FILE


def test_lines_by_source_and_what_is_foreign(tmp_path: Path) -> None:
    with capture.PcapWriter(tmp_path / "x") as file:
        for i, source in enumerate(["10.0.0.1", "10.0.0.2", "10.0.0.3"]):
            file.write(START + i, source.encode(), A, (source, 5000))
        file.write(START + 3, b"v6", ("ff15::1", 7000), ("fd00::1", 7))
        file.write(START + 4, b"odd", B)
    lines: list[capture.Destination] = [(*A, "10.0.0.2"), (*A, "10.0.0.1"), ("ff15::1", 7000)]
    receiver = capture.receiver(tmp_path / "x", lines)
    assert receiver.drain() == [(1, START, b"10.0.0.1"), (0, START + 1, b"10.0.0.2"), (2, START + 3, b"v6")]
    assert receiver.counts(0)["foreign"] == 2
    assert receiver.counts(2) == receiver.counts(2) | {"packets": 1, "bytes": 2}
    with pytest.raises(ConfigError, match="no IP address"):
        capture.receiver(tmp_path / "x", [("exchange", 1)])


def test_more_destinations_than_lines(tmp_path: Path) -> None:
    with capture.PcapWriter(tmp_path / "x") as file:
        for i in range(200):
            file.write(START, b"x", ("239.1.1.1", 1000 + i % 100 if i < 190 else 9999))
    assert len(capture.streams(tmp_path / "x")) == 101
    receiver = capture.receiver(tmp_path / "x")
    assert receiver.lines == 64
    assert sum(n for line, *_ in receiver.drain() if (n := line == 63)) == 10, "the busiest is among them, and last"
    assert receiver.counts(0)["foreign"] + sum(receiver.counts(i)["packets"] for i in range(64)) == 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello, world, this is text", "neither pcap"),
        (b"\xd4\xc3\xb2\xa1\2\0\4\0", "middle of its head"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147), "link type 147 is not supported"),
        (gzip.compress(b"not a capture at all"), "unpacked from gzip"),
        (gzip.compress(b"x" * 9000)[:20], "end before their end mark"),
        (struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x11223344, 1, 0, -1, 28), "byte-order magic"),
    ],
)
@pytest.mark.wire
def test_unknown_files_are_one_clear_error(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=words) as caught:
        list(capture.read(path))
    assert str(path) in str(caught.value) and "byte" in str(caught.value)


def test_a_missing_file_is_a_capture_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        capture.receiver(tmp_path / "nowhere")


@pytest.mark.wire
@given(cut=st.integers(24, 9000), packed=st.sampled_from(["", ".gz", ".zst"]), ng=st.booleans())
def test_a_cut_capture_gives_every_whole_packet_then_one_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, packed: str, ng: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"cut{packed}"
    (write_pcapng if ng else write_pcap)(path)
    whole = path.read_bytes()
    cut = min(cut, len(whole) - 1)
    path.write_bytes(whole[:cut])
    got = []
    error = None
    try:
        for packet in capture.read(path):
            got.append(packet)
    except CaptureError as fault:
        error = fault
    assert got == packets()[: len(got)]
    if packed:
        assert error is not None
    else:
        here, at = 0, 24
        if not ng:
            for _, _, payload in packets():
                at += 16 + 42 + len(payload)
                here += at <= cut
            assert len(got) == here
            assert (error is None) == (at == cut or cut == 24 + sum(58 + len(p) for p in PAYLOADS[:here]))


@pytest.mark.wire
@given(flips=st.lists(st.tuples(st.integers(0, 8000), st.integers(1, 255)), min_size=1, max_size=4), ng=st.booleans())
def test_flipped_bytes_never_crash_and_are_never_silent(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], ng: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped"
    (write_pcapng if ng else write_pcap)(path)
    data = bytearray(path.read_bytes())
    for place, mask in flips:
        data[place % len(data)] ^= mask
    path.write_bytes(data)
    try:
        receiver = capture.receiver(path, [A, B])
    except CaptureError:
        return
    assert isinstance(receiver, PacketFile)
    got = receiver.drain()
    assert receiver.ended
    assert len(got) <= len(PAYLOADS)
    if len(got) < len(PAYLOADS) and receiver.error is None:
        counted = receiver.statistics
        lost = sum(counted[k] for k in ("tcp", "other", "truncated", "malformed", "foreign", "fragments"))
        assert lost or counted["records"] < len(PAYLOADS), "a length that swallowed its neighbour"


def test_the_error_names_file_byte_and_fault(tmp_path: Path) -> None:
    write_pcap(tmp_path / "x.pcap")
    data = bytearray((tmp_path / "x.pcap").read_bytes())
    data[24 + 8 : 24 + 12] = struct.pack("<I", 999_999_999)
    (tmp_path / "x.pcap").write_bytes(data)
    receiver = capture.receiver(tmp_path / "x.pcap", [A])
    assert receiver.drain() == [] and receiver.ended
    fault = "a record states 999999999 bytes of packet, which no capture holds (at most 262144)"
    assert str(receiver.error) == f"{tmp_path}/x.pcap: byte 24: {fault}"


@pytest.mark.wire
@pytest.mark.parametrize("corrupt", [b"\xff" * 40, None])
def test_corrupt_compression_gives_what_came_before(tmp_path: Path, corrupt: bytes | None) -> None:
    plain = tmp_path / "plain"
    with capture.PcapWriter(plain) as file:
        for i in range(3000):
            file.write(START + i, i.to_bytes(4, "big") * 100, A)
    for name, pack in (("x.gz", gzip.compress), ("x.zst", zstandard.compress)):
        packed = bytearray(pack(plain.read_bytes()))
        middle = len(packed) * 3 // 4
        if corrupt is None:
            del packed[middle:]
        else:
            packed[middle : middle + len(corrupt)] = corrupt
        (tmp_path / name).write_bytes(packed)
        got = []
        with pytest.raises(CaptureError, match=name):
            for _, _, payload in capture.read(tmp_path / name):
                got.append(payload)
        assert got == [i.to_bytes(4, "big") * 100 for i in range(len(got))]
        assert name == "x.zst" or len(got) > 1000


def test_many_members_frames_and_windows(tmp_path: Path) -> None:
    """Larger than the window, in several gzip members and zstd frames, padded: still the same packets."""
    plain = tmp_path / "plain"
    with capture.PcapWriter(plain) as file:
        for i in range(3000):
            file.write(START + i, i.to_bytes(4, "big") * 250, A)
    data = plain.read_bytes()
    third = len(data) // 3
    parts = [data[:third], data[third : 2 * third], data[2 * third :]]
    (tmp_path / "gz").write_bytes(b"".join(gzip.compress(p) for p in parts) + bytes(100))
    (tmp_path / "zst").write_bytes(b"".join(zstandard.compress(p) for p in parts))
    whole = capture.receiver(plain).drain()
    assert len(whole) == 3000
    assert capture.receiver(tmp_path / "gz").drain() == whole
    assert capture.receiver(tmp_path / "zst").drain() == whole


def test_unpacking_takes_no_more_than_a_slice_at_a_time(tmp_path: Path) -> None:
    """100 MB of zeros in 100 kB of gzip pass through a buffer of 64 kB."""
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(30_000_000)))
    unpacker = Unpacker(tmp_path / "bomb", "gzip")
    buffer = bytearray(65536)
    total = 0
    while got := unpacker.readinto(memoryview(buffer)):
        total += got
        assert len(unpacker.ready) <= 1 << 18 and len(unpacker.packed) <= SLICE
    unpacker.close()
    assert total == 30_000_000


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_binaryfile_comes_in_runs_of_whole_messages(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.itch{suffix}"
    messages = [b"A" + bytes([i % 256]) * (i % 40) for i in range(20_000)] + [b"Z" * 65535, b"S"]
    with capture.BinaryFileWriter(path) as file:
        for message in messages:
            file.write(message)
        file.end()
    assert capture.kind(path).format == "binaryfile"
    receiver = capture.receiver(path)
    got = receiver.drain()
    assert b"".join(run for _, _, run in got) == b"".join(len(m).to_bytes(2, "big") + m for m in [*messages, b""])
    assert len(got) > 3 and {(line, ts) for line, ts, _ in got} == {(0, 0)}
    for _, _, run in got:
        place = 0
        while place < len(run):
            place += 2 + int.from_bytes(run[place : place + 2], "big")
        assert place == len(run), "no message is cut by the end of a run"
    assert receiver.error is None and receiver.line_status(0)["ts_kind"] == TimestampKind.NONE


@pytest.mark.wire
@given(cut=st.integers(1, 2000))
def test_a_cut_binaryfile_gives_the_whole_messages(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.itch"
    messages = [b"A" * (i % 30 + 1) for i in range(200)]
    data = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    path.write_bytes(data[:-cut])
    receiver = capture.receiver(path)
    got = b"".join(run for _, _, run in receiver.drain())
    assert data.startswith(got) and len(data) - cut - len(got) < 32
    assert (receiver.error is None) == (len(got) == len(data) - cut)


@pytest.mark.wire
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("behind", [b"", bytes(1), bytes(600_001), bytes(300_000) + b"\x00\x01S", b"\x00\x05", b"S"])
def test_nothing_but_padding_may_follow_the_end_of_a_binaryfile(tmp_path: Path, suffix: str, behind: bytes) -> None:
    path = tmp_path / f"x.itch{suffix}"
    data = b"".join(len(m).to_bytes(2, "big") + m for m in [b"A" * 30] * 10_000) + bytes(2)
    path.write_bytes(gzip.compress(data + behind) if suffix else data + behind)
    receiver = capture.receiver(path)
    assert b"".join(run for _, _, run in receiver.drain()) == data
    if not behind.strip(b"\0"):
        assert receiver.error is None
    else:
        place = len(data + behind) - len(behind.lstrip(b"\0"))
        assert f"byte {place}" in str(receiver.error) and "follows the mark of the end" in str(receiver.error)


def test_closed_means_nothing_more(tmp_path: Path) -> None:
    write_pcap(tmp_path / "x")
    with capture.receiver(tmp_path / "x") as receiver:
        assert len(receiver.drain(3)) == 3
    receiver.close()
    assert receiver.drain() == []


@pytest.mark.real_data
def test_every_capture_has_the_packets_of_the_inventory(shared_data: Path) -> None:
    """The inventory's table gives each file's packets in its fourth column, e.g. `5 (ns)`."""
    counted = {}
    for row in (shared_data / "README.md").read_text().splitlines():
        cells = [c.strip() for c in row.split("|")]
        if len(cells) > 6 and ".pcap" in cells[1] and cells[4].split()[0].isdigit():
            counted[cells[1]] = int(cells[4].split()[0])
    assert len(counted) > 80
    seen = 0
    for folder in ("itch50", "iex", "pitch", "nyse", "memx", "mdp3"):
        for path in sorted((shared_data / folder).rglob("*.pcap*")):
            receiver = capture.receiver(path)
            got = receiver.drain()
            assert isinstance(receiver, PacketFile)
            statistics = receiver.statistics
            assert statistics["records"] == counted[str(path.relative_to(shared_data / folder))], path
            assert len(got) + statistics["tcp"] == statistics["records"], path
            seen += 1
    assert seen == len(counted)


@pytest.mark.real_data
def test_the_long_deep_file_ends_inside_a_packet(shared_data: Path) -> None:
    receiver = capture.receiver(shared_data / "iex" / "DEEP10-20170425-12-sessions.pcap.gz")
    got = receiver.drain()
    assert len(got) == 121314
    assert "middle of a record" in str(receiver.error)
    assert got == sorted(got, key=lambda packet: packet[1]), "its times rise"

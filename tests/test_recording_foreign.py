"""Captures of other programs, in all their forms and cut short at any byte; and files that are none."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader, wrpcap

from feedhandler.errors import CaptureError, ConfigError
from feedhandler.receive import capture
from feedhandler.recording import Recording
from tests.test_recording import START, A, B, mold

Piece = tuple[int, tuple[str, int], bytes]


def run(*command: str | Path) -> None:
    if shutil.which(str(command[0])) is None:
        pytest.fail(f"{command[0]} is not here: scripts/setup installs it")
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}  # a sanitizer's
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=60, env=environment)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Piece]]:
    """A capture with nanoseconds, and what is in it."""
    path = tmp_path_factory.mktemp("original") / "x.pcap"
    packets = [(START + i * 1_000_001, (A, B)[i % 2], mold(1 + i // 2)) for i in range(14)]
    with capture.PcapWriter(path) as file:
        for ts, target, payload in packets:
            file.write(ts, payload, target)
    return path, packets


def swapped(data: bytes) -> bytes:
    """A pcap as a machine of the other byte order writes it."""
    out = struct.pack(">IHHiIII", *struct.unpack("<IHHiIII", data[:24]))
    at = 24
    while at < len(data):
        head = struct.unpack("<IIII", data[at : at + 16])
        out += struct.pack(">IIII", *head) + data[at + 16 : at + 16 + head[2]]
        at += 16 + head[2]
    return out


def swapped_ng(data: bytes) -> bytes:
    """A pcapng of ours (sections, interfaces with resolution, packets) in the other byte order."""
    out, at = b"", 0
    while at < len(data):
        kind, size = struct.unpack("<II", data[at : at + 8])
        body = data[at + 8 : at + size - 4]
        if kind == 0x0A0D0D0A:
            body = struct.pack(">IHHq", *struct.unpack("<IHHq", body[:16]))
        elif kind == 1:
            options, fixed, where = b"", struct.pack(">HHI", *struct.unpack("<HHI", body[:8])), 8
            while where < len(body):
                code, length = struct.unpack("<HH", body[where : where + 4])
                padded = length + -length % 4
                options += struct.pack(">HH", code, length) + body[where + 4 : where + 4 + padded]
                where += 4 + padded
            body = fixed + options
        else:
            body = struct.pack(">IIIII", *struct.unpack("<IIIII", body[:20])) + body[20:]
        size = len(body) + 12
        out += struct.pack(">II", kind, size) + body + struct.pack(">I", size)
        at += struct.unpack("<II", data[at : at + 8])[1]
    return out


@pytest.fixture(scope="module")
def made(original: tuple[Path, list[Piece]]) -> dict[str, tuple[Path, int]]:
    """The same capture by many programs: the file, and the unit of its times in ns."""
    made = {}
    path, folder = original[0], original[0].parent

    def form(name: str, unit: int, *command: str | Path) -> None:
        made[name] = (folder / name, unit)
        run(*(folder / name if word == "OUT" else word for word in command))

    form("editcap-us.pcap", 1000, "editcap", "-F", "pcap", path, "OUT")
    form("editcap-ns.pcap", 1, "editcap", "-F", "nsecpcap", path, "OUT")
    form("editcap.pcapng", 1, "editcap", "-F", "pcapng", path, "OUT")
    form("tshark.pcapng", 1, "tshark", "-r", path, "-w", "OUT")
    form("tshark.pcap", 1, "tshark", "-F", "nsecpcap", "-r", path, "-w", "OUT")
    form("tcpdump-us.pcap", 1000, "tcpdump", "-r", path, "-w", "OUT")
    form("tcpdump-ns.pcap", 1, "tcpdump", "--nano", "-r", path, "-w", "OUT")
    form("mergecap.pcapng", 1, "mergecap", path, "-w", "OUT")
    frames = [(data, info) for data, info in RawPcapReader(str(path))]
    from scapy.layers.l2 import Ether

    packets = []
    for data, info in frames:
        packet = Ether(data)
        packet.time = info.sec + info.usec / 10**9
        packets.append(packet)
    made["scapy.pcap"] = (folder / "scapy.pcap", 1000)
    wrpcap(str(folder / "scapy.pcap"), packets)
    for name in ("editcap-us.pcap", "editcap-ns.pcap"):
        other = folder / f"swapped-{name}"
        other.write_bytes(swapped((folder / name).read_bytes()))
        made[other.name] = (other, made[name][1])
    with capture.PcapngWriter(folder / "ours.pcapng", ["A", "B"]) as file:
        for ts, target, payload in capture.read(path):
            file.write(ts, payload, target, interface="AB"[target == B])
    (folder / "swapped.pcapng").write_bytes(swapped_ng((folder / "ours.pcapng").read_bytes()))
    made["ours.pcapng"] = (folder / "ours.pcapng", 1)
    made["swapped.pcapng"] = (folder / "swapped.pcapng", 1)
    return made


def test_captures_of_other_programs_are_read(
    original: tuple[Path, list[Piece]], made: dict[str, tuple[Path, int]]
) -> None:
    packets = original[1]
    assert len(made) == 13
    for name, (file, unit) in made.items():
        got = list(capture.read(file))
        assert [(target, data) for _, target, data in got] == [(target, data) for _, target, data in packets], name
        assert all(abs(ts - wanted[0] // unit * unit) <= unit * (name == "scapy.pcap") for (ts, *_), wanted
                   in zip(got, packets, strict=True)), name  # fmt: skip
        recording = Recording(file)
        assert [line.destination for line in recording.lines] == [A, B], name
        assert recording.first_ts // unit == START // unit
        assert len(recording.receiver().drain()) == len(packets)


@pytest.mark.wire
@pytest.mark.parametrize("name", ["ours.pcapng", "swapped.pcapng", "editcap-us.pcap", "tshark.pcapng"])
def test_cut_short_at_any_byte(
    original: tuple[Path, list[Piece]], made: dict[str, tuple[Path, int]], tmp_path: Path, name: str
) -> None:
    """Every whole packet before the cut, then one clear error, or none where a record ends."""
    packets = original[1]
    file, unit = made[name]
    data = file.read_bytes()
    cut = tmp_path / "cut"
    whole = 0
    for size in range(4, len(data)):
        cut.write_bytes(data[:size])
        got: list[Piece] = []
        error = ""
        try:
            with capture.packets(cut) as found:
                for ts, line, payload in found:
                    got.append((ts, found.lines[line], payload))  # type: ignore[arg-type]
        except CaptureError as fault:
            error = str(fault)
        assert got == [(ts // unit * unit, target, payload) for ts, target, payload in packets[: len(got)]]
        assert len(got) >= whole, "a longer file gives no less"
        assert error == "" or (str(cut) in error and "byte" in error)
        if len(got) > whole:
            assert error == "", "the last packet is whole: so is the file"
        whole = len(got)
    assert whole >= len(packets) - 1


@pytest.mark.real_data
def test_every_file_of_the_inventory_opens_or_says_what_it_is_not(shared_data: Path) -> None:
    """Captures and BinaryFILEs open and are read to their ends; all others are refused in one sentence."""
    opened = refused = unknown = 0
    for path in sorted(shared_data.rglob("*")):
        if path.is_dir() or "tools" in path.parts or path.name == "README.md":
            continue
        is_capture = ".pcap" in path.name or ".itch" in path.name
        try:
            recording = Recording(path)
        except CaptureError as error:
            assert not is_capture, error
            assert str(error).startswith(f"{path}: byte 0: neither pcap, pcapng nor BinaryFILE"), error
            assert "\n" not in str(error)
            refused += 1
            continue
        assert is_capture, path
        opened += 1
        try:
            recording.lines  # noqa: B018
            receiver = recording.receiver(everything=True)
        except ConfigError as error:  # nothing but TCP requests, and a BinaryFILE of nothing that can be recognised
            unknown += 1
            assert "no stream of a known protocol" in str(error) or "1 to 64 lines" in str(error), error
            continue
        receiver.skim()
        assert receiver.ended
        if path.name != "DEEP10-20170425-12-sessions.pcap.gz":
            assert receiver.error is None, receiver.error
    assert opened > 85 and refused > 20 and unknown < 8, (opened, refused, unknown)

"""What stands in front of a UDP payload: scapy encodes, we must find the payload; and pcapng's finer points."""

import gzip
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.receive import capture
from feedhandler.receive._capture import PacketFile

scapy = pytest.importorskip("scapy.all", reason="scapy is the independent encoder of these packets")

START = 1_700_000_000_123_456_789
TARGET = ("239.1.2.3", 26400)
TARGET6 = ("ff15::1:2", 26400)
PAYLOAD = b"market data"


def pcap(link: int, *frames: bytes, big: bool = False, original: int | None = None) -> bytes:
    order = ">" if big else "<"
    head = struct.pack(order + "IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, link)
    for i, frame in enumerate(frames):
        ts = START + i
        size = len(frame) if original is None else original
        head += struct.pack(order + "IIII", ts // 10**9, ts % 10**9, len(frame), size) + frame
    return head


def read(folder: Path, content: bytes) -> tuple[list[tuple[int, tuple[str, int], bytes]], dict[str, int]]:
    path = folder / "capture"
    path.write_bytes(content)
    found = list(capture.read(path))
    receiver = capture.receiver(path, [TARGET, TARGET6])
    assert isinstance(receiver, PacketFile)
    receiver.drain()
    return found, receiver.statistics


def udp4(payload: bytes = PAYLOAD, **ip: Any) -> Any:
    return scapy.IP(src="10.0.0.1", dst=TARGET[0], **ip) / scapy.UDP(sport=5, dport=TARGET[1]) / payload


def udp6(payload: bytes = PAYLOAD, *extensions: Any) -> Any:
    packet = scapy.IPv6(src="fd00::1", dst=TARGET6[0])
    for extension in extensions:
        packet = packet / extension
    return packet / scapy.UDP(sport=5, dport=TARGET6[1]) / payload


ETHER = scapy.Ether(src="02:00:00:00:00:01", dst="01:00:5e:01:02:03")
FRAMES = {
    "ethernet": (1, ETHER / udp4()),
    "ethernet, IPv6": (1, ETHER / udp6()),
    "padded to 60 bytes": (1, bytes(ETHER / udp4(b"x")).ljust(60, b"\0")),
    "a VLAN tag": (1, ETHER / scapy.Dot1Q(vlan=5) / udp4()),
    "two VLAN tags": (1, ETHER / scapy.Dot1AD(vlan=5) / scapy.Dot1Q(vlan=6) / udp6()),
    "an old outer tag": (1, bytes(ETHER)[:12] + b"\x91\x00\x00\x05\x08\x00" + bytes(udp4())),
    "IPv4 options": (1, ETHER / udp4(options=[scapy.IPOption_RR(), scapy.IPOption_NOP()])),
    "cooked": (113, scapy.CookedLinux(proto=0x0800) / udp4()),
    "cooked, IPv6": (113, scapy.CookedLinux(proto=0x86DD) / udp6()),
    "cooked, a tag": (113, scapy.CookedLinux(proto=0x8100) / scapy.Dot1Q(vlan=9, type=0x0800) / udp4()),
    "cooked 2": (276, struct.pack(">HHIHBB8s", 0x0800, 0, 2, 1, 0, 6, bytes(8)) + bytes(udp4())),
    "raw": (101, udp4()),
    "raw, OpenBSD's number": (14, udp4()),
    "raw IPv4": (228, udp4()),
    "raw IPv6": (229, udp6()),
    "null, little-endian": (0, struct.pack("<I", 2) + bytes(udp4())),
    "null, big-endian, IPv6 of macOS": (0, struct.pack(">I", 30) + bytes(udp6())),
    "loopback": (108, struct.pack(">I", 2) + bytes(udp4())),
    "hop-by-hop": (101, udp6(PAYLOAD, scapy.IPv6ExtHdrHopByHop(options=[scapy.PadN(optdata=bytes(12))]))),
    "hop-by-hop, routing, destination": (
        101,
        udp6(PAYLOAD, scapy.IPv6ExtHdrHopByHop(), scapy.IPv6ExtHdrRouting(), scapy.IPv6ExtHdrDestOpt()),
    ),
    "an atomic fragment": (101, udp6(PAYLOAD, scapy.IPv6ExtHdrFragment(offset=0, m=0, id=7))),
}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("name", FRAMES)
def test_the_payload_is_found(tmp_path: Path, name: str, big: bool) -> None:
    link, packet = FRAMES[name]
    frame = bytes(packet)
    found, _ = read(tmp_path, pcap(link, frame, big=big))
    six = "v6" in name if isinstance(packet, bytes) else scapy.IPv6 in packet
    target = TARGET6 if six else TARGET
    assert found == [(START, target, b"x" if "padded" in name else PAYLOAD)]


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.wire
def test_every_captured_prefix_is_truncated_or_foreign(tmp_path: Path, name: str) -> None:
    """A short snap length cuts packets: none is given out in part."""
    link, packet = FRAMES[name]
    frame = bytes(packet)
    whole = len(frame) - (60 - len(bytes(ETHER / udp4(b"x")))) if "padded" in name else len(frame)
    for cut in range(whole):
        found, statistics = read(tmp_path, pcap(link, frame[:cut], original=len(frame)))
        assert found == [], cut
        assert statistics["truncated"] + statistics["other"] + statistics["malformed"] == 1, cut


def test_a_truncated_packet_counts_on_its_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pcap(101, bytes(udp4())[:28], bytes(udp6())[:50]))
    receiver = capture.receiver(tmp_path / "x", [("239.9.9.9", 1), TARGET, TARGET6])
    assert receiver.drain() == []
    assert [receiver.counts(i)["truncated"] for i in range(3)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("kind", "frame"),
    [
        ("tcp", ETHER / scapy.IP(dst=TARGET[0]) / scapy.TCP(dport=26400) / PAYLOAD),
        ("tcp", ETHER / scapy.IPv6(dst=TARGET6[0]) / scapy.TCP(dport=26400) / PAYLOAD),
        ("other", ETHER / scapy.ARP()),
        ("other", ETHER / scapy.IP(dst=TARGET[0]) / scapy.ICMP()),
        ("other", ETHER / scapy.Dot1Q() / scapy.Dot1Q() / scapy.Dot1Q() / udp4()),
        ("foreign", ETHER / scapy.IP(dst=TARGET[0]) / scapy.UDP(dport=1) / PAYLOAD),
        ("malformed", ETHER / scapy.Raw(bytes(udp4())[:2] + b"\0\x10" + bytes(udp4())[4:])),
        ("malformed", ETHER / scapy.IP(dst=TARGET[0]) / scapy.UDP(dport=26400, len=7) / PAYLOAD),
    ],
)
def test_what_is_not_ours_is_counted(tmp_path: Path, kind: str, frame: Any) -> None:
    raw = bytes(frame)
    if kind == "malformed":
        raw = bytes(ETHER)[:12] + b"\x08\x00" + raw[14:]
    found, statistics = read(tmp_path, pcap(1, raw))
    assert statistics[kind] == 1
    assert (found != []) == (kind == "foreign")


@given(
    size=st.integers(1, 6000),
    mtu=st.sampled_from([64, 200, 1400]),
    order=st.randoms(use_true_random=False),
    six=st.booleans(),
)
@pytest.mark.wire
def test_fragments_in_any_order_make_the_datagram(
    tmp_path_factory: pytest.TempPathFactory, size: int, mtu: int, order: Any, six: bool
) -> None:
    payload = bytes(i * 7 % 251 for i in range(size))
    if six:
        whole = udp6(payload, scapy.IPv6ExtHdrFragment(id=77))
        pieces = [bytes(p) for p in scapy.fragment6(whole, mtu + 1280)]
    else:
        pieces = [bytes(p) for p in scapy.fragment(udp4(payload, id=77), mtu)]
    order.shuffle(pieces)
    again = [*pieces[:-1], *pieces[: len(pieces) // 2], pieces[-1]]
    found, statistics = read(tmp_path_factory.getbasetemp(), pcap(101, *again))
    assert [data for _, _, data in found] == [payload]
    assert statistics["reassembled"] == (len(pieces) > 1)


@pytest.mark.wire
def test_fragments_are_bounded_and_the_oldest_give_way(tmp_path: Path) -> None:
    pieces = [[bytes(p) for p in scapy.fragment(udp4(bytes([i]) * 100, id=i), 64)] for i in range(200)]
    assert all(len(p) == 2 for p in pieces)
    firsts, lasts = [p[0] for p in pieces], [p[1] for p in pieces]
    found, statistics = read(tmp_path, pcap(101, *firsts, *lasts[168:]))
    kept = [data[0] for _, _, data in found]
    assert kept == list(range(168, 200)), "32 datagrams may be incomplete at once"
    assert statistics["abandoned"] == 168


@pytest.mark.wire
def test_many_whole_fragmented_datagrams_in_one_poll(tmp_path: Path) -> None:
    """More of them than there are places: a poll stops early and goes on after release()."""
    pieces = [bytes(p) for i in range(100) for p in scapy.fragment(udp4(i.to_bytes(4, "big") * 50, id=i), 128)]
    path = tmp_path / "x"
    path.write_bytes(pcap(101, *pieces))
    assert [data for _, _, data in capture.receiver(path, [TARGET]).drain()] == [
        i.to_bytes(4, "big") * 50 for i in range(100)
    ]


@pytest.mark.wire
def test_contradicting_fragments_are_malformed(tmp_path: Path) -> None:
    first, second, third = (bytes(p) for p in scapy.fragment(udp4(bytes(100), id=1), 48))
    beyond = bytearray(second)
    beyond[6:8] = struct.pack(">H", 0x2000 | 200)  # a piece far behind what the last one says is the end
    found, statistics = read(tmp_path, pcap(101, bytes(beyond), third, first, second))
    assert found == [] and statistics["malformed"] == 1


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def option(code: int, value: bytes, order: str) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(order: str, link: int, *options: bytes, snap: int = 0) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap) + b"".join(options), order)


def enhanced(order: str, number: int, time: int, frame: bytes) -> bytes:
    head = struct.pack(order + "IIIII", number, time >> 32, time & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)


@pytest.mark.parametrize(
    ("resolution", "ticks", "ns"),
    [
        (None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (6, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (9, START, START),
        (3, 1_700_000_000_123, 1_700_000_000_123_000_000),
        (0, 1_700_000_000, 1_700_000_000_000_000_000),
        (12, START, START // 1000),
        (0x80 | 10, 1_700_000_000 << 10 | 512, 1_700_000_000_500_000_000),
        (0x80 | 32, 1_700_000_000 << 32 | 1 << 30, 1_700_000_000_250_000_000),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_times(tmp_path: Path, order: str, resolution: int | None, ticks: int, ns: int) -> None:
    options = [] if resolution is None else [option(9, bytes([resolution]), order)]
    offset = option(14, struct.pack(order + "q", -86400), order)
    raw = bytes(udp4())
    content = section(order) + interface(order, 101, *options) + interface(order, 101, offset, *options)
    content += enhanced(order, 0, ticks, raw) + enhanced(order, 1, ticks, raw)
    found, _ = read(tmp_path, content)
    assert [ts for ts, _, _ in found] == [ns, ns - 86400 * 10**9]


@pytest.mark.wire
def test_pcapng_sections_interfaces_and_every_block(tmp_path: Path) -> None:
    """Two sections of different byte order and link types; simple, obsolete and unknown blocks; one very long."""
    raw, frame = bytes(udp4()), bytes(ETHER / udp6())
    content = section("<") + interface("<", 101) + interface("<", 1, snap=50) + block(5, bytes(24))
    content += enhanced("<", 1, 1_000_000, frame) + block(3, struct.pack("<I", len(raw)) + raw)
    content += block(0x0BAD, bytes(3_000_000))
    content += section(">") + interface(">", 147) + interface(">", 1, option(9, b"\x09", ">"))
    content += enhanced(">", 0, 1, b"of a link type that nobody knows")
    obsolete = struct.pack(">HHIIII", 1, 0, 0, 77, len(frame), len(frame)) + frame
    content += block(2, obsolete, ">")
    expected = [(10**9, TARGET6, PAYLOAD), (10**9, TARGET, PAYLOAD), (77, TARGET6, PAYLOAD)]
    found, statistics = read(tmp_path, content)
    assert found == expected
    assert statistics["other"] == 1
    assert read(tmp_path, gzip.compress(content))[0] == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (section("<") + enhanced("<", 0, 1, b""), "names interface 0"),
        (section("<") + block(1, struct.pack("<HHI", 1, 0, 0))[:-4] + bytes(4), "two lengths of a pcapng block differ"),
        (section("<") + struct.pack("<II", 6, 13) + bytes(20), "length of 13"),
        (section("<") + interface("<", 1, option(9, b"\x7f", "<")), "timestamp resolution 0x7f"),
        (section("<") + interface("<", 1) * 1025, "more than 1024 interfaces"),
        (section("<") + block(0x0BAD, bytes(100))[:50], "middle of a record"),
    ],
)
@pytest.mark.wire
def test_pcapng_damage_is_one_clear_error(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x").write_bytes(content)
    receiver = capture.receiver(tmp_path / "x", [TARGET])
    assert receiver.drain() == [] and receiver.ended
    assert words in str(receiver.error)


@given(frames=st.lists(st.binary(max_size=120), max_size=8), link=st.sampled_from([0, 1, 101, 108, 113, 276]))
@pytest.mark.wire
def test_any_bytes_are_counted(tmp_path_factory: pytest.TempPathFactory, frames: list[bytes], link: int) -> None:
    _, statistics = read(tmp_path_factory.getbasetemp(), pcap(link, *frames))
    kinds = ("udp", "fragments", "tcp", "other", "truncated", "malformed")
    assert sum(statistics[k] for k in kinds) == statistics["records"] == len(frames)


def test_scapy_reads_what_we_write(tmp_path: Path) -> None:
    """Made headers hold: scapy computes the same checksums."""
    payloads = [b"", b"x", b"odd", bytes(range(256)) * 5, b"\xff" * 1000]
    with capture.PcapWriter(tmp_path / "p") as classic, capture.PcapngWriter(tmp_path / "n", ["A", "B"]) as modern:
        for i, payload in enumerate(payloads):
            for target, source in ((TARGET, ("10.1.2.3", 777)), (TARGET6, ("fd00::9", 778))):
                classic.write(START + i, payload, target, source)
                modern.write(START + i, payload, target, source, "B")
    for name in ("p", "n"):
        packets = scapy.rdpcap(str(tmp_path / name))
        assert len(packets) == 2 * len(payloads)
        for i, packet in enumerate(packets):
            assert bytes(packet[scapy.UDP].payload) == payloads[i // 2]
            assert int(packet.time * 10**9) == START + i // 2
            raw = bytes(packet)
            layer = packet[scapy.IP] if scapy.IP in packet else packet[scapy.IPv6]
            if scapy.IP in packet:
                del layer.chksum, layer.len
            else:
                del layer.plen
            del packet[scapy.UDP].chksum, packet[scapy.UDP].len
            assert bytes(packet.__class__(bytes(packet))) == raw

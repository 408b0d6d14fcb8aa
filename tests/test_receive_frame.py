"""Frames past the kernel: what the parser takes and why it refuses, and whose a frame is."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.receive._frame import VERDICTS, Steering, parse
from tests.fuzz.frames import GROUP, PORT, SOURCE, agree, checksum, frame

scapy = pytest.importorskip("scapy.all", reason="scapy is the independent encoder of these frames")

pytestmark = pytest.mark.wire
ETHER = scapy.Ether(src="02:00:00:00:00:01", dst="01:00:5e:01:02:03")
UDP = scapy.IP(src="10.0.0.1", dst="239.1.2.3") / scapy.UDP(sport=5, dport=PORT) / b"market data"
OTHER = bytes([10, 0, 0, 2])


def changed(data: bytes, at: int, new: bytes, mend: bool = True) -> bytes:
    """An untagged frame with other bytes at `at`; `mend`: with the header checksum that goes with them."""
    data = data[:at] + new + data[at + len(new) :]
    if mend:
        head = data[14:24] + bytes(2) + data[26:34]
        data = data[:24] + struct.pack(">H", checksum(head)) + data[26:]
    return data


@pytest.mark.parametrize(
    ("packet", "vlan"),
    [
        (ETHER / UDP, 0),
        (ETHER / scapy.Dot1Q(vlan=0, prio=5) / UDP, 0),
        (ETHER / scapy.Dot1Q(vlan=100, prio=7) / UDP, 100),
        (ETHER / scapy.Dot1AD(vlan=200) / scapy.Dot1Q(vlan=100) / UDP, 200 << 16 | 100),
        (ETHER / scapy.Dot1Q(vlan=0) / scapy.Dot1Q(vlan=100) / UDP, 100),
        (ETHER / scapy.IP(src="10.0.0.1", dst="239.1.2.3", options=[scapy.IPOption_Router_Alert()]) / UDP.payload, 0),
    ],
    ids=["plain", "priority tag", "a tag", "two tags", "priority and a tag", "IP options"],
)
def test_what_scapy_makes_is_found(packet, vlan: int) -> None:
    for padding in (b"", bytes(18)):
        verdict, fields, payload = parse(bytes(packet) + padding, True)
        assert (verdict, payload) == ("ok", b"market data")
        assert fields == {"source": SOURCE, "group": GROUP, "port": PORT, "vlan": vlan}


@pytest.mark.parametrize(
    ("verdict", "data"),
    {
        "other: ARP": ("other", bytes(ETHER / scapy.ARP())),
        "other: TCP": ("other", bytes(ETHER / scapy.IP(dst="10.0.0.2") / scapy.TCP())),
        "other: IPv6": ("other", bytes(ETHER / scapy.IPv6() / scapy.UDP())),
        "other: three tags": ("other", bytes(ETHER / scapy.Dot1Q() / scapy.Dot1Q() / scapy.Dot1Q(vlan=1) / UDP)),
        "other: version 6 behind the type of IPv4": ("other", changed(frame(), 14, b"\x65", mend=False)),
        "lengths: a header of four words": ("lengths", changed(frame(), 14, b"\x44")),
        "lengths: IP says more than there is": ("lengths", changed(frame(), 16, b"\x01\x00")),
        "lengths: IP says less than UDP": ("lengths", changed(frame(), 16, b"\x00\x20")),
        "lengths: IP says nothing": ("lengths", changed(frame(), 16, b"\x00\x00")),
        "lengths: UDP says more than IP": ("lengths", changed(frame(), 38, b"\x00\xff")),
        "lengths: UDP says less than its header": ("lengths", changed(frame(), 38, b"\x00\x07")),
        "lengths: UDP says nothing": ("lengths", changed(frame(), 38, b"\x00\x00")),
        "checksum": ("checksum", changed(frame(), 22, b"\x09", mend=False)),
        "udp checksum": ("udp_checksum", frame()[:-1] + b"!"),
        "udp checksum of an odd payload": ("udp_checksum", frame(b"odd")[:-1] + b"!"),
        "fragment: the first": ("fragment", frame(fragment=0x2000)),
        "fragment: a later one": ("fragment", frame(fragment=185)),
        "ok: told not to fragment": ("ok", frame(fragment=0x4000)),
        "ok: empty": ("ok", frame(b"")),
        "ok: no UDP checksum": ("ok", frame(udp_checksum=False)),
        "ok: longer UDP than said, the rest is padding": ("ok", frame() + b"padding"),
    }.values(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_verdict(verdict: str, data: bytes) -> None:
    assert parse(data, True)[0] == verdict
    agree(data)


def test_a_udp_checksum_is_looked_at_on_request_only() -> None:
    assert parse(frame()[:-1] + b"!")[0] == "ok"


@pytest.mark.parametrize("tags", [(), (100,), (200, 100)])
def test_a_frame_cut_at_each_byte_is_refused(tags: tuple[int, ...]) -> None:
    whole = frame(tags=tags)
    for length in range(len(whole)):
        verdict, _, payload = parse(whole[:length], True)
        assert verdict in ("short", "lengths") and payload is None
        agree(whole[:length])


@given(st.binary(max_size=80), st.integers(0, 80))
def test_any_bytes_get_the_verdict_of_the_plain_rules(noise: bytes, at: int) -> None:
    agree(noise)
    good = frame(b"some payload of a frame", tags=(5,) if at % 2 else ())
    agree(good[:at] + noise + good[at + len(noise) :])


def test_every_verdict_has_been_seen() -> None:
    rng, seen = random.Random(1), set()
    for _ in range(3000):
        data = bytearray(frame(options=bytes(4 * rng.randrange(3)), udp_checksum=rng.random() < 0.5))
        data[rng.randrange(12, len(data))] = rng.randrange(256)
        agree(bytes(data))
        seen.add(parse(bytes(data), True)[0])
    assert seen | {"short"} == set(VERDICTS)


def test_a_source_of_ones_own_comes_before_any_source() -> None:
    table = Steering()
    table.add(GROUP, PORT, b"", 0, 3)
    table.add(GROUP, PORT, SOURCE, 0, 4)
    assert table.line(frame()) == 4
    assert table.line(frame(source=OTHER)) == 3


def test_group_port_source_and_vlan_must_all_be_right() -> None:
    table = Steering()
    table.add(GROUP, PORT, SOURCE, 0, 0)
    table.add(GROUP, PORT, SOURCE, 100, 1)
    table.add(GROUP, PORT, b"", 200 << 16 | 100, 2)
    assert [table.line(frame(tags=tags)) for tags in ((), (0,), (100,), (200, 100), (100, 200), (200,))] == [
        *(0, 0, 1, 2, None, None)
    ]
    assert table.line(frame(port=PORT + 1)) is None
    assert table.line(frame(group=OTHER)) is None
    assert table.line(frame(source=OTHER)) is None
    assert table.line(frame(b"", fragment=1)) is None


def test_a_refused_frame_and_a_wrong_source_are_counted_on_the_line_they_were_meant_for() -> None:
    table = Steering()
    table.add(OTHER, PORT, b"", 0, 0)
    table.add(GROUP, PORT + 1, b"", 0, 1)
    table.add(GROUP, PORT, SOURCE, 0, 2)
    assert table.blame(frame(source=OTHER)) == 2
    assert table.blame(changed(frame(), 22, b"\x09", mend=False)) == 2
    assert table.blame(frame(fragment=1)) == 1  # no port in it: the first line of its group
    assert table.blame(frame(group=bytes(4))) is None
    assert table.blame(frame(tags=(7,))) is None
    assert table.blame(b"") is None


def test_sixty_four_flows_each_find_their_line_and_no_more_fit() -> None:
    rng, table, flows = random.Random(3), Steering(), {}
    while len(flows) < 64:
        flows[bytes([239, 0, rng.randrange(4), rng.randrange(4)]), rng.randrange(8), rng.randrange(2)] = len(flows)
    for (group, port, vlan), line in flows.items():
        table.add(group, port, b"", vlan, line)
    for (group, port, vlan), line in flows.items():
        assert table.line(frame(group=group, port=port, tags=(vlan,))) == line
    for _ in range(500):
        flow = bytes([239, 0, rng.randrange(4), rng.randrange(4)]), rng.randrange(8), rng.randrange(2)
        assert table.line(frame(group=flow[0], port=flow[1], tags=(flow[2],))) == flows.get(flow)
    with pytest.raises(ValueError, match="line 64"):
        table.add(GROUP, PORT, b"", 0, 64)


def test_no_two_lines_have_the_same_flow() -> None:
    table = Steering()
    table.add(GROUP, PORT, b"", 0, 0)
    with pytest.raises(ValueError, match=r"line 1: .* the same group, port, source and VLAN"):
        table.add(GROUP, PORT, b"", 0, 1)
    with pytest.raises(ValueError, match="4 bytes"):
        table.add(b"", PORT, b"", 0, 1)

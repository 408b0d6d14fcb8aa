"""The RDMA receiver's loops on a device that is not there, and the routing header: all that comes from the wire."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.errors import BackendError
from feedhandler.receive import rdma, sockets
from feedhandler.receive._frame import Steering
from feedhandler.receive._rdma import RdmaReceiver, parse_grh
from feedhandler.receive.rdma import verbs
from feedhandler.records import TimestampKind
from tests.frames import Frame
from tests.verbs_fake import SLOT_BYTES, Device

KINDS = ("compiled", "extended", "pyverbs")
GROUPS = ("239.1.1.1", "239.1.1.2", "239.1.1.3")
SOURCE = "10.0.0.9"
DOWN = 0  # LINE_DOWN
pytestmark = pytest.mark.wire


def packed(address: str) -> bytes:
    return IPv4Address(address).packed


def grh(group: str = GROUPS[0], source: str = SOURCE, **changes: Any) -> bytes:
    """The 40 bytes before a datagram of RoCE version 2 over IPv4."""
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 100, 0, 0, 1, 17, 0, packed(source), packed(group))
    return bytes(20) + header


def steering(lines: int = 3, sources: dict[int, str] | None = None, port: int = 0) -> Steering:
    made = Steering()
    for line in range(lines):
        source = (sources or {}).get(line, "")
        made.add(packed(GROUPS[line]), port, packed(source) if source else b"", 0, line)
    return made


Make = Callable[..., tuple[RdmaReceiver, Device]]


@pytest.fixture
def make() -> Iterator[Make]:
    opened: list[tuple[RdmaReceiver, Device]] = []

    def one(kind: str, *, slots: int = 64, raw: bool = False, stamps: bool = False, **options: Any) -> Any:
        table = options.pop("table", None) or steering(port=26400 if raw else 0)
        device = Device(kind, table, [0, 1, 2], slots, stamps)
        joined = sockets.receiver([sockets.UdpLine(f"line {i}", "127.0.0.1", 0) for i in range(3)])
        receiver = RdmaReceiver(3, [device], joined, raw=raw, mode="test")
        opened.append((receiver, device))
        return receiver, device

    yield one
    for receiver, device in opened:
        receiver.close()
        assert not device.faults


@pytest.mark.parametrize("kind", KINDS)
def test_packets_of_three_lines_in_order_many_times_around_the_ring(kind: str, make: Make) -> None:
    receiver, device = make(kind)
    assert sorted(device.posted) == list(range(64))
    sent: list[tuple[int, bytes]] = []
    taken: list[tuple[int, bytes]] = []
    before = time.time_ns()
    for turn in range(40):
        for i in range(turn % 30 + 1):
            sent.append((i % 3, b"%d-%d" % (turn, i)))
            device.deliver(grh(GROUPS[i % 3]) + sent[-1][1])
        found = receiver.drain()
        assert all(before <= ts <= time.time_ns() for _, ts, _ in found)
        taken += [(line, data) for line, _, data in found]
    assert taken == sent and device.lost == 0
    for line in range(3):
        counts = receiver.counts(line)
        assert counts["packets"] == sum(at == line for at, _ in sent)
        assert counts["bytes"] == sum(len(data) for at, data in sent if at == line)
        assert counts["foreign"] == counts["bad_frames"] == counts["truncated"] == 0
        assert receiver.line_status(line)["ts_kind"] == TimestampKind.CLOCK
    assert sorted(device.posted) == list(range(64))  # all that was lent is back
    assert receiver.describe() == ("test pyverbs" if kind == "pyverbs" else "test")


@pytest.mark.parametrize("kind", KINDS)
def test_slots_are_posted_in_batches_and_all_of_them_when_it_is_idle(kind: str, make: Make) -> None:
    receiver, device = make(kind, slots=256)
    device.chains.clear()
    for i in range(40):
        device.deliver(grh() + b"%d" % i)
    assert len(receiver.drain(31)) == 31
    assert len(device.posted) == 256 - 40  # one fewer than a batch is owed
    assert len(receiver.drain(9)) == 9
    assert len(device.posted) == 256
    device.deliver(grh() + b"one")
    assert len(receiver.drain(1)) == 1 and len(device.posted) == 255
    assert receiver.drain() == [] and len(device.posted) == 256
    if kind != "pyverbs":
        assert device.chains == [40, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_slots_of_what_is_refused_go_back_before_the_ring_is_empty(kind: str, make: Make) -> None:
    receiver, device = make(kind)
    for _ in range(40):
        for _ in range(8):
            device.deliver(grh("239.9.9.9") + b"another group")
        assert receiver.drain() == [] and len(device.posted) > 32
    assert device.lost == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_ring_loses_and_goes_on(kind: str, make: Make) -> None:
    receiver, device = make(kind, slots=16)
    for i in range(50):
        device.deliver(grh() + b"%d" % i)
    assert device.lost == 34
    assert [data for _, _, data in receiver.drain()] == [b"%d" % i for i in range(16)]
    assert receiver.counts(0)["kernel_drops"] == 0
    device.dropped = 34  # where the device counts them
    assert receiver.counts(0)["kernel_drops"] == 34
    device.deliver(grh() + b"later")
    assert [data for _, _, data in receiver.drain()] == [b"later"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_ours_is_counted_where_it_belongs(kind: str, make: Make) -> None:
    receiver, device = make(kind, table=steering(sources={1: SOURCE}))
    device.deliver(grh("239.9.9.9") + b"another group")
    device.deliver(grh(GROUPS[1], "10.0.0.8") + b"another source")
    device.deliver(grh(GROUPS[1]) + b"ours")
    device.deliver(grh(GROUPS[2]) + b"without its header", flags=0)
    device.deliver(bytes(40) + b"no addresses")
    device.deliver(grh()[:39])
    device.deliver(grh(GROUPS[2]))
    assert [(line, data) for line, _, data in receiver.drain()] == [(1, b"ours"), (2, b"")]
    assert [receiver.counts(line)["foreign"] for line in range(3)] == [1, 1, 0]
    assert [receiver.counts(line)["bad_frames"] for line in range(3)] == [3, 0, 0]
    receiver.drain()
    assert len(device.posted) == 64


@pytest.mark.parametrize("kind", KINDS)
def test_completions_with_an_error(kind: str, make: Make) -> None:
    receiver, device = make(kind)
    device.deliver(grh() + b"too large", status=1)
    device.deliver(grh() + b"something else", status=4)
    device.deliver(grh() + b"good")
    assert [data for _, _, data in receiver.drain()] == [b"good"]
    counts = receiver.counts(0)
    assert counts["truncated"] == counts["bad_frames"] == counts["packets"] == 1
    device.deliver(b"", status=5)  # the queue pair is in its error state
    with pytest.raises(OSError, match="poll") as raised:
        receiver.drain()
        receiver.drain()
    assert raised.value.errno == errno.EIO
    for line in range(3):
        status = receiver.line_status(line)
        assert (status["state"], status["error"]) == (DOWN, errno.EIO)
    with pytest.raises(OSError, match="poll"):
        receiver.drain()
    assert receiver.wait_for(0.01) is False


@pytest.mark.parametrize("kind", ["compiled", "pyverbs"])
@pytest.mark.parametrize("call", ["poll_error", "post_error"])
def test_a_device_that_is_gone(kind: str, call: str, make: Make) -> None:
    receiver, device = make(kind, slots=16)
    setattr(device, call, errno.EIO)
    device.deliver(grh() + b"last")
    with pytest.raises(OSError, match="poll"):
        for _ in range(4):
            receiver.drain()
    assert receiver.line_status(0)["state"] == DOWN


def test_one_of_two_ports_that_fails_leaves_the_other(make: Make) -> None:
    first, second = Device("compiled", steering(1), [0]), Device("compiled", Steering(), [1])
    second.steering.add(packed(GROUPS[0]), 0, b"", 0, 1)
    joined = sockets.receiver([sockets.UdpLine(name, "127.0.0.1", 0) for name in "AB"])
    with RdmaReceiver(2, [first, second], joined) as receiver:
        for device, payload in ((first, b"first"), (second, b"second")):
            device.deliver(grh() + payload)
        assert sorted((line, data) for line, _, data in receiver.drain()) == [(0, b"first"), (1, b"second")]
        first.deliver(b"", status=5)
        assert receiver.drain() == []
        second.deliver(grh() + b"still here")
        assert [(line, data) for line, _, data in receiver.drain()] == [(1, b"still here")]
        assert (receiver.line_status(0)["state"], receiver.line_status(1)["state"]) == (DOWN, 1)
    assert first.closed and second.closed


def test_the_nics_time_is_believed_when_it_is_near_the_clock(make: Make) -> None:
    receiver, device = make("extended", stamps=True)
    now = time.time_ns()
    device.deliver(grh() + b"near", stamp=now - 5_000_000)
    device.deliver(grh(GROUPS[1]) + b"since boot", stamp=12_345_678)
    (_, near, _), (_, far, _) = receiver.drain()
    assert near == now - 5_000_000 and far >= now
    assert receiver.line_status(0)["ts_kind"] == TimestampKind.HARDWARE
    assert receiver.line_status(1)["ts_kind"] == TimestampKind.CLOCK


@pytest.mark.parametrize("kind", KINDS)
def test_sleeping_and_waking(kind: str, make: Make) -> None:
    receiver, device = make(kind, slots=128)
    assert receiver.wait_for(0.01) is False and device.armed
    soon = threading.Timer(0.05, device.deliver, (grh() + b"wakes",))
    soon.start()
    assert receiver.wait_for(20) is True and device.events == 1
    soon.join()
    assert [data for _, _, data in receiver.drain()] == [b"wakes"]
    device.deliver(grh() + b"before")  # arming comes too late for it: it is looked for once more
    assert receiver.wait_for(20) is True
    assert [data for _, _, data in receiver.drain()] == [b"before"]
    for i in range(100):  # more than one poll() gives, and some of it taken by wait()
        device.deliver(grh() + b"%d" % i)
    assert receiver.wait_for(20) is True
    device.deliver(grh() + b"100")
    assert receiver.wait_for(20) is True
    taken = [*receiver.drain(3), *receiver.drain(1), *receiver.drain()]
    assert [data for _, _, data in taken] == [b"%d" % i for i in range(101)]


def test_it_is_closed_in_one_go(make: Make) -> None:
    receiver, device = make("compiled")
    device.deliver(grh() + b"waits")
    receiver.close()
    assert device.closed and receiver.drain() == [] and receiver.ended
    assert receiver.wait_for(0.01) is False
    receiver.close()


def test_what_a_device_says_to_its_closing_is_raised_after_all_was_closed(make: Make) -> None:
    receiver, device = make("compiled")

    def refuse() -> None:
        Device.close(device)
        raise OSError(errno.EBUSY, "busy")

    device.__dict__["close"] = refuse
    with pytest.raises(OSError, match="busy"):
        receiver.close()
    assert device.closed
    receiver.close()


# -- whole frames -------------------------------------------------------------------------------------------------


def test_frames_and_what_is_wrong_with_them(make: Make) -> None:
    receiver, device = make("compiled", raw=True)
    good = Frame(payload=b"good", group=GROUPS[1], port=26400)
    frames = [
        good, good.with_bad_ip_checksum(), good.but(vlan=(100,)), good.but(port=1), good.but(group="239.9.9.9"),
        good.but(total_length=200), good.but(ether_type=0x86DD), good.but(vlan=(0,)),
    ]  # fmt: skip
    for frame in frames:
        device.deliver(bytes(frame), flags=0)
    assert [(line, data) for line, _, data in receiver.drain()] == [(1, b"good")] * 2
    assert receiver.counts(1)["bad_frames"] == 2
    assert sum(receiver.counts(line)["foreign"] for line in range(3)) == 4


def test_what_was_not_steered_comes_by_the_join_sockets(make: Make, free_udp_port: int) -> None:
    device = Device("compiled", steering(1, port=free_udp_port), [0])
    joined = sockets.receiver([sockets.UdpLine("A", "127.0.0.1", free_udp_port)])
    with (
        RdmaReceiver(1, [device], joined, raw=True) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.sendto(b"a fragment made whole", ("127.0.0.1", free_udp_port))
        device.deliver(bytes(Frame(payload=b"steered", group=GROUPS[0], port=free_udp_port)))
        taken: list[bytes] = []
        end = time.monotonic() + 20
        while len(taken) < 2 and time.monotonic() < end:
            receiver.wait_for(0.05)
            taken += [data for _, _, data in receiver.drain()]
        assert sorted(taken) == [b"a fragment made whole", b"steered"]
        assert receiver.counts(0)["packets"] == 2 and receiver.counts(0)["bytes"] == 28


def test_the_devices_drops_are_added_to_those_of_the_join_sockets(free_udp_port: int) -> None:
    device = Device("compiled", steering(1, port=free_udp_port), [0])
    line = sockets.UdpLine("A", "127.0.0.1", free_udp_port)
    joined = sockets.receiver([line], sockets.Options(receive_buffer=4096))
    with (
        RdmaReceiver(1, [device], joined, raw=True) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        device.dropped = 0
        for _ in range(100):
            sender.sendto(bytes(1000), ("127.0.0.1", free_udp_port))
        end = time.monotonic() + 20
        while receiver.counts(0)["kernel_drops"] == 0 and time.monotonic() < end:
            sender.sendto(b"which tells", ("127.0.0.1", free_udp_port))
            receiver.wait_for(0.01)
            receiver.drain()
        by_the_kernel = receiver.counts(0)["kernel_drops"]
        assert by_the_kernel > 0
        for device.dropped in (5, 5, 7):
            assert receiver.counts(0)["kernel_drops"] == by_the_kernel + device.dropped


def test_a_device_that_takes_no_slot_is_a_refusal_at_the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device("compiled", steering(1, port=26400), [0])
    device.post_error = errno.ENOMEM
    monkeypatch.setattr(verbs, "load", lambda: None)
    monkeypatch.setattr(verbs, "devices", lambda loaded: ["played0"])
    monkeypatch.setattr(rdma.device, "find", lambda *_: "played0 port 1")
    monkeypatch.setattr(rdma, "open_port", lambda *_: device)
    with pytest.raises(BackendError, match=r"played0 port 1 takes no slots: Cannot allocate memory \(a smaller ring"):
        rdma.receiver([sockets.UdpLine("A", GROUPS[0], 26400, "lo")])
    assert device.closed


# -- hostile bytes ------------------------------------------------------------------------------------------------

headers = st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: grh() + tail))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(
    packets=st.lists(
        st.tuples(
            headers, st.integers(0, 5), st.sampled_from((None, 0, 39, 40, SLOT_BYTES, SLOT_BYTES + 1, 0xFFFFFFFF)),
            st.integers(0, 3), st.sampled_from((0, 1, 1 << 63)),
        ),
        max_size=20,
    ),
    slots=st.lists(st.sampled_from((0, 1, 15, 16, 17, 1 << 32, (1 << 64) - 1)), max_size=20),
)  # fmt: skip
def test_whatever_the_device_says_is_survived(
    kind: str, raw: bool, packets: list[tuple[bytes, int, int | None, int, int]], slots: list[int]
) -> None:
    device = Device(kind, steering(port=26400 if raw else 0), [0, 1, 2], 16, stamps=kind == "extended")
    joined = sockets.receiver([sockets.UdpLine(f"line {i}", "127.0.0.1", 0) for i in range(3)])
    with RdmaReceiver(3, [device], joined, raw=raw) as receiver:
        said = 0
        for data, status, length, flags, stamp in packets:
            lost = device.lost
            device.deliver(data, status, length, flags, stamp)
            said += device.lost == lost
        device._post = lambda slot: None  # type: ignore[method-assign]  # what was never lent comes back, too
        for slot in slots:
            device.complete(slot, 0, 60)
        said += len(slots)
        try:
            receiver.drain()
        except OSError as error:
            assert error.errno == errno.EIO
        counted = ("packets", "foreign", "bad_frames", "truncated")
        total = sum(receiver.counts(line)[name] for line in range(3) for name in counted)
        assert total + len(device.done) == said


def reference(header: bytes) -> tuple[bytes, bytes] | None:
    """The rule, slowly: annex A17 of the InfiniBand specification, and RoCE version 1's mapped addresses."""
    ip = header[20:]
    words = struct.unpack(">10H", ip)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    six = header[0] >> 4 == 6
    if ip[0] == 0x45 and (not six or total == 0xFFFF):
        return ip[12:16], ip[16:20]
    mapped = bytes(10) + b"\xff\xff"
    if six and header[8:20] == mapped and header[24:36] == mapped:
        return header[20:24], header[36:40]
    return None


def checksummed(header: bytes) -> bytes:
    """With the IPv4 header's checksum made right."""
    total = sum(struct.unpack(">10H", header[20:30] + b"\0\0" + header[32:]))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:30] + struct.pack(">H", 0xFFFF - total) + header[32:]


MAPPED = b"\x60" + bytes(7) + bytes(10) + b"\xff\xff\x0a\0\0\x09" + bytes(10) + b"\xff\xff\xef\1\1\1"


@given(
    st.one_of(
        st.binary(min_size=40, max_size=40),
        st.binary(min_size=20, max_size=20).map(lambda first: first + grh()[20:]),
        st.binary(min_size=19, max_size=19).map(lambda first: checksummed(b"\x60" + first + grh()[20:])),
        st.tuples(st.integers(0, 39), st.integers(0, 255)).map(
            lambda change: MAPPED[: change[0]] + bytes([change[1]]) + MAPPED[change[0] + 1 :]
        ),
    )
)
def test_the_routing_header_agrees_with_the_rule(header: bytes) -> None:
    assert parse_grh(header) == reference(header)


def test_routing_headers_by_hand() -> None:
    assert parse_grh(grh()) == (packed(SOURCE), packed(GROUPS[0]))
    assert parse_grh(MAPPED) == (packed("10.0.0.9"), packed("239.1.1.1"))
    assert parse_grh(bytes(40)) is None
    with pytest.raises(ValueError, match="40 bytes, not 39"):
        parse_grh(bytes(39))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory": bytearray(100)}, "64 slots of 2048 bytes do not fit into 100"),
        ({"slot_bytes": 8}, "slots of 8 bytes"),
        ({"lines": [3]}, "there is no line 3"),
    ],
)
def test_a_port_that_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    device = Device("compiled", steering(), [0])
    device.__dict__.update(changes)
    with sockets.receiver([sockets.UdpLine("A", "127.0.0.1", 0)]) as joined:
        with pytest.raises(ValueError, match=words):
            RdmaReceiver(1, [device], joined)
        with pytest.raises(ValueError, match="needs a port"):
            RdmaReceiver(1, [], joined)
        with pytest.raises(ValueError, match="2 lines need as many join sockets, not 1"):
            RdmaReceiver(2, [device], joined)
    device.close()

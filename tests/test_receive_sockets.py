"""UDP over sockets: joins, sources, stamps, drops, waiting; on the loopback interface only."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedhandler import receive
from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive import sockets
from feedhandler.receive._sockets import SocketReceiver
from feedhandler.receive.sockets import Options, UdpLine
from feedhandler.records import TimestampKind

Taken = list[tuple[int, int, bytes]]


class Sender:
    """Sends to multicast groups on loopback with TTL 0, from 127.0.0.1 unless told otherwise."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((address, 0))
        where = struct.pack("4s4si", bytes(4), bytes(4), socket.if_nametoindex("lo"))
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, where)
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)

    def __call__(self, payload: bytes, group: str, port: int) -> None:
        self.sock.sendto(payload, (group, port))


@pytest.fixture
def sender() -> Iterator[Sender]:
    one = Sender()
    yield one
    one.sock.close()


def collect(receiver: SocketReceiver, count: int, seconds: float = 10.0) -> Taken:
    """The next `count` packets; fails when they do not come."""
    taken: Taken = []
    end = time.monotonic() + seconds
    while len(taken) < count:
        assert time.monotonic() < end, f"{len(taken)} of {count} packets came"
        receiver.wait_for(0.1)
        taken += receiver.drain(count - len(taken))
    return taken


def multicast(group: str, port: int, **more: Any) -> UdpLine:
    return UdpLine("A", group, port, "lo", **more)


def test_multicast_on_loopback_with_kernel_stamps(
    sender: Sender, multicast_group: str, free_udp_port: int, wait_for: Callable[..., Any]
) -> None:
    with sockets.receiver([multicast(multicast_group, free_udp_port)]) as receiver:

        def stamped_on_arrival() -> bool:
            sender(b"", multicast_group, free_udp_port)
            sent = time.time_ns()
            return collect(receiver, 1)[0][1] <= sent

        # the first socket that wants stamps turns them on for the whole host, a little later
        wait_for(stamped_on_arrival, what="a stamp taken on arrival")
        warmed = receiver.counts(0)["packets"]
        before = time.time_ns()
        for i in range(100):
            sender(i.to_bytes(4, "big"), multicast_group, free_udp_port)
        taken = collect(receiver, 100)
        after = time.time_ns()
        assert [data for _, _, data in taken] == [i.to_bytes(4, "big") for i in range(100)]
        stamps = [ts for _, ts, _ in taken]
        assert stamps == sorted(stamps) and before <= stamps[0] and stamps[-1] <= after
        assert receiver.line_status(0)["ts_kind"] == TimestampKind.KERNEL, "loopback has no hardware stamps"
        assert receiver.counts(0) == receiver.counts(0) | {"packets": warmed + 100, "bytes": 400, "kernel_drops": 0}


def test_clock_stamps_say_that_they_are(sender: Sender, multicast_group: str, free_udp_port: int) -> None:
    with sockets.receiver([multicast(multicast_group, free_udp_port)], Options(timestamps="clock")) as receiver:
        before = time.time_ns()
        sender(b"x", multicast_group, free_udp_port)
        [(_, ts, _)] = collect(receiver, 1)
        assert before <= ts <= time.time_ns()
        assert receiver.line_status(0)["ts_kind"] == TimestampKind.CLOCK


def test_other_groups_on_the_port_stay_out(sender: Sender, multicast_group: str, free_udp_port: int) -> None:
    other = multicast_group.replace("239.", "238.", 1)
    lines = [multicast(multicast_group, free_udp_port), multicast(other, free_udp_port)]
    with sockets.receiver(lines[:1]) as first, sockets.receiver(lines[1:]) as second:
        sender(b"other", other, free_udp_port)
        sender(b"ours", multicast_group, free_udp_port)
        assert [data for _, _, data in collect(first, 1)] == [b"ours"]
        assert [data for _, _, data in collect(second, 1)] == [b"other"]
        assert first.drain() == second.drain() == []


def test_source_specific_join_takes_only_its_source(multicast_group: str, free_udp_port: int) -> None:
    with sockets.receiver([multicast(multicast_group, free_udp_port, source="127.0.0.7")]) as receiver:
        for address in ("127.0.0.8", "127.0.0.7", "127.0.0.9"):
            one = Sender(address)
            one(address.encode(), multicast_group, free_udp_port)
            one.sock.close()
        assert [data for _, _, data in collect(receiver, 1)] == [b"127.0.0.7"]
        assert receiver.drain() == []


def test_unicast_by_source_counts_the_others(free_udp_port: int) -> None:
    line = UdpLine("A", "127.0.0.1", free_udp_port, source="127.0.0.7")
    with sockets.receiver([line]) as receiver:
        for address in ("127.0.0.8", "127.0.0.7"):
            one = Sender(address)
            one(address.encode(), "127.0.0.1", free_udp_port)
            one.sock.close()
        assert [data for _, _, data in collect(receiver, 1)] == [b"127.0.0.7"]
        assert receiver.counts(0)["foreign"] == 1


def test_what_is_too_long_for_a_slot_is_refused(sender: Sender, multicast_group: str, free_udp_port: int) -> None:
    with sockets.receiver([multicast(multicast_group, free_udp_port)], Options(slot_bytes=128)) as receiver:
        for size in (128, 129, 5000, 1):
            sender(bytes(size), multicast_group, free_udp_port)
        assert [len(data) for _, _, data in collect(receiver, 2)] == [128, 1]
        assert receiver.counts(0)["truncated"] == 2


def test_what_the_kernel_drops_is_counted(
    sender: Sender, multicast_group: str, free_udp_port: int, wait_for: Callable[..., Any]
) -> None:
    with sockets.receiver([multicast(multicast_group, free_udp_port)], Options(receive_buffer=4096)) as receiver:
        for i in range(500):
            sender(i.to_bytes(2, "big") * 100, multicast_group, free_udp_port)
        kept = len(receiver.drain())
        assert 0 < kept < 500
        assert receiver.counts(0)["kernel_drops"] == 500 - kept, "though no packet has come since to tell it"
        sender(b"after", multicast_group, free_udp_port)  # the kernel tells with the next packet that comes
        collect(receiver, 1)
        assert receiver.counts(0)["kernel_drops"] == 500 - kept
        sender(b"later", multicast_group, free_udp_port)
        collect(receiver, 1)
        assert receiver.counts(0)["kernel_drops"] == 500 - kept, "its count is of all time: taken once"


def test_a_flood_on_one_line_does_not_hide_the_other(sender: Sender, multicast_group: str, free_udp_port: int) -> None:
    other = multicast_group.replace("239.", "238.", 1)
    lines = [multicast(multicast_group, free_udp_port), UdpLine("B", other, free_udp_port, "lo")]
    with sockets.receiver(lines) as receiver:
        for _ in range(300):
            sender(b"flood", multicast_group, free_udp_port)
        sender(b"one", other, free_udp_port)
        assert b"one" in [data for line, _, data in receiver.drain(128) if line == 1]


def test_the_buffer_granted_is_reported() -> None:
    notes: list[str] = []
    with sockets.receiver([UdpLine("A", "127.0.0.1", 0)], Options(receive_buffer=65536), notes) as receiver:
        assert receiver.line_status(0)["receive_buffer"] == 65536 and notes == []
    with sockets.receiver([UdpLine("A", "127.0.0.1", 0)], Options(receive_buffer=1 << 30), notes) as receiver:
        granted = receiver.line_status(0)["receive_buffer"]
        assert (granted < 1 << 30) == (notes != []) and all("net.core.rmem_max" in note for note in notes)


@pytest.mark.parametrize("spin_us", [0, 200])
def test_waiting_ends_with_a_packet_or_with_the_time(
    sender: Sender, multicast_group: str, free_udp_port: int, spin_us: int
) -> None:
    with sockets.receiver([multicast(multicast_group, free_udp_port)], Options(spin_us=spin_us)) as receiver:
        assert not receiver.wait_for(0.001)
        sender(b"x", multicast_group, free_udp_port)
        assert receiver.wait_for(10)
        receiver.drain()
        thread = threading.Timer(0.02, sender, (b"y", multicast_group, free_udp_port))
        thread.start()
        assert receiver.wait_for(10)
        thread.join()
        assert [data for _, _, data in receiver.drain()] == [b"y"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (UdpLine("A", "239.1.1.1", 1), "needs the interface to join it on; one of: .*lo"),
        (UdpLine("A", "239.1.1.1", 1, "ens99"), "no interface 'ens99' here; there are: .*lo"),
        (UdpLine("A", "exchange.example", 1, "lo"), "group must be an IPv4 address, not 'exchange.example'"),
        (UdpLine("A", "239.1.1.1", 1, "lo", "me"), "source must be an IPv4 address, not 'me'"),
        (UdpLine("A", "239.1.1.1", 1, "lo", vlan="100"), r"\(ip link add link lo name lo.100 type vlan id 100\) and "),
        (UdpLine("A", "239.1.1.1", 1, "lo", vlan="9.8"), r'lo.9 name lo.9.8 .* id 8\) and write interface = "lo.9.8"'),
    ],
)
def test_a_wrong_line_is_one_clear_sentence(line: UdpLine, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sockets.receiver([line])


def test_refusals_name_the_step_and_the_remedy(free_udp_port: int) -> None:
    with pytest.raises(BackendError, match=r"line A: cannot bind 198\.51\.100\.1:\d+: .*not of this host"):
        sockets.receiver([UdpLine("A", "198.51.100.1", free_udp_port)])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as owner:
        owner.bind(("127.0.0.1", free_udp_port))
        with pytest.raises(BackendError, match="has the port to itself"):
            sockets.receiver([UdpLine("A", "127.0.0.1", free_udp_port)])


def test_closing_twice_and_after(multicast_group: str, free_udp_port: int) -> None:
    receiver = sockets.receiver([multicast(multicast_group, free_udp_port)])
    receiver.close()
    receiver.close()
    assert receiver.drain() == [] and receiver.ended


def test_open_by_name_and_auto(multicast_group: str, free_udp_port: int) -> None:
    notes: list[str] = []
    with receive.open([multicast(multicast_group, free_udp_port)], notes=notes) as receiver:
        assert isinstance(receiver, SocketReceiver)
    assert notes[0].startswith("backend sockets (rdma: ") and "; af_xdp: " in notes[0]
    with pytest.raises(ConfigError, match="backend must be"):
        receive.open([multicast(multicast_group, free_udp_port)], "dpdk")


def test_pinning() -> None:
    before = os.sched_getaffinity(0)
    try:
        receive.pin([min(before)])
        assert os.sched_getaffinity(0) == {min(before)}
        receive.pin([])
        with pytest.raises(BackendError, match="cannot run on CPU 4000: this process may use CPU"):
            receive.pin([4000])
    finally:
        os.sched_setaffinity(0, before)

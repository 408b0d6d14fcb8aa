"""The network in which tests of receivers are told, and what the kernel's own sockets make of what is sent there."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedhandler.receive.capture_writer import udp_frame
from tests.frames import ROUTER_ALERT, Frame, Wire
from tests.namespaces import Veth, veth
from tests.required import unavailable

GOOD = Frame(payload=b"good", group="239.1.1.1", port=5000)


@pytest.fixture(scope="module")
def cable() -> Iterator[Veth]:
    with veth(("nft",)) as world:
        yield world


@contextlib.contextmanager
def joined(cable: Veth, group: str = GOOD.group, port: int = GOOD.port) -> Iterator[socket.socket]:
    with cable.receiver.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((group, port))
        request = struct.pack("4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex("rx"))
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        one.settimeout(10)
        yield one


def test_a_frame_by_hand_is_the_one_that_the_capture_writer_makes() -> None:
    by_hand = GOOD.but(source_port=7, ttl=1, fragment=0x4000)
    assert bytes(by_hand) == udp_frame(b"good", ("239.1.1.1", 5000), (Veth.SENDER, 7))


@pytest.mark.parametrize(
    "frames, arrives",
    [
        ([GOOD], True),
        ([GOOD.but(udp_checksum=0)], True),
        ([GOOD.but(options=ROUTER_ALERT)], True),
        ([GOOD.but(vlan=(0,))], True),
        ([GOOD.but(pad=18)], True),
        (GOOD.but(payload=b"f" * 1000, identification=7).fragments(400), True),
        ([GOOD.with_bad_ip_checksum()], False),
        ([GOOD.with_bad_udp_checksum()], False),
        ([GOOD.but(vlan=(100,))], False),
        ([GOOD.but(vlan=(200, 100))], False),
        ([GOOD.but(cut=30)], False),
        ([GOOD.but(udp_length=7)], False),
    ],
)
def test_the_kernel_takes_what_is_right_and_nothing_else(cable: Veth, frames: list[Frame], arrives: bool) -> None:
    with joined(cable) as receiver, Wire(cable.sender) as wire:
        wire.send([*frames, GOOD.but(payload=b"last")])
        got = receiver.recv(2000)
        assert (got != b"last") is arrives
        if arrives:
            assert got in (b"good", b"f" * 1000)
            assert receiver.recv(2000) == b"last"


def test_several_at_once_know_nothing_of_each_other(cable: Veth) -> None:
    with veth() as other, joined(cable) as here, joined(other) as there:
        for number, world in enumerate((cable, other)):
            with Wire(world.sender) as wire:
                wire.send([GOOD.but(payload=bytes([number]))])
        assert (here.recv(10), there.recv(10)) == (b"\0", b"\1")


def test_the_thread_is_back_where_it_was(cable: Veth) -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with pytest.raises(KeyError), cable.sender.inside():
        assert Path("/proc/thread-self/ns/net").readlink() != before
        raise KeyError
    assert Path("/proc/thread-self/ns/net").readlink() == before


def test_nftables_loses_what_it_is_told_to(cable: Veth) -> None:
    cable.drop_at_egress("udp dport 5000 numgen inc mod 2 0")
    try:
        with cable.sender.inside():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with joined(cable) as receiver, sender:
            for number in range(10):
                sender.sendto(bytes([number]), (GOOD.group, GOOD.port))
            assert [receiver.recv(10)[0] for _ in range(5)] in ([0, 2, 4, 6, 8], [1, 3, 5, 7, 9])
    finally:
        cable.drop_at_egress("")


@pytest.mark.parametrize("name", ["CI", "FEEDHANDLER_REQUIRE"])
def test_nothing_may_be_left_out_in_ci(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("FEEDHANDLER_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no root"):
        unavailable("no root")
    monkeypatch.setenv(name, "true" if name == "CI" else "1")
    with pytest.raises(pytest.fail.Exception, match=r"required here .*: no root"):
        unavailable("no root")

"""Auto on real interfaces: AF_XDP where the driver has it, sockets where not, and nothing left behind."""

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from feedhandler import receive
from feedhandler.config import AfXdp, Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.doctor.kernel import Kernel
from feedhandler.doctor.privileges import NEEDS
from feedhandler.errors import BackendError, ConfigError
from feedhandler.handler import Handler
from feedhandler.receive.sockets import UdpLine
from feedhandler.records import TimestampKind
from feedhandler.top import take
from tests.namespaces import Veth, veth
from tests.required import unavailable
from tests.test_handler_waiting import HEARTBEAT
from tests.waiting import Waiting, assert_waits

GROUP, PORT = "239.255.4.1", 26404
SMALL = {"af_xdp": {"ring": 256}}


@pytest.fixture
def cable() -> Iterator[Veth]:
    with veth() as made:
        yield made


def test_the_driver_decides(cable: Veth) -> None:
    line = UdpLine("A", GROUP, PORT, "rx")
    with cable.receiver.inside():
        notes: list[str] = []
        with receive.open([line], options=SMALL, notes=notes) as receiver:
            assert receiver.describe() == "native copy"
            assert notes[0].startswith("backend af_xdp native copy (rdma: ")
            assert Kernel().xdp_program("rx")
        assert Kernel().xdp_program("rx") == 0
        notes.clear()
        with receive.open([UdpLine("A", GROUP, PORT, "lo")], options=SMALL, notes=notes):
            assert notes[0].startswith("backend sockets (rdma: ")
            assert "; af_xdp: the driver of lo has no native XDP (loopback never has)" in notes[0]
        assert Kernel().xdp_program("lo") == 0


def test_two_interfaces_of_which_one_cannot() -> None:
    """The interface that had its filter already is given back."""
    lines = [UdpLine("A", GROUP, PORT, "rx"), UdpLine("B", GROUP, PORT + 1, "lo")]
    with veth() as cable, cable.receiver.inside():
        notes: list[str] = []
        with receive.open(lines, options=SMALL, notes=notes):
            assert notes[0].startswith("backend sockets (")
            assert Kernel().xdp_program("rx") == 0


def test_jumbo_frames_are_for_sockets() -> None:
    line = UdpLine("A", GROUP, PORT, "rx")
    with veth(mtu=9000) as cable, cable.receiver.inside():
        notes: list[str] = []
        with receive.open([line], options=SMALL, notes=notes):
            assert "backend sockets (" in notes[0] and "the MTU of rx is too large for native XDP" in notes[0]
        with pytest.raises(BackendError, match=r"^af_xdp: the MTU of rx .* mtu 1500; or choose sockets or auto$"):
            receive.open([line], "af_xdp", SMALL)


def test_a_vlan_that_nobody_takes_here_has_all_reasons(cable: Veth) -> None:
    with cable.receiver.inside(), pytest.raises(ConfigError, match=r"sockets cannot take vlan.*\(rdma: .*; af_xdp: "):
        receive.open([UdpLine("A", GROUP, PORT, "lo", vlan="100")], options=SMALL)


def test_the_doctor_opens_and_closes(cable: Veth) -> None:
    with cable.receiver.inside():
        assert Kernel().try_af_xdp("rx") == "native copy"
        assert Kernel().xdp_program("rx") == 0
        with pytest.raises(BackendError, match="the driver of lo has no native XDP"):
            Kernel().try_af_xdp("lo")


OPENED = """
import sys
from feedhandler import receive
from feedhandler.errors import BackendError
from feedhandler.receive.sockets import UdpLine
try:
    with receive.open([UdpLine("A", "239.255.4.1", 26404, "rx")], "af_xdp", {"af_xdp": {"ring": 256}}) as receiver:
        print(receiver.describe())
except BackendError as error:
    print(error)
"""


def test_the_capabilities_that_the_doctor_names_are_enough_and_none_is_too_many(cable: Veth) -> None:
    must = NEEDS["af_xdp"].must
    if shutil.which("setpriv") is None:
        unavailable("no setpriv here; it comes with: apt-get install util-linux")
    with cable.receiver.inside():
        for lacking in (None, *must):
            kept = ",".join(f"+{name.removeprefix('cap_')}" for name in must if name != lacking)
            command = [
                "setpriv",
                f"--bounding-set=-all,{kept}",
                f"--inh-caps=-all,{kept}",
                sys.executable,
                "-c",
                OPENED,
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            said = done.stdout.strip()
            assert said == "native copy" if lacking is None else lacking.upper() in said


@contextlib.contextmanager
def running(cable: Veth, **run: Any) -> Iterator[Handler]:
    line = Line(name="A", group=GROUP, port=PORT, interface="rx")
    channel = Channel("itch", "itch50", "moldudp64", "XNAS", lines=(line,))
    sizes = Books(instruments=8, orders=100)
    config = Config(Shm("x"), sizes, Ring(64), Run(**run), (channel,), AfXdp(ring=256))
    with cable.receiver.inside():
        handler = Handler(config, anonymous=True)
    with handler:
        handler.start()
        yield handler
        assert handler.error is None


@pytest.mark.parametrize("wait", ["spin", "adaptive", "block"])
def test_a_packet_is_taken_however_the_thread_waits(cable: Veth, wait: str, wait_for: Waiting) -> None:
    with running(cable, wait=wait) as handler:
        assert handler.status()["backend"] == "af_xdp native copy"
        assert_waits(handler, wait, wait_for)
        with cable.sender.inside(), socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(Veth.SENDER))
            for count in range(1, 4):
                sender.sendto(HEARTBEAT, (GROUP, PORT))
                wait_for(lambda count=count: handler.receiver.counts(0)["packets"] == count)


def test_choice_mode_and_stamps_stand_in_shared_memory(cable: Veth, wait_for: Waiting) -> None:
    from feedhandler.read import attach_local

    with running(cable, wait="block") as handler, attach_local(handler.segment) as feed:
        with cable.sender.inside(), socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(Veth.SENDER))
            sender.sendto(HEARTBEAT, (GROUP, PORT))
        wait_for(lambda: int(feed.lines[0]["ts_kind"]) == TimestampKind.KERNEL)
        view = take(feed)
        assert (view.backend, view.lines[0].timestamps) == ("af_xdp native copy", "KERNEL")

"""The RDMA receiver on a host without RDMA: sentences, look-ups in sysfs, flow specifications, both loops."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feedhandler.cli.simulate import to_lines
from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive import rdma
from feedhandler.receive.rdma import device, steering, verbs
from feedhandler.receive.sockets import UdpLine
from feedhandler.simulate import Exchange, MulticastSender
from feedhandler.simulate.rdma import RdmaSender
from feedhandler.simulate.venue import Venue
from tests.guest import packages
from tests.required import unavailable

ROOT = Path(__file__).resolve().parent.parent
LINE = UdpLine("A", "239.1.2.3", 26400, "lo")


class PyverbsError(Exception):
    """As pyverbs has it, by its name."""

    def __init__(self, words: str, error_code: int = -1) -> None:
        super().__init__(words)
        self.error_code = error_code


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No pyverbs and no device but what a test makes."""
    for name in [name for name in sys.modules if name.split(".")[0] == "pyverbs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(verbs, "DISTRIBUTION", str(tmp_path / "dist-packages"))
    monkeypatch.setattr(verbs, "SYSFS", tmp_path / "infiniband")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not Path(p, "pyverbs").exists()])
    verbs.load.cache_clear()
    yield
    verbs.load.cache_clear()


def package(folder: Path, modules: dict[str, str]) -> None:
    """A pyverbs of these files."""
    (folder / "pyverbs").mkdir(parents=True)
    for name, text in ({"__init__.py": ""} | modules).items():
        (folder / "pyverbs" / name).write_text(text)


# -- the four ways it can be missing ----------------------------------------------------------------------------------


def test_no_package_names_the_one_to_install() -> None:
    with pytest.raises(
        BackendError, match=r"^python3-pyverbs is not installed: apt-get install python3-pyverbs \(Fedora"
    ):
        rdma.receiver([LINE])


def test_the_distributions_package_for_another_python(tmp_path: Path) -> None:
    package(tmp_path / "dist-packages", {"device.cpython-399-x86_64-linux-gnu.so": ""})
    with pytest.raises(BackendError, match=rf"pyverbs is for cpython-399, this is {sys.implementation.cache_tag}: run"):
        rdma.receiver([LINE])


def test_a_package_that_does_not_match_libibverbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "libibverbs.so.1: version `IBVERBS_PRIVATE_59' not found"
    package(tmp_path / "other", {"device.py": f'raise ImportError("{words}")'})
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    with pytest.raises(
        BackendError, match=r"does not match this host's libibverbs .*IBVERBS_PRIVATE_59.* pip uninstall pyverbs"
    ):
        rdma.receiver([LINE])


def test_a_package_without_what_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "other", {"device.py": "get_device_list = None"})
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    with pytest.raises(BackendError, match=r"does not match .*no attribute 'Context'"):
        rdma.receiver([LINE])


def test_the_distributions_package_is_found_and_nothing_else_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix = verbs.importlib.machinery.EXTENSION_SUFFIXES[0]
    package(tmp_path / "dist-packages", {f"device{suffix}": "", "own.py": "here = True"})
    (tmp_path / "dist-packages" / "another_of_the_distribution.py").write_text("")
    with pytest.raises(BackendError, match=r"does not match"):  # an empty file is no extension
        verbs.load()
    assert verbs.importlib.import_module("pyverbs.own").here
    with pytest.raises(ModuleNotFoundError):
        verbs.importlib.import_module("another_of_the_distribution")
    for name in ("pyverbs", "pyverbs.own"):
        monkeypatch.delitem(sys.modules, name)


def listing(answer: Any) -> Any:
    """As much of pyverbs as devices() asks."""

    def get_device_list() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return [SimpleNamespace(name=name) for name in answer]

    return SimpleNamespace(get_device_list=get_device_list)


def test_a_kernel_without_rdma() -> None:
    with pytest.raises(BackendError, match="this kernel has no RDMA: modprobe ib_uverbs"):
        verbs.devices(listing(PyverbsError("Failed to get devices list")))


def test_no_device_and_no_driver(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"there is no RDMA device: load the NIC's driver .*rdma link add rxe0"):
        verbs.devices(listing([]))
    (tmp_path / "infiniband" / "mlx5_0").mkdir(parents=True)
    with pytest.raises(BackendError, match="no driver for mlx5_0: apt-get install ibverbs-providers"):
        verbs.devices(listing([]))
    assert verbs.devices(listing([b"mlx5_0", "rxe0"])) == ["mlx5_0", "rxe0"]


def test_a_fault_of_ours_is_no_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        verbs.devices(listing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError), verbs.refused("divide"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EPERM, r"^cannot open x: Operation not permitted \(it needs CAP_NET_RAW"),
        (errno.EACCES, "Permission denied .*/dev/infiniband/uverbs"),
        (errno.ENOMEM, "Cannot allocate memory .*ulimit -l unlimited"),
        (errno.EINVAL, "Invalid argument .*smaller ring"),
        (errno.ENODEV, "^cannot open x: No such device$"),
        (-1, "^cannot open x: said so$"),
    ],
)
def test_what_a_verb_refuses_is_a_sentence(code: int, words: str) -> None:
    with pytest.raises(BackendError, match=words), verbs.refused("open x"):
        raise PyverbsError("said so.", code)


# -- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "options", "kind", "words"),
    [
        ([], {}, ConfigError, "1 to 64 lines, not 0"),
        ([UdpLine("A", "127.0.0.1", 1, "lo")], {}, BackendError, "line A: rdma takes multicast groups only, not 127"),
        ([UdpLine("A", "group", 1, "lo")], {}, ConfigError, "line A: group must be an IPv4 address, not 'group'"),
        ([UdpLine("A", "239.1.1.1", 1, "lo", vlan="0")], {}, ConfigError, "line A: vlan must be"),
        ([UdpLine("A", "239.1.1.1", 1, "e0", vlan="7")], {"mode": "roce-ud"}, ConfigError, "name e0.7 type vlan id 7"),
        ([LINE], {"ring": 8}, ConfigError, "ring must be 16 to"),
        ([LINE], {"slot_bytes": 8}, ConfigError, "slot_bytes must be 256 to"),
        ([LINE], {"mode": "roce"}, ConfigError, "no mode 'roce'"),
        ([LINE], {"loop": "slow"}, ConfigError, "with loop 'slow'"),
    ],
)
def test_wrong_lines_and_options(lines: Any, options: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        rdma.receiver(lines, rdma.Options(**options))


def test_lines_of_roce_differ_by_group() -> None:
    pair = [UdpLine("A", "239.1.1.1", 1, "e0"), UdpLine("B", "239.1.1.1", 2, "e0")]
    with pytest.raises(ConfigError, match=r"lines A and B both have the group 239\.1\.1\.1: .* must differ by group"):
        rdma.receiver(pair, rdma.Options(mode="roce-ud"))
    with pytest.raises(BackendError, match="not installed"):  # on two interfaces, and by ports: no fault of the lines
        rdma.receiver([pair[0], UdpLine("B", "239.1.1.1", 1, "e1")], rdma.Options(mode="roce-ud"))
    with pytest.raises(BackendError, match="not installed"):
        rdma.receiver(pair)
    with pytest.raises(ConfigError, match="lines A and A2 have the same group, port, source and VLAN"):
        rdma.receiver([pair[0], UdpLine("A2", "239.1.1.1", 1, "e0")])


# -- sysfs ------------------------------------------------------------------------------------------------------------


def make_port(folder: Path, name: str, gids: dict[int, tuple[str, str, str]], port: int = 1, places: int = 8) -> None:
    """A device port with GIDs: place → (interface, gid, type); other places are empty, as the kernel has them."""
    root = folder / "infiniband" / name / "ports" / str(port)
    for table in ("gids", "gid_attrs/ndevs", "gid_attrs/types"):
        (root / table).mkdir(parents=True)
    for place in range(places):
        interface, gid, kind = gids.get(place, ("", "0000:" * 7 + "0000", ""))
        (root / "gids" / str(place)).write_text(gid + "\n")
        if interface:
            (root / "gid_attrs/ndevs" / str(place)).write_text(interface + "\n")
            (root / "gid_attrs/types" / str(place)).write_text(kind + "\n")


def test_the_device_of_an_interface(tmp_path: Path) -> None:
    mapped = device.gid(IPv4Address("10.0.0.1"))
    make_port(tmp_path, "mlx5_0", {0: ("eth0", "fe80", "IB/RoCE v1"), 5: ("eth0.100", "fe80", "RoCE v2")})
    make_port(tmp_path, "mlx5_1", {0: ("eth1", mapped, "IB/RoCE v1"), 3: ("eth1", mapped, "RoCE v2")}, 2)
    assert str(device.find("eth0")) == "mlx5_0 port 1" == str(device.find("eth0.100"))
    port = device.find("eth1", "mlx5_1")
    assert str(port) == "mlx5_1 port 2"
    assert device.gid_index(port, IPv4Address("10.0.0.1")) == 3
    with pytest.raises(BackendError, match=r"mlx5_1 port 2 has no GID for 10\.0\.0\.2"):
        device.gid_index(port, IPv4Address("10.0.0.2"))
    with pytest.raises(BackendError, match=r"no RDMA device belongs to eth9 \(devices: mlx5_0 port 1, mlx5_1 port 2\)"):
        device.find("eth9")
    with pytest.raises(BackendError, match="mlx5_0 does not belong to eth1"):
        device.find("eth1", "mlx5_0")
    with pytest.raises(BackendError, match="no RDMA device mlx5_7; there are: mlx5_0"):
        device.find("eth1", "mlx5_7")


def test_drops_are_counted_where_the_device_counts_them(tmp_path: Path) -> None:
    port = device.DevicePort("mlx5_0", 1)
    assert device.drops(port) is None
    counter = port.folder / "hw_counters" / "out_of_buffer"
    counter.parent.mkdir(parents=True)
    counter.write_text("17\n")
    assert device.drops(port) == 17


@pytest.mark.parametrize(
    ("group", "mac", "gid"),
    [
        ("239.1.2.3", "01:00:5e:01:02:03", "0000:0000:0000:0000:0000:ffff:ef01:0203"),
        ("224.0.0.251", "01:00:5e:00:00:fb", "0000:0000:0000:0000:0000:ffff:e000:00fb"),
        ("239.255.255.255", "01:00:5e:7f:ff:ff", "0000:0000:0000:0000:0000:ffff:efff:ffff"),
        ("232.128.0.1", "01:00:5e:00:00:01", "0000:0000:0000:0000:0000:ffff:e880:0001"),
    ],
)
def test_a_group_as_mac_and_gid(group: str, mac: str, gid: str) -> None:
    assert device.multicast_mac(IPv4Address(group)) == mac
    assert device.gid(IPv4Address(group)) == gid


# -- flows ------------------------------------------------------------------------------------------------------------


def recorder(answers: list[Exception | None]) -> tuple[Any, list[Any]]:
    """As much of pyverbs as flows need: what was asked for is kept, and answered in this order."""
    asked: list[Any] = []

    def spec(name: str) -> Any:
        return lambda *args, **fields: (name, *args, fields)

    def flow(qp: Any, attributes: Any) -> Any:
        asked.append(attributes.specs)
        assert attributes.num_of_specs == len(attributes.specs) and attributes.port == 2
        error = answers.pop(0)
        if error is not None:
            raise error
        return "flow"

    attributes = lambda **fields: SimpleNamespace(specs=[], **fields)  # noqa: E731
    specs = {name: spec(name) for name in ("EthSpec", "Ipv4ExtSpec", "TcpUdpSpec")}
    return SimpleNamespace(Flow=flow, FlowAttr=attributes, **specs), asked


ETH = {"dst_mac": "01:00:5e:01:02:03"}
IP = ("Ipv4ExtSpec", {"dst_ip": "239.1.2.3", "proto": 17})
UDP = ("TcpUdpSpec", 0x41, {"dst_port": 26400})


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, [("EthSpec", ETH | {"ether_type": 0x800}), IP, UDP]),
        (
            {"source": "10.0.0.9"},
            [("EthSpec", ETH | {"ether_type": 0x800}), ("Ipv4ExtSpec", IP[1] | {"src_ip": "10.0.0.9"}), UDP],
        ),
        (
            {"vlan": "100"},
            [("EthSpec", ETH | {"ether_type": 0x800, "vlan_tag": 100, "vlan_tag_mask": 0xFFF}), IP, UDP],
        ),
        ({"vlan": "200.100"}, [("EthSpec", ETH | {"vlan_tag": 200, "vlan_tag_mask": 0xFFF})]),
    ],
)
def test_flow_of_a_line(changes: dict[str, str], wanted: list[Any]) -> None:
    known, asked = recorder([None])
    line = UdpLine("A", "239.1.2.3", 26400, "eth0", **changes)
    notes: list[str] = []
    assert steering.steer(known, "qp", 2, line, notes) == "flow"
    assert asked == [wanted] and notes == []


def test_a_nic_that_matches_ethernet_alone() -> None:
    known, asked = recorder([PyverbsError("Flow creation failed", errno.EINVAL), None])
    notes: list[str] = []
    assert steering.steer(known, "qp", 2, LINE, notes) == "flow"
    assert asked[1] == [("EthSpec", ETH)]
    assert "line A: the NIC matches Ethernet addresses alone" in notes[0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EPERM, "Operation not permitted .*CAP_NET_RAW"),
        (errno.EOPNOTSUPP, "Operation not supported .*soft-RoCE has none"),
        (errno.ENXIO, "No such device or address$"),
    ],
)
def test_a_nic_that_steers_nothing(code: int, words: str) -> None:
    known, _ = recorder([PyverbsError("Flow creation failed", code)] * 2)
    with pytest.raises(BackendError, match=rf"^line A: the NIC does not steer 239\.1\.2\.3:26400: {words}"):
        steering.steer(known, "qp", 2, LINE, [])


def test_attachment_says_what_the_device_says() -> None:
    calls: list[tuple[str, bytes]] = []
    answers = {"ibv_attach_mcast": 0, "ibv_detach_mcast": 0}

    class Library(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            def call(queue_pair: Any, gid: bytes, lid: int) -> int:
                calls.append((name, gid))
                return answers[name]

            return call

    known = SimpleNamespace(library=Library())
    steering.Attachment(known, 1, LINE).close()  # type: ignore[arg-type]
    assert calls == [(name, bytes(10) + b"\xff\xff\xef\x01\x02\x03") for name in answers]
    answers["ibv_attach_mcast"] = errno.ENOMEM
    with pytest.raises(BackendError, match=r"line A: cannot attach to 239\.1\.2\.3: .*table of groups"):
        steering.Attachment(known, 1, LINE)  # type: ignore[arg-type]


# -- the sender -------------------------------------------------------------------------------------------------------


def test_the_command_sends_by_rdma_when_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sends is seen in the guest; here, that it is asked to, with the same words as over UDP."""
    made: list[dict[str, Any]] = []

    class Sender(MulticastSender):
        def __init__(self, lines: Any, **options: Any) -> None:
            made.append({"lines": lines} | options)
            super().__init__(lines, **options)

    monkeypatch.setattr("feedhandler.simulate.rdma.RdmaSender", Sender)
    options = {"interface": "lo", "ttl": 0, "rate": None, "end_repeats": 1}
    exchange = Exchange(symbols=2, messages=300)
    to_lines(["239.78.9.9:26400"], exchange, options, 0, Venue(None, None), "rdma")
    assert made[0]["lines"] == [("239.78.9.9", 26400)] and made[0]["interface"] == "lo"
    to_lines(["239.78.9.9:26400"], Exchange(symbols=2, messages=300), options, 0, Venue(None, None))
    assert len(made) == 1


def test_the_sender_says_what_the_receiver_says() -> None:
    with pytest.raises(BackendError, match=r"^python3-pyverbs is not installed"):
        RdmaSender(interface="lo")


# -- the declarations ---------------------------------------------------------------------------------------------

PAIRS = {
    "wc": ("wr_id", "status", "byte_len", "wc_flags"),
    "sge": ("addr", "length", "lkey"),
    "recv_wr": ("wr_id", "next", "sg_list", "num_sge"),
    "cq": ("context", "channel", "cq_context", "handle", "cqe"),
    "qp": ("context", "pd", "send_cq", "recv_cq", "srq", "handle", "qp_num"),
    "cq_ex": ("status", "wr_id", "start_poll", "next_poll", "end_poll", "read_byte_len", "read_wc_flags",
              "read_completion_wallclock_ns"),
}  # fmt: skip
CONSTANTS = {
    "FH_WC_SUCCESS": "IBV_WC_SUCCESS", "FH_WC_LOC_LEN_ERR": "IBV_WC_LOC_LEN_ERR", "FH_WC_GRH": "IBV_WC_GRH",
    "FH_WC_WR_FLUSH_ERR": "IBV_WC_WR_FLUSH_ERR", "FH_GRH_BYTES": "sizeof(struct ibv_grh)",
}  # fmt: skip


@pytest.mark.skipif("FEEDHANDLER_ASAN" in os.environ, reason="a check of the compiler's: the ordinary run has made it")
def test_our_offsets_are_those_of_verbs_h(tmp_path: Path) -> None:
    include = packages.TREE / "usr/include"
    if not (include / "infiniband/verbs.h").exists():
        unavailable(f"there is no infiniband/verbs.h in {include}: scripts/setup test fetches it")
    same = [
        (f"offsetof(struct fh_{name}, {field})", f"offsetof(struct ibv_{name}, {field})")
        for name, fields in PAIRS.items()
        for field in fields
    ]
    same += [
        (f"offsetof(struct fh_context, {call})", f"offsetof(struct ibv_context, ops.{call})")
        for call in ("poll_cq", "req_notify_cq", "post_send", "post_recv")
    ]
    same += [(f"sizeof(struct fh_{name})", f"sizeof(struct ibv_{name})") for name in ("wc", "sge", "recv_wr")]
    same += [("offsetof(struct fh_channel, fd)", "offsetof(struct ibv_comp_channel, fd)"), *CONSTANTS.items()]
    lines = ["#include <infiniband/verbs.h>", '#include "verbs_abi.h"']
    lines += [f'_Static_assert({ours} == {theirs}, "{theirs}");' for ours, theirs in same]
    source = tmp_path / "offsets.c"
    source.write_text("\n".join(lines) + "\n")
    command = ["gcc", "-fsyntax-only", f"-I{include}", f"-I{ROOT / 'ext/include'}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""What the doctor finds on invented hosts: each thing seen, its reason and its remedy, and what could not be seen."""

from pathlib import Path
from typing import Any

import pytest

from feedhandler import doctor
from feedhandler.doctor import kernel, netlink
from feedhandler.doctor.backends import backends
from feedhandler.doctor.encryption import encryption
from feedhandler.doctor.findings import Row, cpu_list
from feedhandler.doctor.interfaces import interfaces
from feedhandler.doctor.privileges import privileges
from feedhandler.doctor.sockets import sockets
from feedhandler.errors import BackendError
from tests.namespaces import veth


class Told(kernel.Kernel):
    """A kernel that says what it is told to, and else nothing."""

    answers: dict[str, Any]

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "locked_memory": (-1, -1),
            "real_time": 0,
            "xdp_sockets": True,
            "rdma_packages": ("", ""),
            **answers,
        }

    def __getattribute__(self, name: str) -> Any:
        if name == "answers" or name.startswith("__"):
            return object.__getattribute__(self, name)
        answer = self.answers.get(name)

        def say(*_: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return say


def test_a_host_that_shows_nothing(tmp_path: Path) -> None:
    rows = doctor.examine(doctor.Host(tmp_path))
    states = {row.check: row.state for row in rows}
    assert states["isolation"] == states["governor"] == states["source"] == states["transparent"] == "unseen"
    assert states["groups"] == "unseen"


def invent(root: Path, files: dict[str, str]) -> doctor.Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return doctor.Host(root, Told())


CPU = "sys/devices/system/cpu"
CLOCK = "sys/devices/system/clocksource/clocksource0"
RT = "proc/sys/kernel/sched_rt_runtime_us"
THP = "sys/kernel/mm/transparent_hugepage/enabled"


@pytest.mark.parametrize(
    "files, check, state, found, mend",
    [
        ({f"{CPU}/isolated": "2-3\n"}, "isolation", "yes", "CPUs 2-3 are isolated", ""),
        ({f"{CPU}/isolated": "\n"}, "isolation", "no", "no CPU is kept free", "isolcpus="),
        ({f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n"}, "governor", "yes", "performance", ""),
        ({f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave"}, "governor", "no", "powersave", "-g performance"),
        ({f"{CLOCK}/current_clocksource": "tsc"}, "source", "yes", "tsc", ""),
        (
            {f"{CLOCK}/current_clocksource": "hpet", f"{CLOCK}/available_clocksource": "tsc hpet"},
            "source",
            "no",
            "hpet",
            "echo tsc >",
        ),
        ({"sys/fs/cgroup/cpu.max": "50000 100000"}, "no quota", "no", "0.5 CPUs", "cpu.max"),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, "no quota", "yes", "no cgroup limit", ""),
        ({f"{CPU}/isolated": "2-3", f"{CPU}/nohz_full": "2-3"}, "no tick", "yes", "no timer interrupt", ""),
        ({f"{CPU}/isolated": "2-3", f"{CPU}/nohz_full": "2"}, "no tick", "no", "CPUs 3 all the time", "nohz_full=2-3"),
        ({"proc/7/comm": "irqbalance\n"}, "interrupts", "no", "irqbalance runs (pid 7)", "systemctl disable"),
        ({"proc/7/comm": "sshd\n"}, "interrupts", "yes", "nothing moves them", ""),
        ({RT: "950000\n"}, "real time", "yes", "halted for up to 50 ms in 1000", ""),
        ({RT: "-1\n"}, "real time", "no", "no bound", "sysctl -w kernel.sched_rt_runtime_us=950000"),
        ({"sys/class/ptp/ptp0/clock_name": "mlx5_ptp"}, "PTP", "yes", "ptp0 (mlx5_ptp)", ""),
        ({}, "PTP", "no", "no hardware clock", ""),
        ({THP: "always madvise [never]"}, "transparent", "no", "never", "echo madvise"),
        ({"proc/meminfo": "HugePages_Total: 8\nHugePages_Free: 3\n"}, "huge pages", "yes", "8 of", ""),
        ({"proc/meminfo": "HugePages_Total: 0\n"}, "huge pages", "no", "none reserved", "vm.nr_hugepages"),
        ({"proc/self/status": "CapEff:\t0000000000001000\n"}, "cap_net_admin", "yes", "for XDP programs", ""),
        (
            {"proc/self/status": "CapEff:\t0000000000000000\n"},
            "for sockets",
            "no",
            "without cap_net_admin buffers",
            "setcap cap_net_admin+ep",
        ),
        ({"sys/class/net/x0/flags": "0x1003", "sys/class/net/x0/mtu": "1500"}, "x0", "yes", "up, multicast", ""),
        ({"sys/class/net/x0/flags": "0x1002", "sys/class/net/x0/mtu": "1500"}, "x0", "no", "down", "ip link set x0 up"),
        ({"sys/class/net/x0/flags": "0x0003", "sys/class/net/x0/mtu": "9"}, "x0", "no", "no multicast", "multicast on"),
        (
            {"sys/class/net/x0/flags": "0x1003", "proc/sys/net/ipv4/conf/x0/rp_filter": "1"},
            "x0 rp_filter",
            "no",
            "strict",
            "rp_filter=2",
        ),
    ],
)
def test_invented_hosts(tmp_path: Path, files: dict[str, str], check: str, state: str, found: str, mend: str) -> None:
    rows = {row.check: row for row in doctor.examine(invent(tmp_path, files))}
    row = rows[check]
    assert row.state == state
    assert found in row.found
    assert (mend in row.mend) if mend else not row.mend


WIDE = "flags\t: fpu aes pclmulqdq avx512f avx512dq avx512bw avx512vl vaes vpclmulqdq\n"


@pytest.mark.parametrize(
    ("cpuinfo", "gcm", "linked", "private", "chosen", "state", "words", "mend"),
    [
        (WIDE, "ipsec-mb 1.3.0", "ipsec-mb 1.3.0", True, "", "yes", "ipsec-mb 1.3.0, with VAES", ""),
        (WIDE, "OpenSSL", "ipsec-mb 1.3.0", True, "openssl", "no", "by FEEDHANDLER_GCM", "unset FEEDHANDLER_GCM"),
        (WIDE, "OpenSSL", "ipsec-mb 1.3.0", True, "", "no", "failed its known answers", ""),
        (WIDE, "OpenSSL", "", True, "", "no", "does not use this CPU's VAES", "apt-get install libipsec-mb-dev"),
        (WIDE, "OpenSSL", "", False, "", "no", "beside a shared OpenSSL", "apt-get install libssl-dev libipsec-mb-dev"),
        (WIDE.replace(" vaes", ""), "OpenSSL", "", True, "", "yes", "this CPU has no VAES", ""),
        ("Features\t: fp asimd aes\n", "OpenSSL", "", True, "", "unseen", "OpenSSL's own", ""),
    ],
)
def test_what_decrypts_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, gcm: str, linked: str, private: bool, chosen: str,
    state: str, words: str, mend: str,
) -> None:  # fmt: skip
    said = {"gcm": gcm, "gcm_linked": linked, "private": private, "hooked": True, "missed": 0}
    monkeypatch.setattr("feedhandler.receive.tls.library", lambda: said)
    monkeypatch.setenv("FEEDHANDLER_GCM", chosen)
    row, _ = encryption(invent(tmp_path, {"proc/cpuinfo": cpuinfo}))
    assert row.state == state and words in row.found and row.mend.split("\n")[0] == mend


@pytest.mark.parametrize(
    ("hooked", "missed", "private", "state", "words", "mend"),
    [
        (True, 0, True, "yes", "from fixed memory; refused: 0, pieces of the heap: 0", ""),
        (True, 1234, False, "yes", "refused: 0, pieces of the heap: 1,234", ""),
        (False, 0, False, "no", "came first: each TLS 1.3 record takes a piece of the heap; refused: 1", "apt-get"),
        (False, 0, True, "no", "(AddressSanitizer); refused: 1", ""),
    ],
)
def test_whether_openssl_has_our_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hooked: bool, missed: int, private: bool, state: str, words: str,
    mend: str,
) -> None:  # fmt: skip
    said = {"gcm": "ipsec-mb 1.3.0", "private": private, "hooked": hooked, "missed": missed}
    monkeypatch.setattr("feedhandler.receive.tls.library", lambda: said)
    _, row = encryption(invent(tmp_path, {}))
    assert (row.topic, row.check, row.state) == ("tls", "memory hooks", state)
    assert words in row.found and row.mend.startswith(mend) and bool(mend) == bool(row.mend)


def test_a_segment_folder_that_is_not_there(tmp_path: Path) -> None:
    rows = {row.check: row for row in doctor.examine(shm_dir=str(tmp_path / "absent"))}
    row = rows[str(tmp_path / "absent")]
    assert (row.state, row.mend) == ("no", f"mkdir -p {tmp_path}/absent")


def test_a_buffer_beyond_every_limit_is_a_no() -> None:
    rows = list(sockets(doctor.Host(), 1 << 31 - 2))
    assert rows[0].check == "receive buffer"
    assert rows[0].state == "yes" or rows[0].mend == f"sysctl -w net.core.rmem_max={1 << 29}"


# -- backends ----------------------------------------------------------------------------------------------------------

UP = {"sys/class/net/x0/flags": "0x1003", "sys/class/net/x0/mtu": "1500"}
ALL = "CapEff:\t000001ffffffffff\n"
ROOT = {**UP, "proc/self/status": ALL}
NATIVE = kernel.Xdp(native=True, zero_copy=False, scatter=False, timestamps=False)
MLX = kernel.Driver("mlx5_core", "6.1", "28.39")
SOFT = {
    "sys/class/infiniband/rxe0/parent": "x0",
    "sys/class/infiniband_verbs/uverbs0/ibdev": "rxe0",
    "dev/infiniband/uverbs0": "",
}
TWO_QUEUES = {"sys/class/net/x0/queues/rx-0/a": "", "sys/class/net/x0/queues/rx-1/a": ""}


def found(host: doctor.Host, check: str) -> Row:
    """The one row of an interface x0."""
    rows = {row.check: row for row in [*interfaces(host, ["x0"]), *backends(host, ["x0"])]}
    return rows[check]


@pytest.mark.parametrize(
    "files, answers, state, words, mend",
    [
        (ROOT, {"xdp": NATIVE}, "yes", "native copy, by what the driver says", ""),
        (ROOT, {"xdp": NATIVE._replace(zero_copy=True)}, "yes", "native zero-copy", ""),
        (ROOT, {}, "unseen", "the kernel does not tell what the driver can (Linux 6.3 does)", ""),
        (ROOT, {"xdp_sockets": False}, "no", "built without CONFIG_XDP_SOCKETS", ""),
        (ROOT, {"xdp": NATIVE._replace(native=False)}, "no", "this virtual interface has no native XDP", '"generic"'),
        (
            ROOT,
            {"xdp": NATIVE._replace(native=False), "driver": kernel.Driver("r8169", "", "")},
            "no",
            "the driver r8169 has no native XDP",
            '"generic"',
        ),
        (ROOT, {"xdp": NATIVE, "xdp_program": 17}, "no", "another XDP program is on it (id 17)", "bpftool net show"),
        ({**ROOT, "sys/class/net/x0/mtu": "9000"}, {"xdp": NATIVE}, "no", "MTU of 9000", "ip link set x0 mtu 1500"),
        ({**ROOT, "sys/class/net/x0/flags": "0x1002"}, {"xdp": NATIVE}, "no", "is down", "ip link set x0 up"),
        (
            {**UP, "proc/self/status": "CapEff: 1000"},
            {"xdp": NATIVE},
            "no",
            "without cap_net_raw, cap_bpf",
            "setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep",
        ),
        (
            {**UP, "proc/self/status": "CapEff: 203000"},  # SYS_ADMIN stands for cap_bpf; no IPC_LOCK
            {"xdp": NATIVE, "locked_memory": (8 << 20, 8 << 20), "channels": kernel.Channels(2, 8)},
            "no",
            "its 256 MiB of packet memory are over RLIMIT_MEMLOCK (8 MiB)",
            "[af_xdp] ring = 2048",
        ),
    ],
)  # fmt: skip
def test_af_xdp(tmp_path: Path, files: dict[str, str], answers: Any, state: str, words: str, mend: str) -> None:
    row = found(doctor.Host(invent(tmp_path, files).root, Told(**answers)), "x0 af_xdp")
    assert row.state == state
    assert words in row.found
    assert (mend in row.mend) if mend else not row.mend


def test_af_xdp_is_opened_only_when_asked_to(tmp_path: Path) -> None:
    root = invent(tmp_path, ROOT).root
    host = doctor.Host(root, Told(xdp=NATIVE, try_af_xdp="native copy"))
    assert found(host, "x0 af_xdp").found == "native copy, by what the driver says (--probe tries it)"
    rows = {row.check: row for row in backends(host, ["x0"], probe=True)}
    assert (rows["x0 af_xdp"].state, rows["x0 af_xdp"].found) == ("yes", "native copy, opened and closed again")
    refusing = doctor.Host(root, Told(xdp=NATIVE, try_af_xdp=BackendError("af_xdp: queue 0 is taken")))
    [row] = [row for row in backends(refusing, ["x0"], probe=True) if row.check == "x0 af_xdp"]
    assert (row.state, row.found) == ("no", "queue 0 is taken")
    nobody = invent(tmp_path, {"proc/self/status": "CapEff: 0"})
    rows = {row.check: row for row in backends(nobody, ["x0"], probe=True)}
    assert rows["x0 af_xdp"].found.startswith("without cap_net_raw, cap_net_admin, cap_bpf")


def test_all_that_stands_in_the_way_is_said_at_once(tmp_path: Path) -> None:
    host = doctor.Host(invent(tmp_path, {"sys/class/net/x0/flags": "0x1002"}).root, Told(xdp=NATIVE))
    row = found(host, "x0 af_xdp")
    assert "the interface is down; without cap_net_raw" in row.found
    assert row.mend.splitlines()[0] == "ip link set x0 up"
    assert len(row.mend.splitlines()) == 3  # setcap, or systemd


@pytest.mark.parametrize(
    "files, packages, driver, state, words, mend",
    [
        (UP, "", None, "no", "no RDMA device, or its driver is not loaded", "modprobe ib_uverbs"),
        ({**UP, **SOFT}, "", None, "yes", "device rxe0: roce-ud", ""),
        ({**ROOT, **SOFT}, "", MLX, "yes", "device rxe0: roce-ud, raw-eth", ""),
        ({**UP, **SOFT}, "", MLX, "yes", "(raw-eth not without cap_net_raw)", ""),
        ({**UP, **SOFT, "sys/class/infiniband/rxe0/parent": "y1"}, "", None, "no", "belongs to x0", "rdma link add"),
        ({**UP, **SOFT}, "the package pyverbs is not installed", None, "no", "the package pyverbs", "apt install"),
    ],
)
def test_rdma(
    tmp_path: Path, files: dict[str, str], packages: str, driver: Any, state: str, words: str, mend: str
) -> None:
    said = (packages, "apt install python3-pyverbs" if packages else "")
    row = found(doctor.Host(invent(tmp_path, files).root, Told(driver=driver, rdma_packages=said)), "x0 rdma")
    assert row.state == state
    assert words in row.found
    assert (mend in row.mend) if mend else not row.mend


def test_what_is_wrong_with_the_packages_comes_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from feedhandler.receive.rdma import verbs

    def refuse(sentence: str) -> None:
        raise BackendError(sentence)

    for sentence, said in [
        ("pyverbs is not installed: apt-get install it", ("pyverbs is not installed", "apt-get install it")),
        ("pyverbs does not match (x: y); take both: a", ("pyverbs does not match (x: y)", "take both: a")),
    ]:
        monkeypatch.setattr(verbs, "load", lambda sentence=sentence: refuse(sentence))
        assert kernel.Kernel().rdma_packages() == said
    monkeypatch.setattr(verbs, "load", lambda: None)
    assert kernel.Kernel().rdma_packages() == ("", "")


def test_the_owner_of_an_rdma_device_is_found_three_ways(tmp_path: Path) -> None:
    base = "sys/class/infiniband/"
    files = {
        f"{base}a/parent": "x0\n",
        f"{base}b/device/net/x0/mtu": "1500",
        f"{base}c/ports/1/gid_attrs/ndevs/0": "x0\n",
        f"{base}d/parent": "y0\n",
    }
    from feedhandler.doctor.backends import devices

    assert devices(invent(tmp_path, files), "x0") == ["a", "b", "c"]


# -- interfaces --------------------------------------------------------------------------------------------------------

IRQS = {"sys/class/net/x0/device/msi_irqs/24": "msix", "sys/class/net/x0/device/msi_irqs/25": "msix"}


@pytest.mark.parametrize(
    "files, answers, check, state, words, mend",
    [
        (UP, {"driver": MLX}, "x0", "yes", "driver mlx5_core, firmware 28.39, mtu 1500", ""),
        (UP, {"channels": kernel.Channels(4, 16)}, "x0 queues", "yes", "4 for receiving of at most 16", ""),
        ({**UP, **TWO_QUEUES}, {}, "x0 queues", "yes", "2 for", ""),
        (UP, {}, "x0 timestamps", "unseen", "the driver does not tell", ""),
        (UP, {"stamping": (False, -1)}, "x0 timestamps", "yes", "by the kernel; the NIC gives none", ""),
        (UP, {"stamping": (True, 0)}, "x0 timestamps", "unseen", "whether it does cannot be seen", ""),
        (UP, {"stamping": (True, 0), "stamping_on": False}, "x0 timestamps", "no", "nobody", "hwstamp_ctl -i x0 -r 1"),
        (UP, {"stamping": (True, 0), "stamping_on": True}, "x0 timestamps", "yes", "by the NIC", ""),
        (UP, {"stamping": (True, 2)}, "x0 clock", "unseen", "/dev/ptp2 cannot be read", ""),
        (UP, {"stamping": (True, 2), "clock_offset": 2e-6}, "x0 clock", "yes", "within 2 µs", ""),
        (UP, {"stamping": (True, 2), "clock_offset": 37.1}, "x0 clock", "no", "+37 s off (it runs on TAI)", "phc2sys"),
        (UP, {"stamping": (True, 2), "clock_offset": -9e8}, "x0 clock", "no", "nobody has set it", "phc2sys"),
        ({**UP, **IRQS}, {}, "x0 interrupts", "unseen", "/proc/irq/24 cannot be read", ""),
        (
            {**UP, **IRQS, "proc/irq/24/smp_affinity_list": "0-1", "proc/irq/25/effective_affinity_list": "1"},
            {}, "x0 interrupts", "yes", "2 on CPU 0, 1; keep [handler] cpu off these", "",
        ),
        (
            {
                **UP, **IRQS, "proc/irq/24/effective_affinity_list": "0", "proc/irq/25/effective_affinity_list": "3",
                "sys/devices/system/cpu/isolated": "2-3", "sys/devices/system/cpu/online": "0-3",
            },
            {}, "x0 interrupts", "no", "on isolated CPUs: 25", "for i in 25; do echo 0 > /proc/irq/$i/smp_",
        ),
    ],
)  # fmt: skip
def test_interfaces(
    tmp_path: Path, files: dict[str, str], answers: Any, check: str, state: str, words: str, mend: str
) -> None:
    if "stamping" in answers:
        answers = {**answers, "stamping": kernel.Stamping(*answers["stamping"])}
    row = found(doctor.Host(invent(tmp_path, files).root, Told(**answers)), check)
    assert row.state == state
    assert words in row.found
    assert (mend in row.mend) if mend else not row.mend


def test_locked_memory(tmp_path: Path) -> None:
    for limits, effective, state, words in [
        ((-1, -1), "0", "yes", "unlimited"),
        ((8 << 20, 8 << 20), "4000", "yes", "cap_ipc_lock: no limit"),
        ((8 << 20, 8 << 20), "0", "no", "8,192 KiB: lock_memory = true will be refused, and af_xdp wants 128 MiB"),
    ]:
        host = doctor.Host(
            invent(tmp_path, {"proc/self/status": f"CapEff: {effective}"}).root, Told(locked_memory=limits)
        )
        row = {row.check: row for row in doctor.examine(host)}["memlock"]
        assert row.state == state
        assert words in row.found
        assert row.mend == ("systemd: LimitMEMLOCK=infinity" if state == "no" else "")


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    host = doctor.Host(invent(tmp_path, {"proc/self/status": "CapEff: 0"}).root, Told(real_time=50))
    rows = {row.check: row for row in privileges(host)}
    assert rows["for rdma raw-eth"].mend.splitlines()[0].startswith("setcap cap_net_raw,cap_ipc_lock+ep /")
    assert rows["for af_xdp"].mend.splitlines()[1] == (
        "systemd: AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN CAP_BPF CAP_IPC_LOCK, LimitMEMLOCK=infinity"
    )
    assert (rows["for priority"].state, rows["for priority"].found) == ("yes", "RLIMIT_RTPRIO 50")
    rows = {row.check: row for row in privileges(doctor.Host(tmp_path, Told()))}
    assert rows["for priority"].mend.startswith("setcap cap_sys_nice+ep ")


# -- the kernel itself -------------------------------------------------------------------------------------------------


def test_this_kernel_answers_for_loopback() -> None:
    """Nothing but loopback is everywhere; the answers are what it says of itself."""
    asked = kernel.Kernel()
    assert asked.xdp_program("lo") == 0
    assert asked.xdp("lo") in (None, kernel.Xdp(False, False, False, False))
    assert asked.stamping("lo") in (None, kernel.Stamping(False, -1))
    assert asked.xdp_sockets() in (True, False)
    assert asked.driver("nix9") is None
    assert netlink.device("nix9") is None and netlink.xdp_program("nix9") is None
    assert asked.clock_offset(99) is None


def test_this_kernel_answers_for_a_cable() -> None:
    with veth(queues=2) as cable, cable.receiver.inside():
        asked = kernel.Kernel()
        assert asked.driver("rx") == kernel.Driver("veth", "1.0", "")
        assert asked.channels("rx") == kernel.Channels(2, 2)
        assert asked.stamping("rx") == kernel.Stamping(False, -1)
        assert asked.xdp("rx") in (None, kernel.Xdp(native=True, zero_copy=False, scatter=True, timestamps=True))
        assert asked.xdp_program("rx") == 0


def test_cpu_lists() -> None:
    assert cpu_list("0-3,8\n") == {0, 1, 2, 3, 8}
    assert cpu_list("") == cpu_list("(null)") == set()

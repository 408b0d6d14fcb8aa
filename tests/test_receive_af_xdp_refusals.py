"""AF_XDP refused: each errno of kernel and driver is a sentence with the remedy, and nothing is left behind."""

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive import af_xdp
from feedhandler.receive.af_xdp import refusals, setup, system
from feedhandler.receive.sockets import UdpLine
from tests.conftest import Processes
from tests.namespaces import Veth, veth

LINE = UdpLine("A", "239.1.2.3", 26400, "rx")
SMALL = af_xdp.Options(ring=64, huge_pages=False, zero_copy=False, stall_ms=0)
CAPABILITIES = {"net_admin": 12, "net_raw": 13, "ipc_lock": 14, "sys_admin": 21, "perfmon": 38, "bpf": 39}


@pytest.fixture(scope="module")
def cable() -> Iterator[Veth]:
    with veth() as made:
        yield made


def refusal(cable: Veth, options: af_xdp.Options = SMALL, line: UdpLine = LINE) -> str:
    """What is said when this is opened; neither a file nor a program is left."""
    files = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BackendError) as raised, cable.receiver.inside():
        af_xdp.receiver([line], options)
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    with cable.receiver.inside():
        assert system.link_state(socket.if_nametoindex(line.interface)).program == 0
    sentence = str(raised.value)
    assert sentence.startswith("af_xdp: ") and "\n" not in sentence
    return sentence


# ---- what this kernel says by itself ----


def test_an_mtu_too_large_for_the_driver() -> None:
    with veth(mtu=9000) as jumbo:
        assert refusal(jumbo) == (
            "af_xdp: the MTU of rx is too large for native XDP on this driver (9000); "
            "lower it: ip link set dev rx mtu 1500"
        )
        with jumbo.receiver.inside():
            af_xdp.receiver([LINE], replace(SMALL, mode="generic")).close()


def test_loopback_has_no_native_xdp_but_generic(cable: Veth) -> None:
    lo = replace(LINE, interface="lo")
    assert refusal(cable, line=lo) == (
        'af_xdp: the driver of lo has no native XDP (loopback never has); mode = "generic" does without'
    )
    with cable.receiver.inside(), af_xdp.receiver([lo], replace(SMALL, mode="generic")) as receiver:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            local = socket.inet_aton("127.0.0.1")
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, local)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            sender.sendto(b"loop", (LINE.group, LINE.port))
        assert receiver.wait_for(10)
        assert [payload for _, _, payload in receiver.drain()] == [b"loop"]


def test_a_program_that_is_there_already(cable: Veth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "BUSY_SECONDS", 0.05)
    with cable.receiver.inside():
        first = af_xdp.receiver([LINE], SMALL)
        number = system.link_state(socket.if_nametoindex("rx")).program
        with pytest.raises(BackendError) as raised:
            af_xdp.receiver([LINE], SMALL)
        first.close()
    assert str(raised.value) == (
        f"af_xdp: another XDP program is on rx (id {number}); end the program that put it there, "
        "or remove it: ip link set dev rx xdp off"
    )


def test_a_queue_that_is_taken(cable: Veth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "BUSY_SECONDS", 0.05)
    with cable.receiver.inside():
        first = af_xdp.receiver([LINE], SMALL)
        monkeypatch.setattr(setup._Port, "_attach_filter", lambda self: setattr(self, "socket_map", -1))
        with pytest.raises(BackendError) as raised:
            af_xdp.receiver([LINE], SMALL)
        first.close()
    assert str(raised.value) == "af_xdp: queue 0 of rx already has an AF_XDP socket (of another process?)"


def test_a_queue_that_is_given_back_late_is_waited_for(cable: Veth, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []
    attach = system.attach

    def late(*arguments: int) -> int:
        tries.append(arguments)
        if len(tries) < 5:
            raise OSError(errno.EBUSY, "busy")
        return attach(*arguments)

    monkeypatch.setattr(system, "attach", late)
    with cable.receiver.inside():
        af_xdp.receiver([LINE], SMALL).close()
    assert len(tries) == 5


def test_more_queues_than_there_are(cable: Veth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "receive_queues", lambda _: 3)
    assert refusal(cable) == "af_xdp: queue 1 does not exist on rx (it has 3 receive queues)"


def test_zero_copy_is_tried_first_and_said_not_to_be_there(cable: Veth) -> None:
    notes: list[str] = []
    with cable.receiver.inside(), af_xdp.receiver([LINE], replace(SMALL, zero_copy=True), notes) as receiver:
        assert receiver.describe() == "native copy"
    assert notes == ["af_xdp: the driver of rx has no zero-copy; frames are copied"]


def test_huge_pages_that_are_not_there_and_a_ring_that_is_too_small(cable: Veth) -> None:
    notes: list[str] = []
    options = replace(SMALL, huge_pages=True, stall_ms=100, packets_per_second=1000)
    with cable.receiver.inside(), af_xdp.receiver([LINE], options, notes):
        pass
    assert notes[0] == (
        "af_xdp: a ring of 64 holds 64 ms of 1000 packets a second, and 100 ms are to be bridged: "
        "100 would do (ring, stall_ms, packets_per_second)"
    )
    reserved = int(Path("/proc/sys/vm/nr_hugepages").read_text())
    assert reserved or ("no huge pages reserved" in notes[1] and "vm.nr_hugepages=1" in notes[1])


# ---- without privileges ----


def without(processes: Processes, cable: Veth, *dropped: str, ring: int = 64) -> str:
    """What is said to a process of root's without these capabilities, its locked-memory limit 8 MiB."""
    code = f"""if True:
        import ctypes, resource, sys
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, 8 << 20))
        libc = ctypes.CDLL(None, use_errno=True)
        head = (ctypes.c_uint32 * 2)(0x20080522, 0)
        sets = (ctypes.c_uint32 * 6)()
        assert libc.capget(head, sets) == 0
        for number in {[CAPABILITIES[name] for name in dropped]}:
            for which in (0, 1, 2):
                sets[number // 32 * 3 + which] &= ~(1 << number % 32)
        assert libc.capset(head, sets) == 0
        from feedhandler.errors import BackendError
        from feedhandler.receive import af_xdp
        from feedhandler.receive.sockets import UdpLine
        try:
            made = af_xdp.receiver([{LINE!r}], af_xdp.{replace(SMALL, ring=ring)!r})
            print("open:", made.describe())
        except BackendError as error:
            print(error)"""
    with cable.receiver.inside():
        child = processes.python("-c", code)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return out.strip()


def test_without_net_raw(processes: Processes, cable: Veth) -> None:
    assert without(processes, cable, "net_raw") == f"af_xdp: its sockets need CAP_NET_RAW ({refusals.GRANT})"


@pytest.mark.parametrize(
    "dropped", [("bpf", "sys_admin"), ("net_admin", "sys_admin")], ids=["without bpf", "without net_admin"]
)
def test_without_bpf_or_net_admin(processes: Processes, cable: Veth, dropped: tuple[str, ...]) -> None:
    said = without(processes, cable, *dropped)
    assert said == f"af_xdp: loading BPF needs CAP_BPF and CAP_NET_ADMIN ({refusals.GRANT})"


def test_four_capabilities_are_enough(processes: Processes, cable: Veth) -> None:
    assert without(processes, cable, "sys_admin", "perfmon", "ipc_lock") == "open: native copy"


def test_without_leave_to_lock_so_much_memory(processes: Processes, cable: Veth) -> None:
    assert without(processes, cable, "sys_admin", "ipc_lock", ring=8192) == (
        "af_xdp: packet memory of 16 MiB is over the locked-memory limit of 8 MiB: raise it (ulimit -l unlimited, or "
        "LimitMEMLOCK=infinity), grant CAP_IPC_LOCK, or lower the ring"
    )


# ---- what this kernel does not say by itself ----


@pytest.mark.parametrize(
    ("step", "number", "said"),
    [
        ("socket", errno.EAFNOSUPPORT, "this kernel was built without CONFIG_XDP_SOCKETS"),
        ("program", errno.EACCES, "the kernel's verifier refused the filter: R1 is bad; processed 3 insns"),
        ("map", errno.ENOSYS, "has no bpf(2)"),
        ("attach", errno.EINVAL, "older than 5.9, or the driver wants a smaller MTU (1500), or fewer queues"),
        ("register", errno.ENOMEM, "no memory for 2 queues of rx with 128 MiB each: lower the ring, or the queues"),
        ("memory", errno.ENOMEM, "ethtool -L rx combined 1"),
        ("rings", errno.ENOMEM, "lower the ring"),
        ("bind", errno.ENETDOWN, "rx is down: ip link set dev rx up"),
        ("bind", errno.EIO, "cannot bind queue 1 of rx: Input/output error"),
        ("attach", errno.EIO, "cannot attach the filter to rx: Input/output error"),
    ],
)
def test_other_refusals_of_the_kernel(cable: Veth, step: refusals.Step, number: int, said: str) -> None:
    error = system.VerifierError(number, os.strerror(number))
    error.log = "0: R1=ctx\nR1 is bad\nprocessed 3 insns"
    with cable.receiver.inside():
        attempt = refusals.Attempt("rx", socket.if_nametoindex("rx"), 1, 2, 128 << 20)
        sentence = str(attempt.refused(step, MemoryError() if step == "memory" else error))
    assert sentence.startswith("af_xdp: ") and said in sentence


def test_every_step_has_a_sentence_for_an_errno_that_nobody_thought_of() -> None:
    attempt = refusals.Attempt("none", 10**6, memory=1 << 20)
    for step in ("socket", "map", "attach", "memory", "register", "rings", "bind"):
        for number in errno.errorcode:
            assert str(attempt.refused(step, OSError(number, "x"))).startswith("af_xdp: ")


# ---- what is wrong before anything is asked of the kernel ----


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "fast"}, 'mode must be "native" or "generic", not \'fast\''),
        ({"ring": 1000}, "ring must be a power of two from 64 to 1048576, not 1000"),
        ({"ring": 32}, "not 32"),
        ({"frame_bytes": 9000}, "frame_bytes must be 2048 or 4096, not 9000"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        af_xdp.receiver([LINE], replace(SMALL, **options))  # type: ignore[arg-type]
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "a receiver has 1 to 64 lines, not 0"),
        ([LINE, replace(LINE, name="B")], "line B: another line has the same group, port, source and VLAN on rx"),
        ([replace(LINE, vlan="5000")], "line A: vlan must be"),
        ([replace(LINE, vlan="1.2.3")], "line A: vlan must be"),
        ([replace(LINE, interface="absent")], "line A: no interface 'absent' here"),
    ],
)
def test_lines_that_cannot_be(cable: Veth, lines: list[UdpLine], said: str) -> None:
    with pytest.raises(ConfigError) as raised, cable.receiver.inside():
        af_xdp.receiver(lines, SMALL)
    assert said in str(raised.value)


def test_a_line_without_an_interface_is_for_another_backend() -> None:
    with pytest.raises(BackendError, match="line A names no interface to take frames from"):
        af_xdp.receiver([replace(LINE, group="127.0.0.1", interface="")], SMALL)

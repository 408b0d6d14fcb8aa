"""Waiting: spin never sleeps, adaptive does when it has spun long enough, block at once; what a thread may ask for."""

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from feedhandler import receive
from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.errors import BackendError
from feedhandler.handler import Handler
from tests.required import unavailable
from tests.waiting import SLEEPS, Waiting, assert_waits, beats, hot_thread, sleeps

HEARTBEAT = b"SESSION001" + (1).to_bytes(8, "big") + bytes(2)  # of MoldUDP64


@contextmanager
def running(line: Line, **run: Any) -> Iterator[Handler]:
    channel = Channel("itch", "itch50", "moldudp64", "XNAS", lines=(line,))
    sizes = Books(instruments=8, orders=100)
    with Handler(Config(Shm("x"), sizes, Ring(64), Run(**run), (channel,)), anonymous=True) as handler:
        handler.start()
        yield handler
        assert handler.error is None


@contextmanager
def sending() -> Iterator[socket.socket]:
    """A socket whose multicast stays on this host."""
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        yield sender


@pytest.mark.parametrize("wait", ["spin", "adaptive", "block"])
def test_a_packet_is_taken_however_the_thread_waits(
    wait: str, multicast_group: str, free_udp_port: int, wait_for: Waiting
) -> None:
    line = Line(name="A", group=multicast_group, port=free_udp_port, interface="lo")
    with running(line, backend="sockets", wait=wait) as handler, sending() as sender:
        assert_waits(handler, wait, wait_for)
        for count in range(1, 4):
            sender.sendto(HEARTBEAT, (multicast_group, free_udp_port))
            wait_for(lambda count=count: handler.receiver.counts(0)["packets"] == count)


def test_adaptive_that_spins_for_long_does_not_sleep(
    multicast_group: str, free_udp_port: int, wait_for: Waiting
) -> None:
    line = Line(name="A", group=multicast_group, port=free_udp_port, interface="lo")
    with running(line, backend="sockets", wait="adaptive", spin_us=1_000_000) as handler, sending() as sender:
        thread = hot_thread(handler, wait_for)
        for count in range(1, 100):
            begin = time.monotonic()
            sender.sendto(HEARTBEAT, (multicast_group, free_udp_port))
            wait_for(lambda count=count: handler.receiver.counts(0)["packets"] == count)
            before = sleeps(thread)
            beats(handler, wait_for, 3)
            slept = sleeps(thread) - before
            if time.monotonic() - begin < 0.9:  # else we were kept waiting for longer than it spins
                assert slept < SLEEPS
                return
        raise AssertionError("this machine is too busy to tell")


def test_cpu_and_priority_are_the_hot_threads_alone(
    multicast_group: str, free_udp_port: int, wait_for: Waiting
) -> None:
    line = Line(name="A", group=multicast_group, port=free_udp_port, interface="lo")
    cpu = min(os.sched_getaffinity(0))
    if not may_have_priority():
        unavailable("SCHED_FIFO is not allowed here: root, or CAP_SYS_NICE, is")
    with running(line, backend="sockets", wait="block", cpu=(cpu,), priority=7) as handler:
        thread = hot_thread(handler, wait_for)
        assert os.sched_getaffinity(thread) == {cpu}
        assert os.sched_getscheduler(thread) == os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        assert os.sched_getparam(thread).sched_priority == 7
        assert os.sched_getscheduler(os.getpid()) == os.SCHED_OTHER
        assert handler.status()["priority"] == 7
        assert f"SCHED_FIFO: while there are packets, nothing else runs on CPU {cpu}" in " ".join(handler.notes)


def may_have_priority() -> bool:
    """Tried on a thread of its own."""
    allowed: list[bool] = []

    def ask() -> None:
        try:
            receive.prioritise(1)
            allowed.append(True)
        except BackendError:
            allowed.append(False)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return allowed[0]


WITHOUT = """
import ctypes, resource, sys
from feedhandler import receive
from feedhandler.errors import BackendError
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
import os
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    receive.prioritise(20)
except BackendError as error:
    print(error)
"""


def test_without_the_right_the_remedy_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=True)
    assert "the hot thread cannot have SCHED_FIFO priority 20: Operation not permitted" in done.stdout
    assert "setcap cap_sys_nice+ep /" in done.stdout and "LimitRTPRIO=20" in done.stdout
    assert done.stdout.rstrip().endswith("or set [handler] priority = 0")


def test_the_warning_says_what_is_starved(tmp_path: Path) -> None:
    kernel = tmp_path / "proc/sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "sched_rt_runtime_us").write_text("900000\n")
    (kernel / "sched_rt_period_us").write_text("1000000\n")
    assert receive.starved("spin", [3], tmp_path) == (
        "SCHED_FIFO with wait = spin: nothing else runs on CPU 3, neither other programs nor the kernel's own workers "
        "(interrupt threads, RCU, work put off); the kernel halts the thread up to 100 ms in a second, and packets "
        "wait in the ring meanwhile"
    )
    (kernel / "sched_rt_runtime_us").write_text("-1\n")
    said = receive.starved("adaptive", [], tmp_path)
    assert "while there are packets, and while it spins, nothing else runs on whichever CPU it is on" in said
    assert said.endswith("and there is no bound to it (kernel.sched_rt_runtime_us is -1 or all of its period)")


@pytest.mark.skipif("FEEDHANDLER_ASAN" in os.environ, reason="AddressSanitizer makes nothing of mlockall")
def test_memory_is_locked_on_request(multicast_group: str, free_udp_port: int) -> None:
    line = Line(name="A", group=multicast_group, port=free_udp_port, interface="lo")
    libc = ctypes.CDLL(None, use_errno=True)

    def locked() -> int:
        return int(Path("/proc/self/status").read_text().split("\nVmLck:")[1].split()[0])

    try:
        with running(line, backend="sockets", wait="block", lock_memory=True):
            assert locked() > 0
    except BackendError as error:
        assert "memory cannot be locked" in str(error) and "ulimit -l unlimited" in str(error)
    finally:
        libc.munlockall()
    assert locked() == 0

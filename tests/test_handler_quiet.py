"""What the hot path does not do in steady state: allocate, or make a system call other than the receive itself."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from feedhandler import simulate
from tests.conftest import ROOT

MARKET = simulate.Market(symbols=20, messages=60_000, seed=3, duration_s=60)

# Turns through a capture in two parts; a marker before and after, on the thread that turns. Says what lies between.
CAPTURE = """
import ctypes, os, sys
from feedhandler.handler import open_capture
count = getattr(ctypes.CDLL(None), "allocations_of_this_thread", lambda: 0)
with open_capture(sys.argv[1]) as handler:
    handler.shard.turn_many(int(sys.argv[2]))            # warm: lazy imports, first touches
    before = count()
    os.getppid()
    handler.shard.turn_many(int(sys.argv[3]))
    os.getppid()
    between = count() - before
    print(between, sum(handler.types.values()))
"""

# The same over multicast: the sender's packets wait in the sockets' buffers, then the hot thread takes them.
MULTICAST = """
import os, sys, socket
from datetime import date
from feedhandler import simulate
from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.handler import Handler
group, port = sys.argv[1], int(sys.argv[2])
lines = tuple(Line(name=n, group=group, port=port + i, interface="lo") for i, n in enumerate("AB"))
channel = Channel("itch", "itch50", "moldudp64", "XNAS", date=date(2026, 11, 20), lines=lines)
config = Config(Shm(name="x"), Books(instruments=64, orders=50000), Ring(events=65536), Run(wait="spin"), (channel,))
with Handler(config, anonymous=True) as handler:
    handler.shard.turn_many(1)
    sender = simulate.MulticastSender([(group, port), (group, port + 1)], end_repeats=0, rate=None)
    sender.run(simulate.Exchange(simulate.Market(symbols=5, messages=8000, seed=1)))
    os.getppid()
    for _ in range(20):
        handler.shard.turn_many(20)
    os.getppid()
    print(0, sum(handler.types.values()))
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quiet") / "day.pcap"
    simulate.write(path, simulate.Exchange(MARKET))
    return path


@pytest.fixture(scope="module")
def counting_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("preload") / "count_allocations.so"
    source = ROOT / "tests" / "count_allocations.c"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def run(script: str, *arguments: object, prefix: tuple[str, ...] = (), **environment: str) -> list[int]:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", script, *map(str, arguments)],
        check=True, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif("FEEDHANDLER_SANITIZE" in os.environ, reason="the sanitizer has an allocator of its own")
def test_the_hot_path_allocates_nothing(day: Path, counting_library: Path) -> None:
    """As many allocations for five turns as for five hundred: what Python's call itself makes, and no more."""
    few, some = run(CAPTURE, day, 5, 5, LD_PRELOAD=str(counting_library))
    many, most = run(CAPTURE, day, 5, 500, LD_PRELOAD=str(counting_library))
    assert most > some + 10_000
    assert many == few
    assert few < 20


def calls_between_markers(trace: Path) -> Counter[str]:
    """System calls of the marked thread between its two getppid(), by name."""
    seen: list[tuple[str, str]] = re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE)
    marks = [i for i, (_, name) in enumerate(seen) if name == "getppid"]
    assert len(marks) == 2, "both markers are in the trace"
    thread = seen[marks[0]][0]
    return Counter(name for who, name in seen[marks[0] + 1 : marks[1]] if who == thread)


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    assert found, "strace is needed: apt-get install strace (make test installs it)"
    return found


@pytest.mark.skipif("FEEDHANDLER_SANITIZE" in os.environ, reason="a sanitizer makes system calls of its own")
def test_the_hot_path_makes_no_system_call_on_a_capture(day: Path, strace: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    _, messages = run(CAPTURE, day, 5, 500, prefix=(strace, "-f", "-o", str(trace), "-e", "signal=none"))
    assert messages > 10_000
    assert calls_between_markers(trace) == {}


@pytest.mark.skipif("FEEDHANDLER_SANITIZE" in os.environ, reason="a sanitizer makes system calls of its own")
def test_the_hot_path_makes_no_system_call_but_the_receive(
    strace: str, tmp_path: Path, multicast_group: str, free_udp_port: int
) -> None:
    trace = tmp_path / "trace"
    arguments = (multicast_group, free_udp_port)
    _, messages = run(MULTICAST, *arguments, prefix=(strace, "-f", "-o", str(trace), "-e", "signal=none"))
    assert messages > 1_000
    assert set(calls_between_markers(trace)) == {"recvmmsg"}

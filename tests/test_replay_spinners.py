"""Two spinning threads that race for each packet: what leaves is what one thread sends, whichever is stalled."""

import ctypes
import itertools
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_replay_sender import START, read_ahead
from test_simulate_multicast import MARKET, day, unwrap

from feedhandler.errors import BackendError, ConfigError, ReceiverError
from feedhandler.receive.capture_writer import PcapWriter
from feedhandler.replay import PacingReport
from feedhandler.simulate import Exchange, Faults, MulticastSender
from feedhandler.simulate._schedule import Schedule
from feedhandler.simulate.faults import LineFault

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two spinners need two CPUs")

STALL = signal.SIGUSR2
GROUPS = [("239.192.77.1", 26400), ("239.192.77.2", 26400)]
Stall = tuple[int, int, int]
"""Which of the sending threads (2: both), for how long, and how long after it until the next one, us."""
TWO: dict[str, Any] = {"spin": True, "spinners": 2}


@pytest.fixture(scope="module")
def stalls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ctypes.CDLL]:
    """What stall.c has; the signal's own way is back at the end."""
    library = tmp_path_factory.mktemp("stall") / "stall.so"
    compiler = os.environ.get("CC", "cc").split()
    source = Path(__file__).with_name("stall.c")
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    yield ctypes.CDLL(str(library))
    signal.signal(STALL, signal.SIG_DFL)


class Ends(MulticastSender):
    """Its lines end here: one pipe for each."""

    def __init__(self, **options: Any) -> None:
        self.ends: list[socket.socket] = []
        super().__init__(GROUPS, **options)

    def _connect(self, address: str, port: int) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ends.append(theirs)
        return ours


class Pipes(Ends):
    """What is taken out of the pipes meanwhile, which is what was sent, in that order."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.got: list[list[bytes]] = [[] for _ in self.ends]
        self.takers = [threading.Thread(target=self.take, args=(line,)) for line in range(len(self.ends))]
        for thread in self.takers:
            thread.start()

    def take(self, line: int) -> None:
        with self.ends[line] as end:
            while packet := end.recv(65536):
                self.got[line].append(packet)

    def run(self, *arguments: Any, **options: Any) -> None:
        try:
            super().run(*arguments, **options)
        finally:
            for thread in self.takers:
                thread.join()

    @property
    def counts(self) -> dict[str, Any]:
        """What must be the same however the threads are scheduled."""
        of_time = {"latest_ns", "starved", "heartbeats"}
        counts = {key: value for key, value in self.stats.items() if key not in of_time}
        counts["lines"] = [{k: v for k, v in line.items() if k != "blocked"} for line in counts["lines"]]
        return counts


def spinning() -> list[threading.Thread]:
    """The sending threads that are there."""
    return [thread for thread in threading.enumerate() if thread.name == "feedhandler-sender"]


def disturbed(stalls: ctypes.CDLL, work: threading.Thread, every: list[Stall]) -> None:
    """Stall the sending threads again and again while `work` lasts."""
    for which, length, pause in itertools.cycle(every):
        if not work.is_alive():
            return
        stalls.prepare(STALL, 1000 * length)
        for thread in spinning() if which == 2 else spinning()[which : which + 1]:
            stalls.send_to(thread.native_id, STALL)
        time.sleep((length + pause) / 1e6)


@pytest.fixture(scope="module")
def sent(stalls: ctypes.CDLL, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pipes]:
    """sent(packets, disturb, **options): all of (line, ns, payload) through a sender, at their times."""
    path = tmp_path_factory.mktemp("spinners") / "recorded.pcap"

    def send(packets: list[tuple[int, int, bytes]], disturb: list[Stall], **options: Any) -> Pipes:
        with PcapWriter(path) as writer:
            for line, at, payload in packets:
                writer.write(START + at, payload, GROUPS[line])
        schedule, sender, ahead = Schedule(speed=1), Pipes(**options), read_ahead(path, GROUPS, [0, 1], 1)
        work = threading.Thread(target=sender.run, args=(ahead,), kwargs={"schedule": schedule})
        work.start()
        disturbed(stalls, work, disturb)
        work.join()
        report = PacingReport.of(schedule)
        assert report.packets == sum(line["packets"] for line in sender.stats["lines"])
        assert report.packets == 0 or 0 < (report.p99_ns or 0) <= (report.max_ns or 0)
        return sender

    return send


def stream(gaps_us: list[int], *, seed: int = 1) -> list[tuple[int, int, bytes]]:
    """Packets on two lines in turn, each with its number, of 5 to 600 bytes, so far apart."""
    sizes = random.Random(seed)
    times = itertools.accumulate(1000 * gap for gap in gaps_us)
    return [(n & 1, at, struct.pack(">I", n) + sizes.randbytes(1 + sizes.randrange(600))) for n, at in enumerate(times)]


def test_thousands_of_packets_are_those_of_one_thread_while_both_are_stalled_again_and_again(
    sent: Callable[..., Pipes],
) -> None:
    packets = stream([n % 100 for n in range(6000)])  # 0.3 s; some are due at once
    dice = random.Random(7)
    stalls = [(dice.randrange(3), dice.randrange(1, 600), dice.randrange(100, 400)) for _ in range(1000)]
    want = [[payload for line, _, payload in packets if line == n] for n in (0, 1)]
    one, two = sent(packets, stalls, spin=True), sent(packets, stalls, **TWO)
    assert one.got == two.got == want
    assert one.counts == two.counts and two.counts["messages"] == 6000


SPOILT = Faults(all=LineFault(loss=0.1, duplicate=0.1, reorder=0.1, jitter_us=200, truncate=0.05, corrupt=0.05))


@settings(max_examples=12)
@given(
    gaps=st.lists(st.integers(0, 300), max_size=120),
    stalls=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 900), st.integers(100, 900)), min_size=1, max_size=20),
    faults=st.sampled_from([None, SPOILT]),
)
def test_any_schedule_of_packets_and_stalls_gives_what_one_thread_gives(
    sent: Callable[..., Pipes], gaps: list[int], stalls: list[Stall], faults: Faults | None
) -> None:
    one = sent(stream(gaps), [(0, 1, 5000)], faults=faults)
    two = sent(stream(gaps), stalls, faults=faults, **TWO)
    assert two.got == one.got and two.counts == one.counts


def test_messages_in_new_packets_are_whole_and_in_order(stalls: ctypes.CDLL) -> None:
    sender = Pipes(rate=20_000, skew_us=50, **TWO)
    work = threading.Thread(target=sender.run, args=(Exchange(**MARKET),))
    work.start()
    disturbed(stalls, work, [(0, 300, 500), (1, 300, 500)])
    work.join()
    assert [unwrap([(0.0, packet) for packet in packets]) for packets in sender.got] == [day(**MARKET)] * 2
    assert sender.stats["messages"] == 3000 and sender.stats["ended"]


@pytest.fixture
def stepping(tmp_path: Path) -> Iterator[tuple[MulticastSender, Schedule, socket.socket]]:
    """A sender of two spinners that waits for each packet to be allowed, and the first line's end."""
    path = tmp_path / "recorded.pcap"
    with PcapWriter(path) as writer:
        for n in range(1000):
            writer.write(START, struct.pack(">I", n), GROUPS[0])
    schedule, sender = Schedule(steps=True), Ends(**TWO)
    ahead = read_ahead(path, GROUPS, [0, 1], 1)
    work = threading.Thread(target=sender.run, args=(ahead,), kwargs={"schedule": schedule})
    work.start()
    yield sender, schedule, sender.ends[0]
    sender.stop()
    work.join(20)
    for end in sender.ends:
        end.close()
    assert not work.is_alive() and not spinning()


def test_either_spinner_goes_on_alone_while_the_other_is_stalled(
    stalls: ctypes.CDLL, stepping: tuple[MulticastSender, Schedule, socket.socket], wait_for: Callable[..., Any]
) -> None:
    sender, schedule, end = stepping
    number, alone = 0, set()
    end.settimeout(20)
    schedule.allow()
    assert end.recv(100) == struct.pack(">I", number)
    number, threads = number + 1, spinning()  # nothing was sent before both were where they are to be
    cpus = [os.sched_getaffinity(thread.native_id) for thread in threads]
    assert len(cpus) == 2 and cpus[0] and cpus[1] and not cpus[0] & cpus[1]
    for thread in itertools.islice(itertools.cycle(threads), 40):
        before = stalls.count()
        stalls.prepare(STALL, 0)
        try:
            assert stalls.send_to(thread.native_id, STALL) == 0
            wait_for(lambda before=before: stalls.count() > before, what="the stall")
            schedule.allow()
            end.settimeout(0.25)
            packet = end.recv(100)
            alone.add(thread)
        except TimeoutError:  # it was stalled within its turn, as happens in one of a hundred
            packet = b""
        finally:
            stalls.release()
        end.settimeout(20)
        assert (packet or end.recv(100)) == struct.pack(">I", number)
        number += 1
        if len(alone) == 2:
            break
    assert alone == set(threads)
    assert sender.stats["messages"] == number  # what is not allowed waits, with two as with one


def test_stop_ends_both(wait_for: Callable[..., Any]) -> None:
    sender = Pipes(rate=5, end_repeats=1, **TWO)
    work = threading.Thread(target=sender.run, args=(Exchange(**MARKET),))
    work.start()
    wait_for(lambda: sender.stats["messages"] > 0, what="the first message")
    sender.stop()
    work.join(20)
    assert not work.is_alive() and not spinning() and sender.stats["ended"]
    assert all(packets[-1][18:20] == b"\xff\xff" for packets in sender.got)


def test_what_one_of_them_cannot_do_ends_both() -> None:
    there = max(os.sched_getaffinity(0))
    sender = Pipes(cpu=(there, 99_999), **TWO)
    with pytest.raises(BackendError, match="cannot run on CPU 99999"):
        sender.run(Exchange(**MARKET))
    assert sender.got == [[], []] and not spinning()
    sender = Ends(**TWO)
    for end in sender.ends:
        end.close()
    with pytest.raises(ReceiverError, match="sending failed"):
        sender.run(Exchange(**MARKET))
    assert not spinning()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spinners": 3, "spin": True}, "1 or 2, not 3"),
        ({"spinners": 2}, "2 spinners need spin"),
        ({"spinners": 2, "spin": True, "priority": 10}, "no priority"),
        ({"spinners": 2, "spin": True, "cpu": (0,)}, "two CPUs, one for each spinner, not 0"),
        ({"spinners": 2, "spin": True, "cpu": (1, 1)}, "not 1, 1"),
    ],
)
def test_what_two_spinners_need_is_said_in_a_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MulticastSender(**options)


def test_one_cpu_is_not_enough_for_two_spinners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    with pytest.raises(ConfigError, match="this process may use CPU 3 only"):
        MulticastSender(**TWO)

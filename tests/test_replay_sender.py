"""The sender's schedule, its error report, and the reading ahead, packet by packet."""

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from feedhandler.errors import ConfigError
from feedhandler.receive import capture
from feedhandler.receive.capture_writer import PcapngWriter, PcapWriter
from feedhandler.replay import PacingReport, backlog
from feedhandler.replay._ahead import Ahead
from feedhandler.replay._paced import Paced
from feedhandler.simulate import MulticastSender
from feedhandler.simulate._schedule import Schedule

SO_RCVBUFFORCE = 33  # Linux, asm-generic/socket.h
START = 1_700_000_000_000_000_000
STEP = 500_000  # ns between two packets of the file


@pytest.fixture
def recorded(tmp_path: Path, listeners: list[socket.socket]) -> Path:
    """100 packets on two lines, in turn, some of 0 and of 60,000 bytes."""
    path = tmp_path / "recorded.pcapng"
    with PcapngWriter(path, ("A", "B")) as writer:
        for n, payload in enumerate(payloads()):
            writer.write(START + n * STEP, payload, listeners[n & 1].getsockname(), interface=n & 1)
    return path


def payloads() -> list[bytes]:
    return [struct.pack(">I", n) * (15_000 if n == 7 else n % 40) for n in range(100)]


@pytest.fixture
def listeners(multicast_group: str):
    """Two sockets in one group on the loopback interface, on ports of their own."""
    made = []
    for _ in range(2):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(PermissionError):  # beyond net.core.rmem_max, where we may: a slow test drops nothing
            listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        listener.bind((multicast_group, 0))
        membership = struct.pack("4s4si", socket.inet_aton(multicast_group), bytes(4), socket.if_nametoindex("lo"))
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        listener.settimeout(30)  # the command that sends may take its time to begin
        made.append(listener)
    yield made
    for listener in made:
        listener.close()


def read_ahead(path: Path, destinations: list[tuple[str, int]], lines: list[int | None], passes: int) -> Ahead:
    """The packets of a capture, so many times; what lies in the ring already."""
    ahead = Ahead(2)
    for n in range(passes):
        with capture.receiver(path, destinations) as file:
            ahead.read(file, lines, n * 1_000_000_000)
    ahead.end()
    return ahead


def send(path: Path, listeners: list[socket.socket], schedule: Schedule, **options) -> tuple[MulticastSender, list]:
    """Everything the two listeners get of a capture, by line."""
    destinations = [listener.getsockname() for listener in listeners]
    sender = MulticastSender(destinations, **options)
    sender.run(read_ahead(path, destinations, [0, 1], 1), schedule=schedule)
    listeners[0].settimeout(0)
    listeners[1].settimeout(0)
    got = []
    for listener in listeners:
        taken = []
        while True:
            try:
                taken.append(listener.recv(65536))
            except BlockingIOError:
                break
        got.append(taken)
    return sender, got


@pytest.mark.parametrize("options", [{"spin": True}, {"spin": False}])
@pytest.mark.parametrize(
    ("pace", "span"),
    [({"speed": 1}, 99 * STEP), ({"speed": 2.5}, 99 * STEP / 2.5), ({"rate": 5000}, 99 / 5000 * 1e9), ({}, 0)],
)
def test_every_payload_on_its_line_in_order_and_never_early(recorded, listeners, pace, span, options) -> None:
    schedule = Schedule(**pace)
    began = time.monotonic_ns()
    sender, got = send(recorded, listeners, schedule, **options)
    took = time.monotonic_ns() - began
    assert got == [payloads()[::2], payloads()[1::2]]
    assert took >= span  # the last one is never sent before it is due
    figures = schedule.figures
    assert figures["sends"] == 100 and schedule.start >= began
    report = PacingReport.of(schedule, starved=sender.stats["starved"], preempted=sender.preempted)
    assert report.packets == 100
    if not pace:
        assert report.p50_ns is None and "without a pace" in report.sentences()[0]
        return
    assert figures["due_ns"] == pytest.approx(span, abs=2)
    assert 0 < report.p50_ns <= report.p99_ns <= report.p999_ns <= report.max_ns
    assert report.wanted_per_second == pytest.approx(99 / span * 1e9, rel=1e-6)
    assert report.per_second == pytest.approx(report.wanted_per_second * (1 + report.rate_error))
    assert "p99" in report.sentences()[1] and set(report.as_dict()) >= {"p50_ns", "p99_ns", "max_ns", "rate_error"}


def test_a_packet_whose_time_lies_before_is_due_with_the_one_before_it(tmp_path, listeners) -> None:
    path = tmp_path / "back.pcap"
    with PcapWriter(path) as writer:
        for n, ms in enumerate((0, 8, 2, 3, 9)):
            writer.write(START + ms * 1_000_000, bytes([n]), listeners[0].getsockname())
    schedule = Schedule(speed=1)
    sender = MulticastSender([listeners[0].getsockname()])
    ahead = Ahead(1)
    with capture.receiver(path) as file:
        ahead.read(file, [0])
    ahead.end()
    sender.run(ahead, schedule=schedule)
    assert [listeners[0].recv(10) for _ in range(5)] == [bytes([n]) for n in range(5)]
    assert schedule.figures["due_ns"] == 9_000_000


def test_steps_let_as_many_go_as_were_allowed(recorded, listeners) -> None:
    schedule = Schedule(steps=True)
    destinations = [listener.getsockname() for listener in listeners]
    sender = MulticastSender(destinations)
    thread = threading.Thread(
        target=sender.run, args=(read_ahead(recorded, destinations, [0, 1], 1),), kwargs={"schedule": schedule}
    )
    thread.start()
    schedule.allow()
    assert listeners[0].recv(65536) == payloads()[0]
    schedule.allow(2)
    assert listeners[1].recv(65536) == payloads()[1]
    assert listeners[0].recv(65536) == payloads()[2]
    assert sender.stats["messages"] == 3
    sender.stop()
    thread.join(10)
    assert not thread.is_alive() and sender.stats["messages"] == 3


def test_reading_ahead_keeps_order_times_and_lines_and_leaves_out_what_is_not_wanted(recorded, listeners) -> None:
    destinations = [listener.getsockname() for listener in listeners]
    ahead = read_ahead(recorded, destinations, [1, None], 3)
    want = [(1, START + p * 1_000_000_000 + n * STEP, payloads()[n]) for p in range(3) for n in range(0, 100, 2)]
    assert ahead.drain() == want
    assert ahead.ended and (ahead.packets, ahead.first_ts, ahead.last_ts) == (150, want[0][1], want[-1][1])


def test_reading_ahead_waits_for_room_and_goes_around(recorded, listeners) -> None:
    destinations = [listener.getsockname() for listener in listeners]
    ahead = Ahead(1, room=1 << 18)

    def read() -> None:
        for _ in range(20):
            with capture.receiver(recorded, destinations) as file:
                ahead.read(file, [0, 0])
        ahead.end()

    thread = threading.Thread(target=read)
    thread.start()
    taken: list[bytes] = []
    while not ahead.ended:
        taken += [payload for _, _, payload in ahead.drain(7)]
    thread.join(10)
    assert taken == payloads() * 20
    stopped = Ahead(1, room=1 << 18)
    stopped.stop()
    with capture.receiver(recorded, destinations) as file:
        stopped.read(file, [0, 0])
    assert stopped.packets == 0
    with capture.receiver(recorded, destinations) as file, pytest.raises(ValueError, match="2 lines"):
        stopped.read(file, [0])


def test_a_paced_receiver_holds_packets_back_and_keeps_their_times(recorded, listeners) -> None:
    destinations = [listener.getsockname() for listener in listeners]
    schedule = Schedule(speed=1)
    paced = Paced(2, capture.receiver(recorded, destinations), schedule)
    began, taken = time.monotonic_ns(), []
    while not paced.ended:
        got = paced.drain()
        taken += [(time.monotonic_ns() - schedule.start, *packet) for packet in got]
        paced.wait_for(0.01)
    assert [packet[1:] for packet in taken] == [(n & 1, START + n * STEP, p) for n, p in enumerate(payloads())]
    assert all(at >= n * STEP for n, (at, *_) in enumerate(taken))
    assert time.monotonic_ns() - began >= 99 * STEP
    assert schedule.figures["sends"] == 100
    paced.close()
    held = Schedule(steps=True)
    paced = Paced(2, capture.receiver(recorded, destinations), held)
    assert paced.drain() == [] and not paced.wait_for(0.001)
    held.allow(3)
    assert [payload for _, _, payload in paced.drain()] == payloads()[:3]
    paced.close()


def test_a_schedule_s_arguments_are_told_in_a_sentence() -> None:
    for wrong in ({"speed": 0}, {"rate": -1}, {"speed": 1, "rate": 1}, {"speed": 1e9}, {"rate": 1, "steps": True}):
        with pytest.raises(ConfigError, match="replay: "):
            Schedule(**wrong)
    assert Schedule().error_ns(0.99) == 0
    assert PacingReport.of(Schedule()).packets == 0


def test_drops_of_the_host_s_backlog_are_read_and_told(tmp_path: Path) -> None:
    stat = tmp_path / "softnet_stat"
    stat.write_text("00a1b2c3 0000000f 00000001 00000000\n00a1b2c3 00000010 00000001 00000000\n")
    assert backlog.drops(stat) == 31 and backlog.drops(tmp_path / "none") == 0
    assert "dropped 1,031 packets" in backlog.sentence(1031) and backlog.drops() >= 0

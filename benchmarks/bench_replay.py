"""A recording onto the wire (loopback): how near each packet comes to its time, and how fast it goes at most.

- *pace*: a capture of 20,000 packets a second on two lines, replayed at its own pace. Errors are |sent - due| of each
  packet, due counted from one start; where the contestant measures none itself (tcpreplay), only its mean rate is
  known. Nobody listens, so that the kernel's part is the same for all. A bare loop that sends nothing says what the
  machine lets anybody keep.
- *speed*: the same capture as fast as it goes.

    python benchmarks/bench_replay.py --rounds 5
    python benchmarks/bench_replay.py --rounds 3 rate=100000 seconds=2

The clock is the machine's: run it where two CPUs are free, or the scheduler is what is measured. As root it runs in a
network namespace with a multicast route, without which Linux makes and frees a route for each packet (docs/replay.md).
tcpreplay (apt-get install tcpreplay) needs root. Recorder and sender together: scripts/round_trip.py.
"""

import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

LINES = [("239.195.77.1", 26400), ("239.195.77.2", 26400)]
START = 1_700_000_000_000_000_000
IN_NAMESPACE = "FEEDHANDLER_BENCH_IN_NAMESPACE"
NETWORK = "ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo"


def make_capture(rate: int, seconds: int) -> Path:
    """A pcap of packets of 60 to 187 bytes, one after the other on both lines, evenly; kept for the next contestant."""
    from feedhandler.receive.capture_writer import PcapWriter

    path = Path(tempfile.gettempdir()) / f"feedhandler-bench-replay-{rate}-{seconds}.pcap"
    if not path.exists():
        partial = path.with_suffix(".partial")
        with PcapWriter(partial) as file:
            for n in range(rate * seconds):
                payload = struct.pack(">10sQHH", b"BENCHMARK ", n // 2 + 1, 1, 38 + n % 128) + bytes(38 + n % 128)
                file.write(START + n * 1_000_000_000 // rate, payload, LINES[n & 1])
        partial.rename(path)
    return path


def told(errors: list[float], span: float, packets: int, rate: int) -> dict[str, float]:
    """The figures of a round: errors in ns, seconds from the first packet to the last."""
    ordered = sorted(errors)
    return {
        "p50_us": statistics.median(ordered) / 1e3,
        "p99_us": ordered[int(0.99 * len(ordered))] / 1e3,
        "max_us": ordered[-1] / 1e3,
        "rate_error_%": ((packets - 1) / span / rate - 1) * 100,
    }


pace = harness.Contest("replay_pace", unit="packet", options={"rate": 20_000, "seconds": 3}, warmup=0)
speed = harness.Contest("replay_speed", unit="packet", options={"rate": 20_000, "seconds": 10})


def replayed(rate: int, seconds: int, *, spin: bool, spinners: int = 1) -> harness.Round:
    """One replay at the recorded pace."""
    from feedhandler.recording import Recording
    from feedhandler.replay import WireReplay

    recording = Recording(make_capture(rate, seconds), protocol="itch50")

    def one_round() -> harness.Sample:
        with WireReplay(recording, speed=1.0, spin=spin, spinners=spinners) as replay:
            replay.run()
        report = replay.report
        assert report.p50_ns is not None and report.p99_ns is not None and report.max_ns is not None
        extra = {"p50_us": report.p50_ns / 1e3, "p99_us": report.p99_ns / 1e3, "max_us": report.max_ns / 1e3}
        extra["rate_error_%"] = (report.rate_error or 0.0) * 100
        return harness.Sample(report.packets, report.seconds * 1e9, {**extra, "preempted": report.preempted})

    return one_round


@pace.contestant("feedhandler --spin")
def spinning(rate: int, seconds: int) -> harness.Round:
    return replayed(rate, seconds, spin=True)


def no_second_cpu() -> str:
    """Why two threads cannot spin here."""
    return "" if len(os.sched_getaffinity(0)) > 1 else "this process may use one CPU only"


@pace.contestant("feedhandler --spin --spinners 2", lacks=no_second_cpu)
def racing(rate: int, seconds: int) -> harness.Round:
    return replayed(rate, seconds, spin=True, spinners=2)


@pace.contestant("feedhandler --no-spin")
def sleeping(rate: int, seconds: int) -> harness.Round:
    return replayed(rate, seconds, spin=False)


def no_tcpreplay() -> str:
    """Why tcpreplay cannot be measured here."""
    if shutil.which("tcpreplay") is None:
        return "tcpreplay is not installed"
    return "" if os.geteuid() == 0 else "tcpreplay needs root"


def tcpreplay(path: Path, *options: str) -> tuple[int, float]:
    """(packets, seconds) as tcpreplay says them."""
    command = ["tcpreplay", "-i", "lo", "-K", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Actual: (\d+) packets .* sent in ([\d.]+) seconds", done.stdout + done.stderr)
    assert found is not None, done.stdout
    return int(found[1]), float(found[2])


@pace.contestant("tcpreplay", lacks=no_tcpreplay)
def peer(rate: int, seconds: int) -> harness.Round:
    path = make_capture(rate, seconds)

    def one_round() -> harness.Sample:
        packets, took = tcpreplay(path)
        return harness.Sample(packets, took * 1e9, {"rate_error_%": ((packets - 1) / took / rate - 1) * 100})

    return one_round


def by_hand(rate: int, seconds: int, *, spin: bool) -> harness.Round:
    """The loop that people write, with a due time counted from one start."""
    from feedhandler.receive import capture

    packets = list(capture.read(make_capture(rate, seconds)))
    sockets = {line: sender(*line) for line in LINES}

    def one_round() -> harness.Sample:
        clock, errors = time.monotonic_ns, []
        start, first = clock() + 1_000_000, packets[0][0]
        for ts, line, payload in packets:
            due = start + ts - first
            if not spin and (wait := due - clock()) > 0:
                time.sleep(wait / 1e9)
            while clock() < due:
                pass
            sockets[line].send(payload)
            errors.append(float(clock() - due))
        span = (packets[-1][0] - first + errors[-1] - errors[0]) / 1e9
        return harness.Sample(len(packets), span * 1e9, told(errors, span, len(packets), rate))

    return one_round


@pace.contestant("a Python loop that spins")
def python_spins(rate: int, seconds: int) -> harness.Round:
    return by_hand(rate, seconds, spin=True)


@pace.contestant("a Python loop that sleeps")
def python_sleeps(rate: int, seconds: int) -> harness.Round:
    return by_hand(rate, seconds, spin=False)


def sender(address: str, port: int) -> socket.socket:
    """A socket that sends to a group on the loopback interface."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
    made.connect((address, port))
    return made


@pace.contestant("a bare C loop that sends nothing")
def bare(rate: int, seconds: int) -> harness.Round:
    from feedhandler._floor import lateness

    def one_round() -> harness.Sample:
        errors = [float(ns) for ns in lateness(1_000_000_000 // rate, rate * seconds)]
        span = seconds + (errors[-1] - errors[0]) / 1e9
        return harness.Sample(len(errors), span * 1e9, told(errors, span, len(errors) + 1, rate))

    return one_round


@speed.contestant("feedhandler")
def ours_fast(rate: int, seconds: int) -> harness.Round:
    from feedhandler.recording import Recording
    from feedhandler.replay import WireReplay

    recording = Recording(make_capture(rate, seconds), protocol="itch50")

    def one_round() -> harness.Sample:
        with WireReplay(recording, speed=None) as replay:
            replay.run()
        return harness.Sample(replay.report.packets, replay.report.seconds * 1e9)

    return one_round


@speed.contestant("tcpreplay --topspeed", lacks=no_tcpreplay)
def peer_fast(rate: int, seconds: int) -> harness.Round:
    path = make_capture(rate, seconds)

    def one_round() -> harness.Sample:
        packets, took = tcpreplay(path, "--topspeed")
        return harness.Sample(packets, took * 1e9)

    return one_round


@speed.contestant("a Python loop of socket.send")
def python_fast(rate: int, seconds: int) -> harness.Round:
    from feedhandler.receive import capture

    path = make_capture(rate, seconds)
    sockets = {line: sender(*line) for line in LINES}

    def one_round() -> int:
        count = 0
        for _, line, payload in capture.read(path):
            sockets[line].send(payload)
            count += 1
        return count

    return one_round


test_pace = pace.test()
test_speed = speed.test()
if __name__ == "__main__":
    if os.geteuid() == 0 and IN_NAMESPACE not in os.environ:
        os.environ[IN_NAMESPACE] = "1"
        again = ["sh", "-c", f'{NETWORK} && exec "$@"', "sh", sys.executable, *sys.argv]
        os.execvp("unshare", ["unshare", "--net", *again])
    for contest in (pace, speed):
        contest.main()

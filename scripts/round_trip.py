"""Traffic, recorded, replayed onto the wire, recorded again: are the payloads the same, in the same order per line?

Everything is real but the distance: multicast on `lo` (TTL 0), `feedhandler record` and `feedhandler replay` as anybody
starts them. A file of made traffic (two lines, one MoldUDP64 session, packets of 8 sizes, no two alike) is replayed and
recorded; what was recorded is replayed and recorded again; all three are compared byte for byte, packet by packet, on
each line. What is lost is counted, beside what the recorder says that it lost. Exit code 0: nothing lost, nothing
changed; 1: something was.

    python scripts/round_trip.py                                  300,000 packets a second for a minute (some 10 GB)
    python scripts/round_trip.py --seconds 5 --rate 20000         a short one
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a built checkout is enough

from feedhandler.figures import duration  # noqa: E402
from feedhandler.receive.capture_writer import PcapngWriter  # noqa: E402
from feedhandler.recording import Recording  # noqa: E402

SIZES = (40, 60, 44, 120, 52, 60, 300, 36)  # bytes of message, packet after packet of a line
SKEW_NS = 5_000  # of line B behind A
CYCLES_AT_ONCE = 1 << 12
START = 1_767_623_400_000_000_000  # 2026-01-05 09:30 in New York
NUMBER = slice(10, 18)  # of a MoldUDP64 header
PATIENCE_S = 60.0
CONFIG = """
[shm]
name = "{name}"

[handler]
wait = "block"
receive_buffer = {buffer}

[[channel]]
name = "itch"
protocol = "itch50"
session = "moldudp64"
date = 2026-01-05
"""
LINE = """
[[channel.line]]
name = "{name}"
group = "{group}"
port = {port}
interface = "lo"
"""


def traffic(path: Path, lines: list[tuple[str, int]], packets: int, rate: float) -> int:
    """A capture of so many packets, alternately on both lines, evenly at `rate`; how many there are.

    One cycle of packets is written by the library's own writer; it is repeated, with the times, numbers and contents of
    each packet put in, a few thousand cycles at a time.
    """
    cycle = [(line, size) for size in SIZES for line in range(len(lines))]
    with tempfile.NamedTemporaryFile(suffix=".pcapng") as model:
        with PcapngWriter(model.name, ("A", "B")):
            pass
        head = Path(model.name).stat().st_size
        with PcapngWriter(model.name, ("A", "B")) as writer:
            for line, size in cycle:
                payload = b"ROUNDTRIP " + bytes(8) + b"\0\1" + size.to_bytes(2, "big") + b"A" + bytes(size - 1)
                writer.write(START, payload, lines[line], interface=line)
        whole = Path(model.name).read_bytes()
    header, blocks = whole[:head], np.frombuffer(whole[head:], np.uint8)
    starts, at = [], 0
    while at < len(blocks):
        starts.append(at)
        at += int(blocks[at + 4 : at + 8].view("<u4")[0])
    cycles = max(1, -(-packets // len(cycle)))
    step = 1e9 * len(lines) / rate  # between two packets of a line
    with path.open("wb") as file:
        file.write(header)
        for first in range(0, cycles, CYCLES_AT_ONCE):
            count = min(CYCLES_AT_ONCE, cycles - first)
            made = np.tile(blocks, (count, 1))
            for n, ((line, size), start) in enumerate(zip(cycle, starts, strict=True)):
                number = (first + np.arange(count)) * len(SIZES) + n // len(lines) + 1
                ts = START + ((number - 1) * step).astype(np.int64) + line * SKEW_NS
                begin = start + 28 + 42  # block header; Ethernet, IPv4, UDP
                made[:, start + 12 : start + 16] = (ts >> 32).astype("<u4").view(np.uint8).reshape(count, 4)
                made[:, start + 16 : start + 20] = (ts & 0xFFFFFFFF).astype("<u4").view(np.uint8).reshape(count, 4)
                made[:, begin - 2 : begin] = 0  # no UDP checksum
                big = number.astype(">u8").view(np.uint8).reshape(count, 8)
                made[:, begin + 10 : begin + 18] = big
                for at in range(begin + 23, begin + 22 + size - 8, 8):
                    made[:, at : at + 8] = big ^ np.uint8(at & 0xFF) ^ np.uint8(line)
            file.write(made.tobytes())
    return cycles * len(cycle)


@dataclass
class Leg:
    """One way through the wire: what was sent, and what was recorded of it."""

    name: str
    sent: int = 0
    per_second: float = 0.0
    wanted_per_second: float = 0.0
    p50_ns: int = 0
    p99_ns: int = 0
    max_ns: int = 0
    recorded: int = 0
    backlog_drops: int = 0
    """Dropped by this host before any socket saw them, as the sender has it; of all its traffic."""
    kernel_drops: int = 0
    """Dropped by the kernel at the recorder's sockets, which were full, as the recorder has it."""
    not_written: int = 0
    """Received and not written, as the recorder has it."""
    files: int = 0
    bytes: int = 0
    lines: dict[str, Line] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Nothing lost, changed or out of order on any line."""
        return bool(self.lines) and all(line.same for line in self.lines.values())


@dataclass
class Line:
    """Packets of one line, sent and recorded."""

    sent: int = 0
    recorded: int = 0
    missing: int = 0
    changed: int = 0
    out_of_order: int = 0

    @property
    def same(self) -> bool:
        """Every payload is there, the same bytes in the same order, and no other."""
        return self.sent == self.recorded > 0 and not (self.missing or self.changed or self.out_of_order)


class Command:
    """A `feedhandler` command in a process of its own; what it says is kept."""

    def __init__(self, *arguments: str | Path) -> None:
        self.said: list[str] = []
        self.command = [sys.executable, "-m", "feedhandler", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip())

    def wait_for(self, word: str) -> None:
        """Until it has said `word`. Raises RuntimeError when it ends without."""
        end = time.monotonic() + PATIENCE_S
        while not any(word in line for line in self.said):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{' '.join(self.command)}: {self.said}")
            time.sleep(0.02)

    def result(self) -> dict[str, Any]:
        """Its JSON, once it has ended. Raises RuntimeError when it failed."""
        out, _ = self.process.communicate()
        self._listener.join()
        if self.process.returncode != 0:
            raise RuntimeError(f"{' '.join(self.command)}: exit {self.process.returncode}: {self.said}")
        found: dict[str, Any] = json.loads(out)
        return found

    def stop(self) -> None:
        """As Ctrl-C."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)


def leg(name: str, source: Path, config: Path, folder: Path, pace: list[str]) -> Leg:
    """Replay `source` onto the wire while it is recorded into `folder`; the figures of both, not compared yet."""
    recorder = Command("record", config, "--to", folder, "--json")
    sender = None
    try:
        recorder.wait_for("Ctrl-C ends it")
        sender = Command("replay", source, "--protocol", "itch50", "--onto", "multicast", *pace, "--json")
        sent = sender.result()
        wait_until_quiet(folder)
        recorder.stop()
        wrote = recorder.result()
    finally:
        recorder.stop()
        if sender is not None:
            sender.stop()
    pacing = sent["pacing"]
    return Leg(
        name,
        sent=sent["packets"],
        per_second=pacing["per_second"],
        wanted_per_second=pacing["wanted_per_second"] or 0.0,
        p50_ns=pacing["p50_ns"] or 0,
        p99_ns=pacing["p99_ns"] or 0,
        max_ns=pacing["max_ns"] or 0,
        backlog_drops=sent["backlog_drops"],
        recorded=wrote["packets"] - wrote["lost"],
        kernel_drops=wrote["kernel_drops"],
        not_written=wrote["lost"],
        files=wrote["files"],
        bytes=wrote["written"],
    )


def wait_until_quiet(folder: Path) -> None:
    """Until no file in it has grown for a while: what was sent has been received."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < 1.0:
        size = sum(path.stat().st_size for path in folder.rglob("*.pcap*") if path.exists())
        if size != before:
            before, since = size, time.monotonic()
        time.sleep(0.05)


def payloads(recording: Recording) -> Iterator[tuple[str, bytes]]:
    """(name of the line, payload) of each packet."""
    names = [line.name for line in recording.lines]
    with recording.receiver() as receiver:
        while packets := receiver.drain(1 << 14):
            for line, _, payload in packets:
                yield names[line], payload
        if receiver.error is not None:
            raise receiver.error


def compare(sent: Path, recorded: Path) -> dict[str, Line]:
    """What became of each line's packets on the way from one recording to another, in step, in little memory."""
    found = {name: Line() for name in "AB"}
    one, other = payloads(Recording(sent, protocol="itch50")), payloads(Recording(recorded))
    waiting: dict[str, deque[bytes]] = {name: deque() for name in "AB"}  # of `sent`, not found again yet

    def is_there(name: str) -> bool:
        while not waiting[name]:
            packet = next(one, None)
            if packet is None:
                return False
            found[packet[0]].sent += 1
            waiting[packet[0]].append(packet[1])
        return True

    for name, payload in other:
        line = found[name]
        line.recorded += 1
        while is_there(name) and waiting[name][0][NUMBER] < payload[NUMBER]:
            waiting[name].popleft()
            line.missing += 1
        if not is_there(name) or waiting[name][0][NUMBER] > payload[NUMBER]:
            line.out_of_order += 1
            continue
        line.changed += waiting[name].popleft() != payload
    for name, _ in one:
        found[name].sent += 1
        found[name].missing += 1
    for name in waiting:
        found[name].missing += len(waiting[name])
    return found


def round_trip(folder: Path, seconds: float, rate: float, buffer: int, priority: int, talk: bool) -> list[Leg]:
    """Both legs and what they say. Leaves its files in `folder`."""

    def say(text: str) -> None:
        if talk:
            print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)

    with contextlib.ExitStack() as stack:
        ports = []
        for _ in "AB":  # two that nobody uses
            taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            taken.bind(("127.0.0.1", 0))
            ports.append(taken.getsockname()[1])
    group = f"239.{200 + os.getpid() % 50}.{os.getpid() // 50 % 256}"
    lines = [(f"{group}.1", ports[0]), (f"{group}.2", ports[1])]
    config = folder / "feed.toml"
    config.write_text(
        CONFIG.format(name=f"roundtrip-{os.getpid()}", buffer=buffer)
        + "".join(LINE.format(name=name, group=g, port=p) for name, (g, p) in zip("AB", lines, strict=True))
    )
    made = folder / "traffic.pcapng"
    count = traffic(made, lines, round(seconds * rate), rate)
    say(f"made {count:,} packets, {made.stat().st_size / 1e6:,.0f} MB")
    legs = []
    source = made
    for name in ("first", "second"):
        to = folder / name
        legs.append(leg(name, source, config, to, ["--pps", str(rate), "--priority", str(priority)]))
        say(f"{name} recording: {legs[-1].recorded:,} of {legs[-1].sent:,} packets; comparing")
        legs[-1].lines = compare(source, to)
        source = to
    return legs


def report(legs: list[Leg]) -> str:
    """For people."""
    out = []
    for one in legs:
        out.append(
            f"{one.name} leg: {one.sent:,} packets sent at {one.per_second:,.0f} a second (wanted "
            f"{one.wanted_per_second:,.0f}; pacing error p50 {duration(one.p50_ns)}, p99 {duration(one.p99_ns)}, max "
            f"{duration(one.max_ns)})"
        )
        out.append(
            f"           {one.recorded:,} recorded in {one.files} files, {one.bytes / 1e6:,.0f} MB; dropped in the "
            f"host's backlog {one.backlog_drops:,}, at full sockets {one.kernel_drops:,}; not written "
            f"{one.not_written:,}"
        )
        for name, line in one.lines.items():
            verdict = "the same, byte for byte, in order" if line.same else "NOT the same"
            out.append(
                f"           line {name}: {line.recorded:,} of {line.sent:,} {verdict}; missing {line.missing:,}, "
                f"changed {line.changed:,}, out of order {line.out_of_order:,}"
            )
        missing = sum(line.missing for line in one.lines.values())
        if missing:
            counted = one.backlog_drops + one.kernel_drops + one.not_written
            out.append(f"           of {missing:,} missing {counted:,} were counted where they were lost")
    out.append("the same" if all(one.same for one in legs) else "NOT the same")
    return "\n".join(out)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--rate", type=float, default=300_000.0, help="packets a second, both lines together")
    options.add_argument(
        "--buffer", type=int, default=64 << 20, help="bytes asked of the kernel for each line's socket"
    )
    options.add_argument("--priority", type=int, default=0, help="SCHED_FIFO of the sender, for a busy machine")
    options.add_argument("--dir", type=Path, default=None, help="where the files go; removed afterwards")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="round-trip-", dir=given.dir))
    try:
        legs = round_trip(folder, given.seconds, given.rate, given.buffer, given.priority, not given.json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        print(json.dumps([asdict(one) for one in legs]))
    else:
        print(report(legs))
    return 0 if all(one.same for one in legs) else 1


if __name__ == "__main__":
    sys.exit(main())

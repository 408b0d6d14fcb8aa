"""What tests of the recorder share: a configuration, packets at times of the test's own, what other programs say."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from feedhandler import config
from feedhandler.config import Config
from feedhandler.receive import capture
from feedhandler.receive.capture_writer import PcapWriter
from feedhandler.record import Recorder
from tests.required import unavailable

NOON = 1_795_348_800_000_000_000  # 2026-11-22 12:00:00 UTC
S = 1_000_000_000
GROUPS = ("239.192.9.1", "239.192.9.2")
Packet = tuple[int, int, bytes]
"""Line, time in ns, payload."""


def feed(record: str = "", name: str = "rec", groups: Sequence[str] = GROUPS, port: int = 26400) -> Config:
    """A channel of MoldUDP64 with a line for each group, and the given keys of [record]."""
    return config.parse(document(record, name, groups, port))


def document(record: str = "", name: str = "rec", groups: Sequence[str] = GROUPS, port: int = 26400) -> str:
    text = f"""
[shm]
name = "{name}"
[handler]
backend = "sockets"
wait = "block"
[record]
buffer_bytes = 8388608
{record}
[[channel]]
name = "itch"
protocol = "itch50"
session = "moldudp64"
"""
    for line, group in zip("ABCDEFGH", groups, strict=False):
        text += f'[[channel.line]]\nname = "{line}"\ngroup = "{group}"\nport = {port}\ninterface = "lo"\n'
    return text


def mold(first: int, count: int = 1, session: str = "S1", size: int = 20) -> bytes:
    """A MoldUDP64 packet of `count` messages of `size` bytes, whose first has the number `first`."""
    messages = b"".join(size.to_bytes(2, "big") + (first + i).to_bytes(size, "big") for i in range(count))
    return session.ljust(10).encode() + first.to_bytes(8, "big") + count.to_bytes(2, "big") + messages


def record(settings: Config, folder: Path, packets: Iterable[Packet], **options: Any) -> Recorder:
    """Record packets out of memory, to the end, on the day of NOON; the recorder is closed."""
    lines = [(line.group, line.port) for channel in settings.channels for line in channel.lines]
    with tempfile.NamedTemporaryFile(suffix=".pcap") as source:
        with PcapWriter(source.name) as writer:
            for line, ts, payload in packets:
                writer.write(ts, payload, lines[line])
        options.setdefault("clock", lambda: NOON)
        recorder = Recorder(settings, folder, receiver=capture.receiver(source.name, lines), **options)
        with recorder:
            recorder.start()
            assert recorder.wait_quietly(20)
    return recorder


def wait(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Until it is true; the test fails when it does not become so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come"
        time.sleep(0.002)


def tool(*command: str | Path) -> str:
    """What a program says on stdout; it must end well, and complain of nothing."""
    if shutil.which(str(command[0])) is None:
        unavailable(f"no {command[0]} here; ./scripts/setup test brings it")
    words = [str(word) for word in command]
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}  # a sanitizer's
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=environment)
    said = [line for line in done.stderr.splitlines() if "Running as user" not in line and "reading from" not in line]
    assert done.returncode == 0 and not said, f"{command}: {done.stderr}"
    return done.stdout


def fields(file: Path, *names: str, where: str = "") -> list[list[str]]:
    """Fields of all packets as tshark has them, every checksum looked at."""
    checks = [option for kind in ("ip", "udp", "tcp") for option in ("-o", f"{kind}.check_checksum:TRUE")]
    shown = [word for name in names for word in ("-e", name)]
    rows = tool("tshark", "-r", file, *checks, *(("-Y", where) if where else ()), "-T", "fields", *shown)
    return [line.split("\t") for line in rows.splitlines()]

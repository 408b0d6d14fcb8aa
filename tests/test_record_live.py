"""A recorder on real interfaces, with a clock that is set back, before a person's eyes."""

import os
import pty
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedhandler import config, simulate
from feedhandler.cli.record import rates
from feedhandler.errors import BackendError, RecordingError
from feedhandler.receive import capture
from feedhandler.record import Recorder, Status
from feedhandler.recording import manifest
from tests.background import beside
from tests.conftest import ROOT
from tests.feeds import soup
from tests.namespaces import Veth, veth
from tests.recorded import NOON, document, feed, fields, mold, record, wait
from tests.test_record import payloads, the_day
from tests.test_record_crash import Sender

BACKENDS = {
    "sockets": "",
    "af_xdp native": '[af_xdp]\nmode = "native"\nring = 4096\npackets_per_second = 1\n',
    "af_xdp generic": '[af_xdp]\nmode = "generic"\nring = 4096\npackets_per_second = 1\n',
}
TWO_CHANNELS = """
[[channel]]
name = "deep"
protocol = "iex_deep"
session = "iextp"
[[channel.line]]
name = "A"
group = "239.77.4.9"
port = 26401
interface = "lo"
"""


@pytest.fixture
def cable() -> Iterator[Veth]:
    with veth() as world:
        yield world


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_way_to_the_wire_is_recorded(backend: str, cable: Veth, tmp_path: Path) -> None:
    groups = ("239.77.4.1", "239.77.4.2")
    text = document(groups=groups).replace('backend = "sockets"', f'backend = "{backend.split()[0]}"')
    text = text.replace('interface = "lo"', 'interface = "rx"').replace("[record]", BACKENDS[backend] + "[record]")
    sent = [(i % 2, mold(1 + i // 2)) for i in range(200)]
    with cable.receiver.inside():
        recorder = Recorder(config.parse(text), tmp_path)
    with cable.sender.inside():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with recorder, sender:
        recorder.start()
        for line, payload in sent:
            sender.sendto(payload, (groups[line], 26400))
        wait(lambda: recorder.status().packets == len(sent))
    assert recorder.backend.startswith(backend)
    day, found = the_day(tmp_path)
    kept = [(group, payload) for _, group, payload in payloads(day, found)]
    for line, group in enumerate(groups):
        assert [payload for to, payload in kept if to == group] == [payload for to, payload in sent if to == line]
    kinds = {line.ts_kind for line in found.files[0].lines}
    assert kinds <= {"kernel", "hardware", "clock"} and "none" not in kinds
    assert (found.channels[0].last_seq, found.channels[0].lost) == (100, 0)


def test_lines_of_several_channels_have_the_names_of_both(tmp_path: Path, multicast_group: str) -> None:
    settings = config.parse(document(groups=[multicast_group], port=26402) + TWO_CHANNELS)
    sender = Sender(multicast_group, 26402)
    with sender.socket, Recorder(settings, tmp_path) as recorder:
        recorder.start()
        sender.socket.sendto(mold(1), (multicast_group, 26402))
        sender.socket.sendto(b"not of IEX", ("239.77.4.9", 26401))
        wait(lambda: recorder.status().packets == 2)
    day, found = the_day(tmp_path)
    names = [row[0] for row in fields(day / found.files[0].name, "frame.interface_name")]
    assert sorted(names) == ["deep/A", "itch/A"]
    assert [(line.channel, line.line, line.packets) for line in found.files[0].lines] == [
        ("itch", "A", 1),
        ("deep", "A", 1),
    ]


def test_a_file_is_whole_when_its_time_is_over_though_nothing_comes(
    tmp_path: Path, multicast_group: str, free_udp_port: int
) -> None:
    sender = Sender(multicast_group, free_udp_port)
    settings = feed("rotate_s = 1", groups=[multicast_group], port=free_udp_port)
    with sender.socket, Recorder(settings, tmp_path) as recorder:
        recorder.start()
        for number in (1, 2):
            sender.socket.sendto(mold(number), sender.target)
            wait(lambda number=number: recorder.status().packets == number)
            wait(lambda number=number: recorder.status().files == number and recorder.status().file is None)
    assert [file.packets for file in the_day(tmp_path)[1].files] == [1, 1]


@pytest.mark.skipif("FEEDHANDLER_ASAN" in os.environ, reason="AddressSanitizer must be loaded first")
def test_the_clock_of_a_running_recorder_steps_back_an_hour(
    tmp_path: Path, processes: Any, wait_for: Callable[..., Any]
) -> None:
    library = tmp_path / "step_clock.so"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, ROOT / "tests/step_clock.c", "-ldl"], check=True)
    server = simulate.SoupServer(rate=20_000)
    (tmp_path / "feed.toml").write_text(soup(server.port, "[record]\nsync = 0.02\nrotate_s = 600"))
    child = processes.feedhandler(
        "record", tmp_path / "feed.toml", "--to", tmp_path / "to", env=os.environ | {"LD_PRELOAD": str(library)}
    )
    with beside(lambda: server.run(simulate.Exchange(symbols=4, messages=20_000, seed=8)), server.stop):
        wait_for(lambda: list((tmp_path / "to").glob("*/*.partial")), what="a file")
        child.send_signal(signal.SIGUSR1)
        _, said = child.communicate(timeout=30)
    assert child.returncode == 0, said
    days = [manifest.load(path) for path in sorted((tmp_path / "to").iterdir())]  # two, in the first hour of a day
    damage = [sentence for day in days for sentence in day.damage]
    assert len(damage) == 1 and damage[0] in said
    assert damage[0].startswith("the clock of line itch/A stepped back by 3,") and " UTC" in damage[0]
    files = [file for day in days for file in day.files]
    assert len(files) >= 2 and all(file.complete and file.sha256 for file in files)
    assert sum(line.packets for file in files for line in file.lines) == sum(file.packets for file in files) > 0
    assert max(day.channels[0].last_seq or 0 for day in days) == 20_000
    assert sum(day.channels[0].lost for day in days) == 0


def test_a_person_sees_rates_while_it_records(
    tmp_path: Path, multicast_group: str, free_udp_port: int, processes: Any, wait_for: Callable[..., Any]
) -> None:
    (tmp_path / "feed.toml").write_text(document(groups=[multicast_group], port=free_udp_port))
    screen, terminal = pty.openpty()
    child = processes.feedhandler("record", tmp_path / "feed.toml", "--to", tmp_path / "to", stderr=terminal)
    os.close(terminal)
    shown = b""
    sender = Sender(multicast_group, free_udp_port)
    with sender.socket, os.fdopen(screen, "rb", buffering=0) as eyes:
        os.set_blocking(screen, False)

        def rate_shown() -> bool:
            nonlocal shown
            sender.send(0.01)
            shown += eyes.read(4096) or b""
            return b"rec-0001.pcapng" in shown and b"/s  " in shown

        wait_for(rate_shown, what="a line with rates")
        child.send_signal(signal.SIGTERM)
        child.wait(20)
    assert child.returncode == 0
    assert the_day(tmp_path / "to")[1].complete


def test_the_line_of_rates_says_what_is_missing() -> None:
    before = Status(1000, 9, 0, 0, 1_000_000, 1, Path("/x/rec-0001.pcapng"))
    now = Status(4000, 9, 7, 8, 5_000_000, 1, Path("/x/rec-0001.pcapng"))
    said = rates(before, now, 2.0, 3661)
    assert said == (
        "01:01:01  4,000 packets  1,500/s  5.0 MB  2.0 MB/s  rec-0001.pcapng  not recorded 7  kernel drops 8"
    )


def test_a_hot_thread_that_cannot_begin_ends_the_recording(tmp_path: Path) -> None:
    settings = feed()
    settings = replace(settings, handler=replace(settings.handler, cpu=(4095,)))
    lines = [(line.group, line.port) for line in settings.channels[0].lines]
    with capture.PcapWriter(tmp_path / "in.pcap") as source:
        source.write(NOON, b"x", lines[0])
    with Recorder(settings, tmp_path / "day", receiver=capture.receiver(tmp_path / "in.pcap", lines)) as recorder:
        recorder.start()
        assert recorder.wait_quietly(20)
    with pytest.raises(BackendError, match="cannot run on CPU 4095"):
        recorder.wait()


def test_receivers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    text = document().replace('"moldudp64"', '"soupbintcp"').replace('interface = "lo"\n', "")
    streams = config.parse(text.replace("group =", "host ="))
    with capture.PcapWriter(tmp_path / "in.pcap") as source:
        source.write(NOON, b"x", ("239.192.9.1", 26400))
    with pytest.raises(RecordingError, match="channel itch: a stream is recorded from its server, not from a receiver"):
        Recorder(streams, tmp_path / "day", receiver=capture.receiver(tmp_path / "in.pcap"))
    with pytest.raises(RecordingError, match="given has 1 lines, the configuration 2"):
        Recorder(feed(), tmp_path / "day", receiver=capture.receiver(tmp_path / "in.pcap"))
    record(feed(), tmp_path / "day", [])  # and the folder is free

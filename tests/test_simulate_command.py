"""`simulate` and `replay` with servers beside the lines and a script of faults."""

import json
import struct
from pathlib import Path

import pytest
from test_cli import run

from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive.capture import read
from feedhandler.simulate import Exchange, Faults, MessageStore, RequestServer, write
from feedhandler.simulate.multicast import LINES
from feedhandler.simulate.venue import Venue

SCRIPT = """
[all]
loss = 0.1

[[outage]]
from_packet = 20
for_packets = 5

[requests]
silence = 0.5
"""
MARKET = {"symbols": 3, "messages": 3000, "seed": 4, "duration_s": 2.0}
DAY = ("--symbols", "3", "--messages", "3000", "--seed", "4")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "faults.toml"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def group(multicast_group: str, free_udp_port: int) -> tuple[str, ...]:
    return "--group", f"{multicast_group}:{free_udp_port}"


def test_simulate_with_servers_and_faults(script: Path, group: tuple[str, ...]) -> None:
    done = run(
        "simulate", *DAY, *group, "--rate", "0", "--requests", "0", "--glimpse", "0", "--faults", script, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert "requests on 127.0.0.1:" in done.stderr and "glimpse on 127.0.0.1:" in done.stderr
    result = json.loads(done.stdout)
    assert result["messages"] == 3000
    assert result["lines"][0]["faults"]["lost"] >= 5
    assert result["requests"]["port"] > 0 and result["glimpse"]["port"] > 0


def test_a_lossy_capture_has_the_faults_of_its_seed(script: Path, tmp_path: Path) -> None:
    made = []
    for name, seed in (("one", 4), ("two", 4), ("three", 5)):
        path = tmp_path / f"{name}.pcapng"
        write(path, Exchange(**MARKET), faults=Faults.load(script), seed=seed)
        made.append(path.read_bytes())
    assert made[0] == made[1] != made[2]
    write(tmp_path / "whole.pcapng", Exchange(**MARKET))
    whole, lossy = (numbers(tmp_path / name) for name in ("whole.pcapng", "one.pcapng"))
    assert lossy < whole and len(lossy) < 0.95 * len(whole)
    done = run("simulate", tmp_path / "day.pcapng.zst", *DAY, "--faults", script)
    assert done.returncode == 0, done.stderr
    assert "3,000 messages" in done.stderr


def numbers(capture: Path) -> set[int]:
    """The sequence numbers of the packets on line A."""
    return {struct.unpack_from(">Q", payload, 10)[0] for _, target, payload in read(capture) if target == LINES[0]}


def test_replay_with_servers_and_faults(script: Path, tmp_path: Path, group: tuple[str, ...]) -> None:
    day, capture = tmp_path / "day.itch", tmp_path / "day.pcap"
    write(day, Exchange(**MARKET))
    write(capture, Exchange(**MARKET))
    servers = ("--requests", "0", "--glimpse", "0")
    done = run(
        "replay", day, "--onto", "multicast", "--speed", "0", *group, *servers, "--faults", script, "--seed", "3"
    )
    assert done.returncode == 0 and "requests on 127.0.0.1:" in done.stderr and "sent 3,000 messages" in done.stderr
    done = run(
        "replay", capture, "--protocol", "itch50", "--onto", "multicast", "--speed", "0", *group, "--faults", script
    )
    assert done.returncode == 0, done.stderr
    wrong = run("replay", capture, "--protocol", "itch50", "--onto", "multicast", *group, *servers)
    assert wrong.returncode == 2 and "need a BinaryFILE" in " ".join(wrong.stderr.split())
    wrong = run("replay", day, "--onto", "soupbintcp", "--faults", script)
    assert wrong.returncode == 2 and "--onto multicast only" in " ".join(wrong.stderr.split())


def test_the_example_can_be_had_from_the_command() -> None:
    done = run("simulate", "--example")
    assert (done.returncode, done.stdout) == (0, Faults.example())


def test_simulate_says_what_cannot_be_had(tmp_path: Path, script: Path, group: tuple[str, ...]) -> None:
    wrong = run("simulate", tmp_path / "day.itch", *DAY, "--faults", script)
    assert wrong.returncode == 1 and "name it .pcap or .pcapng" in wrong.stderr
    wrong = run("simulate", "--soupbintcp", "0", "--glimpse", "0")
    assert wrong.returncode == 2 and "servers stand beside multicast lines" in " ".join(wrong.stderr.split())
    script.write_text("[all]\nloss = 3")
    wrong = run("simulate", *DAY, *group, "--faults", script)
    assert wrong.returncode == 1 and "faults.toml:2: all.loss: expected a number from 0 to 1, found 3" in wrong.stderr


def test_a_venue_that_cannot_have_its_ports_gives_back_those_it_has() -> None:
    with RequestServer(MessageStore(1)) as taken:
        with pytest.raises(BackendError, match="cannot serve requests"):
            Venue(taken.port, None)
        with pytest.raises(BackendError, match="cannot serve snapshots"):
            Venue(0, 1 << 20)
    with pytest.raises(ConfigError, match="a session is"):
        Venue(0, 0, session="")


@pytest.mark.parametrize("option", ["--soupbintcp", "--requests", "--glimpse"])
def test_a_port_that_is_none_is_wrong_usage(option: str) -> None:
    done = run("simulate", *DAY, option, "-5")
    assert done.returncode == 2 and option in done.stderr

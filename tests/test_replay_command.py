"""`feedhandler replay` as it is called, and the progress that every long command shows."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from test_cli import ROOT, eighty_columns, run  # noqa: F401
from test_replay_sender import listeners
from test_simulate_multicast import MARKET, day, unwrap
from test_simulate_soup import Client

from feedhandler.cli.common import progress
from feedhandler.receive import capture
from feedhandler.simulate import Exchange, write

__all__ = ["listeners"]
QUICK = {**MARKET, "messages": 1000, "duration_s": 1}  # what a socket of any size keeps
LINES = [("239.1.1.1", 4001), ("239.1.1.2", 4002)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "day.pcapng"
    write(path, Exchange(**QUICK), lines=LINES, skew_us=30, session="S1")
    return path


@pytest.fixture
def rewrites(listeners: list[socket.socket]) -> list[str]:
    places = [listener.getsockname() for listener in listeners]
    return [f"--rewrite={name}={address}:{port}" for name, (address, port) in zip("AB", places, strict=True)]


def waiting(listener: socket.socket) -> list[bytes]:
    """All that has come."""
    listener.settimeout(0)
    taken = []
    while True:
        try:
            taken.append(listener.recv(65536))
        except BlockingIOError:
            return taken


def test_packets_onto_the_wire_with_the_pacing_told(recorded: Path, listeners: Any, rewrites: list[str]) -> None:
    want = [[data for _, target, data in capture.read(recorded) if target == line] for line in LINES]
    got: list[list[bytes]] = [[], []]

    def receive(line: int) -> None:
        got[line] += [listeners[line].recv(65536) for _ in want[line]]

    threads = [threading.Thread(target=receive, args=(line,)) for line in (0, 1)]
    for thread in threads:
        thread.start()
    done = run("replay", recorded, "--onto", "multicast", "--pps", "5000", "--json", *rewrites)
    for thread in threads:
        thread.join(20)
    assert done.returncode == 0, done.stderr
    assert got == want
    told = json.loads(done.stdout)
    assert told["packets"] == sum(map(len, want)) == told["pacing"]["packets"]
    assert told["pacing"]["wanted_per_second"] == pytest.approx(5_000)
    assert 0 < told["pacing"]["p50_ns"] <= told["pacing"]["p99_ns"] <= told["pacing"]["max_ns"]
    assert "pacing error |sent - due|: p50" in done.stderr and "wanted 5,000" in done.stderr


def test_two_spinners_send_what_one_does_and_say_so(recorded: Path, listeners: Any, rewrites: list[str]) -> None:
    two = ("replay", recorded, "--onto", "multicast", "--pps", "20000", "--spinners", "2", *rewrites)
    if len(os.sched_getaffinity(0)) > 1:
        done = run(*two, "--json")
        assert done.returncode == 0, done.stderr
        want = [[data for _, target, data in capture.read(recorded) if target == line] for line in LINES]
        assert [waiting(listener) for listener in listeners] == want
        told = json.loads(done.stdout)["pacing"]
        assert told["spinners"] == 2 and told["packets"] == sum(map(len, want))
    for wrong, words in (
        ("--no-spin", "2 spinners need spin"),
        ("--priority=5", "2 spinners have no priority"),
        ("--cpu=0", "must name two CPUs, one for each spinner"),
        ("--cpu=x,y", "no CPU's number"),
        ("--step", "no --spinners"),
    ):
        said = run(*(word for word in two if wrong != "--step" or word not in ("--pps", "20000")), wrong)
        assert said.returncode != 0 and words in " ".join(said.stderr.replace("│", " ").split())


def test_a_priority_is_had_or_refused_in_a_sentence(recorded: Path, listeners: Any, rewrites: list[str]) -> None:
    done = run("replay", recorded, "--onto", "multicast", "--pps", "20000", "--priority", "5", *rewrites)
    if done.returncode == 0:
        assert "pacing error" in done.stderr and len(waiting(listeners[0])) > 100
    else:
        assert done.returncode == 1 and "cannot have SCHED_FIFO priority 5" in done.stderr
    short = run("replay", recorded, "--seconds", "0.001", "--no-keep", "--name", f"short-{recorded.parent.name}"[:30])
    assert short.returncode == 0, short.stderr


def test_a_window_a_loop_and_symbols(recorded: Path, listeners: Any, rewrites: list[str]) -> None:
    symbol = Exchange(**QUICK).symbols[0]
    fast = ("--onto", "multicast", "--speed", "0", *rewrites)
    done = run("replay", recorded, *fast, "--to", "+100ms", "--loop", "2", "--json")
    assert done.returncode == 0 and "restart under the same session id" in done.stderr
    first = waiting(listeners[0])
    assert first[: len(first) // 2] == first[len(first) // 2 :] and json.loads(done.stdout)["passes"] == 2
    waiting(listeners[1])
    done = run("replay", recorded, *fast, "--symbols", f"{symbol},NOPE")
    assert "no message names NOPE: write symbols as the feed does" in done.stderr
    assert done.returncode == 0 and "under new numbers" in done.stderr
    packets = [waiting(listener) for listener in listeners]
    messages = unwrap([(0.0, packet) for packet in packets[0]], b"S1        ")
    assert packets[0] and 0 < len(messages) < len(day(**QUICK))
    assert unwrap([(0.0, packet) for packet in packets[1]], b"S1        ") == messages


def test_step_by_step(recorded: Path, listeners: Any, rewrites: list[str]) -> None:
    command = [sys.executable, "-m", "feedhandler", "replay", str(recorded), "--onto", "multicast", "--step"]
    command += rewrites
    child = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdin is not None and child.stderr is not None
        assert "one packet" in child.stderr.readline()
        child.stdin.write("\n")
        child.stdin.flush()
        assert "itch50-0/A (239.1.1.1:4001)  34 bytes  S1 1  S×1" in child.stderr.readline()
        assert listeners[0].recv(65536)[:10] == b"S1        "
        _, err = child.communicate("3\nq\n\n", timeout=20)
        assert "4 packets, step by step" in err and child.returncode == 0
    finally:
        child.kill()
        child.wait()
    packets = waiting(listeners[0]) + waiting(listeners[1])
    assert len(packets) == 3
    wrong = subprocess.run(command, cwd=ROOT, input="soon\n", capture_output=True, text=True, check=False, timeout=60)
    assert wrong.returncode == 1 and "expected an empty line, a number of packets, or q" in wrong.stderr


def test_a_session_for_clients(recorded: Path, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "feedhandler", "replay", recorded, "--onto", "soupbintcp", "--speed", "0", "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stderr is not None
        said = child.stderr.readline()
        assert "as session S1 from number 1" in said
        port = int(said.split("127.0.0.1:")[1].split()[0])
        assert Client(port, session="S1").rest() == day(**QUICK)
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0, err
    assert json.loads(out)["messages"] == 1000 and "served 1,000 messages to 1 logins" in err


def test_a_handler_at_a_pace(recorded: Path) -> None:
    options = ("--no-keep", "--orders", "10000", "--name", f"replay-{recorded.parent.name}"[:30], "--json")
    done = run("replay", recorded, "--pps", "50000", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["messages"] == 1000 and told["pacing"]["wanted_per_second"] == pytest.approx(50_000)
    fast = run("replay", recorded, *options)
    assert json.loads(fast.stdout)["types"] == told["types"]
    stepped = subprocess.run(
        [sys.executable, "-m", "feedhandler", "replay", recorded, "--step", *options],
        cwd=ROOT, input="100000\n", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert stepped.returncode == 0 and json.loads(stepped.stdout)["types"] == told["types"]
    assert "the recording is over" in stepped.stderr


@pytest.mark.parametrize(
    "arguments, code, sentence",
    [
        (("--to", "multicast"), 2, "--onto multicast"),
        (("--pps", "5", "--speed", "2"), 2, "one pace at a time"),
        (("--onto", "multicast", "--rate", "5"), 2, "--pps"),
        (("--rate", "5"), 2, "--speed or --pps"),
        (("--onto", "soupbintcp", "--pps", "5"), 2, "a TCP stream has no packets"),
        (("--onto", "multicast", "--step", "--symbols", "A"), 2, "one by one"),
        (("--onto", "multicast", "--rewrite", "A"), 1, "FROM=ADDRESS:PORT"),
        (("--onto", "multicast", "--rewrite", "C=239.1.1.1:5"), 1, "no line 'C' to rewrite"),
        (("--onto", "multicast", "--rewrite", "A=10.1.1.1:5"), 1, "is not on this host"),
        (("--onto", "multicast", "--symbols", "not a symbol"), 1, "is no symbol"),
        (("--onto", "multicast", "--channels", "nosuch"), 1, "no channel 'nosuch'"),
        (("--onto", "multicast", "--speed", "1e9"), 1, "speed must be over 0"),
        (("--from", "yesterday"), 1, "'yesterday'"),
        (("--rewrite", "A=239.1.1.1:5"), 2, "--onto multicast only"),
    ],
)
def test_what_is_wrong_is_one_sentence(recorded: Path, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    done = run("replay", recorded, *arguments)
    said = " ".join(word for word in done.stderr.split() if word not in "│╭╰")
    assert (done.returncode, sentence in said) == (code, True), done.stderr


def test_ctrl_c_says_what_was_sent(recorded: Path, listeners: Any, rewrites: list[str], processes: Any) -> None:
    child = processes.feedhandler("replay", recorded, "--onto", "multicast", "--pps", "100", *rewrites)
    for _ in range(3):
        listeners[0].recv(65536)
    _, err = processes.stop(child)
    assert child.returncode == 0 and "pacing error" in err and "wanted 100.0" in err


class Terminal(io.StringIO):
    """Standard error as a person has it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total, unit", [(4_000_000, "bytes"), (4_000_000, ""), (None, "")])
def test_progress_has_a_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch, total: int | None, unit: str) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = threading.Event()
    suffix = "B" if unit else ""
    with progress("reading", total, unit) as done:
        end, n = time.monotonic() + 20, 0
        while not shown.is_set() and time.monotonic() < end:
            n = min(n + 1000, 2_000_000)
            done(n)
            time.sleep(0.01)
            if f"{suffix}/s" in terminal.getvalue():
                shown.set()
    text = terminal.getvalue()
    assert shown.is_set() and "reading" in text
    assert (f"/4.00M{suffix}" in text and " left" in text) == (total is not None)

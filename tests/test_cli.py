"""The command as a person or a program calls it: help, exit codes, results on stdout, talk on stderr."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from feedhandler.cli import app, common, main
from feedhandler.cli import inspect as inspecting
from feedhandler.decode import interpret, protocol
from feedhandler.errors import ConfigError
from feedhandler.receive.capture import BinaryFileWriter, PcapWriter

ROOT = Path(__file__).parent.parent
GROUP = get_command(app)
COMMANDS = sorted(GROUP.commands)  # type: ignore[attr-defined]
ITCH = protocol("itch50")


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FEEDHANDLER_DEBUG", raising=False)


def run(*arguments: str | Path) -> Done:
    """The command in this process, its outputs being no terminals."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, before)
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def help_of(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--help"], prog_name="feedhandler", env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    return done.stdout


def examples_in(page: str) -> list[list[str]]:
    """The commands at the end of a help page, as words; a long one is broken over lines."""
    text = re.sub(r"\s*\n (?! *feedhandler)(?=\S)", " ", page[page.rindex("Example") :])
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("feedhandler ")]


def test_the_help_of_all() -> None:
    page = help_of()
    for command in COMMANDS:
        assert re.search(rf"^│ {command} .*[.?] +│$", page, re.MULTILINE), f"{command} needs more than its one line"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples_whose_options_exist(command: str) -> None:
    subcommands = getattr(GROUP.commands[command], "commands", {})  # type: ignore[attr-defined]
    pages = [([command, name], sub) for name, sub in subcommands.items()]
    for path, click_command in pages or [([command], GROUP.commands[command])]:  # type: ignore[attr-defined]
        examples = examples_in(help_of(*path))
        assert examples, f"{' '.join(path)} --help has no example"
        known = {option for parameter in click_command.params for option in parameter.opts}
        for words in examples:
            if words[1 : 1 + len(path)] == path:
                assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["run"], ["run", "absent.toml"], ["inspect"], ["inspect", "absent.itch"], ["doctor", "--wrong"]],
    ids=" ".join,
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_feed_error_is_1_and_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "feed.toml"
    config.write_text('[shm]\nnam = "x"\n')
    done = run("run", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"feedhandler: {config}:2: shm.nam: expected one of name, dir, mode, group, "
        "found the unknown key nam (did you mean name?)\n"
    )
    monkeypatch.setenv("FEEDHANDLER_DEBUG", "1")
    with pytest.raises(ConfigError):
        main(["run", str(config)])


def test_run_prints_and_checks_a_configuration(tmp_path: Path) -> None:
    example = run("run", "--example")
    assert (example.returncode, example.stderr) == (0, "")
    (tmp_path / "feed.toml").write_text(example.stdout)
    checked = run("run", tmp_path / "feed.toml", "--check")
    assert (checked.returncode, checked.stdout) == (0, "")
    assert checked.stderr.endswith("feed.toml: good: segment nasdaq, channels 1, lines 2\n")


@pytest.mark.parametrize("tool", ["record", "replay", "inspect", "simulate"])
def test_the_tools_are_the_commands(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / f"{tool}.py", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0
    assert f"feedhandler {tool} " in done.stdout


# -- simulate to a file -----------------------------------------------------------------------------------------------


def test_simulate_writes_the_same_file_from_the_same_seed(tmp_path: Path) -> None:
    arguments = ["--symbols", "3", "--messages", "2000", "--seed", "7"]
    one = run("simulate", tmp_path / "one.itch", *arguments, "--json")
    two = run("simulate", tmp_path / "two.itch", *arguments)
    assert (one.returncode, two.returncode, two.stdout) == (0, 0, "")
    outcome = json.loads(one.stdout)
    assert outcome["messages"] == 2000 == sum(outcome["types"].values())
    assert outcome["bytes"] == (tmp_path / "one.itch").stat().st_size
    assert (tmp_path / "one.itch").read_bytes() == (tmp_path / "two.itch").read_bytes()


def test_simulate_says_what_cannot_be_had(tmp_path: Path) -> None:
    done = run("simulate", tmp_path / "day.itch", "--symbols", "9000")
    assert done.returncode == 1
    assert done.stderr.startswith("feedhandler: simulate: symbols must be 1 to 8000")
    assert not (tmp_path / "day.itch").exists()


# -- inspect ----------------------------------------------------------------------------------------------------------


def add(number: int, symbol: str = "AAPL", locate: int = 1) -> bytes:
    fields = {"order_id": number, "side": "B", "shares": 100, "price": 1_500_000_000}
    return interpret.encode(ITCH, "add_order", locate=locate, timestamp=34_200_000_000_001, stock=symbol, **fields)


def delete(number: int, locate: int = 1) -> bytes:
    return interpret.encode(ITCH, "order_delete", locate=locate, timestamp=34_200_000_000_002, order_id=number)


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A small BinaryFILE: two adds, a delete, a message that is cut, one of an unknown type."""
    path = tmp_path / "day.itch"
    with BinaryFileWriter(path) as file:
        for message in (add(1), add(2, "MSFT", 2), delete(1), add(3)[:20], b"z???"):
            file.write(message)
        file.end()
    return path


def test_inspect_as_a_table(day: Path) -> None:
    done = run("inspect", day, "--protocol", "itch50")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "      seq line time               symbol   message",
        "        1 file 09:30:00.000000001 AAPL     A add_order tracking=0 order_id=1 side=B shares=100 price=1.5000",
        "        2 file 09:30:00.000000001 MSFT     A add_order tracking=0 order_id=2 side=B shares=100 price=1.5000",
        "        3 file 09:30:00.000000002 AAPL     D order_delete tracking=0 order_id=1",
        "        4 file                             A add_order add_order: 20 bytes, the table says 36",
        "        5 file                             z unknown",
    ]
    assert done.stderr == "5 of 5 messages read: A×3 D×1 z×1\n"


def test_inspect_as_json_lines_filtered(day: Path) -> None:
    done = run("inspect", day, "--protocol", "itch50", "--json", "--symbol", "AAPL", "--type", "A,D")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["seq"], line["type"], line["symbol"]) for line in lines] == [(1, "A", "AAPL"), (3, "D", "AAPL")]
    assert lines[0]["fields"] == {
        "locate": 1,
        "tracking": 0,
        "timestamp": 34_200_000_000_001,
        "order_id": 1,
        "side": "B",
        "shares": 100,
        "stock": "AAPL",
        "price": 1_500_000_000,
    }
    assert lines[0]["line"] == "file"
    one = run("inspect", day, "--protocol", "itch50", "--json", "--limit", "1")
    assert len(one.stdout.splitlines()) == 1


def test_inspect_reads_packets_of_two_lines(tmp_path: Path) -> None:
    path = tmp_path / "feed.pcap"
    packet = b"SESSION001" + (5).to_bytes(8, "big") + (2).to_bytes(2, "big")
    for message in (add(1), delete(1)):
        packet += len(message).to_bytes(2, "big") + message
    with PcapWriter(path) as file:
        for n, group in enumerate(("239.192.0.1", "239.192.0.2", "239.192.0.1")):
            file.write(1_700_000_000_000_000_000 + n, packet if n < 2 else packet[:-1], (group, 26400))
    done = run("inspect", path, "--json")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["seq"], line["line"], line["type"]) for line in lines] == [
        (5, "A", "A"),
        (6, "A", "D"),
        (5, "B", "A"),
        (6, "B", "D"),
    ]
    assert lines[0]["ts_recv"] == 1_700_000_000_000_000_000
    assert "1 packets of another protocol, or damaged" in done.stderr


def test_inspect_gives_what_is_whole_and_then_fails(day: Path) -> None:
    cut = day.with_name("cut.itch")
    cut.write_bytes(day.read_bytes()[:50])
    done = run("inspect", cut, "--protocol", "itch50", "--json")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert str(cut) in done.stderr.splitlines()[-1]


def test_inspect_refuses_what_it_does_not_know(day: Path, tmp_path: Path) -> None:
    wrong = run("inspect", day, "--protocol", "itch49")
    assert wrong.returncode == 2
    assert "is not one of" in wrong.stderr
    (tmp_path / "noise").write_bytes(b"\x00\x01noise that is no capture")
    noise = run("inspect", tmp_path / "noise")
    assert noise.returncode == 1
    assert noise.stderr.startswith("feedhandler: ")


def test_inspect_ends_quietly_when_nobody_reads_on(tmp_path: Path) -> None:
    path = tmp_path / "day.itch"
    with BinaryFileWriter(path) as file:
        for n in range(5000):
            file.write(add(n))
        file.end()
    shell = f"{shlex.quote(sys.executable)} -m feedhandler inspect {path} --protocol itch50 | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert "Traceback" not in done.stderr


def shell(command: str) -> tuple[int, str]:
    """Exit code and stderr of `feedhandler COMMAND` in a shell."""
    line = f"{shlex.quote(sys.executable)} -m feedhandler {command}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr


def test_a_closed_output_is_no_error(tmp_path: Path) -> None:
    run("simulate", tmp_path / "day.itch", "--symbols", "2", "--messages", "2000")
    code, said = shell(f"inspect {tmp_path}/day.itch --limit 1 >&-")
    assert code == 0 and "Traceback" not in said and "1 of " in said


def test_a_full_output_is_one_sentence() -> None:
    assert shell("run --example > /dev/full") == (
        1,
        "feedhandler: the output: no space left on the device; free some, or write elsewhere\n",
    )


def test_what_would_do_nothing_is_refused(tmp_path: Path) -> None:
    for options in (["--group", "239.1.1.1:1"], ["--rate", "5"], ["--skew-us", "1"], ["--seconds", "3"]):
        done = run("simulate", tmp_path / "day.itch", *options)
        assert done.returncode == 2 and f"leave out {options[0]}" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name, expected",
    [
        ("itch50/captured-nasdaq/Multiple.Packets.pcap", {"A": 36, "D": 1, "F": 2}),
        ("itch50/nasdaq-day-first-1000.itch", {"H": 3, "R": 993, "S": 1, "Y": 3}),
        ("iex/single/Deep.IexTp.v1.0-PriceLevelBuyUpdateMessage.pcap", {"8": 1}),
    ],
)
def test_inspect_lists_real_captures(shared_data: Path, name: str, expected: dict[str, int]) -> None:
    done = run("inspect", shared_data / name, "--json")
    assert done.returncode == 0
    assert Counter(json.loads(line)["type"] for line in done.stdout.splitlines()) == expected


def test_cut_is_for_terminals() -> None:
    assert inspecting.cut("abcdef", 4) == "abc…"
    assert inspecting.cut("abcdef", 6) == inspecting.cut("abcdef", 0) == "abcdef"


def test_the_process_itself() -> None:
    """The entry point, `python -m feedhandler`: help without compiled modules and numpy, so that it comes at once."""
    program = (
        "import sys, atexit\n"
        "heavy = ('numpy', 'feedhandler.records')\n"
        "atexit.register(lambda: print('loaded:', *(name for name in heavy if name in sys.modules)))\n"
        "sys.argv = ['feedhandler', '--help']\n"
        "from feedhandler.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("loaded:\n")


def hostile(path: Path) -> Path:
    """A file whose symbols, types and fields hold what a terminal would obey."""
    bad = "\x1b[2J"
    with BinaryFileWriter(path) as file:
        for locate in range(1, 20):
            file.write(interpret.encode(ITCH, "stock_directory", locate=locate, stock=f"S{locate}"))
        file.write(
            interpret.encode(ITCH, "add_order", locate=1, order_id=1, side="\x07", shares=1, stock=bad, price=10**9)
        )
        file.write(b"\x1bjunk")
        file.end()
    return path


def test_what_came_over_the_wire_does_not_command_the_terminal(tmp_path: Path) -> None:
    path = hostile(tmp_path / "hostile.itch")
    for command in ("inspect", "books"):
        done = run(command, path, "--protocol", "itch50")
        said = done.stdout + done.stderr
        assert r"\x1b×1" in said and not set(said) & {"\x1b", "\x07"}
    assert r"\x1b[2J" in run("inspect", path, "--protocol", "itch50").stdout


def test_books_say_what_found_no_room_and_what_could_not_be_read(tmp_path: Path) -> None:
    path = hostile(tmp_path / "x.itch")
    said = run("books", path, "--protocol", "itch50", "--instruments", "5").stderr
    assert re.search(r"^14 definitions of instruments found no room, .*: raise --instruments$", said, re.MULTILINE)
    assert re.search(r"^1 messages are of types that the protocol does not know$", said, re.MULTILINE)
    with BinaryFileWriter(path) as file:
        file.write(interpret.encode(ITCH, "stock_directory", locate=1, stock="AAPL"))
        for number in range(100):
            file.write(
                interpret.encode(ITCH, "add_order", locate=1, order_id=number + 1, side="B", shares=1, price=10**9)
            )
        file.write(interpret.encode(ITCH, "order_delete", locate=1, order_id=1)[:-1])
    done = run("books", path, "--protocol", "itch50", "--orders", "10", "--json")
    assert json.loads(done.stdout)["books"]["AAPL"]["state"] == "STALE"
    assert "raise --orders" in done.stderr and "1 messages are malformed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--type", "z,A"], "no message of type A, z is in it"),
        (["--symbol", "s19x"], "no such message is about 's19x'; the nearest are S19"),
    ],
)
def test_inspect_says_why_it_shows_nothing(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    with BinaryFileWriter(tmp_path / "x.itch") as file:
        for locate in range(1, 20):
            file.write(interpret.encode(ITCH, "stock_directory", locate=locate, stock=f"S{locate}"))
    done = run("inspect", tmp_path / "x.itch", "--protocol", "itch50", *arguments)
    assert done.returncode == 0 and sentence in done.stderr


def test_a_pipe_is_no_capture(tmp_path: Path) -> None:
    for path in ("/dev/null", "/dev/zero"):
        done = run("inspect", path)
        assert done.returncode == 1 and "not a regular file" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_needs_a_lock_that_the_main_thread_holds(number: signal.Signals) -> None:
    lock, stopped = threading.Lock(), threading.Event()

    def stop() -> None:
        with lock:
            stopped.set()

    with common.stopped_by_signals(stop):
        with lock:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # its handler runs here
            assert not stopped.is_set()
        assert stopped.wait(20)


def test_a_second_signal_interrupts_what_hangs() -> None:
    forever = threading.Event()

    def hang() -> None:
        forever.wait()

    try:
        with pytest.raises(KeyboardInterrupt), common.stopped_by_signals(hang):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(20)
    finally:
        forever.set()

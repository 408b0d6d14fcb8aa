"""feedhandler doctor: a row for each thing, with its reason and its remedy, on this host and on invented ones."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from feedhandler import doctor
from feedhandler.cli.doctor import table

TOPICS = ["system", "cpu", "clock", "sockets", "interface", "memory", "privileges", "backend"]
NOBODY = 65534


AS_NOBODY = f"""
import contextlib, io, os, sys
from feedhandler.cli import main
sys.argv = ["feedhandler", "doctor", *sys.argv[1:]]
if os.getuid() == 0:                    # once as root, so that all is imported: nobody may not read every checkout
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main()
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
main()
"""


def run_doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as an ordinary user even where the tests run as root."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "COLUMNS": "80"}
    command = [sys.executable, "-c", AS_NOBODY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_json_as_an_ordinary_user() -> None:
    done = run_doctor("--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert list(dict.fromkeys(row["topic"] for row in rows)) == TOPICS
    for row in rows:
        assert set(row) == {"topic", "check", "state", "found", "mend"}
        assert row["state"] in ("yes", "no", "unseen")
        assert row["found"]
        assert not (row["mend"] and row["state"] == "yes")
    found = {row["check"]: row for row in rows}
    assert found["cap_net_admin"]["state"] == "no" or os.getuid() != 0
    assert found["sockets"]["state"] == "yes"
    assert [(found[name]["state"], found[name]["found"]) for name in ("af_xdp", "rdma")] == [
        ("no", "not built into this version")
    ] * 2


def test_text_as_an_ordinary_user_fits_80_columns() -> None:
    done = run_doctor()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for topic in TOPICS:
        assert any(line.startswith(topic) for line in lines)
    assert "setcap cap_net_admin+ep" in done.stdout
    assert lines[-1].endswith("could not be seen.")


def test_a_host_that_shows_nothing(tmp_path: Path) -> None:
    rows = doctor.examine(doctor.Host(tmp_path))
    states = {row.check: row.state for row in rows}
    assert states["isolation"] == states["governor"] == states["source"] == states["transparent"] == "unseen"
    assert states["groups"] == "unseen"


def invent(root: Path, files: dict[str, str]) -> doctor.Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return doctor.Host(root)


CPU = "sys/devices/system/cpu"
CLOCK = "sys/devices/system/clocksource/clocksource0"
THP = "sys/kernel/mm/transparent_hugepage/enabled"


@pytest.mark.parametrize(
    "files, check, state, found, mend",
    [
        ({f"{CPU}/isolated": "2-3\n"}, "isolation", "yes", "CPUs 2-3 are isolated", ""),
        ({f"{CPU}/isolated": "\n"}, "isolation", "no", "no CPU is kept free", "isolcpus="),
        ({f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n"}, "governor", "yes", "performance", ""),
        ({f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave"}, "governor", "no", "powersave", "-g performance"),
        ({f"{CLOCK}/current_clocksource": "tsc"}, "source", "yes", "tsc", ""),
        (
            {f"{CLOCK}/current_clocksource": "hpet", f"{CLOCK}/available_clocksource": "tsc hpet"},
            "source",
            "no",
            "hpet",
            "echo tsc >",
        ),
        ({"sys/fs/cgroup/cpu.max": "50000 100000"}, "no quota", "no", "0.5 CPUs", "cpu.max"),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, "no quota", "yes", "no cgroup limit", ""),
        ({THP: "always madvise [never]"}, "transparent", "no", "never", "echo madvise"),
        ({"proc/meminfo": "HugePages_Total: 8\nHugePages_Free: 3\n"}, "huge pages", "yes", "8 of", ""),
        ({"proc/meminfo": "HugePages_Total: 0\n"}, "huge pages", "no", "none reserved", "vm.nr_hugepages"),
        ({"proc/self/status": "CapEff:\t0000000000001000\n"}, "cap_net_admin", "yes", "receive buffers", ""),
        ({"proc/self/status": "CapEff:\t0000000000000000\n"}, "cap_net_admin", "no", "receive buffers", "setcap"),
        ({"sys/class/net/x0/flags": "0x1003", "sys/class/net/x0/mtu": "1500"}, "x0", "yes", "up, multicast", ""),
        ({"sys/class/net/x0/flags": "0x1002", "sys/class/net/x0/mtu": "1500"}, "x0", "no", "down", "ip link set x0 up"),
        ({"sys/class/net/x0/flags": "0x0003", "sys/class/net/x0/mtu": "9"}, "x0", "no", "no multicast", "multicast on"),
        (
            {"sys/class/net/x0/flags": "0x1003", "proc/sys/net/ipv4/conf/x0/rp_filter": "1"},
            "x0 rp_filter",
            "no",
            "strict",
            "rp_filter=2",
        ),
    ],
)
def test_invented_hosts(tmp_path: Path, files: dict[str, str], check: str, state: str, found: str, mend: str) -> None:
    rows = {row.check: row for row in doctor.examine(invent(tmp_path, files))}
    row = rows[check]
    assert row.state == state
    assert found in row.found
    assert (mend in row.mend) if mend else not row.mend


def test_a_segment_folder_that_is_not_there(tmp_path: Path) -> None:
    rows = {row.check: row for row in doctor.examine(shm_dir=str(tmp_path / "absent"))}
    row = rows[str(tmp_path / "absent")]
    assert (row.state, row.mend) == ("no", f"mkdir -p {tmp_path}/absent")


def test_a_buffer_beyond_every_limit_is_a_no() -> None:
    rows = list(doctor.sockets(doctor.Host(), 1 << 31 - 2))
    assert rows[0].check == "receive buffer"
    assert rows[0].state == "yes" or rows[0].mend == f"sysctl -w net.core.rmem_max={1 << 29}"


def test_text_of_the_host_is_not_markup() -> None:
    console = Console(file=StringIO(), width=80)
    console.print(table([doctor.Row("memory", "transparent", "yes", "always [madvise] never")]))
    assert "always [madvise] never" in console.file.getvalue()  # type: ignore[attr-defined]

"""feedhandler doctor: a row for each thing, with its reason and its remedy, on this host and on invented ones."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console

from feedhandler import doctor
from feedhandler.cli.doctor import table

TOPICS = ["system", "cpu", "clock", "tls", "sockets", "interface", "memory", "privileges", "backend"]
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
    assert found["cap_net_admin"]["state"] == found["lo af_xdp"]["state"] == "no" or os.getuid() != 0
    assert (found["lo sockets"]["state"], found["lo sockets"]["found"]) == ("yes", "recvmmsg on UDP sockets")
    assert "loopback has no native XDP" in found["lo af_xdp"]["found"]


def test_only_the_interfaces_asked_for() -> None:
    done = run_doctor("--json", "--interface", "lo", "--interface", "nix9")
    rows = [row for row in json.loads(done.stdout) if row["topic"] in ("interface", "backend")]
    assert [row["check"] for row in rows] == ["nix9", "lo", "lo sockets", "lo af_xdp", "lo rdma"]
    assert rows[0]["state"] == "no" and rows[0]["found"].startswith("there is none of this name; there are: ")


def test_text_as_an_ordinary_user_fits_80_columns() -> None:
    done = run_doctor()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for topic in TOPICS:
        assert any(line.startswith(topic) for line in lines)
    assert "setcap cap_net_admin" in done.stdout and "systemd: AmbientCapabilities=" in done.stdout
    assert lines[-1].endswith("could not be seen.")


def test_text_of_the_host_is_not_markup() -> None:
    console = Console(file=StringIO(), width=80)
    console.print(table([doctor.Row("memory", "transparent", "yes", "always [madvise] never")]))
    assert "always [madvise] never" in console.file.getvalue()  # type: ignore[attr-defined]

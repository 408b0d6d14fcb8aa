"""The benchmarks can be run, with the peers that are there, and say what they measured. Of figures nothing is asked."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_a_round_of_the_arbiters(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    command = [sys.executable, str(ROOT / "benchmarks/bench_line.py"), "--rounds", "1", "--json", str(path)]
    command.append("messages=20000")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(path.read_text())


def test_a_round_of_the_json_readers(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    command = [sys.executable, str(ROOT / "benchmarks/bench_json.py"), "--rounds", "1", "--json", str(path)]
    command += ["small", "texts=50", "objects=10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["contestant"]: row for row in json.loads(path.read_text())["results"]}
    assert rows["feedhandler: look and decode, to events"]["operations"] == 50


def test_a_round_of_the_websocket_clients(tmp_path: Path) -> None:
    """Over TLS: ours, in C and in Python, and whichever of the others is installed; and the parser alone."""
    for contest, least in (("tls_200", 2), ("parser", 2)):
        path = tmp_path / f"{contest}.json"
        command = [sys.executable, str(ROOT / "benchmarks/bench_websocket.py"), contest, "--rounds", "1"]
        command += ["--json", str(path), "messages=4000"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        measured = [row for row in json.loads(path.read_text())["results"] if "absent" not in row]
        assert len(measured) >= least
        assert all(row["operations"] > 0 and row["ns_per_operation"] > 0 for row in measured)

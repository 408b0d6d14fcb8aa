"""The benchmark that needs no peer can be run, and says what it measured. Of its figures nothing is asked here."""

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

"""Loss at speed over loopback, with a real request server and a real GLIMPSE server: the script, in its short form."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(port: int, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "scripts/loopback.py", "--json", "--port", str(port), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def port(free_udp_port: int) -> int:
    return min(free_udp_port, 65_000)


def test_what_both_lines_lose_comes_back_from_a_real_request_server(port: int) -> None:
    found = run(port, "--seconds", "1", "--rate", "100000", "--loss", "0.05")
    assert found["whole"] and found["lost"] == 0 and found["wrong_live"] == 0
    assert found["ladder"]["answers"] > 0 and found["recovered"] > 0


def test_both_lines_out_take_a_real_snapshot(port: int) -> None:
    found = run(port, "--seconds", "2", "--rate", "50000", "--outage", "0.5", "--gap-limit", "5000")
    assert found["whole"] and found["wrong_live"] == 0
    assert found["ladder"]["spliced"] >= 1

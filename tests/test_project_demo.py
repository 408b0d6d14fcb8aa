"""`make demo`, as it runs where standard output is no terminal."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_demo_shows_live_books_and_ends_by_itself_with_a_summary() -> None:
    name = f"demo-test-{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "scripts/demo.py", "--seconds", "3", "--rate", "5000", "--symbols", "20", "--name", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first book" in done.stdout
    assert "channel itch LIVE" in done.stdout
    assert not Path("/dev/shm", name).exists()

"""`make demo`, as it runs where standard output is no terminal."""

import os
import signal
import subprocess
import sys
import time
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


def test_ctrl_c_before_the_first_book_ends_the_demo_in_good_order() -> None:
    name = f"demo-early-{os.getpid()}"
    config = ROOT / "build" / "demo" / f"{name}.toml"
    demo = subprocess.Popen(
        [sys.executable, "scripts/demo.py", "--name", name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while not config.exists() and demo.poll() is None:
            time.sleep(0.01)
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
        config.unlink(missing_ok=True)
    assert demo.returncode == 0, said
    assert "demo: ended before there was anything to see" in said
    assert not Path("/dev/shm", name).exists()

"""`make demo`, as it runs where standard output is no terminal."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


ITCH = ("--seconds", "3", "--rate", "5000", "--symbols", "20")
CRYPTO = ("--feed", "crypto", "--seconds", "1")


@pytest.mark.parametrize(
    ("options", "channels"),
    [(ITCH, ["itch"]), (CRYPTO, ["binance", "coinbase", "kraken", "bitstamp"])],
    ids=["itch", "crypto"],
)
def test_the_demo_shows_live_books_and_ends_by_itself_with_a_summary(
    options: Sequence[str], channels: list[str]
) -> None:
    name = f"demo-test-{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "scripts/demo.py", *options, "--name", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first book" in done.stdout
    assert re.findall(r"channel (\w+) LIVE", done.stdout) == channels
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

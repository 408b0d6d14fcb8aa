"""The examples compile and run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from feedhandler.publish import Publisher, Segment
from feedhandler.records import Flag, Quality

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def segment() -> Segment:
    name = f"fh-example-{os.getpid()}"
    segment = Segment.create(name, instruments=4, ring_events=64)
    segment.directory["symbol"][1], segment.directory["venue"][1] = b"AAPL", b"XNAS"
    segment.part("directory")["used"] = 2
    segment.channels["quality"] = Quality.LIVE
    events = np.zeros(10, segment.slots.dtype)
    events["instrument"], events["flags"] = 1, Flag.LAST | Flag.TOB
    Publisher(segment.memory).append(events)
    yield segment
    segment.close()


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done


def test_a_cython_strategy_compiles_and_reads_without_the_gil(segment: Segment, tmp_path: Path) -> None:
    folder = tmp_path / "strategy"
    shutil.copytree(ROOT / "examples" / "cython_strategy", folder)
    python("setup.py", "-q", "build_ext", "--inplace", folder=folder)
    code = f"""
import feedhandler as fh, imbalance
with fh.attach({segment.name!r}) as feed:
    print(imbalance.watch(feed, "AAPL", 1000))
"""
    assert python("-c", code, folder=folder).stdout == "(10, 0, 0.0, 0)\n"


def test_the_python_strategy_runs_to_the_end_of_its_handler(segment: Segment) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "examples/strategy.py", segment.name], cwd=ROOT, env=environment, text=True, stdout=-1
    )
    assert child.stdout
    assert child.stdout.readline() == f"attached to {segment.name}: 1 symbols\n"
    segment.close()
    rest = child.stdout.read()
    child.stdout.close()
    assert child.wait(20) == 0
    assert rest.endswith("strategy: 0 book updates, 0 trades, 0 events missed\n")

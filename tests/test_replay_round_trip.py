"""Record, replay onto the wire, record again: `scripts/round_trip.py`, short and slow, exactly the same."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_what_is_recorded_replayed_and_recorded_again_is_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/round_trip.py", "--seconds", "1", "--rate", "4000", "--json", "--dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    legs = json.loads(done.stdout)
    assert [leg["name"] for leg in legs] == ["first", "second"]
    for leg in legs:
        assert leg["sent"] == leg["recorded"] == 4000
        assert leg["lines"] == {
            name: {"sent": 2000, "recorded": 2000, "missing": 0, "changed": 0, "out_of_order": 0} for name in "AB"
        }
    assert list(tmp_path.iterdir()) == []  # nothing is left behind

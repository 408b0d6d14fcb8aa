"""The suite without pytest, for guests; and the table of all receivers, written into the docs."""

import argparse
import json
import sys
from pathlib import Path

from tests.conformance.rigs import ELSEWHERE, EVERYWHERE, RIGS, load
from tests.conformance.table import DOCUMENT, outcomes, written


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.conformance", description=__doc__)
    parser.add_argument(
        "rig", nargs="?", choices=[*RIGS, *EVERYWHERE, *ELSEWHERE], help="the receiver whose cases are to run"
    )
    parser.add_argument("--json", metavar="FILE", help="write {case: outcome} there")
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCUMENT.name}")
    arguments = parser.parse_args()
    if arguments.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text()))
    if arguments.rig is None:
        return 0
    found = outcomes(load(arguments.rig), lambda name, outcome: print(f"{name}: {outcome}", flush=True))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1))
    return int(any(outcome.startswith("fails") for outcome in found.values()))


if __name__ == "__main__":
    sys.exit(main())

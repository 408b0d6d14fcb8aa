"""What the guest runs: the conformance suite on roce-ud, and cases of RDMA alone: `python -m tests.guest.inside`.

Each outcome is one line on the console, `OUTCOME` and JSON: the guest's files are not the host's. Names after the
module choose cases.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.guest import world

MARK = "OUTCOME "
BY_PYVERBS = ("order", "lengths", "empty", "batch", "release", "feed", "source", "exhaustion", "closed")
"""The conformance cases in which the loops could differ."""


def tell(suite: str, case: str, run: Callable[[], str | None]) -> None:
    """Run a case, and say what became of it in one line."""
    begin = time.monotonic()
    try:
        outcome = run() or "passes"
    except Exception:
        outcome = f"fails: {traceback.format_exc()}"
    said = {"suite": suite, "case": case, "outcome": outcome, "seconds": round(time.monotonic() - begin, 2)}
    print(f"\n{MARK}{json.dumps(said)}", flush=True)


def main(names: Sequence[str]) -> None:
    """Every case, or those named; what fails is told and ends nothing."""

    def chosen(name: str) -> bool:
        return not names or name in names

    from tests.guest import verbs_cases

    for name, case in verbs_cases.BEFORE.items():
        tell("verbs", name, case)
    world.make_network()
    world.make_device()
    for name, case in verbs_cases.CASES.items():
        if chosen(name):
            tell("verbs", name, case)

    from tests.conformance.cases import CASES
    from tests.conformance.table import declared, run
    from tests.guest.roce import RoceUd, RoceUdByPyverbs

    for kind, cases in ((RoceUd, list(CASES)), (RoceUdByPyverbs, BY_PYVERBS)):

        def one(case: str, kind: type[RoceUd] = kind) -> str:
            if case in kind.excused:
                return declared(kind, case)
            with tempfile.TemporaryDirectory() as folder:
                return run(kind, CASES[case], Path(folder))

        for name in filter(chosen, cases):
            tell(kind.name, name, lambda name=name, one=one: one(name))  # type: ignore[misc]


if __name__ == "__main__":
    main(sys.argv[1:])

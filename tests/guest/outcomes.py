"""What became of every case in the guest: one boot, for all tests that ask."""

from __future__ import annotations

import functools
import json
import os
import sys
from typing import NamedTuple

from tests.guest.boot import Run, absence, boot
from tests.guest.inside import MARK

SECONDS = 300.0  # emulated on busy cores it may take that long; on quiet ones a fifth


class Outcomes(NamedTuple):
    """By suite ("rdma roce-ud", "rdma roce-ud pyverbs", "verbs") and case: passes, refuses: ..., fails: ..."""

    found: dict[tuple[str, str], str]
    run: Run

    def of(self, suite: str, case: str) -> str:
        """The outcome, or how far the guest came without one."""
        missing = f"fails: no outcome (code {self.run.code}); the guest's last lines:\n"
        return self.found.get((suite, case)) or missing + "\n".join(self.run.output[-30:])


def unavailable() -> str | None:
    """Why there can be no outcomes here; None when there can."""
    if os.environ.get("FEEDHANDLER_ASAN"):
        return "the guest's interpreter does not load the sanitizers"
    return absence()


@functools.cache
def outcomes() -> Outcomes:
    """Boots the guest when called first. unavailable() was None."""
    run = boot([sys.executable, "-m", "tests.guest.inside"], SECONDS)
    found = {}
    for line in run.output:
        if line.startswith(MARK):
            said = json.loads(line.removeprefix(MARK))
            found[said["suite"], said["case"]] = said["outcome"]
    return Outcomes(found, run)

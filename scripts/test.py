"""`make test`: every check, three at a time, each with its time; `scripts/test.py lint types` runs only those.

The tests are three parts of disjoint files: "pytest", which often waits for a clock or a network, and "tables" and
"files", which compute meanwhile.
The last line is `N passed, N failed`: tests of all parts, and each part that is no test-suite as one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "-rs", "--durations=5", "--durations-min=3")
# Tests without a clock and without a network: they compute, or read and write files. Which core they run on, and what
# runs beside them, is nothing to them. Every other file is in the part "pytest".
CALM = {
    "tables": ("book", "book_levels", "binance_books", "crypto_*", "decode*", "faults_property", "line_*"),
    "files": ("check*", "convert*", "import", "inspect", "plot", "recording_[is]*", "websocket_days"),
}
FUZZ_SECONDS = os.environ.get("FUZZ_SECONDS", "60")


def calm(name: str) -> list[str]:
    """The files of one of CALM, relative to the root."""
    found = (path for stem in CALM[name] for path in ROOT.glob(f"tests/test_{stem}.py"))
    return sorted(str(path.relative_to(ROOT)) for path in found)


@dataclass(frozen=True)
class Part:
    """One check: what it is called, what to run (after the interpreter), which budget its time counts against."""

    name: str
    command: Sequence[str]
    budget: str = "tests"


@dataclass
class Outcome:
    """What a part said. `counts` are pytest's, where it is a test-suite."""

    part: Part
    seconds: float
    failed: bool
    counts: dict[str, int] = field(default_factory=dict)
    real_data: dict[str, int] = field(default_factory=dict)

    @property
    def tally(self) -> tuple[int, int]:
        """(passed, failed): of its tests, or the part as one."""
        passed, failed = self.counts.get("passed", 0), self.counts.get("failed", 0)
        if self.failed:
            return passed, max(failed, 1)
        return (passed, 0) if self.counts else (1, 0)


# seconds; "tests" with two minutes for the ways past the kernel (a guest, networks) and three for recordings (crashes,
# hand-overs, other programs that read them), five for JSON venues, less the two and a half that the wheel does not take
# where the checkout's compiled is found again; "asan" with its own build, "fuzz" with its start. Of three at a time,
# two cores make each half as long again
BUDGETS = {"build": 300, "tests": (360 + 120 + 180 + 300 - 150) * 3 // 2, "asan": (330 + 330) * 3 // 2, "fuzz": 60 + 15}
PARTS = (
    Part("lint", ("-m", "ruff", "check", "--quiet", ".")),
    Part("format", ("-m", "ruff", "format", "--check", "--quiet", ".")),
    Part("types", ("-m", "mypy")),
    Part("stubs", ("scripts/stubs.py",)),
    Part("pytest", (*PYTEST, "tests", *(f"--ignore={path}" for name in CALM for path in calm(name)))),
    *(Part(name, (*PYTEST, *calm(name))) for name in CALM),
    Part("wheel", (*PYTEST, "-m", "packaging", "tests/test_project_packaging.py")),
    Part("asan", ("scripts/asan.py", "--wire"), "asan"),
    Part("fuzz", ("-m", "tests.fuzz", "--seconds", FUZZ_SECONDS), "fuzz"),
)
BESIDE = ((8, ("asan", "fuzz")), (15, ("tables", "files", "wheel")))
"""Two lanes meanwhile, and how nice they are: none has a clock, and the first is the longest of all.

"fuzz" runs on what "asan" built, so it is behind it.
"""


def run(part: Part, output: IO[str] | None = None, nice: int = 0) -> Outcome:
    """Run one part with its output passed on, or written to `output`; less urgent by `nice`."""
    print(f"\n── {part.name} " + "─" * (76 - len(part.name)), flush=True, file=output)
    begin = time.monotonic()
    with tempfile.NamedTemporaryFile("r", suffix=".json") as report:
        environment = os.environ | {"FEEDHANDLER_TEST_REPORT": report.name}
        command = [sys.executable, *part.command]
        streams: dict[str, Any] = {}
        if output is not None:
            environment["FEEDHANDLER_JOBS"] = "1"
            command = ["nice", "-n", str(nice), *command]
            streams = {"stdout": output, "stderr": output}
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False, **streams).returncode
        text = report.read()
    said = json.loads(text) if text else {}
    seconds = time.monotonic() - begin
    verdict = "ok" if code == 0 else f"FAILED (code {code})"
    print(f"   {part.name}: {verdict}, {seconds:.1f} s", flush=True, file=output)
    return Outcome(part, seconds, code != 0, said.get("all", {}), said.get("real_data", {}))


def run_all(parts: Sequence[Part]) -> list[Outcome]:
    """One part after the other, and meanwhile those of each lane of BESIDE, whose output is shown at the end."""
    lanes = [(nice, [part for name in names for part in parts if part.name == name]) for nice, names in BESIDE]
    ahead = [part for part in parts if not any(part in lane for _, lane in lanes)]
    if not ahead:
        return [run(part) for _, lane in lanes for part in lane]

    def work(nice: int, lane: Sequence[Part], output: IO[str]) -> list[Outcome]:
        return [run(part, output, nice) for part in lane]

    with ExitStack() as stack, ThreadPoolExecutor(len(lanes)) as beside:
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in lanes]
        at_work = [beside.submit(work, *lane, output) for lane, output in zip(lanes, outputs, strict=True)]
        outcomes = [run(part) for part in ahead]
        for others, output in zip(at_work, outputs, strict=True):
            outcomes += others.result()
            output.seek(0)
            print(output.read(), end="", flush=True)
    return outcomes


def summary(outcomes: Sequence[Outcome], setup_seconds: float, all_seconds: float) -> None:
    """Print the time of each part beside the budgets, the real-data tests, and the closing line."""
    print("\n── times " + "─" * 71)
    print(f"  {'set-up, build':14} {setup_seconds:7.1f} s")
    for outcome in outcomes:
        print(f"  {outcome.part.name:14} {outcome.seconds:7.1f} s   {'FAILED' if outcome.failed else ''}".rstrip())
    spent = {"build": setup_seconds} | dict.fromkeys(list(BUDGETS)[1:], 0.0)
    for outcome in outcomes:
        spent[outcome.part.budget] += outcome.seconds
    said = [f"{k} {v:.0f} of {BUDGETS[k]} s{' OVER BUDGET' if v > BUDGETS[k] else ''}" for k, v in spent.items() if v]
    print(f"  budget: {', '.join(said)}; all {all_seconds:.0f} s, three at a time")
    real = Counter[str]()
    for outcome in outcomes:
        if outcome.part.name in ("pytest", *CALM):
            real.update(outcome.real_data)
    if real:
        print(f"  real-data tests: {real['passed'] + real['failed']} ran, {real['skipped']} skipped")
    passed, failed = (sum(column) for column in zip(*(o.tally for o in outcomes), strict=True))
    print(f"\n{passed} passed, {failed} failed", flush=True)


def main(names: Sequence[str]) -> int:
    """Run the parts named, or all; 0 when every one passed."""
    unknown = set(names) - {part.name for part in PARTS}
    if unknown:
        print(f"no part {', '.join(unknown)}; there are: {', '.join(p.name for p in PARTS)}", file=sys.stderr)
        return 2
    began = float(os.environ.get("FEEDHANDLER_STARTED") or time.time())
    setup_seconds = time.time() - began
    parts = [part for part in PARTS if not names or part.name in names]
    outcomes = run_all(parts)
    summary(outcomes, setup_seconds, time.time() - began)
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

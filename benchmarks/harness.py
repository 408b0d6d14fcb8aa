"""One contest: the same work done by several contestants, each in a process of its own, round by round in turn.

A benchmark file makes a `Contest`, gives it contestants, and ends in two lines:

    contest = harness.Contest("decode", unit="message", floor="bare C loop", options={"messages": 1_000_000})

    @contest.contestant("feedhandler")
    def ours(messages: int) -> harness.Round:
        data = make(messages)                       # set-up: not timed, in the contestant's own process
        def one_round() -> int:                     # timed; gives the number of operations it did
            return decoder.decode_bytes(data)
        return one_round

    @contest.contestant("itch-book", package="itch-book")
    def peer(messages: int) -> harness.Round: ...

    test_decode = contest.test()                    # for pytest-benchmark (`make bench`)
    if __name__ == "__main__":
        contest.main()                              # python benchmarks/bench_decode.py --rounds 5 messages=10000

A round that measures itself returns `Sample(operations, nanoseconds, extra)` instead of a count; `extra` holds further
figures by name (`{"p99_ns": 131}`), of which the median over the rounds is shown.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "bench"


@dataclass(frozen=True)
class Sample:
    """One round: operations done, nanoseconds they took, and further figures by name."""

    operations: int
    nanoseconds: float
    extra: Mapping[str, float] = field(default_factory=dict)


Round = Callable[[], "int | Sample"]
Setup = Callable[..., Round]


def on_this_thread(work: Callable[[], int]) -> Round:
    """A round of its own CPU time: the machine may be busy with other things."""

    def one_round() -> Sample:
        begin = time.thread_time_ns()
        done = work()
        return Sample(done, time.thread_time_ns() - begin)

    return one_round


@dataclass(frozen=True)
class Contestant:
    """One way of doing the work.

    `package` is the distribution it needs: absent, it stands in the table as absent. So it does with what `lacks` says
    that this machine has not.
    """

    name: str
    setup: Setup
    package: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    cpu: int | None = None
    lacks: Callable[[], str] = str

    @property
    def version(self) -> str | None:
        """The version of its package; None where that is not installed."""
        try:
            return metadata.version(self.package or "feedhandler")
        except metadata.PackageNotFoundError:
            return None if self.package else "checkout"


@dataclass(frozen=True)
class Result:
    """What a contestant did: one Sample a round, or the reason why there is none."""

    contestant: Contestant
    samples: tuple[Sample, ...]
    absent: str = ""

    @property
    def ns_per_operation(self) -> float:
        """The median over the rounds."""
        return statistics.median(s.nanoseconds / max(s.operations, 1) for s in self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a part of the median."""
        each = sorted(s.nanoseconds / max(s.operations, 1) for s in self.samples)
        if len(each) < 4 or not self.ns_per_operation:
            return 0.0
        low, _, high = statistics.quantiles(each, n=4)
        return (high - low) / 2 / self.ns_per_operation

    @property
    def extra(self) -> dict[str, float]:
        """Median of each further figure over the rounds."""
        names = dict.fromkeys(name for s in self.samples for name in s.extra)
        return {name: statistics.median(s.extra[name] for s in self.samples if name in s.extra) for name in names}


class Contest:
    """Contestants that do the same work, measured in one run.

    `unit` is what an operation is; `floor` names the contestant that all others are divided by; `options` go to every
    contestant's set-up as keywords and can be changed on the command line (`messages=10000`).
    """

    def __init__(
        self,
        name: str,
        *,
        unit: str,
        floor: str = "",
        rounds: int = 9,
        warmup: int = 1,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.unit, self.floor, self.rounds, self.warmup = name, unit, floor, rounds, warmup
        self.options = dict(options or {})
        self.contestants: dict[str, Contestant] = {}

    def contestant(
        self,
        name: str,
        *,
        package: str | None = None,
        cpu: int | None = None,
        lacks: Callable[[], str] = str,
        **options: Any,
    ) -> Callable[[Setup], Setup]:
        """Enter the decorated set-up function; `options` are further keywords of this contestant alone."""

        def enter(setup: Setup) -> Setup:
            self.contestants[name] = Contestant(name, setup, package, options, cpu, lacks)
            return setup

        return enter

    def run(self, file: Path, rounds: int | None = None, options: Mapping[str, Any] | None = None) -> list[Result]:
        """Measure all contestants of the benchmark in `file`, round by round in turn."""
        rounds = rounds or self.rounds
        chosen = self.options | dict(options or {})
        children: dict[str, _Child] = {}
        results: dict[str, Result] = {}
        samples: dict[str, list[Sample]] = {}
        try:
            for name, contestant in self.contestants.items():
                if contestant.version is None:
                    results[name] = Result(contestant, (), f"not installed: pip install {contestant.package}")
                    continue
                if lacks := contestant.lacks():
                    results[name] = Result(contestant, (), lacks)
                    continue
                children[name], samples[name] = _Child(file, self.name, name, chosen), []
                children[name].expect_ready()  # one set-up at a time: they are heavy too
            for number in range(self.warmup + rounds):
                for name, child in children.items():
                    sample = child.round()
                    if number >= self.warmup:
                        samples[name].append(sample)
        finally:
            for child in children.values():
                child.close()
        for name, taken in samples.items():
            results[name] = Result(self.contestants[name], tuple(taken))
        return [results[name] for name in self.contestants]

    def test(self) -> Any:
        """A test function for pytest-benchmark: it keeps the statistics of what the contestants measured."""
        import pytest

        contest = self
        cache: list[list[Result]] = []
        clock = _Replay()

        @pytest.mark.benchmark(group=self.name, timer=clock, disable_gc=False)
        @pytest.mark.parametrize("name", list(self.contestants))
        def test_contest(name: str, benchmark: Any, request: Any) -> None:
            if not cache:
                cache.append(contest.run(Path(request.node.path), **_given(request.config)))
                contest.report(cache[0])
            result = next(r for r in cache[0] if r.contestant.name == name)
            if result.absent:
                pytest.skip(result.absent)
            taken: Iterator[Sample] = iter(result.samples)
            benchmark.extra_info.update(
                ns_per_operation=result.ns_per_operation, version=result.contestant.version, **result.extra
            )
            benchmark.pedantic(lambda: clock.advance(next(taken)), rounds=len(result.samples), iterations=1)

        return test_contest

    def report(self, results: list[Result]) -> dict[str, Any]:
        """Print the table, write build/bench/NAME.json, return what stands in it."""
        floor = next((r for r in results if r.contestant.name == self.floor and not r.absent), None)
        rows: list[dict[str, Any]] = []
        for r in results:
            row: dict[str, Any] = {"contestant": r.contestant.name, "version": r.contestant.version}
            if r.absent:
                row["absent"] = r.absent
            else:
                row |= {"ns_per_operation": r.ns_per_operation, "spread": r.spread, "rounds": len(r.samples)}
                row |= {"operations": r.samples[-1].operations, "extra": r.extra}
                if floor and floor.ns_per_operation:
                    row["times_floor"] = r.ns_per_operation / floor.ns_per_operation
            rows.append(row)
        document = {
            "contest": self.name,
            "unit": self.unit,
            "floor": self.floor,
            "options": self.options,
            "machine": machine(),
            "results": rows,
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        RESULTS.joinpath(f"{self.name}.json").write_text(json.dumps(document, indent=1, default=str) + "\n")
        print(f"\n{self.table(document)}", file=sys.stderr, flush=True)
        return document

    def table(self, document: Mapping[str, Any]) -> str:
        """The results as a Markdown table, medians over rounds."""
        extras = dict.fromkeys(name for row in document["results"] for name in row.get("extra", ()))
        head = [self.name, "version", f"ns/{self.unit}", "±", f"× {self.floor or 'floor'}", *extras]
        lines = [head, ["---", "---", *["--:"] * (len(head) - 2)]]
        for row in document["results"]:
            if "absent" in row:
                lines.append([row["contestant"], row["absent"], *[""] * (len(head) - 2)])
                continue
            times = f"{row['times_floor']:.2f}" if "times_floor" in row else ""
            more = [f"{row['extra'][n]:,.1f}" if n in row["extra"] else "" for n in extras]
            ns = f"{row['ns_per_operation']:,.1f}"
            lines.append([row["contestant"], str(row["version"]), ns, f"{row['spread']:.0%}", times, *more])
        about = document["machine"]
        foot = (
            f"{about['cpu']}, {about['cpus']} cpus, Linux {about['kernel']}, Python {about['python']}; {about['flags']}"
        )
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{foot}"

    def main(self) -> None:
        """The benchmark as a program: `--rounds N`, `--json FILE` (or -), and KEY=VALUE for each option."""
        parser = argparse.ArgumentParser(description=f"benchmark {self.name}; options: {self.options}")
        parser.add_argument("--rounds", type=int, default=None, help=f"rounds per contestant ({self.rounds})")
        parser.add_argument("--json", metavar="FILE", help="write the results there too; - is standard output")
        parser.add_argument("options", nargs="*", metavar="KEY=VALUE", type=_key_value)
        arguments = parser.parse_args()
        unknown = [key for key, _ in arguments.options if key not in self.options]
        if unknown:
            parser.error(f"no option {unknown[0]}; there are: {', '.join(self.options) or 'none'}")
        self.options |= dict(arguments.options)
        document = self.report(self.run(Path(sys.argv[0]).resolve(), arguments.rounds))
        if arguments.json:
            text = json.dumps(document, indent=1, default=str) + "\n"
            sys.stdout.write(text) if arguments.json == "-" else Path(arguments.json).write_text(text)


def main(contests: Mapping[str, Contest]) -> None:
    """A file of several contests as a program: those whose names are among the arguments, or all."""
    chosen = [word for word in sys.argv[1:] if word in contests]
    sys.argv[1:] = [word for word in sys.argv[1:] if word not in chosen]
    for name in chosen or contests:
        contests[name].main()


class _Child:
    """A contestant in its own process: made, set up, then one round for each line it is sent."""

    def __init__(self, file: Path, contest: str, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        command = [sys.executable, __file__, "child", str(file), contest, name, json.dumps(options)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def _ask(self, word: str) -> Any:
        assert self._process.stdin and self._process.stdout
        try:
            if word:
                self._process.stdin.write(word + "\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
            return json.loads(line)
        except (BrokenPipeError, ValueError):
            raise RuntimeError(f"contestant {self.name} ended with code {self._process.wait()}; see above") from None

    def expect_ready(self) -> None:
        self._ask("")

    def round(self) -> Sample:
        return Sample(**self._ask("go"))

    def close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _serve(file: Path, of: str, name: str, options: dict[str, Any]) -> None:
    """The child's side: find the contest in `file`, set up, answer each line with one round."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a contestant prints is talk, not an answer
    sys.path[:0] = [str(ROOT), str(file.parent)]
    module = import_module(file.stem)
    contest = next(c for c in vars(module).values() if hasattr(c, "contestants") and c.name == of)
    contestant = contest.contestants[name]
    if contestant.cpu is not None and contestant.cpu in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {contestant.cpu})
    one_round = contestant.setup(**(options | contestant.options))
    print("true", file=answers, flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter_ns()
        done = one_round()
        took = time.perf_counter_ns() - begin
        sample = {"operations": done, "nanoseconds": took} if isinstance(done, int) else dict(vars(done))
        print(json.dumps(sample), file=answers, flush=True)


class _Replay:
    """A clock that stands still until it is told how long a round took, so pytest-benchmark sees the child's time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, sample: Sample) -> None:
        """One round took this long; divided by its operations, so that the statistics are per operation."""
        self.now += sample.nanoseconds / max(sample.operations, 1) * 1e-9


def _given(config: Any) -> dict[str, Any]:
    """What `make bench` was given in the environment: BENCH_ROUNDS=5, BENCH_OPTIONS="messages=10000"."""
    pairs = dict(_key_value(text) for text in os.environ.get("BENCH_OPTIONS", "").split())
    return {"rounds": int(os.environ.get("BENCH_ROUNDS", "0")) or None, "options": pairs}


def _key_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, kernel, compiler and flags, versions."""
    info = Path("/proc/cpuinfo").read_text()
    cpu = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    flags = "-O3, generic x86-64, no PGO"
    try:
        compiler = subprocess.run(
            [*os.environ.get("CC", "gcc").split(), "--version"], capture_output=True, text=True, check=True
        ).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        compiler = "no compiler here"
    return {
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "compiler": compiler,
        "flags": f"{compiler}, {flags}",
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _usage() -> NoReturn:
    raise SystemExit("harness.py is started by a benchmark file: python benchmarks/bench_NAME.py")


if __name__ == "__main__":
    if len(sys.argv) != 6 or sys.argv[1] != "child":
        _usage()
    _serve(Path(sys.argv[2]), sys.argv[3], sys.argv[4], json.loads(sys.argv[5]))

"""`python -m tests.fuzz`: builds, starts the workers, watches them, keeps what killed one."""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import asan  # noqa: E402  (scripts/asan.py: the instrumented build)

if TYPE_CHECKING:
    from tests.fuzz.engine import State

CRASHES = ROOT / "tests" / "fuzz" / "crashes"
HANGS_AFTER = 20.0  # seconds for one input


@dataclass
class Worker:
    """A fuzzing process, what it shares with us, and when it last moved."""

    process: subprocess.Popen[bytes]
    state: "State"
    log: Path
    executions: int = -1
    moved: float = 0.0


def start(number: int, folder: Path, arguments: argparse.Namespace, environment: dict[str, str]) -> Worker:
    from tests.fuzz.engine import State

    log = folder / f"{number}.log"
    state = State(folder / f"{number}.state")
    command = [sys.executable, "-m", "tests.fuzz", "--worker", str(folder / f"{number}.state")]
    command += ["--seconds", str(arguments.seconds), "--seed", str(arguments.seed + number)]
    command += ["--target", *arguments.target] if arguments.target else []
    command += ["--corpus", str(arguments.corpus)] if arguments.corpus else []
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=asan.COPY, env=environment, stdout=out, stderr=subprocess.STDOUT)
    return Worker(process, state, log, moved=time.monotonic())


def keep(worker: Worker, names: list[str], what: str) -> None:
    """Save the input that a worker died of, and say how to run it again."""
    target, raw = worker.state.running
    name = names[target] if target < len(names) else "unknown"
    CRASHES.mkdir(parents=True, exist_ok=True)
    path = CRASHES / f"{name}-{hashlib.sha256(raw).hexdigest()[:12]}"
    path.write_bytes(raw)
    print(worker.log.read_text(errors="replace")[-6000:])
    shown = path.relative_to(ROOT)
    print(f"fuzz: {what} in {name}, {len(raw)} bytes: {shown}")
    print(f"fuzz: run it again with: .venv/bin/python -m tests.fuzz --replay {shown}")
    print(f"fuzz: once mended, keep it: git mv it to tests/data/regressions/{path.name}", flush=True)


def watch(workers: list[Worker], names: list[str], began: float) -> int:
    """Until all workers are done: print how far they are; the number of workers that died or hung."""
    failures, told = 0, time.monotonic()
    running = list(workers)
    while running:
        time.sleep(0.2)
        now = time.monotonic()
        for worker in list(running):
            executions = worker.state.counts[0]
            if executions != worker.executions:
                worker.executions, worker.moved = executions, now
            code = worker.process.poll()
            if code is None and now - worker.moved > HANGS_AFTER * (4 if executions == 0 else 1):
                worker.process.kill()
                worker.process.wait()
                keep(worker, names, f"no progress for {now - worker.moved:.0f} s")
                failures += 1
                running.remove(worker)
            elif code is not None:
                running.remove(worker)
                if code != 0:
                    keep(worker, names, f"died (code {code})")
                    failures += 1
        if now - told > 10 or not running:
            told = now
            counts = [worker.state.counts for worker in workers]
            done, edges, corpus = sum(c[0] for c in counts), max(c[1] for c in counts), max(c[2] for c in counts)
            seconds = now - began
            print(
                f"fuzz: {seconds:4.0f} s, {done:,} executions ({done / seconds:,.0f}/s), {edges:,} edges, "
                f"corpus {corpus}, {failures} failures",
                flush=True,
            )
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="fuzz the receiver-to-book path")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("FEEDHANDLER_JOBS") or os.cpu_count() or 1))
    parser.add_argument("--seed", type=int, default=None, help="default: 1; with --corpus, the time")
    parser.add_argument("--target", nargs="*", default=[], help="names of targets; default all")
    parser.add_argument("--corpus", type=Path, help="folder to begin with and to keep new inputs in")
    parser.add_argument("--replay", type=Path, nargs="+", help="run these inputs, named TARGET-..., and end")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return serve(arguments)
    if arguments.seed is None:
        arguments.seed = int(time.time()) if arguments.corpus else 1
    asan.copy_tree()
    asan.build()
    environment = asan.environment()
    if arguments.replay:
        paths = [str(path.resolve()) for path in arguments.replay]
        command = [sys.executable, "-m", "tests.fuzz.replay", *paths]
        return subprocess.run(command, cwd=asan.COPY, env=environment, check=False).returncode
    names = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.targets"], cwd=asan.COPY, env=environment, capture_output=True, text=True
    )
    if names.returncode:
        print(names.stderr, file=sys.stderr)
        return 1
    chosen = [name for name in names.stdout.split() if not arguments.target or name in arguments.target]
    print(f"fuzz: {', '.join(chosen)}; {arguments.jobs} workers, seed {arguments.seed}", flush=True)
    if arguments.corpus:
        arguments.corpus = arguments.corpus.resolve()
    with tempfile.TemporaryDirectory(prefix="feedhandler-fuzz-") as folder:
        began = time.monotonic()
        workers = [start(n, Path(folder), arguments, environment) for n in range(max(1, arguments.jobs))]
        try:
            failures = watch(workers, chosen, began)
        except KeyboardInterrupt:
            failures = 0
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
    print("fuzz: nothing found" if not failures else f"fuzz: {failures} failures", flush=True)
    return int(failures > 0)


def serve(arguments: argparse.Namespace) -> int:
    """The worker's side."""
    import faulthandler

    from tests.fuzz.engine import State, ViolationError, work
    from tests.fuzz.targets import targets

    faulthandler.enable()
    chosen = [t for t in targets() if not arguments.target or t.name in arguments.target]
    try:
        work(chosen, State(arguments.worker), arguments.seconds, arguments.seed, arguments.corpus)
    except ViolationError as violation:
        print(f"violation: {violation}", flush=True)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())

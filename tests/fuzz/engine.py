"""The loop of one worker: pick, mutate, run, keep what reached something new."""

import ctypes
import mmap
import random
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.fuzz import packets

MAP_SIZE = 65536
STATE_SIZE = 128 * 1024
_STATE = struct.Struct("<QQQII")  # executions, edges, corpus; target, length of the input that runs


class ViolationError(AssertionError):
    """The code under test survived the input and did something it promises not to do."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed: a function of one input, and inputs to begin with. Raises ViolationError for a broken promise."""

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


class State:
    """What a worker tells its parent through a shared file, so that it can be read after the worker's death."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(STATE_SIZE)
            self._map = mmap.mmap(file.fileno(), STATE_SIZE)

    def begin(self, target: int, raw: bytes) -> None:
        """This input runs now."""
        self._map[_STATE.size : _STATE.size + len(raw)] = raw
        struct.pack_into("<II", self._map, 24, target, len(raw))

    def count(self, executions: int, edges: int, corpus: int) -> None:
        struct.pack_into("<QQQ", self._map, 0, executions, edges, corpus)

    @property
    def counts(self) -> tuple[int, int, int]:
        """(executions, edges, corpus)."""
        executions, edges, corpus, _, _ = _STATE.unpack_from(self._map, 0)
        return executions, edges, corpus

    @property
    def running(self) -> tuple[int, bytes]:
        """(target, input) of what runs, or ran last."""
        *_, target, length = _STATE.unpack_from(self._map, 0)
        return target, bytes(self._map[_STATE.size : _STATE.size + length])


class Coverage:
    """The map of coverage.c, which is loaded before the interpreter."""

    def __init__(self) -> None:
        try:
            self._take = ctypes.CDLL(None).fh_coverage_take
        except AttributeError:
            raise RuntimeError("tests/fuzz/coverage.c is not loaded: start with python -m tests.fuzz") from None

    def clear(self) -> None:
        """Forget what has run since the last question."""
        self.news(np.zeros(MAP_SIZE, np.uint8))

    def news(self, seen: NDArray[np.uint8]) -> int:
        """Edges that have run, as often as never before, since the last question; they are in `seen` then."""
        return int(self._take(seen.ctypes.data_as(ctypes.c_void_p)))


@dataclass
class Corpus:
    """The inputs of one target that each reached something new, newest last."""

    target: Target
    seen: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(MAP_SIZE, np.uint8))
    inputs: list[bytes] = field(default_factory=list)

    def pick(self, rng: random.Random) -> bytes:
        """An input, newer ones more often."""
        return self.inputs[max(rng.randrange(len(self.inputs)), rng.randrange(len(self.inputs)))]


def work(targets: Sequence[Target], state: State, seconds: float, seed: int, saved: Path | None) -> None:
    """Fuzz all targets in turn until the time is up. A ViolationError goes through; a crash takes the process.

    `saved` is a folder of inputs to begin with and to keep new ones in.
    """
    rng, coverage, executions = random.Random(seed), Coverage(), 0
    corpora = [Corpus(target) for target in targets]

    def execute(number: int, raw: bytes) -> None:
        nonlocal executions
        corpus = corpora[number]
        state.begin(number, raw)
        coverage.clear()
        corpus.target.run(raw)
        executions += 1
        if coverage.news(corpus.seen):
            corpus.inputs.append(raw)
            if saved:
                folder = saved / corpus.target.name
                folder.mkdir(parents=True, exist_ok=True)
                folder.joinpath(f"{hash(raw) & 0xFFFFFFFFFFFFFFFF:016x}").write_bytes(raw)
        if executions % 64 == 0:
            edges = sum(int(np.count_nonzero(c.seen)) for c in corpora)
            state.count(executions, edges, sum(len(c.inputs) for c in corpora))

    end = time.monotonic() + seconds
    for number, target in enumerate(targets):
        kept = sorted(saved.joinpath(target.name).glob("*")) if saved else []
        for raw in [*target.seeds, *(path.read_bytes() for path in kept)]:
            execute(number, raw)
        if not corpora[number].inputs:
            raise SystemExit(f"fuzz: no coverage from the seeds of {target.name}; is the build instrumented?")
    while time.monotonic() < end:
        for number, corpus in enumerate(corpora):
            turn_end = time.monotonic() + 0.25
            while time.monotonic() < turn_end:
                execute(number, packets.mutate(corpus.pick(rng), corpus.pick(rng), rng))
    sys.stdout.flush()

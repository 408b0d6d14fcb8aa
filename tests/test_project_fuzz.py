"""The fuzzer's parts, and every input that once broke something."""

import random
from pathlib import Path

import pytest

from tests.fuzz.packets import LONGEST, Wire, mutate, pack, parse
from tests.fuzz.replay import replay
from tests.fuzz.targets import targets

REGRESSIONS = Path(__file__).parent / "data" / "regressions"


@pytest.mark.wire
def test_what_once_broke_something_does_so_no_more() -> None:
    replay(sorted(REGRESSIONS.glob("*-*")))  # none yet: the fuzzer puts them there


@pytest.mark.wire
@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_the_seeds_and_some_of_their_neighbours_keep_every_promise(target) -> None:
    rng = random.Random(1)
    for seed in target.seeds:
        target.run(seed)
    for _ in range(20):
        target.run(mutate(rng.choice(target.seeds), rng.choice(target.seeds), rng))


def test_packets_survive_being_packed_and_any_bytes_are_packets() -> None:
    packets = [Wire(b"abc", 1, 2), Wire(b"", 0, 255), Wire(bytes(1000))]
    assert parse(pack(packets)) == packets
    rng = random.Random(2)
    for _ in range(200):
        raw = rng.randbytes(rng.randrange(60))
        assert len(mutate(raw, pack(packets), rng)) <= LONGEST

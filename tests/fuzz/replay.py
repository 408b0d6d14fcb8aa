"""Runs saved inputs through the target that their names begin with: `python -m tests.fuzz --replay FILE...`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from tests.fuzz.targets import targets


def replay(paths: Iterable[Path]) -> None:
    """Run each input; raises what its target raises."""
    known = {target.name: target for target in targets()}
    for path in paths:
        name = path.name.rsplit("-", 1)[0]
        if name not in known:
            raise ValueError(f"{path.name} names no target; there are: {', '.join(known)}")
        known[name].run(path.read_bytes())


if __name__ == "__main__":
    replay(Path(argument) for argument in sys.argv[1:])
    print(f"{len(sys.argv) - 1} inputs, nothing found")

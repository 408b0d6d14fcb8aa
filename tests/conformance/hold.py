"""A process that receives until it is killed: `python -m tests.conformance.hold BACKEND OPTIONS FLOWS`, both JSON."""

import json
import sys
from collections.abc import Sequence

from feedhandler.receive import choose
from tests.conformance.rig import Flow


def main(backend: str, options: str, flows: str) -> None:
    """Open, say so, and poll until the end."""
    lines: Sequence[Flow] = [Flow(**flow) for flow in json.loads(flows)]
    with choose.choose(lines, backend, json.loads(options)).receiver as receiver:
        receiver.drain()
        print("ready", flush=True)
        while True:  # what arrives stays where it is: the process dies with full rings
            receiver.wait_for(1.0)
            receiver.drain(1)


if __name__ == "__main__":
    main(*sys.argv[1:])

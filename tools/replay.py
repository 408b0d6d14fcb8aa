"""A recording onto the wire, to TCP clients, or into a handler: `feedhandler replay`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its inspect.py is not Python's

from feedhandler.cli import main  # noqa: E402

if __name__ == "__main__":
    main(["replay", *sys.argv[1:]])

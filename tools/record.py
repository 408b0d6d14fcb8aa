"""What comes off the wire into files: `feedhandler record`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its inspect.py is not Python's

from feedhandler.cli import main  # noqa: E402

if __name__ == "__main__":
    main(["record", *sys.argv[1:]])

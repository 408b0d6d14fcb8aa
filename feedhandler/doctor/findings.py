"""What the checks are made of: a host to look at, and rows of findings."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from feedhandler.doctor.kernel import Kernel

State = Literal["yes", "no", "unseen"]
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One finding: yes, no, or unseen; what was found and why it matters.

    `mend`: the commands that would mend it, one a line; "" where nothing is to be mended, or nothing would.
    """

    topic: str
    check: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """The files below `root` and the answers of `kernel` that tell of the machine; a test puts its own there."""

    root: Path = Path("/")
    kernel: Kernel = field(default_factory=Kernel)

    def text(self, path: str) -> str | None:
        """What the file holds, stripped; None when it is absent or may not be read."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """The first number of the file, or None."""
        words = (self.text(path) or "").split()
        return int(words[0]) if words and words[0].lstrip("-").isdigit() else None

    def names(self, path: str) -> list[str]:
        """What lies in a folder, sorted; nothing when it is absent or may not be read."""
        try:
            return sorted(each.name for each in (self.root / path).iterdir())
        except OSError:
            return []

    def fields(self, path: str) -> dict[str, str]:
        """A file of lines "name: value"."""
        lines = (self.text(path) or "").splitlines()
        return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}


def cpu_list(text: str) -> set[int]:
    """The CPUs of a list as the kernel writes it, "0-3,8"; what is no number is left out."""

    def numbers() -> Iterator[int]:
        for part in text.replace("\n", ",").split(","):
            first, _, last = part.strip().partition("-")
            if first.isdigit() and (not last or last.isdigit()):
                yield from range(int(first), int(last or first) + 1)

    return set(numbers())

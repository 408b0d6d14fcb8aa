"""Whether there is memory for what is asked, before it is taken: the kernel grants more than it has."""

import contextlib
from pathlib import Path

from feedhandler.errors import ConfigError

GROUPS = Path("/sys/fs/cgroup")


def available(proc: Path = Path("/proc"), groups: Path = GROUPS) -> int:
    """Bytes that this process may take without swapping, as far as the kernel and its control groups say."""
    free = 1 << 62
    try:
        for line in proc.joinpath("meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        (inside,) = (line[4:] for line in proc.joinpath("self/cgroup").read_text().splitlines() if line[:4] == "0::/")
    except (OSError, ValueError):
        return free
    group = groups / inside.lstrip("/")
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):  # the root has none, and a group without a limit says "max"
            free = min(free, int(folder.joinpath("memory.max").read_text()))
    return free


def require(taken: int, what: str) -> None:
    """Raise ConfigError when `taken` bytes for `what` are more than can be had."""
    free = available()
    if taken > free:
        raise ConfigError(f"{what} take {taken:,} bytes of memory, and {free:,} can be had; lower them")

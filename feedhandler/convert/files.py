"""Files that appear whole under their names or not at all: written beside, renamed at the end, removed on failure."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path

from feedhandler.convert.columns import Block
from feedhandler.errors import ConfigError


@dataclass(frozen=True)
class Written:
    """A file that was written."""

    path: str
    rows: int
    bytes: int


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """A conversion was asked to end; nothing was written."""


class Sink(ABC):
    """Where blocks go, in the order of the rows. `write` and `close` are called one after the other, never at once."""

    stopping: Callable[[], bool] = staticmethod(lambda: False)
    """Asked where closing takes long; True: close() raises Stopped."""
    notes: Sequence[str] = ()
    """What the format could not hold, in sentences; when all is written."""

    @abstractmethod
    def write(self, block: Block) -> None:
        """Take a block; its arrays may be kept."""

    @abstractmethod
    def close(self) -> list[Written]:
        """Everything written, under the final names."""

    @abstractmethod
    def abort(self) -> None:
        """Leave nothing."""

    def prepare(self, block: Block) -> Callable[[], None]:
        """What is left to be done about a block, which is done in its turn on the thread that writes.

        Called on the thread that collects: here stands what is known only now, and what that thread has the time for.
        """
        return partial(self.write, block)


class Target:
    """A file's final path, and the one it is written under: `.NAME.PID.partial` in the same folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self.rows = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            forget_stale(path.parent, path.name)
            self.partial.touch()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error

    def finish(self) -> Written:
        """Give it its name."""
        size = self.partial.stat().st_size
        self.partial.replace(self.path)
        return Written(str(self.path), self.rows, size)

    def remove(self) -> None:
        """Forget it."""
        self.partial.unlink(missing_ok=True)


def forget_stale(folder: Path, name: str) -> None:
    """Remove what a conversion to the same name that was killed has left."""
    for left in folder.glob(f".{escape(name)}.*.partial"):
        pid = left.name.rsplit(".", 2)[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

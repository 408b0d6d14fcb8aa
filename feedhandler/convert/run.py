"""`convert`: from recordings to files, whose format the name of the output says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from feedhandler.convert.arrow_files import ArrowFile, ParquetFile
from feedhandler.convert.columns import Arrow, Names
from feedhandler.convert.files import Sink
from feedhandler.convert.job import Progress, convert_one
from feedhandler.convert.options import FORMATS, Format, Options
from feedhandler.convert.report import Report
from feedhandler.errors import ConfigError

ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


def format_of(out: str | Path) -> Format | None:
    """The format that a file's name asks for; None for a folder. Raises ConfigError for an ending of no format."""
    path = Path(out)
    if path.is_dir() or not path.suffix:
        return None
    if path.suffix not in ENDINGS:
        raise ConfigError(f"{path}: no format of ours ends so; {', '.join(ENDINGS)}, or a folder")
    return ENDINGS[path.suffix]


def convert(
    inputs: Sequence[str | Path],
    out: str | Path,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Convert recordings to `out`.

    Raises ConfigError for arguments that do not fit, CaptureError for what is no recording, BackendError when a library
    is missing. Nothing stands under the final name before it is whole.
    """
    options = options or Options()
    out, how = Path(out), format_of(out)
    if how is None:
        raise ConfigError(f"{out}: name a file ({', '.join(ENDINGS)})")

    def make(names: Names, handler: Any) -> Sink:
        arrow = Arrow(names, options)
        return ParquetFile(out, arrow, options) if how == "parquet" else ArrowFile(out, arrow, options)

    return convert_one(inputs, make, options, progress=progress, stopping=stopping)


__all__ = ["FORMATS", "convert", "format_of"]

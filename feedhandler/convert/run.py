"""`convert`: from recordings to files, whose format the name of the output says; side by side, here or on a cluster.

A file is made of all inputs together, merged in time order. A folder gets files of each input apart: these are jobs,
which share nothing, so they can run in this process, in several, or on the machines of a Dask cluster: `run_job` is the
same function everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feedhandler.convert.arrow_files import ArrowFile, ParquetFile
from feedhandler.convert.columns import Arrow, Names
from feedhandler.convert.dataset import Dataset
from feedhandler.convert.dbn import DbnFile
from feedhandler.convert.files import Sink
from feedhandler.convert.job import Progress, convert_one
from feedhandler.convert.messages import MessageFiles, Tables
from feedhandler.convert.options import FORMATS, PARTITIONS, Format, Options
from feedhandler.convert.plain_files import CsvFile, NpyFile, NpzFile
from feedhandler.convert.report import Report
from feedhandler.decode import protocol
from feedhandler.errors import ConfigError
from feedhandler.handler import Handler

ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".dbn": "dbn",
    ".dbn.zst": "dbn",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".csv.zst": "csv",
    ".npz": "npz",
    ".npy": "npy",
}
SUFFIX: dict[Format, str] = {
    "parquet": ".parquet",
    "arrow": ".arrow",
    "dbn": ".dbn.zst",
    "csv": ".csv",
    "npz": ".npz",
    "npy": ".npy",
}
TABULAR: tuple[Format, ...] = ("parquet", "arrow", "csv")


def format_of(out: str | Path) -> Format | None:
    """The format that a file's name asks for; None for a folder. Raises ConfigError for an ending of no format."""
    path = Path(out)
    if is_folder(out):
        return None
    two = "".join(path.suffixes[-2:])
    for ending in (two, path.suffix):
        if ending in ENDINGS:
            return ENDINGS[ending]
    raise ConfigError(f"{path}: no format of ours ends so; {', '.join(ENDINGS)}, or a folder")


def known_format(name: str) -> Format:
    """A format by its name. Raises ConfigError."""
    for known in FORMATS:
        if known == name:
            return known
    raise ConfigError(f"format: {', '.join(FORMATS)}; found {name!r}")


def is_folder(out: str | Path) -> bool:
    """The output is a folder: it is one, or its name ends in / or has no ending."""
    return Path(out).is_dir() or not Path(out).suffix or str(out).endswith("/")


@dataclass(frozen=True)
class Job:
    """What one process does: some inputs into one file, or into files of one name below a folder."""

    inputs: tuple[str, ...]
    out: str
    format: Format
    options: Options
    name: str = ""
    """Of the files below the folder `out`, without ending; "" = `out` is a file."""
    partition: tuple[str, ...] = ()

    def sink(self, names: Names, handler: Handler) -> Sink:
        """Where its rows go."""
        out = Path(self.out)
        if self.options.kind == "messages":
            tables = Tables(names, handler, self.options)
            name = f"{self.name}{SUFFIX[self.format]}"
            return MessageFiles(tables, out, name, "date" in self.partition, lambda path: self._file(path, names))
        if self.name and self.partition:
            zone = protocol(handler.config.channels[0].protocol).clock.zone
            return Dataset(out, self.name, self.partition, names, self.options, zone)
        return self._file(out / f"{self.name}{SUFFIX[self.format]}" if self.name else out, names)

    def _file(self, path: Path, names: Names) -> Sink:
        if self.format == "dbn":
            return DbnFile(path, names, self.options)
        if self.format == "npz":
            return NpzFile(path, names, self.options)
        if self.format == "npy":
            return NpyFile(path, names, self.options)
        arrow = Arrow(names, self.options)
        if self.format == "csv":
            return CsvFile(path, arrow, self.options)
        return (
            ArrowFile(path, arrow, self.options) if self.format == "arrow" else ParquetFile(path, arrow, self.options)
        )


def run_job(job: Job, progress: Progress | None = None, stopping: Callable[[], bool] = lambda: False) -> Report:
    """Do one job, in this process."""
    return convert_one(job.inputs, job.sink, job.options, progress=progress, stopping=stopping)


def plan(
    inputs: Sequence[str | Path],
    out: str | Path,
    options: Options,
    *,
    format: Format | None = None,
    partition: Sequence[str] | None = None,
) -> list[Job]:
    """The jobs of a conversion. Raises ConfigError for what does not fit together."""
    if not inputs:
        raise ConfigError("convert: no input is named")
    folder = is_folder(out)
    how: Format = (format_of(out) if format is None else known_format(format)) or "parquet"
    if options.kind == "messages" and (not folder or how not in TABULAR):
        raise ConfigError(f"{out}: messages are a table for each type: name a folder, of {', '.join(TABULAR)}")
    if partition is not None and (unknown := [name for name in partition if name not in PARTITIONS]):
        raise ConfigError(f"partition: {', '.join(PARTITIONS)} or none; found {unknown[0]!r}")
    if partition and (not folder or (how != "parquet" and options.kind != "messages")):
        raise ConfigError(f"{out}: partitions are folders of Parquet files: name a folder")
    by_default = PARTITIONS if how == "parquet" or options.kind == "messages" else ()
    chosen = tuple(by_default if partition is None else partition) if folder else ()
    if how == "dbn":
        options = replace(options, dbn=options.dbn or 3)
    texts = tuple(map(str, inputs))
    if not folder:
        return [Job(texts, str(out), how, options)]
    names = _names(texts)
    return [Job((text,), str(out), how, options, name, chosen) for text, name in zip(texts, names, strict=True)]


def _names(inputs: Sequence[str]) -> list[str]:
    """A name for each input's files: its own without endings; its folder's before it where two would be the same."""
    paths = [Path(text).resolve() for text in inputs]
    if len(set(paths)) < len(paths):
        twice = next(text for text, path in zip(inputs, paths, strict=True) if paths.count(path) > 1)
        raise ConfigError(f"convert: {twice} is named twice")
    names = [path.name if path.is_dir() else path.name.split(".")[0] or path.name for path in paths]
    for depth in range(4):
        doubled = [i for i, name in enumerate(names) if names.count(name) > 1]
        for i in doubled:
            parts = paths[i].parts
            if depth + 2 <= len(parts):
                names[i] = f"{parts[-2 - depth]}-{names[i]}"
    return [f"{name}-{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def convert(
    inputs: Sequence[str | Path],
    out: str | Path,
    options: Options | None = None,
    *,
    format: Format | None = None,
    partition: Sequence[str] | None = None,
    jobs: int = 1,
    dask: str | None = None,
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Convert recordings (captures, folders that `record` wrote) to `out`, and say what became of them.

    `out` is a file, whose ending says the format, made of all inputs in time order; or a folder, which gets files of
    each input apart: Parquet by date and symbol (`partition`: "date", "symbol", or none of them), or `format`. `jobs`
    processes work side by side, one input each; `dask` is the address of a scheduler on whose cluster they work
    instead, on the same paths. `progress` is called now and then with bytes read, `stopping` is asked as often.

    Nothing stands under a final name before it is whole. Raises ConfigError for arguments that do not fit, CaptureError
    for what is no recording, BackendError when a library is missing, Stopped when `stopping` said so.
    """
    planned = plan(inputs, out, options or Options(), format=format, partition=partition)
    begin = time.perf_counter()
    whole = Report()
    if dask is not None:
        from feedhandler.convert.parallel import on_cluster

        reports = on_cluster(planned, dask, progress, stopping)
    elif jobs > 1 and len(planned) > 1:
        from feedhandler.convert.parallel import in_processes

        reports = in_processes(planned, min(jobs, len(planned)), progress, stopping)
    else:
        reports = []
        for job in planned:
            done = sum(report.read for report in reports)
            tell = None if progress is None else lambda offset, done=done: progress(done + offset)
            reports.append(run_job(job, tell, stopping))
    for report in reports:
        whole.add(report)
    whole.seconds = time.perf_counter() - begin
    return whole


__all__ = ["Job", "convert", "format_of", "known_format", "plan", "run_job"]

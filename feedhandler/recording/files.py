"""The files of a recording: found below the paths that were named, and put into chains that follow each other."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from feedhandler.errors import CaptureError, RecordingError
from feedhandler.receive import capture
from feedhandler.recording import manifest as manifests
from feedhandler.recording.manifest import Manifest

PARTIAL = ".partial"
BESIDE = (".index", ".books", ".json", ".toml", ".md", ".txt", ".tmp", ".new")  # what may lie beside recorded files
_NUMBERED = re.compile(r"(.+)-(\d{4,})(\.pcapng|\.pcap)(\.zst|\.gz)?(\.partial)?")


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file of a recording, as it was found."""

    path: Path
    """It may end in .partial, and lose that name when it is whole."""
    kind: capture.Kind
    size: int
    """Bytes on the disk."""
    entry: manifests.File | None = None
    """What the manifest says of it."""

    @property
    def name(self) -> str:
        """Its name when it is whole."""
        return self.path.name.removesuffix(PARTIAL)

    @property
    def complete(self) -> bool:
        """Nothing more will be written into it, as far as its name says."""
        return not self.path.name.endswith(PARTIAL)


@dataclass(frozen=True, slots=True)
class Folder:
    """Files that were found together: a recorded day with its manifest, or files without one."""

    path: Path
    files: tuple[RecordedFile, ...]
    manifest: Manifest | None = None


def find(paths: Iterable[str | Path]) -> list[Folder]:
    """All recorded files at and below the paths, in the order of the paths and, in a folder, of their names.

    Files of no known kind are passed over in folders; named themselves they are a CaptureError, and so is a path at
    which there is nothing to read. Raises RecordingError for a manifest that is not understood.
    """
    found: list[Folder] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(_single(path))
            continue
        below = [*_days(path)]
        if not below:
            raise CaptureError(f"{path}: there is no capture in this folder: no pcap, pcapng or BinaryFILE")
        found += below
    if not found:
        raise CaptureError("no file was named: give a recorded day's folder, or captures")
    return found


def _single(path: Path) -> Folder:
    """A file that was named. With a name of the recorder's it may have been renamed since."""
    if not path.exists():
        for other in (path.with_name(path.name + PARTIAL), path.with_name(path.name.removesuffix(PARTIAL))):
            if other != path and other.exists():
                path = other
    file = _file(path)
    return Folder(path.parent, (file,))


def _file(path: Path, manifest: Manifest | None = None) -> RecordedFile:
    what = capture.kind(path)
    name = path.name.removesuffix(PARTIAL)
    entry = next((file for file in manifest.files if file.name == name), None) if manifest else None
    return RecordedFile(path, what, path.stat().st_size, entry)


def candidates(folder: Path) -> list[Path]:
    """The files in a folder that may be recorded ones, by their names; a recorder's by their numbers."""
    try:
        entries = [path for path in folder.iterdir() if not path.is_dir()]
    except OSError as error:
        raise CaptureError(f"{folder}: {error.strerror}") from error
    found = (path for path in entries if not path.name.startswith(".") and not path.name.endswith(BESIDE))
    return sorted(found, key=_place)


def _place(path: Path) -> tuple[str, int, str]:
    numbered = _NUMBERED.fullmatch(path.name)
    return (f"{numbered[1]}-", int(numbered[2]), path.name) if numbered else (path.name, 0, "")


def folders(folder: Path) -> list[Path]:
    """The folder and those below it, in the order of their names."""
    found = [folder]
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            found += folders(path)
    return found


def _days(top: Path) -> Iterable[Folder]:
    """The folder itself, and those below it, as far as they hold something to read."""
    for folder in folders(top):
        manifest = manifests.load(folder) if (folder / manifests.NAME).exists() else None
        files = []
        for path in candidates(folder):
            with contextlib.suppress(CaptureError, FileNotFoundError):  # of no known kind; or removed just now
                files.append(_file(path, manifest))
        if files or manifest is not None:
            yield Folder(folder, tuple(files), manifest)


def chained(files: Iterable[RecordedFile]) -> list[list[RecordedFile]]:
    """The files of one recorder together, by its names (NAME-0001.pcapng …); each other one alone."""
    chains: dict[tuple[Path, str, str], list[tuple[int, RecordedFile]]] = {}
    for file in files:
        found = _NUMBERED.fullmatch(file.path.name)
        if found:
            chains.setdefault((file.path.parent, found[1], found[3]), []).append((int(found[2]), file))
        else:
            chains[file.path, "", ""] = [(0, file)]
    return [[file for _, file in sorted(chain, key=lambda entry: entry[0])] for chain in chains.values()]


def number_of(path: Path) -> int | None:
    """The number in a file's name, as the recorder gives them; None: it has none."""
    found = _NUMBERED.fullmatch(path.name)
    return int(found[2]) if found else None


def settled(path: Path) -> Path:
    """The file by the name that it has now: a recorder takes .partial off when it is whole. Raises RecordingError."""
    for name in (path.name, path.name.removesuffix(PARTIAL), path.name + PARTIAL):
        if (other := path.with_name(name)).exists():
            return other
    raise RecordingError(f"{path}: the file is gone: it was there when the recording was opened")

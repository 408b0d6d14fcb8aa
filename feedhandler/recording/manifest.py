"""The manifest of a recorded day: what was recorded, in which files, how much of it, and what is missing.

One file of JSON beside the recorded files, replaced as a whole (written aside, then renamed), so that who reads it
always finds a true one. `load(folder)` reads it, `save(manifest, folder)` replaces it.
"""

import dataclasses
import functools
import json
import os
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedhandler.errors import RecordingError
from feedhandler.recording.report import Gap

__all__ = [
    "NAME",
    "VERSION",
    "Acknowledged",
    "Channel",
    "File",
    "FileLine",
    "Gap",
    "Line",
    "Manifest",
    "load",
    "save",
]

NAME = "manifest.json"
VERSION = 1
SIGNED_MOST = 1 << 63


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was configured: a multicast group, or the server of a stream."""

    name: str
    group: str
    """Multicast group or address of a line of datagrams; "" of a stream."""
    port: int
    host: str
    """The server of a stream; "" of datagrams."""
    source: str
    """The one sender that was listened to; "" = any."""
    interface: str
    stream: bool


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it was configured, and what its lines together brought over the day."""

    name: str
    protocol: str
    session: str
    """The session protocol: moldudp64, soupbintcp, …"""
    venue: str
    date: str | None
    """The session date as configured, YYYY-MM-DD."""
    lines: tuple[Line, ...]
    sessions: tuple[str, ...] = ()
    """The names of the sessions that were seen, in their order."""
    first_seq: int | None = None
    """The first number of the first session; None: nothing numbered came."""
    last_seq: int | None = None
    """The last number of the last session."""
    gaps: tuple[Gap, ...] = ()
    """Where there are very many, those that stayed open, and the newest; `lost` counts all."""
    lost: int = 0
    """Messages that no line ever brought."""


@dataclass(frozen=True, slots=True)
class FileLine:
    """What a file has of a line."""

    channel: str
    line: str
    packets: int = 0
    """Datagrams; of a stream, segments that carry bytes."""
    bytes: int = 0
    """Of payloads."""
    first_ts: int | None = None
    """ns since the Unix epoch; None: no packet."""
    last_ts: int | None = None
    first_seq: int | None = None
    last_seq: int | None = None
    session: str = ""
    """The session of `last_seq`."""
    kernel_drops: int = 0
    """Packets that the kernel or the NIC had no room for, while this file was written."""
    dropped: int = 0
    """Packets that came in but could not be written: no room to wait, or no room on the disk."""
    ts_kind: str = "none"
    """What stamped the packets: hardware, kernel, clock; none: no packet."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the day, in the order in which they were begun."""

    name: str
    packets: int
    bytes: int
    """Of the file as it lies on the disk."""
    sha256: str | None
    """Of the whole file; None while it is not complete."""
    complete: bool
    first_ts: int | None
    """The earliest time of a packet, ns since the Unix epoch; None: no packet."""
    last_ts: int | None
    lines: tuple[FileLine, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What is certain to be readable after a crash of the recorder (with `sync`, of the machine)."""

    file: str
    """The file that was being written, by its final name."""
    packets: int
    """The first so many packets of it."""
    bytes: int
    """Lie in its first so many bytes."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A recorded day."""

    name: str
    """The recording's: [shm] name."""
    day: str
    """YYYY-MM-DD, in `zone`."""
    zone: str
    created: int
    """ns since the Unix epoch."""
    channels: tuple[Channel, ...]
    files: tuple[File, ...] = ()
    removed: int = 0
    """Files of this day that the ring has removed: too many (keep), or no room on the disk."""
    damage: tuple[str, ...] = ()
    """What went wrong, one sentence each."""
    acknowledged: Acknowledged | None = None
    complete: bool = False
    """Nothing more will be written: the recorder has stopped, or gone on to another day."""
    version: int = VERSION

    def line(self, channel: str, line: str) -> Line:
        """A line by its channel's name and its own. Raises KeyError."""
        for each in self.channels:
            for found in each.lines:
                if (each.name, found.name) == (channel, line):
                    return found
        raise KeyError(f"{channel}/{line}")


def load(path: str | Path) -> Manifest:
    """The manifest of a day: of its folder, or the file itself. Raises RecordingError naming file and key."""
    path = Path(path)
    file = path / NAME if path.is_dir() else path
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise RecordingError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{file}: expected JSON, found: {error}") from None
    if isinstance(value, dict) and value.get("version", VERSION) != VERSION:
        raise RecordingError(
            f"{file}: version: expected {VERSION}, found {value['version']!r}: it was written by another version of "
            "feedhandler; read it with that one"
        )
    manifest = _read(Manifest, value, file, "")
    assert isinstance(manifest, Manifest)
    for i, each in enumerate(manifest.files):
        if each.name in ("", ".", "..") or "/" in each.name or "\0" in each.name:
            raise _wrong(file, f"files[{i}].name", "a name of a file in this folder", each.name)
    return manifest


def save(manifest: Manifest, folder: str | Path, *, sync: bool = True) -> None:
    """Replace the manifest of a day's folder. `sync`: it is on the disk when this returns.

    Raises OSError when it cannot be written; the old one is then still there.
    """
    folder = Path(folder)
    aside = folder / f".{NAME}.new"
    try:
        with aside.open("wb") as file:
            file.write(text(manifest).encode())
            file.flush()
            if sync:
                os.fsync(file.fileno())
        aside.replace(folder / NAME)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """What was made, renamed and removed in it is on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def text(manifest: Manifest) -> str:
    """The manifest as JSON: each channel, file and sentence on a line of its own."""
    parts = []
    for field in dataclasses.fields(Manifest):
        value = getattr(manifest, field.name)
        if isinstance(value, tuple):
            inner = ",\n  ".join(_whole_file(item) if isinstance(item, File) else _json(item) for item in value)
            parts.append(f' "{field.name}": [\n  {inner}\n ]' if value else f' "{field.name}": []')
        else:
            parts.append(f' "{field.name}": {_json(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


@functools.lru_cache(maxsize=1 << 14)
def _whole_file(file: File) -> str:
    """A file as JSON: there may be many, all but the last are as they were, and this is written each second."""
    return _json(file)


def _json(value: Any) -> str:
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, ensure_ascii=False)


def _read(kind: Any, value: Any, file: Path, key: str) -> Any:
    """`value` as the type `kind`, which is one that stands in the classes above."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, value, file, key)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(file, key, "a list", value)
        return tuple(_read(inner[0], item, file, f"{key}[{i}]") for i, item in enumerate(value))
    if origin is types.UnionType:
        return None if value is None else _read(inner[0], value, file, key)
    if type(value) is not kind:
        names = {int: "an integer", str: "text", bool: "true or false"}
        raise _wrong(file, key, names[kind], value)
    if kind is int and not -SIGNED_MOST <= value < (SIGNED_MOST if key.endswith("_ts") else 2 * SIGNED_MOST):
        raise _wrong(file, key, "an integer of 64 bits", value)
    return value


def _record(kind: type, value: Any, file: Path, key: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(file, key, "an object", value)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    dot = f"{key}." if key else ""
    for name in value:
        if name not in fields:
            raise RecordingError(f"{file}: {dot}{name}: unknown key; known are {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name in value:
            values[name] = _read(hints[name], value[name], file, dot + name)
        elif field.default is dataclasses.MISSING:
            raise RecordingError(f"{file}: {dot}{name}: missing")
    return kind(**values)


def _wrong(file: Path, key: str, expected: str, value: Any) -> RecordingError:
    shown = json.dumps(value, ensure_ascii=False)
    found = shown if len(shown) <= 80 else shown[:77] + "..."
    return RecordingError(f"{file}: {key or 'the file'}: expected {expected}, found {found}")

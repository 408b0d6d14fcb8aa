"""Files of book snapshots (NAME.books): appended records, each with its own length and checksums.

A file that was cut at any byte holds the records before the cut. The format is documented in docs/recording.md.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import IO, Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from feedhandler.closing import Closing
from feedhandler.errors import RecordingError
from feedhandler.recording._digest import xxh64

__all__ = ["SUFFIX", "BooksFile", "Entry", "Kind", "Writer", "pack", "unpack"]

SUFFIX = ".books"
MAGIC = b"FHBK"
VERSION = 1
PACKED = 1  # flag: the payload is a zstd frame
LAST = 2  # flag: made at the end of the recording, not at a grid point
_FIELDS = struct.Struct("<4sHHqqQQQQ")
_CHECK = struct.Struct("<Q")
HEADER = _FIELDS.size + _CHECK.size  # 64 bytes
UNPACKED_MAX = 1 << 34  # of a payload
ALIGNMENT = 8
LEVEL = 1  # of zstd

Parts = dict[str, NDArray[Any]]


class Kind(IntEnum):
    """What a record is."""

    HEAD = 1
    """The first record: of which recording the file is."""
    SNAPSHOT = 2
    HASHES = 3
    VOID = 4
    """Time went back: snapshots that begin later than this record's `begin` must not be used."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as its header describes it."""

    kind: Kind
    flags: int
    begin: int
    """ns since the Unix epoch: the packets before it are in the snapshot, and some from there on."""
    until: int
    """The latest time of a packet that is in it."""
    packets: int
    """Packets of the recording that came before it."""
    stored: int
    """Bytes of the payload in the file."""
    unpacked: int
    check: int
    """XXH64 of the payload as it is stored."""
    at: int
    """Where in the file the payload begins."""


def pack(state: Mapping[str, Any], parts: Mapping[str, NDArray[Any]]) -> bytes:
    """A payload: length and text of a JSON object, then the parts, each at a multiple of eight bytes."""
    listed = [[name, array.nbytes] for name, array in parts.items()]
    text = json.dumps({"state": state, "parts": listed}, separators=(",", ":")).encode()
    pieces = [_CHECK.pack(len(text)), text, _padding(len(text))]
    for array in parts.values():
        pieces += [np.ascontiguousarray(array).tobytes(), _padding(array.nbytes)]
    return b"".join(pieces)


def unpack(payload: bytes) -> tuple[dict[str, Any], Parts]:
    """The state and the parts of a payload; the parts as arrays of bytes. Raises ValueError for anything else."""
    if len(payload) < _CHECK.size:
        raise ValueError("the payload has no length")
    (length,) = _CHECK.unpack_from(payload)
    at = _CHECK.size + length
    if at > len(payload):
        raise ValueError("the payload's text passes its end")
    try:
        told = json.loads(payload[_CHECK.size : at])
        state, listed = dict(told["state"]), [(str(name), int(size)) for name, size in told["parts"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"the payload's text is not understood: {error!r}") from None
    at += -at % ALIGNMENT
    parts: Parts = {}
    whole = np.frombuffer(payload, np.uint8)
    for name, size in listed:
        if not 0 <= size <= len(payload) - at or name in parts:
            raise ValueError(f"the part {name!r} passes the payload's end, or stands in it twice")
        parts[name] = whole[at : at + size]
        at += size + -size % ALIGNMENT
    return state, parts


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)


class BooksFile(Closing):
    """A file of book snapshots, read: `entries` are its records, `damage` says what could not be read of it.

    Raises RecordingError when the file cannot be opened, or is of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damage: list[str] = []
        try:
            self._file: IO[bytes] = self.path.open("rb")
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from error
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self.entries = list(self._walk())
            self.end = self.entries[-1].at + self.entries[-1].stored if self.entries else 0
            self.head: dict[str, Any] = self._read_head()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def cuts(self, kind: Kind) -> list[Entry]:
        """The snapshots, or the hashes, that time going back has not made void; by rising time."""
        found: list[Entry] = []
        for entry in self.entries:
            if entry.kind == Kind.VOID:
                found = [other for other in found if other.begin <= entry.begin]
            elif entry.kind == kind:
                found.append(entry)
        return found

    def load(self, entry: Entry) -> tuple[dict[str, Any], Parts]:
        """The state and the parts of a record. Raises RecordingError, naming the byte, when it is damaged."""
        self._file.seek(entry.at)
        stored = self._file.read(entry.stored)
        try:
            if len(stored) != entry.stored or xxh64(stored) != entry.check:
                raise ValueError("its checksum is another")
            payload = stored
            if entry.flags & PACKED:
                if zstandard.frame_content_size(stored) != entry.unpacked:
                    raise ValueError(f"it does not unpack to {entry.unpacked} bytes")
                payload = zstandard.ZstdDecompressor().decompress(stored, max_output_size=entry.unpacked)
            if len(payload) != entry.unpacked:
                raise ValueError(f"it unpacks to {len(payload)} bytes, not {entry.unpacked}")
            return unpack(payload)
        except (ValueError, zstandard.ZstdError) as error:
            where = f"{self.path}: byte {entry.at}"
            raise RecordingError(f"{where}: a {entry.kind.name.lower()} record is damaged: {error}") from None

    def _walk(self) -> Iterator[Entry]:
        at = 0
        while at < self.size:
            self._file.seek(at)
            header = self._file.read(HEADER)
            entry = _entry(header, at)
            if entry is None or entry.at + entry.stored > self.size:
                cut = len(header) < HEADER or entry is not None
                what = "ends in the middle of a record" if cut else "there is no record"
                self.damage.append(
                    f"{self.path}: byte {at}: {what}; the {self.size - at} bytes from here on are not used"
                )
                return
            yield entry
            at = entry.at + entry.stored

    def _read_head(self) -> dict[str, Any]:
        if not self.entries:
            return {}
        if self.entries[0].kind != Kind.HEAD:
            raise RecordingError(f"{self.path}: no file of book snapshots: it does not begin with its head; remove it")
        head, _ = self.load(self.entries[0])
        if head.get("version") != VERSION:
            found = head.get("version")
            raise RecordingError(
                f"{self.path}: book snapshots of version {found}, this program reads {VERSION}; remove the file"
            )
        return head


def _entry(header: bytes, at: int) -> Entry | None:
    if len(header) < HEADER:
        return None
    magic, kind, flags, begin, until, packets, stored, unpacked, payload = _FIELDS.unpack_from(header)
    (check,) = _CHECK.unpack_from(header, _FIELDS.size)
    if magic != MAGIC or kind not in list(Kind) or xxh64(header[: _FIELDS.size]) != check:
        return None
    entry = Entry(Kind(kind), flags, begin, until, packets, stored, unpacked, payload, at + HEADER)
    return entry if entry.unpacked <= UNPACKED_MAX else None


class Writer:
    """Appends records to a file of book snapshots; what a crash had left behind the last whole one is cut off.

    `head` describes the recording. Raises RecordingError for a file that is of another recording, or cannot be written.
    """

    def __init__(self, path: str | Path, head: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.dropped = 0
        """Bytes cut off."""
        self.written = 0
        head = {"version": VERSION, **head}
        existing = BooksFile(self.path) if self.path.exists() and self.path.stat().st_size else None
        self.entries: list[Entry] = []
        if existing is not None:
            with existing:
                if existing.entries and existing.head.get("channels") != head.get("channels"):
                    raise RecordingError(f"{self.path}: book snapshots of other channels or lines; remove the file")
                self.entries = existing.entries
                self.dropped = existing.size - existing.end
        try:
            self._file = self.path.open("r+b" if existing is not None else "wb")
            self._at = existing.end if existing is not None else 0
            self._file.truncate(self._at)
            self._file.seek(self._at)
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from error
        if not self.entries:
            self.append(Kind.HEAD, 0, 0, 0, head)

    def append(
        self,
        kind: Kind,
        begin: int,
        until: int,
        packets: int,
        state: Mapping[str, Any],
        parts: Mapping[str, NDArray[Any]] | None = None,
        flags: int = 0,
    ) -> Entry:
        """Write one record, whole, in one go. Raises RecordingError when the file system refuses it."""
        payload = pack(state, parts or {})
        stored = zstandard.ZstdCompressor(level=LEVEL).compress(payload) if parts else payload
        flags |= PACKED if parts else 0
        check = xxh64(stored)
        fields = _FIELDS.pack(MAGIC, kind, flags, begin, until, packets, len(stored), len(payload), check)
        try:
            self._file.write(fields + _CHECK.pack(xxh64(fields)) + stored)
            self._file.flush()
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}; what it held before is still good") from error
        entry = Entry(kind, flags, begin, until, packets, len(stored), len(payload), check, self._at + HEADER)
        self._at = entry.at + entry.stored
        self.written += HEADER + entry.stored
        self.entries.append(entry)
        return entry

    def close(self) -> None:
        """Close the file."""
        self._file.close()

"""Files unpacked as they are read, in constant memory. What is cut or corrupt says so; what came before it is given."""

import gzip
import mmap
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import zstandard

Compression = Literal["gzip", "zstd"]

SLICE = 1 << 12  # packed bytes fed at once: bounds what a slice can unpack to
PIECE = 1 << 18  # unpacked bytes asked of zlib at once


def compression(head: bytes) -> Compression | None:
    """How a file that begins with `head` (at least 4 bytes) is compressed; None when it is not."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    return None


class Unpacker:
    """A compressed file as a source of its unpacked bytes, over any number of gzip members or zstd frames.

    `readinto` raises ValueError, naming the byte of the packed file, when the data are cut or corrupt; all bytes that
    could be unpacked before have been given out by then.
    """

    def __init__(self, path: Path, kind: Compression, *, growing: bool = False) -> None:
        self.kind = kind
        self.file: IO[bytes] = path.open("rb")
        self.packed = b""
        self.ready = memoryview(b"")
        self.machine: Any = None
        self.fault: ValueError | None = None
        self.frames: Sequence[tuple[int, int]] = ()
        """Where independent frames begin: (in the unpacked data, in the file), ascending; for seek()."""
        self.growing = growing
        """What is not there yet may still come: its end, even inside a frame, is no fault."""
        self.place = 0
        """Bytes of the packed file that have been read; other threads may look."""

    packs = True

    def close(self) -> None:
        """Close the packed file."""
        self.file.close()

    def readinto(self, target: memoryview) -> int:
        """Fill `target` with unpacked bytes; how many, 0 at the end only. Raises ValueError on damage."""
        given = 0
        while given < len(target):
            if not self.ready:
                if self.fault is None and not self._unpack():
                    break
                if self.fault is not None:
                    if given:
                        break
                    raise self.fault
                continue
            taken = min(len(self.ready), len(target) - given)
            target[given : given + taken] = self.ready[:taken]
            self.ready = self.ready[taken:]
            given += taken
        return given

    def seek(self, place: int) -> None:
        """Go on `place` bytes into the unpacked data; `frames` saves unpacking what lies before it."""
        at = bisect_right(self.frames, (place, 1 << 63)) - 1
        start, packed = self.frames[at] if at >= 0 else (0, 0)
        self.file.seek(packed)
        self.place = packed
        self.packed, self.ready, self.machine, self.fault = b"", memoryview(b""), None, None
        skipped = bytearray(PIECE)
        while start < place:
            got = self.readinto(memoryview(skipped)[: min(PIECE, place - start)])
            if not got:
                raise ValueError(f"byte {self.file.tell()}: the {self.kind} data are shorter than they were")
            start += got

    def _unpack(self) -> bool:
        """Unpack one more slice into `ready`, or note the fault; False at the end."""
        if not self.packed:
            self.packed = self.file.read(SLICE)
            self.place += len(self.packed)
        if not self.packed:
            if self.machine is None or self.growing:
                return False
            if self.kind == "gzip" and (rest := self.machine.decompress(b"", PIECE)):  # held back by the bound
                self.ready = memoryview(rest)
            else:
                self.fault = ValueError(f"byte {self.file.tell()}: the {self.kind} data end before their end mark")
            return True
        try:
            self._feed()
        except (zlib.error, zstandard.ZstdError) as error:
            self.fault = ValueError(f"near byte {self.file.tell()}: corrupt {self.kind} data: {error}")
        return True

    def _feed(self) -> None:
        if self.machine is None:
            if self.kind == "gzip" and not self.packed.strip(b"\0"):  # padding behind the last member
                self.packed = b""
                return
            packed_by_gzip = self.kind == "gzip"
            self.machine = zlib.decompressobj(31) if packed_by_gzip else zstandard.ZstdDecompressor().decompressobj()
        if self.kind == "gzip":
            self.ready = memoryview(self.machine.decompress(self.packed, PIECE))
            self.packed = self.machine.unconsumed_tail or self.machine.unused_data
        else:
            self.ready = memoryview(self.machine.decompress(self.packed))
            self.packed = self.machine.unused_data
        if self.machine.eof:
            self.machine = None


def frames(path: Path) -> list[tuple[int, int]]:
    """Where the frames of a zstd file begin: (in the unpacked data, in the file), as far as they say their sizes.

    RFC 8878, section 3.1.1: a frame is its header, then blocks of which each has its size and a mark of the last one
    in three bytes, then perhaps four bytes of checksum.
    """
    found: list[tuple[int, int]] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = unpacked = 0
        while at + 9 < len(data) and compression(data[at : at + 4]) == "zstd":
            found.append((unpacked, at))
            header = data[at : at + 18]
            size = zstandard.frame_content_size(header)
            if size < 0:
                break
            checksum = header[4] & 4
            unpacked += size
            at += zstandard.frame_header_size(header)
            last = False
            while not last and at + 3 <= len(data):
                block = int.from_bytes(data[at : at + 3], "little")
                last = bool(block & 1)
                at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
            at += 4 if checksum else 0
    return found


class PlainFile:
    """A file as a source of its bytes, which may grow while it is read; not mapped: it may also be cut short."""

    packs = False

    def __init__(self, path: Path) -> None:
        self.file: IO[bytes] = path.open("rb", buffering=0)
        self.place = 0
        """Bytes that have been read."""
        self.growing = True

    def readinto(self, target: memoryview) -> int:
        """Fill `target` as far as there is something; how many, 0 at the present end."""
        got: int = self.file.readinto(target) or 0  # type: ignore[attr-defined]
        self.place += got
        return got

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Sink(Protocol):
    """What is written to and closed."""

    def write(self, data: bytes, /) -> int: ...
    def close(self) -> None: ...


def open_packed(path: Path) -> Sink:
    """A file to be written, compressed as its name says: .gz, .zst or plain. The same input gives the same bytes."""
    if path.suffix == ".gz":
        return _Gzip(path)
    if path.suffix == ".zst":
        return zstandard.ZstdCompressor(level=3).stream_writer(path.open("wb"), closefd=True)
    return path.open("wb", buffering=1 << 20)


class _Gzip(gzip.GzipFile):
    """A gzip file without name and time in its head, that closes what it writes to."""

    def __init__(self, path: Path) -> None:
        self.target = path.open("wb")
        super().__init__(filename="", mode="wb", compresslevel=6, fileobj=self.target, mtime=0)

    def close(self) -> None:
        super().close()
        self.target.close()

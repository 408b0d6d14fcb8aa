"""A simulated day into a file: BinaryFILE, plain or compressed."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from feedhandler.errors import ConfigError
from feedhandler.simulate._exchange import Exchange

CHUNK = 1 << 20


def write(path: str | Path, exchange: Exchange, progress: Callable[[int], None] | None = None) -> int:
    """Write the rest of the day to `path`, whose ending chooses the format; messages written.

    `.itch` and `.bin` are BinaryFILE (u16 length, message; length 0 at the end of the session), compressed with a
    further `.gz` or `.zst`. `progress` is called now and then with the messages produced so far.

    Raises ConfigError for another ending.
    """
    path = Path(path)
    before = exchange.messages
    with _open(path) as file:
        buffer = bytearray(CHUNK)
        view = memoryview(buffer)
        while n := exchange.produce(buffer):
            file.write(view[:n])
            if progress is not None:
                progress(exchange.messages)
        file.write(b"\0\0")
    return exchange.messages - before


@contextlib.contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    name = path.name.lower()
    compression = next((ending for ending in (".gz", ".zst") if name.endswith(ending)), "")
    if not name.removesuffix(compression).endswith((".itch", ".bin")):
        raise ConfigError(f"simulate: cannot tell the format of {path}: name it .itch, .itch.gz or .itch.zst")
    with path.open("wb") as raw, contextlib.ExitStack() as stack:
        if compression == ".gz":
            # no name and no time in the header: the same day gives the same file
            yield cast(BinaryIO, stack.enter_context(gzip.GzipFile("", "wb", 1, raw, mtime=0)))
        elif compression == ".zst":
            yield cast(
                BinaryIO, stack.enter_context(zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False))
            )
        else:
            yield raw

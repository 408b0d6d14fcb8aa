"""Finding a segment and opening it: what can be wrong with it is said in one sentence."""

import errno
import mmap
import os
import stat
import time
from pathlib import Path

from feedhandler.errors import LayoutError, SegmentError, WriterDiedError
from feedhandler.publish.segment import DEFAULT_DIR, segment_path
from feedhandler.read._reader import Reader

RETRY_SECONDS = 0.005


def open_reader(name: str, dir: str | os.PathLike[str] = DEFAULT_DIR, timeout: float = 0.0) -> Reader:
    """A Reader of the live segment `name`, waited for at most `timeout` seconds.

    Raises SegmentError when there is none, when it has stopped, or without the right to read it; WriterDiedError when
    its writer is dead; LayoutError when another version of feedhandler wrote it.
    """
    path = segment_path(name, dir)
    end = time.monotonic() + timeout
    while True:
        try:
            return _open_live(path)
        except LayoutError:
            raise
        except (SegmentError, WriterDiedError):
            if time.monotonic() >= end:
                raise
        time.sleep(RETRY_SECONDS)


def _open_live(path: Path) -> Reader:
    reader = _open(path)
    status = reader.status()
    if status == "running":
        return reader
    if status == "stopped":
        raise SegmentError(f"segment {path}: its handler has stopped; start it again")
    if status == "replaced":
        raise SegmentError(f"segment {path}: a new handler is taking it over at this moment; give attach() a timeout")
    raise WriterDiedError(f"segment {path}: the process that wrote it is dead; start the handler again")


def _open(path: Path) -> Reader:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SegmentError(f"segment {path}: there is none; {_neighbours(path)}") from None
    except OSError as error:
        raise SegmentError(f"segment {path}: cannot be read: {_refusal(path, error)}") from None
    try:
        size = os.fstat(fd).st_size
        if size == 0:
            raise SegmentError(f"segment {path}: it is empty")
        return Reader(mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ), fd)
    except LayoutError as error:
        raise LayoutError(f"segment {path}: {error}") from None
    except SegmentError as error:
        raise SegmentError(f"segment {path}: {error}") from None
    except OSError as error:
        raise SegmentError(f"segment {path}: cannot be mapped: {error.strerror}") from None
    finally:
        os.close(fd)


def only_segment(dir: str | os.PathLike[str] = DEFAULT_DIR) -> str:
    """The name of the only running handler's segment in `dir`. Raises SegmentError when there are none or several."""
    try:
        running = _running(Path(dir))
    except OSError as error:
        raise SegmentError(f"{dir}: cannot be read: {error.strerror}; say with --dir where the segment lies") from None
    if len(running) == 1:
        return running[0]
    if running:
        raise SegmentError(f"{len(running)} handlers run in {dir}: say which, {' or '.join(running)}")
    raise SegmentError(f"no handler runs in {dir}: start one, or say with --dir where its segment lies")


def _running(folder: Path) -> list[str]:
    """The segments whose writers live; what a killed one left is none of them."""
    running = []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and _is_segment(p)):
        try:
            _open_live(path)
        except (SegmentError, WriterDiedError):
            continue
        running.append(path.name)
    return running


def _neighbours(path: Path) -> str:
    """What runs instead."""
    try:
        names = _running(path.parent)
    except OSError:
        return f"and no folder {path.parent}"
    return f"start its handler, or attach to one of: {', '.join(names)}" if names else "start its handler"


def _is_segment(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8) == b"FEEFSHM1"
    except OSError:
        return False


def _refusal(path: Path, error: OSError) -> str:
    if error.errno not in (errno.EACCES, errno.EPERM):
        return error.strerror or "no reason given"
    try:
        about = path.stat()
    except OSError:
        return f"{error.strerror}; ask for the right to enter {path.parent}"
    mode, group = stat.S_IMODE(about.st_mode), _group(about.st_gid)
    return f"its mode is {mode:#o} and its group {group}; join that group, or change [shm] mode or group"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

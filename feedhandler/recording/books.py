"""Book snapshots and hashes of a recording: so that it can be played from anywhere, and proves itself.

`keep(day, seconds)` has them made while the day is recorded, `Keeper(recording, seconds).run()` afterwards.
`begun(recording, window, make)` is a handler that stands before a window, by the latest snapshot before it:
`open_recording` with a window that begins later uses it.
`prove(recording)` plays all again and compares every hash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from feedhandler._marks import Marks
from feedhandler.errors import RecordingError
from feedhandler.recording.books_file import BooksFile, Entry, Kind
from feedhandler.recording.books_keeper import (
    TRIES,
    Keeper,
    Keeping,
    Kept,
    beginning,
    books_path,
    keep,
    refuse_others,
    resume,
)
from feedhandler.recording.books_proof import Difference, Proof, prove
from feedhandler.recording.books_state import ChannelHash, hashes
from feedhandler.recording.window import Window

if TYPE_CHECKING:
    from feedhandler.handler import Handler
    from feedhandler.recording import Recording

__all__ = [
    "BooksFile",
    "ChannelHash",
    "Difference",
    "Entry",
    "Keeper",
    "Keeping",
    "Kept",
    "Kind",
    "Proof",
    "begun",
    "books_path",
    "hashes",
    "keep",
    "prove",
    "restore",
]

PACKETS_AT_ONCE = 4096


def restore(handler: Handler, file: BooksFile, entry: Entry) -> int:
    """Put a fresh handler where the recorder was at a snapshot: every book LIVE that was LIVE, STALE that was STALE.

    -> the time from which packets must be given to it, ns since the Unix epoch; those among them that the snapshot has
    seen are left out. With TCP streams its packets must be those of the whole recording: what the snapshot has seen of
    them is passed over. It then goes on exactly as a handler that was played to there from the beginning: the same
    books, counters and events, but for the numbers of the ring. Raises RecordingError for a snapshot that is damaged or
    does not fit the handler, which is then as it was.
    """
    resume(handler, file, entry, Marks())
    return entry.begin


def begun(recording: Recording, window: Window, make: Callable[[Window], Handler]) -> Handler:
    """A handler that all packets before `window.start` have gone through, from the latest snapshot on; those of the
    window come next.

    `make(window)` makes a fresh one for a part of the recording. Only snapshots all of whose packets came before the
    window are used; those that are damaged, or do not fit, are named in the handler's notes. Where none is left the
    recording is played from its beginning. TCP streams are read from there in any case, but not played; unless only
    some channels are, whose packets have no numbers in the snapshot.
    """
    assert window.start is not None
    handler = _restored(recording, window, make)
    try:
        while not handler.shard.turns_before(window.start, PACKETS_AT_ONCE):
            pass
    except BaseException:
        handler.close()
        raise
    return handler


def _restored(recording: Recording, window: Window, make: Callable[[Window], Handler]) -> Handler:
    """A handler behind a snapshot, or at the beginning."""
    path, said = books_path(recording), list[str]()
    if path is not None and path.exists():
        try:
            with BooksFile(path) as file:
                said += file.damage
                refuse_others(recording, file)
                before = [entry for entry in file.cuts(Kind.SNAPSHOT) if entry.until < (window.start or 0)]
                for entry in before[: -TRIES - 1 : -1]:
                    handler = make(Window(beginning(recording, entry), window.end))
                    try:
                        restore(handler, file, entry)
                    except RecordingError as error:
                        handler.close()
                        said += [str(error)] if str(error) not in said else []
                        continue
                    except BaseException:
                        handler.close()
                        raise
                    return _saying(handler, said)
        except RecordingError as error:
            said.append(str(error))
    return _saying(make(Window(None, window.end)), said)


def _saying(handler: Handler, said: list[str]) -> Handler:
    for sentence in said:
        handler.notes.append(sentence)
    return handler

"""Book snapshots and hashes of a recording: so that it can be played from anywhere, and proves itself.

`keep(day, seconds)` has them made while the day is recorded, `Keeper(recording, seconds).run()` afterwards.
`restore_before(handler, recording, ts)` puts a fresh handler behind the latest snapshot before a moment.
`prove(recording)` plays all again and compares every hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedhandler._marks import Marks
from feedhandler.errors import FeedError, RecordingError
from feedhandler.recording.books_file import BooksFile, Entry, Kind
from feedhandler.recording.books_keeper import Keeper, Keeping, Kept, books_path, keep, resume
from feedhandler.recording.books_proof import Difference, Proof, prove
from feedhandler.recording.books_state import ChannelHash, hashes

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
    "books_path",
    "hashes",
    "keep",
    "prove",
    "restore",
    "restore_before",
]

TRIES = 3  # snapshots that are tried, the latest first


def restore(handler: Handler, file: BooksFile, entry: Entry) -> int:
    """Put a fresh handler where the recorder was at a snapshot: every book LIVE that was LIVE, STALE that was STALE.

    -> the time from which packets must be given to it, ns since the Unix epoch; those among them that the snapshot has
    seen are left out. It then goes on exactly as a handler that was played to there from the beginning: the same books,
    counters and events, but for the numbers of the ring. Raises RecordingError for a snapshot that is damaged or does
    not fit the handler, which is then as it was.
    """
    resume(handler, file, entry, Marks())
    return entry.begin


def restore_before(handler: Handler, recording: Recording, ts: int) -> int | None:
    """Put a fresh handler behind the latest snapshot all of whose packets came before `ts` (ns since the Unix epoch).

    -> the time from which the recording is to be played, or None where there is no such snapshot: then from its
    beginning. Snapshots that are damaged, or do not fit the handler, are passed over, and named in `handler.notes`.
    """
    path = books_path(recording)
    if path is None or not path.exists():
        return None
    try:
        with BooksFile(path) as file:
            for sentence in file.damage:
                handler.notes.append(sentence)
            before = [entry for entry in file.cuts(Kind.SNAPSHOT) if entry.until < ts]
            for entry in before[: -TRIES - 1 : -1]:
                try:
                    return restore(handler, file, entry)
                except RecordingError as error:
                    handler.notes.append(str(error))
    except FeedError as error:
        handler.notes.append(str(error))
    return None

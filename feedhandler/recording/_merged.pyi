from collections.abc import Sequence
from typing import Self

from feedhandler.errors import CaptureError
from feedhandler.receive._receiver import Receiver
from feedhandler.recording.chain import Chain

class Merged(Receiver):
    """All packets of a recording's files in the order of their times."""

    errors: list[CaptureError]
    holes: list[tuple[int, int, int, int]]
    """Bytes missing from streams: (line, ts, place in the stream, bytes); complete once all is read."""
    following: bool
    def __new__(cls, lines: int, chains: Sequence[Chain], *, follow: bool = ...) -> Self: ...
    @property
    def error(self) -> CaptureError | None:
        """The first fault of a file, once the others have been read; the rest stand in `errors`."""
    @property
    def offset(self) -> int:
        """Bytes read of the files as they lie on the disk; beside `Recording.size` for progress."""
    def stop_following(self) -> None:
        """What the files hold now is all: their ends are the end. Safe from any thread."""

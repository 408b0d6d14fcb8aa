from typing import Any, Self

from feedhandler.receive._file import FileReceiver

class BinaryFile(FileReceiver):
    """Whole messages of a Nasdaq BinaryFILE, as runs; made by `capture.receiver`."""

    messages: int
    def __new__(cls, lines: int, source: Any, path: str, line: int = ...) -> Self: ...

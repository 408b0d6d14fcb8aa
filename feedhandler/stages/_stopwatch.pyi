from typing import Any, Self, final

from feedhandler.book import Books
from feedhandler.decode._decoder import Decoder
from feedhandler.line import Arbiter
from feedhandler.publish import Publisher
from feedhandler.receive._receiver import Receiver
from feedhandler.session import Framing

@final
class Stopwatch:
    """Stopwatch(receiver, line, framing, arbiter, decoder, books, publisher): parts of a handler that does not run."""

    texts: int
    others: int
    reads: int
    made: int
    def __new__(
        cls,
        receiver: Receiver,
        line: int,
        framing: Framing,
        arbiter: Arbiter,
        decoder: Decoder,
        books: Books,
        publisher: Publisher,
    ) -> Self: ...
    def measure(self, rows: Any, patience_ns: int) -> str:
        """Take texts until all rows are filled: ns of each stage (TLS, WebSocket, line, JSON, book) of each text."""

def tick(reads: int = 10000) -> float:
    """What one read of the clock costs, ns."""

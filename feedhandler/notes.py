"""Sentences for people, kept while there is room for them."""

from __future__ import annotations

from feedhandler.redact import redacted

KEPT = 1000


class Notes(list[str]):
    """A list of sentences, newest last; beyond `KEPT` the oldest leave. One may follow it by since()."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        """How many have left."""

    def append(self, sentence: str) -> None:
        """Add one, without what is secret in its URLs; safe from several threads."""
        super().append(redacted(sentence))
        while len(self) > KEPT:
            del self[0]
            self.left += 1

    def since(self, number: int) -> tuple[int, list[str]]:
        """The sentences from `number` on, counted from 0 and as far as they are kept, and the number to go on with."""
        left, kept = self.left, list(self)
        return left + len(kept), kept[max(0, number - left) :]

"""The messages of a recording as one session: for a SoupBinTCP server, or in new packets of a simulated venue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from feedhandler import session
from feedhandler.errors import ConfigError
from feedhandler.recording import Recording
from feedhandler.replay.source import Choice, Source
from feedhandler.simulate._feed import BlockSource, ReceiverBlocks


class Messages:
    """Each message of one channel once, in order, whichever line had it; `blocks` is what a sender takes.

    Their times are those of the packets that brought them; of a BinaryFILE, which has none, the messages' own.
    Used once, in a `with` block. Raises ConfigError when the choice has several channels.
    """

    def __init__(self, recording: Recording, choice: Choice) -> None:
        if choice.loops != 1:
            raise ConfigError("replay: messages become one session, whose numbers go on: it cannot be played in a loop")
        self.source = Source(recording, choice, "session")
        self.line = self.source.lines[0]
        self.blocks: BlockSource = ReceiverBlocks(
            self.source.ahead, session.framing("moldudp64"), timed=self.line.session != "binaryfile"
        )

    def __enter__(self) -> Messages:
        self.source.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.__exit__(None, None, None)

    def check(self) -> None:
        """Raise what was wrong with the recording, if anything was."""
        if self.source.error is not None:
            raise self.source.error


@contextlib.contextmanager
def messages(recording: Recording, choice: Choice) -> Iterator[Messages]:
    """The messages while the block runs; raises CaptureError at its end when the recording is damaged."""
    with Messages(recording, choice) as made:
        yield made
    made.check()

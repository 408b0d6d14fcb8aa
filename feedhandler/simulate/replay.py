"""A recorded file onto the wire: a capture's packets as they were, a BinaryFILE's messages in new packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from feedhandler import session
from feedhandler.receive import capture
from feedhandler.receive._receiver import Receiver
from feedhandler.simulate._feed import BlockSource, ReceiverBlocks
from feedhandler.simulate.multicast import MulticastSender
from feedhandler.simulate.soup import SoupServer


class Replayer:
    """The content of a pcap, pcapng or BinaryFILE, plain or compressed, for a sender.

    `lines`: the destinations in a capture that are the feed's lines; by default all. `framing`: what its packets
    are, needed by serve() only. Pacing is the sender's: `speed` 1.0 as recorded (a capture by its packets' times, a
    BinaryFILE by its messages' ITCH times), N times that, or neither `speed` nor `rate` for as fast as it goes; `rate`
    counts messages, and so is not for a capture's packets.

    Raises CaptureError when the file cannot be read or is of an unknown kind.
    """

    def __init__(
        self, path: str | Path, *, lines: Sequence[capture.Destination] | None = None, framing: str = "moldudp64"
    ) -> None:
        self.packets = capture.kind(path).format != "binaryfile"
        self.receiver: Receiver = capture.receiver(path, lines)
        self.framing = framing

    def send(self, sender: MulticastSender, progress: Callable[[int], None] | None = None) -> None:
        """Send everything on the sender's lines; a capture's line n goes to line n modulo their number."""
        sender.run(self.receiver if self.packets else ReceiverBlocks(self.receiver), progress)

    def serve(self, server: SoupServer, progress: Callable[[int], None] | None = None) -> None:
        """Serve the messages as one SoupBinTCP session, each sequence number once."""
        server.run(self.messages(), progress)

    def messages(self) -> BlockSource:
        """The messages alone, without their packets."""
        return ReceiverBlocks(self.receiver, session.framing(self.framing) if self.packets else None)

"""Stream lines of a handler: what the arbiter of their channel needs next, and what their framing makes of it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from feedhandler.counters import LINE
from feedhandler.session.stream_lines import StreamLine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from feedhandler.config import Line
    from feedhandler.receive.stream import StreamReceiver
    from feedhandler.session import Framing

BAD_PACKETS = [counter.name for counter in LINE].index("bad_packets")
LOOKS = 1000  # at a session's name and number, which change within nanoseconds
LINE_ENDED = 3  # LineRecord.state: the server has said that the session is over


class HandledStream(StreamLine):
    """The line of a handler."""

    def __init__(
        self,
        number: int,
        config: Line,
        receiver: StreamReceiver,
        framing: Framing,
        channel: NDArray[np.void],
        record: NDArray[np.void],
    ) -> None:
        super().__init__(number, config, receiver)
        self.framing, self._channel, self._record = framing, channel, record
        self._session = config.requested_session

    def wanted(self) -> tuple[str, int]:
        """The session that the channel is in and the next number it needs; at first, what is configured."""
        for _ in range(LOOKS):
            present, number = bytes(self._channel["session"]), int(self._channel["next_seq"])
            if number and present == bytes(self._channel["session"]):  # else they were changing: 0, name, 1
                break
        else:
            number = 1
        name = present.decode("latin1").strip("\0 ")
        return (name, number) if name else (self._session, 1)

    def prepare(self, sock: socket.socket) -> None:
        """The framing counts anew."""
        self.framing.begin_connection()

    def received(self) -> int:
        """Runs of bytes received so far that the framing could make something of.

        What it cannot read is no sign of life: a connection of which the framing has lost its place is to be ended.
        """
        bad = int(self._record["counters"][BAD_PACKETS])
        return max(0, int(self.receiver.counts(self.number)["packets"]) - bad)

    def ended(self) -> bool:
        """The server has said that the session is over."""
        return bool(self._record["state"] == LINE_ENDED)

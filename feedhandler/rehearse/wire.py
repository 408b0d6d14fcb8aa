"""What rehearse must know of a packet: where it stands in its session, and how to make a heartbeat."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from feedhandler.errors import ConfigError

MOLD = struct.Struct(">10sQH")
IEX = struct.Struct("<BBHIIHHQQQ")  # version, reserved, protocol, channel, session, length, count, offset, first, time
END_OF_SESSION = 0xFFFF


class Head(NamedTuple):
    """A packet's place: its messages are `first` and those behind it; of none, `first` is the next one."""

    session: bytes
    first: int
    messages: int

    @property
    def end(self) -> int:
        return self.first + self.messages


@dataclass(frozen=True)
class Wire:
    """One framing's packets. Raises ConfigError for a framing without sequence numbers."""

    framing: str

    def __post_init__(self) -> None:
        if self.framing not in ("moldudp64", "iextp"):
            raise ConfigError(f"rehearse: packets of {self.framing} cannot be rehearsed; moldudp64 and iextp can")

    def head(self, packet: bytes) -> Head | None:
        """The place of a packet; None when it is too short for one."""
        if self.framing == "moldudp64":
            if len(packet) < MOLD.size:
                return None
            session, first, count = MOLD.unpack_from(packet)
            return Head(session, first, 0 if count == END_OF_SESSION else count)
        if len(packet) < IEX.size:
            return None
        _, _, _, channel, session, _, count, _, first, _ = IEX.unpack_from(packet)
        return Head(f"{session:08x}{channel:08x}".encode(), first, count)  # as the framing hands it on

    def heartbeat(self, packet: bytes, ts_ns: int) -> bytes:
        """The heartbeat that would follow `packet`, sent at `ts_ns`."""
        head = self.head(packet)
        assert head is not None
        if self.framing == "moldudp64":
            return MOLD.pack(head.session, head.end, 0)
        version, reserved, protocol, channel, session, length, _, offset, _, _ = IEX.unpack_from(packet)
        return IEX.pack(version, reserved, protocol, channel, session, 0, 0, offset + length, head.end, ts_ns)

    def send_time(self, packet: bytes) -> int:
        """When it was sent, ns since the Unix epoch; 0 where the protocol does not say."""
        return 0 if self.framing == "moldudp64" else int(IEX.unpack_from(packet)[-1])

from typing import Any, Final

KINDS: Final[tuple[str, ...]]

class Framing:
    """One per line: cuts packets, or runs of bytes of a stream, into messages."""

    name: str
    stream: bool
    heartbeat_ms: int
    has_send_time: bool
    def begin_connection(self) -> None: ...
    def feed(self, data: bytes, capacity: int = ...) -> list[tuple[dict[str, Any], list[bytes]]]:
        """The frames of one packet or run of bytes: (fields, messages) each."""

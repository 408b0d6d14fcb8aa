from typing import Any

VERDICTS: tuple[str, ...]

def parse(frame: bytes, check_udp_checksum: bool = False) -> tuple[str, dict[str, Any], bytes | None]:
    """(verdict, fields, payload) of a frame."""

class Steering:
    """(group, port, source or any, VLAN) → line, at most 64 of them."""

    def add(self, group: bytes, port: int, source: bytes, vlan: int, line: int) -> None:
        """Packets of this flow are the line's."""
    def line(self, frame: bytes) -> int | None:
        """The line a good frame belongs to."""
    def blame(self, frame: bytes) -> int | None:
        """The line a frame without one was most likely meant for."""

from typing import Self, final

from feedhandler.record._intake import Intake
from feedhandler.recording._sequences import Sequences

WHY_FULL: int
WHY_FLUSH: int
WHY_SIZE: int
WHY_TIME: int
WHY_IDLE: int
WHY_STEP: int
WHY_CONNECTION: int
WHY_OVER: int
WHY_END: int

@final
class Encoder:
    """What the hot thread took in, as blocks of a capture file."""

    intake: Intake
    pcapng: bool
    lines: int
    sequences: Sequences
    file_bytes: int
    file_packets: int
    file_most: int
    boundary: int
    step_ns: int
    flush_at: int
    next_ts: int
    next_line: int
    next_connection: int
    packets: int
    def __new__(cls, intake: Intake, pcapng: bool, sequences: Sequences) -> Self: ...
    def target(self, line: int, head: bytes) -> None:
        """The headers of the line's packets, Ethernet to UDP or TCP; lengths and sums zero."""
    def begin_file(self, head_bytes: int) -> None:
        """A new file, that begins with so many bytes: its counts are zero."""
    def begin_day(self, sequences: Sequences) -> None:
        """Another day: numbers are counted anew, and streams go on where they are."""
    def begin_block(self) -> None:
        """What is written from now on stands in another block."""
    def add_bytes(self, count: int) -> None:
        """So many bytes were put behind the block by hand: statistics."""
    def latest(self, line: int) -> int:
        """The time of the line's last packet, of whatever file."""
    def stepped(self) -> None:
        """The step back of `next_line` has been taken notice of."""
    def comment(self, text: bytes) -> None:
        """A comment for the next packet; what finds no room behind others is left out. pcapng only."""
    def counts(self, line: int) -> tuple[int, int, int, int | None, int | None, int, int]:
        """Of the present file: (packets, bytes, lost, first_ts, last_ts, ts_kind, packets in the block)."""
    def numbers(self, line: int) -> tuple[int | None, int | None, str]:
        """(first number in the present file, last one, its session) of a line."""
    def next_number(self, line: int) -> tuple[str, int]:
        """(session, the next number that its channel lacks); ("", 1) when nothing is known of it."""
    def ended(self, line: int) -> bool:
        """Whether the line has said that its session is over."""
    def fill(self, block: bytearray, used: int) -> tuple[int, int]:
        """Write into `block`, of which `used` bytes are in use: (bytes in use now, WHY_*)."""
    def settle_losses(self) -> None:
        """At the end of all: what was lost behind the last packet of a line belongs to the present file, too."""
    def hang_up(self, block: bytearray, used: int) -> int:
        """The connections that are still there end: the bytes of the block that are in use now."""
    def connect(self, head: bytes, block: bytearray, used: int) -> int:
        """The connection that fill() came back for begins: the bytes of the block that are in use now."""

from feedhandler.recording._runs import Runs
from feedhandler.recording.report import ChannelReport

class Sequences(Runs):
    """What passed, by its numbers, per line and per channel, without decoding."""

    def feed(self, line: int, ts: int, payload: bytes) -> int:
        """One packet, received at `ts` (ns since the Unix epoch): what it showed (SAW_...), 0 for nothing."""
    def begin_connection(self, line: int) -> None:
        """The line, a stream, has a new connection: what comes next is its first byte."""
    def pass_time(self, now: int) -> int:
        """No packet has come until `now`, ns since the Unix epoch. As feed()."""
    def describe(self) -> str:
        """What the last feed() or pass_time() showed, in words; "" for nothing."""
    def report(self) -> list[ChannelReport]:
        """What has been seen so far, channel by channel. What is missing now counts as lost for good."""

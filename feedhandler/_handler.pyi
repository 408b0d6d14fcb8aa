from feedhandler._delivery import Delivery

class Shard(Delivery):
    """One hot thread's share: a receiver, its lines and channels, and the way into one segment."""

    def run(self) -> bool:
        """Turn until stop() or the end of the input; True at the end of the input."""
    def turn_once(self) -> bool:
        """Take what is waiting, without waiting for more; True at the end of the input."""
    def turn_many(self, turns: int) -> bool:
        """At most so many turns, without waiting; True at the end of the input."""
    def turns_before(self, ts: int, turns: int) -> bool:
        """Take packets earlier than `ts`, so many at most; True when the next is not, or there is none."""
    def turn_to_cut(self, turns: int) -> bool:
        """At most so many packets, as far as the marks' next cut; True at the end of the input."""
    def turn_to_packet(self, packets: int, turns: int) -> bool:
        """As turn_many(), but no further than so many packets in all."""
    def step(self) -> bool:
        """Take one packet, if one is there; True at the end of the input."""
    def finish(self) -> None:
        """The end of a capture: holes still open become gaps."""
    def stop(self) -> None:
        """Ask run() to return after the present turn."""

from typing import Self, final

@final
class Schedule:
    """When each packet of a sender is due, counted from one fixed start, and how far from that it was sent."""

    def __new__(cls, *, speed: float | None = None, rate: float | None = None, steps: bool = False) -> Self: ...
    @property
    def speed(self) -> float:
        """Times the pace of the packets' own times; 0 = they do not count."""
    @property
    def interval(self) -> float:
        """Nanoseconds between packets; 0 = none."""
    @property
    def steps(self) -> bool:
        """Only as many packets as were allowed."""
    @property
    def start(self) -> int:
        """The fixed instant, CLOCK_MONOTONIC, ns; 0 = not begun."""
    @property
    def paced(self) -> bool:
        """Whether packets are due at times: then there are errors to tell."""
    def allow(self, packets: int = 1) -> None:
        """Let so many more packets go, of a schedule by steps. From any thread."""
    def error_ns(self, share: float) -> int:
        """The error that `share` (0 to 1) of the packets kept, ns."""
    @property
    def figures(self) -> dict[str, float]:
        """sends, max_ns, mean_ns, due_ns, sent_ns."""

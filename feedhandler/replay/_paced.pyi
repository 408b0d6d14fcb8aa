from typing import Self, final

from feedhandler.receive._receiver import Receiver
from feedhandler.simulate._schedule import Schedule

@final
class Paced(Receiver):
    """The packets of `source`, each not before it is due; the error of each is in `schedule`."""

    def __new__(cls, lines: int, source: Receiver, schedule: Schedule, *, spin: bool = False) -> Self: ...
    @property
    def spin(self) -> bool:
        """Waits without sleeping."""

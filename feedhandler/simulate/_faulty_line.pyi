from typing import Self, final

from feedhandler.simulate._faults import LineFaults

@final
class FaultyLine:
    """A line of the live sender that a script of faults has in its hands."""

    def __new__(cls, faults: LineFaults) -> Self: ...

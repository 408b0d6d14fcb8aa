from typing import final

@final
class Records:
    """The records of a channel and its lines, until it is bound to a segment's."""

    def __init__(self, first_line: int, count: int) -> None: ...

from typing import final

@final
class Window:
    """The reorder window of one channel."""

    capacity: int
    waiting: int
    low: int
    high: int
    def __init__(self, capacity: int = ..., log_bytes: int = ...) -> None: ...

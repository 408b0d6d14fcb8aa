from typing import final

@final
class Texts:
    """Texts that wait for what stands before them: copies, in memory taken once."""

    def __init__(self, instruments: int, capacity: int) -> None: ...

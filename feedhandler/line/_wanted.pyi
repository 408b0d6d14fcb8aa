from typing import final

@final
class Wanted:
    """Which missing numbers recovery is asked for."""

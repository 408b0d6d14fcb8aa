from typing import final

@final
class Score:
    """By how many ns each line's winning copies were before the next ones."""

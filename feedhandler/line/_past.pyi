from typing import final

@final
class Past:
    """Sessions left and gaps given up."""

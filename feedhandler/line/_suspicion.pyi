from typing import final

@final
class Suspicion:
    """Lines that show numbers below ours."""

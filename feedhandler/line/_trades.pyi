from typing import final

@final
class Trades:
    """Which of the numbered trades were handed out already, whichever connections brought them."""

    def __init__(self, lines: int, instruments: int) -> None: ...

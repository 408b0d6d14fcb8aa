from typing import final

from feedhandler.book._level_book import LevelBook

@final
class Standby:
    """The private books of a line that feeds none of the published ones."""

    books: LevelBook
    def __init__(self, like: LevelBook) -> None: ...

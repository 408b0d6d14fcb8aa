"""What is closed when its `with` block ends."""

import abc
from typing import Self


class Closing(abc.ABC):
    """close(), which is harmless when done twice, ends the `with` block."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

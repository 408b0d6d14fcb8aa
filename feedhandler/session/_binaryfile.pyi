from typing import final

from feedhandler.session._framing import Framing

@final
class BinaryFileFraming(Framing):
    """Length-prefixed messages; message n has number n."""

    ended: bool
    @property
    def unfinished(self) -> int:
        """Bytes of a message that is not whole yet."""

from typing import Final, final

from feedhandler.session._framing import Framing

DEEP: Final[int]

@final
class IexTpFraming(Framing):
    """IEX-TP 1 of one message protocol."""

    protocol_id: int
    def __init__(self, protocol_id: int = ...) -> None: ...

from typing import final

from feedhandler.session._framing import Framing

@final
class MoldUdp64Framing(Framing):
    """MoldUDP64 downstream packets."""

from feedhandler.session._framing import Framing

class MoldUdp64Framing(Framing):
    """MoldUDP64 downstream packets."""

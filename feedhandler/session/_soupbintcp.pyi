from typing import final

from feedhandler.session._framing import Framing

@final
class SoupBinTcpFraming(Framing):
    """Server packets of one SoupBinTCP connection, from the answer to the login on."""

from feedhandler.session._framing import Framing

class SoupBinTcpFraming(Framing):
    """Server packets of one SoupBinTCP connection, from the answer to the login on."""

from typing import final

from feedhandler.decode._text import TextDecoder

@final
class ProtocolDecoder(TextDecoder):
    """Texts of `feedhandler.decode.bitstamp` into events."""

from typing import final

from feedhandler.decode._levels import LevelDecoder

@final
class ProtocolDecoder(LevelDecoder):
    """Texts of `feedhandler.decode.kraken` into events."""

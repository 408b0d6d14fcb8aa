from typing import final

from feedhandler.decode.binance._events import BinanceDecoder

@final
class ProtocolDecoder(BinanceDecoder):
    """Texts of `feedhandler.decode.binance` into events."""

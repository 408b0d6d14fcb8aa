from feedhandler.decode._levels import LevelDecoder

class BinanceDecoder(LevelDecoder):
    """Base of the decoders of the spot market and of USD-M futures."""

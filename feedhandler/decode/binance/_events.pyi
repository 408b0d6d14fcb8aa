from feedhandler.decode._text import TextDecoder

class BinanceDecoder(TextDecoder):
    """Base of the decoders of the spot market and of USD-M futures."""

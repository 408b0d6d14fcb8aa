from feedhandler.decode._text import TextDecoder

class LevelDecoder(TextDecoder):
    """Base of the decoders whose texts have price levels."""

"""The compiled decoder of `feedhandler.decode.binance`."""
cimport cython
from feedhandler._instruments cimport Instruments
from feedhandler.decode._text cimport RULE_RANGES
from feedhandler.decode.binance._events cimport BinanceDecoder


@cython.final
cdef class ProtocolDecoder(BinanceDecoder):
    def __cinit__(self, Instruments instruments not None, int channel=0, str venue not None="BINANCE", *args):
        self.protocol = "binance"
        self.rule = RULE_RANGES
        self.futures = False

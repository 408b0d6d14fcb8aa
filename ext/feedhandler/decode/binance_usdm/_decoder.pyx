"""The compiled decoder of `feedhandler.decode.binance_usdm`."""
cimport cython
from feedhandler._instruments cimport Instruments
from feedhandler.decode._text cimport RULE_CHAIN
from feedhandler.decode.binance._events cimport BinanceDecoder


@cython.final
cdef class ProtocolDecoder(BinanceDecoder):
    def __cinit__(self, Instruments instruments not None, int channel=0, str venue not None="BINUSDM", *args):
        self.protocol = "binance_usdm"
        self.rule = RULE_CHAIN
        self.futures = True

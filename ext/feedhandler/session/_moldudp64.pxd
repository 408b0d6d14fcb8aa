from feedhandler.session._framing cimport Framing


cdef class MoldUdp64Framing(Framing):
    pass

# cython: language_level=3
"""picows' own recommendation for speed: a listener in Cython. Built when the benchmark runs, for its package may be absent."""
from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport


cdef class Listener(WSListener):
    """Counts text frames, their bytes and their first bytes; ends a future when there are enough."""
    cdef public long long messages, bytes, firsts, enough
    cdef public object done

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        if frame.msg_type == WSMsgType.TEXT:
            self.messages += 1
            self.bytes += frame.payload_size
            self.firsts += <unsigned char> frame.payload_ptr[0]
            if self.messages == self.enough:
                self.done.set_result(None)

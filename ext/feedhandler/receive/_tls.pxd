"""TLS by OpenSSL on a line's fixed memory. What holds of the polling thread's calls stands in tls.h."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "tls_state.h" nogil:
    ctypedef struct ssl_st "struct ssl_st":
        pass
    ctypedef struct ssl_session_st "struct ssl_session_st":
        pass

    ctypedef struct fh_tls "struct fh_tls":
        ssl_st *ssl
        ssl_session_st *latest
        int fd
        int once
        int drained             # this turn's receive call took all there was
        int blocked
        int more                # plain bytes may wait inside: poll again without waiting for the socket
        int end
        int error               # errno for LineStatus, when it is over
        unsigned long failure
        uint64_t direct
        uint64_t refused

cdef class Tls:
    """One client connection: handshake, then read and write, by the control thread; then the polling thread's alone."""
    cdef fh_tls state
    cdef void *context                      # SSL_CTX
    cdef readonly str host
    cdef readonly bint shaken               # the handshake is done
    cdef readonly bint handed_over          # to a StreamReceiver: its polling thread alone reads and writes
    cdef object sock                        # the control thread's, until then
    cdef bytes resumed_as                   # what a session must begin with to be of this host and these authorities
    cdef bytes kept                         # the newest session, for the next connection

    cdef int hand_over(self, int fd) except -1
    cdef trust(self, ca)
    cdef identify(self, certificate, key)
    cdef resume(self, bytes session)
    cdef str why(self)
    cdef controlled(self)
    cdef await_socket(self, double end, double timeout, str what)
    cdef refuse(self, str what)

cdef int64_t tls_receive(fh_tls *t, uint8_t *out, uint32_t room) noexcept nogil
cdef int64_t tls_send(fh_tls *t, const uint8_t *data, uint32_t length) noexcept nogil
cdef void tls_goodbye(fh_tls *t) noexcept nogil

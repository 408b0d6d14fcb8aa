"""TLS 1.2 and 1.3 by OpenSSL: set-up, verification and handshake for the control thread, records for the polling thread.

There is no way to switch verification off: another authority is named with `ca`, and the name in the certificate must be
the one that was asked for. What the polling thread calls stands in tls.h.
"""
import time
from os import environ, fsencode
from os.path import exists, isdir

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from feedhandler.receive._wait cimport pollfd, wait_readable

from feedhandler.errors import ConfigError, TlsError

cdef extern from "tls.h" nogil:
    ctypedef ssl_st SSL
    ctypedef ssl_session_st SSL_SESSION
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    ctypedef struct BIO_METHOD:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    enum:
        FH_TLS_IS_PRIVATE
        FH_TLS_OPEN, FH_TLS_CLOSED, FH_TLS_TRUNCATED, FH_TLS_SOCKET, FH_TLS_PROTOCOL
        SSL_VERIFY_PEER, SSL_FILETYPE_PEM, TLS1_2_VERSION, SSL_SESS_CACHE_CLIENT
        SSL_SESS_CACHE_NO_INTERNAL, SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, X509_V_OK, X509_V_ERR_CERT_HAS_EXPIRED
        X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
        X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
        X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    unsigned long SSL_OP_NO_RENEGOTIATION
    unsigned long SSL_OP_NO_COMPRESSION
    const SSL_METHOD *TLS_client_method()
    ctypedef struct OSSL_LIB_CTX:
        pass
    SSL_CTX *SSL_CTX_new_ex(OSSL_LIB_CTX *library, const char *query, const SSL_METHOD *method)
    void SSL_CTX_free(SSL_CTX *ctx)
    unsigned long SSL_CTX_set_options(SSL_CTX *ctx, unsigned long options)
    int SSL_CTX_set_min_proto_version(SSL_CTX *ctx, int version)
    long SSL_CTX_set_mode(SSL_CTX *ctx, long mode)
    void SSL_CTX_set_read_ahead(SSL_CTX *ctx, int yes)
    void SSL_CTX_set_verify(SSL_CTX *ctx, int mode, void *callback)
    int SSL_CTX_set_default_verify_paths(SSL_CTX *ctx)
    int SSL_CTX_load_verify_file(SSL_CTX *ctx, const char *path)
    int SSL_CTX_load_verify_dir(SSL_CTX *ctx, const char *path)
    int SSL_CTX_use_certificate_chain_file(SSL_CTX *ctx, const char *path)
    int SSL_CTX_use_PrivateKey_file(SSL_CTX *ctx, const char *path, int kind)
    void SSL_CTX_set_default_passwd_cb(SSL_CTX *ctx, int (*callback)(char *, int, int, void *) noexcept nogil)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *ctx, long mode)
    void SSL_CTX_sess_set_new_cb(SSL_CTX *ctx, int (*callback)(SSL *, SSL_SESSION *) noexcept nogil)
    void SSL_CTX_set_info_callback(SSL_CTX *ctx, void (*callback)(const SSL *, int, int) noexcept nogil)
    int SSL_CTX_set_alpn_protos(SSL_CTX *ctx, const unsigned char *protocols, unsigned int length)
    SSL *SSL_new(SSL_CTX *ctx)
    void SSL_set_connect_state(SSL *ssl)
    long SSL_set_tlsext_host_name(SSL *ssl, const char *name)
    int SSL_set_session(SSL *ssl, SSL_SESSION *session)
    int SSL_session_reused(const SSL *ssl)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl)
    void X509_VERIFY_PARAM_set_hostflags(X509_VERIFY_PARAM *param, unsigned int flags)
    int X509_VERIFY_PARAM_set1_host(X509_VERIFY_PARAM *param, const char *name, size_t length)
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *param, const char *address)
    int SSL_do_handshake(SSL *ssl)
    long SSL_get_verify_result(const SSL *ssl)
    const char *X509_verify_cert_error_string(long code)
    const char *SSL_get_version(const SSL *ssl)
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl)
    const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher)
    void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **name, unsigned int *length)
    int i2d_SSL_SESSION(const SSL_SESSION *session, unsigned char **out)
    SSL_SESSION *d2i_SSL_SESSION(SSL_SESSION **out, const unsigned char **data, long length)
    void SSL_SESSION_free(SSL_SESSION *session)
    void ERR_clear_error()
    unsigned long ERR_peek_last_error()
    const char *ERR_reason_error_string(unsigned long code)
    const char *OpenSSL_version(int kind)
    enum:
        OPENSSL_VERSION
    uint64_t fh_tls_missed
    int fh_tls_hook()
    int fh_tls_start()
    const char *FH_GCM_QUERY
    const char *FH_GCM_LIBRARY
    uint64_t fh_gcm_keys
    int fh_gcm_install()
    int fh_gcm_door(const char *query, int encrypts, const uint8_t *key, int key_bytes, const uint8_t *iv, const uint8_t *aad,
                    int aad_bytes, const uint8_t *data, int length, uint8_t *out, uint8_t *tag)
    int SSL_CTX_set_cipher_list(SSL_CTX *ctx, const char *suites)
    int SSL_CTX_set_ciphersuites(SSL_CTX *ctx, const char *suites)
    BIO_METHOD *fh_tls_bio_method()
    int fh_tls_attach(fh_tls *t, const BIO_METHOD *method)
    void fh_tls_detach(fh_tls *t)
    int fh_tls_new_session(SSL *ssl, SSL_SESSION *session)
    SSL_SESSION *fh_tls_take_session(fh_tls *t)
    void fh_tls_info(const SSL *ssl, int where, int value)
    void fh_tls_over(fh_tls *t)
    int fh_tls_waits(fh_tls *t)
    int64_t fh_tls_receive(fh_tls *t, uint8_t *out, uint32_t room)
    int64_t fh_tls_send(fh_tls *t, const uint8_t *data, uint32_t length)
    void fh_tls_goodbye(fh_tls *t)

cdef extern from "<string.h>" nogil:
    char *strerror(int number)

# Of TLS 1.2 only what keeps the past secret (ECDHE, DHE) and authenticates while it decrypts: no CBC, which besides
# makes OpenSSL take 26 pieces of memory a record. Those of TLS 1.3 are all of that kind.
cdef bytes SUITES = b"ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM+AES128:DHE+AESGCM:DHE+CHACHA20"
# The shorter key first: ten rounds for fourteen, and no attack comes near either. A server may choose by its own order.
cdef bytes SUITES_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

cdef bint HOOKED = fh_tls_hook()            # before anything else of OpenSSL's
cdef BIO_METHOD *METHOD = fh_tls_bio_method() if fh_tls_start() else NULL
if METHOD == NULL:
    raise MemoryError()
cdef bint GCM = fh_gcm_install()            # whether there is Intel's AES-GCM, and it may run here
ERR_clear_error()

cdef dict WORDS = {
    X509_V_ERR_HOSTNAME_MISMATCH: "WRONG_HOST",
    X509_V_ERR_IP_ADDRESS_MISMATCH: "WRONG_HOST",
    X509_V_ERR_CERT_HAS_EXPIRED: "EXPIRED",
    X509_V_ERR_CERT_NOT_YET_VALID: "NOT_YET_VALID",
    X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "UNKNOWN_CA",
    X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT: "UNKNOWN_CA",
    X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "UNKNOWN_CA",
    X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "UNKNOWN_CA",
    X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: "UNKNOWN_CA",
}


cdef int64_t tls_receive(fh_tls *t, uint8_t *out, uint32_t room) noexcept nogil:
    return fh_tls_receive(t, out, room)


cdef int64_t tls_send(fh_tls *t, const uint8_t *data, uint32_t length) noexcept nogil:
    return fh_tls_send(t, data, length)


cdef void tls_goodbye(fh_tls *t) noexcept nogil:
    fh_tls_goodbye(t)


cdef const char *query():
    """Which AES-GCM a connection takes that begins now."""
    return FH_GCM_QUERY if GCM and environ.get("FEEDHANDLER_GCM") != "openssl" else NULL


def library():
    """Which OpenSSL this is, where it has its memory from, and what does its AES-GCM.

    version: its own words. private: linked into feedhandler alone. hooked: what it takes for each record is from fixed
    memory; where False (another user of a shared OpenSSL came first), the C library's heap serves TLS 1.3 with one piece a
    record. missed: pieces that the heap gave inside the polling thread's calls although hooked (tickets, key updates).
    gcm: "ipsec-mb" and its version, or "OpenSSL": what new connections take. gcm_linked: the former, where this build has
    it, whether or not this processor can; gcm_keys: how many keys it was given.
    """
    return {"version": OpenSSL_version(OPENSSL_VERSION).decode(), "private": bool(FH_TLS_IS_PRIVATE),
            "hooked": bool(HOOKED), "missed": fh_tls_missed,
            "gcm": FH_GCM_LIBRARY.decode() if query() != NULL else "OpenSSL", "gcm_linked": FH_GCM_LIBRARY.decode(),
            "gcm_keys": fh_gcm_keys}


def aes_gcm(bytes key not None, bytes iv not None, bytes data not None, bytes aad=b"", bytes tag=None):
    """A door for tests: one message through the AES-GCM that connections take. (encrypted, tag), or with `tag` the plain
    bytes, None if it is not theirs. Raises ValueError for what that AES-GCM does not take.
    """
    cdef bytearray out = bytearray(len(data) + 1), seal = bytearray(16 if tag is None else tag)
    cdef int fine
    if len(key) not in (16, 32) or len(iv) != 12 or len(seal) != 16:
        raise ValueError("a key has 16 or 32 bytes, an IV 12, a tag 16")
    fine = fh_gcm_door(query(), tag is None, key, <int> len(key), iv, aad, <int> len(aad), data, <int> len(data),
                       <uint8_t *> <char *> out, <uint8_t *> <char *> seal)
    ERR_clear_error()
    if fine < 0 or (tag is None and not fine):
        raise ValueError("this AES-GCM does not take that")
    if tag is None:
        return bytes(out[:len(data)]), bytes(seal)
    return bytes(out[:len(data)]) if fine else None


cdef int no_password(char *out, int room, int writing, void *data) noexcept nogil:
    """OpenSSL would ask at the terminal."""
    return -1


cdef str said(unsigned long code):
    """OpenSSL's own words."""
    cdef const char *text = ERR_reason_error_string(code)
    return text.decode() if text != NULL else f"OpenSSL's error {code:#x}"


cdef bytes path_of(object path, str key):
    if not exists(path):
        raise ConfigError(f"{key}: there is no file {str(path)!r}")
    return fsencode(path)


cdef class Tls:
    """One client connection over TLS 1.2 or 1.3 to `host`, whose certificate must be for that name or IP address.

    ca: a PEM file, or a folder of hashed ones, with the authorities to trust in place of the system's.
    certificate, key: PEM files with the client's own chain and private key (key: in `certificate` if not said).
    alpn: the protocols offered, such as ("http/1.1",).
    session: what `session` of an earlier connection to the same host gave, to resume it.

    Raises ConfigError for a file that is missing or not what it should be, naming the argument. Not for two threads at
    once: the control thread's until the hand-over to a StreamReceiver, then its polling thread's.
    """

    def __cinit__(self, str host not None, *, ca=None, certificate=None, key=None, alpn=(), bytes session=None):
        cdef SSL_CTX *ctx
        cdef bytes name, offered
        cdef X509_VERIFY_PARAM *param
        self.state.fd = -1
        self.host = host
        if not host or "\0" in host:
            raise ConfigError(f"a TLS host is a name or an IP address, not {host!r}")
        try:
            name = host.encode("idna") if not host.isascii() else host.encode()
        except UnicodeError as error:
            raise ConfigError(f"{host!r} is no host name: {error}") from error
        self.context = ctx = SSL_CTX_new_ex(NULL, query(), TLS_client_method())
        if ctx == NULL:
            raise MemoryError()
        ERR_clear_error()
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION)
        if not SSL_CTX_set_cipher_list(ctx, SUITES) or not SSL_CTX_set_ciphersuites(ctx, SUITES_1_3):
            raise ConfigError("this OpenSSL has no AEAD suites for TLS 1.2 and 1.3")
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION)
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        SSL_CTX_set_read_ahead(ctx, 1)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL)
        SSL_CTX_set_default_passwd_cb(ctx, no_password)
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
        SSL_CTX_sess_set_new_cb(ctx, fh_tls_new_session)
        SSL_CTX_set_info_callback(ctx, fh_tls_info)
        self.trust(ca)
        self.identify(certificate, key)
        if isinstance(alpn, str) or not all(1 <= len(each.encode()) <= 255 for each in alpn):
            raise ConfigError(f"alpn is a tuple of names of 1 to 255 bytes, such as ('http/1.1',), not {alpn!r}")
        offered = b"".join(bytes([len(each)]) + each for each in map(str.encode, alpn))
        if offered and SSL_CTX_set_alpn_protos(ctx, offered, <unsigned int> len(offered)):
            raise ConfigError(f"alpn is a tuple of names of 1 to 255 bytes, such as ('http/1.1',), not {alpn!r}")
        self.state.ssl = SSL_new(ctx)
        if self.state.ssl == NULL or not fh_tls_attach(&self.state, METHOD):
            raise MemoryError()
        SSL_set_connect_state(self.state.ssl)
        param = SSL_get0_param(self.state.ssl)
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
        if not X509_VERIFY_PARAM_set1_ip_asc(param, name):
            # a name, then; an address is not sent as the server's name (RFC 6066, section 3)
            if not X509_VERIFY_PARAM_set1_host(param, name, len(name)) or not SSL_set_tlsext_host_name(self.state.ssl, name):
                raise ConfigError(f"{host!r} is no host name")
        ERR_clear_error()
        self.resumed_as = f"{host} {ca}\0".encode()
        if session is not None:
            self.resume(session)

    def __dealloc__(self):
        fh_tls_detach(&self.state)
        SSL_CTX_free(<SSL_CTX *> self.context)

    cdef trust(self, ca):
        """Trust these authorities, or the system's."""
        cdef SSL_CTX *ctx = <SSL_CTX *> self.context
        cdef bytes path
        cdef int fine
        if ca is None:
            fine = SSL_CTX_set_default_verify_paths(ctx)
        else:
            path = path_of(ca, "ca")
            fine = SSL_CTX_load_verify_dir(ctx, path) if isdir(path) else SSL_CTX_load_verify_file(ctx, path)
        if not fine:
            raise ConfigError(f"ca: {str(ca)!r} holds no certificates in PEM form: {self.why()}")

    cdef identify(self, certificate, key):
        """The client's own certificate."""
        cdef SSL_CTX *ctx = <SSL_CTX *> self.context
        if certificate is None:
            if key is not None:
                raise ConfigError("key: a private key is of use with a certificate only: name that too")
            return
        if not SSL_CTX_use_certificate_chain_file(ctx, path_of(certificate, "certificate")):
            raise ConfigError(f"certificate: {str(certificate)!r} holds no certificate in PEM form: {self.why()}")
        where = certificate if key is None else key
        if not SSL_CTX_use_PrivateKey_file(ctx, path_of(where, "key"), SSL_FILETYPE_PEM):
            raise ConfigError(f"key: {str(where)!r} is no private key of {str(certificate)!r}, in PEM form and without a "
                              f"password: {self.why()}")

    cdef resume(self, bytes session):
        cdef const unsigned char *data
        cdef SSL_SESSION *made
        if not session.startswith(self.resumed_as):
            raise ConfigError(f"session: it is not of a connection to {self.host!r} with the same authorities")
        session = session[len(self.resumed_as):]
        data = session
        made = d2i_SSL_SESSION(NULL, &data, len(session))
        if made == NULL:
            ERR_clear_error()
            raise ConfigError("session: these are not the bytes that Tls.session gave")
        SSL_set_session(self.state.ssl, made)       # what has run out is not offered
        SSL_SESSION_free(made)
        ERR_clear_error()

    cdef str why(self):
        text = said(ERR_peek_last_error())
        ERR_clear_error()
        return text

    def handshake(self, sock, double timeout=5.0):
        """Agree on keys with the server at the other end of `sock`, a connected socket, and verify who it is.

        `timeout` in seconds. Raises TlsError, whose `reason` is a word. The socket stays the caller's.
        """
        cdef int rc
        cdef double end = time.monotonic() + timeout
        if self.shaken or self.sock is not None:
            raise ValueError("one Tls is one connection, and this one has had its handshake: make another")
        self.sock = sock
        self.state.fd = sock.fileno()
        ERR_clear_error()
        while True:
            with nogil:
                self.state.blocked = 0
                rc = SSL_do_handshake(self.state.ssl)
            if rc == 1:
                self.shaken = True
                return
            if not fh_tls_waits(&self.state):
                self.refuse("the TLS handshake failed")
            self.await_socket(end, timeout, "the TLS handshake")

    def read(self, int size=65536, double timeout=5.0):
        """At most `size` plain bytes as soon as there are any; b"" when the server has closed in good order (close_notify).

        `timeout` in seconds. Raises TlsError: TIMEOUT, TRUNCATED, SOCKET, PROTOCOL.
        """
        cdef int64_t got
        cdef double end = time.monotonic() + timeout
        cdef uint8_t *memory
        self.controlled()
        if size < 1:
            raise ValueError(f"size must be 1 or more, not {size}")
        memory = <uint8_t *> malloc(size)
        if memory == NULL:
            raise MemoryError()
        try:
            while True:
                with nogil:
                    got = fh_tls_receive(&self.state, memory, size)
                if got > 0:
                    return PyBytes_FromStringAndSize(<char *> memory, got)
                if got < 0:
                    if self.state.end == FH_TLS_CLOSED:
                        return b""
                    self.refuse("the connection failed")
                self.await_socket(end, timeout, "an answer over TLS")
        finally:
            free(memory)

    def write(self, bytes data not None, double timeout=5.0):
        """Send all of `data`. `timeout` in seconds. Raises TlsError: TIMEOUT, SOCKET, PROTOCOL."""
        cdef int64_t put
        cdef uint32_t done = 0, length = <uint32_t> len(data)
        cdef const uint8_t *memory = data
        cdef double end = time.monotonic() + timeout
        self.controlled()
        while done < length:
            with nogil:
                put = fh_tls_send(&self.state, memory + done, length - done)
            if put < 0:
                self.refuse("the connection failed")
            done += <uint32_t> put
            if put == 0:
                self.await_socket(end, timeout, "sending over TLS")

    def goodbye(self):
        """Say close_notify: nothing more will be sent. Never waits; harmless when repeated, and on a dead connection."""
        if self.sock is not None and not self.handed_over:
            fh_tls_goodbye(&self.state)

    cdef controlled(self):
        if self.handed_over:
            raise ValueError("this connection was handed over: the polling thread alone reads and writes it")
        if not self.shaken:
            raise ValueError("handshake() comes first")

    cdef int hand_over(self, int fd) except -1:
        """The receiver's: from here on the polling thread's, on a descriptor of its own."""
        self.controlled()
        self.state.fd = fd
        self.state.once = 1
        self.state.more = 1                         # what the control thread's last receive brought too much
        self.handed_over = True
        self.sock = None
        return 0

    cdef await_socket(self, double end, double timeout, str what):
        """Wait until the socket can do what was wanted of it."""
        cdef pollfd one
        cdef double left = end - time.monotonic()
        if left <= 0:
            raise TlsError(f"{self.host}: {what} did not come within {timeout:g} s", "TIMEOUT")
        one.fd = self.state.fd
        one.events = <short> self.state.blocked     # OpenSSL's SSL_want() knows nothing of records that went by it
        with nogil:
            wait_readable(&one, 1, <int64_t> (left * 1e9), 0)
        PyErr_CheckSignals()

    cdef refuse(self, str what):
        """Raise why."""
        cdef long verified = SSL_get_verify_result(self.state.ssl)
        if self.state.end == FH_TLS_OPEN:
            fh_tls_over(&self.state)
        if not self.shaken and verified != X509_V_OK and self.state.end == FH_TLS_PROTOCOL:
            word = WORDS.get(verified, "CERTIFICATE")
            fix = {"WRONG_HOST": ": the certificate names others", "EXPIRED": "", "NOT_YET_VALID": ": is the clock right?",
                   "UNKNOWN_CA": ": name its authority with ca = \"FILE.pem\" if you trust it"}.get(word, "")
            text = X509_verify_cert_error_string(verified).decode()
            raise TlsError(f"{self.host}: the server's certificate is refused: {text}{fix}", word)
        raise TlsError(f"{self.host}: {what}: {self.failure}", self.reason)

    @property
    def reason(self):
        """How the connection is over, in a word: "" (it is not), CLOSED, TRUNCATED, SOCKET or PROTOCOL."""
        return ("", "CLOSED", "TRUNCATED", "SOCKET", "PROTOCOL")[self.state.end]

    @property
    def failure(self):
        """The same as a sentence."""
        if self.state.end == FH_TLS_TRUNCATED:
            return "the connection ended without close_notify: what came last may be cut short"
        if self.state.end == FH_TLS_SOCKET:
            return strerror(self.state.error).decode()
        if self.state.end == FH_TLS_PROTOCOL:
            return said(self.state.failure)
        return "closed by the server in good order" if self.state.end == FH_TLS_CLOSED else ""

    @property
    def version(self):
        """"TLSv1.3" or "TLSv1.2"."""
        return SSL_get_version(self.state.ssl).decode() if self.shaken else ""

    @property
    def cipher(self):
        """The suite's name."""
        return SSL_CIPHER_get_name(SSL_get_current_cipher(self.state.ssl)).decode() if self.shaken else ""

    @property
    def alpn(self):
        """The protocol that the server chose of those offered; "" for none."""
        cdef const unsigned char *name = NULL
        cdef unsigned int length = 0
        SSL_get0_alpn_selected(self.state.ssl, &name, &length)
        return PyBytes_FromStringAndSize(<const char *> name, length).decode() if length else ""

    @property
    def resumed(self):
        """Whether the session of an earlier connection was taken up again."""
        return bool(self.shaken and SSL_session_reused(self.state.ssl))

    @property
    def direct(self):
        """Records that were decrypted from where they were received to where they are wanted, without OpenSSL."""
        return self.state.direct

    @property
    def refused(self):
        """Renegotiations that the server asked for; each was refused, as RFC 8446 and good sense would have it."""
        return self.state.refused

    @property
    def session(self):
        """The newest session as bytes, for the next connection to the same host; None: the server has given none yet.

        They hold a secret. In TLS 1.3 it comes behind the handshake, with what is read then. Also after the hand-over.
        """
        cdef SSL_SESSION *newest = fh_tls_take_session(&self.state)
        cdef unsigned char *out
        cdef int length
        if newest == NULL:
            return self.kept
        length = i2d_SSL_SESSION(newest, NULL)
        made = PyBytes_FromStringAndSize(NULL, length)
        out = <unsigned char *> <char *> made
        i2d_SSL_SESSION(newest, &out)
        SSL_SESSION_free(newest)
        self.kept = self.resumed_as + made
        return self.kept

/* One TLS connection as the polling thread sees it; what drives it is in tls.h, which alone needs OpenSSL's headers. */
#ifndef FH_TLS_STATE_H
#define FH_TLS_STATE_H
#include <stdint.h>

struct ssl_st;
struct ssl_session_st;
struct fh_gcm;

enum fh_tls_end {                       /* how a connection is over */
    FH_TLS_OPEN,
    FH_TLS_CLOSED,                      /* the other side said close_notify */
    FH_TLS_TRUNCATED,                   /* end of the stream without it: what came last may be cut short */
    FH_TLS_SOCKET,                      /* the socket failed: `error` */
    FH_TLS_PROTOCOL                     /* a bad record, an alert, a rule of TLS broken: `failure` */
};

struct fh_tls {
    struct ssl_st *ssl;
    struct fh_gcm *gcm;                 /* what decrypts the next record without OpenSSL; NULL: that reads it */
    uint8_t *buffer;                    /* FH_TLS_READ_BUFFER of what the socket brought: [begin, ready) OpenSSL has not yet had */
    uint32_t begin, ready;
    uint32_t rest;                      /* bytes that OpenSSL has not yet had of the record that it has a part of */
    struct ssl_session_st *latest;      /* put by OpenSSL's callback on whichever thread reads, taken by the control thread */
    int fd;
    int once;                           /* one receive call a turn: the polling thread's way */
    int received;                       /* ... and this turn has made its own */
    int drained;                        /* ... and it took all there was */
    int blocked;                        /* the last call's: POLLIN, the socket had nothing; POLLOUT, no room; 0 */
    int eof;
    int alert;                          /* the last that the other side sent; 0 is close_notify */
    int more;                           /* plain bytes may wait inside: look again without waiting for the socket */
    int end;                            /* enum fh_tls_end */
    int error;                          /* errno for LineStatus: 0, ECONNABORTED (truncated), EPROTO, the socket's own */
    unsigned long failure;              /* OpenSSL's code */
    uint64_t direct;                    /* records that were decrypted without OpenSSL */
    uint64_t refused;                   /* renegotiations that the server asked for and was refused */
};
#endif

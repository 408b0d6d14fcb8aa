/* TLS records between a socket and caller's memory, by OpenSSL, without a heap allocation in steady state.
 *
 *     socket ──recv──► our buffer ──a record──► OpenSSL's record buffer ──decrypt in place──► SSL_read copies
 *                                                                                         into the line's fixed buffer
 *     line's outboxes ──SSL_write──► OpenSSL's write buffer ──send──► socket
 *
 * In TLS 1.3 with AES-GCM of tls_gcm.h, application data goes by OpenSSL once it has read a first record of it:
 *
 *     socket ──recv──► our buffer ──decrypt──► the line's fixed buffer
 *
 * Whatever is not a whole, true record of application data is OpenSSL's to judge, just as it came: tickets, key updates, alerts,
 * bad records. From such a record on it reads, until one of application data has again come of it.
 *
 * Both buffers of OpenSSL's are taken at the handshake and kept (no SSL_MODE_RELEASE_BUFFERS); the little that it takes for
 * each record is from tls_memory.h. The BIO is ours, because OpenSSL's own makes two receive calls a record (header, body) and
 * one more to hear EAGAIN: this one makes a single call a turn, and all whole records of it are decrypted in that turn. It hands
 * OpenSSL, which reads ahead, a record at a time: of what lies behind a record in its own buffer OpenSSL 3.0 moves every byte
 * to the buffer's begin, record by record (ssl3_read_n), which with 64 KiB of short records is 29 KB for each.
 *
 * OpenSSL's queue of errors is a thread's, not a connection's; so whether a call must be repeated is read from our own
 * BIO (`blocked`), and the queue only when a connection is over, and emptied then. */
#ifndef FH_TLS_H
#define FH_TLS_H
#ifdef FH_TLS_PRIVATE
enum { FH_TLS_IS_PRIVATE = 1 };
#else
enum { FH_TLS_IS_PRIVATE = 0 };
#endif
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "tls_gcm.h"
#include "tls_memory.h"
#include "tls_state.h"

enum { FH_TLS_READ_BUFFER = 65536 };    /* of ciphertext, a connection: what one receive call brings at most */

/* One receive call behind what is still here. As recv() says; -1 also where this turn has made its call. */
static ssize_t fh_tls_fill(struct fh_tls *t)
{
    ssize_t got;
    if (t->error)
        return -1;
    if (!(t->once && t->received)) {
        t->ready -= t->begin;
        memmove(t->buffer, t->buffer + t->begin, t->ready);     /* less than a record */
        t->begin = 0;
        got = recv(t->fd, t->buffer + t->ready, FH_TLS_READ_BUFFER - t->ready, MSG_DONTWAIT);
        if (got >= 0) {
            t->drained = got > 0 && got < FH_TLS_READ_BUFFER - (ssize_t)t->ready;
            t->received = got > 0;
            t->eof = got == 0;
            t->ready += (uint32_t)got;
            return got;
        }
        if (errno != EAGAIN && errno != EINTR) {
            t->error = errno;
            return -1;
        }
    }
    t->blocked = POLLIN;
    return -1;
}

/* A record, or what is here of it: never a byte of the next. */
static int fh_tls_bio_read(BIO *bio, char *out, int room)
{
    struct fh_tls *t = BIO_get_data(bio);
    uint32_t length = t->rest ? 1 : SSL3_RT_HEADER_LENGTH;
    BIO_clear_retry_flags(bio);
    while (t->ready - t->begin < length) {
        ssize_t got = fh_tls_fill(t);
        if (got <= 0) {
            if (t->blocked)
                BIO_set_retry_read(bio);
            return (int)got;
        }
    }
    if (t->rest == 0)
        t->rest = SSL3_RT_HEADER_LENGTH + ((uint32_t)t->buffer[t->begin + 3] << 8 | t->buffer[t->begin + 4]);
    length = t->ready - t->begin < t->rest ? t->ready - t->begin : t->rest;
    if (length > (uint32_t)room)
        length = (uint32_t)room;
    memcpy(out, t->buffer + t->begin, length);
    t->begin += length;
    t->rest -= length;
    return (int)length;
}

static int fh_tls_bio_write(BIO *bio, const char *data, int length)
{
    struct fh_tls *t = BIO_get_data(bio);
    ssize_t put = send(t->fd, data, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    BIO_clear_retry_flags(bio);
    if (put >= 0)
        return (int)put;
    if (errno == EAGAIN || errno == EINTR) {
        t->blocked = POLLOUT;
        BIO_set_retry_write(bio);
    } else {
        t->error = errno;
    }
    return -1;
}

static long fh_tls_bio_ctrl(BIO *bio, int command, long number, void *argument)
{
    struct fh_tls *t = BIO_get_data(bio);
    (void)number;
    (void)argument;
    if (command == BIO_CTRL_EOF)
        return t->eof;
    return command == BIO_CTRL_FLUSH;
}

/* Start OpenSSL. A private copy has no use for the system's configuration: what that loads is of the shared one. */
static int fh_tls_start(void)
{
#ifdef FH_TLS_PRIVATE
    return OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
#else
    return OPENSSL_init_ssl(0, NULL);
#endif
}

static BIO_METHOD *fh_tls_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "feedhandler socket");
    if (method && BIO_meth_set_read(method, fh_tls_bio_read) && BIO_meth_set_write(method, fh_tls_bio_write)
            && BIO_meth_set_ctrl(method, fh_tls_bio_ctrl))
        return method;
    BIO_meth_free(method);
    return NULL;
}

/* The SSL's BIO from now on; 0: no memory. */
static int fh_tls_attach(struct fh_tls *t, const BIO_METHOD *method)
{
    BIO *bio;
    t->buffer = malloc(FH_TLS_READ_BUFFER);
    if (!t->buffer || !(bio = BIO_new(method)))
        return 0;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    return 1;
}

static void fh_tls_detach(struct fh_tls *t)
{
    SSL_free(t->ssl);
    SSL_SESSION_free(t->latest);
    free(t->buffer);
}

/* A session that the server gave; in TLS 1.3 it comes with the first records after the handshake, on the polling thread. */
static int fh_tls_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct fh_tls *t = SSL_get_app_data(ssl);
    SSL_SESSION_free(__atomic_exchange_n(&t->latest, session, __ATOMIC_ACQ_REL));   /* pairs with fh_tls_take_session */
    return 1;
}

static SSL_SESSION *fh_tls_take_session(struct fh_tls *t)
{
    return __atomic_exchange_n(&t->latest, (SSL_SESSION *)NULL, __ATOMIC_ACQ_REL);
}

static void fh_tls_info(const SSL *ssl, int where, int value)
{
    struct fh_tls *t = SSL_get_app_data(ssl);
    if (where & SSL_CB_LOOP)
        fh_tls_hot = 0;                         /* a handshake message: what it takes lives long */
    if (where == SSL_CB_READ_ALERT)
        t->alert = value & 0xff;
    if (where == SSL_CB_WRITE_ALERT && (value & 0xff) == SSL_AD_NO_RENEGOTIATION)
        t->refused++;
}

/* A call gave nothing and must not be repeated: why. (A fatal alert sets SSL_RECEIVED_SHUTDOWN too.) */
static void fh_tls_over(struct fh_tls *t)
{
    if (t->error) {
        t->end = FH_TLS_SOCKET;
    } else if ((SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN) && t->alert == SSL_AD_CLOSE_NOTIFY) {
        t->end = FH_TLS_CLOSED;
    } else if (t->eof) {
        t->end = FH_TLS_TRUNCATED;
        t->error = ECONNABORTED;
    } else {
        t->end = FH_TLS_PROTOCOL;
        t->error = EPROTO;
        t->failure = ERR_peek_last_error();       /* TLS's own word; the cipher's stands before it */
    }
    ERR_clear_error();
}

/* Whether a call that gave nothing only waits for the socket. An alert that found no room must not hide its cause. */
static int fh_tls_waits(struct fh_tls *t)
{
    return t->blocked && (SSL_want(t->ssl) == SSL_READING || ERR_peek_error() == 0);
}

/* The next record's application data in `out` + `total`, without OpenSSL; 0: wait for the socket, or for more room (`more`); -1:
 * OpenSSL must read it. */
static int64_t fh_tls_direct(struct fh_tls *t, uint8_t *out, uint32_t total, uint32_t room)
{
    uint32_t length, data;
    for (;;) {
        const uint8_t *record = t->buffer + t->begin;
        uint32_t here = t->ready - t->begin;
        length = SSL3_RT_HEADER_LENGTH;
        if (here >= length) {
            length += (uint32_t)record[3] << 8 | record[4];
            if (record[0] != SSL3_RT_APPLICATION_DATA || record[1] != TLS1_2_VERSION_MAJOR || record[2] != TLS1_2_VERSION_MINOR
                    || length > SSL3_RT_HEADER_LENGTH + SSL3_RT_MAX_TLS13_ENCRYPTED_LENGTH)
                return -1;
            if (here >= length)
                break;
        }
        if (fh_tls_fill(t) <= 0)
            return t->blocked ? 0 : -1;
    }
    length -= SSL3_RT_HEADER_LENGTH;
    if (length > room - total) {                /* OpenSSL holds what is left of it, where no room would do */
        t->more = total > 0;
        return t->more ? 0 : -1;
    }
    data = fh_gcm_open(t->gcm, out + total, t->buffer + t->begin, length);
    if (data == 0)
        return -1;
    t->begin += SSL3_RT_HEADER_LENGTH + length;
    t->direct++;
    return data;
}

/* The same by OpenSSL, or less of it where there is less room; 0: wait for the socket; -1: over (`end`). */
static int fh_tls_read(struct fh_tls *t, uint8_t *out, uint32_t room)
{
    int got;
    t->gcm = NULL;                              /* a key update may free it */
    fh_gcm_latest = NULL;
    fh_tls_hot = 1;
    got = SSL_read(t->ssl, out, (int)room);
    fh_tls_hot = 0;
    if (got > 0) {
        if (SSL_pending(t->ssl) == 0 && t->rest == 0)
            t->gcm = fh_gcm_ready();
        return got;
    }
    if (fh_tls_waits(t))
        return 0;
    fh_tls_over(t);
    return -1;
}

/* Plain bytes in `out`: how many; 0: none now; -1: over (`end`). */
static int64_t fh_tls_receive(struct fh_tls *t, uint8_t *out, uint32_t room)
{
    uint32_t total = 0;
    t->received = t->drained = t->more = 0;
    while (total < room && t->end == FH_TLS_OPEN) {
        int64_t got = -1;
        t->blocked = 0;
        if (t->gcm)
            got = fh_tls_direct(t, out, total, room);
        if (got < 0)
            got = fh_tls_read(t, out + total, room - total);
        if (got <= 0)
            break;
        total += (uint32_t)got;
    }
    t->more |= total == room || (total && t->end != FH_TLS_OPEN);
    return total ? (int64_t)total : t->end == FH_TLS_OPEN ? 0 : -1;
}

/* Plain bytes taken, one record's at most; 0: no room now, say the same bytes again; -1: over (`end`). */
static int64_t fh_tls_send(struct fh_tls *t, const uint8_t *data, uint32_t length)
{
    int put;
    if (t->end != FH_TLS_OPEN)
        return -1;
    t->blocked = 0;
    fh_tls_hot = 1;
    put = SSL_write(t->ssl, data, (int)length);
    fh_tls_hot = 0;
    if (put > 0)
        return put;
    if (fh_tls_waits(t))
        return 0;
    fh_tls_over(t);
    return -1;
}

/* Answers or says close_notify, once, when the connection was in order: then the other side knows that nothing was cut. */
static void fh_tls_goodbye(struct fh_tls *t)
{
    if ((t->end == FH_TLS_OPEN || t->end == FH_TLS_CLOSED) && SSL_is_init_finished(t->ssl)
            && !(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)) {
        SSL_shutdown(t->ssl);
        ERR_clear_error();
    }
}
#endif

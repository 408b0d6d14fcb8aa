/* The HTTP response head that a WebSocket connection begins with (RFC 6455 4.2.2, 9.1; RFC 7692 7.1), as far as frames depend
 * on it: the status, and what was agreed about compression. The control path checks all of it; a recording has only this. */
#ifndef FH_WEBSOCKET_HEAD_H
#define FH_WEBSOCKET_HEAD_H
#include <stdint.h>
#include <string.h>

enum { FH_WS_HEAD_MAX = 32 << 10 };     /* bytes of a head, its blank line included */
enum { FH_WS_HEAD_OPEN = 0, FH_WS_HEAD_WHOLE, FH_WS_HEAD_REFUSED, FH_WS_HEAD_UNKNOWN };

struct fh_ws_agreed {                   /* what Sec-WebSocket-Extensions of the response says */
    uint8_t deflate;
    uint8_t server_alone, client_alone; /* *_no_context_takeover */
    uint8_t server_bits, client_bits;   /* *_max_window_bits; 15 where it says nothing */
};

struct fh_ws_head {
    uint32_t have;
    uint32_t state;
    struct fh_ws_agreed agreed;
};

struct fh_ws_word { const uint8_t *p; uint32_t n; };

static inline int fh_ws_is(struct fh_ws_word w, const char *name)
{
    uint32_t i = 0;
    for (; i < w.n && name[i]; i++)
        if ((w.p[i] >= 'A' && w.p[i] <= 'Z' ? w.p[i] + 32 : w.p[i]) != (uint8_t)name[i])
            return 0;
    return i == w.n && !name[i];
}

static inline const uint8_t *fh_ws_blanks(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    return p;
}

/* An RFC 9110 token, or a quoted string that holds one; where it ends, or NULL. */
static inline const uint8_t *fh_ws_token(const uint8_t *p, const uint8_t *end, int may_quote, struct fh_ws_word *word)
{
    int quoted = may_quote && p < end && *p == '"';
    p += quoted;
    word->p = p;
    while (p < end && *p > ' ' && *p < 0x7F && !strchr("()<>@,;:\\\"/[]?={}", *p))
        p++;
    word->n = (uint32_t)(p - word->p);
    if (word->n == 0 || (quoted && (p == end || *p != '"')))
        return 0;
    return p + quoted;
}

/* 8 to 15 without a leading zero; 0: it is not. */
static inline uint8_t fh_ws_bits(struct fh_ws_word w)
{
    if (w.n == 1 && (w.p[0] == '8' || w.p[0] == '9'))
        return w.p[0] - '0';
    if (w.n == 2 && w.p[0] == '1' && w.p[1] >= '0' && w.p[1] <= '5')
        return 10 + w.p[1] - '0';
    return 0;
}

/* One value of Sec-WebSocket-Extensions. 0: an extension or a parameter that is not known, or stands twice. */
static inline int fh_ws_extensions(const uint8_t *p, const uint8_t *end, struct fh_ws_agreed *agreed)
{
    struct fh_ws_word name, value = {0, 0};
    for (p = fh_ws_blanks(p, end); p < end;) {
        if (!(p = fh_ws_token(p, end, 0, &name)) || !fh_ws_is(name, "permessage-deflate") || agreed->deflate)
            return 0;
        *agreed = (struct fh_ws_agreed){1, 0, 0, 0, 0};
        for (p = fh_ws_blanks(p, end); p < end && *p == ';'; p = fh_ws_blanks(p, end)) {
            int given;
            if (!(p = fh_ws_token(fh_ws_blanks(p + 1, end), end, 0, &name)))
                return 0;
            p = fh_ws_blanks(p, end);
            given = p < end && *p == '=';
            if (given && !(p = fh_ws_token(fh_ws_blanks(p + 1, end), end, 1, &value)))
                return 0;
            uint8_t *alone = fh_ws_is(name, "server_no_context_takeover") ? &agreed->server_alone
                : fh_ws_is(name, "client_no_context_takeover") ? &agreed->client_alone : 0;
            uint8_t *bits = fh_ws_is(name, "server_max_window_bits") ? &agreed->server_bits
                : fh_ws_is(name, "client_max_window_bits") ? &agreed->client_bits : 0;
            if (alone && !given && !*alone)
                *alone = 1;
            else if (!bits || !given || *bits || !(*bits = fh_ws_bits(value)))
                return 0;
        }
        if (agreed->server_bits == 0)
            agreed->server_bits = 15;
        if (agreed->client_bits == 0)
            agreed->client_bits = 15;
        if (p < end && *p++ != ',')
            return 0;
        p = fh_ws_blanks(p, end);
    }
    return 1;
}

/* The head is in `text`, its blank line included. */
static inline void fh_ws_head_read(struct fh_ws_head *h, const uint8_t *text)
{
    const uint8_t *p = text, *end = text + h->have, *line_end;
    h->state = FH_WS_HEAD_WHOLE;
    for (int first = 1; (line_end = memchr(p, '\n', (size_t)(end - p))); p = line_end + 1, first = 0) {
        const uint8_t *value_end = line_end > p && line_end[-1] == '\r' ? line_end - 1 : line_end;
        const uint8_t *colon = first ? 0 : memchr(p, ':', (size_t)(value_end - p));
        if (!colon)
            continue;
        while (value_end > colon && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        if (fh_ws_is((struct fh_ws_word){p, (uint32_t)(colon - p)}, "sec-websocket-extensions")
                && !fh_ws_extensions(colon + 1, value_end, &h->agreed))
            h->state = FH_WS_HEAD_UNKNOWN;
    }
}

/* n more bytes of a head, gathered in `text` (FH_WS_HEAD_MAX bytes). Returns how many of them belong to it. */
static inline uint32_t fh_ws_head_more(struct fh_ws_head *h, uint8_t *text, const uint8_t *p, uint32_t n)
{
    static const char status[] = "HTTP/1.1 101";
    for (uint32_t i = 0; i < n; i++) {
        if (h->have == FH_WS_HEAD_MAX || (h->have < sizeof status - 1 && p[i] != (uint8_t)status[h->have])) {
            h->state = FH_WS_HEAD_REFUSED;
            return i;
        }
        text[h->have++] = p[i];
        if (p[i] == '\n' && h->have >= 4 && memcmp(text + h->have - 4, "\r\n\r\n", 4) == 0) {
            fh_ws_head_read(h, text);
            return i + 1;
        }
    }
    return n;
}
#endif

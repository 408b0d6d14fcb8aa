/* Packets as they are written into captures: Ethernet, IP and UDP or TCP headers made around a payload, all sums right.
 *
 * All of a flow that does not change is made once (`head`, and what it adds to the sums); of each packet lengths, sums and
 * TCP's number are filled in. Sums are in ones' complement (RFC 1071) and in the machine's byte order, which swaps the
 * bytes of the result as it swaps those that it is stored with. */
#ifndef FH_RECORD_FRAME_H
#define FH_RECORD_FRAME_H
#include <stdint.h>
#include <string.h>
#include "frame.h"
#include "wire.h"

enum {
    FH_MADE_MAX = 14 + 40 + 20,             /* Ethernet, IPv6, TCP */
    FH_BLOCK_PACKET = 6, FH_BLOCK_MORE = 28 + 4 + 4, /* of pcapng's enhanced packet block: before, behind, padding */
    FH_TCP_FIN = 1, FH_TCP_SYN = 2, FH_TCP_RST = 4, FH_TCP_PSH = 8, FH_TCP_ACK = 16
};

struct fh_made {
    uint8_t head[FH_MADE_MAX];
    uint32_t length;                        /* of `head` */
    uint32_t transport;                     /* where UDP or TCP begins in it */
    int six, tcp;
    uint64_t ip_sum, sum;                   /* of what does not change: the IP header; pseudo header and transport header */
};

static inline uint16_t fh_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static inline uint64_t fh_as_be16(uint32_t v) { return (uint64_t)((v & 0xff) << 8 | (v >> 8 & 0xff)); }

/* `head` is there, lengths and sums in it zero: work out the rest. */
static inline void fh_made_ready(struct fh_made *m)
{
    const uint8_t *ip = m->head + 14;
    m->six = (ip[0] >> 4) == 6;
    m->transport = 14 + (m->six ? 40 : 20);
    m->tcp = (m->six ? ip[6] : ip[9]) == 6;
    m->ip_sum = m->six ? 0 : fh_ip_sum(ip);
    m->sum = m->six ? fh_sum(ip + 8, 32) : fh_sum(ip + 12, 8);
    m->sum += fh_as_be16(m->tcp ? 6 : 17) + fh_sum(m->head + m->transport, m->length - m->transport);
}

/* Headers and payload to `out`; the bytes written. `number` and `flags` are TCP's. */
static inline uint32_t fh_make(uint8_t *out, const struct fh_made *m, const uint8_t *payload, uint32_t len,
                               uint32_t number, uint8_t flags)
{
    uint8_t *ip = out + 14, *transport = out + m->transport, *body = out + m->length;
    uint32_t below = m->length - m->transport + len;            /* bytes of the transport header and what follows */
    uint64_t sum = m->sum + fh_as_be16(below);
    memcpy(out, m->head, m->length);
    memcpy(body, payload, len);
    sum += fh_sum(body, len);
    if (m->six) {
        fh_put_be16(ip + 4, (uint16_t)below);
    } else {
        fh_put_be16(ip + 2, (uint16_t)(below + 20));
        fh_put_le16(ip + 10, (uint16_t)~fh_fold(m->ip_sum + fh_as_be16(below + 20)));
    }
    if (m->tcp) {
        fh_put_be32(transport + 4, number);
        transport[13] = flags;
        sum += fh_le32(transport + 4) + ((uint64_t)flags << 8);
        fh_put_le16(transport + 16, (uint16_t)~fh_fold(sum));
    } else {
        fh_put_be16(transport + 4, (uint16_t)below);
        uint16_t value = (uint16_t)~fh_fold(sum + fh_as_be16(below));
        fh_put_le16(transport + 6, value ? value : 0xffff);
    }
    return m->length + len;
}

/* One packet as a record of pcap, or as a block of pcapng, which bears `options` (padded each, without their end); the
 * bytes written: at most FH_BLOCK_MORE + headers + len + options_len + 4. */
static inline uint32_t fh_put_packet(uint8_t *out, int pcapng, uint32_t interface, int64_t ts, const struct fh_made *m,
                                     const uint8_t *payload, uint32_t len, uint32_t number, uint8_t flags,
                                     const uint8_t *options, uint32_t options_len)
{
    uint32_t at, frame;
    if (!pcapng) {
        frame = fh_make(out + 16, m, payload, len, number, flags);
        fh_put_le32(out, (uint32_t)(ts / 1000000000));
        fh_put_le32(out + 4, (uint32_t)(ts % 1000000000));
        fh_put_le32(out + 8, frame);
        fh_put_le32(out + 12, frame);
        return 16 + frame;
    }
    frame = fh_make(out + 28, m, payload, len, number, flags);
    at = 28 + frame;
    while (at & 3)
        out[at++] = 0;
    if (options_len) {
        memcpy(out + at, options, options_len);
        at += options_len;
        fh_put_le32(out + at, 0);                               /* opt_endofopt */
        at += 4;
    }
    at += 4;
    fh_put_le32(out, FH_BLOCK_PACKET);
    fh_put_le32(out + 4, at);
    fh_put_le32(out + 8, interface);
    fh_put_le32(out + 12, (uint32_t)((uint64_t)ts >> 32));
    fh_put_le32(out + 16, (uint32_t)ts);
    fh_put_le32(out + 20, frame);
    fh_put_le32(out + 24, frame);
    fh_put_le32(out + at - 4, at);
    return at;
}
#endif

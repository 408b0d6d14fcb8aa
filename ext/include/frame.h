/* A frame of Ethernet as it came past the kernel: is it a UDP datagram, whole and sound, and whose?
 *
 * What the kernel would have checked is checked here: lengths, the IP header's checksum, on request UDP's. Nothing is
 * read beyond `len`. IP options are stepped over; fragments are for the kernel to put together and refused here. A tag
 * with VLAN id 0 carries a priority only and counts as none. Plain C: no allocation, no state.
 */
#ifndef FH_FRAME_H
#define FH_FRAME_H
#include <stdint.h>
#include "wire.h"

enum fh_frame_verdict {
    FH_FRAME_OK = 0,
    FH_FRAME_OTHER,             /* not IPv4, not UDP, or more than two VLAN tags: not for us */
    FH_FRAME_SHORT,             /* ends within its headers */
    FH_FRAME_LENGTHS,           /* the lengths of IP, UDP and the frame contradict each other */
    FH_FRAME_CHECKSUM,          /* of the IP header */
    FH_FRAME_UDP_CHECKSUM,
    FH_FRAME_FRAGMENT,
    FH_FRAME_KINDS
};

/* Addresses and port as on the wire (network byte order); 0 where the frame was refused before they were read. */
struct fh_frame {
    uint32_t source, group;
    uint16_t port;
    uint32_t vlan;              /* 0 = untagged; the id of one tag; outer << 16 | inner of two */
    const uint8_t *payload;
    uint32_t len;
};

/* Does a sum with its checksum in it come out as it must, 0xffff in ones' complement? Adding in ones' complement is adding
 * modulo 0xffff; and a sum of 0 there is none, for no header is all zero. */
static inline int fh_sum_good(uint64_t sum)
{
    return sum % 0xffff == 0;
}

/* Ones' complement sum (RFC 1071) of up to 64 KiB, in the machine's byte order: the same number, its bytes swapped. */
static inline uint64_t fh_sum(const uint8_t *p, uint32_t len)
{
    uint64_t sum = 0;
    for (; len >= 4; p += 4, len -= 4)
        sum += fh_le32(p);
    if (len >= 2) {
        sum += fh_le16(p);
        p += 2;
    }
    return len & 1 ? sum + *p : sum;
}

/* Of the first 20 bytes of an IP header. */
static inline uint64_t fh_ip_sum(const uint8_t *ip)
{
    return (uint64_t)fh_le32(ip) + fh_le32(ip + 4) + fh_le32(ip + 8) + fh_le32(ip + 12) + fh_le32(ip + 16);
}

/* Where the payload is, behind IP and UDP headers that are there: FH_FRAME_OK, or FH_FRAME_LENGTHS. */
static inline int fh_frame_payload(const uint8_t *ip, uint32_t header, uint32_t len, struct fh_frame *out)
{
    uint32_t total = fh_be16(ip + 2), stated = fh_be16(ip + header + 4);

    if (total > len || stated < 8 || header + stated > total)
        return FH_FRAME_LENGTHS;
    out->payload = ip + header + 8;
    out->len = stated - 8;
    return FH_FRAME_OK;
}

/* `ip` is the first byte of the IP header, `len` what there is from it on. Sets all of `out` but the VLAN. */
static inline int fh_frame_ip(const uint8_t *ip, uint32_t len, int check_udp_sum, struct fh_frame *out)
{
    uint32_t header = 20;
    uint64_t sum;

    out->source = out->group = 0;
    out->port = 0;
    if (len < 20)
        return FH_FRAME_SHORT;
    if (ip[0] != 0x45) {
        if (ip[0] >> 4 != 4)
            return FH_FRAME_OTHER;
        header = (ip[0] & 15) * 4;
        if (header < 20)
            return FH_FRAME_LENGTHS;
    }
    if (ip[9] != 17)
        return FH_FRAME_OTHER;
    out->source = fh_le32(ip + 12);
    out->group = fh_le32(ip + 16);
    if (len < header + 8)
        return FH_FRAME_SHORT;
    if (fh_le16(ip + 6) & 0xff1f)               /* 0x1fff, the offset, in network byte order: no ports in here */
        return FH_FRAME_FRAGMENT;
    out->port = fh_le16(ip + header + 2);
    sum = fh_ip_sum(ip);
    if (header > 20)
        sum += fh_sum(ip + 20, header - 20);
    if (!fh_sum_good(sum))
        return FH_FRAME_CHECKSUM;
    if (ip[6] & 0x20)                           /* more fragments */
        return FH_FRAME_FRAGMENT;
    if (fh_frame_payload(ip, header, len, out) != FH_FRAME_OK)
        return FH_FRAME_LENGTHS;
    if (check_udp_sum && fh_le16(ip + header + 6) != 0) {       /* 0 = the sender computed none */
        sum = fh_sum(ip + 12, 8) + fh_le16(ip + header + 4) + (17u << 8) + fh_sum(ip + header, out->len + 8);
        if (!fh_sum_good(sum))
            return FH_FRAME_UDP_CHECKSUM;
    }
    return FH_FRAME_OK;
}

/* The same for an IP header that is known to be 20 bytes long, UDP's and no fragment's, in memory that goes on for at least
 * 28 bytes. Sets payload and length only. */
static inline int fh_frame_known_ip(const uint8_t *ip, uint32_t len, struct fh_frame *out)
{
    return fh_sum_good(fh_ip_sum(ip)) ? fh_frame_payload(ip, 20, len, out) : FH_FRAME_CHECKSUM;
}

static inline int fh_is_tag(uint16_t type)
{
    return type == 0x8100 || type == 0x88a8;
}

/* A whole frame: FH_FRAME_OK and `out`, or the reason. */
static inline int fh_frame_udp(const uint8_t *p, uint32_t len, int check_udp_sum, struct fh_frame *out)
{
    uint32_t at = 14;
    uint16_t type;

    out->source = out->group = out->vlan = 0;
    out->port = 0;
    if (len < at)
        return FH_FRAME_SHORT;
    type = fh_be16(p + 12);
    for (int tags = 0; tags < 2 && fh_is_tag(type); tags++) {
        if (len < at + 4)
            return FH_FRAME_SHORT;
        out->vlan = out->vlan << 16 | (fh_be16(p + at) & 0xfff);
        type = fh_be16(p + at + 2);
        at += 4;
    }
    if (type != 0x0800)
        return FH_FRAME_OTHER;
    return fh_frame_ip(p + at, len - at, check_udp_sum, out);
}

/* ---- whose: (group, port, source or any, VLAN) → line ---- */

enum {
    FH_STEER_LINES = 64,
    FH_STEER_SLOTS = 256,       /* at most a quarter in use */
    FH_STEER_NONE = -1
};

struct fh_steer_flow {
    uint64_t addresses;         /* group | source << 32; source 0 = any */
    uint64_t rest;              /* VLAN | port << 32 | 1 << 48; 0 = this slot is empty */
    uint64_t line;
};

struct fh_steer {               /* all zero = empty */
    struct fh_steer_flow slots[FH_STEER_SLOTS];
    struct fh_steer_flow flows[FH_STEER_LINES];     /* as they were added */
    uint32_t count;
    uint32_t with_source;
};

static inline uint64_t fh_steer_rest(uint16_t port, uint32_t vlan)
{
    return vlan | (uint64_t)port << 32 | 1ull << 48;
}

static inline uint32_t fh_steer_slot(uint64_t addresses, uint64_t rest)
{
    return (uint32_t)((addresses * 0x9e3779b97f4a7c15ull ^ rest) * 0xd6e8feb86659fd93ull >> 56);
}

static inline int fh_steer_look(const struct fh_steer *table, uint64_t addresses, uint64_t rest)
{
    for (uint32_t i = fh_steer_slot(addresses, rest);; i = (i + 1) % FH_STEER_SLOTS) {
        const struct fh_steer_flow *slot = &table->slots[i];
        if (slot->rest == rest && slot->addresses == addresses)
            return (int)slot->line;
        if (slot->rest == 0)
            return FH_STEER_NONE;
    }
}

/* 0, or -1: FH_STEER_LINES there already, or another line has the same flow. Values as in fh_frame; source 0 = any. */
static inline int fh_steer_add(struct fh_steer *table, uint32_t group, uint16_t port, uint32_t source, uint32_t vlan,
                               uint32_t line)
{
    struct fh_steer_flow flow = {group | (uint64_t)source << 32, fh_steer_rest(port, vlan), line};
    uint32_t i = fh_steer_slot(flow.addresses, flow.rest);

    if (table->count == FH_STEER_LINES || fh_steer_look(table, flow.addresses, flow.rest) != FH_STEER_NONE)
        return -1;
    while (table->slots[i].rest != 0)
        i = (i + 1) % FH_STEER_SLOTS;
    table->slots[i] = table->flows[table->count++] = flow;
    table->with_source += source != 0;
    return 0;
}

/* The line of a good frame, its own source before any source; FH_STEER_NONE. */
static inline int fh_steer_line(const struct fh_steer *table, const struct fh_frame *frame)
{
    uint64_t rest = fh_steer_rest(frame->port, frame->vlan);
    int line;

    if (table->with_source != 0) {
        line = fh_steer_look(table, frame->group | (uint64_t)frame->source << 32, rest);
        if (line != FH_STEER_NONE)
            return line;
    }
    return fh_steer_look(table, frame->group, rest);
}

/* The line that a frame without one was most likely meant for (same group, port and VLAN; where the ports could not be
 * read, the first of the group): to count a refused frame or a wrong source on. FH_STEER_NONE: nobody's. */
static inline int fh_steer_blame(const struct fh_steer *table, const struct fh_frame *frame)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct fh_steer_flow *flow = &table->flows[i];
        if ((uint32_t)flow->addresses == frame->group && (uint32_t)flow->rest == frame->vlan
            && (frame->port == 0 || (uint16_t)(flow->rest >> 32) == frame->port))
            return (int)flow->line;
    }
    return FH_STEER_NONE;
}
#endif

/* What the kernel says beside a datagram: when it came, and how many it had no room for. */
#ifndef FH_DATAGRAM_CONTROL_H
#define FH_DATAGRAM_CONTROL_H
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef SCM_TIMESTAMPNS
#define SCM_TIMESTAMPNS 35
#endif
#ifndef SCM_TIMESTAMPING
#define SCM_TIMESTAMPING 37
#endif
#ifndef SO_RXQ_OVFL
#define SO_RXQ_OVFL 40
#endif

#define FH_CONTROL_BYTES 192    /* timestamping (3 timespecs), timestampns and the drop count, with room to spare */

struct fh_control {
    int64_t software;           /* ns since the Unix epoch; 0 = none */
    int64_t hardware;           /* as the NIC's clock has it; 0 = none */
    uint32_t drops;             /* since the socket was made */
    uint32_t has_drops;
};

static inline int64_t fh_timespec_ns(const unsigned char *p)
{
    struct timespec t;
    memcpy(&t, p, sizeof t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void fh_read_control(struct msghdr *message, struct fh_control *out)
{
    memset(out, 0, sizeof *out);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        const unsigned char *p = CMSG_DATA(c);
        size_t bytes = c->cmsg_len - CMSG_LEN(0);
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_TIMESTAMPING && bytes >= 3 * sizeof(struct timespec)) {
            out->software = fh_timespec_ns(p);
            out->hardware = fh_timespec_ns(p + 2 * sizeof(struct timespec));
        } else if (c->cmsg_type == SCM_TIMESTAMPNS && bytes >= sizeof(struct timespec)) {
            out->software = fh_timespec_ns(p);
        } else if (c->cmsg_type == SO_RXQ_OVFL && bytes >= 4) {
            memcpy(&out->drops, p, 4);
            out->has_drops = 1;
        }
    }
}

static inline int64_t fh_realtime_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);      /* answered in user space (vDSO) */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t fh_monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
#endif

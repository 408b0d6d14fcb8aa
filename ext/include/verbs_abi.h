/* What the receive loop needs of libibverbs, at the offsets that its ABI has frozen since version 1 (2005; the extended
 * completion queue since 2016). libibverbs' own poll, post and notify are inline jumps through these tables, so nothing
 * is linked and no RDMA header is needed. A test compares every offset with <infiniband/verbs.h>.
 */
#ifndef FH_VERBS_ABI_H
#define FH_VERBS_ABI_H
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FH_WC_SUCCESS = 0,
    FH_WC_LOC_LEN_ERR = 1,      /* the packet was larger than the slot */
    FH_WC_WR_FLUSH_ERR = 5,     /* the queue pair is in its error state: every slot comes back, none is filled */
    FH_WC_GRH = 1               /* flag: the first 40 bytes of the slot are a routing header */
};

struct fh_cq;
struct fh_qp;

struct fh_wc {                  /* ibv_wc: a completion */
    uint64_t wr_id;
    uint32_t status;
    uint32_t pad[2];
    uint32_t byte_len;
    uint32_t pad2[3];
    uint32_t wc_flags;
    uint32_t pad3[2];
};

struct fh_sge {                 /* ibv_sge */
    uint64_t addr;
    uint32_t length, lkey;
};

struct fh_recv_wr {             /* ibv_recv_wr */
    uint64_t wr_id;
    struct fh_recv_wr *next;
    struct fh_sge *sg_list;
    int num_sge;
};

struct fh_context {             /* ibv_context and the part of its ops that is used */
    void *device;
    void *ops[11];
    int (*poll_cq)(struct fh_cq *cq, int count, struct fh_wc *out);
    int (*req_notify_cq)(struct fh_cq *cq, int solicited_only);
    void *more[12];
    void *post_send;
    int (*post_recv)(struct fh_qp *qp, struct fh_recv_wr *first, struct fh_recv_wr **bad);
};

struct fh_channel {             /* ibv_comp_channel */
    struct fh_context *context;
    int fd;
};

struct fh_cq {                  /* ibv_cq, and the beginning of ibv_cq_ex */
    struct fh_context *context;
    struct fh_channel *channel;
    void *cq_context;
    uint32_t handle;
    int cqe;
};

struct fh_poll_attr {           /* ibv_poll_cq_attr */
    uint32_t comp_mask;
};

struct fh_cq_ex {               /* ibv_cq_ex: completions with the NIC's time */
    struct fh_cq cq;
    uint8_t locks[sizeof(pthread_mutex_t) + sizeof(pthread_cond_t) + 12];   /* a mutex has 40 bytes on x86-64, 48 on aarch64 */
    uint32_t status;
    uint64_t wr_id;
    int (*start_poll)(struct fh_cq_ex *cq, struct fh_poll_attr *attr);
    int (*next_poll)(struct fh_cq_ex *cq);
    void (*end_poll)(struct fh_cq_ex *cq);
    void *read_opcode, *read_vendor_err;
    uint32_t (*read_byte_len)(struct fh_cq_ex *cq);
    void *read_imm_data, *read_qp_num, *read_src_qp;
    unsigned int (*read_wc_flags)(struct fh_cq_ex *cq);
    void *more[7];
    uint64_t (*read_completion_wallclock_ns)(struct fh_cq_ex *cq);
};

struct fh_qp {                  /* ibv_qp */
    struct fh_context *context;
    void *qp_context, *pd, *send_cq;
    struct fh_cq *recv_cq;
    void *srq;
    uint32_t handle, qp_num;
};

/* Members of libibverbs itself, looked up in the library that pyverbs has loaded. */
typedef int (*fh_get_event)(struct fh_channel *channel, struct fh_cq **cq, void **cq_context);
typedef void (*fh_ack_events)(struct fh_cq *cq, unsigned int count);

/* ---- the routing header in front of a datagram ---- */

enum { FH_GRH_BYTES = 40 };

struct fh_grh {                 /* addresses as on the wire */
    uint32_t source, group;
};

/* The IPv4 addresses of a datagram of RoCE, from the 40 bytes before its payload. 1, or 0: there are none.
 *
 * Version 2 over IPv4 leaves its IP header in the last 20 bytes, the first 20 are undefined (InfiniBand specification,
 * annex A17); what looks like IPv6 too is IPv4 when the checksum agrees. Version 1 has an IPv6-like header; an IPv4
 * group stands in it as ::ffff:a.b.c.d.
 */
static inline int fh_grh_ipv4(const uint8_t *p, struct fh_grh *out)
{
    const uint8_t *ip = p + 20;

    if (ip[0] == 0x45) {
        uint32_t sum = 0;
        if (p[0] >> 4 == 6) {
            for (int i = 0; i < 20; i += 2)
                sum += (uint32_t)ip[i] << 8 | ip[i + 1];
            sum = (sum >> 16) + (sum & 0xffff);
            sum = (sum >> 16) + (sum & 0xffff);
        }
        if (p[0] >> 4 != 6 || sum == 0xffff) {
            __builtin_memcpy(&out->source, ip + 12, 4);
            __builtin_memcpy(&out->group, ip + 16, 4);
            return 1;
        }
    }
    if (p[0] >> 4 == 6) {
        static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
        if (__builtin_memcmp(p + 8, mapped, 12) == 0 && __builtin_memcmp(p + 24, mapped, 12) == 0) {
            __builtin_memcpy(&out->source, p + 20, 4);
            __builtin_memcpy(&out->group, p + 36, 4);
            return 1;
        }
    }
    return 0;
}
#endif

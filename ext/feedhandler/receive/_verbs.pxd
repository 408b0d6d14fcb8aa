"""libibverbs as the receive loop sees it (verbs_abi.h): structures and calls, by pointer; nothing is linked."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "verbs_abi.h" nogil:
    enum:
        FH_WC_SUCCESS
        FH_WC_LOC_LEN_ERR
        FH_WC_WR_FLUSH_ERR
        FH_WC_GRH
        FH_GRH_BYTES

    cdef struct fh_wc:
        uint64_t wr_id
        uint32_t status
        uint32_t byte_len
        uint32_t wc_flags

    cdef struct fh_sge:
        uint64_t addr
        uint32_t length
        uint32_t lkey

    cdef struct fh_recv_wr:
        uint64_t wr_id
        fh_recv_wr *next
        fh_sge *sg_list
        int num_sge

    cdef struct fh_channel:
        fh_context *context
        int fd

    cdef struct fh_context:
        int (*poll_cq)(fh_cq *cq, int count, fh_wc *out) noexcept nogil
        int (*req_notify_cq)(fh_cq *cq, int solicited_only) noexcept nogil
        int (*post_recv)(fh_qp *qp, fh_recv_wr *first, fh_recv_wr **bad) noexcept nogil

    cdef struct fh_cq:
        fh_context *context
        fh_channel *channel
        int cqe

    cdef struct fh_qp:
        fh_context *context
        fh_cq *recv_cq
        uint32_t qp_num

    cdef struct fh_poll_attr:
        uint32_t comp_mask

    cdef struct fh_cq_ex:
        fh_cq cq
        uint32_t status
        uint64_t wr_id
        int (*start_poll)(fh_cq_ex *cq, fh_poll_attr *attr) noexcept nogil
        int (*next_poll)(fh_cq_ex *cq) noexcept nogil
        void (*end_poll)(fh_cq_ex *cq) noexcept nogil
        uint32_t (*read_byte_len)(fh_cq_ex *cq) noexcept nogil
        unsigned int (*read_wc_flags)(fh_cq_ex *cq) noexcept nogil
        uint64_t (*read_completion_wallclock_ns)(fh_cq_ex *cq) noexcept nogil

    ctypedef int (*fh_get_event)(fh_channel *channel, fh_cq **cq, void **cq_context) noexcept nogil
    ctypedef void (*fh_ack_events)(fh_cq *cq, unsigned int count) noexcept nogil

    cdef struct fh_grh:         # addresses as on the wire
        uint32_t source
        uint32_t group

    int fh_grh_ipv4(const uint8_t *p, fh_grh *out)

"""claim.h for Cython: turns of one work, each done by whichever of several spinning threads is on its CPU."""
from libc.stdint cimport int64_t

cdef extern from "claim.h" nogil:
    int64_t FH_CLAIM_TAKEN
    int64_t FH_CLAIM_OVER
    int64_t fh_claim_look(const int64_t *claim)
    bint fh_claim_take(int64_t *claim, int64_t seen)
    void fh_claim_leave(int64_t *claim, int64_t next)

"""shm.h for Cython: the writer's lock, the futex, the clocks."""
from libc.stdint cimport int64_t, uint32_t

cdef extern from "shm.h" nogil:
    int fh_lock_take(int fd)
    int fh_lock_release(int fd)
    int fh_lock_held(int fd)
    void fh_futex_wait(const uint32_t *word, uint32_t seen, int64_t timeout_ns)
    void fh_futex_wake(uint32_t *word)
    void fh_sleep(int64_t ns)
    int64_t fh_realtime()
    int64_t fh_monotonic()
    int64_t fh_monotonic_coarse()

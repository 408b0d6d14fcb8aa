"""The heap allocations of this thread, counted, where this very file was preloaded: LD_PRELOAD=…/_allocations….so.

Its malloc, calloc, realloc and their kin then stand before the C library's, in every thread and every library. Merely
imported it counts nothing, and says so.
"""

cdef extern from *:
    """
    #define _GNU_SOURCE
    #include <stddef.h>
    #include <stdlib.h>
    #include <dlfcn.h>

    extern void *__libc_malloc(size_t);
    extern void *__libc_calloc(size_t, size_t);
    extern void *__libc_realloc(void *, size_t);
    extern void *__libc_memalign(size_t, size_t);

    #define FH_SHOWN __attribute__((visibility("default")))
    static __thread unsigned long fh_allocations __attribute__((tls_model("initial-exec")));

    FH_SHOWN void *malloc(size_t n) { fh_allocations++; return __libc_malloc(n); }
    FH_SHOWN void *calloc(size_t n, size_t size) { fh_allocations++; return __libc_calloc(n, size); }
    FH_SHOWN void *realloc(void *p, size_t n) { fh_allocations++; return __libc_realloc(p, n); }
    FH_SHOWN void *memalign(size_t a, size_t n) { fh_allocations++; return __libc_memalign(a, n); }
    FH_SHOWN void *aligned_alloc(size_t a, size_t n) { fh_allocations++; return __libc_memalign(a, n); }
    FH_SHOWN int posix_memalign(void **p, size_t a, size_t n)
    {
        fh_allocations++;
        *p = __libc_memalign(a, n);
        return *p ? 0 : 12;
    }

    static unsigned long fh_allocations_so_far(void) { return fh_allocations; }
    static int fh_allocations_counted(void)
    {
        void *(*volatile first)(size_t) = (void *(*)(size_t)) dlsym(RTLD_DEFAULT, "malloc");
        unsigned long before = fh_allocations;
        free(first(1));
        return fh_allocations != before;
    }
    """
    unsigned long fh_allocations_so_far() nogil
    bint fh_allocations_counted() nogil


def counted() -> bool:
    """Whether allocations are counted in this process: this file was preloaded."""
    return bool(fh_allocations_counted())


def so_far() -> int:
    """The allocations of this thread since it began."""
    return fh_allocations_so_far()

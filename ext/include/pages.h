/* Memory for the hot path: had when it is asked for, not when it is first written. */
#ifndef FH_PAGES_H
#define FH_PAGES_H
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

/* Zeroed memory, taken now rather than at its first use; 2 MiB pages where the host gives them. NULL: none left. */
static inline void *fh_pages(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    madvise(at, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes; i += 4096)
        ((volatile char *)at)[i] = 0;
    return at;
}
#endif

/* What the compiler and the processor cannot know by themselves. */
#ifndef FH_HINTS_H
#define FH_HINTS_H
#include <stdint.h>

#define FH_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define FH_FETCH_TO_READ(p) __builtin_prefetch((const void *)(uintptr_t)(p))
#define FH_FETCH_TO_WRITE(p) __builtin_prefetch((const void *)(uintptr_t)(p), 1)
#endif

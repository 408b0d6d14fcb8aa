/* Edge counts of the instrumented extensions, for tests/fuzz. Loaded before the interpreter, with the sanitizers. */
#include <stdint.h>

#define FH_COVERAGE_SIZE 65536u

static uint8_t fh_coverage[FH_COVERAGE_SIZE] __attribute__((aligned(64)));
static __thread uintptr_t fh_before;

/* gcc calls this at the start of every basic block. An edge is the block with the one before it, as in AFL. */
void __sanitizer_cov_trace_pc(void)
{
    uintptr_t here = (uintptr_t)__builtin_return_address(0);
    uintptr_t block = (here >> 1) * 0x9E3779B97F4A7C15ull >> 40;
    uint32_t edge = (uint32_t)(block ^ fh_before) % FH_COVERAGE_SIZE;
    if (fh_coverage[edge] < 255)
        fh_coverage[edge]++;
    fh_before = block >> 1;
}

/* A count as one bit of its magnitude: 1, 2, 3, 4-7, 8-15, 16-31, 32-127, 128 and more. */
static uint8_t magnitude(uint8_t n)
{
    return n <= 3 ? 1u << (n - 1) : n < 8 ? 8u : n < 16 ? 16u : n < 32 ? 32u : n < 128 ? 64u : 128u;
}

/* What the run reached that is not in `seen` goes there; the map is cleared. The number of map entries with news. */
uint32_t fh_coverage_take(uint8_t *seen)
{
    uint32_t news = 0;
    for (uint32_t i = 0; i < FH_COVERAGE_SIZE; i += 8) {
        if (*(const uint64_t *)(fh_coverage + i) == 0)
            continue;
        for (uint32_t j = i; j < i + 8; j++) {
            if (fh_coverage[j] == 0)
                continue;
            uint8_t reached = magnitude(fh_coverage[j]);
            fh_coverage[j] = 0;
            news += (reached & ~seen[j]) != 0;
            seen[j] |= reached;
        }
    }
    return news;
}

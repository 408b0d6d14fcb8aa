/* One writer, many readers, no waiting on either side that the other could prolong.
 *
 * A record is guarded by a 64-bit sequence number: odd while the record is being written, two higher after each write.
 * The writer never waits. A reader copies and looks at the number again; when it changed, the copy is thrown away.
 *
 *     writer                                  reader
 *     seq = s + 1          (relaxed)          s = seq               (acquire)  odd: being written
 *     release fence                           copy the words        (relaxed)
 *     store the words      (relaxed)          acquire fence
 *     seq = s + 2          (release)          seq == s ?            (relaxed)  no: torn, throw away
 *
 * Two pairs make it sound by the C11 rules. The final release store pairs with the first acquire load: a reader that
 * sees s + 2 sees every word of that write. The two fences pair through the words: a reader that saw any word of a newer
 * write also sees that write's odd number when it looks again. Every word is loaded and stored atomically, so there is
 * no undefined read in between; on x86-64 these are plain moves, and both fences bind the compiler only.
 *
 * A writer that dies inside a write leaves the number odd for ever. Readers therefore try a bounded number of times,
 * then ask whether the writer lives. */
#ifndef FH_SEQLOCK_H
#define FH_SEQLOCK_H
#include <stddef.h>
#include <stdint.h>

/* -- single words ------------------------------------------------------------------------------------------------ */

static inline uint64_t fh_load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint64_t fh_load_acquire(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void fh_store(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline void fh_store_release(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t fh_load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint32_t fh_load32_acquire(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void fh_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline void fh_store32_release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

/* -- runs of words that somebody else reads or writes meanwhile --------------------------------------------------- */

static inline void fh_store_words(uint64_t *dst, const uint64_t *src, size_t words)
{
#pragma GCC unroll 8
    for (size_t i = 0; i < words; i++)
        __atomic_store_n(&dst[i], src[i], __ATOMIC_RELAXED);
}

static inline void fh_load_words(uint64_t *dst, const uint64_t *src, size_t words)
{
#pragma GCC unroll 8
    for (size_t i = 0; i < words; i++)
        dst[i] = __atomic_load_n(&src[i], __ATOMIC_RELAXED);
}

/* -- the writer: begin, store words (all relaxed and atomic: fh_store, fh_store_words), end ------------------------ */

static inline void fh_seq_begin(uint64_t *seq)
{
    __atomic_store_n(seq, __atomic_load_n(seq, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);    /* odd */
    __atomic_thread_fence(__ATOMIC_RELEASE);                /* pairs with the fence of fh_seq_unchanged */
}

static inline void fh_seq_end(uint64_t *seq)
{
    __atomic_store_n(seq, __atomic_load_n(seq, __ATOMIC_RELAXED) + 1, __ATOMIC_RELEASE);    /* even; pairs with fh_seq_enter */
}

static inline void fh_seq_write(uint64_t *seq, uint64_t *dst, const uint64_t *src, size_t words)
{
    fh_seq_begin(seq);
    fh_store_words(dst, src, words);
    fh_seq_end(seq);
}

/* -- the reader: enter (odd: try again), load words, unchanged? ---------------------------------------------------- */

static inline uint64_t fh_seq_enter(const uint64_t *seq)
{
    return __atomic_load_n(seq, __ATOMIC_ACQUIRE);          /* pairs with fh_seq_end */
}

static inline int fh_seq_unchanged(const uint64_t *seq, uint64_t entered)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);                /* pairs with the fence of fh_seq_begin */
    return __atomic_load_n(seq, __ATOMIC_RELAXED) == entered;
}

/* 1 when `words` were copied whole, 0 when they were still changing after `tries`. */
static inline int fh_seq_read(const uint64_t *seq, uint64_t *dst, const uint64_t *src, size_t words, int tries)
{
    while (tries-- > 0) {
        uint64_t entered = fh_seq_enter(seq);
        if (entered & 1)
            continue;
        fh_load_words(dst, src, words);
        if (fh_seq_unchanged(seq, entered))
            return 1;
    }
    return 0;
}

static inline void fh_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}
#endif

/* The symbol table of a segment: open addressing from (symbol, venue) to a directory index, searched in place.
 *
 * A record begins with its key: 32 bytes of symbol, 8 of venue, both padded with zeros. The writer fills the record, then
 * stores its index in the table (release), then the directory's count (release); it never moves or removes an entry. */
#ifndef FH_SYMBOLS_H
#define FH_SYMBOLS_H
#include <stdint.h>
#include <string.h>

enum { FH_SYMBOL_LENGTH = 32, FH_VENUE_LENGTH = 8, FH_KEY_WORDS = 5, FH_INSTRUMENT_BYTES = 128 };

/* The key of a symbol without its right-hand blanks; 0 when it is empty, too long, or not printable ASCII. */
static inline int fh_symbol_key(uint64_t *key, const char *symbol, uint32_t length, const char *venue)
{
    memset(key, 0, FH_KEY_WORDS * sizeof *key);
    while (length > 0 && (symbol[length - 1] == ' ' || symbol[length - 1] == 0))
        length--;
    if (length == 0 || length > FH_SYMBOL_LENGTH)
        return 0;
    for (uint32_t i = 0; i < length; i++)
        if (symbol[i] < ' ' || symbol[i] > '~')
            return 0;
    memcpy(key, symbol, length);
    memcpy((char *)key + FH_SYMBOL_LENGTH, venue, FH_VENUE_LENGTH);
    return 1;
}

static inline uint32_t fh_symbol_hash(const uint64_t *key)
{
    uint64_t h = 0;
    for (int i = 0; i < FH_KEY_WORDS; i++) {
        h = (h ^ key[i]) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
    }
    return (uint32_t)(h >> 32);
}

/* The index filed under `key`, 0 if there is none. `mask` + 1 is the table's length, a power of two; indices of
 * `capacity` and above, which only a damaged table holds, are not followed. `*place` (when wanted) is the free place. */
static inline uint32_t fh_symbol_find(const void *records, uint32_t capacity, const uint32_t *table, uint32_t mask,
                                      const uint64_t *key, uint32_t *place)
{
    uint32_t at = fh_symbol_hash(key) & mask;
    for (uint32_t probes = 0; probes <= mask; probes++, at = (at + 1) & mask) {
        uint32_t index = __atomic_load_n(&table[at], __ATOMIC_ACQUIRE);     /* pairs with the store of define() */
        if (index == 0) {
            if (place)
                *place = at;
            return 0;
        }
        if (index < capacity
            && memcmp((const char *)records + (uint64_t)index * FH_INSTRUMENT_BYTES, key, FH_KEY_WORDS * sizeof *key) == 0)
            return index;
    }
    if (place)
        *place = UINT32_MAX;
    return 0;
}

static inline void fh_store_u32_release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void fh_store_u64_release(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

/* A decoder's own short cut for feeds whose messages carry 8-byte symbols: pairs of words (symbol as sent, index). */
static inline uint32_t fh_name_slot(uint64_t name, uint32_t mask)
{
    return (uint32_t)((name * 0x9e3779b97f4a7c15ull) >> 40) & mask;
}

static inline uint32_t fh_name_find(const uint64_t *names, uint32_t mask, uint64_t name)
{
    uint32_t at = fh_name_slot(name, mask);
    while (names[2 * at + 1]) {             /* at most half of the table is ever in use */
        if (names[2 * at] == name)
            return (uint32_t)names[2 * at + 1];
        at = (at + 1) & mask;
    }
    return 0;
}
#endif

/* What levels.h does to levels, written once and compiled for several kinds of processor: it includes this file with
 *     FH_SUFFIX   the variant's name
 *     FH_TARGET   its function attribute
 *     FH_TEN      1 = sides of ten levels: every loop has a fixed length, and no branch
 *     FH_WIDTH    widest vectors, in bits; 0 = plain C, all there is off x86-64: the compiler makes what vectors it can of it
 * Keys of a side lie best first, so places are ranks: how many keys are better. */
#if FH_TEN
#define FH_DEPTH(l) 10u
#else
#define FH_DEPTH(l) (l)->depth
#endif
#define FH_INLINE static inline FH_TARGET __attribute__((always_inline))

/* How many of the best levels are better than `key`. */
FH_INLINE uint32_t FH_FN(fh_near_rank)(const int32_t *keys, uint32_t places, int32_t key)
{
#if FH_TEN && FH_WIDTH == 512
    (void)places;
    uint32_t better = _mm256_cmpgt_epi32_mask(_mm256_load_si256((const __m256i *)keys), _mm256_set1_epi32(key));
    better |= (uint32_t)_mm_cmpgt_epi32_mask(_mm_load_si128((const __m128i *)(keys + 8)), _mm_set1_epi32(key)) << 8;
    return (uint32_t)__builtin_popcount(better);
#elif FH_WIDTH == 0
    uint32_t better = 0;
    for (uint32_t i = 0; i < places; i++)
        better += keys[i] > key;
    return better;
#else
    __m128i k = _mm_set1_epi32(key), better = _mm_setzero_si128();
    for (uint32_t i = 0; i < places; i += 4)
        better = _mm_sub_epi32(better, _mm_cmpgt_epi32(_mm_load_si128((const __m128i *)(keys + i)), k));
    better = _mm_add_epi32(better, _mm_shuffle_epi32(better, 0x4e));
    better = _mm_add_epi32(better, _mm_shuffle_epi32(better, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(better);
#endif
}

/* Which of sixteen keys, a line, are better than `key`: a bit each. */
FH_INLINE uint32_t FH_FN(fh_line_better)(const int32_t *keys, int32_t key)
{
#if FH_WIDTH == 512
    return _mm512_cmpgt_epi32_mask(_mm512_load_si512(keys), _mm512_set1_epi32(key));
#elif FH_WIDTH == 0
    uint32_t better = 0;
    for (uint32_t i = 0; i < FH_LINE_KEYS; i++)
        better |= (uint32_t)(keys[i] > key) << i;
    return better;
#else
    const __m128i k = _mm_set1_epi32(key), *at = (const __m128i *)keys;
    __m128i a = _mm_cmpgt_epi32(_mm_load_si128(at), k), b = _mm_cmpgt_epi32(_mm_load_si128(at + 1), k);
    __m128i c = _mm_cmpgt_epi32(_mm_load_si128(at + 2), k), d = _mm_cmpgt_epi32(_mm_load_si128(at + 3), k);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d)));
#endif
}

/* The line of deeper keys where `key` is or would be. Two lines of line ends a step: those of 512 levels, and no branch
 * that could be guessed wrong. What lies behind the last is read, and not used. */
FH_INLINE uint32_t FH_FN(fh_deep_line)(const fh_levels *l, const fh_side *s, int32_t key)
{
    const int32_t *ends = fh_deep_lines(l, s);
    uint32_t first = s->first / FH_LINE_KEYS, line = first, lines = s->cap / FH_LINE_KEYS;
    for (uint32_t at = first & ~31u; at + 1 < lines; at += 32) {
        uint32_t better = FH_FN(fh_line_better)(ends + at, key) | FH_FN(fh_line_better)(ends + at + 16, key) << 16;
        if (at < first)
            better |= (1u << (first - at)) - 1;                         /* lines before the first are no lines */
        if (lines - 1 - at < 32)
            better &= (1u << (lines - 1 - at)) - 1;
        line = at + (uint32_t)__builtin_popcount(better);
        if (~better)
            break;
    }
    return line;
}

/* The place of `key` among the deeper ones, if it is in that line: first .. cap. */
FH_INLINE uint32_t FH_FN(fh_deep_place)(const fh_levels *l, const fh_side *s, uint32_t line, int32_t key)
{
    uint32_t at = line * FH_LINE_KEYS, before = s->first > at ? s->first - at : 0;
    uint32_t better = FH_FN(fh_line_better)(fh_deep_keys(l, s) + at, key) | ((1u << before) - 1);
    at += (uint32_t)__builtin_ctz(~better);
    return at < s->cap ? at : s->cap;                                   /* there may be no block yet */
}

#if FH_TEN && FH_WIDTH == 512
/* The ten keys, and two more, loaded and stored in the pieces in which fh_near_rank() loads them: it can do so at once. */
FH_INLINE __m512i FH_FN(fh_keys_load)(const int32_t *keys)
{
    return _mm512_inserti32x4(_mm512_castsi256_si512(_mm256_load_si256((const __m256i *)keys)),
                              _mm_load_si128((const __m128i *)(keys + 8)), 2);
}

FH_INLINE void FH_FN(fh_keys_store)(int32_t *keys, __m512i v)
{
    _mm256_store_si256((__m256i *)keys, _mm512_castsi512_si256(v));
    _mm_storel_epi64((__m128i *)(keys + 8), _mm512_extracti32x4_epi32(v, 2));
}
#endif

/* Place i takes `key`, those from i on go one place down; what falls off is the caller's. */
FH_INLINE void FH_FN(fh_keys_insert)(int32_t *keys, uint32_t i, int32_t key, uint32_t depth)
{
#if FH_TEN && FH_WIDTH == 512
    (void)depth;
    __mmask16 others = (__mmask16)(0x3ff & ~(1u << i));
    FH_FN(fh_keys_store)(keys, _mm512_mask_expand_epi32(_mm512_set1_epi32(key), others, FH_FN(fh_keys_load)(keys)));
#elif FH_TEN && FH_WIDTH
    (void)depth;
    __m128i *at = (__m128i *)keys;
    __m128i a = _mm_load_si128(at), b = _mm_load_si128(at + 1), c = _mm_load_si128(at + 2);
    __m128i place = _mm_set1_epi32((int)i), k = _mm_set1_epi32(key);
    __m128i lane_a = _mm_setr_epi32(0, 1, 2, 3), lane_b = _mm_setr_epi32(4, 5, 6, 7), lane_c = _mm_setr_epi32(8, 9, -1, -1);
    __m128i down_a = _mm_slli_si128(a, 4);
    __m128i down_b = _mm_or_si128(_mm_slli_si128(b, 4), _mm_srli_si128(a, 12));
    __m128i down_c = _mm_or_si128(_mm_slli_si128(c, 4), _mm_srli_si128(b, 12));
#define FH_PICK(old, down, lane) _mm_or_si128( \
        _mm_or_si128(_mm_and_si128(_mm_cmplt_epi32(lane, place), old), _mm_and_si128(_mm_cmpeq_epi32(lane, place), k)), \
        _mm_and_si128(_mm_cmpgt_epi32(lane, place), down))
    _mm_store_si128(at, FH_PICK(a, down_a, lane_a));
    _mm_store_si128(at + 1, FH_PICK(b, down_b, lane_b));
    _mm_store_si128(at + 2, FH_PICK(c, down_c, lane_c));
#undef FH_PICK
#else
    memmove(keys + i + 1, keys + i, (depth - 1 - i) * 4);
    keys[i] = key;
#endif
}

/* The same the other way: place i goes, those behind it come up, `key` is the new last one. */
FH_INLINE void FH_FN(fh_keys_remove)(int32_t *keys, uint32_t i, int32_t key, uint32_t depth)
{
#if FH_TEN && FH_WIDTH == 512
    (void)depth;
    __mmask16 others = (__mmask16)(0x3ff & ~(1u << i));
    FH_FN(fh_keys_store)(keys, _mm512_mask_compress_epi32(_mm512_set1_epi32(key), others, FH_FN(fh_keys_load)(keys)));
#elif FH_TEN && FH_WIDTH
    (void)depth;
    __m128i *at = (__m128i *)keys;
    __m128i a = _mm_load_si128(at), b = _mm_load_si128(at + 1), c = _mm_load_si128(at + 2);
    __m128i place = _mm_set1_epi32((int)i);
    __m128i lane_a = _mm_setr_epi32(0, 1, 2, 3), lane_b = _mm_setr_epi32(4, 5, 6, 7);
    __m128i up_a = _mm_or_si128(_mm_srli_si128(a, 4), _mm_slli_si128(b, 12));
    __m128i up_b = _mm_or_si128(_mm_srli_si128(b, 4), _mm_slli_si128(c, 12));
    __m128i old_a = _mm_cmplt_epi32(lane_a, place), old_b = _mm_cmplt_epi32(lane_b, place);
    _mm_store_si128(at, _mm_or_si128(_mm_and_si128(old_a, a), _mm_andnot_si128(old_a, up_a)));
    _mm_store_si128(at + 1, _mm_or_si128(_mm_and_si128(old_b, b), _mm_andnot_si128(old_b, up_b)));
    keys[8] = i < 9 ? keys[9] : keys[8];
    keys[9] = key;
#else
    memmove(keys + i, keys + i + 1, (depth - 1 - i) * 4);
    keys[depth - 1] = key;
#endif
}

/* The published levels from place i on go one place down; place i is the caller's to fill. Whole words are stored, and a
 * reader that meets a half-moved side sees the odd sequence. A side of ten is words 0 to 29; 30 and 31 are the last trade
 * or the volume, which wide stores put back as they are; what is read before word 0 belongs to the slot, and is not used. */
FH_INLINE void FH_FN(fh_slot_open_gap)(fh_level *levels, uint32_t i, uint32_t depth)
{
    uint64_t *words = (uint64_t *)levels;
#if FH_TEN && FH_WIDTH == 512
    (void)depth;
    uint32_t moved = 0x3fffffffu & ~0u << (3 * i + 3);
    __m512i v[4];
    for (int c = 0; c < 4; c++)
        v[c] = _mm512_mask_loadu_epi64(_mm512_loadu_si512(words + 8 * c), (__mmask8)(moved >> 8 * c), words + 8 * c - 3);
    for (int c = 0; c < 4; c++)
        _mm512_storeu_si512(words + 8 * c, v[c]);
#elif FH_WIDTH == 0
    for (uint32_t w = 3 * depth - 1; w >= 3 * i + 3; w--)
        fh_put64(&words[w], words[w - 3]);
#elif FH_TEN && FH_WIDTH == 256
    (void)depth;
    const uint64_t *mask = fh_after + 32 - (3 * i + 3);
    __m256i v[8];
    for (int c = 0; c < 8; c++) {
        __m256i after = _mm256_loadu_si256((const __m256i *)(mask + 4 * c));
        if (c == 7)
            after = _mm256_and_si256(after, _mm256_setr_epi64x(-1, -1, 0, 0));
        v[c] = _mm256_blendv_epi8(_mm256_loadu_si256((const __m256i *)(words + 4 * c)),
                                  _mm256_loadu_si256((const __m256i *)(words + 4 * c - 3)), after);
    }
    for (int c = 0; c < 8; c++)
        _mm256_storeu_si256((__m256i *)(words + 4 * c), v[c]);
#else
    uint32_t low = 3 * i + 3, w = 3 * depth;
    for (; w >= low + 2; w -= 2)
        _mm_storeu_si128((__m128i *)(words + w - 2), _mm_loadu_si128((const __m128i *)(words + w - 5)));
    if (w > low)
        fh_put64(&words[w - 1], words[w - 4]);
#endif
}

/* The published levels behind place i come one place up; the last place is the caller's to fill. */
FH_INLINE void FH_FN(fh_slot_close_gap)(fh_level *levels, uint32_t i, uint32_t depth)
{
    uint64_t *words = (uint64_t *)levels;
#if FH_TEN && FH_WIDTH == 512
    (void)depth;
    uint32_t moved = 0x07ffffffu & ~0u << 3 * i;
    __m512i v[4];
    for (int c = 0; c < 4; c++)
        v[c] = _mm512_mask_loadu_epi64(_mm512_loadu_si512(words + 8 * c), (__mmask8)(moved >> 8 * c), words + 8 * c + 3);
    for (int c = 0; c < 4; c++)
        _mm512_storeu_si512(words + 8 * c, v[c]);
#elif FH_WIDTH == 0
    for (uint32_t w = 3 * i; w < 3 * depth - 3; w++)
        fh_put64(&words[w], words[w + 3]);
#elif FH_TEN && FH_WIDTH == 256
    (void)depth;
    const uint64_t *mask = fh_after + 32 - 3 * i;
    __m256i v[7];
    for (int c = 0; c < 7; c++) {
        __m256i after = _mm256_loadu_si256((const __m256i *)(mask + 4 * c));
        if (c == 6)
            after = _mm256_and_si256(after, _mm256_setr_epi64x(-1, -1, -1, 0));
        v[c] = _mm256_blendv_epi8(_mm256_loadu_si256((const __m256i *)(words + 4 * c)),
                                  _mm256_loadu_si256((const __m256i *)(words + 4 * c + 3)), after);
    }
    for (int c = 0; c < 7; c++)
        _mm256_storeu_si256((__m256i *)(words + 4 * c), v[c]);
#else
    uint32_t w = 3 * i, high = 3 * depth - 3;
    for (; w + 2 <= high; w += 2)
        _mm_storeu_si128((__m128i *)(words + w), _mm_loadu_si128((const __m128i *)(words + w + 3)));
    if (w < high)
        fh_put64(&words[w], words[w + 3]);
#endif
}

/* `count` deeper entries from `first` on move one place: towards the front (`by` = -1) or the end (`by` = 1). */
FH_INLINE void FH_FN(fh_deep_move)(int32_t *keys, fh_deep *deep, uint32_t first, uint32_t count, int by)
{
#if FH_WIDTH == 512
    keys += first;
    deep += first;
    if (__builtin_expect(count <= 16, 1)) {                     /* all is read before anything is written */
        __mmask16 m = (__mmask16)_bzhi_u32(0xffff, count);
        __m512i k = _mm512_maskz_loadu_epi32(m, keys), d[4];
        for (uint32_t c = 0; c < 4; c++)
            d[c] = _mm512_maskz_loadu_epi64((__mmask8)(_bzhi_u64(0xffffffffu, 2 * count) >> 8 * c), deep + 4 * c);
        _mm512_mask_storeu_epi32(keys + by, m, k);
        for (uint32_t c = 0; c < 4; c++)
            _mm512_mask_storeu_epi64(deep + 4 * c + by, (__mmask8)(_bzhi_u64(0xffffffffu, 2 * count) >> 8 * c), d[c]);
        return;
    }
    memmove(keys + by, keys, count * 4);
    memmove(deep + by, deep, count * sizeof(fh_deep));
#else
    memmove(keys + first + by, keys + first, count * 4);
    memmove(deep + first + by, deep + first, count * sizeof(fh_deep));
#endif
}

static FH_TARGET void FH_FN(fh_levels_fetch)(const fh_levels *l, fh_change *changes, uint32_t count, const uint8_t *bids,
                                             uint64_t slot_stride, uint32_t side_stride)
{
    const uint32_t depth = FH_DEPTH(l), places = fh_places(depth);
    uint32_t deep[FH_CHANGES_MAX], n = 0;       /* a list, and no branch on which they are: it is hard to foretell */
    for (uint32_t c = 0; c < count; c++) {      /* those that change nothing hold what an earlier batch left */
        fh_change *change = &changes[c];
        const int32_t *keys = (const int32_t *)(l->sides + (size_t)change->side * l->side_bytes);
        const fh_side *s = (const fh_side *)(keys + places);
        uint32_t i = FH_FN(fh_near_rank)(keys, places, change->key);
        uintptr_t near_ = (uintptr_t)bids + (change->side >> 1) * slot_stride + (change->side & 1) * side_stride
                          + i * sizeof(fh_level);
        uintptr_t ends = (uintptr_t)(fh_deep_lines(l, s) + (s->first / FH_LINE_KEYS & ~31u));
        uintptr_t line = ends ^ ((near_ ^ ends) & -(uintptr_t)(i < depth));      /* as a branch it would be guessed wrong */
        __builtin_prefetch((const void *)line, 1);
        __builtin_prefetch((const void *)(line + 64), 1);
        change->hint = i;
        deep[n] = c;
        n += i >= depth;
    }
    for (uint32_t d = 0; d < n; d++) {
        fh_change *change = &changes[deep[d]];
        const int32_t *keys = (const int32_t *)(l->sides + (size_t)change->side * l->side_bytes);
        const fh_side *s = (const fh_side *)(keys + places);
        change->hint = FH_FN(fh_deep_line)(l, s, change->key);
        __builtin_prefetch(fh_deep_keys(l, s) + change->hint * FH_LINE_KEYS, 1);
    }
    for (uint32_t d = 0; d < n; d++) {
        fh_change *change = &changes[deep[d]];
        const int32_t *keys = (const int32_t *)(l->sides + (size_t)change->side * l->side_bytes);
        const fh_side *s = (const fh_side *)(keys + places);
        uint32_t at = FH_FN(fh_deep_place)(l, s, change->hint, change->key);
        change->hint = FH_HINT_DEEP | at;
        __builtin_prefetch(&fh_deep_levels(l, s)[at], 1);
    }
}

static FH_TARGET uint32_t FH_FN(fh_levels_change)(fh_levels *l, const fh_change *change, fh_level *levels, uint16_t *used)
{
    const uint32_t depth = FH_DEPTH(l), places = fh_places(depth), ask = change->side & 1;
    const int32_t key = change->key, orders = change->orders;
    int32_t *keys = (int32_t *)(l->sides + (size_t)change->side * l->side_bytes);
    fh_side *s = (fh_side *)(keys + places);
    uint32_t near_ = s->near_, i = FH_FN(fh_near_rank)(keys, places, key);
    if (i < depth) {
        fh_level *level = &levels[i];
        if (i < near_ && keys[i] == key) {
            uint32_t left = (uint32_t)level->orders + (uint32_t)orders;
            if (left) {
                fh_put64(&level->size, level->size + change->size);
                fh_put64(&level->orders, left);
                return i;
            }
            FH_FN(fh_slot_close_gap)(levels, i, depth);
            int32_t up_key = FH_NO_KEY;
            if (s->first < s->cap) {                            /* the best of the deeper ones comes up */
                fh_deep *up = &fh_deep_levels(l, s)[s->first];
                up_key = fh_deep_keys(l, s)[s->first++];
                fh_put_level(&levels[depth - 1], (int64_t)(fh_quanta(up_key, ask) * l->quantum), up->size, up->orders);
            } else {
                s->near_ = (uint16_t)(near_ - 1);
                __atomic_store_n(used, s->near_, __ATOMIC_RELAXED);
                fh_put_level(&levels[depth - 1], 0, 0, 0);
            }
            FH_FN(fh_keys_remove)(keys, i, up_key, depth);
            return i;
        }
        if (__builtin_expect(orders <= 0 || s->lost, 0))
            return FH_NO_LEVEL;
        if (near_ == depth) {                                   /* the last of the best goes down */
            if (__builtin_expect(!s->first, 0) && !fh_levels_grow(l, s)) {
                s->lost = 1;
                return FH_LEVELS_FULL;
            }
            const fh_level *down = &levels[depth - 1];
            uint32_t f = --s->first;
            fh_deep_keys(l, s)[f] = keys[depth - 1];
            fh_deep_levels(l, s)[f] = (fh_deep){ down->size, (uint32_t)down->orders, 0 };
            fh_deep_lines_set(l, s, f, f);
        } else {
            s->near_ = (uint16_t)(near_ + 1);
            __atomic_store_n(used, s->near_, __ATOMIC_RELAXED);
        }
        FH_FN(fh_keys_insert)(keys, i, key, depth);
        FH_FN(fh_slot_open_gap)(levels, i, depth);
        fh_put_level(level, (int64_t)(fh_quanta(key, ask) * l->quantum), change->size, (uint32_t)orders);
        return i | FH_LEVEL_NEW;
    }
    uint32_t at = change->hint & ~FH_HINT_DEEP;
    if (at - s->first >= s->cap - s->first || fh_deep_keys(l, s)[at] != key)    /* no hint, or another change came between */
        at = FH_FN(fh_deep_place)(l, s, FH_FN(fh_deep_line)(l, s, key), key);
    i = at - s->first;
    if (at < s->cap && fh_deep_keys(l, s)[at] == key) {
        fh_deep *deep = &fh_deep_levels(l, s)[at];
        deep->size += change->size;
        deep->orders += (uint32_t)orders;
        if (!deep->orders) {
            FH_FN(fh_deep_move)(fh_deep_keys(l, s), fh_deep_levels(l, s), s->first, i, 1);
            s->first++;
            fh_deep_lines_set(l, s, s->first, at);
        }
        return depth + i;
    }
    if (__builtin_expect(orders <= 0, 0))
        return FH_NO_LEVEL;
    if (__builtin_expect(!s->first, 0) && !fh_levels_grow(l, s)) {
        s->lost = 1;
        return FH_LEVELS_FULL;
    }
    FH_FN(fh_deep_move)(fh_deep_keys(l, s), fh_deep_levels(l, s), s->first, i, -1);
    s->first--;
    at = s->first + i;
    fh_deep_keys(l, s)[at] = key;
    fh_deep_levels(l, s)[at] = (fh_deep){ change->size, (uint32_t)orders, 0 };
    fh_deep_lines_set(l, s, s->first, at);
    return depth + i;
}

#undef FH_SUFFIX
#undef FH_TARGET
#undef FH_TEN
#undef FH_WIDTH
#undef FH_DEPTH
#undef FH_INLINE

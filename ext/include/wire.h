/* Unaligned loads and stores of the two byte orders. The caller has checked the length. */
#ifndef FH_WIRE_H
#define FH_WIRE_H
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "feedhandler is written for little-endian machines"
#endif

static inline uint8_t fh_u8(const uint8_t *p) { return *p; }
static inline uint16_t fh_le16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t fh_le32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t fh_le64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint16_t fh_be16(const uint8_t *p) { return __builtin_bswap16(fh_le16(p)); }
static inline uint32_t fh_be32(const uint8_t *p) { return __builtin_bswap32(fh_le32(p)); }
static inline uint64_t fh_be64(const uint8_t *p) { return __builtin_bswap64(fh_le64(p)); }
static inline uint64_t fh_be48(const uint8_t *p) { return (uint64_t)fh_be16(p) << 32 | fh_be32(p + 2); }

static inline void fh_put_le16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void fh_put_le32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void fh_put_le64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }
static inline void fh_put_be16(uint8_t *p, uint16_t v) { fh_put_le16(p, __builtin_bswap16(v)); }
static inline void fh_put_be32(uint8_t *p, uint32_t v) { fh_put_le32(p, __builtin_bswap32(v)); }
static inline void fh_put_be64(uint8_t *p, uint64_t v) { fh_put_le64(p, __builtin_bswap64(v)); }
static inline void fh_put_be48(uint8_t *p, uint64_t v) { fh_put_be16(p, (uint16_t)(v >> 32)); fh_put_be32(p + 2, (uint32_t)v); }
#endif

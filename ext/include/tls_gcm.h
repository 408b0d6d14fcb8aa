/* AES-GCM for TLS records by Intel's multi-buffer library (libipsec-mb), where this CPU has VAES, VPCLMULQDQ and AVX-512.
 *
 *     libssl ──EVP──► this provider ──► aes_gcm_dec_256_vaes_avx512() and its like; nothing else of the library is linked
 *
 * OpenSSL 3.0 knows AES-NI only, and takes some five times as long for a record of 1,500 bytes. So the private copy of it
 * has one more provider, built in here, of AES-128-GCM and AES-256-GCM as TLS 1.3 and 1.2 use them; SSL_CTX_new_ex() is
 * given the query that prefers it. Everything else is OpenSSL's own, and all of it where there is no such CPU, no library at
 * the build, a known answer comes out wrong, or the environment says FEEDHANDLER_GCM=openssl.
 *
 * What differs from OpenSSL's: a message is encrypted or decrypted by one call of update() (the library's call is for whole
 * messages), an IV has 12 bytes and is used once, a tag 16, additional data at most FH_GCM_AAD. TLS asks for no more; whatever else is
 * refused. No memory is taken but in newctx(), and keys are cleansed in freectx(). The tag is compared in constant time.
 *
 * Records of TLS 1.3 that bear application data go by OpenSSL no longer once it has decrypted one: fh_gcm_open() decrypts them from
 * where they were received to where they are wanted, two copies fewer, with the context that OpenSSL made. The numbers that nonces
 * are made of are then counted here, and OpenSSL, which knows only of its own records, is corrected when it comes with one. */
#ifndef FH_TLS_GCM_H
#define FH_TLS_GCM_H
#include <openssl/evp.h>

#if defined(FH_TLS_PRIVATE) && defined(FH_TLS_IPSEC_MB) && defined(__x86_64__)
#include <intel-ipsec-mb.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FH_GCM_QUERY "?provider=feedhandler"
#define FH_GCM_LIBRARY "ipsec-mb " IMB_VERSION_STR
enum { FH_GCM_IV = 12, FH_GCM_TAG = 16, FH_GCM_AAD = 64, FH_GCM_FIXED = 4, FH_GCM_EXPLICIT = 8 };   /* RFC 5288, section 3 */

/* What the manager's table would point to on such a CPU. The manager itself brings every other cipher: 12 MB. */
#define FH_GCM_CRYPT(name) void name(const struct gcm_key_data *, struct gcm_context_data *, uint8_t *, const uint8_t *, \
    uint64_t, const uint8_t *, const uint8_t *, uint64_t, uint8_t *, uint64_t)
FH_GCM_CRYPT(aes_gcm_enc_128_vaes_avx512);
FH_GCM_CRYPT(aes_gcm_dec_128_vaes_avx512);
FH_GCM_CRYPT(aes_gcm_enc_256_vaes_avx512);
FH_GCM_CRYPT(aes_gcm_dec_256_vaes_avx512);
void aes_gcm_precomp_128_vaes_avx512(struct gcm_key_data *);
void aes_gcm_precomp_256_vaes_avx512(struct gcm_key_data *);
void aes_keyexp_128_enc_avx512(const void *, void *);
void aes_keyexp_256_enc_avx512(const void *, void *);

enum { FH_GCM_HEADER = 5, FH_GCM_APPLICATION = 23, FH_GCM_PLAIN = (1 << 14) + 1 };     /* RFC 8446, sections 5.1 and 5.2 */

enum { FH_GCM_NO_IV, FH_GCM_READY, FH_GCM_DONE };   /* DONE: the IV is used up, `made` is the tag of the message */

struct fh_gcm {
    struct gcm_key_data key;
    struct gcm_context_data work;
    uint64_t begun, opened; /* messages of this key: for which an IV was set, and by fh_gcm_open() */
    uint8_t first[FH_GCM_IV];                   /* the IV of the key's first message: in TLS 1.3 what all are made of */
    uint8_t iv[FH_GCM_IV], made[FH_GCM_TAG], tag[FH_GCM_TAG], aad[FH_GCM_AAD];
    uint32_t key_bytes, aad_bytes, state;
    int encrypts, keyed, tagged;
    int record;             /* `aad` is a TLS 1.2 record's header: update() takes explicit IV, data and tag together */
};

static uint64_t fh_gcm_keys;                    /* given to it since the start: for library(), and for tests to know it at work */
static __thread struct fh_gcm *fh_gcm_latest;   /* what has decrypted on this thread last, message by message */

/* The nonce of message `number` of the key, counted from 0 (RFC 8446, section 5.3). */
static void fh_gcm_nonce(const struct fh_gcm *g, uint64_t number, uint8_t *nonce)
{
    uint64_t low;
    memcpy(&low, g->first + FH_GCM_IV - sizeof low, sizeof low);
    low ^= __builtin_bswap64(number);
    memcpy(nonce, g->first, FH_GCM_IV - sizeof low);
    memcpy(nonce + FH_GCM_IV - sizeof low, &low, sizeof low);
}

static void fh_gcm_set_key(struct fh_gcm *g, const uint8_t *key)
{
    __atomic_fetch_add(&fh_gcm_keys, 1, __ATOMIC_RELAXED);
    if (g->key_bytes == 32) {
        aes_keyexp_256_enc_avx512(key, g->key.expanded_keys);
        aes_gcm_precomp_256_vaes_avx512(&g->key);
    } else {
        aes_keyexp_128_enc_avx512(key, g->key.expanded_keys);
        aes_gcm_precomp_128_vaes_avx512(&g->key);
    }
    g->keyed = 1;
    g->begun = g->opened = 0;
}

static void fh_gcm_crypt(struct fh_gcm *g, uint8_t *out, const uint8_t *in, size_t length)
{
    FH_GCM_CRYPT((*crypt)) = g->key_bytes == 32
        ? (g->encrypts ? aes_gcm_enc_256_vaes_avx512 : aes_gcm_dec_256_vaes_avx512)
        : (g->encrypts ? aes_gcm_enc_128_vaes_avx512 : aes_gcm_dec_128_vaes_avx512);
    crypt(&g->key, &g->work, out, in, length, g->iv, g->aad, g->aad_bytes, g->made, FH_GCM_TAG);
    g->state = FH_GCM_DONE;
    g->aad_bytes = 0;
}

/* ---- the cipher's functions, as core_dispatch.h declares them ---- */

static void *fh_gcm_new(uint32_t key_bytes)
{
    struct fh_gcm *g = aligned_alloc(_Alignof(struct fh_gcm), sizeof *g);
    if (g) {
        memset(g, 0, sizeof *g);
        g->key_bytes = key_bytes;
    }
    return g;
}

static void *fh_gcm_new128(void *provider)
{
    (void)provider;
    return fh_gcm_new(16);
}

static void *fh_gcm_new256(void *provider)
{
    (void)provider;
    return fh_gcm_new(32);
}

static void fh_gcm_free(void *context)
{
    if (context)
        OPENSSL_cleanse(context, sizeof(struct fh_gcm));
    if (fh_gcm_latest == context)
        fh_gcm_latest = NULL;
    free(context);
}

static int fh_gcm_set(void *context, const OSSL_PARAM params[])
{
    struct fh_gcm *g = context;
    const OSSL_PARAM *p;
    for (p = params; p && p->key; p++) {
        if (!strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAG)) {
            if (p->data_size != FH_GCM_TAG || p->data_type != OSSL_PARAM_OCTET_STRING || (p->data && g->encrypts))
                return 0;
            if (p->data) {
                memcpy(g->tag, p->data, FH_GCM_TAG);
                g->tagged = 1;
            }
        } else if (!strcmp(p->key, OSSL_CIPHER_PARAM_IVLEN) || !strcmp(p->key, OSSL_CIPHER_PARAM_KEYLEN)) {
            size_t length;
            if (!OSSL_PARAM_get_size_t(p, &length) || length != (p->key[0] == 'i' ? FH_GCM_IV : g->key_bytes))
                return 0;
        } else if (!strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD)) {
            /* 13 bytes, the last two the length of what update() will get: the authenticated one is of the plain bytes */
            uint32_t around = FH_GCM_EXPLICIT + (g->encrypts ? 0 : FH_GCM_TAG), length;
            if (p->data_size != EVP_AEAD_TLS1_AAD_LEN || p->data_type != OSSL_PARAM_OCTET_STRING)
                return 0;
            memcpy(g->aad, p->data, EVP_AEAD_TLS1_AAD_LEN);
            length = (uint32_t)g->aad[11] << 8 | g->aad[12];
            if (length < around)
                return 0;
            g->aad[11] = (uint8_t)((length - around) >> 8);
            g->aad[12] = (uint8_t)(length - around);
            g->aad_bytes = EVP_AEAD_TLS1_AAD_LEN;
            g->record = 1;
        } else if (!strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED)) {
            if (p->data_size != FH_GCM_FIXED || p->data_type != OSSL_PARAM_OCTET_STRING)
                return 0;
            memcpy(g->iv, p->data, FH_GCM_FIXED);
            if (g->encrypts && RAND_bytes(g->iv + FH_GCM_FIXED, FH_GCM_EXPLICIT) <= 0)
                return 0;                       /* counts on from there, as OpenSSL's own does */
        }
    }
    return 1;
}

static int fh_gcm_get(void *context, OSSL_PARAM params[])
{
    struct fh_gcm *g = context;
    OSSL_PARAM *p;
    for (p = params; p && p->key; p++) {
        int fine = 1;
        if (!strcmp(p->key, OSSL_CIPHER_PARAM_IVLEN)) {
            fine = OSSL_PARAM_set_size_t(p, FH_GCM_IV);
        } else if (!strcmp(p->key, OSSL_CIPHER_PARAM_KEYLEN)) {
            fine = OSSL_PARAM_set_size_t(p, g->key_bytes);
        } else if (!strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAGLEN) || !strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD)) {
            fine = OSSL_PARAM_set_size_t(p, FH_GCM_TAG);
        } else if (!strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAG)) {
            fine = g->encrypts && g->state == FH_GCM_DONE && p->data_size == FH_GCM_TAG
                && OSSL_PARAM_set_octet_string(p, g->made, FH_GCM_TAG);
        }
        if (!fine)
            return 0;
    }
    return 1;
}

static int fh_gcm_start(struct fh_gcm *g, int encrypts, const uint8_t *key, size_t key_bytes, const uint8_t *iv,
                        size_t iv_bytes, const OSSL_PARAM params[])
{
    if ((key && key_bytes != g->key_bytes) || (iv && iv_bytes != FH_GCM_IV))
        return 0;
    g->encrypts = encrypts;
    g->record = g->tagged = 0;
    g->aad_bytes = 0;
    if (key)
        fh_gcm_set_key(g, key);
    if (iv) {
        memcpy(g->iv, iv, FH_GCM_IV);
        if (g->begun == 0)
            memcpy(g->first, iv, FH_GCM_IV);
        if (g->opened) {                        /* this is the number that OpenSSL knows; the true one is further on */
            fh_gcm_nonce(g, g->begun, g->iv);
            if (memcmp(g->iv, iv, FH_GCM_IV))
                return 0;
            fh_gcm_nonce(g, g->begun + g->opened, g->iv);
        }
        g->begun++;
        g->state = FH_GCM_READY;
    }
    return params == NULL || fh_gcm_set(g, params);
}

static int fh_gcm_encrypt_init(void *context, const unsigned char *key, size_t key_bytes, const unsigned char *iv,
                               size_t iv_bytes, const OSSL_PARAM params[])
{
    return fh_gcm_start(context, 1, key, key_bytes, iv, iv_bytes, params);
}

static int fh_gcm_decrypt_init(void *context, const unsigned char *key, size_t key_bytes, const unsigned char *iv,
                               size_t iv_bytes, const OSSL_PARAM params[])
{
    return fh_gcm_start(context, 0, key, key_bytes, iv, iv_bytes, params);
}

/* A TLS 1.2 record in place: explicit IV, data, room for the tag or the tag. `*made`: bytes of the record, or of its data. */
static int fh_gcm_record(struct fh_gcm *g, uint8_t *record, size_t *made, size_t length)
{
    uint8_t *data = record + FH_GCM_EXPLICIT, *counter = g->iv + FH_GCM_IV;
    size_t plain = length - FH_GCM_EXPLICIT - FH_GCM_TAG;
    g->record = 0;
    if (!g->keyed || length < FH_GCM_EXPLICIT + FH_GCM_TAG || plain != ((size_t)g->aad[11] << 8 | g->aad[12]))
        return 0;
    if (g->encrypts) {
        memcpy(record, g->iv + FH_GCM_FIXED, FH_GCM_EXPLICIT);
        fh_gcm_crypt(g, data, data, plain);
        memcpy(data + plain, g->made, FH_GCM_TAG);
        while (++*--counter == 0 && counter > g->iv + FH_GCM_FIXED)
            ;                                   /* 2^64 records of one key are never sent */
        *made = length;
        return 1;
    }
    memcpy(g->iv + FH_GCM_FIXED, record, FH_GCM_EXPLICIT);
    fh_gcm_crypt(g, data, data, plain);
    *made = plain;
    if (CRYPTO_memcmp(g->made, data + plain, FH_GCM_TAG) == 0)
        return 1;
    OPENSSL_cleanse(data, plain);
    return 0;
}

static int fh_gcm_update(void *context, unsigned char *out, size_t *made, size_t room, const unsigned char *in, size_t length)
{
    struct fh_gcm *g = context;
    *made = 0;
    if (g->record)
        return out == in && room >= length && fh_gcm_record(g, out, made, length);
    if (g->state != FH_GCM_READY || !g->keyed)
        return 0;
    if (out == NULL) {
        if (length > FH_GCM_AAD - g->aad_bytes)
            return 0;
        if (length)
            memcpy(g->aad + g->aad_bytes, in, length);
        g->aad_bytes += (uint32_t)length;
    } else {
        if (room < length)
            return 0;
        fh_gcm_crypt(g, out, in, length);
        if (!g->encrypts)
            fh_gcm_latest = g;
    }
    *made = length;
    return 1;
}

static int fh_gcm_final(void *context, unsigned char *out, size_t *made, size_t room)
{
    struct fh_gcm *g = context;
    (void)out;
    (void)room;
    *made = 0;
    if (g->state == FH_GCM_READY && g->keyed)
        fh_gcm_crypt(g, g->made, g->made, 0);
    if (g->state != FH_GCM_DONE)
        return 0;
    if (g->encrypts)
        return 1;                               /* the tag is asked for after this */
    g->state = FH_GCM_NO_IV;
    return g->tagged && CRYPTO_memcmp(g->made, g->tag, FH_GCM_TAG) == 0;
}

/* ---- past OpenSSL ---- */

/* What decrypted on this thread since fh_gcm_latest was emptied, if fh_gcm_open() may go on: its IVs are the nonces of one key's
 * records in TLS 1.3, none left out; else NULL. Of its connection until that calls OpenSSL to read again. */
static struct fh_gcm *fh_gcm_ready(void)
{
    struct fh_gcm *g = fh_gcm_latest;
    uint8_t nonce[FH_GCM_IV];
    if (g == NULL || g->state != FH_GCM_NO_IV)  /* final() has found its tag right */
        return NULL;
    fh_gcm_nonce(g, g->begun + g->opened - 1, nonce);
    return memcmp(nonce, g->iv, FH_GCM_IV) ? NULL : g;
}

/* A whole record of TLS 1.3 with `length` bytes behind its header: its application data to `out`, which takes length - FH_GCM_TAG
 * bytes and is not in the record. How many; 0: OpenSSL must see it: it is something else, empty, too long or not true. */
static uint32_t fh_gcm_open(struct fh_gcm *g, uint8_t *out, const uint8_t *record, uint32_t length)
{
    FH_GCM_CRYPT((*decrypt)) = g->key_bytes == 32 ? aes_gcm_dec_256_vaes_avx512 : aes_gcm_dec_128_vaes_avx512;
    uint8_t nonce[FH_GCM_IV], made[FH_GCM_TAG];
    const uint8_t *data = record + FH_GCM_HEADER;
    uint32_t plain = length - FH_GCM_TAG;
    if (length <= FH_GCM_TAG || plain > FH_GCM_PLAIN)
        return 0;
    fh_gcm_nonce(g, g->begun + g->opened, nonce);
    decrypt(&g->key, &g->work, out, data, plain, nonce, record, FH_GCM_HEADER, made, FH_GCM_TAG);
    if (CRYPTO_memcmp(made, data + plain, FH_GCM_TAG) == 0) {
        uint32_t end = plain;                   /* the data, its type, zeros (RFC 8446, section 5.4) */
        while (end && out[end - 1] == 0)
            end--;
        if (end > 1 && out[end - 1] == FH_GCM_APPLICATION) {
            g->opened++;
            return end - 1;
        }
    }
    OPENSSL_cleanse(out, plain);
    return 0;
}

/* ---- what is asked of a cipher ---- */

static int fh_gcm_about(OSSL_PARAM params[], size_t key_bytes)
{
    OSSL_PARAM *p;
    return (!(p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_MODE)) || OSSL_PARAM_set_uint(p, EVP_CIPH_GCM_MODE))
        && (!(p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_AEAD)) || OSSL_PARAM_set_int(p, 1))
        && (!(p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_CUSTOM_IV)) || OSSL_PARAM_set_int(p, 1))
        && (!(p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_BLOCK_SIZE)) || OSSL_PARAM_set_size_t(p, 1))
        && (!(p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_IVLEN)) || OSSL_PARAM_set_size_t(p, FH_GCM_IV))
        && (!(p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_KEYLEN)) || OSSL_PARAM_set_size_t(p, key_bytes));
}

static int fh_gcm_about128(OSSL_PARAM params[])
{
    return fh_gcm_about(params, 16);
}

static int fh_gcm_about256(OSSL_PARAM params[])
{
    return fh_gcm_about(params, 32);
}

/* ---- the provider ---- */

#define FH_GCM_FUNCTIONS(bits) static const OSSL_DISPATCH fh_gcm_functions##bits[] = { \
    {OSSL_FUNC_CIPHER_NEWCTX, (void (*)(void))fh_gcm_new##bits}, {OSSL_FUNC_CIPHER_FREECTX, (void (*)(void))fh_gcm_free}, \
    {OSSL_FUNC_CIPHER_ENCRYPT_INIT, (void (*)(void))fh_gcm_encrypt_init}, \
    {OSSL_FUNC_CIPHER_DECRYPT_INIT, (void (*)(void))fh_gcm_decrypt_init}, \
    {OSSL_FUNC_CIPHER_UPDATE, (void (*)(void))fh_gcm_update}, {OSSL_FUNC_CIPHER_FINAL, (void (*)(void))fh_gcm_final}, \
    {OSSL_FUNC_CIPHER_GET_PARAMS, (void (*)(void))fh_gcm_about##bits}, \
    {OSSL_FUNC_CIPHER_GET_CTX_PARAMS, (void (*)(void))fh_gcm_get}, \
    {OSSL_FUNC_CIPHER_SET_CTX_PARAMS, (void (*)(void))fh_gcm_set}, {0, NULL}}
FH_GCM_FUNCTIONS(128);
FH_GCM_FUNCTIONS(256);

static const OSSL_ALGORITHM *fh_gcm_query(void *provider, int operation, int *no_cache)
{
    static const OSSL_ALGORITHM ciphers[] = {   /* the names as OpenSSL's own provider has them: they are one cipher's */
        {"AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46", "provider=feedhandler", fh_gcm_functions256, "AES-256-GCM"},
        {"AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6", "provider=feedhandler", fh_gcm_functions128, "AES-128-GCM"},
        {NULL, NULL, NULL, NULL}};
    (void)provider;
    *no_cache = 0;
    return operation == OSSL_OP_CIPHER ? ciphers : NULL;
}

static int fh_gcm_provide(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provider)
{
    static const OSSL_DISPATCH functions[] = {{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))fh_gcm_query}, {0, NULL}};
    (void)in;
    *out = functions;
    *provider = (void *)handle;
    return 1;
}

/* Whether the library gives the answers that the designers of GCM published (test cases 4 and 16 of "The Galois/Counter Mode
 * of Operation"; NIST SP 800-38D is made from it). An archive that is not what its header says must not decrypt a price. */
static int fh_gcm_known_answers(void)
{
    static const uint8_t key[32] = {0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
                                    0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08};
    static const uint8_t iv[FH_GCM_IV] = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
    static const uint8_t aad[20] = {0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed,
                                    0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab, 0xad, 0xda, 0xd2};
    static const uint8_t plain[60] = {
        0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a,
        0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72,
        0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25,
        0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39};
    static const uint8_t tags[2][FH_GCM_TAG] = {
        {0x5b, 0xc9, 0x4f, 0xbc, 0x32, 0x21, 0xa5, 0xdb, 0x94, 0xfa, 0xe9, 0x5a, 0xe7, 0x12, 0x1a, 0x47},
        {0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68, 0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b}};
    uint8_t data[sizeof plain];
    size_t made;
    int i, fine = 1;
    for (i = 0; i < 2 && fine; i++) {
        struct fh_gcm *g = fh_gcm_new(i ? 32 : 16);
        OSSL_PARAM tag[2] = {OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *)tags[i], FH_GCM_TAG),
                             OSSL_PARAM_construct_end()};
        fine = g && fh_gcm_start(g, 1, key, g->key_bytes, iv, FH_GCM_IV, NULL)
            && fh_gcm_update(g, NULL, &made, 0, aad, sizeof aad)
            && fh_gcm_update(g, data, &made, sizeof data, plain, sizeof plain)
            && !memcmp(g->made, tags[i], FH_GCM_TAG) && memcmp(data, plain, sizeof plain)
            && fh_gcm_start(g, 0, NULL, 0, iv, FH_GCM_IV, tag)
            && fh_gcm_update(g, NULL, &made, 0, aad, sizeof aad)
            && fh_gcm_update(g, data, &made, sizeof data, data, sizeof plain)
            && fh_gcm_final(g, NULL, &made, 0) && !memcmp(data, plain, sizeof plain);
        fh_gcm_free(g);
    }
    return fine;
}

/* Once, when OpenSSL has started: whether the provider is there. Naming one ends the default one's coming by itself. */
static int fh_gcm_install(void)
{
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul")
        && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq")
        && fh_gcm_known_answers() && OSSL_PROVIDER_load(NULL, "default")
        && OSSL_PROVIDER_add_builtin(NULL, "feedhandler", fh_gcm_provide) && OSSL_PROVIDER_load(NULL, "feedhandler");
}
#else
#define FH_GCM_QUERY NULL
#define FH_GCM_LIBRARY ""
static uint64_t fh_gcm_keys;
static __thread void *fh_gcm_latest;
static int fh_gcm_install(void)
{
    return 0;
}
static struct fh_gcm *fh_gcm_ready(void)
{
    return NULL;
}
static uint32_t fh_gcm_open(struct fh_gcm *g, uint8_t *out, const uint8_t *record, uint32_t length)
{
    (void)g;
    (void)out;
    (void)record;
    (void)length;
    return 0;
}
#endif

/* One message by EVP, for tests: `out` has its bytes, `tag` is made or must be so. 1; 0: refused; -1: there is no such cipher. */
static int fh_gcm_door(const char *query, int encrypts, const uint8_t *key, int key_bytes, const uint8_t *iv, const uint8_t *aad,
                       int aad_bytes, const uint8_t *in, int length, uint8_t *out, uint8_t *tag)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, key_bytes == 32 ? "AES-256-GCM" : "AES-128-GCM", query);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int made = 0, rest = 0, fine = cipher && context ? 1 : -1;
    if (fine == 1)
        fine = EVP_CipherInit_ex2(context, cipher, key, iv, encrypts, NULL)
            && (encrypts || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, tag) > 0)
            && (!aad_bytes || EVP_CipherUpdate(context, NULL, &made, aad, aad_bytes))
            && (!length || EVP_CipherUpdate(context, out, &made, in, length))
            && EVP_CipherFinal_ex(context, out, &rest) > 0
            && (!encrypts || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, tag) > 0);
    EVP_CIPHER_CTX_free(context);
    EVP_CIPHER_free(cipher);
    return fine;
}
#endif

/* Where OpenSSL has its memory from while the polling thread reads and writes records.
 *
 * OpenSSL 3.0 takes and gives back 40 to 56 bytes for each TLS 1.3 record (WPACKET's sub-packets: one to read, three to write);
 * everything else of a record lives in buffers kept since the handshake. So its memory functions are ours: inside
 * fh_tls_receive() and fh_tls_send() small pieces come from a fixed set of slots; everything else, and what finds no slot
 * (`missed`), from the C library as ever. A piece may be given back on another thread; a slot is taken by one atomic
 * exchange, and each thread begins to look where it found one last.
 *
 * What a ticket or a key update takes inside these calls lives long and would only fill the slots: as soon as OpenSSL says
 * that it processes a handshake message, the rest of the call has its memory from the C library.
 *
 * OpenSSL takes other memory functions only before its first allocation. A copy of it that is linked into this module alone
 * (FH_TLS_PRIVATE) has made none; a shared one may have, where `import hashlib` came first: `hooked` then stays 0, and all
 * works on with the C library's memory. Under AddressSanitizer it stays 0 too, so that it sees every piece. */
#ifndef FH_TLS_MEMORY_H
#define FH_TLS_MEMORY_H
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FH_TLS_SLOTS = 64, FH_TLS_SLOT_BYTES = 192 };

struct fh_tls_slot {
    _Alignas(64) uint8_t bytes[FH_TLS_SLOT_BYTES];
    int taken;
};

static struct fh_tls_slot fh_tls_slots[FH_TLS_SLOTS];
static uint64_t fh_tls_missed;                  /* pieces that the C library gave inside the polling thread's calls */
static __thread int fh_tls_hot;
static __thread unsigned fh_tls_hint;

static int fh_tls_is_slot(const void *p)
{
    return (uintptr_t)p - (uintptr_t)fh_tls_slots < sizeof fh_tls_slots;
}

static void *fh_tls_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    if (size == 0)
        return NULL;
    if (fh_tls_hot) {
        unsigned i;
        for (i = 0; size <= FH_TLS_SLOT_BYTES && i < FH_TLS_SLOTS; i++) {
            struct fh_tls_slot *slot = &fh_tls_slots[(fh_tls_hint + i) % FH_TLS_SLOTS];
            if (!__atomic_load_n(&slot->taken, __ATOMIC_RELAXED)
                    && !__atomic_exchange_n(&slot->taken, 1, __ATOMIC_ACQUIRE)) {   /* pairs with the release in free */
                fh_tls_hint += i;
                return slot->bytes;
            }
        }
        __atomic_fetch_add(&fh_tls_missed, 1, __ATOMIC_RELAXED);
    }
    return malloc(size);
}

static void fh_tls_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    if (fh_tls_is_slot(p))
        __atomic_store_n(&((struct fh_tls_slot *)p)->taken, 0, __ATOMIC_RELEASE);
    else
        free(p);
}

static void *fh_tls_realloc(void *p, size_t size, const char *file, int line)
{
    if (p == NULL)
        return fh_tls_malloc(size, file, line);
    if (size == 0) {
        fh_tls_free(p, file, line);
        return NULL;
    }
    if (fh_tls_is_slot(p)) {
        void *larger;
        if (size <= FH_TLS_SLOT_BYTES)
            return p;
        larger = malloc(size);
        if (larger) {
            memcpy(larger, p, FH_TLS_SLOT_BYTES);
            fh_tls_free(p, file, line);
        }
        return larger;
    }
    return realloc(p, size);
}

/* Once, before anything else of OpenSSL's: whether its memory is from here. */
static int fh_tls_hook(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 0;
#else
    return CRYPTO_set_mem_functions(fh_tls_malloc, fh_tls_realloc, fh_tls_free);
#endif
}
#endif

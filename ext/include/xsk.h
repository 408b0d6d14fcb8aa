/* One AF_XDP socket: its rings, and the memory that frames are put in.
 *
 * Numbers and structures of <linux/if_xdp.h>, which are fixed for good, are written out here: build machines have
 * older headers than the kernels this runs on.
 *
 * The kernel writes frames into chunks it takes from the fill ring, and names them in the receive ring, in order. There
 * are as many chunks as places in either ring, so neither can overflow by our doing. A chunk taken goes back at
 * fh_xsk_give(): all of a batch at once.
 */
#ifndef FH_XSK_H
#define FH_XSK_H
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "datagram_control.h"

enum {
    FH_AF_XDP = 44,
    FH_SOL_XDP = 283,
    FH_XDP_MMAP_OFFSETS = 1,
    FH_XDP_RX_RING = 2,
    FH_XDP_UMEM_REG = 4,
    FH_XDP_UMEM_FILL_RING = 5,
    FH_XDP_UMEM_COMPLETION_RING = 6,
    FH_XDP_STATISTICS = 7,
    FH_XDP_COPY = 1 << 1,
    FH_XDP_ZEROCOPY = 1 << 2,
    FH_XDP_USE_NEED_WAKEUP = 1 << 3,
    FH_XDP_RING_NEED_WAKEUP = 1,
    FH_XSK_COMPLETIONS = 64,            /* of a ring that must be there and is for senders */
    FH_XDP_HEADROOM = 256               /* kept free by the kernel in front of each frame */
};
#define FH_XDP_PGOFF_FILL 0x100000000ll

/* What the XDP program leaves directly before the frame (feedhandler/receive/af_xdp/filter.py), which may begin anywhere:
 * packed, so that no alignment is taken for granted. */
struct __attribute__((packed)) fh_xsk_note {
    uint64_t time;              /* CLOCK_MONOTONIC, ns */
    uint32_t line;
    uint16_t ip;                /* offset of the IP header in the frame */
    uint16_t mark;
};
enum { FH_XSK_NOTE_MARK = 0xf3ed };

/* The NIC's time, which a program that asks for it leaves before its note. */
static inline int64_t fh_xsk_stamp(const struct fh_xsk_note *note)
{
    int64_t stamp;
    memcpy(&stamp, (const uint8_t *)note - sizeof stamp, sizeof stamp);
    return stamp;
}

struct fh_xsk_desc {
    uint64_t address;           /* of the chunk, from the start of the memory; where in it the frame begins << 48 */
    uint32_t len;
    uint32_t options;
};

struct fh_xsk {
    const struct fh_xsk_desc *received;
    uint64_t *fill;
    uint8_t *memory;
    uint32_t *producer, *consumer;              /* of the receive ring; the kernel produces */
    uint32_t *fill_producer, *fill_flags;       /* of the fill ring; the kernel consumes */
    uint32_t mask;
    uint32_t next;              /* the next descriptor to look at */
    uint32_t seen;              /* where the producer was when last looked at */
    uint32_t fetched;           /* up to where frames are on their way into the cache */
    uint32_t given;             /* up to where chunks have gone back: all of the fill ring's past, too */
    int fd;
    int zero_copy;
    uint64_t drops;             /* counted so far */
    void *maps[2];
    size_t map_bytes[2];
};

/* Where a frame is. With aligned chunks the kernel has added its place to the chunk's address, and the upper bits are 0. */
static inline uint8_t *fh_xsk_frame(uint8_t *memory, const struct fh_xsk_desc *desc)
{
    uint64_t address = desc->address;
    return memory + (address & 0xffffffffffffull) + (address >> 48);
}

/* How many descriptors wait. The acquire load pairs with the kernel's release after it has written frame and descriptor. */
static inline uint32_t fh_xsk_waiting(struct fh_xsk *x)
{
    if (x->seen == x->next)
        x->seen = __atomic_load_n(x->producer, __ATOMIC_ACQUIRE);
    return x->seen - x->next;
}

/* The chunks of all descriptors looked at go back to the kernel. Fill ring and receive ring have the same size and move
 * in step: the i-th chunk taken is the i-th that goes back, `ring` places further on. The release stores pair with the
 * kernel's acquire loads: it does not write before we have read. */
static inline void fh_xsk_give(struct fh_xsk *x)
{
    uint32_t at = x->given, next = x->next, mask = x->mask;
    if (at == next)
        return;
    for (; at != next; at++)
        x->fill[at & mask] = x->received[at & mask].address;
    x->given = next;
    __atomic_store_n(x->fill_producer, next + mask + 1, __ATOMIC_RELEASE);
    __atomic_store_n(x->consumer, next, __ATOMIC_RELEASE);
}

static inline int fh_xsk_sleeps(const struct fh_xsk *x)
{
    return __atomic_load_n(x->fill_flags, __ATOMIC_RELAXED) & FH_XDP_RING_NEED_WAKEUP;
}

/* Tell a sleeping driver that there are chunks again. */
static inline void fh_xsk_wake(const struct fh_xsk *x)
{
    recvfrom(x->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* CLOCK_REALTIME - CLOCK_MONOTONIC, ns: constant until somebody sets the clock, for both are slewed alike. So `known` stands
 * as long as what is measured now agrees with it, and stamps keep their distances. */
static inline int64_t fh_epoch_of_monotonic(int64_t known)
{
    int64_t narrowest = INT64_MAX, offset = known;
    for (int i = 0; i < 5 && narrowest > 100; i++) {
        int64_t before = fh_monotonic_ns(), real = fh_realtime_ns(), width = fh_monotonic_ns() - before;
        if (width < narrowest) {
            narrowest = width;
            offset = real - before - width / 2;
        }
    }
    return offset - known <= narrowest && known - offset <= narrowest ? known : offset;
}

/* ---- set-up: each step 0 or -errno ---- */

static inline int fh_xsk_open(struct fh_xsk *x)
{
    memset(x, 0, sizeof *x);
    x->fd = socket(FH_AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    return x->fd < 0 ? -errno : 0;
}

/* `anywhere`: chunks need not begin at a multiple of their size (XDP_UMEM_UNALIGNED_CHUNK_FLAG). Ours do; but then the kernel
 * keeps one record of the chunk in hand, not one of each, and a frame costs it two cache lines less. */
static inline int fh_xsk_register(struct fh_xsk *x, void *memory, uint64_t bytes, uint32_t chunk, uint32_t headroom,
                                  int anywhere)
{
    struct { uint64_t addr, len; uint32_t chunk_size, headroom, flags, reserved; }
        umem = {(uint64_t)(uintptr_t)memory, bytes, chunk, headroom, anywhere ? 1 : 0, 0};
    x->memory = (uint8_t *)memory;
    return setsockopt(x->fd, FH_SOL_XDP, FH_XDP_UMEM_REG, &umem, sizeof umem) ? -errno : 0;
}

struct fh_xsk_offsets {
    struct { uint64_t producer, consumer, desc, flags; } rx, tx, fill, completion;
};

static inline int fh_xsk_map(struct fh_xsk *x, int which, size_t bytes, off_t offset)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, x->fd, offset);
    if (at == MAP_FAILED)
        return -errno;
    x->maps[which] = at;
    x->map_bytes[which] = bytes;
    return 0;
}

static inline int fh_xsk_rings(struct fh_xsk *x, uint32_t ring, uint32_t chunk)
{
    uint32_t completions = FH_XSK_COMPLETIONS;
    struct fh_xsk_offsets at;
    socklen_t size = sizeof at;
    int rc;

    if (setsockopt(x->fd, FH_SOL_XDP, FH_XDP_UMEM_FILL_RING, &ring, sizeof ring)
        || setsockopt(x->fd, FH_SOL_XDP, FH_XDP_UMEM_COMPLETION_RING, &completions, sizeof completions)
        || setsockopt(x->fd, FH_SOL_XDP, FH_XDP_RX_RING, &ring, sizeof ring)
        || getsockopt(x->fd, FH_SOL_XDP, FH_XDP_MMAP_OFFSETS, &at, &size))
        return -errno;
    if (size != sizeof at)
        return -ENOSYS;                         /* before 5.4 there were no flags */
    if ((rc = fh_xsk_map(x, 0, at.rx.desc + (size_t)ring * sizeof(struct fh_xsk_desc), 0))
        || (rc = fh_xsk_map(x, 1, at.fill.desc + (size_t)ring * sizeof(uint64_t), FH_XDP_PGOFF_FILL)))
        return rc;
    x->mask = ring - 1;
    x->received = (const struct fh_xsk_desc *)((char *)x->maps[0] + at.rx.desc);
    x->producer = (uint32_t *)((char *)x->maps[0] + at.rx.producer);
    x->consumer = (uint32_t *)((char *)x->maps[0] + at.rx.consumer);
    x->fill = (uint64_t *)((char *)x->maps[1] + at.fill.desc);
    x->fill_producer = (uint32_t *)((char *)x->maps[1] + at.fill.producer);
    x->fill_flags = (uint32_t *)((char *)x->maps[1] + at.fill.flags);
    for (uint32_t i = 0; i < ring; i++)
        x->fill[i] = (uint64_t)i * chunk;
    __atomic_store_n(x->fill_producer, ring, __ATOMIC_RELEASE);
    return 0;
}

static inline int fh_xsk_bind(struct fh_xsk *x, uint32_t interface, uint32_t queue, uint16_t flags)
{
    struct { uint16_t family, flags; uint32_t ifindex, queue_id, shared_umem_fd; }
        address = {FH_AF_XDP, flags, interface, queue, 0};
    return bind(x->fd, (struct sockaddr *)&address, sizeof address) ? -errno : 0;
}

/* Frames dropped since the socket was made for want of room: no chunk, or no place in the ring. */
static inline int fh_xsk_dropped(const struct fh_xsk *x, uint64_t *out)
{
    struct { uint64_t dropped, bad, tx_bad, ring_full, fill_empty, tx_empty; } s = {0, 0, 0, 0, 0, 0};
    socklen_t size = sizeof s;
    if (getsockopt(x->fd, FH_SOL_XDP, FH_XDP_STATISTICS, &s, &size))
        return -errno;
    *out = s.dropped + s.ring_full;
    return 0;
}

/* What has happened to the socket since last asked: 0, or an errno (ENETDOWN: its interface is gone). */
static inline int fh_xsk_error(const struct fh_xsk *x)
{
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &error, &size) ? errno : error;
}

/* The rings are mappings of the socket: one that stays would keep the queue taken after the close. */
static inline void fh_xsk_close(struct fh_xsk *x)
{
    for (int i = 0; i < 2; i++)
        if (x->maps[i] != NULL) {
            munmap(x->maps[i], x->map_bytes[i]);
            x->maps[i] = NULL;
        }
    if (x->fd >= 0)
        close(x->fd);
    x->fd = -1;
}
#endif

/* What the two ends of a segment ask of the kernel: who holds the writer's lock, and sleeping on the header's futex word.
 *
 * The lock is an open file description lock: it belongs to the writer's open file, is seen through any other descriptor of
 * the same file from any pid namespace, and goes with the process however that ends. A reader's descriptor is read-only;
 * F_OFD_GETLK asks without taking. FUTEX_WAIT reads the word only, so it works on a read-only mapping. */
#ifndef FH_SHM_H
#define FH_SHM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef F_OFD_GETLK         /* <fcntl.h> hides them from strict C11; the numbers are the kernel's on every architecture */
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

static inline int fh_lock_command(int fd, int command, short type, short *found)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0, .l_pid = 0};
    int rc = fcntl(fd, command, &lock);
    if (found)
        *found = lock.l_type;
    return rc ? -errno : 0;
}

/* 1 when taken, 0 when another open file holds it, -errno. */
static inline int fh_lock_take(int fd)
{
    int rc = fh_lock_command(fd, F_OFD_SETLK, F_WRLCK, NULL);
    return rc == 0 ? 1 : rc == -EAGAIN || rc == -EACCES ? 0 : rc;
}

static inline int fh_lock_release(int fd) { return fh_lock_command(fd, F_OFD_SETLK, F_UNLCK, NULL); }

/* 1 when another open file holds the writer's lock, 0 when none does, -errno. */
static inline int fh_lock_held(int fd)
{
    short found = F_UNLCK;
    int rc = fh_lock_command(fd, F_OFD_GETLK, F_RDLCK, &found);
    return rc ? rc : found == F_WRLCK;
}

/* Sleep until the word is woken or no longer `seen`, at most `timeout_ns` (negative = for ever). */
static inline void fh_futex_wait(const uint32_t *word, uint32_t seen, int64_t timeout_ns)
{
    struct timespec t = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT, seen, timeout_ns < 0 ? NULL : &t, NULL, 0);
}

static inline void fh_futex_wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }

static inline void fh_sleep(int64_t ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

static inline int64_t fh_clock(int id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t fh_realtime(void) { return fh_clock(CLOCK_REALTIME); }
static inline int64_t fh_monotonic(void) { return fh_clock(CLOCK_MONOTONIC); }
/* The same clock as of the last timer tick (1 to 10 ms ago): a few ns to read. */
static inline int64_t fh_monotonic_coarse(void) { return fh_clock(CLOCK_MONOTONIC_COARSE); }
#endif

/* Loaded by test_replay_spinners.py: a signal stalls the thread that it is sent to, wherever that thread is just then, as a
 * host does that takes the CPU away. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int stalled;              /* threads, so far */
static atomic_int inside;               /* those that are just now */
static atomic_int held;                 /* stalls last until it is 0 again */
static atomic_long nanoseconds;         /* where it is 0: how long they last */

static void stall(int number)
{
    int before = errno;
    struct timespec pause = {0, 20000};
    (void)number;
    if (!atomic_load(&held))
        pause.tv_nsec = atomic_load(&nanoseconds);
    atomic_fetch_add(&inside, 1);
    atomic_fetch_add(&stalled, 1);
    do
        nanosleep(&pause, NULL);
    while (atomic_load(&held));
    atomic_fetch_sub(&inside, 1);
    errno = before;
}

/* From now on: 0 nanoseconds are until release(). Returns 0, or -1 where the signal cannot be had. */
int prepare(int number, long length)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = stall;
    action.sa_flags = SA_RESTART;
    atomic_store(&nanoseconds, length);
    atomic_store(&held, length == 0);
    return sigaction(number, &action, NULL);
}

/* To one thread of this process, by the kernel's number of it; one that has ended is none. */
int send_to(int thread, int number) { return tgkill(getpid(), thread, number); }

/* Returns when every thread goes on. */
void release(void)
{
    struct timespec pause = {0, 20000};
    atomic_store(&held, 0);
    while (atomic_load(&inside))
        nanosleep(&pause, NULL);
}

int count(void) { return atomic_load(&stalled); }

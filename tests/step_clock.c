/* Preloaded by test_deaths.py: on SIGUSR1 the wall clock of this process is an hour slow. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <time.h>

static volatile sig_atomic_t hours;

static void step(int number) { hours = 1; }

__attribute__((constructor)) static void begin(void) { signal(SIGUSR1, step); }

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(clock, now);
    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec -= 3600 * hours;
    return rc;
}

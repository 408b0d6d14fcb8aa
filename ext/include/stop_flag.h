/* A flag that one thread raises and another looks at between two pieces of work. It carries no other data, so relaxed
 * order is enough. */
#ifndef FH_STOP_FLAG_H
#define FH_STOP_FLAG_H
static inline int fh_flag_load(const int *flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }
static inline void fh_flag_store(int *flag, int value) { __atomic_store_n(flag, value, __ATOMIC_RELAXED); }
#endif

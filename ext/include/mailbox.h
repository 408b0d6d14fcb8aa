/* One word between two threads: whoever puts a value in has written, before it, what the value stands for. */
#ifndef FH_MAILBOX_H
#define FH_MAILBOX_H

static inline int fh_mailbox_look(const int *box)
{
    return __atomic_load_n(box, __ATOMIC_ACQUIRE);      /* pairs with the release store below */
}

static inline void fh_mailbox_put(int *box, int value)
{
    __atomic_store_n(box, value, __ATOMIC_RELEASE);     /* pairs with the acquire load above */
}
#endif

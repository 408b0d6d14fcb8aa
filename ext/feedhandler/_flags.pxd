"""stop_flag.h and mailbox.h for Cython: one word between two threads, which carries nothing else, or what was written before."""

cdef extern from "stop_flag.h" nogil:
    int fh_flag_load(const int *flag)
    void fh_flag_store(int *flag, int value)

cdef extern from "mailbox.h" nogil:
    int fh_mailbox_look(const int *box)
    void fh_mailbox_put(int *box, int value)

"""Arrays over memory that somebody else owns."""
cimport numpy as cnp

cdef cnp.ndarray array_over(object kind, object dtype, cnp.npy_intp length, void *data, object owner, bint writable)

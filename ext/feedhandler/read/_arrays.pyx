"""Arrays over memory that somebody else owns, and the two kinds of batch that a reader is given."""
import numpy as np

cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF

cdef extern from "numpy/arrayobject.h":
    ctypedef struct Descr "PyArray_Descr":
        pass
    PyObject *PyArray_NewFromDescr(PyTypeObject *subtype, Descr *descr, int nd, const cnp.npy_intp *dims,
                                   const cnp.npy_intp *strides, void *data, int flags, PyObject *obj) except NULL
    int PyArray_SetBaseObject(cnp.ndarray array, PyObject *base) except -1

cnp.import_array()


cdef cnp.ndarray array_over(object kind, object dtype, cnp.npy_intp length, void *data, object owner, bint writable):
    """A new one-dimensional array of class `kind` over `data`, which lives as long as `owner`.

    Arrays of records that own their memory cost numpy a walk over all fields (some 40 ns each); over borrowed memory they
    do not. What is handed out as a copy therefore lies in a bytes object that nobody else knows.
    """
    Py_INCREF(dtype)            # stolen by the call
    cdef PyObject *made = PyArray_NewFromDescr(
        <PyTypeObject *> kind, <Descr *> dtype, 1, &length, NULL, data,
        cnp.NPY_ARRAY_CARRAY if writable else cnp.NPY_ARRAY_CARRAY_RO, NULL)
    cdef cnp.ndarray array = <cnp.ndarray> made
    Py_DECREF(array)            # `array` holds it now, and the reference that the call gave is ours to drop
    Py_INCREF(owner)            # stolen by the call
    PyArray_SetBaseObject(array, <PyObject *> owner)
    return array


class Batch(np.ndarray):
    """Events in the order of the ring: an array of dtype EVENT that belongs to its holder."""

    lost = 0
    """Events overwritten directly before this batch, before they could be copied."""

    restarted = False
    """Whether this is the first batch of a handler that was started again: sequence and instrument numbers begin anew."""

    def intact(self):
        """How many events of this batch were not overwritten: all, it is a copy."""
        return len(self)


class View(Batch):
    """Events where they lie in the ring, read-only. DANGER: the writer overwrites them without asking.

    Use them, then ask intact(): what was computed from all but the last intact() events may be wrong.
    """

    cursor = None
    first = 0

    def intact(self):
        """How many events of this batch, counted from its end, had not been overwritten until now.

        Raises ValueError when it is asked of a part of the batch.
        """
        if self.cursor is None:
            raise ValueError("ask the batch itself, not a part of it")
        return self.cursor.intact(self.first, len(self))

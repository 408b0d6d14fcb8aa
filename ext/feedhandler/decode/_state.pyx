"""A decoder's memory of the session, as arrays and back: for snapshots, off the hot path."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np

from feedhandler.decode._decoder cimport Decoder

cdef enum:
    IDS = 65536
    TYPES = 256


def dump(Decoder decoder not None):
    """What the session has taught it: midnight (ns since the Unix epoch) and date, the instruments of the feed's ids
    (ids: rows of id, index) and spellings (names: rows of the 8 bytes as sent, index), messages by type byte (types)."""
    ids = np.frombuffer((<char *> decoder.by_id)[:IDS * sizeof(uint32_t)], np.uint32)
    names = np.frombuffer((<char *> decoder.names)[:(<size_t> decoder.names_mask + 1) * 16], np.uint64).reshape(-1, 2)
    known = np.flatnonzero(ids).astype(np.uint32)
    spelled = names[names[:, 1] != 0]
    return {
        "session": np.array([decoder.midnight, decoder.session_date], np.int64),
        "ids": np.column_stack([known, ids[known]]).astype(np.uint32),
        "names": spelled[np.argsort(spelled[:, 0])].copy(),
        "types": np.frombuffer((<char *> decoder.types)[:TYPES * sizeof(uint64_t)], np.uint64).copy(),
    }


def load(Decoder decoder not None, parts, const uint32_t[::1] where not None):
    """The inverse of dump(). `where[i]` is the index here of the snapshot's instrument i, 0 = there is none.

    Raises ValueError, nothing being changed, for what cannot have come from dump().
    """
    cdef Py_ssize_t i
    cdef int64_t midnight, date
    for name in ("session", "ids", "names", "types"):
        if name not in parts:
            raise ValueError(f"the snapshot's decoder has no part {name!r}")
    cdef const int64_t[::1] session = _array(parts["session"], np.int64)
    cdef const uint32_t[::1] ids = _array(parts["ids"], np.uint32)
    cdef const uint64_t[::1] names = _array(parts["names"], np.uint64)
    cdef const uint64_t[::1] types = _array(parts["types"], np.uint64)
    if session.shape[0] != 2 or ids.shape[0] % 2 or names.shape[0] % 2 or types.shape[0] != TYPES:
        raise ValueError("the snapshot's decoder has parts of a wrong length")
    midnight, date = session[0], session[1]
    if not 0 <= date <= 99991231:
        raise ValueError(f"{date} is no session date")
    for i in range(0, ids.shape[0], 2):
        if ids[i] >= IDS or ids[i + 1] >= <uint32_t> where.shape[0]:
            raise ValueError(f"the feed's id {ids[i]} names instrument {ids[i + 1]}, which there is not")
    for i in range(0, names.shape[0], 2):
        if names[i + 1] >= <uint64_t> where.shape[0]:
            raise ValueError(f"a spelling names instrument {names[i + 1]}, which there is not")
    decoder.begin(midnight, <uint32_t> date)
    for i in range(0, ids.shape[0], 2):
        decoder.by_id[ids[i]] = where[ids[i + 1]]
    for i in range(0, names.shape[0], 2):
        if where[names[i + 1]]:
            decoder.remember(<const unsigned char *> &names[i], where[names[i + 1]])
    memcpy(decoder.types, &types[0], TYPES * sizeof(uint64_t))


cdef object _array(array, dtype):
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), dtype)

"""What a session has sent so far: fed by the sender's thread, asked by the servers'."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)

cdef class Tap:
    """Sees every message of a session, in order, on the sender's thread; this one does nothing with it."""
    cdef void take(self, const uint8_t *blocks, Py_ssize_t size) noexcept nogil

cdef class Follower(Tap):
    """A tap that is read by another thread meanwhile: takes the messages one by one, under its lock."""
    cdef pthread_mutex_t lock               # held while the messages of a packet are taken in, or copied out

    cdef void put(self, const uint8_t *block, uint32_t size) noexcept nogil

cdef class MessageStore(Follower):
    """The newest messages of a session by number: two rings, of bytes and of where each message begins."""
    cdef uint8_t *data
    cdef uint64_t *places                   # in the stream of bytes, by number
    cdef uint64_t room, slots               # powers of two: bytes, messages
    cdef uint64_t oldest, next, end         # numbers; bytes ever taken

    cdef uint64_t place_of(self, uint64_t number) noexcept nogil
    cdef void copy(self, uint64_t place, uint64_t size, uint8_t *out) noexcept nogil
    cdef uint64_t fitting(self, uint64_t number, uint64_t count, uint64_t room) noexcept nogil

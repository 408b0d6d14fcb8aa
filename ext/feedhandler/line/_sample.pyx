"""One malformed message at a time, kept for people. All are counted; the first since the last look is kept, in place."""
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from feedhandler._flags cimport fh_mailbox_look, fh_mailbox_put
from feedhandler._records cimport Message


@cython.final
cdef class Sample:
    cdef void keep(self, const Message *message, uint64_t number, uint32_t line) noexcept nogil:
        """Keep this one, unless the last has not been taken yet."""
        if fh_mailbox_look(&self.full):
            return
        self.number = number
        self.line = line
        self.length = message.len
        memcpy(self.data, message.data, min(message.len, <uint32_t> SAMPLE_BYTES))
        fh_mailbox_put(&self.full, 1)

    def take(self):
        """(number, line, length, first bytes) of a malformed message since the last take(), or None."""
        if not fh_mailbox_look(&self.full):
            return None
        data = PyBytes_FromStringAndSize(<const char *> self.data, min(self.length, <uint32_t> SAMPLE_BYTES))
        found = (self.number, self.line, self.length, data)
        fh_mailbox_put(&self.full, 0)
        return found

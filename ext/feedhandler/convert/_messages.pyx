"""The messages themselves, each once, as they came over the wire: gathered into blocks for the NumPy view of the tables."""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from feedhandler._records cimport ACTION_RESET, FLAG_SNAPSHOT, Event, Run
from feedhandler.book._book cimport Books
from feedhandler.convert._collector cimport Collector
from feedhandler.decode._decoder cimport Decoder

import numpy as np

cdef enum:
    DATA_BYTES = 8 << 20
    CHANNELS_MAX = 32

MESSAGE_COLUMNS = [("start", np.uint64), ("length", np.uint32), ("sequence", np.uint64), ("ts_recv", np.int64),
                   ("channel", np.uint8), ("quality", np.uint8), ("line", np.uint8)]


@cython.final
cdef class MessageCollector(Collector):
    """MessageCollector(sink, segment, decoders, ...): whole messages, as bytes.

    A block has beside its columns `data`, in which `start` says where each message begins, and `midnight`: of each
    channel the first instant of its session's day, ns since the Unix epoch, 0 = not known. A block ends with a session.
    """
    cdef void *decoders[CHANNELS_MAX]
    cdef object bytes_
    cdef uint8_t *data
    cdef uint64_t used
    cdef int64_t midnights[CHANNELS_MAX]
    cdef list kept_decoders

    def __init__(self, sink, segment, decoders, **options):
        cdef int i
        cdef Decoder decoder
        self.kept_decoders = list(decoders)
        if len(self.kept_decoders) > CHANNELS_MAX:
            raise ValueError(f"at most {CHANNELS_MAX} channels, not {len(self.kept_decoders)}")
        for i, decoder in enumerate(self.kept_decoders):
            self.decoders[i] = <void *> decoder
        super().__init__(sink, segment, MESSAGE_COLUMNS, **options)
        self.batches = self.reads = True

    cdef _take_block(self):
        cdef size_t data
        Collector._take_block(self)
        self.bytes_ = np.empty(DATA_BYTES, np.uint8)
        data = self.bytes_.ctypes.data
        self.data = <uint8_t *> data
        self.used = 0

    cdef void flush(self) noexcept with gil:
        cdef uint64_t rows = self.rows, used = self.used
        self.rows = 0
        self.used = 0
        if self.error is not None:
            return
        try:
            block = {name: array[:rows] for (name, _), array in zip(self.columns, self.arrays)}
            block["data"] = self.bytes_[:used]
            block["midnight"] = np.array([self.midnights[i] for i in range(len(self.kept_decoders))], np.int64)
            self._take_block()
            if rows or self.total == 0:
                self.sink(block)
            self.total += rows
        except BaseException as error:
            self.error = error

    cdef void saw(self, int channel, Books books, const Event *events, int count,
                  uint32_t channel_quality) noexcept nogil:
        self.events += count
        if count > 0 and events[0].action == ACTION_RESET and events[0].instrument == 0:
            if not events[0].flags & FLAG_SNAPSHOT and self.rows > 0:
                self.flush()

    cdef void read(self, int channel, const Run *run, int32_t count, uint32_t channel_quality) noexcept nogil:
        cdef int32_t i
        cdef uint32_t length
        cdef uint64_t row
        if not self.start <= run.ts_recv < self.end and run.ts_recv != 0:
            return
        for i in range(count):
            length = run.messages[i].len
            if length == 0:
                continue
            if self.used + length > DATA_BYTES:
                self.flush()
            row = self.row(run.ts_recv, <uint8_t> channel_quality, 1)
            self.midnights[channel] = (<Decoder> self.decoders[channel]).midnight
            memcpy(self.data + self.used, run.messages[i].data, length)
            (<uint64_t *> self.at[0])[row] = self.used
            (<uint32_t *> self.at[1])[row] = length
            (<uint64_t *> self.at[2])[row] = run.first_seq + <uint64_t> i if run.first_seq > 0 else 0
            (<int64_t *> self.at[3])[row] = run.ts_recv
            (<uint8_t *> self.at[4])[row] = <uint8_t> channel
            (<uint8_t *> self.at[5])[row] = <uint8_t> channel_quality
            (<uint8_t *> self.at[6])[row] = <uint8_t> run.line
            self.used += length

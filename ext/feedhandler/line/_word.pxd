"""The channel's word: how far its books can be trusted, and why not further. One word in shared memory."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport ChannelRecord, Histogram, LineRecord
from feedhandler.line._channel_records cimport Records
from feedhandler.line._score cimport Score
from feedhandler.line._suspicion cimport Suspicion

cdef class Word:
    """The lowest layer of an arbiter: its records, its lines' life, and the channel's word."""
    cdef readonly int first_line, lines     # of the shard's line numbers, those that carry this channel
    cdef bint plain                         # nothing waits, is open, due or doubted: numbers decide alone
    cdef uint32_t quality, reason           # the word as it stands in `channel`
    cdef ChannelRecord *channel             # in the segment, or the arbiter's own until bind()
    cdef LineRecord *line_records           # [first_line] is ours
    cdef int64_t agreed_at                  # ts_recv of the last packet that was not below `expected`
    cdef int64_t clock                      # the latest ts_recv or tick; may step back

    cdef int64_t silence_ns
    cdef bint joined                        # some session has begun
    cdef bint ended                         # the session's end was told: silence means nothing
    cdef uint32_t sequence_quality          # what the numbers say, silence and suspicion apart
    cdef uint32_t sequence_reason
    cdef uint32_t silent_reason
    cdef bint silent, heard
    cdef bint catching_up                   # what comes is the past, as far as is known: never LIVE until present()
    cdef bint resuming                      # ... the recording is over, and the live lines' own packets come
    cdef int64_t listening                  # silence counts from here at the earliest, ns since the Unix epoch
    cdef bint quality_due                   # the word has changed, and nothing else says so
    cdef bint doubtful                      # a Splicer: what take() has given last is of a book that is not known to be right
    cdef Score score                        # of the lines
    cdef Suspicion suspicion                # of a restart
    cdef Records own                        # written to until bind()

    cdef void bind(self, ChannelRecord *channel, LineRecord *lines, Histogram *leads) noexcept
    cdef void tick(self, int64_t now) noexcept nogil
    cdef void resume(self, int64_t now) noexcept nogil
    cdef void line_down(self, uint32_t line, int64_t now) noexcept nogil
    cdef void line_begun(self, uint32_t line, int64_t now) noexcept nogil
    cdef void line_broken(self, uint32_t line, int64_t now) noexcept nogil
    cdef void book_lost(self, uint32_t instrument, uint8_t reason, uint32_t line) noexcept nogil
    cdef void leave_fast_path(self) noexcept nogil
    cdef void fall_silent(self, uint32_t reason) noexcept nogil
    cdef void judge(self, uint32_t quality, uint32_t reason) noexcept nogil
    cdef void publish_quality(self) noexcept nogil

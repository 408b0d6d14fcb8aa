"""Every counter of the hot path, by its place in ChannelRecord.counters and LineRecord.counters.

Nothing is lost in silence: what is dropped, refused or doubted has a counter here, and its sentence in
`feedhandler.counters`; a test checks the two against each other.
"""

cdef enum:                      # ChannelRecord.counters; anonymous, so that the names index pointers
    CH_MESSAGES = 0             # delivered to the decoder and decoded, each sequence number once
    CH_EVENTS
    CH_GAPS                     # holes that stayed open
    CH_MISSING                  # sequence numbers inside those holes
    CH_RECOVERED                # of these, brought back later
    CH_LOST                     # of these, given up for good; and what was dropped for want of room while frozen
    CH_MALFORMED                # messages no line had a good copy of when they were due
    CH_LONGER                   # messages longer than the table; known prefix used
    CH_UNKNOWN_TYPE
    CH_UNSEQUENCED              # messages of packets with blank session and sequence
    CH_SESSIONS                 # new sessions begun
    CH_RESTARTS                 # sequence restarts under the same session id
    CH_WINDOW_FULL              # holes given up before their time: what came behind them found no room to wait
    CH_UNKNOWN_ORDER            # events that name an order the book does not hold
    CH_DUPLICATE_ORDER          # adds of an id that is live
    CH_OVER_EXECUTION           # cancels or executions larger than what is left of the order
    CH_ZERO_SIZE                # adds and replaces of no size
    CH_ORDERS_FULL
    CH_LEVELS_FULL
    CH_PRICE_RANGE
    CH_CROSSED                  # times a book became crossed while trading
    CH_INSTRUMENTS_FULL
    CH_UNKNOWN_INSTRUMENT       # messages for an id of the feed that has no directory entry
    CH_SNAPSHOTS                # snapshots spliced in
    CH_SPANNED                  # sequence numbers that a snapshot stood for: never handed out one by one
    CH_ANSWERS_REFUSED          # answers of recovery: of another session, not asked for, malformed, too late
    CH_CHECKSUM                 # books whose checksum was not the feed's
    CH_RESYNCS                  # times one instrument's book was lost, and a snapshot or subscription asked for
    CH_OUTDATED                 # updates that the snapshot before them had in it already
    CH_HELD_FULL                # updates dropped that were waiting for a snapshot: no room
    CH_SWITCHES                 # books taken over from a standby line
    CHANNEL_COUNTERS_USED

cdef enum:                      # LineRecord.counters
    LN_PACKETS = 0
    LN_BYTES
    LN_MESSAGES
    LN_WON                      # messages this line brought first
    LN_DUPLICATES               # messages another copy of which was taken before
    LN_LATE                     # packets of sessions already left
    LN_AHEAD                    # messages that came ahead of sequence
    LN_BAD_PACKETS              # packets whose lengths or counts do not add up; refused whole
    LN_MALFORMED                # messages too short for their table, or with values that cannot be represented
    LN_HEARTBEATS
    LN_GAPS                     # holes in this line's own numbers
    LN_MISSING                  # sequence numbers inside those holes
    LN_KERNEL_DROPS             # packets the kernel dropped for want of room in the receive buffer
    LN_FOREIGN                  # packets of the wrong source, group, port or protocol
    LN_RECONNECTS
    LN_REFUSED                  # packets unsequenced while live, or with a number or a send time that cannot be
    LN_TRUNCATED                # datagrams larger than the receive slot
    LN_TOO_LATE                 # messages that came after their gap had been given up
    LN_BAD_FRAMES               # past the kernel: lengths or checksums of IP and UDP that do not add up
    LINE_COUNTERS_USED

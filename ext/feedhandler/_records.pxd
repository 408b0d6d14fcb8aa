"""The records that stages hand each other and that strategies read. Declared here and nowhere else.

The numpy dtypes of `feedhandler.records` are derived from these structs; tests pin every size and offset, and the
hash of all layouts stands in the header of each shared segment. Widest fields first; padding has a name.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    LAYOUT_VERSION = 4
    ALL_INSTRUMENTS = 0         # instrument 0 stands for "none, or the whole channel"; directory entries start at 1
    MESSAGES_MAX = 32768        # a UDP datagram cannot hold more message blocks than this
    MAX_EVENTS_PER_MESSAGE = 4
    NO_LINE = 255               # Event.line of what no line brought: a reset, a gap
    RETRANSMISSION = 254        # Event.line of what was asked for

cdef enum:                      # `long long` constants do not fit an anonymous C enum: see PRICE_NONE, SIZE_REST below
    FLAG_LAST = 128             # the instrument's book is whole after this event
    FLAG_TOB = 64               # the best level of a side changed
    FLAG_SNAPSHOT = 32
    FLAG_MBP = 16               # a price level, not an order
    FLAG_BAD_TS = 8
    FLAG_STALE = 4
    FLAG_VENUE = 2              # a status of this venue alone (operational halt), beside the security's own

cdef enum:                      # Event.action, Databento's MBO vocabulary
    ACTION_ADD = 65             # 'A'
    ACTION_CANCEL = 67          # 'C'
    ACTION_MODIFY = 77          # 'M'
    ACTION_FILL = 70            # 'F'
    ACTION_TRADE = 84           # 'T'
    ACTION_RESET = 82           # 'R'
    ACTION_STATUS = 83          # 'S'
    ACTION_NONE = 78            # 'N'

cdef enum:                      # Event.side
    SIDE_BID = 66               # 'B'
    SIDE_ASK = 65               # 'A'
    SIDE_NONE = 78              # 'N'

cdef enum:                      # quality of a book or a channel: worse is larger, so the worst of several is the maximum
    QUALITY_LIVE = 0
    QUALITY_RECOVERING = 1
    QUALITY_STALE = 2
    QUALITY_INIT = 3            # nothing has been said about it yet

cdef enum:                      # BookSlot.trading, and Event.size of a status event
    TRADING_UNKNOWN = 0
    TRADING_PRE_OPEN = 1
    TRADING_TRADING = 2
    TRADING_QUOTE_ONLY = 3
    TRADING_PAUSED = 4
    TRADING_HALTED = 5
    TRADING_CLOSED = 6

cdef enum:                      # why a book or a channel is not LIVE
    REASON_NONE = 0
    REASON_START = 1            # no data yet
    REASON_GAP = 2              # messages were lost
    REASON_JOINED_LATE = 3      # the session had begun when we joined
    REASON_UNSEQUENCED = 4      # packets carry no sequence numbers
    REASON_SILENT = 5           # no data and no heartbeat for silence_ms
    REASON_RESTART = 6          # the sequence may have restarted under the same session id; not yet certain
    REASON_UNKNOWN_ORDER = 7
    REASON_OVER_EXECUTION = 8
    REASON_DUPLICATE_ORDER = 9
    REASON_FULL = 10            # out of room for orders or levels
    REASON_PRICE_RANGE = 11     # a price the book cannot represent
    REASON_CROSSED = 12
    REASON_MALFORMED = 13       # a malformed update on a feed without sequences
    REASON_WRITER_DIED = 14
    REASON_SESSION_ENDED = 15
    REASON_STOPPED = 16         # the writer stopped in good order
    REASON_LINE_DOWN = 17       # every line of the channel is disconnected
    REASON_CATCHING_UP = 18     # a recording is played before the live feed: what is shown is the past
    REASON_CHECKSUM = 19        # the feed's own checksum of the book is not that of ours
    REASON_SNAPSHOT = 20        # the book begins with a snapshot, which is not there yet

cdef enum:                      # how ts_recv was taken
    TS_NONE = 0
    TS_CLOCK = 1                # read by the receiver after the packet was handed over
    TS_KERNEL = 2
    TS_HARDWARE = 3
    TS_FILE = 4                 # as recorded in a capture

cdef enum:                      # LineRecord.state
    LINE_DOWN = 0
    LINE_UP = 1
    LINE_SILENT = 2
    LINE_ENDED = 3

cdef enum:                      # LineRecord.connection: where a line that is a WebSocket stands
    CONNECTION_NONE = 0         # it is none
    CONNECTION_DISCONNECTED = 1
    CONNECTION_CONNECTING = 2   # TCP, TLS, the HTTP upgrade
    CONNECTION_AUTHENTICATING = 3
    CONNECTION_SYNCHRONIZING = 4    # subscriptions and snapshots are under way
    CONNECTION_CONNECTED = 5
    CONNECTION_STALE = 6        # a heartbeat was missed
    CONNECTION_DEAD = 7         # several were

cdef enum:                      # LineRecord.connection_reason: why it stands there
    CAUSE_NONE = 0
    CAUSE_START = 1             # it is begun
    CAUSE_RETRY = 2             # the wait after a failure is over
    CAUSE_UPGRADED = 3          # the HTTP upgrade was accepted
    CAUSE_SUBSCRIBED = 4        # all that was asked for has been confirmed, or flows
    CAUSE_HEARD = 5             # it speaks again
    CAUSE_UNREACHABLE = 6       # no address, no route, refused, timed out
    CAUSE_TLS = 7               # the certificate, or TLS itself
    CAUSE_HANDSHAKE = 8         # the HTTP answer is no upgrade
    CAUSE_REFUSED = 9           # a subscription was refused
    CAUSE_AUTHENTICATION = 10   # credentials refused, or expired
    CAUSE_RATE_LIMITED = 11
    CAUSE_POLICY = 12           # close code 1008, or HTTP 403 or 451: we are not wanted
    CAUSE_CLOSED = 13           # the server closed in good order
    CAUSE_RESTARTING = 14       # the server said that it restarts (1001, 1012), or asked for a new connection
    CAUSE_OVERLOADED = 15       # 1013, or HTTP 503
    CAUSE_SERVER_ERROR = 16     # 1011, or HTTP 5xx
    CAUSE_LOST = 17             # the connection broke without a word
    CAUSE_PROTOCOL = 18         # the server broke a rule of the protocol: we closed
    CAUSE_TOO_BIG = 19          # a message larger than max_message_bytes: we closed, 1009
    CAUSE_HEARTBEAT = 20        # nothing came for longer than a heartbeat
    CAUSE_SILENT = 21           # several heartbeats were missed: we gave it up
    CAUSE_TIMEOUT = 22          # connecting, or the confirmation of a subscription, took too long
    CAUSE_PLANNED = 23          # replaced by a new connection before the venue cuts it
    CAUSE_RESYNC = 24           # a book is asked for again on this connection
    CAUSE_STOPPED = 25          # by us

cdef enum:                      # SegmentHeader.state
    SEGMENT_INIT = 0
    SEGMENT_RUNNING = 1
    SEGMENT_STOPPED = 2         # the writer left in good order; the books stay readable
    SEGMENT_REPLACED = 3        # a successor has taken the name

cdef struct Packet:             # what a receiver hands on: a UDP payload, or a run of bytes of a TCP stream
    const uint8_t *data         # valid until the receiver's release()
    int64_t ts_recv             # ns since the Unix epoch
    uint32_t len                # bytes
    uint32_t line               # index of the line, within the shard

cdef struct Message:            # one message block inside a packet
    const uint8_t *data         # first byte after the length prefix, i.e. the type byte
    uint32_t len                # bytes; 0 is legal
    uint32_t reserved

cdef struct Run:                # consecutive messages of one packet copy, in sequence: arbiter -> decoder
    const Message *messages
    uint64_t first_seq          # the feed's number of messages[0]; 0 = unsequenced
    int64_t ts_recv
    int32_t count
    uint32_t line

cdef struct Event:              # 64 bytes: one cache line
    uint64_t seq                # position in the event ring, from 1; 0 = never written, or being written
    int64_t ts_event            # exchange time, ns since the Unix epoch
    int64_t ts_recv             # receive time, ns since the Unix epoch
    uint64_t order_id           # resting order's id; of a trade the trade or match number; 0 = none
    int64_t price               # units of 10^price_exponent of the instrument; INT64_MIN = none
    uint64_t size               # units of 10^size_exponent; of a status event the trading status
    uint64_t channel_seq        # the feed's own sequence number; 0 = none
    uint32_t instrument         # index into the instrument directory; 0 = none, or the whole channel
    uint8_t action
    uint8_t side
    uint8_t flags
    uint8_t line

cdef struct Level:              # 24 bytes
    int64_t price
    uint64_t size               # 0 = unused place
    uint32_t orders             # 0 on level feeds
    uint32_t reserved

cdef struct BookSlot:           # 64 bytes, then per side `depth` Levels (padded to the side stride), bids first
    uint64_t seq                # seqlock: odd while being written
    int64_t since               # ns since the Unix epoch: when `quality` took its present value
    uint64_t channel_seq        # the feed's number this book is whole to
    uint64_t event_seq          # the ring position this book is whole to
    int64_t ts_event
    int64_t ts_recv
    uint32_t epoch              # +1 at each new session, reset or snapshot
    uint16_t bids               # levels in use, at most `depth`
    uint16_t asks
    uint8_t quality
    uint8_t trading             # the worse of `security` and `venue`
    uint8_t reason
    uint8_t flags
    uint8_t security            # trading status of the security, on all markets
    uint8_t venue               # what this venue adds: HALTED while it trades the security no more; 0 = nothing
    uint16_t spare

cdef struct LastTrade:          # 16 bytes, at the end of the bid side's stride
    int64_t price               # INT64_MIN = no trade yet
    uint64_t size

cdef struct Volume:             # 16 bytes, at the end of the ask side's stride
    uint64_t size               # traded in this epoch
    uint64_t trades

cdef struct InstrumentRecord:   # 128 bytes
    char symbol[32]
    char venue[8]
    uint64_t feed_id            # the feed's own id of today (ITCH: stock locate); 0 = the feed names symbols
    int64_t tick                # smallest price step, in price units; 0 = unknown
    uint64_t lot                # round lot, in size units; 0 = unknown
    char currency[8]
    uint32_t session_date       # yyyymmdd; 0 = unknown
    uint32_t flags              # 1 = test symbol
    uint16_t shard
    uint16_t channel
    int8_t price_exponent
    int8_t size_exponent
    uint8_t price_decimals      # decimals as sent on the wire
    uint8_t size_decimals
    uint64_t unknown_orders     # messages that named an order its book does not hold; this and the next: in this generation
    uint64_t over_executions    # cancels and executions larger than what was left of the order
    uint64_t duplicate_orders   # adds of an order that was live
    uint64_t crossed            # times its book became crossed while trading
    uint64_t reserved

cdef enum:
    INSTRUMENT_TEST = 1
    CHANNEL_COUNTERS = 32
    LINE_COUNTERS = 24
    PARTS = 8
    HISTOGRAM_BUCKETS = 1024

cdef struct ChannelRecord:      # 448 bytes
    uint32_t quality            # one word: turning a channel stale is one store
    uint32_t epoch
    uint32_t reason
    uint16_t shard
    uint16_t first_line
    uint16_t lines
    uint16_t protocol_index
    uint32_t reserved0
    int64_t since
    uint64_t next_seq           # the next sequence number expected
    char name[16]
    char protocol[16]
    char session[16]
    uint64_t counters[CHANNEL_COUNTERS]
    uint64_t reserved[13]

cdef struct LineRecord:         # 320 bytes
    char name[16]
    uint16_t channel
    uint8_t state
    uint8_t ts_kind
    uint32_t receive_buffer     # bytes granted by the kernel; 0 = not a socket
    uint64_t next_seq           # next number this line would send
    int64_t last_packet         # ts_recv of the last packet
    int64_t last_data           # ts_recv of the last packet with messages
    uint64_t counters[LINE_COUNTERS]
    int64_t connection_since    # ns since the Unix epoch: when `connection` took its value; 0 = it has none
    uint8_t connection          # CONNECTION_...; written by the line stage as the control line tells it
    uint8_t connection_reason   # CAUSE_...
    uint8_t spare[6]
    uint64_t reserved[8]

cdef struct Part:               # where a part of the segment lies
    uint64_t offset             # bytes from the start of the segment
    uint64_t stride             # bytes from one record to the next
    uint64_t count              # records
    uint64_t used               # records in use (directory, channels, lines); stored last, with release

cdef enum:                      # indices into the table of parts
    PART_DIRECTORY = 0
    PART_SYMBOLS = 1            # open-addressing table of u32 directory indices
    PART_BOOKS = 2
    PART_RINGS = 3              # one record is one shard's ring head line; its slots are PART_SLOTS
    PART_SLOTS = 4
    PART_CHANNELS = 5
    PART_LINES = 6
    PART_HISTOGRAMS = 7

cdef struct RingHead:           # 64 bytes, one per shard
    uint64_t head               # number of the last event published; 0 = none
    uint64_t capacity           # slots, a power of two
    uint64_t reserved[6]

cdef enum:                      # histograms, in this order, per shard; behind those of all shards one for each line
    HISTOGRAM_WIRE_RECEIVE = 0      # kernel or hardware stamp -> packet in our hands
    HISTOGRAM_RECEIVE_PUBLISH = 1   # packet in our hands -> events in the ring
    HISTOGRAM_DECODE = 2
    HISTOGRAM_BOOK = 3
    HISTOGRAMS = 4

cdef struct Histogram:          # 8256 bytes
    uint64_t count
    uint64_t sum
    uint64_t minimum
    uint64_t maximum
    uint64_t reserved[4]
    uint64_t buckets[HISTOGRAM_BUCKETS]

cdef struct SegmentHeader:      # 512 bytes; the table of PARTS Part records stands directly behind it
    uint64_t magic
    uint64_t layout_hash
    uint32_t layout_version
    uint32_t state
    uint64_t generation         # ns since the Unix epoch when this segment was made
    uint64_t bytes              # of the whole segment
    uint32_t depth              # levels per side in every book
    uint32_t side_stride        # bytes from a book's bids to its asks
    uint32_t pid                # the writer's, in its own pid namespace: for people, never for liveness
    uint32_t shards
    uint64_t reserved0
    int64_t hot_heartbeat       # CLOCK_MONOTONIC, ns; on a line of its own
    uint64_t reserved1[7]
    int64_t control_heartbeat   # CLOCK_MONOTONIC, ns; on a line of its own
    uint32_t futex              # moves when a ring's head has moved
    uint32_t wakes
    uint64_t reserved2[6]
    char name[64]
    char backend[32]
    char version[32]
    char host[64]
    uint64_t reserved3[16]

cdef extern from *:
    """
    #define FH_PRICE_NONE INT64_MIN
    #define FH_SIZE_REST UINT64_MAX
    #define FH_SEGMENT_MAGIC 0x314d485346454546ull  /* "FEEFSHM1" */
    """
    const int64_t PRICE_NONE "FH_PRICE_NONE"
    const uint64_t SIZE_REST "FH_SIZE_REST"     # decoder -> book: a cancel of all that is left of the order
    const uint64_t SEGMENT_MAGIC "FH_SEGMENT_MAGIC"

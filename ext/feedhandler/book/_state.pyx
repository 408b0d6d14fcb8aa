"""Books as arrays and back: what a snapshot keeps of them, and the hash by which two of them are compared.

Off the hot path: while one of these functions works, the books' own thread is between two packets. The arrays are the
parts of a snapshot (docs/recording.md); load() believes nothing of them but their types.
"""
cimport cython
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memset

import numpy as np

from feedhandler import records
from feedhandler._hints cimport fetch_to_write
from feedhandler._records cimport (PRICE_NONE, QUALITY_INIT, QUALITY_STALE, REASON_START, TRADING_CLOSED,
                                   TRADING_UNKNOWN, BookSlot, LastTrade, Level, Volume)
from feedhandler.book._book cimport FAULT_ALL, Books, fh_level, fh_put64, fh_put_level, fh_slot_close, fh_slot_open
from feedhandler.book._level_book cimport (FH_WIDE_FULL, Draft, LevelBook, fh_wide_clear, fh_wide_level, fh_wide_rank,
                                           fh_wide_set, fh_wide_side)
from feedhandler.book._order_book cimport (FH_LEVELS_FULL, FH_NO_HINT, FH_NO_LEVEL, FH_ORDER_ADDED, OrderBook, fh_bucket,
                                           fh_change, fh_key, fh_levels, fh_levels_clear, fh_orders_add,
                                           fh_orders_home)

cdef extern from "xxh64.h" nogil:
    ctypedef struct fh_digest:
        pass

    void fh_digest_begin(fh_digest *d)
    void fh_digest_word(fh_digest *d, uint64_t word)
    uint64_t fh_digest_end(const fh_digest *d)

cdef extern from "levels_walk.h" nogil:
    uint32_t fh_levels_count(const fh_levels *l, uint32_t side)
    fh_level fh_levels_at(const fh_levels *l, uint32_t side, const fh_level *shown, uint32_t i)
    void fh_levels_digest(const fh_levels *l, uint32_t side, const fh_level *shown, fh_digest *d)
    void fh_levels_lose(const fh_levels *l, uint32_t side)
    bint fh_levels_lost(const fh_levels *l, uint32_t side)

cdef enum:
    BUCKET_ORDERS = 5
    AHEAD = 16                  # orders whose bucket is fetched ahead
    REASONS = 64                # codes of a book's reason, at most
    DRAFT_OPEN = 1              # flags of a level book's draft
    DRAFT_CHANGED = 2
    DRAFT_LOST = 4
    DRAFT_BEGUN = 8
    DRAFT_FAULTY = 16
    DRAFT_TOLD = 32

cdef struct Trades:             # 32 bytes
    int64_t price               # of the last trade; INT64_MIN = none yet
    uint64_t size
    uint64_t volume
    uint64_t count

cdef struct Order:
    uint64_t id
    uint64_t size
    uint32_t key
    uint32_t spare

TRADES = np.dtype([("price", "<i8"), ("size", "<u8"), ("volume", "<u8"), ("count", "<u8")])
_SHAPES = {                     # parts of either kind of book
    "slots": records.BOOK, "trades": TRADES, "crossed": np.dtype("<i8"), "counts": np.dtype("<u4"),
    "sizes": np.dtype("<u8"), "depth": np.dtype("<u4"),
}
_ORDERS = _SHAPES | {"ids": np.dtype("<u8"), "keys": np.dtype("<u4"), "lost": np.dtype("u1")}
_LEVELS = _SHAPES | {"prices": np.dtype("<i8"), "shown": records.LEVEL, "shown_trades": TRADES,
                     "drafts": np.dtype("u1"), "security": np.dtype("u1"), "venue": np.dtype("u1"),
                     "faults": np.dtype("<u4")}


cdef int _by_id(const void *a, const void *b) noexcept nogil:
    cdef uint64_t left = (<const Order *> a).id, right = (<const Order *> b).id
    return (left > right) - (left < right)


cdef uint32_t[::1] _indices(Books books, indices):
    cdef uint32_t[::1] found = np.ascontiguousarray(indices, dtype=np.uint32)
    cdef Py_ssize_t i
    for i in range(found.shape[0]):
        if not 0 < found[i] < books.instruments or (i > 0 and found[i] <= found[i - 1]):
            raise ValueError(f"instrument {found[i]}: expected ascending indices of books, 1 to {books.instruments - 1}")
    return found


cdef Trades _trades_of(Books books, BookSlot *slot) noexcept nogil:
    cdef uint8_t *at = <uint8_t *> books.side(slot, 1) - sizeof(LastTrade)
    cdef Trades trades
    trades.price = (<LastTrade *> at).price
    trades.size = (<LastTrade *> at).size
    trades.volume = (<Volume *> (at + books.side_stride)).size
    trades.count = (<Volume *> (at + books.side_stride)).trades
    return trades


cdef void _put_trades(Books books, BookSlot *slot, const Trades *trades) noexcept nogil:
    cdef uint8_t *at = <uint8_t *> books.side(slot, 1) - sizeof(LastTrade)
    fh_put64(&(<LastTrade *> at).price, <uint64_t> trades.price)
    fh_put64(&(<LastTrade *> at).size, trades.size)
    at += books.side_stride
    fh_put64(&(<Volume *> at).size, trades.volume)
    fh_put64(&(<Volume *> at).trades, trades.count)


# ---- from books to arrays


def settled(Books books not None):
    """Is no book in the middle of an event of many messages? Only then can a snapshot be loaded at another depth."""
    cdef uint32_t i
    if isinstance(books, LevelBook):
        for i in range(1, books.end()):
            if books.ours(i) and (<LevelBook> books).drafts[i].open:
                return False
    return True


def dump(Books books not None, indices):
    """All that the books of these instruments hold, as arrays by name; `indices` ascend, and hold all of this channel.

    Of the order-by-order kind: slots (BOOK), trades, crossed (exchange time since when, INT64_MIN = not), lost and counts
    (one each for bids and asks), and of all orders ids, sizes and keys (the price in quanta), book by book, bids first,
    by rising id. Of the level kind: counts, prices and sizes of all levels, best first, and what is not published yet.
    Raises ValueError for an order of an instrument that is not among them.
    """
    cdef uint32_t[::1] index = _indices(books, indices)
    cdef Py_ssize_t i, n = index.shape[0]
    slots, trades, crossed = np.empty(n, records.BOOK), np.empty(n, TRADES), np.empty(n, np.int64)
    cdef size_t slot_at = slots.ctypes.data, trades_at = trades.ctypes.data
    cdef int64_t[::1] since = crossed
    for i in range(n):
        memcpy(<BookSlot *> slot_at + i, books.slot(index[i]), sizeof(BookSlot))
        (<Trades *> trades_at)[i] = _trades_of(books, books.slot(index[i]))
        since[i] = books.crossed_since[index[i]]
    for name in ("seq", "bids", "asks"):                # of this segment and of its depth
        slots[name] = 0
    parts = {"slots": slots, "trades": trades, "crossed": crossed, "depth": np.array([books.depth], np.uint32)}
    if isinstance(books, OrderBook):
        return parts | _dump_orders(books, index)
    return parts | _dump_levels(books, index) | {"shown_trades": trades}


cdef dict _dump_orders(OrderBook books, uint32_t[::1] index):
    cdef Py_ssize_t i, n = index.shape[0], total = books.orders.live
    cdef uint32_t b, owner, side, stray = 0, group
    cdef int place
    cdef fh_bucket *bucket
    where_array, counts_array, lost_array = np.zeros(books.instruments, np.uint32), np.zeros(2 * n, np.uint32), np.zeros(2 * n, np.uint8)
    cdef uint32_t[::1] where = where_array, counts = counts_array
    cdef uint8_t[::1] lost = lost_array
    cdef uint64_t[::1] next_of
    cdef uint64_t at
    orders_array = np.empty(max(total, 1) * sizeof(Order), np.uint8)
    cdef uint8_t[::1] memory = orders_array
    cdef Order *orders = <Order *> &memory[0]
    ids_array, sizes_array, keys_array = np.empty(total, np.uint64), np.empty(total, np.uint64), np.empty(total, np.uint32)
    cdef uint64_t[::1] ids = ids_array, sizes = sizes_array
    cdef uint32_t[::1] keys = keys_array
    for i in range(n):
        where[index[i]] = <uint32_t> (2 * i + 1)
        for side in range(2):
            lost[2 * i + side] = fh_levels_lost(&books.levels, 2 * index[i] + side)
    with nogil:
        for b in range(books.orders.count):
            bucket = &books.orders.buckets[b]
            if bucket.state & 31 == 0:
                continue
            for place in range(BUCKET_ORDERS):
                if bucket.state >> place & 1:
                    owner = bucket.owners[place]
                    if where[owner >> 1] == 0:
                        stray = owner >> 1
                    else:
                        counts[where[owner >> 1] - 1 + (owner & 1)] += 1
    if stray:
        raise ValueError(f"an order of instrument {stray}, which is not among those to be kept")
    next_array = np.zeros(2 * n + 1, np.uint64)
    np.cumsum(counts_array, out=next_array[1:])
    next_of = next_array
    with nogil:
        for b in range(books.orders.count):
            bucket = &books.orders.buckets[b]
            if bucket.state & 31 == 0:
                continue
            for place in range(BUCKET_ORDERS):
                if bucket.state >> place & 1:
                    owner = bucket.owners[place]
                    group = where[owner >> 1] - 1 + (owner & 1)
                    at = next_of[group]
                    next_of[group] += 1
                    orders[at].id = bucket.ids[place]
                    orders[at].size = bucket.sizes[place]
                    orders[at].key = bucket.keys[place]
        at = 0
        for i in range(2 * n):
            qsort(orders + at, counts[i], sizeof(Order), _by_id)
            at += counts[i]
        for i in range(total):
            ids[i] = orders[i].id
            sizes[i] = orders[i].size
            keys[i] = orders[i].key
    return {"lost": lost_array, "counts": counts_array, "ids": ids_array, "sizes": sizes_array, "keys": keys_array}


cdef dict _dump_levels(LevelBook books, uint32_t[::1] index):
    cdef Py_ssize_t i, n = index.shape[0], at = 0
    cdef uint32_t ask, k
    cdef Draft *draft
    cdef fh_wide_side *side
    cdef fh_wide_level *best
    counts_array, drafts_array = np.zeros(2 * n, np.uint32), np.zeros(n, np.uint8)
    security_array, venue_array, faults_array = np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, np.uint32)
    kept = np.zeros(n, TRADES)
    shown = []
    cdef size_t kept_at = kept.ctypes.data
    cdef Trades *trades
    cdef uint32_t[::1] counts = counts_array, faults = faults_array
    cdef uint8_t[::1] drafts = drafts_array, security = security_array, venue = venue_array
    for i in range(n):
        draft = &books.drafts[index[i]]
        counts[2 * i], counts[2 * i + 1] = draft.sides[0].count, draft.sides[1].count
        drafts[i] = ((DRAFT_OPEN if draft.open else 0) | (DRAFT_CHANGED if draft.changed else 0)
                     | (DRAFT_LOST if draft.lost else 0) | (DRAFT_BEGUN if draft.begun else 0)
                     | (DRAFT_FAULTY if draft.faulty else 0) | (DRAFT_TOLD if draft.told else 0))
        security[i], venue[i], faults[i] = draft.security, draft.venue, draft.fault
        trades = <Trades *> kept_at + i
        trades.price, trades.size = draft.last.price, draft.last.size
        trades.volume, trades.count = draft.volume.size, draft.volume.trades
        if draft.changed:
            for ask in range(2):
                shown.append(_slot_levels(books, index[i], ask))
    total = int(counts_array.sum())
    prices_array, sizes_array = np.empty(total, np.int64), np.empty(total, np.uint64)
    cdef int64_t[::1] prices = prices_array
    cdef uint64_t[::1] sizes = sizes_array
    for i in range(n):
        for ask in range(2):
            side = &books.drafts[index[i]].sides[ask]
            for k in range(side.count):
                best = &books.levels.arena[side.block + side.count - 1 - k]
                prices[at] = fh_wide_rank(best.rank, ask)
                sizes[at] = best.size
                at += 1
    return {"counts": counts_array, "prices": prices_array, "sizes": sizes_array, "drafts": drafts_array,
            "security": security_array, "venue": venue_array, "faults": faults_array,
            "shown": np.concatenate(shown) if shown else np.zeros(0, records.LEVEL),
            "trades": kept}


cdef object _slot_levels(Books books, uint32_t instrument, uint32_t ask):
    """The `depth` places of one side of a slot: a copy."""
    cdef uint8_t *at = <uint8_t *> books.side(books.slot(instrument), ask)
    return np.frombuffer(at[:books.depth * sizeof(Level)], records.LEVEL).copy()


def levels(Books books not None, uint32_t instrument):
    """(bids, asks): all levels of a book, best first, as LEVEL arrays. Raises IndexError where there is no book."""
    cdef BookSlot *slot
    cdef fh_level level
    cdef Draft *draft
    cdef uint32_t ask, i, count
    cdef fh_wide_level *best
    if not 0 < instrument < books.instruments:
        raise IndexError(f"instrument {instrument}: there are books 1 to {books.instruments - 1}")
    slot = books.slot(instrument)
    found = []
    for ask in range(2):
        rows = []
        if isinstance(books, OrderBook):
            count = fh_levels_count(&(<OrderBook> books).levels, 2 * instrument + ask)
            for i in range(count):
                level = fh_levels_at(&(<OrderBook> books).levels, 2 * instrument + ask, books.side(slot, ask), i)
                rows.append((level.price, level.size, level.orders & 0xFFFFFFFF, 0))
        else:
            draft = &(<LevelBook> books).drafts[instrument]
            for i in range(draft.sides[ask].count):
                best = &(<LevelBook> books).levels.arena[draft.sides[ask].block + draft.sides[ask].count - 1 - i]
                rows.append((fh_wide_rank(best.rank, ask), best.size, 0, 0))
        found.append(np.array(rows, records.LEVEL))
    return found[0], found[1]


# ---- hashes


def hashes(Books books not None, indices):
    """XXH64 of each book, as uint64: what stands in it and nothing of how it came about or where it lies.

    Of these little-endian 64-bit words: quality + reason·2^8 + security's status·2^16 + venue's·2^24 + crossed·2^32 +
    (levels lost)·2^40 + (amid an event)·2^48; epoch; the number it is whole to; last trade's price and size, volume,
    trades; the sum, modulo 2^64, of XXH64(id, size, key·2 + ask) over all orders, 0 on level feeds; bids, asks (levels);
    then of each bid and each ask, best first, price, size, orders.
    """
    cdef uint32_t[::1] index = _indices(books, indices)
    cdef Py_ssize_t i, n = index.shape[0]
    found = np.zeros(n, np.uint64)
    cdef uint64_t[::1] hashed = found, sums = np.zeros(2 * books.instruments if isinstance(books, OrderBook) else 1, np.uint64)
    if isinstance(books, OrderBook):
        with nogil:
            _sum_orders(<OrderBook> books, &sums[0])
            for i in range(n):
                hashed[i] = _hash_orders(<OrderBook> books, index[i], sums[2 * index[i]] + sums[2 * index[i] + 1])
    else:
        with nogil:
            for i in range(n):
                hashed[i] = _hash_levels(<LevelBook> books, index[i])
    return found


cdef void _sum_orders(OrderBook books, uint64_t *sums) noexcept nogil:
    cdef fh_digest digest
    cdef fh_bucket *bucket
    cdef uint32_t b
    cdef int place
    for b in range(books.orders.count):
        bucket = &books.orders.buckets[b]
        if bucket.state & 31 == 0:
            continue
        for place in range(BUCKET_ORDERS):
            if bucket.state >> place & 1:
                fh_digest_begin(&digest)
                fh_digest_word(&digest, bucket.ids[place])
                fh_digest_word(&digest, bucket.sizes[place])
                fh_digest_word(&digest, <uint64_t> bucket.keys[place] * 2 + (bucket.owners[place] & 1))
                sums[bucket.owners[place]] += fh_digest_end(&digest)


cdef void _hash_head(fh_digest *digest, const BookSlot *slot, const Trades *trades, uint8_t security, uint8_t venue,
                     bint lost, bint amid) noexcept nogil:
    fh_digest_begin(digest)
    fh_digest_word(digest, <uint64_t> slot.quality | <uint64_t> slot.reason << 8 | <uint64_t> security << 16
                   | <uint64_t> venue << 24 | <uint64_t> slot.flags << 32 | <uint64_t> lost << 40 | <uint64_t> amid << 48)
    fh_digest_word(digest, slot.epoch)
    fh_digest_word(digest, slot.channel_seq)
    fh_digest_word(digest, <uint64_t> trades.price)
    fh_digest_word(digest, trades.size)
    fh_digest_word(digest, trades.volume)
    fh_digest_word(digest, trades.count)


cdef uint64_t _hash_orders(OrderBook books, uint32_t instrument, uint64_t orders) noexcept nogil:
    cdef fh_digest digest
    cdef BookSlot *slot = books.slot(instrument)
    cdef Trades trades = _trades_of(books, slot)
    cdef uint32_t ask
    _hash_head(&digest, slot, &trades, slot.security, slot.venue, fh_levels_lost(&books.levels, 2 * instrument), False)
    fh_digest_word(&digest, orders)
    for ask in range(2):
        fh_digest_word(&digest, fh_levels_count(&books.levels, 2 * instrument + ask))
    for ask in range(2):
        fh_levels_digest(&books.levels, 2 * instrument + ask, books.side(slot, ask), &digest)
    return fh_digest_end(&digest)


cdef uint64_t _hash_levels(LevelBook books, uint32_t instrument) noexcept nogil:
    cdef fh_digest digest
    cdef Draft *draft = &books.drafts[instrument]
    cdef Trades trades
    cdef uint32_t ask, i
    cdef fh_wide_level *best
    trades.price, trades.size = draft.last.price, draft.last.size
    trades.volume, trades.count = draft.volume.size, draft.volume.trades
    _hash_head(&digest, books.slot(instrument), &trades, draft.security, draft.venue, draft.lost != 0, draft.open != 0)
    fh_digest_word(&digest, 0)
    for ask in range(2):
        fh_digest_word(&digest, draft.sides[ask].count)
    for ask in range(2):
        for i in range(draft.sides[ask].count):
            best = &books.levels.arena[draft.sides[ask].block + draft.sides[ask].count - 1 - i]
            fh_digest_word(&digest, <uint64_t> fh_wide_rank(best.rank, ask))
            fh_digest_word(&digest, best.size)
            fh_digest_word(&digest, 0)
    return fh_digest_end(&digest)


# ---- from arrays to books


def clear(Books books not None):
    """All books of this channel, and those that nobody has, as they were when they were made: INIT, empty, epoch 0."""
    cdef uint32_t i
    if isinstance(books, OrderBook):
        memset((<OrderBook> books).orders.buckets, 0, <size_t> (<OrderBook> books).orders.count * sizeof(fh_bucket))
        (<OrderBook> books).orders.live = 0
    for i in range(1, books.instruments):
        if i >= books.end() or books.ours(i):
            _clear(books, i)


cdef void _clear(Books books, uint32_t i) noexcept:
    cdef BookSlot *slot = books.slot(i)
    cdef Draft *draft
    if isinstance(books, OrderBook):
        fh_levels_clear(&(<OrderBook> books).levels, 2 * i)
        fh_levels_clear(&(<OrderBook> books).levels, 2 * i + 1)
    else:
        draft = &(<LevelBook> books).drafts[i]
        fh_wide_clear(&(<LevelBook> books).levels, &draft.sides[0])
        fh_wide_clear(&(<LevelBook> books).levels, &draft.sides[1])
        memset(draft, 0, sizeof(Draft))
        draft.last.price = PRICE_NONE
    books.crossed_since[i] = INT64_MIN
    fh_slot_open(&slot.seq)
    books.reset_slot(slot, 0)
    slot.epoch = 0
    slot.since = slot.ts_event = slot.ts_recv = 0
    slot.channel_seq = slot.event_seq = 0
    slot.quality = QUALITY_INIT
    slot.reason = REASON_START
    books.show_trading(slot, TRADING_UNKNOWN, TRADING_UNKNOWN)
    fh_slot_close(&slot.seq)


def load(Books books not None, indices, parts, uint64_t position=0):
    """The inverse of dump(): forget all books of this channel, and take these instead; book i of `parts` is indices[i].

    They are published as they were, `event_seq` being `position` at most, the present end of the ring. Raises ValueError, the
    books being clear() then, for parts that cannot have come from dump(), and where there is not room enough for them.
    """
    cdef uint32_t[::1] index = _indices(books, indices)
    cdef Py_ssize_t i, n = index.shape[0]
    cdef BookSlot *slot
    cdef const BookSlot *head
    cdef bint orders = isinstance(books, OrderBook)
    clear(books)
    try:
        found = _checked(parts, _ORDERS if orders else _LEVELS, n)
        slots, trades, crossed = found["slots"], found["shown_trades" if not orders else "trades"], found["crossed"]
        if n and (slots["quality"].max() > QUALITY_INIT or slots["reason"].max() >= REASONS or slots["flags"].max() > 1
                  or max(slots["security"].max(), slots["venue"].max()) > TRADING_CLOSED):
            raise ValueError("a book's quality, reason or trading status is none there is")
        if orders:
            _load_orders(books, index, found)
        else:
            _load_levels(books, index, found)
    except BaseException:
        clear(books)
        raise
    cdef size_t slot_at = slots.ctypes.data, trades_at = trades.ctypes.data
    cdef const int64_t[::1] since = crossed
    for i in range(n):
        slot = books.slot(index[i])
        head = <const BookSlot *> slot_at + i
        books.crossed_since[index[i]] = since[i]
        fh_slot_open(&slot.seq)
        _put_trades(books, slot, <const Trades *> trades_at + i)
        slot.since, slot.epoch, slot.flags = head.since, head.epoch, head.flags
        slot.channel_seq, slot.event_seq = head.channel_seq, min(head.event_seq, position)
        slot.ts_event, slot.ts_recv = head.ts_event, head.ts_recv
        slot.quality, slot.reason = head.quality, head.reason
        books.show_trading(slot, head.security, head.venue)
        fh_slot_close(&slot.seq)


cdef dict _checked(parts, shapes, Py_ssize_t n):
    """The parts as arrays of their types, one entry for each book where it should be so."""
    sizes = {"slots": n, "trades": n, "crossed": n, "counts": 2 * n, "lost": 2 * n, "depth": 1, "shown_trades": n,
             "drafts": n, "security": n, "venue": n, "faults": n}
    found = {}
    for name, dtype in shapes.items():
        if name not in parts:
            raise ValueError(f"the snapshot's books have no part {name!r}")
        array = np.frombuffer(np.ascontiguousarray(parts[name]).tobytes(), dtype)
        if len(array) != sizes.get(name, len(array)):
            raise ValueError(f"the snapshot's part {name!r} has {len(array)} entries, expected {sizes[name]}")
        found[name] = array
    total = int(found["counts"].sum(dtype=np.uint64))
    for name in ("ids", "sizes", "keys", "prices"):
        if name in found and len(found[name]) != total:
            raise ValueError(f"the snapshot's part {name!r} has {len(found[name])} entries, expected {total}")
    return found


cdef int _load_orders(OrderBook books, uint32_t[::1] index, dict parts) except -1:
    cdef const uint32_t[::1] counts = parts["counts"], keys = parts["keys"]
    cdef const uint64_t[::1] ids = parts["ids"], sizes = parts["sizes"]
    cdef const uint8_t[::1] lost = parts["lost"]
    cdef Py_ssize_t group, at = 0, total = ids.shape[0], wrong = -1
    cdef uint32_t k, home, ask
    cdef uint32_t[AHEAD] homes
    cdef fh_change change
    cdef BookSlot *slot
    cdef bint full = False
    if total > books.orders.limit:
        raise ValueError(f"the snapshot holds {total} orders, there is room for {books.orders.limit}: raise [books] orders")
    memset(&change, 0, sizeof(change))
    change.orders = 1
    change.hint = FH_NO_HINT
    with nogil:
        for at in range(min(total, AHEAD)):
            homes[at] = fh_orders_home(&books.orders, ids[at])
        at = 0
        for group in range(counts.shape[0]):
            slot = books.slot(index[group >> 1])
            ask = group & 1
            change.side = 2 * index[group >> 1] + ask
            fh_slot_open(&slot.seq)
            for k in range(counts[group]):
                home = homes[at & (AHEAD - 1)]
                if at + AHEAD < total:
                    homes[at & (AHEAD - 1)] = fh_orders_home(&books.orders, ids[at + AHEAD])
                    fetch_to_write(<size_t> &books.orders.buckets[homes[at & (AHEAD - 1)]])
                    fetch_to_write(<size_t> &books.orders.buckets[homes[at & (AHEAD - 1)]] + 64)
                if (sizes[at] == 0 or sizes[at] >= books.size_limit
                        or fh_orders_add(&books.orders, ids[at], home, sizes[at], keys[at], change.side) != FH_ORDER_ADDED):
                    wrong = at
                    break
                if not lost[group]:
                    change.size = sizes[at]
                    change.key = fh_key(keys[at], ask)
                    if books.levels.change(&books.levels, &change, books.side(slot, ask),
                                           &slot.bids + ask) == FH_LEVELS_FULL:
                        full = True
                        break
                at += 1
            if lost[group]:
                fh_levels_lose(&books.levels, change.side)
            fh_slot_close(&slot.seq)
            if wrong >= 0 or full:
                break
    if wrong >= 0:
        raise ValueError(f"the snapshot's order {ids[wrong]} of size {sizes[wrong]} stands in it twice, or cannot be")
    if full:
        raise ValueError("the snapshot's levels do not fit: raise [books] orders")
    return 0


cdef int _load_levels(LevelBook books, uint32_t[::1] index, dict parts) except -1:
    cdef const uint32_t[::1] counts = parts["counts"], faults = parts["faults"]
    cdef const uint64_t[::1] sizes = parts["sizes"]
    cdef const int64_t[::1] prices = parts["prices"]
    cdef const uint8_t[::1] drafts = parts["drafts"], security = parts["security"], venue = parts["venue"]
    cdef Py_ssize_t i, at = 0, end, k, n = index.shape[0], taken = 0
    cdef uint32_t ask, place, depth = parts["depth"][0]
    cdef int64_t rank
    cdef Draft *draft
    cdef BookSlot *slot
    cdef const Level *level
    shown = parts["shown"]
    cdef size_t trades_at = parts["trades"].ctypes.data, shown_at = shown.ctypes.data
    cdef const Trades *trades
    changed = int((parts["drafts"] & DRAFT_CHANGED).astype(bool).sum())
    if len(shown) != 2 * depth * changed:
        raise ValueError(f"the snapshot's part 'shown' has {len(shown)} entries, expected {2 * depth * changed}")
    if depth != books.depth and (parts["drafts"] & DRAFT_OPEN).any():
        raise ValueError(f"the snapshot was taken amid an event, at depth {depth}: it cannot be shown at {books.depth}")
    if n and (max(parts["security"].max(), parts["venue"].max()) > TRADING_CLOSED or parts["faults"].max() > FAULT_ALL
              or parts["drafts"].max() > (DRAFT_OPEN | DRAFT_CHANGED | DRAFT_LOST | DRAFT_BEGUN | DRAFT_FAULTY | DRAFT_TOLD)
              or (parts["drafts"] & (DRAFT_OPEN | DRAFT_CHANGED) == DRAFT_CHANGED).any()):
        raise ValueError("a draft of the snapshot is in a state that there is not")
    for i in range(n):
        draft = &books.drafts[index[i]]
        slot = books.slot(index[i])
        trades = <const Trades *> trades_at + i
        draft.last.price, draft.last.size = trades.price, trades.size
        draft.volume.size, draft.volume.trades = trades.volume, trades.count
        draft.security, draft.venue, draft.fault = security[i], venue[i], faults[i]
        draft.open = (drafts[i] & DRAFT_OPEN) != 0
        draft.changed = (drafts[i] & DRAFT_CHANGED) != 0
        draft.lost = (drafts[i] & DRAFT_LOST) != 0
        draft.begun = (drafts[i] & DRAFT_BEGUN) != 0
        draft.faulty = (drafts[i] & DRAFT_FAULTY) != 0
        draft.told = (drafts[i] & DRAFT_TOLD) != 0
        fh_slot_open(&slot.seq)
        for ask in range(2):
            end = at + counts[2 * i + ask]
            for k in range(end - 1, at - 1, -1):        # the worst first: each goes to the end
                rank = fh_wide_rank(prices[k], ask)
                if sizes[k] == 0 or prices[k] == PRICE_NONE or k < end - 1 and rank <= fh_wide_rank(prices[k + 1], ask):
                    fh_slot_close(&slot.seq)
                    raise ValueError(f"level {k - at} of a book of the snapshot is out of order, or empty")
                place = fh_wide_set(&books.levels, &draft.sides[ask], rank, sizes[k])
                if place == FH_WIDE_FULL:
                    fh_slot_close(&slot.seq)
                    raise ValueError("the snapshot's levels do not fit: raise [books] instruments")
            if draft.changed:
                level = <const Level *> shown_at + taken
                taken += depth
                place = 0
                for k in range(depth):
                    fh_put_level(&books.side(slot, ask)[k], level[k].price, level[k].size, level[k].orders)
                    place += level[k].size != 0
            else:
                place = min(counts[2 * i + ask], books.depth)
                for k in range(place):
                    fh_put_level(&books.side(slot, ask)[k], prices[at + k], sizes[at + k], 0)
            (&slot.bids)[ask] = <uint16_t> place
            at = end
        fh_slot_close(&slot.seq)
    return 0

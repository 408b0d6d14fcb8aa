"""The simulator's GLIMPSE server: a snapshot and the rest of the day are the whole day."""

import os
import socket
import struct
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_book import Judge, blocks
from test_simulate_soup import Client

import feedhandler as fh
from feedhandler.errors import BackendError, ConfigError, SessionError
from feedhandler.handler import run_capture
from feedhandler.recovery.glimpse import GlimpseSnapshots
from feedhandler.simulate import Exchange
from feedhandler.simulate._snapshot import SnapshotSource, sequenced
from feedhandler.simulate.faults import GlimpseFault
from feedhandler.simulate.glimpse import GlimpseAnswerer, GlimpseServer

MARKET = {"symbols": 12, "seed": 5, "messages": 12_000, "live_orders": 600}
LOGIN = b"L" + b" " * 26 + b"1".rjust(20)


def framed(messages) -> bytes:
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


@pytest.fixture(scope="module")
def day() -> list[bytes]:
    exchange, buffer, out = Exchange(**MARKET), bytearray(1 << 16), bytearray()
    while n := exchange.produce(buffer):
        out += buffer[:n]
    return list(blocks(bytes(out)))


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """books(messages): every book after these messages have gone through the real decoder and the real books."""
    folder = tmp_path_factory.mktemp("glimpse")

    def follow(messages: list[bytes]) -> dict[str, object]:
        path = folder / "day.itch"
        path.write_bytes(framed(messages) + b"\0\0")
        name = f"test-glimpse-{os.getpid()}"
        result = run_capture(path, name=name, depth=64, orders=10_000, instruments=64)
        try:
            with fh.attach(name) as feed:
                return {symbol: state(feed.book(symbol)) for symbol in feed.symbols}
        finally:
            result.handler.close()

    return follow


def state(book: fh.Book) -> object:
    bids, asks = book.snapshot()
    return bids.tolist(), asks.tolist(), book.quality, book.trading


@pytest.fixture(scope="module")
def whole(day, books):
    return books(day)


@pytest.mark.parametrize("cut", [0, 1, 150, 700, 2500, 6000, 9001, 11_999, 12_000])
def test_a_snapshot_and_the_rest_of_the_day_are_the_whole_day(cut, day, books, whole):
    source = SnapshotSource(10_000)
    source.advance(framed(day[:cut]))
    number, messages = source.snapshot()
    assert number == cut + 1 and source.unknown == 0 and not source.full
    assert books(list(blocks(messages)) + day[cut:]) == whole
    assert any(bids for bids, *_ in whole.values())


def test_a_snapshot_holds_exactly_what_is_live(day):
    source, judge = SnapshotSource(), Judge()
    source.advance(framed(day[:5000]))
    for m in day[:5000]:
        judge.take(m)
    found = list(blocks(source.snapshot()[1]))
    kinds = "".join(chr(m[0]) for m in found)
    assert kinds.lstrip("R").lstrip("H").lstrip("Y").lstrip("hN").lstrip("AF").lstrip("S") == ""
    assert [m for m in found if m[0] == ord("R")] == [m for m in day[:5000] if m[0] == ord("R")]
    orders = {}
    for m in found:
        if m[0] in b"AF":
            reference, side, shares, _, price = struct.unpack_from(">QcI8sI", m, 11)
            orders[reference] = [struct.unpack_from(">H", m, 1)[0], side.decode(), price, shares]
    assert orders == judge.orders and source.live_orders == len(orders)
    assert list(orders) == sorted(orders)
    attributed = [m for m in found if m[0] == ord("F")]
    assert attributed and all(m[36:40].strip() for m in attributed)
    untouched = {m for m in day[:5000] if m[0] in b"AF"} & set(found)
    assert len(untouched) > 100  # orders that nothing has happened to are sent as they came: time, tracking and all


@pytest.mark.wire
@given(
    st.lists(
        st.tuples(
            st.sampled_from("AFECXDURHYhNSPZ"), st.sampled_from([0, 1, 2, 3, 2**63, 2**64 - 1]), st.integers(0, 30),
            st.integers(0, 3), st.integers(-30, 3),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_any_messages_leave_the_orders_a_plain_dictionary_has(script):
    lengths = dict(zip("AFECXDURHYhNSPZ", (36, 40, 31, 36, 23, 19, 35, 39, 25, 20, 21, 20, 12, 44, 9), strict=True))
    source, live = SnapshotSource(8), {}
    for kind, reference, shares, other, change in script:
        m = bytearray(kind.encode() + bytes(60))
        struct.pack_into(">Q", m, 11, reference)
        if kind in "AF":
            m[19:20] = b"B"
            struct.pack_into(">I", m, 20, shares)
        elif kind == "U":
            struct.pack_into(">QI", m, 19, other, shares)
        else:
            struct.pack_into(">I", m, 19, shares)
        m = bytes(m[: max(0, lengths[kind] + change)])
        source.advance(framed([m]))
        if len(m) < lengths[kind]:
            continue
        if kind in "AF" and shares and reference not in live:
            live[reference] = shares
        elif kind in "ECX" and reference in live:
            live[reference] -= min(shares, live[reference])
        elif kind == "D":
            live.pop(reference, None)
        elif kind == "U" and reference in live:
            del live[reference]
            if shares and other not in live:
                live[other] = shares
        live = {reference: shares for reference, shares in live.items() if shares}
    found = [m for m in blocks(source.snapshot()[1]) if m[0] in b"AF"]
    assert {m[11:19]: m[20:24] for m in found} == {
        struct.pack(">Q", reference): struct.pack(">I", shares) for reference, shares in live.items()
    }
    assert source.number == len(script) + 1


def test_too_many_live_orders_are_no_snapshot():
    source = SnapshotSource(2)
    source.advance(framed(add(n) for n in (1, 2)))
    assert source.snapshot()[0] == 3
    source.advance(framed([add(3)]))
    with pytest.raises(SessionError, match="more than 2 live orders"):
        source.snapshot()
    assert GlimpseAnswerer(source).answer(LOGIN) == b"\0\2JS"
    source.clear(first=7)
    assert source.snapshot() == (7, b"")


def test_many_orders_come_and_go_and_the_table_forgets_none():
    source = SnapshotSource()
    ids = [n * 0x9E3779B97F4A7C15 % 2**64 for n in range(1, 50_001)]
    source.advance(framed(add(n) for n in ids))
    assert source.live_orders == 50_000
    source.advance(framed(b"D" + bytes(10) + struct.pack(">Q", n) for n in ids[:49_000]))
    assert source.live_orders == 1000 and source.unknown == 0
    found = [struct.unpack_from(">Q", m, 11)[0] for m in blocks(source.snapshot()[1])]
    assert found == sorted(ids[49_000:])


def add(reference: int) -> bytes:
    return b"A" + bytes(10) + struct.pack(">QcI8sI", reference, b"B", 100, b"TEST    ", 10_000)


# ---- the machine ----


def soup(data: bytes) -> list[bytes]:
    return list(blocks(data))


def test_a_login_is_answered_by_the_snapshot_its_number_and_the_end(day):
    source = SnapshotSource()
    source.advance(framed(day[:3000]))
    packets = soup(GlimpseAnswerer(source, "GLIMPSE", join="at").answer(LOGIN))
    assert packets[0] == b"A   GLIMPSE" + b"1".rjust(20)
    assert [p[1:] for p in packets[1:-2]] == list(blocks(source.snapshot()[1]))
    assert packets[-2] == b"SG" + b"3001".ljust(20) and packets[-1] == b"Z"
    assert soup(GlimpseAnswerer(source, join="after").answer(LOGIN))[-2] == b"SG" + b"3000".ljust(20)


def test_sequenced_packs_every_length():
    messages = [b"", b"x", bytes(300)]
    assert soup(sequenced(framed(messages))) == [b"S" + m for m in messages]
    assert sequenced(b"") == b""
    with pytest.raises(ValueError, match="not whole"):
        sequenced(b"\0\2a")


@pytest.mark.parametrize("login, reason", [
    (LOGIN[:17] + b"YESTERDAY " + LOGIN[27:], b"S"),
    (LOGIN[:27] + b"2".rjust(20), b"S"),
    (LOGIN + b"1", b"A"),
    (LOGIN[:20], b"A"),
    (b"L" + b"other " + b"secret    " + LOGIN[17:], b"A"),
    (b"L" + b"me    " + b"wrong     " + LOGIN[17:], b"A"),
])  # fmt: skip
def test_a_wrong_login_is_rejected(login, reason):
    answerer = GlimpseAnswerer(SnapshotSource(), username="me", password="secret")
    if len(login) == len(LOGIN) and login[1:17].isspace():
        login = b"L" + b"ME    " + b"SECRET    " + login[17:]
    assert answerer.answer(login) == b"\0\2J" + reason
    assert answerer.stats["rejected"] == 1 and answerer.stats["logins"] == 0


def test_refusals_and_cuts_come_at_their_rate_and_by_seed(day):
    source = SnapshotSource()
    source.advance(framed(day[:800]))
    faults = GlimpseFault(refuse=0.3, cut=0.5)
    answers = [[GlimpseAnswerer(source, faults=faults, seed=seed) for _ in range(2)] for seed in (1, 2)]
    runs = [[[a.answer(LOGIN) for _ in range(200)] for a in pair] for pair in answers]
    assert runs[0][0] == runs[0][1] != runs[1][0]
    whole = GlimpseAnswerer(source).answer(LOGIN)
    refused = [data for data in runs[0][0] if data == b"\0\2JA"]
    cut = [data for data in runs[0][0] if data != b"\0\2JA" and data != whole]
    assert 35 < len(refused) < 85 and 40 < len(cut) < 100
    assert all(33 <= len(data) < len(whole) and whole.startswith(data) for data in cut)


def test_stale_snapshots_are_true_but_old(day):
    source = SnapshotSource()
    answerer = GlimpseAnswerer(source, faults=GlimpseFault(stale_messages=1000))
    truth = SnapshotSource()
    given = []
    for at in range(0, 6000, 100):
        source.advance(framed(day[at : at + 100]))
        answerer.tick()
        number, messages = answerer.snapshot()
        given.append(number)
        truth.clear()
        truth.advance(framed(day[: number - 1]))
        assert truth.snapshot() == (number, messages)
        assert at < 2000 or 1000 <= source.number - number <= 2200
    assert all(a <= b for a, b in pairwise(given)) and len(set(given)) > 3


# ---- on a port ----


@pytest.fixture
def source(day) -> SnapshotSource:
    made = SnapshotSource()
    made.advance(framed(day[:3000]))
    return made


def test_a_client_gets_its_snapshot_and_the_next_one_too(source):
    with GlimpseServer(source) as server:
        for _ in range(2):
            packets = list(Client(server.port).packets())
            assert [kind for kind, _ in packets] == ["A", *"S" * (len(packets) - 2), "Z"]
            assert framed(payload for _, payload in packets[1:-2]) == source.snapshot()[1]
            assert packets[-2][1] == b"G" + b"3001".ljust(20)
        assert server.stats["snapshots"] == 2 and server.stats["bytes"] > 40_000


def test_a_slow_server_is_slow_and_serves_others_meanwhile(source):
    size = len(GlimpseAnswerer(source).answer(LOGIN))
    with GlimpseServer(source, faults=GlimpseFault(bytes_per_s=size * 5)) as server:
        slow, other = Client(server.port), Client(server.port)
        assert len(slow.rest()) == len(other.rest()) > 600
        assert server.stats["snapshots"] == 2


def test_a_cut_snapshot_ends_half_way(source):
    size = len(GlimpseAnswerer(source).answer(LOGIN))
    with GlimpseServer(source, faults=GlimpseFault(cut=1.0)) as server:
        client = Client(server.port)
        data = client.file.read()
        assert 33 <= len(data) < size and server.stats["cut"] == 1


def test_refused_logins_and_unruly_clients_lose_their_connection(source):
    with GlimpseServer(source, faults=GlimpseFault(refuse=1.0)) as server:
        assert list(Client(server.port).packets()) == [("J", b"A")]
        for garbage in (b"\xff\xff" + bytes(100), b"\0\1O", b"\0\0"):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            client.sendall(garbage)
            assert client.recv(100) in (b"", b"\0\2JA")
            client.close()
        gone = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        gone.close()
        assert list(Client(server.port).packets()) == [("J", b"A")]


@pytest.mark.parametrize("join", ["at", "after"])
def test_the_handler_s_own_client_takes_the_snapshot(source, join):
    with GlimpseServer(source, join=join) as server:
        taken = fetched(GlimpseSnapshots(f"127.0.0.1:{server.port}", join=join))
    assert (taken.session, taken.number, taken.messages) == ("SIMULATED", *source.snapshot())


def test_the_handler_s_own_client_says_what_went_wrong():
    source = SnapshotSource()
    source.advance(framed(add(n) for n in range(1, 100)))
    for fault in (GlimpseFault(refuse=1.0), GlimpseFault(cut=1.0)):
        with GlimpseServer(source, faults=fault) as server, pytest.raises(SessionError):
            fetched(GlimpseSnapshots(f"127.0.0.1:{server.port}"))
    assert GlimpseAnswerer(SnapshotSource(), join="after").answer(LOGIN) == b"\0\2JS"


def fetched(snapshots: GlimpseSnapshots):
    snapshots.begin()
    while (snapshot := snapshots.poll(time.monotonic())) is None:
        time.sleep(0.001)
    return snapshot


def test_what_cannot_be_had_is_said_in_a_sentence(source):
    for options, words in (
        ({"session": ""}, "session"),
        ({"username": "1234567"}, "user name"),
        ({"join": "before"}, 'join must be "at" or "after"'),
    ):
        with pytest.raises(ConfigError, match=words):
            GlimpseServer(source, **options)
    with GlimpseServer(source) as server, pytest.raises(BackendError, match=r"cannot serve snapshots on 127\.0\.0\.1"):
        GlimpseServer(source, port=server.port)
    with pytest.raises(ConfigError, match="live orders"):
        SnapshotSource(0)

"""The simulator's request server: messages once more, within its limits, and wrong where it is told to be."""

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_book import blocks

from feedhandler.errors import BackendError, ConfigError
from feedhandler.session import framing
from feedhandler.simulate._store import MessageStore
from feedhandler.simulate.faults import RequestFault
from feedhandler.simulate.requests import RequestAnswerer, RequestServer

HEADER = struct.Struct(">10sQH")
SESSION = b"SIMULATED "


def message(number: int) -> bytes:
    return struct.pack(">Q", number) + bytes(number % 7)


def block(number: int) -> bytes:
    return struct.pack(">H", len(message(number))) + message(number)


def stored(count: int, **options) -> MessageStore:
    store = MessageStore(**options)
    store.append(b"".join(block(number) for number in range(1, count + 1)))
    return store


def request(number: int, count: int, session: bytes = SESSION) -> bytes:
    return HEADER.pack(session, number, count)


def taken(packets: list[bytes]) -> tuple[bytes, int, list[bytes]]:
    """(session, first number, messages) of the one answer, which must add up."""
    (packet,) = packets
    session, number, count = HEADER.unpack_from(packet)
    found = list(blocks(packet[20:]))
    assert len(found) == count
    return session, number, found


# ---- the store ----


@given(st.lists(st.lists(st.binary(max_size=300), max_size=20), max_size=20), st.integers(1, 40))
def test_a_store_keeps_the_newest_messages(batches, most):
    store = MessageStore(most)
    sent = []
    for batch in batches:
        store.append(b"".join(struct.pack(">H", len(m)) + m for m in batch))
        sent += batch
        assert store.last == len(sent) and store.first <= len(sent) + 1
        assert min(most, len(sent)) <= len(sent) - store.first + 1
        for number in range(store.first, len(sent) + 1):
            assert store.pack(number, 1, 65535) == (struct.pack(">H", len(sent[number - 1])) + sent[number - 1], 1)
    assert store.pack(len(sent) + 1, 1, 1000) == (b"", 0)
    assert store.pack(store.first - 1, 1, 1000) == (b"", 0)


def test_a_store_is_bounded_in_bytes_and_wraps():
    store = MessageStore(1 << 20, 1 << 17)
    for number in range(1, 60_001):
        store.append(block(number))
    assert store.last == 60_000 and 47_000 < store.first < 52_000  # 128 KiB of 13 bytes each, on average
    for number in (store.first, 55_000, 60_000):
        assert list(blocks(store.pack(number, 1, 100)[0])) == [message(number)]


def test_a_store_takes_whole_messages_only():
    store = MessageStore(10, first=5)
    with pytest.raises(ValueError, match="not whole"):
        store.append(b"\0\5abc")
    store.append(b"")
    assert (store.first, store.last) == (5, 4)
    store.append(block(5))
    assert (store.first, store.last) == (5, 5)
    with pytest.raises(ConfigError, match="a store keeps"):
        MessageStore(0)


# ---- the machine ----


def test_what_was_asked_for_comes_from_the_number_asked_on():
    answerer = RequestAnswerer(stored(1000))
    assert taken(answerer.answer(request(7, 3), 0.0)) == (SESSION, 7, [message(7), message(8), message(9)])
    assert taken(answerer.answer(request(999, 50), 0.0)) == (SESSION, 999, [message(999), message(1000)])
    assert answerer.stats["answers"] == 2 and answerer.stats["messages"] == 5


def test_an_answer_holds_what_fits_the_mtu_and_the_rest_is_asked_for_again():
    answerer = RequestAnswerer(stored(1000), faults=RequestFault(mtu=200))
    number, got = 10, []
    while len(got) < 500:
        packets = answerer.answer(request(number, 500 - len(got)), 0.0)
        assert len(packets[0]) <= 200
        _, first, found = taken(packets)
        assert first == number and found
        got += found
        number += len(found)
    assert got == [message(n) for n in range(10, 510)]


def test_a_message_longer_than_the_mtu_goes_alone():
    store = MessageStore(10)
    store.append(struct.pack(">H", 3000) + bytes(3000) + block(2))
    assert taken(RequestAnswerer(store).answer(request(1, 5), 0.0)) == (SESSION, 1, [bytes(3000)])


@pytest.mark.wire
@pytest.mark.parametrize("data", [
    request(0, 1), request(1, 0), request(1001, 1), request(2**64 - 1, 65535), request(1, 65535),
    request(1, 1, b"OTHER     "), b"", bytes(19), bytes(21), request(1, 1) + b"x",
])  # fmt: skip
def test_silence_for_what_cannot_be_answered(data):
    answerer = RequestAnswerer(stored(1000))
    assert answerer.answer(data, 0.0) == []
    assert answerer.stats == {"requests": 1, "answers": 0, "messages": 0, "silent": 0, "unknown": 1, "wrong": 0}


def test_messages_too_far_behind_are_gone():
    answerer = RequestAnswerer(stored(1000), faults=RequestFault(age=100))
    assert answerer.answer(request(900, 10), 0.0) == []
    assert taken(answerer.answer(request(901, 1), 0.0))[1] == 901


def test_a_limited_rate_is_silence_until_time_has_passed():
    answerer = RequestAnswerer(stored(1000), faults=RequestFault(rate=50))
    answered = [bool(answerer.answer(request(1, 1), n * 0.001)) for n in range(1000)]
    assert answered[:5] == [True] * 5 and not all(answered[:8])  # what a tenth of a second allows, at once
    assert 53 <= sum(answered) <= 56
    assert answerer.answer(request(1, 1), 10.0)


def test_every_session_has_its_own_messages():
    answerer = RequestAnswerer(stored(5))
    answerer.add_session("NEXT", stored(2))
    assert answerer.answer(request(3, 1, b"NEXT      "), 0.0) == []
    assert taken(answerer.answer(request(2, 9, b"NEXT      "), 0.0)) == (b"NEXT      ", 2, [message(2)])
    assert taken(answerer.answer(request(3, 1), 0.0))[1] == 3


def always(fault: str) -> RequestAnswerer:
    return RequestAnswerer(stored(1000), faults=RequestFault(**{fault: 1.0}))


def test_wrong_answers_are_wrong_in_the_way_they_were_ordered():
    session, number, found = taken(always("other_session").answer(request(7, 2), 0.0))
    assert (session, number, found) == (b"OTHER     ", 7, [message(7), message(8)])
    for asked in (1, 500, 1000):
        _, number, found = taken(always("other_sequence").answer(request(asked, 3), 0.0))
        assert number != asked and found[0] == message(number)  # true messages, though other ones
    _, number, found = taken(always("more").answer(request(7, 2), 0.0))
    assert number == 7 and len(found) in (3, 4, 5) and found == [message(7 + i) for i in range(len(found))]
    assert taken(always("fewer").answer(request(7, 8), 0.0))[2] == [message(n) for n in (7, 8, 9, 10)]
    (packet,) = always("malformed").answer(request(7, 8), 0.0)
    assert [frame["kind"] for frame, _ in framing("moldudp64").feed(packet)] == ["bad"]
    assert always("silence").answer(request(7, 8), 0.0) == []


def test_wrong_answers_come_at_their_rate_and_by_seed():
    faults = RequestFault(silence=0.1, malformed=0.1, other_session=0.1)
    runs = [[RequestAnswerer(stored(100), faults=faults, seed=seed) for _ in range(2)] for seed in (1, 2)]
    answers = [[[a.answer(request(5, 3), 0.0) for _ in range(2000)] for a in pair] for pair in runs]
    assert answers[0][0] == answers[0][1] != answers[1][0]
    stats = runs[0][0].stats
    assert 140 < stats["silent"] < 260 and 250 < stats["wrong"] < 430  # 200 and 342 expected


# ---- on a port ----


def test_the_server_answers_its_client_while_the_store_is_fed():
    store = stored(100)
    stop = threading.Event()

    def feed() -> None:
        number = 101
        while not stop.is_set():
            store.append(b"".join(block(n) for n in range(number, number + 20)))
            number += 20

    feeder = threading.Thread(target=feed)
    with RequestServer(store) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", server.port))
        feeder.start()
        try:
            for n in range(300):
                number = max(store.first, store.last - 50 * (n % 3))
                client.send(request(number, 10))
                session, first, found = taken([client.recv(65536)])
                assert (session, first) == (SESSION, number)
                assert found == [message(number + i) for i in range(len(found))] and found
        finally:
            stop.set()
            feeder.join()
        assert server.stats["answers"] == 300
    with pytest.raises(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", server.port))
        probe.send(b"x")
        probe.settimeout(10)
        probe.recv(10)  # nobody is there any more


def test_what_cannot_be_had_is_said_in_a_sentence():
    with pytest.raises(ConfigError, match="session"):
        RequestServer(stored(1), session="")
    with RequestServer(stored(1)) as server, pytest.raises(BackendError, match="cannot serve requests on"):
        RequestServer(stored(1), port=server.port)
    with pytest.raises(BackendError, match="cannot serve requests"):
        RequestServer(stored(1), port=70_000)

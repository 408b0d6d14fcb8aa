"""The wire or the server does what it likes: records that go past OpenSSL come to what it makes of them."""

from __future__ import annotations

import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from feedhandler.errors import TlsError
from feedhandler.receive import stream
from feedhandler.receive.tls import library
from tests.authority import Authority
from tests.test_receive_tls_direct import (
    ALERT,
    APPLICATION,
    CLOSE_NOTIFY,
    HANDSHAKE,
    KEY_UPDATE,
    TICKET,
    UP,
    Connection,
    Sealer,
    carried,
    context,
    shaken,
)
from tests.tls_pairs import Pairs, authority, either_gcm, pairs

__all__ = ["authority", "context", "either_gcm", "pairs"]

ANSWER_ME = KEY_UPDATE[:-1] + b"\1"  # a key update that asks for one
CANCELLED = bytes([1, 90])
BEFORE = [b"first", b"second"]  # the first is OpenSSL's to read, the second goes past it
AFTER = [b"third", b"fourth"]

both_suites = pytest.mark.parametrize("context", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"], indirect=True)
one_suite = pytest.mark.parametrize("context", ["TLS_AES_256_GCM_SHA384"], indirect=True)


@dataclass(frozen=True)
class Outcome:
    """What a connection came to at our end, and at the other: the alert that came, by its name."""

    plain: bytes
    errno: int
    reason: str
    failure: str
    alert: str


Wire = Callable[[Sealer], bytes]


def tampered(change: Callable[[bytes, bytes, bytes, bytes], tuple[bytes, ...]]) -> Wire:
    """Four records of data, of which somebody on the wire makes something else."""
    return lambda sealer: b"".join(change(*(sealer.seal(APPLICATION, data) for data in BEFORE + AFTER)))


def said(*records: tuple[int, bytes]) -> Wire:
    """Records of the server's own, between data."""

    def make(sealer: Sealer) -> bytes:
        data = [(APPLICATION, each) for each in BEFORE], [(APPLICATION, each) for each in AFTER]
        return b"".join(sealer.seal(*each) for each in (*data[0], *records, *data[1], (ALERT, CLOSE_NOTIFY)))

    return make


def bare(kind: int, data: bytes) -> bytes:
    """A record that nobody sealed."""
    return struct.pack(">BHH", kind, 0x0303, len(data)) + data


# What nobody who has not the keys may bring about: not a byte behind the second record is given out.
TAMPERED = {
    "two change places": tampered(lambda a, b, c, d: (a, b, d, c)),
    "one again": tampered(lambda a, b, c, d: (a, b, b, c)),
    "OpenSSL's again": tampered(lambda a, b, c, d: (a, b, a, c)),
    "one less": tampered(lambda a, b, c, d: (a, b, d)),
    "cut short": tampered(lambda a, b, c, d: (a, b, c[:-1])),
    # not its last byte: one record in 256 ends in what the next begins with
    "a byte short, and on": tampered(lambda a, b, c, d: (a, b, c[:5] + c[6:], d)),
    "a byte longer": tampered(lambda a, b, c, d: (a, b, c[:4] + bytes([c[4] + 1]) + c[5:] + b"x", d)),
    "two in one": tampered(lambda a, b, c, d: (a, b, bare(APPLICATION, c[5:] + d[5:]))),
    "a plain close": tampered(lambda a, b, c, d: (a, b, bare(ALERT, CLOSE_NOTIFY), c)),
    "a plain alert": tampered(lambda a, b, c, d: (a, b, bare(ALERT, b"\2\x28"), c)),
    "a plain ticket": tampered(lambda a, b, c, d: (a, b, bare(HANDSHAKE, TICKET), c)),
    "plain data": tampered(lambda a, b, c, d: (a, b, bare(APPLICATION, b"a price that nobody made"), c)),
    "change_cipher_spec": tampered(lambda a, b, c, d: (a, b, bare(20, b"\1"), c)),
    **{
        f"{size} bytes of nothing": tampered(lambda a, b, c, d, size=size: (a, b, bare(APPLICATION, bytes(size)), c))
        for size in (0, 1, 15, 16, 17, 18, 16384 + 256, 16384 + 257, 65535)
    },
}
WRONG = {
    "a key update, and on in the record": said((HANDSHAKE, KEY_UPDATE + TICKET)),
    "a bad key update": said((HANDSHAKE, KEY_UPDATE[:-1] + b"\2")),
    "data inside a ticket": said((HANDSHAKE, TICKET[:9]), (APPLICATION, b"x"), (HANDSHAKE, TICKET[9:])),
    "an empty handshake": said((HANDSHAKE, b"")),
    "half an alert": said((ALERT, b"\1")),
    "two alerts": said((ALERT, CANCELLED * 2)),
    "too many alerts": said(*[(ALERT, CANCELLED)] * 6),
    "too many empty ones": said(*[(APPLICATION, b"")] * 33),
    "who are you": said((HANDSHAKE, bytes([13, 0, 0, 3, 0, 0, 0]))),
    "change_cipher_spec, sealed": said((20, b"\1")),
    "zeros": said((0, bytes(100))),
    "too much": said((APPLICATION, b"x" * 16385)),
}
RIGHT = {
    "a ticket byte by byte": said(*[(HANDSHAKE, TICKET[at : at + 1]) for at in range(len(TICKET))]),
    "many key updates": said(*[(HANDSHAKE, KEY_UPDATE), (APPLICATION, b"x"), (APPLICATION, b"y")] * 40),
    "some alerts, data, some alerts": said(*[(ALERT, CANCELLED)] * 4, (APPLICATION, b"x"), *[(ALERT, CANCELLED)] * 4),
    "empty ones, data, empty ones": said(*[(APPLICATION, b"")] * 20, (APPLICATION, b"x"), *[(APPLICATION, b"")] * 20),
    "zeros and types as data": said(
        (APPLICATION, bytes(100)), (APPLICATION, b"\x17\x15\x17"), (APPLICATION, b"\x17\0\0")
    ),
    "nothing behind the end": said((ALERT, CLOSE_NOTIFY)),
}


def outcome(connection: Connection, wire: bytes) -> Outcome:
    """All of `wire`, then the end of the stream."""
    tls, _, there, _ = connection
    got, error = carried(connection, [wire], 65536)
    alert = ""
    try:
        there.read()
    except ssl.SSLError as failed:
        alert = failed.reason
    there.sock.close()
    return Outcome(got, error, tls.reason, tls.failure, alert)


def intels() -> bool:
    return library()["gcm"] != "OpenSSL"


@pytest.mark.wire
@one_suite
@pytest.mark.parametrize("wires", [TAMPERED, WRONG, RIGHT], ids=["tampered", "wrong", "right"])
def test_what_comes_is_found_out_as_openssl_finds_it_out(
    pairs: Pairs, authority: Authority, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, wires: dict[str, Wire]
) -> None:
    for name, wire in wires.items():
        found = []
        for which in ("openssl", ""):
            monkeypatch.setenv("FEEDHANDLER_GCM", which)
            connection = shaken(pairs, authority, context)
            found.append(outcome(connection, wire(connection[3])))
            assert (connection[0].direct > 0) == intels()
        assert found[1] == found[0], name
        assert found[1].reason == "CLOSED" if wires is RIGHT else found[1].plain == b"".join(BEFORE), name


@pytest.mark.wire
@both_suites
def test_no_byte_of_a_record_may_change(pairs: Pairs, authority: Authority, context: ssl.SSLContext) -> None:
    """Header, data, type, padding and tag: the record gives nothing, nor does what comes behind it, and it is said."""
    for at in range(5 + len(AFTER[0]) + 1 + 1 + 16):
        tls, _, _, sealer = connection = shaken(pairs, authority, context)
        wire = [sealer.seal(APPLICATION, data, 1) for data in BEFORE + AFTER]
        spoilt = bytearray(wire[2])
        spoilt[at] ^= 1 << at % 8
        found = outcome(connection, b"".join([*wire[:2], spoilt, wire[3]]))
        assert (found.plain, tls.direct) == (b"".join(BEFORE), intels()), at
        if at > 4:
            assert (found.failure, found.alert) == ("decryption failed or bad record mac", "SSLV3_ALERT_BAD_RECORD_MAC")
        assert found.reason in (("PROTOCOL", "TRUNCATED") if at in (3, 4) else ("PROTOCOL",))


@both_suites
@pytest.mark.usefixtures("either_gcm")
def test_key_updates_both_ways_and_tickets_in_pieces_between_what_is_said(
    pairs: Pairs, authority: Authority, context: ssl.SSLContext
) -> None:
    """OpenSSL answers a key update when it writes, and reads on there where a ticket is half there."""
    tls, client, there, sealer = shaken(pairs, authority, context)
    with stream.receiver(1, stream.Options(buffer_bytes=2048)) as receiver:
        assert receiver.connect(0, client.fileno(), b"", tls)
        got = want = b""
        for turn in range(30):
            wire = b"".join(sealer.seal(APPLICATION, b"%d," % turn, turn) for _ in range(3))
            want += b"%d," % turn * 3
            if turn % 3 == 0:
                wire += sealer.seal(HANDSHAKE, ANSWER_ME) + sealer.seal(APPLICATION, b"new,")
                want += b"new,"
            if turn % 4 == 1:
                wire += sealer.seal(HANDSHAKE, TICKET[:turn])
            there.sock.sendall(wire)
            got += b"".join(run for _, _, run in receiver.drain())
            receiver.send(0, b"frame %d" % turn)
            got += b"".join(run for _, _, run in receiver.drain())
            if turn % 4 == 1:
                there.sock.sendall(sealer.seal(HANDSHAKE, TICKET[turn:]))
            while got != want:
                assert receiver.wait_for(5), (turn, tls.failure)
                got += b"".join(run for _, _, run in receiver.drain())
            receiver.drain()
            assert there.read() == b"frame %d" % turn
        there.sock.sendall(sealer.seal(ALERT, CLOSE_NOTIFY))
        while receiver.line_status(0)["state"] == UP:
            assert receiver.wait_for(5)
            assert receiver.drain() == []
    assert tls.reason == "CLOSED"
    assert (tls.direct > 30) == intels()


@one_suite
@pytest.mark.usefixtures("either_gcm")
def test_a_read_waits_for_what_comes_although_a_write_found_no_room(
    pairs: Pairs, authority: Authority, context: ssl.SSLContext
) -> None:
    """OpenSSL remembers that it wanted to write; of a record that goes past it, it hears nothing."""
    tls, _, there, sealer = shaken(pairs, authority, context)
    there.sock.sendall(sealer.seal(APPLICATION, b"a") + sealer.seal(APPLICATION, b"b"))
    got = b""
    while got != b"ab":
        got += tls.read()
    with pytest.raises(TlsError, match="did not come within"):
        tls.write(bytes(1 << 25), timeout=0)
    heard = threading.Event()
    in_time: list[bool] = []

    def say() -> None:
        there.sock.sendall(sealer.seal(APPLICATION, b"c"))
        in_time.append(heard.wait(2))

    thread = threading.Timer(0.02, say)
    thread.start()
    assert tls.read(timeout=5) == b"c"
    heard.set()
    thread.join()
    assert in_time == [True]

"""Records decrypted without OpenSSL: what comes is what it would have made of them, and it sees what it must."""

import itertools
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import example, given
from hypothesis import strategies as st

from feedhandler.receive import stream
from feedhandler.receive.tls import Tls, library
from tests.authority import Authority
from tests.tls_pairs import Pairs, ServerEnd, authority, pairs

__all__ = ["authority", "pairs"]

UP = 1
LONGEST = 16384  # bytes of a record, its padding with them
ALERT, HANDSHAKE, APPLICATION = 21, 22, 23
TICKET = bytes([4, 0, 0, 32]) + struct.pack(">IIB8sH11sH", 7200, 5, 8, b"nonce...", 11, b"ticket.....", 0)
KEY_UPDATE = bytes([24, 0, 0, 1, 0])
CLOSE_NOTIFY, INTERNAL_ERROR = bytes([1, 0]), bytes([2, 80])


class Sealer:
    """The server's records as RFC 8446 (sections 5.2, 5.3, 7.2 and 7.3) has them made, of any content."""

    def __init__(self, secret: bytes) -> None:
        self.hash = SHA256() if len(secret) == 32 else SHA384()
        self._use(secret)

    def _use(self, secret: bytes) -> None:
        self.secret, self.number = secret, 0
        self.key = AESGCM(self._expanded(b"key", 16 if len(secret) == 32 else 32))
        self.iv = int.from_bytes(self._expanded(b"iv", 12), "big")

    def _expanded(self, label: bytes, length: int) -> bytes:
        info = struct.pack(">HB", length, 6 + len(label)) + b"tls13 " + label + b"\0"
        return HKDFExpand(self.hash, length, info).derive(self.secret)

    def seal(self, kind: int, data: bytes, padding: int = 0) -> bytes:
        """One record."""
        inner = data + (bytes([kind]) if kind else b"") + bytes(padding)
        header = struct.pack(">BHH", APPLICATION, 0x0303, len(inner) + 16)
        sealed = self.key.encrypt((self.iv ^ self.number).to_bytes(12, "big"), inner, header)
        self.number += 1
        if kind == HANDSHAKE and data[:-1] == KEY_UPDATE[:-1]:
            self._use(self._expanded(b"traffic upd", len(self.secret)))
        return header + sealed


@dataclass(frozen=True)
class Record:
    """What the server says in one record; `spoilt`: a bit of it is turned on the way."""

    kind: int
    data: bytes
    padding: int = 0
    spoilt: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a connection came to: its plain bytes, how it ended, and how many records went without OpenSSL."""

    plain: bytes
    errno: int
    reason: str
    failure: str
    direct: int


def data(**sizes: int) -> st.SearchStrategy[Record]:
    return st.builds(Record, st.just(APPLICATION), st.binary(**sizes), st.integers(0, 40))


USUAL = data(min_size=1, max_size=600)
RECORDS = st.lists(
    USUAL
    | USUAL
    | data(max_size=0)
    | st.builds(lambda size: Record(APPLICATION, bytes([size % 251 + 1]) * size), st.integers(16370, 16384))
    | st.sampled_from([Record(HANDSHAKE, TICKET), Record(HANDSHAKE, KEY_UPDATE), Record(HANDSHAKE, TICKET * 2, 3)])
    | st.just(Record(APPLICATION, b"more padding than there should be", 16384)),  # OpenSSL lets it pass
    max_size=12,
)
ENDS = [
    Record(ALERT, CLOSE_NOTIFY),
    Record(ALERT, INTERNAL_ERROR),
    Record(APPLICATION, b"spoilt", spoilt=True),
    Record(APPLICATION, b"long" * 4096 + b"!"),  # 16,385 bytes: more than a record may bear
    Record(99, b"a kind that there is not"),
    Record(0, b"", 20),  # zeros alone
    Record(HANDSHAKE, TICKET[:9]),  # the rest does not come
    Record(HANDSHAKE, b"\1" + TICKET[1:]),
    None,
]


@pytest.fixture(params=["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"])
def context(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    """A server that says its secrets and sends no tickets: all records behind the handshake are the test's."""
    made = authority.server_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.num_tickets = 0
    made.keylog_filename = str(tmp_path / "secrets")
    if "128" in request.param:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # ours comes first then
    return made


Connection = tuple[Tls, socket.socket, ServerEnd, Sealer]


def shaken(pairs: Pairs, authority: Authority, context: ssl.SSLContext) -> Connection:
    """A connection: ours, its socket, the server's end, and what seals its records."""
    secrets = Path(context.keylog_filename)
    tls = Tls("localhost", ca=authority.ca)
    client, there = pairs.shake(tls, context)
    said = dict(line.split()[::2] for line in secrets.read_text().splitlines() if line[0] != "#")
    return tls, client, there, Sealer(bytes.fromhex(said["SERVER_TRAFFIC_SECRET_0"]))


def carried(connection: Connection, pieces: Iterable[bytes], room: int) -> tuple[bytes, int]:
    """The server says all pieces, then hangs up: the receiver's plain bytes, and its errno; our socket is closed."""
    tls, client, there, _ = connection
    got = b""
    with stream.receiver(1, stream.Options(buffer_bytes=room)) as receiver:
        assert receiver.connect(0, client.fileno(), b"", tls)
        for piece in pieces:
            there.sock.sendall(piece)
            got += b"".join(run for _, _, run in receiver.drain())
        there.sock.shutdown(socket.SHUT_WR)
        while receiver.line_status(0)["connections"] == 0 or receiver.line_status(0)["state"] == UP:
            assert receiver.wait_for(5)
            got += b"".join(run for _, _, run in receiver.drain())
        error = int(receiver.line_status(0)["error"])
    client.close()
    return got, error


def outcome(
    pairs: Pairs, authority: Authority, context: ssl.SSLContext, records: list[Record], cuts: list[int], room: int
) -> Outcome:
    """Say all records, in pieces, then hang up; what the receiver has of it."""
    connection = shaken(pairs, authority, context)
    tls, _, there, sealer = connection
    wire = b""
    for record in records:
        sealed = bytearray(sealer.seal(record.kind, record.data, record.padding))
        sealed[-1] ^= record.spoilt
        wire += sealed
    places = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    got, error = carried(connection, (wire[begin:end] for begin, end in itertools.pairwise(places)), room)
    there.sock.close()
    return Outcome(got, error, tls.reason, tls.failure, tls.direct)


def without_openssl(records: list[Record]) -> int:
    """How many: each one with application data behind another."""
    good = [record.kind == APPLICATION and bool(record.data) and not record.spoilt for record in records]
    fits = [len(record.data) + record.padding <= LONGEST for record in records]
    return sum(before and now and room for before, now, room in zip(good, good[1:], fits[1:], strict=False))


@pytest.mark.wire
def test_any_records_come_to_what_openssl_makes_of_them(
    pairs: Pairs, authority: Authority, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, padding, tickets and key updates in any order, cut anywhere, however it ends and whatever the room."""

    @given(RECORDS, st.sampled_from(ENDS), st.lists(st.integers(0), max_size=8), st.sampled_from([1024, 20000, 131072]))
    @example([Record(APPLICATION, b"a"), Record(HANDSHAKE, KEY_UPDATE)] * 3, ENDS[0], [], 131072)
    @example([Record(APPLICATION, b"x" * 16384)] * 20, ENDS[0], [], 131072)
    def run(records: list[Record], end: Record | None, cuts: list[int], room: int) -> None:
        said = [*records, *([end] if end else [])]
        found = []
        for which in ("openssl", ""):
            monkeypatch.setenv("FEEDHANDLER_GCM", which)
            found.append(outcome(pairs, authority, context, said, cuts, room))
            intels = library()["gcm"] != "OpenSSL"
            if room > LONGEST + 40 or not intels:
                assert found[-1].direct == intels * without_openssl(records)
        theirs, ours = found
        assert ours.plain == theirs.plain == b"".join(r.data for r in records if r.kind == APPLICATION)
        assert (ours.errno, ours.reason, ours.failure) == (theirs.errno, theirs.reason, theirs.failure)

    run()

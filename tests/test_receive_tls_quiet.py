"""What TLS lines do not do in steady state: allocate; and which system calls they make."""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from feedhandler.receive.tls import Tls, library
from tests.authority import Authority
from tests.test_handler_quiet import calls_between_markers, counting_library, run
from tests.tls_pairs import Pairs

__all__ = ["counting_library"]

SANITIZED = pytest.mark.skipif("FEEDHANDLER_SANITIZE" in os.environ, reason="the sanitizer has an allocator of its own")

# Records wait in the socket; then they are taken, and frames of both outboxes go out, on the thread that counts.
TURNS = """
import ctypes, hashlib, os, ssl, sys
from pathlib import Path
from feedhandler.receive import stream
from feedhandler.receive.tls import Tls
from feedhandler.session._outbox import Outbox
from tests.authority import Authority
from tests.tls_pairs import Pairs
folder, version, suite, size = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
count = getattr(ctypes.CDLL(None), "allocations_of_this_thread", lambda: 0)
authority = Authority(folder)
context = authority.server_context()
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
if version == "TLSv1_2":
    context.set_ciphers(suite)
tls = Tls("localhost", ca=authority.ca)
client, there = Pairs(context).shake(tls)
receiver, outbox = stream.receiver(1), Outbox()
receiver.answer_with(0, outbox)
receiver.connect(0, client.fileno(), b"", tls)
def turns(records):
    for _ in range(records):
        there.send(bytes(size))
    outbox.put(b"pong" * 8)
    receiver.send(0, b"text" * 100)
    before = count()
    os.getppid()
    packets, length = receiver.skim()
    os.getppid()
    assert length == records * size and outbox.waiting == b"", (length, records * size)
    return count() - before, packets
turns(4)                                                 # tickets, first touches
few, _ = turns(4)
if len(sys.argv) > 5:
    sys.exit()
many, packets = turns(60000 // size)
print(few, many, packets)
"""


@SANITIZED
@pytest.mark.parametrize(
    ("version", "suite"),
    [
        ("TLSv1_3", "TLS_AES_256_GCM_SHA384"),
        ("TLSv1_3", "TLS_AES_256_GCM_SHA384 of OpenSSL"),
        ("TLSv1_2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLSv1_2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ],
)
def test_records_are_read_and_written_without_an_allocation(
    tmp_path: Path, counting_library: Path, version: str, suite: str
) -> None:
    """Neither for four records nor for three hundred; both outboxes sent something in each stretch."""
    variables = {"FEEDHANDLER_GCM": "openssl" if "OpenSSL" in suite else "", "LD_PRELOAD": str(counting_library)}
    few, many, packets = run(TURNS, tmp_path, version, suite, 200, **variables, PYTHONPATH=".")
    assert (few, many) == (0, 0)
    assert packets >= 1


@SANITIZED
def test_one_receive_a_turn_and_one_send_a_frame(tmp_path: Path) -> None:
    """Not a call for each record's header, one for its body, one more to hear that there is nothing."""
    strace = shutil.which("strace")
    assert strace, "strace is needed: apt-get install strace (make test installs it)"
    trace = tmp_path / "trace"
    command = (strace, "-f", "-o", str(trace), "-e", "signal=none")
    run(TURNS, tmp_path, "TLSv1_3", "", 100, "once", prefix=command, PYTHONPATH=".")
    text = trace.read_text().split("getppid(")
    trace.write_text("getppid(".join([text[0][-30:].rpartition("\n")[2], *text[3:]]))
    calls = calls_between_markers(trace)
    assert calls.pop("setsockopt", 0) <= 1, "at most once in a millisecond"
    assert calls == Counter({"recvfrom": 1, "sendto": 2}), "four records; that there are no more shows"


@SANITIZED
def test_openssl_has_its_memory_from_us_whatever_was_imported_first() -> None:
    """`import hashlib` stood before ours here, which would refuse it to a shared OpenSSL."""
    if os.environ.get("FEEDHANDLER_OPENSSL") == "shared":
        pytest.skip("a shared OpenSSL was asked for")
    assert library() == library() | {"private": True, "hooked": True}


@SANITIZED
def test_what_lives_long_takes_no_slot(authority: Authority, tmp_path: Path) -> None:
    """Tickets of many connections, all still open, leave the slots of the records free: none is missed."""
    from feedhandler.receive import stream

    pairs = Pairs(authority.server_context())
    connections = []
    with stream.receiver(40) as receiver:
        for line in range(40):
            tls = Tls("localhost", ca=authority.ca)
            client, there = pairs.shake(tls)
            assert receiver.connect(line, client.fileno(), b"", tls)
            receiver.drain()
            connections.append((tls, there))
        before = library()["missed"]
        for _, there in connections:
            there.send(b"x" * 100)
        assert receiver.skim() == (40, 4000)
        assert library()["missed"] == before
        assert all(tls.session is not None for tls, _ in connections)
    pairs.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_the_module_shows_no_symbol_of_openssls() -> None:
    """Else the interpreter's own ssl module and ours might find each other's."""
    from feedhandler.receive import _tls

    shown = subprocess.run(
        ["nm", "-D", "--defined-only", _tls.__file__], check=True, capture_output=True, text=True
    ).stdout
    assert "PyInit__tls" in shown
    assert not [line for line in shown.splitlines() if " SSL_" in line or " CRYPTO_" in line or " EVP_" in line]

"""AES-GCM of TLS lines: Intel's library where this machine has it and OpenSSL's own say the same, byte by byte."""

import os
import re
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from feedhandler.receive._tls import aes_gcm
from feedhandler.receive.tls import Tls, TlsError, library
from tests.authority import Authority
from tests.tls_pairs import Pairs, authority, either_gcm, pairs

__all__ = ["authority", "either_gcm", "pairs"]
pytestmark = pytest.mark.usefixtures("either_gcm")

# McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, those with an IV of 96 bits: test case, key, IV,
# additional data, plain text, encrypted text, tag.
KEY, IV = "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888"
AAD = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
PLAIN = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
SHORT_KEY = (
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
)
LONG_KEY = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)
CASES = [
    (1, "00" * 16, "00" * 12, "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
    (2, "00" * 16, "00" * 12, "", "00" * 16, "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"),
    (3, KEY, IV, "", PLAIN, SHORT_KEY, "4d5c2af327cd64a62cf35abd2ba6fab4"),
    (4, KEY, IV, AAD, PLAIN[:120], SHORT_KEY[:120], "5bc94fbc3221a5db94fae95ae7121a47"),
    (13, "00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    (14, "00" * 32, "00" * 12, "", "00" * 16, "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"),
    (15, KEY * 2, IV, "", PLAIN, LONG_KEY, "b094dac5d93471bdec1a502270e3cc6c"),
    (16, KEY * 2, IV, AAD, PLAIN[:120], LONG_KEY[:120], "76fc6ece0f4e1768cddf8853bb2d551b"),
]
SUITES = [
    ("TLSv1_3", "TLS_AES_128_GCM_SHA256"),
    ("TLSv1_3", "TLS_AES_256_GCM_SHA384"),
    ("TLSv1_2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLSv1_2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[0]))
def test_known_answers(case: tuple[int, str, str, str, str, str, str]) -> None:
    key, iv, aad, plain, secret, tag = map(bytes.fromhex, case[1:])
    assert aes_gcm(key, iv, plain, aad) == (secret, tag)
    assert aes_gcm(key, iv, secret, aad, tag) == plain


@pytest.mark.wire
@given(
    key=st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32),
    iv=st.binary(min_size=12, max_size=12),
    aad=st.binary(max_size=64),
    length=st.integers(0, 600) | st.integers(0, 16640),
    seed=st.binary(min_size=1, max_size=24),
    bit=st.integers(0),
)
@example(key=bytes(32), iv=b"\xff" * 12, aad=bytes(64), length=16384 + 17, seed=b"\0", bit=0)
@example(key=bytes(16), iv=b"\xff" * 12, aad=bytes(13), length=65536, seed=b"record", bit=7)
def test_the_same_as_another_openssl(key: bytes, iv: bytes, aad: bytes, length: int, seed: bytes, bit: int) -> None:
    """Any length and additional data; and with one bit wrong, wherever it is, there is no plain text."""
    plain = (seed * (length // len(seed) + 1))[:length]
    sealed = AESGCM(key).encrypt(iv, plain, aad)
    assert b"".join(aes_gcm(key, iv, plain, aad)) == sealed
    assert aes_gcm(key, iv, sealed[:-16], aad, sealed[-16:]) == plain
    spoilt = bytearray(sealed + aad)
    spoilt[bit // 8 % len(spoilt)] ^= 1 << bit % 8
    secret, tag, other = spoilt[:length], spoilt[length : length + 16], spoilt[length + 16 :]
    assert aes_gcm(key, iv, bytes(secret), bytes(other), bytes(tag)) is None


def test_arguments_of_the_door() -> None:
    for key, iv, tag in ((bytes(24), bytes(12), bytes(16)), (bytes(16), bytes(8), bytes(16)), (KEY.encode(), b"", b"")):
        with pytest.raises(ValueError, match="a key has 16 or 32 bytes, an IV 12, a tag 16"):
            aes_gcm(key, iv, b"", b"", tag)


@pytest.mark.wire
def test_more_than_tls_asks_for_is_refused_or_right() -> None:
    """A TLS record's header is 5 or 13 bytes; Intel's is given no more than 64, OpenSSL's own takes any."""
    key, iv, aad = bytes(16), bytes(12), bytes(65)
    if library()["gcm"] == "OpenSSL":
        assert b"".join(aes_gcm(key, iv, b"data", aad)) == AESGCM(key).encrypt(iv, b"data", aad)
    else:
        with pytest.raises(ValueError, match="this AES-GCM does not take that"):
            aes_gcm(key, iv, b"data", aad)
        assert aes_gcm(key, iv, b"data", aad, bytes(16)) is None


def test_which_one_it_is() -> None:
    """Intel's wherever it was linked and the processor can, unless the environment says otherwise."""
    found = library()
    assert re.fullmatch(r"(ipsec-mb \d+\.\d+\.\d+)?", found["gcm_linked"])
    able = {"avx512vl", "vaes"} <= set(Path("/proc/cpuinfo").read_text().split())
    chosen = found["gcm_linked"] and able and os.environ["FEEDHANDLER_GCM"] != "openssl"
    assert found["gcm"] == (found["gcm_linked"] if chosen else "OpenSSL")


@pytest.mark.parametrize(("version", "suite"), SUITES)
def test_records_both_ways(pairs: Pairs, authority: Authority, version: str, suite: str) -> None:
    """Of lengths about a block and a record, and beyond, as a server of another OpenSSL writes and reads them."""
    context = authority.server_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    if version == "TLSv1_2":
        context.set_ciphers(suite)
    elif "AES_128" in suite:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # ours comes first then
    before = library()["gcm_keys"]
    tls = Tls("localhost", ca=authority.ca)
    _, there = pairs.shake(tls, context)
    assert tls.cipher == suite
    assert (library()["gcm_keys"] - before > 0) == (library()["gcm"] != "OpenSSL")
    for length in (1, 15, 16, 17, 255, 256, 1500, 16383, 16384, 16385, 40000):
        data = bytes(range(251)) * (length // 251 + 1)
        there.send(data[:length])
        tls.write(data[:length])
        got, heard = b"", b""
        while len(got) < length:
            got += tls.read()
        while len(heard) < length:
            heard += there.read()
        assert got == heard == data[:length]
    spoilt = bytearray(there.sealed(b"never given out"))
    spoilt[-20] ^= 1
    there.sock.sendall(spoilt)
    with pytest.raises(TlsError, match="bad record mac"):
        tls.read()
    assert tls.reason == "PROTOCOL"

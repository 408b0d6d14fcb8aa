"""Who the server is, before a TLS line is used: each wrong one is refused by name, and nothing switches that off."""

import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from feedhandler.errors import ConfigError, ReceiverError
from feedhandler.receive.tls import Tls, TlsError, library
from tests.authority import Authority
from tests.tls_pairs import Pairs, authority, pairs

__all__ = ["authority", "pairs"]


def refused(pairs: Pairs, tls: Tls, context: ssl.SSLContext | None = None) -> TlsError:
    with pytest.raises(TlsError) as caught:
        pairs.shake(tls, context)
    assert isinstance(caught.value, ReceiverError) and str(caught.value).startswith(f"{tls.host}: ")
    return caught.value


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_name_or_an_address_that_the_certificate_has(pairs: Pairs, authority: Authority, host: str) -> None:
    tls = Tls(host, ca=authority.ca)
    assert (tls.version, tls.cipher, tls.alpn, tls.session) == ("", "", "", None)
    _, there = pairs.shake(tls)
    assert tls.version == "TLSv1.3" and tls.cipher.startswith("TLS_") and tls.shaken and tls.reason == ""
    tls.write(b"hello")
    assert there.read() == b"hello"
    there.send(b"there")
    assert tls.read() == b"there"
    there.goodbye()
    assert tls.read() == b"" and tls.reason == "CLOSED"
    tls.goodbye()
    there.turn(there.tls.unwrap)


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (("other.example",), "localhost"),
        (("localhost",), "127.0.0.1"),
        (("127.0.0.2",), "127.0.0.1"),
        (("*.example.com",), "a.b.example.com"),
        (("*.example.com",), "example.com"),
        (("w*.example.com",), "ws.example.com"),
    ],
)
def test_another_hosts_certificate(pairs: Pairs, authority: Authority, names: tuple[str, ...], host: str) -> None:
    error = refused(pairs, Tls(host, ca=authority.ca), authority.server_context(authority.identity(*names)))
    assert error.reason == "WRONG_HOST" and "the certificate names others" in str(error)


def test_a_wildcard_for_one_label(pairs: Pairs, authority: Authority) -> None:
    pairs.shake(Tls("ws.example.com", ca=authority.ca), authority.server_context(authority.identity("*.example.com")))


def test_the_common_name_alone_is_no_name(pairs: Pairs, authority: Authority) -> None:
    """RFC 6125 as of today: only subjectAltName counts."""
    context = authority.server_context(authority.identity("localhost", alternatives=False))
    assert refused(pairs, Tls("localhost", ca=authority.ca), context).reason == "WRONG_HOST"


def test_dates(pairs: Pairs, authority: Authority) -> None:
    error = refused(
        pairs, Tls("localhost", ca=authority.ca), authority.server_context(authority.identity(expired=True))
    )
    assert error.reason == "EXPIRED" and "expired" in str(error)
    error = refused(pairs, Tls("localhost", ca=authority.ca), authority.server_context(authority.identity(early=True)))
    assert error.reason == "NOT_YET_VALID" and "is the clock right?" in str(error)


def test_an_authority_that_nobody_trusts(pairs: Pairs, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "somebody else")
    for tls in (Tls("localhost"), Tls("localhost", ca=stranger.ca)):
        error = refused(pairs, tls)
        assert error.reason == "UNKNOWN_CA" and 'ca = "FILE.pem"' in str(error)
    error = refused(pairs, Tls("localhost", ca=authority.ca), stranger.server_context())
    assert error.reason == "UNKNOWN_CA"


def test_a_certificate_for_clients_is_none_of_a_server(pairs: Pairs, authority: Authority) -> None:
    context = authority.server_context(authority.identity(client=True))
    error = refused(pairs, Tls("localhost", ca=authority.ca), context)
    assert error.reason == "CERTIFICATE" and "purpose" in str(error)


@pytest.mark.parametrize("switch", ["verify", "check_hostname", "verify_mode", "cert_reqs", "insecure", "context"])
def test_nothing_switches_verification_off(switch: str) -> None:
    """Whom to trust must be named, by an authority's file."""
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        Tls("localhost", **{switch: False})


def test_a_client_certificate(pairs: Pairs, authority: Authority) -> None:
    context = authority.server_context(clients=True)
    ours = authority.identity("trader 7", client=True)
    _, there = pairs.shake(Tls("localhost", ca=authority.ca, certificate=ours.certificate, key=ours.key), context)
    shown = there.tls.getpeercert()
    assert shown is not None and ((("commonName", "trader 7"),) in shown["subject"])
    both = ours.certificate.with_suffix(".both")
    both.write_bytes(ours.certificate.read_bytes() + ours.key.read_bytes())
    pairs.shake(Tls("localhost", ca=authority.ca, certificate=both), context)


def test_a_client_certificate_that_is_missing_is_the_servers_alert(pairs: Pairs, authority: Authority) -> None:
    """In TLS 1.3 it comes behind the handshake, RFC 8446, section 4.4.2.4."""
    tls = Tls("localhost", ca=authority.ca)
    with pytest.raises(ssl.SSLError):
        pairs.shake(tls, authority.server_context(clients=True))
    with pytest.raises(TlsError, match="certificate required") as caught:
        tls.read()
    assert caught.value.reason == "PROTOCOL"


def test_alpn(pairs: Pairs, authority: Authority) -> None:
    context = authority.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    tls = Tls("localhost", ca=authority.ca, alpn=("http/1.1",))
    pairs.shake(tls, context)
    assert tls.alpn == "http/1.1"
    none = Tls("localhost", ca=authority.ca)
    pairs.shake(none, context)
    assert none.alpn == ""


def test_the_name_is_sent_an_address_is_not(pairs: Pairs, authority: Authority) -> None:
    """RFC 6066, section 3."""
    context = authority.server_context()
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    pairs.shake(Tls("localhost", ca=authority.ca), context)
    pairs.shake(Tls("127.0.0.1", ca=authority.ca), context)
    assert asked == ["localhost", None]


def test_only_suites_that_authenticate_while_they_decrypt(pairs: Pairs, authority: Authority) -> None:
    context = authority.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    error = refused(pairs, Tls("localhost", ca=authority.ca), context)
    assert error.reason == "PROTOCOL" and "handshake failure" in str(error)
    context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    tls = Tls("localhost", ca=authority.ca)
    pairs.shake(tls, context)
    assert (tls.version, tls.cipher) == ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305")


def test_a_server_that_does_not_answer(pairs: Pairs, authority: Authority) -> None:
    client, _ = pairs.raw()
    with pytest.raises(TlsError, match=r"localhost: the TLS handshake did not come within 0\.05 s") as caught:
        Tls("localhost", ca=authority.ca).handshake(client, 0.05)
    assert caught.value.reason == "TIMEOUT"


@pytest.mark.wire
@pytest.mark.parametrize(
    ("said", "reason"),
    [(b"", "TRUNCATED"), (b"\x16\x03\x03", "TRUNCATED"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "PROTOCOL"),
     (b"\x15\x03\x03\x00\x02\x02\x28", "PROTOCOL"), (b"\x16\x03\x03\x00\x04\x02\x00\x00\x00", "PROTOCOL"),
     (bytes(range(256)), "PROTOCOL")],
)  # fmt: skip
def test_a_server_that_talks_nonsense(pairs: Pairs, authority: Authority, said: bytes, reason: str) -> None:
    client, there = pairs.raw()
    there.sendall(said)
    there.shutdown(socket.SHUT_WR)
    with pytest.raises(TlsError, match="localhost: the TLS handshake failed") as caught:
        Tls("localhost", ca=authority.ca).handshake(client)
    assert caught.value.reason == reason


def test_order_of_calls(pairs: Pairs, authority: Authority) -> None:
    tls = Tls("localhost", ca=authority.ca)
    with pytest.raises(ValueError, match="handshake\\(\\) comes first"):
        tls.read()
    pairs.shake(tls)
    with pytest.raises(ValueError, match="make another"):
        pairs.shake(tls)
    with pytest.raises(TlsError, match="did not come within") as caught:
        tls.read(timeout=0.01)
    assert caught.value.reason == "TIMEOUT"


def test_arguments_are_refused_with_one_sentence(authority: Authority, tmp_path: Path) -> None:
    ours, other = authority.identity(client=True), authority.identity(client=True)
    text = tmp_path / "text.pem"
    text.write_text("no certificate\n")
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", ours.key, "-aes128", "-passout", "pass:secret", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    for words, arguments in (
        ("ca: there is no file", {"ca": tmp_path / "none.pem"}),
        ("ca: .*text.pem' holds no certificates", {"ca": text}),
        ("certificate: there is no file", {"certificate": tmp_path / "none.pem"}),
        ("certificate: .*text.pem' holds no certificate", {"certificate": text}),
        ("key: .*text.pem' is no private key of", {"certificate": ours.certificate, "key": text}),
        ("key: .* without a password", {"certificate": ours.certificate, "key": locked}),
        ("key: .* is no private key of .*mismatch", {"certificate": ours.certificate, "key": other.key}),
        ("key: a private key is of use with a certificate only", {"key": ours.key}),
        ("session: it is not of a connection to 'localhost'", {"session": b"whatever"}),
        ("alpn is a tuple of names", {"alpn": ("",)}),
        ("alpn is a tuple of names", {"alpn": "http/1.1"}),
        ("alpn is a tuple of names", {"alpn": ("x" * 256,)}),
    ):
        with pytest.raises(ConfigError, match=words):
            Tls("localhost", **arguments)
    for host in ("", "a\0b"):
        with pytest.raises(ConfigError, match="a TLS host is a name or an IP address"):
            Tls(host)


def test_which_openssl_this_is() -> None:
    found = library()
    assert found["version"].startswith("OpenSSL 3.") and found["missed"] >= 0
